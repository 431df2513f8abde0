// The background: a vertical gradient, a little lighter in the middle, with the volume's own light or shadow on it.

{$ include 'pygfx.std.wgsl' $}
{$ include 'glassbox.dither.wgsl' $}

struct VertexInput {
    @builtin(vertex_index) index: u32,
}

// Everything here is smooth: it is worked out at the corners of a coarse grid, and a pixel only interpolates.
@vertex
fn vs_main(in: VertexInput) -> Varyings {
    let cell = in.index / 6u;
    let corner = array<u32, 6>(0u, 1u, 2u, 2u, 1u, 3u)[in.index % 6u];
    let at = vec2u(cell % {{ columns }}u + (corner & 1u), cell / {{ columns }}u + (corner >> 1u));
    let share = vec2f(at) / vec2f({{ columns }}.0, {{ rows }}.0);
    let aspect = u_stdinfo.physical_size.x / u_stdinfo.physical_size.y;
    let middle = (share - vec2f(0.5, 0.48)) * vec2f(aspect, 1.0);
    let near = 1.0 / (1.0 + 4.0 * dot(middle, middle));
    let ground = mix(mix(u_material.top.rgb, u_material.bottom.rgb, share.y), u_material.middle.rgb, near * near);
    let halo = textureSampleLevel(t_halo, s_halo, share, 0.0);
    let color = ground * (1.0 - u_material.thrown.y * min(halo.a, 1.0)) + u_material.thrown.x * halo.rgb;
    var varyings: Varyings;
    varyings.color = vec3<f32>(color);
    varyings.position = vec4<f32>(share.x * 2.0 - 1.0, 1.0 - share.y * 2.0, 0.9999, 1.0);
    return varyings;
}

@fragment
fn fs_main(varyings: Varyings) -> FragmentOutput {
    var out: FragmentOutput;
    out.color = vec4f(dithered(varyings.color, varyings.position.xy), 1.0);
    return out;
}
