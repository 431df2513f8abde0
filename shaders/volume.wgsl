// The marched image in a pygfx scene: colour over what is behind it, with the depth and the voxel that the march found.

{$ include 'pygfx.std.wgsl' $}
{$ include 'glassbox.dither.wgsl' $}

struct VertexInput {
    @builtin(vertex_index) index: u32,
}

@vertex
fn vs_main(in: VertexInput) -> Varyings {
    var varyings: Varyings;
    varyings.position = vec4<f32>(f32(i32(in.index & 1u) * 4 - 1), f32(i32(in.index >> 1u) * 4 - 1), 0.0, 1.0);
    return varyings;
}

@fragment
fn fs_main(varyings: Varyings) -> FragmentOutput {
    let size = vec2f(textureDimensions(t_color));
    let share = varyings.position.xy / u_stdinfo.physical_size;
    let texel = vec2i(share * size);
$$ if sharp
    let color = textureLoad(t_color, texel, 0);
$$ else
    let color = textureSampleLevel(t_color, s_color, share, 0.0);
$$ endif
    if (color.a < 0.002) {
        discard;
    }
    let depth = textureLoad(t_depth, texel, 0).r;
    let voxel = vec3u(textureLoad(t_voxel, texel, 0).xyz);
    // A soft edge may have colour and no hit of its own; it is as far away as can be.
    let projection = u_stdinfo.projection_transform;
    let clip = projection * vec4f(0.0, 0.0, -depth, 1.0);
    var out: FragmentOutput;
    out.color = vec4f(dithered(color.rgb, varyings.position.xy), color.a);
    out.depth = select(0.999999, clip.z / clip.w, depth > 0.0);
    $$ if write_pick
    out.pick = pick_pack(u32(u_wobject.global_id), 20) + pick_pack(voxel.x, 12) + pick_pack(voxel.y, 12) + pick_pack(voxel.z, 12);
    $$ endif
    return out;
}
