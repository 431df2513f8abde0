// Written pages into the volume: one workgroup a page, one invocation a 4^3 cell (64 consecutive bytes).
//
// Besides the voxels it leaves, for whoever looks from afar, a summary of each cell and of each brick.
// `layout` says where voxels live: "texture" (in space) or "linear" (buffers of pages in address order).

{$ include 'glassbox.hilbert.wgsl' $}
{$ include 'glassbox.content.wgsl' $}

struct Batch {
    now_s: f32,
    flash: u32,
    part_bits: u32,        // linear: a part holds 2^part_bits pages
    pad: u32,
    first_z: vec4u,        // texture: where each part begins, in voxels
}

@group(0) @binding(1) var<uniform> batch: Batch;
@group(0) @binding(2) var<storage, read> places: array<vec2u>;  // brick x | y << 9 | z << 18 | state << 27, and the page
@group(0) @binding(3) var<storage, read> data: array<u32>;      // the pages, 1024 words each
@group(0) @binding(4) var bricks: texture_storage_3d<r32uint, write>;
@group(0) @binding(5) var times: texture_storage_3d<r32float, write>;
@group(0) @binding(6) var cells: texture_storage_3d<rgba8unorm, write>;
$$ for part in range(n_parts)
$$ if layout == "texture"
@group(0) @binding({{ 7 + part }}) var voxels_{{ part }}: texture_storage_3d<rgba8unorm, write>;
$$ else
@group(0) @binding({{ 7 + part }}) var<storage, read_write> voxels_{{ part }}: array<u32>;
$$ endif
$$ endfor

var<workgroup> counts: array<atomic<u32>, {{ n_counters }}>;

$$ if layout == "texture"
fn byte_at(base: u32, offset: u32) -> u32 {
    return (data[base + (offset >> 2u)] >> ((offset & 3u) * 8u)) & 0xffu;
}

fn store_row(voxel: vec3u, word: u32) {
    // Four voxels along x are one texel.
    let value = unpack4x8unorm(word);
$$ for part in range(n_parts - 1)
    if (voxel.z < batch.first_z[{{ part + 1 }}]) {
        textureStore(voxels_{{ part }}, vec3u(voxel.x >> 2u, voxel.y, voxel.z - batch.first_z[{{ part }}]), value);
        return;
    }
$$ endfor
    textureStore(voxels_{{ n_parts - 1 }}, vec3u(voxel.x >> 2u, voxel.y, voxel.z - batch.first_z[{{ n_parts - 1 }}]), value);
}

fn store_cell(base: u32, cell: vec3u, state: u32) {
    for (var row = 0u; row < 16u; row++) {
        var word = 0u;
        for (var x = 0u; x < 4u; x++) {
            word |= byte_at(base, hilbert_inverse(state, row * 4u + x)) << (x * 8u);
        }
        store_row(cell * 4u + vec3u(0u, row & 3u, row >> 2u), word);
    }
}
$$ else
fn store_cell(base: u32, page: u32, digits: u32) {
    let to = (page & ((1u << batch.part_bits) - 1u)) * 1024u + digits * 16u;
$$ for part in range(n_parts)
    if ((page >> batch.part_bits) == {{ part }}u) {
        for (var i = 0u; i < 16u; i++) {
            voxels_{{ part }}[to + i] = data[base + i];
        }
    }
$$ endfor
}
$$ endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) digits: u32) {
    let place = places[group.x];
    let brick = vec3u(place.x, place.x >> 9u, place.x >> 18u) & vec3u(511u);
    let entry = hilbert_forward(place.x >> 27u, digits);
    let cell = brick * 4u + hilbert_cell(entry);
    let base = group.x * 1024u + digits * 16u;

$$ if layout == "texture"
    store_cell(base, cell, entry >> 8u);
$$ else
    store_cell(base, place.y, digits);
$$ endif

    let content = content_of_cell(base);
    textureStore(cells, cell, summary_of_cell(content));

    if (digits < {{ n_counters }}u) {
        atomicStore(&counts[digits], 0u);
    }
    workgroupBarrier();
    content_add(content);
    workgroupBarrier();
    if (digits == 0u) {
        textureStore(bricks, brick, vec4u(summary_of_brick(), 0u, 0u, 0u));
        if (batch.flash != 0u) {
            textureStore(times, brick, vec4f(batch.now_s, 0.0, 0.0, 0.0));
        }
    }
}
