// Translucent: front to back, each stretch of a ray dimming what lies behind it by how much it holds and how long it is.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    var walk = start;
    let length_per_depth = length(ray.direction);
    var brick = vec3i(-1);
    var side = 1;
    var page: Page;
    var flash = 0.0;
    var light = vec3f(0.0);
    var passed = 1.0;
    var best = 0.0;
    var best_depth = 0.0;
    var best_voxel = vec3i(0);
    for (var i = 0; i < MAX_STEPS; i++) {
        if (outside(walk.voxel) || walk.depth >= end || passed < 0.02) {
            break;
        }
        let here = walk.voxel >> vec3u(4u);
        if (any(here != brick)) {
            brick = here;
            page = page_at(brick);
            if (page.shown) {
                page.place = place_of(brick);
                flash = flash_of(brick);
                side = side_of(ray, walk.depth, page);
            } else {
                side = empty_side(walk.voxel);
            }
        }
        let low = walk.voxel & vec3i(-side);
        let next = step_out(ray, walk, low, side, leave_depth(ray, low, side));
        if (page.shown) {
            var filled = 1.0;
            var scalar = NOTHING;
            if (side == 1) {
                scalar = scalar_of_byte(byte_of(walk.voxel, page.place), page);
            } else if (side == 4) {
                let cell = textureLoad(cells, walk.voxel >> vec3u(2u), 0);
                filled = cell.g;
                scalar = scalar_of_cell(cell, page);
            } else {
                filled = fill_of_brick(page.packed);
                scalar = scalar_of_brick(page);
            }
            if (scalar >= 0 && filled > 0.0 && is_shown(walk.voxel)) {
                let stretch = (min(next.depth, end) - walk.depth) * length_per_depth;
                let look = look_of(page, scalar);
                // The table holds the extinction of a voxel's length: what is kept of the light falls with the length
                // of the stretch, however long the steps are.
                let kept = exp(-look.a * filled * stretch);
                let weight = passed * (1.0 - kept);
                light += weight * (look.rgb * march.glow + march.flash_color * flash);
                passed *= kept;
                if (weight > best) {
                    best = weight;
                    best_depth = walk.depth;
                    best_voxel = walk.voxel;
                }
            }
        }
        walk = next;
    }
    return Result(vec4f(light, 1.0 - passed), select(0.0, max(best_depth, 1e-6), best > 0.0), best_voxel);
}
