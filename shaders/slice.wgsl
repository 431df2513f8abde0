// One slice plane as a flat picture: a pixel is a byte, or the mean of the bytes that it holds. All of it is integer
// arithmetic but for an oblique plane, so that what is drawn where is exact.

{$ include 'glassbox.march_common.wgsl' $}
{$ include 'glassbox.sheet_common.wgsl' $}

struct Slice {
    corner: vec2i,        // column 0 and the row above row 0, in pixels from where u and v are 0; v grows upwards
    zoom: i32,            // pixels a voxel; 1 where `span` is more
    span: i32,            // voxels a pixel; 1 where `zoom` is more
    right: vec3f,         // u's direction
    level: i32,           // side of the cubes that are averaged: 1, 4 or 16
    up: vec3f,            // v's direction
    is_oblique: i32,
    whole: vec3i,         // where u and v are 0, in whole voxels …
    pad0: i32,
    part: vec3f,          // … and what is left, 0..1
    dim: f32,             // how far colours outside of the clip box give way to the ground
    ground: vec3f,        // linear light; where bytes are zero
    outline: i32,         // pixels that an outline is wide
}

@group(1) @binding(0) var<uniform> slice: Slice;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
    return vec4f(f32(i32(index & 1u) * 4 - 1), f32(i32(index >> 1u) * 4 - 1), 0.0, 1.0);
}

fn floor_divided(a: vec2i, by: i32) -> vec2i {
    return (a - select(vec2i(0), vec2i(by - 1), a < vec2i(0))) / by;
}

// The voxel at the middle of piece `piece` of a pixel; a pixel has `pieces` a side.
fn voxel_shown(pixel: vec2i, piece: vec2i, pieces: i32) -> vec3i {
    if (slice.is_oblique != 0) {
        let at = (vec2f(pixel) + (vec2f(piece) + 0.5) / f32(pieces)) * f32(slice.span) / f32(slice.zoom);
        return slice.whole + vec3i(floor(slice.part + at.x * slice.right + at.y * slice.up));
    }
    let at = floor_divided(pixel, slice.zoom) * slice.span + piece * slice.level;
    return slice.whole + at.x * vec3i(slice.right) + at.y * vec3i(slice.up);
}

fn srgb(light: vec3f) -> vec3f {
    let low = 12.92 * light;
    let high = 1.055 * pow(max(light, vec3f(0.0031308)), vec3f(1.0 / 2.4)) - 0.055;
    return clamp(select(high, low, light <= vec3f(0.0031308)), vec3f(0.0), vec3f(1.0));
}

@fragment
fn fragment(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let pixel = slice.corner + vec2i(i32(position.x), -i32(position.y));
    let pieces = slice.span / slice.level;
    var sum = vec4f(0.0);
    var inside = 0.0;
    for (var i = 0; i < 36 && i < pieces * pieces; i++) {
        let voxel = voxel_shown(pixel, vec2i(i % pieces, i / pieces), pieces);
        if (all(voxel >= vec3i(0)) && all(voxel < march.shape)) {
            let kept = select(1.0 - slice.dim, 1.0, !outside(voxel));
            sum += sheet_texel(voxel, slice.level) * kept;
            inside += 1.0;
        }
    }
    if (inside == 0.0) {
        return vec4f(0.0);
    }
    sum /= inside;
$$ if lit
    let here = voxel_shown(pixel, vec2i(0), pieces);
    let group = group_of(here >> vec3u(4u));
    var ends = false;
    for (var i = 0; i < 4 && group != 0u; i++) {
        let step = slice.outline * vec2i(select(0, 1 - (i & 2), (i & 1) == 0), select(0, 1 - (i & 2), (i & 1) == 1));
        let beside = voxel_shown(pixel + step, vec2i(0), pieces);
        ends = ends || any(beside < vec3i(0)) || group_of(beside >> vec3u(4u)) != group;
    }
    if (ends) {
        sum = vec4f(mix(sum.rgb, color_of_group(group).rgb, 0.85), 1.0);
    }
$$ endif
    return vec4f(srgb(sum.rgb + slice.ground * (1.0 - sum.a)), 1.0);
}
