// Maximum intensity: the highest scalar on the ray, at the place where the ray first meets it.
//
// What cannot hold a higher one than the ray has is passed in one step: blocks, bricks, cells. Where cells stand for their
// voxels it is their highest that counts, whatever the pyramid: a maximum of maxima is no approximation.
//
// Where pages are lit up, every scalar of one ranks above all scalars of the others.

struct Result {
    color: vec4f,
    depth: f32,
    voxel: vec3i,
}

fn highest_of_cell(cell: vec4f, page: Page) -> i32 {
$$ if by_page
    return select(NOTHING, page.scalar, cell.g > 0.0);
$$ else
    return i32(cell.b * 255.0 + 0.5);
$$ endif
}

const LIT_RANK = 256;

$$ if lit
fn ranked(scalar: i32, rank: i32) -> i32 {
    return select(NOTHING, scalar + rank, scalar >= 0);
}
$$ endif

fn march_ray(ray: Ray, start: Walk, end: f32) -> Result {
    var walk = start;
    var brick = vec3i(-1);
    var cell = vec3i(-1);
    var level = 1;     // voxels a side that are looked at as one
    var side = 1;      // voxels a side that are passed now
    var bound = NOTHING;
$$ if lit
    var rank = 0;      // what a scalar of this brick's page counts beside itself
    var alone = false; // no page of its block is lit up
    let lit_until = lit_depths(ray).y;
$$ endif
    var page: Page;
    var best = NOTHING;
    var best_row = 0;
    var best_brick = vec3i(0);
    var best_walk = start;
    for (var i = 0; i < MAX_STEPS; i++) {
$$ if lit
        let is_highest = best >= march.top;
        if (outside(walk.voxel) || walk.depth >= end || best >= LIT_RANK + march.top || (is_highest && walk.depth >= lit_until)) {
$$ else
        if (outside(walk.voxel) || walk.depth >= end || best >= march.top) {
$$ endif
            break;
        }
        let here = walk.voxel >> vec3u(4u);
        if (any(here != brick)) {
            brick = here;
            cell = vec3i(-1);
$$ if lit
            let lit = lit_near(brick);
            alone = !in_lit_block(lit);
            cross_outlines(ray, walk, brick, lit, select(1.0, 0.5, best >= LIT_RANK));
            if (!is_highest || is_lit(lit)) {
                page = page_at(brick, lit);
            } else {
                page.shown = false;
            }
$$ else
            page = page_at(brick);
$$ endif
            bound = select(NOTHING, bound_of(page), page.shown);
$$ if lit
            rank = select(0, LIT_RANK, page.shown && page.lit);
            bound += rank;
$$ endif
            if (bound > best) {
                level = resolve(ray, walk.depth, brick, &page);
            }
        }
        var found = NOTHING;
        if (bound <= best) {
            let block = textureLoad(blocks, walk.voxel >> vec3u(6u), 0).r;
$$ if by_page
            var passes = (block & 0xffu) == 0u;
$$ else
            var passes = (block & 0xffu) == 0u || i32((block >> 8u) & 0xffu) <= best;
$$ endif
$$ if lit
            passes = alone && (passes || best >= LIT_RANK);
$$ endif
            side = select(16, 64, passes);
        } else if (level == 16) {
            side = 16;
            found = bound;
        } else {
            let at = walk.voxel >> vec3u(2u);
            if (any(at != cell)) {
                cell = at;
$$ if lit
                let highest = ranked(highest_of_cell(textureLoad(cells, cell, 0), page), rank);
$$ else
                let highest = highest_of_cell(textureLoad(cells, cell, 0), page);
$$ endif
                side = select(level, 4, highest <= best);
                found = select(NOTHING, highest, level == 4);
            }
            if (side == 1) {
$$ if lit
                found = ranked(scalar_of_byte(byte_of(walk.voxel, page.place), page), rank);
$$ else
                found = scalar_of_byte(byte_of(walk.voxel, page.place), page);
$$ endif
            }
        }
$$ if hides and not by_page
        if (found > best && side > 1 && !is_visible(u32(found) & 0xffu)) {
            found = NOTHING;
        }
$$ endif
        if (found > best && is_shown(walk.voxel)) {
            best = found;
            best_row = page.row;
            best_brick = brick;
            best_walk = walk;
        }
        let low = walk.voxel & vec3i(-side);
        walk = step_out(ray, walk, low, side, leave_depth(ray, low, side));
    }
$$ if lit
    if (outside(walk.voxel) || walk.depth >= lit_until) {
        leave_lit(ray, walk, end, select(1.0, 0.5, best >= LIT_RANK));
    }
$$ endif
    if (best < 0) {
        return Result(vec4f(0.0), 0.0, vec3i(0));
    }
    page.row = best_row;
$$ if lit
    let is_up = best >= LIT_RANK;
    // What is lit up shines as if it were near.
    let near = mix(start.depth, best_walk.depth, select(0.0, 0.7, is_up));
    let color = glowing(ray, look_of(page, best & 0xff), best_brick, best_walk.depth, near);
    let shown = select(vec4f(dimmed(color.rgb), color.a) * share_left(), vec4f(lit_up(color.rgb, color_of_group(group_of(best_brick)), 0.0), color.a), is_up);
    return Result(shown, max(best_walk.depth, 1e-6), best_walk.voxel);
$$ else
    return Result(glowing(ray, look_of(page, best), best_brick, best_walk.depth, start.depth), max(best_walk.depth, 1e-6), best_walk.voxel);
$$ endif
}

// Farther is darker, and what is turned from the light: a heap of equal maxima would be flat.
fn glowing(ray: Ray, look: vec4f, brick: vec3i, depth: f32, near: f32) -> vec4f {
    let reach = vec3f(march.clip_high - march.clip_low);
    let cue = 1.0 - 0.72 * smoothstep(0.0, 1.0, (depth - near) / max(max(reach.x, reach.y), reach.z));
    let alpha = sqrt(look.a);
    let light = look.rgb * cue * (0.55 + 0.5 * turned_to_light(ray, depth, 5.0)) + march.flash_color * flash_of(brick) * 0.5;
    return vec4f(light * alpha, alpha);
}
