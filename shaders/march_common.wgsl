// What every way of marching shares: the view, the levels of the volume, stepping through them, fetching a byte.
//
// All distances along a ray are depths (the ray's direction has length one along the view axis), in voxels. Positions are
// kept as the camera's voxel plus a fraction, so that precision is best where the camera is.

struct March {
    camera_voxel: vec3i,
    part_bits: u32,
    camera_part: vec3f,      // 0..1 inside camera_voxel
    clear_depth: f32,        // nothing nearer than this is shown
    right: vec3f,            // from the image's centre to its right edge, at depth one
    now_s: f32,
    up: vec3f,
    pixel_voxels: f32,       // how many voxels a pixel of the final picture covers, at depth one
    forward: vec3f,
    opacity: f32,
    shape: vec3i,
    detail: f32,             // 1: show what pixels can show; 0: always single voxels (picking)
    resolution: vec2f,
    jitter: vec2f,
    light: vec3f,
    flash_s: f32,            // how long a written page takes to cool to 1/e
    flash_color: vec3f,
    glow: f32,
    part_starts: vec4i,
    open_low: vec3i,         // the box that is laid open, or an empty one
    pad0: i32,
    open_high: vec3i,
    pad1: i32,
    open_side: vec3i,        // per axis, on which side of the box the camera is: 1 or -1
    pad2: i32,
    clip_low: vec3i,         // the part of the volume that is shown, never beyond its shape; high is outside
    pad3: i32,
    clip_high: vec3i,
    pad4: i32,
}

@group(0) @binding(0) var<uniform> march: March;
@group(0) @binding(1) var bricks: texture_3d<u32>;
@group(0) @binding(2) var heat: texture_3d<f32>;     // when it was written last, and how hot it was then
@group(0) @binding(3) var blocks: texture_3d<u32>;
@group(0) @binding(4) var cells: texture_3d<f32>;
@group(0) @binding(5) var palette: texture_2d<f32>;   // byte across, kind of content down; linear light
@group(0) @binding(6) var smooth_sampler: sampler;
$$ if layout == "texture"
$$ for part in range(n_parts)
@group(0) @binding({{ 7 + part }}) var voxels_{{ part }}: texture_3d<f32>;
$$ endfor
$$ else
@group(0) @binding(7) var brick_pages: texture_3d<u32>;          // page | state << 27
@group(0) @binding(8) var<storage, read> byte_order: array<u32>; // state, place in the brick -> place in the page; two a word
$$ for part in range(n_parts)
@group(0) @binding({{ 9 + part }}) var<storage, read> voxels_{{ part }}: array<u32>;
$$ endfor
$$ endif

const MAX_STEPS = {{ max_steps }};

// ----- rays

struct Ray {
    direction: vec3f,
    inverse: vec3f,
    forwards: vec3<bool>,
}

fn ray_through(position: vec2f) -> Ray {
    let ndc = (position + march.jitter) / march.resolution * 2.0 - 1.0;
    var direction = march.forward + ndc.x * march.right - ndc.y * march.up;
    // A zero would make its reciprocal, and then a distance, not a number.
    let tiny = abs(direction) < vec3f(1e-7);
    direction = select(direction, select(vec3f(-1e-7), vec3f(1e-7), direction >= vec3f(0.0)), tiny);
    return Ray(direction, 1.0 / direction, direction > vec3f(0.0));
}

fn depth_of_planes(ray: Ray, planes: vec3i) -> vec3f {
    return (vec3f(planes - march.camera_voxel) - march.camera_part) * ray.inverse;
}

fn voxel_at(ray: Ray, depth: f32) -> vec3i {
    return march.camera_voxel + vec3i(floor(march.camera_part + ray.direction * depth));
}

// Where a ray is: the voxel that it has just entered, at which depth, and through which faces.
struct Walk {
    voxel: vec3i,
    depth: f32,
    faces: vec3<bool>,
}

fn enter_volume(ray: Ray) -> Walk {
    let near = depth_of_planes(ray, select(march.clip_high, march.clip_low, ray.forwards));
    let depth = max(max(near.x, near.y), near.z);
    var walk = Walk(vec3i(0), depth, near == vec3f(depth));
    // Half a voxel's diagonal earlier than what may be shown: voxels are kept or taken away whole.
    let limit = max(march.clear_depth - 1.0, 1e-3);
    if (limit > walk.depth) {
        walk = Walk(vec3i(0), limit, vec3<bool>(false));
    }
$$ if cut
    let opened = leave_opening(ray);
    if (opened.depth > walk.depth) {
        walk = opened;
    }
$$ endif
    walk.voxel = clamp(voxel_at(ray, walk.depth), march.clip_low, march.clip_high - 1);
    // At a face, rounding must not decide on which side of it the walk begins.
    let low = select(march.clip_high - 1, march.clip_low, ray.forwards);
    walk.voxel = select(walk.voxel, low, walk.faces & (near == vec3f(walk.depth)));
    return walk;
}

// ----- what is taken away: all that is too near, and everything between the camera and a box that is laid open, as a
// corner cut out of the volume at the box

$$ if cut
fn opening_walls() -> vec3i {
    return select(march.open_high, march.open_low, march.open_side > vec3i(0));
}

fn is_opened() -> bool {
    return march.open_high.x > march.open_low.x;
}

fn in_open_box(voxel: vec3i) -> bool {
    return all(voxel >= march.open_low) && all(voxel < march.open_high);
}

fn hidden(voxel: vec3i) -> bool {
    let walls = opening_walls();
    let beyond = select((voxel < walls), (voxel >= walls), (march.open_side > vec3i(0)));
    return is_opened() && all(beyond) && !in_open_box(voxel);
}

fn too_near(voxel: vec3i) -> bool {
    let center = vec3f(voxel - march.camera_voxel) - march.camera_part + 0.5;
    return dot(center, march.forward) < march.clear_depth;
}

// Where a ray that starts in the opening meets one of its walls or the box.
fn leave_opening(ray: Ray) -> Walk {
    let never = Walk(vec3i(0), -1.0, vec3<bool>(false));
    let walls = opening_walls();
    let side = vec3f(march.open_side);
    let from_walls = (vec3f(march.camera_voxel - walls) + march.camera_part) * side;
    if (!is_opened() || any(from_walls < vec3f(0.0))) {
        return never;
    }
    let towards = ray.direction * side < vec3f(0.0);
    let wall_depths = select(vec3f(1e9), depth_of_planes(ray, walls), towards);
    let wall = min(min(wall_depths.x, wall_depths.y), wall_depths.z);
    let near = depth_of_planes(ray, select(march.open_high, march.open_low, ray.forwards));
    let far = depth_of_planes(ray, select(march.open_low, march.open_high, ray.forwards));
    let box = max(max(near.x, near.y), near.z);
    if (box > 0.0 && box < min(min(far.x, far.y), far.z) && box < wall) {
        return Walk(vec3i(0), box, near == vec3f(box));
    }
    return Walk(vec3i(0), wall, wall_depths == vec3f(wall));
}

fn is_shown(voxel: vec3i) -> bool {
    return !hidden(voxel) && !too_near(voxel);
}
$$ else
fn hidden(voxel: vec3i) -> bool {
    return false;
}

fn is_shown(voxel: vec3i) -> bool {
    return true;
}
$$ endif

// The depth at which a ray has left what is shown: a march goes from its walk's depth to here.
fn leave_volume(ray: Ray) -> f32 {
    let far = depth_of_planes(ray, select(march.clip_low, march.clip_high, ray.forwards));
    return min(min(far.x, far.y), far.z);
}

fn leave_depth(ray: Ray, low: vec3i, side: i32) -> vec3f {
    return depth_of_planes(ray, select(low, low + side, ray.forwards));
}

// Step out of the cube at `low`. The axis that is crossed moves by whole voxels and the others stay inside the cube, so
// rounding can neither stop the walk nor turn it back.
fn step_out(ray: Ray, walk: Walk, low: vec3i, side: i32, planes: vec3f) -> Walk {
    let depth = min(min(planes.x, planes.y), planes.z);
    var next: Walk;
    next.faces = planes == vec3f(depth);
    next.depth = max(depth, walk.depth);
    let inside = clamp(voxel_at(ray, next.depth), low, low + side - 1);
    next.voxel = select(inside, select(low - 1, low + side, ray.forwards), next.faces);
    return next;
}

fn outside(voxel: vec3i) -> bool {
    return any(voxel < march.clip_low) || any(voxel >= march.clip_high);
}

// ----- the volume's levels

struct Brick {
    filled: f32,   // 0..1
    mean: f32,
    kind: i32,
}

fn unpack_brick(packed: u32) -> Brick {
    return Brick(f32(packed & 8191u) / 4096.0, f32((packed >> 13u) & 255u) / 255.0, i32(packed >> 29u));
}

fn heat_of(brick: vec3i) -> f32 {
    return exp(-max(march.now_s - textureLoad(heat, brick, 0).r, 0.0) / march.flash_s);
}

$$ if layout == "texture"
fn place_of(brick: vec3i) -> u32 {
    return 0u;
}

fn byte_of(voxel: vec3i, place: u32) -> u32 {
$$ for part in range(n_parts - 1)
    if (voxel.z < march.part_starts[{{ part + 1 }}]) {
        let at = vec3i(voxel.x >> 2u, voxel.y, voxel.z - march.part_starts[{{ part }}]);
        return u32(textureLoad(voxels_{{ part }}, at, 0)[voxel.x & 3] * 255.0 + 0.5);
    }
$$ endfor
    let at = vec3i(voxel.x >> 2u, voxel.y, voxel.z - march.part_starts[{{ n_parts - 1 }}]);
    return u32(textureLoad(voxels_{{ n_parts - 1 }}, at, 0)[voxel.x & 3] * 255.0 + 0.5);
}
$$ else
fn place_of(brick: vec3i) -> u32 {
    return textureLoad(brick_pages, brick, 0).r;
}

fn byte_of(voxel: vec3i, place: u32) -> u32 {
    let local = vec3u(voxel & vec3i(15));
    let index = (place >> 27u) * 4096u + (local.x | local.y << 4u | local.z << 8u);
    let offset = (byte_order[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
    let page = place & 0x7ffffffu;
    let word = (page & ((1u << march.part_bits) - 1u)) * 1024u + (offset >> 2u);
    var value = 0u;
$$ if n_parts == 1
    value = voxels_0[word];
$$ else
    switch (page >> march.part_bits) {
$$ for part in range(n_parts)
        case {{ part }}u: { value = voxels_{{ part }}[word]; }
$$ endfor
        default: {}
    }
$$ endif
    return (value >> ((offset & 3u) * 8u)) & 0xffu;
}
$$ endif

fn color_of(kind: i32, value: f32) -> vec4f {
    return textureLoad(palette, vec2i(i32(value * 255.0 + 0.5), kind), 0);
}
