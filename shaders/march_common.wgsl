// What every way of marching shares: the view, the levels of the volume, stepping through them, what a voxel's scalar is.
//
// A scalar is what palette and transfer function are asked with, 0 to 255, or NOTHING where nothing is shown. In channels
// by page it is the page's; in the others it is the byte, or what stands for the bytes of a cell or a brick.
//
// All distances along a ray are depths (the ray's direction has length one along the view axis), in voxels. Positions are
// kept as the camera's voxel plus a fraction, so that precision is best where the camera is.

// A slice plane (march_sheets.wgsl).
struct Sheet {
    normal: vec3f,
    distance: f32,           // from the camera, along the normal
    axis: i32,               // 0 to 2: x, y, z; 3: oblique
    layer: i32,              // of voxels, that an x, y or z plane shows
    pad0: i32,
    pad1: i32,
}

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
    cells_from: f32,         // voxels that a pixel covers where cells begin to stand for them
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
    pyramid: vec3f,          // weights: is it mean, highest or representative that stands for many bytes
    phase: f32,              // this sample's place among those that a pixel gathers, 0..1
    visible: array<vec4u, 2>, // a bit a scalar: whether it is shown
    channel: u32,            // of the channels by page: 0 entropy, 1 heat, 2 the attribute
    hidden_kinds: u32,       // a bit a kind of content
    half_life_s: f32,
    top: i32,                // the highest scalar that is shown
    kind_rows: i32,          // 1: the palette has a row a kind, 0: its first row serves all
    bricks_from: f32,        // the same for bricks
    dim: f32,                // how far what is not lit up gives way, 0 to 1
    outline_voxels: f32,     // how wide outlines are, at depth one; 0: there are none
    lit_low: vec3i,          // the blocks that hold all that is lit up: no page outside of them is, nor is one beside it
    pad5: i32,
    lit_high: vec3i,
    pad6: i32,
    sheet_ground: vec3f,     // linear light of a sheet where bytes are zero
    n_sheets: i32,
    sheets: array<Sheet, 4>,
}

@group(0) @binding(0) var<uniform> march: March;
@group(0) @binding(1) var bricks: texture_3d<u32>;
@group(0) @binding(2) var heat: texture_3d<f32>;     // when it was written last, and how hot it was then
@group(0) @binding(3) var blocks: texture_3d<u32>;
@group(0) @binding(4) var cells: texture_3d<f32>;    // mean, share filled, highest, representative
@group(0) @binding(5) var palette: texture_2d<f32>;  // scalar across, kind of content down; linear light and opacity
@group(0) @binding(6) var smooth_sampler: sampler;
@group(0) @binding(7) var page_values: texture_3d<f32>;
@group(0) @binding(8) var<storage, read> lit_words: array<u32>; // see render/highlight.py
$$ if layout == "texture"
$$ for part in range(n_parts)
@group(0) @binding({{ 9 + part }}) var voxels_{{ part }}: texture_3d<f32>;
$$ endfor
$$ else
@group(0) @binding(9) var brick_pages: texture_3d<u32>;           // page | state << 27
@group(0) @binding(10) var<storage, read> byte_order: array<u32>; // state, place in the brick -> place in the page; two a word
$$ for part in range(n_parts)
@group(0) @binding({{ 11 + part }}) var<storage, read> voxels_{{ part }}: array<u32>;
$$ endfor
$$ endif

const MAX_STEPS = {{ max_steps }};
// A ray crosses at most one face of each axis a voxel: that many voxels of a brick can be met.
const MAX_INSIDE = 46;

// ----- rays

struct Ray {
    direction: vec3f,
    inverse: vec3f,
    length: f32,    // of the direction, in depths
    forwards: vec3<bool>,
    noise: f32,     // 0..1, even over neighbouring pixels and over the samples of one
    cells_from: f32, // the depth from which cells stand for voxels
    bricks_from: f32,
}

// Interleaved gradient noise: Jimenez, "Next generation post processing in Call of Duty" (2014).
fn pixel_noise(position: vec2f) -> f32 {
    return fract(52.9829189 * fract(dot(floor(position), vec2f(0.06711056, 0.00583715))) + march.phase);
}

fn ray_through(position: vec2f) -> Ray {
    let ndc = (position + march.jitter) / march.resolution * 2.0 - 1.0;
    var direction = march.forward + ndc.x * march.right - ndc.y * march.up;
    // A zero would make its reciprocal, and then a distance, not a number.
    let tiny = abs(direction) < vec3f(1e-7);
    direction = select(direction, select(vec3f(-1e-7), vec3f(1e-7), direction >= vec3f(0.0)), tiny);
    // Each pixel and each sample changes level elsewhere, within a factor of two: gathered, they blend.
    let noise = pixel_noise(position);
    let begin = select(
        vec2f(1e30), vec2f(march.cells_from, march.bricks_from) * exp2(noise - 0.5) / march.pixel_voxels, march.detail > 0.0);
    return Ray(direction, 1.0 / direction, length(direction), direction > vec3f(0.0), noise, begin.x, begin.y);
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

// A walk through the voxels, or the cells, of one brick: incremental, so that a step costs next to nothing.
// Amanatides and Woo, "A fast voxel traversal algorithm for ray tracing" (1987).
struct Inside {
    at: vec3u,         // in voxels or cells from the brick's low corner
    leave: vec3f,      // the depths at which the ray leaves it through either face
    stride: vec3f,     // by how much those grow from one to the next
    forward: vec3u,    // one, or minus one, which runs out of the brick as a very large number
    ends: u32,         // how many there are a side
}

fn enter_brick(ray: Ray, walk: Walk, low: vec3i, side: i32) -> Inside {
    let here = walk.voxel & vec3i(-side);
    var inside: Inside;
    inside.at = vec3u(here - low) / u32(side);
    inside.leave = leave_depth(ray, here, side);
    inside.stride = abs(ray.inverse) * f32(side);
    inside.forward = select(vec3u(0xffffffffu), vec3u(1u), ray.forwards);
    inside.ends = 16u / u32(side);
    return inside;
}

fn leave_of(inside: Inside) -> f32 {
    return min(min(inside.leave.x, inside.leave.y), inside.leave.z);
}

fn outside(voxel: vec3i) -> bool {
    return any(voxel < march.clip_low) || any(voxel >= march.clip_high);
}

// ----- the volume's levels

const NOTHING = -1;

fn is_visible(scalar: u32) -> bool {
    return ((march.visible[scalar >> 7u][(scalar >> 5u) & 3u] >> (scalar & 31u)) & 1u) != 0u;
}

// What a ray needs to know of the page whose brick it has come to.
struct Page {
    shown: bool,   // whether any of it can be
    scalar: i32,   // in channels by page
    packed: vec2u,
    row: i32,      // of the palette
    place: u32,
$$ if lit
    lit: bool,     // up
    group: u32,    // by which highlight, from one on; 0: by none
$$ endif
}

$$ if lit
{$ include 'glassbox.march_lit.wgsl' $}
$$ endif

$$ if lit
// `lit`: what `lit_words` say of it.
fn page_at(brick: vec3i, lit: u32) -> Page {
    var page: Page;
    page.group = lit & 255u;
    page.lit = page.group != 0u;
$$ else
fn page_at(brick: vec3i) -> Page {
    var page: Page;
$$ endif
    page.packed = textureLoad(bricks, brick, 0).rg;
    page.shown = page.packed.r != 0u;
    if (!page.shown) {
        return page;
    }
    let kind = page.packed.r >> 29u;
    page.row = i32(kind) * march.kind_rows;
$$ if hides
    page.shown = ((march.hidden_kinds >> kind) & 1u) == 0u;
$$ endif
$$ if by_page
    let scalar = page_scalar(brick, page.packed.g);
    page.scalar = i32(scalar);
$$ if hides
    page.shown = page.shown && is_visible(scalar);
$$ endif
$$ endif
    return page;
}

$$ if by_page
fn page_scalar(brick: vec3i, summary: u32) -> u32 {
    switch (march.channel) {
        case 0u: {
            return summary & 0xffu;
        }
        case 1u: {
            // On a logarithmic scale, up to {{ heat_top }} writes.
            let written = textureLoad(heat, brick, 0).rg;
            let writes = written.g * exp2(-max(march.now_s - written.r, 0.0) / march.half_life_s);
            return u32(clamp(log2(1.0 + writes) / log2(1.0 + {{ heat_top }}.0), 0.0, 1.0) * 255.0 + 0.5);
        }
        default: {
            return u32(textureLoad(page_values, brick, 0).r * 255.0 + 0.5);
        }
    }
}
$$ endif

// No voxel of the page has a scalar above this.
fn bound_of(page: Page) -> i32 {
$$ if by_page
    return page.scalar;
$$ else
    return i32((page.packed.r >> 21u) & 0xffu);
$$ endif
}

fn fill_of_brick(packed: vec2u) -> f32 {
    return f32(packed.r & 8191u) / 4096.0;
}

// How many voxels a side can be passed where a page is not shown.
fn empty_side(voxel: vec3i) -> i32 {
    return select(64, 16, (textureLoad(blocks, voxel >> vec3u(6u), 0).r & 0xffu) != 0u);
}

// How many voxels a side are looked at as one; where single ones are, `place` says where their bytes lie.
fn resolve(ray: Ray, depth: f32, brick: vec3i, page: ptr<function, Page>) -> i32 {
    var side = select(1, select(4, 16, depth > ray.bricks_from), depth > ray.cells_from);
    if (side == 1) {
        (*page).place = place_of(brick);
        side = select(1, 4, (*page).place == NOT_RESIDENT);
    }
    return side;
}

fn scalar_of_byte(byte: u32, page: Page) -> i32 {
$$ if hides and not by_page
    let shown = byte != 0u && is_visible(byte);
$$ else
    let shown = byte != 0u;
$$ endif
$$ if by_page
    return select(NOTHING, page.scalar, shown);
$$ else
    return select(NOTHING, i32(byte), shown);
$$ endif
}

fn scalar_of_summary(mean: f32, highest: f32, representative: f32, page: Page) -> i32 {
$$ if by_page
    return page.scalar;
$$ else
    let scalar = u32(dot(march.pyramid, vec3f(mean, highest, representative)) + 0.5);
$$ if hides
    return select(NOTHING, i32(scalar), is_visible(scalar));
$$ else
    return i32(scalar);
$$ endif
$$ endif
}

fn scalar_of_cell(cell: vec4f, page: Page) -> i32 {
    return scalar_of_summary(cell.r * 255.0, cell.b * 255.0, cell.a * 255.0, page);
}

fn scalar_of_brick(page: Page) -> i32 {
    let r = page.packed.r;
    return scalar_of_summary(
        f32((r >> 13u) & 0xffu), f32((r >> 21u) & 0xffu), f32((page.packed.g >> 8u) & 0xffu), page);
}

fn flash_of(brick: vec3i) -> f32 {
    return exp(-max(march.now_s - textureLoad(heat, brick, 0).r, 0.0) / march.flash_s);
}

const NOT_RESIDENT = {{ not_resident }}u;

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

fn fill_at(position: vec3f) -> f32 {
    // Nothing is outside; the sampler would repeat the edge.
    let inside = all(position > vec3f(march.clip_low)) && all(position < vec3f(march.clip_high)) && !hidden(vec3i(floor(position)));
    return select(0.0, textureSampleLevel(cells, smooth_sampler, position / vec3f(march.shape), 0.0).g, inside);
}

// How much a place is turned to the light, 0 to 1: whether there is less towards the light than away from it. Two looks
// at how full the cells are, so many voxels away, for ways of looking that have no surface.
fn turned_to_light(ray: Ray, depth: f32, voxels: f32) -> f32 {
    let position = vec3f(march.camera_voxel) + march.camera_part + ray.direction * depth;
    let reach = march.light * max(voxels, 2.0 * march.pixel_voxels * depth);
    return clamp(0.5 + 0.6 * (fill_at(position - reach) - fill_at(position + reach)), 0.0, 1.0);
}

// The palette's colour and the transfer function's opacity; in translucent mode, the extinction of a voxel's length.
fn look_of(page: Page, scalar: i32) -> vec4f {
    return textureLoad(palette, vec2i(scalar, page.row), 0);
}
