// What a slice plane shows of the bytes that it goes through. The march's own pictures (march_sheets.wgsl) and the flat
// ones (slice.wgsl) share it, so that both show the same. Needs march_common.wgsl.

// Colour (linear light, premultiplied) and share filled of the cube of `level` (1, 4 or 16) voxels that holds `voxel`;
// all zero where nothing is, or nothing that the look shows.
$$ if lit
// Pages that are lit up stand on a ground of their highlight's colour, also where their bytes are zero.
fn sheet_texel(voxel: vec3i, level: i32) -> vec4f {
    let texel = bytes_texel(voxel, level);
    let group = group_of(voxel >> vec3u(4u));
    if (group != 0u) {
        let own = color_of_group(group);
        let tinted = own.rgb * (0.1 * texel.a + 1.5 * dot(texel.rgb, LUMA));
        return vec4f(mix(texel.rgb * 1.2, tinted, own.a) + own.rgb * 0.16, texel.a);
    }
    return vec4f(dimmed(texel.rgb), texel.a) * (1.0 - 0.8 * march.dim);
}

fn bytes_texel(voxel: vec3i, level: i32) -> vec4f {
$$ else
fn sheet_texel(voxel: vec3i, level: i32) -> vec4f {
$$ endif
    let brick = voxel >> vec3u(4u);
$$ if lit
    var page = page_at(brick, lit_bits(brick));
$$ else
    var page = page_at(brick);
$$ endif
    if (!page.shown) {
        return vec4f(0.0);
    }
    page.place = place_of(brick);
    var scalar = NOTHING;
    var filled = 1.0;
    if (level == 16) {
        scalar = scalar_of_brick(page);
        filled = fill_of_brick(page.packed);
    } else if (level == 4 || page.place == NOT_RESIDENT) {
        let cell = textureLoad(cells, voxel >> vec3u(2u), 0);
        scalar = scalar_of_cell(cell, page);
        filled = cell.g;
    } else {
        scalar = scalar_of_byte(byte_of(voxel, page.place), page);
    }
    if (scalar < 0) {
        return vec4f(0.0);
    }
    let flash = flash_of(brick) * (0.25 + 0.75 * f32(scalar) / 255.0);
    return vec4f(look_of(page, scalar).rgb + march.flash_color * flash, 1.0) * filled;
}
