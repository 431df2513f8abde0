// Summaries that the processor made, into the levels' textures: one invocation a page.

struct Batch {
    now_s: f32,
    flash: u32,
    n_pages: u32,
}

struct Summed {
    brick: u32,          // x | y << 9 | z << 18
    packed: u32,         // the brick's texel
    more: u32,
    heat: f32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> pages: array<Summed>;
@group(0) @binding(2) var<storage, read> cell_texels: array<u32>;   // 64 a page, in raster order
@group(0) @binding(3) var bricks: texture_storage_3d<rg32uint, write>;
@group(0) @binding(4) var heat: texture_storage_3d<rg32float, write>;
@group(0) @binding(5) var cells: texture_storage_3d<rgba8unorm, write>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) invocation: vec3u) {
    let index = invocation.x;
    if (index >= batch.n_pages) {
        return;
    }
    let page = pages[index];
    let brick = vec3u(page.brick, page.brick >> 9u, page.brick >> 18u) & vec3u(511u);
    textureStore(bricks, brick, vec4u(page.packed, page.more, 0u, 0u));
    if (batch.flash != 0u) {
        textureStore(heat, brick, vec4f(batch.now_s, page.heat, 0.0, 0.0));
    }
    for (var i = 0u; i < 64u; i++) {
        let cell = brick * 4u + (vec3u(i, i >> 2u, i >> 4u) & vec3u(3u));
        textureStore(cells, cell, unpack4x8unorm(cell_texels[index * 64u + i]));
    }
}
