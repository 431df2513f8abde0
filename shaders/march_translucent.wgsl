// Translucent: front to back, each stretch of a ray dimming what lies behind it by how much it holds and how long it is.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

fn density_of(filled: f32, mean: f32) -> f32 {
    return march.opacity * filled * (0.1 + 1.4 * mean * mean);
}

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    var walk = start;
    let length_per_depth = length(ray.direction);
    var brick = vec3i(-1);
    var side = 1;
    var info = Brick(0.0, 0.0, 0);
    var place = 0u;
    var heat = 0.0;
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
            let packed = textureLoad(bricks, brick, 0).r;
            if (packed == 0u) {
                side = select(64, 16, textureLoad(blocks, walk.voxel >> vec3u(6u), 0).r != 0u);
            } else {
                info = unpack_brick(packed);
                place = place_of(brick);
                heat = heat_of(brick);
                // Single bytes only where a pixel can show them.
                side = select(1, 4, march.detail * march.pixel_voxels * walk.depth > 0.4);
            }
        }
        let low = walk.voxel & vec3i(-side);
        let planes = leave_depth(ray, low, side);
        let next = step_out(ray, walk, low, side, planes);
        if (side <= 4) {
            var filled = 0.0;
            var mean = 0.0;
            if (side == 1) {
                let byte = byte_of(walk.voxel, place);
                mean = f32(byte) / 255.0;
                filled = min(f32(byte), 1.0);
            } else {
                let cell = textureLoad(cells, walk.voxel >> vec3u(2u), 0);
                mean = cell.r;
                filled = cell.g;
            }
            if (filled > 0.0 && is_shown(walk.voxel)) {
                let stretch = (min(next.depth, end) - walk.depth) * length_per_depth;
                let kept = exp(-density_of(filled, mean) * stretch);
                let weight = passed * (1.0 - kept);
                let color = color_of(info.kind, mean).rgb;
                light += weight * (color * march.glow + march.flash_color * heat);
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
