// The marched image in a pygfx scene: colour over what is behind it, with the depth that the march found.

{$ include 'pygfx.std.wgsl' $}
{$ include 'glassbox.dither.wgsl' $}

struct VertexInput {
    @builtin(vertex_index) index: u32,
}

@vertex
fn vs_main(in: VertexInput) -> Varyings {
    // The far sides of the volume's box, a voxel larger all round for the sake of soft edges: they cover its picture also
    // when the camera is inside. Each face is two triangles, counter-clockwise from outside.
    let face = in.index / 6u;
    let axis = face >> 1u;
    let high = face & 1u;
    let corner = array<u32, 6>(0u, 1u, 3u, 0u, 3u, 2u)[in.index % 6u];
    let a = select(corner >> 1u, corner & 1u, high == 1u);
    let b = select(corner & 1u, corner >> 1u, high == 1u);
    var at = vec3u(high, a, b);
    at = select(at, vec3u(b, high, a), axis == 1u);
    at = select(at, vec3u(a, b, high), axis == 2u);
    let position = vec3f(at) * (u_material.shape.xyz + 2.0) - 1.0;
    let world = u_wobject.world_transform * vec4f(position, 1.0);
    var varyings: Varyings;
    varyings.position = vec4<f32>(u_stdinfo.projection_transform * u_stdinfo.cam_transform * world);
    return varyings;
}

// A picture that fills only a part of its texture, smoothly; what lies beyond that part must not be mixed in.
fn smoothly(picture: texture_2d<f32>, share: vec2f, used: vec2f) -> vec4f {
    let at = clamp(share * used, vec2f(0.5), used - 0.5);
    return textureSampleLevel(picture, s_color, at / vec2f(textureDimensions(picture)), 0.0);
}

@fragment
fn fs_main(varyings: Varyings) -> FragmentOutput {
    let share = varyings.position.xy / u_stdinfo.physical_size;
    let texel = vec2i(share * u_material.used.xy);
$$ if sharp
    var color = textureLoad(t_color, texel, 0);
$$ else
    var color = smoothly(t_color, share, u_material.used.xy);
$$ endif
$$ if fading
    color = mix(color, smoothly(t_old, share, u_material.old_used.xy), u_material.mixed.x);
$$ endif
    if (color.a < 0.002) {
        discard;
    }
    let depth = textureLoad(t_depth, texel, 0).r;
    // A soft edge may have colour and no hit of its own; it is as far away as can be.
    let projection = u_stdinfo.projection_transform;
    let clip = projection * vec4f(0.0, 0.0, -depth, 1.0);
    var out: FragmentOutput;
    out.color = vec4f(dithered(color.rgb, varyings.position.xy), color.a);
    out.depth = select(0.999999, clip.z / clip.w, depth > 0.0);
    return out;
}
