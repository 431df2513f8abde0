// What a slice plane shows of the bytes that it goes through. The march's own pictures (march_sheets.wgsl) and the flat
// ones (slice.wgsl) share it, so that both show the same. Needs march_common.wgsl.

// Colour (linear light, premultiplied) and share filled of the cube of `level` (1, 4 or 16) voxels that holds `voxel`;
// all zero where nothing is.
fn sheet_texel(voxel: vec3i, level: i32) -> vec4f {
    let brick = voxel >> vec3u(4u);
    let packed = textureLoad(bricks, brick, 0).r;
    if (packed == 0u) {
        return vec4f(0.0);
    }
    let info = unpack_brick(packed);
    var value = info.mean;
    var filled = info.filled;
    if (level == 1) {
        let byte = byte_of(voxel, place_of(brick));
        value = f32(byte) / 255.0;
        filled = f32(min(byte, 1u));
    } else if (level == 4) {
        let cell = textureLoad(cells, voxel >> vec3u(2u), 0);
        value = cell.r;
        filled = cell.g;
    }
    let light = color_of(info.kind, value).rgb + march.flash_color * (heat_of(brick) * (0.25 + 0.75 * value));
    return vec4f(light * filled, filled);
}
