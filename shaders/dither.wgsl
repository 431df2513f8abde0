// Dark gradients show bands in eight bits a channel; a half step of fixed noise hides them.
// Interleaved gradient noise: Jimenez, "Next generation post processing in Call of Duty" (2014).

fn gradient_noise(pixel: vec2f) -> f32 {
    return fract(52.9829189 * fract(dot(pixel, vec2f(0.06711056, 0.00583715))));
}

fn dithered(linear_color: vec3f, pixel: vec2f) -> vec3f {
    let noise = gradient_noise(pixel) - 0.5;
    // One step of sRGB in linear light: sRGB is nearly a square, so its derivative is nearly a root.
    let step = 0.0003 + 0.0084 * sqrt(max(linear_color, vec3f(0.0)));
    return max(linear_color + noise * step, vec3f(0.0));
}
