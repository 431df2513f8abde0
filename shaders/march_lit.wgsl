// What is lit up: each highlight glows in its own colour and has a thin outline; the rest gives way, in opacity as in
// colour, and is seen through.
//
// A highlight is a set of bricks. Its outline runs along the edges of what they fill together: where two faces meet, not
// where a face goes on in the next brick. Rays find it as they pass from brick to brick, so that it costs the same
// however many bricks and highlights there are.

// The word of a brick inside of the volume; see render/highlight.py.
fn lit_bits(brick: vec3i) -> u32 {
    let shape = march.shape >> vec3u(4u);
    return lit_words[{{ colour_words }} + brick.x + shape.x * (brick.y + shape.y * brick.z)];
}

// The same, where most bricks are asked for that are far from all that is lit: then without a look.
fn lit_near(brick: vec3i) -> u32 {
    let at = brick * 16;
    var lit = 0u;
    if (all(at >= march.lit_low) && all(at < march.lit_high)) {
        lit = lit_bits(brick);
    }
    return lit;
}

fn is_lit(lit: u32) -> bool {
    return (lit & 255u) != 0u;
}

// Whether any page of the brick's block is lit up.
fn in_lit_block(lit: u32) -> bool {
    return (lit & 256u) != 0u;
}

// So many bricks on every side of one are not lit up, as it is not.
fn clear_of(lit: u32) -> i32 {
    return i32(lit >> 28u);
}

// The depths between which a ray can meet what is lit; the second is the lower one where it cannot.
fn lit_depths(ray: Ray) -> vec2f {
    let near = depth_of_planes(ray, select(march.lit_high, march.lit_low, ray.forwards));
    let far = depth_of_planes(ray, select(march.lit_low, march.lit_high, ray.forwards));
    return vec2f(max(max(near.x, near.y), near.z), min(min(far.x, far.y), far.z));
}

// From a place in a brick that is not lit to where a ray next enters one that may be.
fn behind_glass(ray: Ray, glass: Walk) -> Walk {
    let low = glass.voxel & vec3i(-16);
    let next = step_out(ray, glass, low, 16, leave_depth(ray, low, 16));
    let near = depth_of_planes(ray, select(march.lit_high, march.lit_low, ray.forwards));
    let depth = max(max(near.x, near.y), near.z);
    if (depth <= next.depth) {
        return next;
    }
    // As in `enter_volume`, rounding must not decide on which side of a face the walk goes on.
    let faces = near == vec3f(depth);
    let inside = clamp(voxel_at(ray, depth), march.lit_low, march.lit_high - 1);
    return Walk(select(inside, select(march.lit_high - 1, march.lit_low, ray.forwards), faces), depth, faces);
}

// The number of the highlight that a brick is of, from one on; 0 for none, and for what is not shown.
fn group_of(brick: vec3i) -> u32 {
    if (any(brick < (march.clip_low >> vec3u(4u))) || any(brick > ((march.clip_high - 1) >> vec3u(4u)))) {
        return 0u;
    }
    return lit_bits(brick) & 255u;
}

// Linear light, and how far it tints.
fn color_of_group(group: u32) -> vec4f {
    let at = 4u * group;
    return bitcast<vec4f>(vec4u(lit_words[at], lit_words[at + 1u], lit_words[at + 2u], lit_words[at + 3u]));
}

// The same, to eight bits each of what is seen, in one read: for what is asked again and again on a ray's way.
fn quick_color(group: u32) -> vec4f {
    let packed = unpack4x8unorm(lit_words[{{ colour_words - 256 }}u + group]);
    return vec4f(packed.rgb * packed.rgb, packed.a);
}

const LUMA = vec3f(0.2126, 0.7152, 0.0722);

// `own`: its highlight's colour; `edge`: 0 to 1, how near to where it ends in the picture.
fn lit_up(color: vec3f, own: vec4f, edge: f32) -> vec3f {
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
    lit: u32,      // what `lit_words` say of the brick that the ray is in
}

var<private> outlines: Outlines;

// Where a ray goes through a face between two bricks, seen along two axes of the face.
struct Crossing {
    normal: u32,        // the face's axis: 0 to 2
    sides: vec2u,       // of the face's two edges along either axis the nearer one: 1 for the higher
    passes: vec2f,      // how far the ray passes those by, in space
    forwards: vec2<bool>,
    towards: bool,      // forwards along the normal
    width: f32,
    pixel: f32,
}

// How much of a pixel outlines cover, of a brick on one side of a face: 1 for the side that is higher along its axis.
fn cover_of_outlines(at: Crossing, lit: u32, side: u32) -> f32 {
    // A face of the brick looks out of it, so its sign is that of the other side.
    let sign = 1u - side;
    let axes = select(select(vec2u(0u, 1u), vec2u(0u, 2u), at.normal == 1u), vec2u(1u, 2u), at.normal == 0u);
    let lower = vec2<bool>(at.normal < axes.x, at.normal < axes.y);
    let edges = 4u * (axes + at.normal - 1u) + select(at.sides + 2u * sign, sign + 2u * at.sides, lower);
    let is_edge = ((vec2u(lit) >> (edges + 16u)) & vec2u(1u)) != vec2u(0u);
    // The other face that meets this one there: the same brick's, or one that stands on the next brick and looks back.
    let goes_on = ((vec2u(lit) >> (9u + 2u * axes + at.sides)) & vec2u(1u)) != vec2u(0u);
    let other_seen = (at.sides == vec2u(1u)) != goes_on;
    // A face is seen from outside where the ray goes against the way that it looks.
    let from_outside = at.towards != (sign == 1u);
    let other_from_outside = at.forwards != other_seen;
    // Where both are seen, each has half of the line.
    let limits = select(vec2f(at.width), vec2f(0.5 * at.width), other_from_outside == vec2<bool>(from_outside));
    let covers = clamp((limits - at.passes) / at.pixel + 0.5, vec2f(0.0), vec2f(1.0));
    let shown = select(vec2f(0.0), covers, is_edge);
    return max(shown.x, shown.y);
}

fn add_outline(depth: f32, group: u32, alpha: f32) {
    if (outlines.light.a == 0.0) {
        outlines.depth = depth;
    }
    outlines.light += (1.0 - outlines.light.a) * alpha * vec4f(quick_color(group).rgb, 1.0);
}

// A ray goes over into a brick of which `lit_words` say `lit`. `share`: of its light that comes through to the eye.
fn cross_outlines(ray: Ray, walk: Walk, brick: vec3i, lit: u32, share: f32) {
    let before = outlines.lit;
    outlines.lit = lit;
    let has_edges = ((lit | before) & 0x0fff0000u) != 0u;
    if (((lit ^ before) & 255u) == 0u || !has_edges || march.outline_voxels <= 0.0 || outlines.light.a > 0.97 || !any(walk.faces)) {
        return;
    }
    // Through a corner a ray crosses several faces at once: any of them does.
    let x = walk.faces.x;
    let y = walk.faces.y && !x;
    let normals = vec3<bool>(x, y, !x && !y);
    let point = march.camera_part + ray.direction * walk.depth - vec3f(brick * 16 - march.camera_voxel);
    // Most rays pass through the middle of a face. The nearer edge tells, and that no ray is longer than its direction.
    let from_edges = select(min(point, 16.0 - point), vec3f(1e9), normals);
    let nearest = min(min(from_edges.x, from_edges.y), from_edges.z);
    let toward = dot(select(vec3f(0.0), ray.direction, normals), vec3f(1.0));
    let reach = (march.outline_voxels + 0.5 * march.pixel_voxels) * walk.depth;
    if (nearest * abs(toward) > reach * ray.length || !is_shown(walk.voxel)) {
        return;
    }
    let at = select(select(point.xy, point.xz, y), point.yz, x);
    let along = select(select(ray.direction.xy, ray.direction.xz, y), ray.direction.yz, x);
    let from_edge = max(min(at, 16.0 - at), vec2f(0.0));
    let scaled = from_edge * abs(toward);
    let lengths = along * along + toward * toward;
    if (all(scaled * scaled > reach * reach * lengths)) {
        return;
    }
    let passes = scaled * inverseSqrt(lengths);
    let width = march.outline_voxels * walk.depth;
    let pixel = march.pixel_voxels * walk.depth;
    let normal = select(select(2u, 1u, y), 0u, x);
    let sides = select(vec2u(0u), vec2u(1u), at > vec2f(8.0));
    let crossing = Crossing(normal, sides, passes, along > vec2f(0.0), toward > 0.0, width, pixel);
    // Bricks of a few pixels would be nothing but lines.
    let strength = share * mix(0.4, 0.9, smoothstep(3.0, 12.0, 16.0 / pixel));
    let side = u32(toward > 0.0);
    for (var i = 0u; i < 2u; i++) {
        let of_brick = select(lit, before, i == 1u);
        if ((of_brick & 255u) != 0u) {
            let cover = cover_of_outlines(crossing, of_brick, select(1u - side, side, i == 0u));
            if (cover > 0.0) {
                add_outline(walk.depth, of_brick & 255u, cover * strength);
            }
        }
    }
}

// A ray that went on to the end of what can be lit, or of the volume, has passed the last outline there.
fn leave_lit(ray: Ray, walk: Walk, end: f32, share: f32) {
    if (outside(walk.voxel) || walk.depth < end) {
        cross_outlines(ray, walk, walk.voxel >> vec3u(4u), 0u, share);
    }
}

// Outlines over what a march found behind and between them.
fn under_outlines(color: vec4f) -> vec4f {
    return outlines.light + color * (1.0 - outlines.light.a);
}

