// What is lit up: each highlight glows in its own colour and has a thin outline; the rest gives way, in opacity as in
// colour, and is seen through.
//
// A highlight is a set of bricks. Its outline runs along the edges of what they fill together: where two faces meet, not
// where a face goes on in the next brick. Rays find it as they pass from brick to brick, so that it costs the same
// however many bricks and highlights there are.

// The number of the highlight that a brick is of, from one on; 0 for none, and for what is not shown.
fn group_of(brick: vec3i) -> u32 {
    if (any(brick < (march.clip_low >> vec3u(4u))) || any(brick > ((march.clip_high - 1) >> vec3u(4u)))) {
        return 0u;
    }
    return u32(textureLoad(lit_pages, brick, 0).r * 255.0 + 0.5);
}

// Linear light, and how far it tints.
fn color_of_group(group: u32) -> vec4f {
    return textureLoad(highlight_colors, vec3i(i32(group), 0, 0), 0);
}

const LUMA = vec3f(0.2126, 0.7152, 0.0722);

// `edge`: 0 to 1, how near to where it ends in the picture.
fn lit_up(color: vec3f, group: u32, edge: f32) -> vec3f {
    let own = color_of_group(group);
    let tinted = own.rgb * (0.12 + 1.3 * dot(color, LUMA));
    return mix(color * 1.2, tinted, own.a) + own.rgb * (0.03 + 0.3 * edge);
}

fn dimmed(color: vec3f) -> vec3f {
    return mix(color, vec3f(dot(color, LUMA)), 0.6 * march.dim);
}

// The share of what is not lit up that is left.
fn share_left() -> f32 {
    return 1.0 - 0.92 * march.dim;
}

// ----- outlines

// The outlines that a ray has passed, nearest first, in front of one another: premultiplied linear light.
struct Outlines {
    light: vec4f,
    depth: f32,    // of the nearest
    brick: vec3i,  // the brick that the ray is in …
    group: u32,    // … and its highlight
}

var<private> outlines: Outlines;

// How much of a pixel is covered by outlines on a brick's face, at the point where a ray goes through it.
// `normal`: out of the brick.
fn cover_of_outlines(ray: Ray, depth: f32, brick: vec3i, group: u32, normal: vec3i) -> f32 {
    let at = march.camera_part + ray.direction * depth - vec3f(brick * 16 - march.camera_voxel);
    let towards = dot(ray.direction, vec3f(normal));
    let pixel = march.pixel_voxels * depth;
    let width = max(march.outline_voxels * depth, pixel);
    var cover = 0.0;
    for (var i = 0; i < 3; i++) {
        var axis = vec3i(select(0, 1, i == 0), select(0, 1, i == 1), select(0, 1, i == 2));
        if (any((axis & normal) != vec3i(0))) {
            continue;
        }
        let place = dot(at, vec3f(axis));
        // Of the face's two edges along the third axis the nearer one.
        let from_edge = max(min(place, 16.0 - place), 0.0);
        axis = select(axis, -axis, place < 8.0);
        let along = dot(ray.direction, vec3f(axis));
        // As far as the ray passes it by, in space.
        let passes = from_edge * abs(towards) * inverseSqrt(max(towards * towards + along * along, 1e-12));
        if (passes > width + 0.5 * pixel) {
            continue;
        }
        // The other face that meets this one at the edge: the same brick's, or that of one which stands on the next.
        var other = axis;
        if (group_of(brick + axis) == group) {
            if (group_of(brick + axis + normal) != group) {
                continue;
            }
            other = -axis;
        }
        // Where both are seen, each has half of the line.
        let both = (dot(ray.direction, vec3f(other)) < 0.0) == (towards < 0.0);
        let limit = select(width, 0.5 * width, both);
        cover = max(cover, 1.0 - smoothstep(limit - 0.5 * pixel, limit + 0.5 * pixel, passes));
    }
    return cover;
}

fn add_outline(ray: Ray, walk: Walk, brick: vec3i, group: u32, normal: vec3i, share: f32) {
    let cover = cover_of_outlines(ray, walk.depth, brick, group, normal);
    if (cover > 0.0 && is_shown(walk.voxel)) {
        // Bricks of a few pixels would be nothing but lines.
        let pixels = 16.0 / (march.pixel_voxels * walk.depth);
        let alpha = cover * share * mix(0.4, 0.9, smoothstep(3.0, 12.0, pixels));
        if (outlines.light.a == 0.0) {
            outlines.depth = walk.depth;
        }
        outlines.light += (1.0 - outlines.light.a) * alpha * vec4f(color_of_group(group).rgb, 1.0);
    }
}

// A ray goes over into a brick of highlight `group`, 0 for none. `share`: of the light that comes through to the eye.
fn cross_outlines(ray: Ray, walk: Walk, brick: vec3i, group: u32, share: f32) {
    let before = outlines.group;
    if (group != before && march.outline_voxels > 0.0 && any(walk.faces)) {
        // Through a corner a ray crosses several faces at once: any of them does.
        let x = walk.faces.x;
        let y = walk.faces.y && !x;
        let forwards = vec3i(select(vec3f(-1.0), vec3f(1.0), ray.forwards));
        let normal = -forwards * vec3i(select(0, 1, x), select(0, 1, y), select(1, 0, x || y));
        if (group != 0u) {
            add_outline(ray, walk, brick, group, normal, share);
        }
        if (before != 0u) {
            add_outline(ray, walk, outlines.brick, before, -normal, share);
        }
    }
    outlines.brick = brick;
    outlines.group = group;
}

// Outlines over what a march found behind and between them.
fn under_outlines(color: vec4f) -> vec4f {
    return outlines.light + color * (1.0 - outlines.light.a);
}

