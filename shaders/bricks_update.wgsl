// Written pages into the volume: one workgroup a page, one invocation a 4^3 cell (64 consecutive bytes).
//
// Besides the voxels it leaves, for whoever looks from afar, a summary of each cell and of each brick.
// `layout` says where voxels live: "texture" (in space) or "linear" (buffers of pages in address order). Either may be cut
// into parts; a dispatch writes one part, so that an invocation never has to choose among many.

{$ include 'glassbox.curve.wgsl' $}
{$ include 'glassbox.content.wgsl' $}

struct Batch {
    now_s: f32,
    flash: u32,
    first: u32,          // the batch's first entry for this dispatch's part
    part_start: u32,     // where the part begins: its first z in voxels, or its first slot
}

struct Place {
    brick: u32,          // x | y << 9 | z << 18 | state << 27
    page: u32,           // the slot that its bytes go to
    source: u32,         // which of the pages in `data`
    heat: f32,           // what it comes to with this write
}

@group(0) @binding(1) var<uniform> batch: Batch;
@group(0) @binding(2) var<storage, read> places: array<Place>;
@group(0) @binding(3) var<storage, read> data: array<u32>;      // the pages, 1024 words each
@group(0) @binding(4) var bricks: texture_storage_3d<rg32uint, write>;
@group(0) @binding(5) var heat: texture_storage_3d<rg32float, write>;
@group(0) @binding(6) var cells: texture_storage_3d<rgba8unorm, write>;
$$ if layout == "texture"
@group(0) @binding(7) var voxels: texture_storage_3d<rgba8unorm, write>;
$$ else
@group(0) @binding(7) var<storage, read_write> voxels: array<u32>;
$$ endif
@group(0) @binding(8) var<storage, read> entropy_table: array<u32>;  // count -> count * log2(count), in 256ths

var<workgroup> counts: array<atomic<u32>, {{ n_counters }}>;
var<workgroup> histogram: array<atomic<u32>, 256>;

$$ if layout == "texture"
fn byte_at(base: u32, offset: u32) -> u32 {
    return (data[base + (offset >> 2u)] >> ((offset & 3u) * 8u)) & 0xffu;
}

fn store_cell(base: u32, cell: vec3u, state: u32) {
    for (var row = 0u; row < 16u; row++) {
        var word = 0u;
        for (var x = 0u; x < 4u; x++) {
            word |= byte_at(base, curve_inverse(state, row * 4u + x)) << (x * 8u);
        }
        // Four voxels along x are one texel.
        let at = vec3u(cell.x, cell.y * 4u + (row & 3u), cell.z * 4u + (row >> 2u) - batch.part_start);
        textureStore(voxels, at, unpack4x8unorm(word));
    }
}
$$ else
fn store_cell(base: u32, page: u32, digits: u32) {
    if (page == 0xffffffffu) {
        return;    // too far from view for its bytes to be kept
    }
    let to = (page - batch.part_start) * 1024u + digits * 16u;
    for (var i = 0u; i < 16u; i++) {
        voxels[to + i] = data[base + i];
    }
}
$$ endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) digits: u32) {
    let place = places[batch.first + group.x];
    let brick = vec3u(place.brick, place.brick >> 9u, place.brick >> 18u) & vec3u(511u);
    let entry = curve_forward(place.brick >> 27u, digits);
    let cell = brick * 4u + curve_cell(entry);
    let base = place.source * 1024u + digits * 16u;

$$ if layout == "texture"
    store_cell(base, cell, entry >> 8u);
$$ else
    store_cell(base, place.page, digits);
$$ endif

    content_clear(digits);
    workgroupBarrier();
    let content = content_of_cell(base);
    textureStore(cells, cell, summary_of_cell(content));
    content_add(content, digits);
    workgroupBarrier();
    content_add_entropy(digits);
    workgroupBarrier();
    if (digits == 0u) {
        textureStore(bricks, brick, vec4u(summary_of_brick(), 0u, 0u));
        if (batch.flash != 0u) {
            textureStore(heat, brick, vec4f(batch.now_s, place.heat, 0.0, 0.0));
        }
    }
}
