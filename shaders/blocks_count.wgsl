// The coarsest level: how many of a 64^3 block's bricks hold anything, and the highest byte in it; an invocation a block.

@group(0) @binding(0) var bricks: texture_3d<u32>;
@group(0) @binding(1) var blocks: texture_storage_3d<r32uint, write>;
@group(0) @binding(2) var<storage, read> stale: array<u32>;   // how many there are, then x | y << 9 | z << 18 of each

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) invocation: vec3u) {
    if (invocation.x >= stale[0]) {
        return;
    }
    let place = stale[invocation.x + 1u];
    let block = vec3u(place, place >> 9u, place >> 18u) & vec3u(511u);
    var count = 0u;
    var highest = 0u;
    for (var i = 0u; i < 64u; i++) {
        let brick = block * 4u + vec3u(i & 3u, (i >> 2u) & 3u, i >> 4u);
        // Beyond the edge a load gives zero or a clamped brick; only ask inside.
        if (all(brick < textureDimensions(bricks))) {
            let packed = textureLoad(bricks, brick, 0).r;
            count += select(0u, 1u, packed != 0u);
            highest = max(highest, (packed >> 21u) & 0xffu);
        }
    }
    textureStore(blocks, block, vec4u(count | highest << 8u, 0u, 0u, 0u));
}
