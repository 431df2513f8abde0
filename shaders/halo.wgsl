// The light that a volume throws on the ground behind it: its picture, made small and blurred wide.

@group(0) @binding(0) var source: texture_2d<f32>;
@group(0) @binding(1) var source_sampler: sampler;
@group(0) @binding(2) var<uniform> used: vec4f;    // the share of the source that is filled, across and down

fn light_at(share: vec2f) -> vec4f {
    return textureSampleLevel(source, source_sampler, clamp(share, vec2f(0.0), vec2f(0.999)) * used.xy, 0.0);
}

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
    return vec4f(f32(i32(index & 1u) * 4 - 1), f32(i32(index >> 1u) * 4 - 1), 0.0, 1.0);
}

@fragment
fn fragment(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let size = vec2f({{ width }}.0, {{ height }}.0);
    let share = position.xy / size;
    var sum = vec4f(0.0);
$$ if step == "shrink"
    // Sixteen samples spread over the pixel's own area.
    for (var i = 0; i < 16; i++) {
        let offset = (vec2f(f32(i & 3), f32(i >> 2u)) - 1.5) / 4.0;
        sum += light_at(share + offset / size) / 16.0;
    }
$$ else
    var total = 0.0;
    for (var i = -{{ radius }}; i <= {{ radius }}; i++) {
        let weight = exp(-4.5 * f32(i * i) / {{ radius * radius }}.0);
        let offset = {{ "vec2f(f32(i), 0.0)" if step == "across" else "vec2f(0.0, f32(i))" }};
        sum += weight * light_at(share + offset / size);
        total += weight;
    }
    sum /= total;
$$ endif
    return sum;
}
