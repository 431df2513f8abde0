// First hit: the nearest byte that is not zero, lit so that its shape shows.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

fn fill_at(position: vec3f) -> f32 {
    // Nothing is outside; the sampler would repeat the edge.
    let inside = all(position > vec3f(march.clip_low)) && all(position < vec3f(march.clip_high)) && !hidden(vec3i(floor(position)));
    return select(0.0, textureSampleLevel(cells, smooth_sampler, position / vec3f(march.shape), 0.0).g, inside);
}

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    var walk = start;
    var brick = vec3i(-1);
    var side = 1;
    var packed = 0u;
    var place = 0u;
    var byte = 0u;
    for (var i = 0; i < MAX_STEPS; i++) {
        if (outside(walk.voxel) || walk.depth >= end) {
            break;
        }
        let here = walk.voxel >> vec3u(4u);
        if (any(here != brick)) {
            brick = here;
            packed = textureLoad(bricks, brick, 0).r;
            side = 1;
            if (packed == 0u) {
                side = select(64, 16, textureLoad(blocks, walk.voxel >> vec3u(6u), 0).r != 0u);
            } else {
                place = place_of(brick);
            }
        }
        if (side == 1) {
            byte = byte_of(walk.voxel, place);
            if (byte != 0u && is_shown(walk.voxel)) {
                break;
            }
            byte = 0u;
        }
        let low = walk.voxel & vec3i(-side);
        walk = step_out(ray, walk, low, side, leave_depth(ray, low, side));
    }
    if (byte == 0u) {
        return Result(vec4f(0.0), 0.0, vec3i(0));
    }
    return Result(vec4f(shade(ray, walk, unpack_brick(packed), f32(byte) / 255.0), 1.0), walk.depth, walk.voxel);
}

// Voxels that are large on the screen get a fine dark line around each face, so that equal bytes can be told apart.
fn outline(inside: vec3f, faces: vec3<bool>, pixels: f32) -> f32 {
    let to_edge = select(min(inside, 1.0 - inside), vec3f(1.0), faces);
    let distance = min(min(to_edge.x, to_edge.y), to_edge.z) * pixels;
    let strength = 0.28 * smoothstep(6.0, 18.0, pixels);
    return 1.0 - strength * (1.0 - smoothstep(0.0, 1.4, distance));
}

// Bright colours bend towards white's limit instead of losing their hue to it.
fn softened(color: vec3f) -> vec3f {
    let peak = max(max(color.r, color.g), max(color.b, 1e-6));
    let bent = select(peak, 0.7 + 0.3 * (1.0 - exp((0.7 - peak) / 0.3)), peak > 0.7);
    return color * (bent / peak);
}

fn shade(ray: Ray, walk: Walk, brick: Brick, value: f32) -> vec3f {
    let inside = march.camera_part + ray.direction * walk.depth - vec3f(walk.voxel - march.camera_voxel);
    let position = vec3f(walk.voxel) + inside;
    // From afar a pixel holds many bytes: their mean is the truth there, and a single byte is noise.
    let pixels = 1.0 / max(march.pixel_voxels * walk.depth, 1e-6);
    let near = smoothstep(0.8, 4.0, pixels);
    let cell = textureLoad(cells, walk.voxel >> vec3u(2u), 0);
    let shown = mix(cell.r, value, near);

    let face = select(vec3f(0.0), -sign(ray.direction), walk.faces);
    let face_normal = normalize(select(face, -march.forward, all(face == vec3f(0.0))));
    // The gradient of how full the cells are is the shape's normal at a scale that pixels can show.
    let reach = 5.0;
    let gradient = vec3f(
        fill_at(position - vec3f(reach, 0.0, 0.0)) - fill_at(position + vec3f(reach, 0.0, 0.0)),
        fill_at(position - vec3f(0.0, reach, 0.0)) - fill_at(position + vec3f(0.0, reach, 0.0)),
        fill_at(position - vec3f(0.0, 0.0, reach)) - fill_at(position + vec3f(0.0, 0.0, reach)));
    let smooth_normal = normalize(gradient + face_normal * 0.15);
    let normal = normalize(mix(smooth_normal, face_normal, 0.25 + 0.75 * near));

    // How much of what is around is open, near and farther away, at a scale that follows the zoom.
    let scale = clamp(8.0 / pixels, 1.2, 8.0);
    let out = mix(smooth_normal, face_normal, near);
    let open = 1.0 - 0.34 * fill_at(position + out * scale) - 0.33 * fill_at(position + out * scale * 2.7)
        - 0.33 * fill_at(position + out * scale * 6.2);
    let shade = open * open;
    let diffuse = max(dot(normal, march.light), 0.0);
    let sky = 0.5 + 0.5 * normal.z;
    let ambient = vec3f(0.20, 0.23, 0.30) + vec3f(0.16, 0.17, 0.18) * sky;
    let key = vec3f(0.80, 0.78, 0.74) * diffuse * mix(shade, 1.0, 0.35);
    let edge = 1.0 - abs(dot(normalize(ray.direction), smooth_normal));
    let color = color_of(brick.kind, shown).rgb;
    let heat = heat_of(walk.voxel >> vec3u(4u));
    // High bytes shine by themselves; grazing surfaces catch a little more light.
    let own = march.glow * (0.06 + 0.42 * shown * shown * shown + 0.25 * edge * edge * edge);
    let lit = color * (ambient * shade + key + own) * outline(inside, walk.faces, pixels);
    return softened(lit + march.flash_color * heat * (0.25 + 0.75 * value));
}
