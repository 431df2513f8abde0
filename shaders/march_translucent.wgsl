// Translucent: front to back, each stretch of a ray dimming what lies behind it by how much it holds and how long it is.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

// Light on its way to the eye, and what gave most of it.
struct Light {
    color: vec3f,
    passed: f32,     // the share of what is behind that still comes through
    depths: f32,     // of what the light comes from, each by its share
    most: f32,
    depth: f32,
    voxel: vec3i,
}

// A stretch of a ray, in voxels' lengths, through what has a scalar. The table holds the extinction of a voxel's length:
// what is kept of the light falls with the length of the stretch, however long the steps are.
fn pass_through(light: ptr<function, Light>, look: vec4f, flash: vec3f, share: f32, stretch: f32, depth: f32, voxel: vec3i) {
    let kept = exp(-look.a * share * stretch);
    let weight = (*light).passed * (1.0 - kept);
    (*light).color += weight * (look.rgb * march.glow + flash);
    (*light).passed *= kept;
    (*light).depths += weight * depth;
    if (weight > (*light).most) {
        (*light).most = weight;
        (*light).depth = depth;
        (*light).voxel = voxel;
    }
}

// Colour and extinction of a page's scalar: what is lit up takes more of a ray, the rest less.
$$ if lit
fn look_in(page: Page, own: vec4f, scalar: i32) -> vec4f {
    let look = look_of(page, scalar);
    // A ray sums over a lot: what is left of the rest must be little, and dark.
    let rest = vec4f(dimmed(look.rgb) * (1.0 - 0.6 * march.dim), look.a * share_left() * share_left());
    return select(rest, vec4f(lit_up(look.rgb, own, 0.0), look.a * (1.0 + march.dim)), page.lit);
}
$$ else
fn look_in(page: Page, own: vec4f, scalar: i32) -> vec4f {
    return look_of(page, scalar);
}
$$ endif

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    var walk = start;
    let length_per_depth = ray.length;
    var block = vec3i(-1);
    var block_span = 16;
    var light = Light(vec3f(0.0), 1.0, 0.0, 0.0, 0.0, vec3i(0));
    for (var i = 0; i < MAX_STEPS; i++) {
        if (outside(walk.voxel) || walk.depth >= end || light.passed < 0.02) {
            break;
        }
        let brick = walk.voxel >> vec3u(4u);
        var page: Page;
        page.shown = false;  // said here: compilers leave in it what the brick before had
        var own = vec4f(0.0);
        var span = 16;
$$ if lit
        let lit = lit_near(brick);
        cross_outlines(ray, walk, brick, lit, max(light.passed, 0.3));
        // Near what is lit a ray goes from brick to brick, also where blocks hold nothing: then that costs nothing else.
        let here = walk.voxel >> vec3u(6u);
        if (any(here != block)) {
            block = here;
            block_span = empty_side(walk.voxel);
        }
        if (block_span == 16) {
            page = page_at(brick, lit);
            if (page.lit) {
                own = quick_color(page.group);
            }
        }
        span = select(block_span, 16, in_lit_block(lit));
$$ else
        page = page_at(brick);
$$ endif
        var side = 0;
        if (page.shown) {
            side = resolve(ray, walk.depth, brick, &page);
            // Where all cells are alike, the brick says as much.
            side = select(side, 16, side == 4 && page.packed.r >> 29u >= {{ kinds.RANDOM }}u);
$$ if not lit
        } else {
            let here = walk.voxel >> vec3u(6u);
            if (any(here != block)) {
                block = here;
                block_span = empty_side(walk.voxel);
            }
            span = block_span;
$$ endif
        }
        let low = walk.voxel & vec3i(-span);
        let next = step_out(ray, walk, low, span, leave_depth(ray, low, span));
        if (page.shown) {
            let flash = march.flash_color * flash_of(brick);
            let limit = min(next.depth, end);
            if (side == 1) {
                var inside = enter_brick(ray, walk, low, side);
                var depth = walk.depth;
                for (var j = 0; j < MAX_INSIDE; j++) {
                    let leave = leave_of(inside);
                    let voxel = low + vec3i(inside.at);
                    let scalar = scalar_of_byte(byte_of(voxel, page.place), page);
                    if (scalar >= 0 && is_shown(voxel)) {
                        let stretch = max(min(leave, limit) - depth, 0.0) * length_per_depth;
                        pass_through(&light, look_in(page, own, scalar), flash, 1.0, stretch, depth, voxel);
                    }
                    let faces = inside.leave == vec3f(leave);
                    inside.leave += select(vec3f(0.0), inside.stride, faces);
                    inside.at += select(vec3u(0u), inside.forward, faces);
                    depth = leave;
                    if (any(inside.at >= vec3u(16u)) || depth >= limit) {
                        break;
                    }
                }
            } else {
                // Cells, or the whole brick, are looked at in the middles of stretches of equal lengths, one and a half cells' at most.
$$ if lit
                // What gives way is faint, and a ray goes a long way through it: there a look or two a brick are enough.
                let longest = select(mix(6.0, 24.0, march.dim), 6.0, page.lit);
$$ else
                let longest = 6.0;
$$ endif
                let stretches = select(1.0, ceil((limit - walk.depth) * length_per_depth / longest), side == 4);
                let step = (limit - walk.depth) / max(stretches, 1.0);
                let to_brick = vec3f(low - march.camera_voxel) - march.camera_part;
                for (var j = 0; j < 8; j++) {
                    let depth = walk.depth + step * (f32(j) + 0.5);
                    if (depth >= limit) {
                        break;
                    }
                    let voxel = low + clamp(vec3i(ray.direction * depth - to_brick), vec3i(0), vec3i(15));
                    var filled = 0.0;
                    var scalar = NOTHING;
                    if (side == 4) {
                        let cell = textureLoad(cells, voxel >> vec3u(2u), 0);
                        filled = cell.g;
                        scalar = scalar_of_cell(cell, page);
                    } else {
                        filled = fill_of_brick(page.packed);
                        scalar = scalar_of_brick(page);
                    }
                    if (scalar >= 0 && filled > 0.0 && is_shown(voxel)) {
                        pass_through(&light, look_in(page, own, scalar), flash, filled, step * length_per_depth, depth, voxel);
                    }
                }
            }
        }
        walk = next;
    }
$$ if lit
    if (outside(walk.voxel)) {
        leave_lit(ray, walk, end, max(light.passed, 0.3));
    }
$$ endif
    // Light comes from all along the ray; what it comes from on the whole has a shape, as far as it is dense.
    let dimmed = 1.0 - light.passed;
    let middle = light.depths / max(dimmed, 1e-6);
    let shade = mix(1.0, 0.62 + 0.44 * turned_to_light(ray, middle, 26.0), dimmed);
    return Result(vec4f(light.color * shade, 1.0 - light.passed), select(0.0, max(light.depth, 1e-6), light.most > 0.0), light.voxel);
}
