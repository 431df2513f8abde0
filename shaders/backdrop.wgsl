// The background: a vertical gradient, a little lighter in the middle, with the volume's own light or shadow on it.

{$ include 'pygfx.std.wgsl' $}
{$ include 'glassbox.dither.wgsl' $}

struct VertexInput {
    @builtin(vertex_index) index: u32,
}

@vertex
fn vs_main(in: VertexInput) -> Varyings {
    var varyings: Varyings;
    varyings.position = vec4<f32>(f32(i32(in.index & 1u) * 4 - 1), f32(i32(in.index >> 1u) * 4 - 1), 0.9999, 1.0);
    return varyings;
}

@fragment
fn fs_main(varyings: Varyings) -> FragmentOutput {
    let size = u_stdinfo.physical_size;
    let share = varyings.position.xy / size;
    let middle = (varyings.position.xy - size * vec2f(0.5, 0.48)) / size.y;
    let near = 1.0 / (1.0 + 4.0 * dot(middle, middle));
    let ground = mix(mix(u_material.top.rgb, u_material.bottom.rgb, share.y), u_material.middle.rgb, near * near);
    let halo = textureSampleLevel(t_halo, s_halo, share, 0.0);
    let color = ground * (1.0 - u_material.thrown.y * min(halo.a, 1.0)) + u_material.thrown.x * halo.rgb;
    var out: FragmentOutput;
    out.color = vec4f(dithered(color, varyings.position.xy), 1.0);
    return out;
}
