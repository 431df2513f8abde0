// The background: a vertical gradient, a little lighter in the middle, with the volume's own light or shadow on it.

{$ include 'glassbox.dither.wgsl' $}

struct Ground {
    top: vec4f,          // linear light
    bottom: vec4f,
    middle: vec4f,
    thrown: vec2f,       // how strong the volumes' light and shadow are
    size: vec2f,
}

struct Corner {
    @builtin(position) position: vec4f,
    @location(0) encoded: vec3f,
}

@group(0) @binding(0) var<uniform> ground: Ground;
@group(0) @binding(1) var halo: texture_2d<f32>;
@group(0) @binding(2) var halo_sampler: sampler;

// Linear light in sRGB's encoding (IEC 61966-2-1).
fn encode(linear: vec3f) -> vec3f {
    let curved = 1.055 * pow(max(linear, vec3f(0.0031308)), vec3f(1.0 / 2.4)) - 0.055;
    return select(curved, 12.92 * linear, linear <= vec3f(0.0031308));
}

// Everything here is smooth: it is worked out at the corners of a coarse grid, and a pixel only interpolates.
@vertex
fn vertex(@builtin(vertex_index) index: u32) -> Corner {
    let cell = index / 6u;
    let corner = array<u32, 6>(0u, 1u, 2u, 2u, 1u, 3u)[index % 6u];
    let at = vec2u(cell % {{ columns }}u + (corner & 1u), cell / {{ columns }}u + (corner >> 1u));
    let share = vec2f(at) / vec2f({{ columns }}.0, {{ rows }}.0);
    let middle = (share - vec2f(0.5, 0.48)) * vec2f(ground.size.x / ground.size.y, 1.0);
    let near = 1.0 / (1.0 + 4.0 * dot(middle, middle));
    let plain = mix(mix(ground.top.rgb, ground.bottom.rgb, share.y), ground.middle.rgb, near * near);
    let light = textureSampleLevel(halo, halo_sampler, share, 0.0);
    let color = plain * (1.0 - ground.thrown.y * min(light.a, 1.0)) + ground.thrown.x * light.rgb;
    return Corner(vec4f(share.x * 2.0 - 1.0, 1.0 - share.y * 2.0, 0.5, 1.0), encode(color));
}

@fragment
fn fragment(corner: Corner) -> @location(0) vec4f {
    return vec4f(corner.encoded + (gradient_noise(corner.position.xy) - 0.5) / 255.0, 1.0);
}
