// First hit: the nearest byte that is shown, lit so that its shape shows.
//
// Where a cell or a brick stands for its voxels, a pixel's ray meets it as often as rays through its voxels would meet
// one: chance decides for each ray, and the samples that a still picture gathers make it even.
//
// Where pages are lit up the nearest byte of the others is glass: the nearest lit one behind it shows through, however deep.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

// Whether a ray that passes through a cube filled to a share meets any of what is in it.
fn meets(ray: Ray, filled: f32, cube: vec3i) -> bool {
    let open = (1.0 - filled) * (1.0 - filled);
    let chance = fract(ray.noise + dot(vec3f(cube & vec3i(63)), vec3f(0.8191725, 0.6710436, 0.5497005)));
    return filled > 0.0 && chance >= open * open;
}

// What a ray met, and where.
struct Found {
    scalar: i32,
    walk: Walk,
}

// The nearest byte of a brick that is shown, or NOTHING.
fn meet(ray: Ray, walk: Walk, brick: vec3i, page: ptr<function, Page>, end: f32) -> Found {
    let side = resolve(ray, walk.depth, brick, page);
    let low = brick * 16;
    var inside = enter_brick(ray, walk, low, side);
    var depth = walk.depth;
    var faces = walk.faces;
    for (var j = 0; j < MAX_INSIDE; j++) {
        let voxel = low + vec3i(inside.at) * side;
        var found = NOTHING;
        if (side == 1) {
            found = scalar_of_byte(byte_of(voxel, (*page).place), *page);
        } else if (side == 4) {
            let cell = textureLoad(cells, voxel >> vec3u(2u), 0);
            // What is near is drawn from cells only where its bytes are not at hand: then nothing may be missing.
            let near = depth <= ray.cells_from && cell.g > 0.0;
            found = select(NOTHING, scalar_of_cell(cell, *page), near || meets(ray, cell.g, voxel >> vec3u(2u)));
        } else {
            found = select(NOTHING, scalar_of_brick(*page), meets(ray, fill_of_brick((*page).packed), brick));
        }
        if (found >= 0 && is_shown(voxel)) {
            return Found(found, Walk(voxel, depth, faces));
        }
        depth = leave_of(inside);
        faces = inside.leave == vec3f(depth);
        inside.leave += select(vec3f(0.0), inside.stride, faces);
        inside.at += select(vec3u(0u), inside.forward, faces);
        if (any(inside.at >= vec3u(inside.ends)) || depth >= end) {
            break;
        }
    }
    return Found(NOTHING, walk);
}

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    var walk = start;
    var page: Page;
    var first = Found(NOTHING, start);
    for (var i = 0; i < MAX_STEPS; i++) {
        if (outside(walk.voxel) || walk.depth >= end) {
            break;
        }
        let brick = walk.voxel >> vec3u(4u);
        var span = 16;
$$ if lit
        let lit = lit_near(brick);
        cross_outlines(ray, walk, brick, lit, 1.0);
        page = page_at(brick, lit);
$$ else
        page = page_at(brick);
$$ endif
        if (page.shown) {
            first = meet(ray, walk, brick, &page, end);
            if (first.scalar >= 0) {
                break;
            }
$$ if lit
        } else if (!in_lit_block(lit)) {
$$ else
        } else {
$$ endif
            span = empty_side(walk.voxel);
        }
        let low = walk.voxel & vec3i(-span);
        walk = step_out(ray, walk, low, span, leave_depth(ray, low, span));
    }
$$ if lit
    // Behind glass nothing is looked at but what is lit, in a loop of its own: neighbouring rays wait for each other, and
    // the less each of them does at a step, the less all of them do.
    var share = 1.0;
    let glass = first;
    let glass_page = page;
    let has_glass = glass.scalar >= 0 && !page.lit;
    if (has_glass) {
        share = 0.5;
        first.scalar = NOTHING;
        walk = behind_glass(ray, glass.walk);
        let until = min(end, lit_depths(ray).y);
        for (var i = 0; i < MAX_STEPS; i++) {
            if (outside(walk.voxel) || walk.depth >= until) {
                break;
            }
            let brick = walk.voxel >> vec3u(4u);
            let lit = lit_bits(brick);
            cross_outlines(ray, walk, brick, lit, share);
            if (is_lit(lit)) {
                page = page_at(brick, lit);
                if (page.shown) {
                    first = meet(ray, walk, brick, &page, end);
                    if (first.scalar >= 0) {
                        break;
                    }
                }
            }
            let clear = clear_of(lit);
            let low = (brick - clear) * 16;
            walk = step_out(ray, walk, low, 32 * clear + 16, leave_depth(ray, low, 32 * clear + 16));
        }
    }
    if (first.scalar < 0) {
        leave_lit(ray, walk, end, share);
    }
    // What each ray shows is shaded at once, whether it is lit or glass, and then the glass before what is lit.
    let only_glass = has_glass && first.scalar < 0;
    if (only_glass) {
        first = glass;
        page = glass_page;
    }
$$ endif
    if (first.scalar < 0) {
        return Result(vec4f(0.0), 0.0, vec3i(0));
    }
    let color = shade(ray, first.walk, page, f32(first.scalar) / 255.0);
$$ if lit
    if (has_glass) {
        var front = color;
        if (!only_glass) {
            front = shade_glass(ray, glass.walk, glass_page, f32(glass.scalar) / 255.0);
        }
        let left = vec4f(dimmed(front), 1.0) * share_left();
        let shown = select(vec4f(left.rgb + color * (1.0 - left.a), 1.0), left, only_glass);
        return Result(shown, first.walk.depth, first.walk.voxel);
    }
$$ endif
    return Result(vec4f(color, 1.0), first.walk.depth, first.walk.voxel);
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

$$ if lit
// Glass before something lit is a fifth of what is seen there: its colour, and whether it is turned to the light.
fn shade_glass(ray: Ray, walk: Walk, page: Page, value: f32) -> vec3f {
    let inside = march.camera_part + ray.direction * walk.depth - vec3f(walk.voxel - march.camera_voxel);
    let pixels = 1.0 / max(march.pixel_voxels * walk.depth, 1e-6);
    let near = smoothstep(0.8, 4.0, pixels);
$$ if by_page
    let shown = value;
$$ else
    let shown = mix(dot(march.pyramid, textureLoad(cells, walk.voxel >> vec3u(2u), 0).rba), value, near);
$$ endif
    let turned = turned_to_light(ray, walk.depth, 5.0);
    let facing = dot(select(vec3f(0.0), -sign(ray.direction), walk.faces), march.light);
    let diffuse = max(mix(2.0 * turned - 1.0, facing, 0.25 + 0.75 * near), 0.0);
    let own = march.glow * (0.06 + 0.42 * shown * shown * shown);
    let light = vec3f(0.18, 0.20, 0.24) + vec3f(0.60, 0.58, 0.55) * diffuse + own;
    let flash = flash_of(walk.voxel >> vec3u(4u));
    let color = look_of(page, i32(shown * 255.0 + 0.5)).rgb * light * outline(inside, walk.faces, pixels);
    return softened(color + march.flash_color * flash * (0.25 + 0.75 * value));
}

$$ endif
fn shade(ray: Ray, walk: Walk, page: Page, value: f32) -> vec3f {
    let inside = march.camera_part + ray.direction * walk.depth - vec3f(walk.voxel - march.camera_voxel);
    let position = vec3f(walk.voxel) + inside;
    // From afar a pixel holds many bytes: their mean is the truth there, and a single byte is noise.
    let pixels = 1.0 / max(march.pixel_voxels * walk.depth, 1e-6);
    let near = smoothstep(0.8, 4.0, pixels);
$$ if by_page
    let shown = value;
$$ else
    let cell = textureLoad(cells, walk.voxel >> vec3u(2u), 0);
    let shown = mix(dot(march.pyramid, cell.rba), value, near);
$$ endif

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
    let color = look_of(page, i32(shown * 255.0 + 0.5)).rgb;
    let flash = flash_of(walk.voxel >> vec3u(4u));
    // High bytes shine by themselves; grazing surfaces catch a little more light.
    let own = march.glow * (0.06 + 0.42 * shown * shown * shown + 0.25 * edge * edge * edge);
    let lit = color * (ambient * shade + key + own) * outline(inside, walk.faces, pixels);
$$ if lit
    if (page.lit) {
        // It shines by itself: deep inside, no other light would reach it.
        let shining = color * (0.22 + ambient * mix(shade, 1.0, 0.7) + key + own) * outline(inside, walk.faces, pixels);
        return softened(lit_up(shining, color_of_group(page.group), edge * edge * edge * (1.0 - near)) + march.flash_color * flash * (0.25 + 0.75 * value));
    }
$$ endif
    return softened(lit + march.flash_color * flash * (0.25 + 0.75 * value));
}
