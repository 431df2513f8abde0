// The Hilbert curve as a state machine, two levels (six address bits, a 4^3 cell) at a step.
//
// The host fills the tables from the same arrays that numpy walks (render/hilbert.py), so there is one definition:
//   forward: state * 64 + digits   -> x | y << 2 | z << 4 | next state << 8
//   inverse: state * 64 + position -> digits
// Both are packed two to a word.

struct HilbertTables {
    forward: array<u32, 768>,
    inverse: array<u32, 768>,
}

@group(0) @binding({{ hilbert_binding }})
var<storage, read> hilbert: HilbertTables;

fn hilbert_forward(state: u32, digits: u32) -> u32 {
    let index = state * 64u + digits;
    return (hilbert.forward[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
}

fn hilbert_inverse(state: u32, position: u32) -> u32 {
    let index = state * 64u + position;
    return (hilbert.inverse[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
}

fn hilbert_cell(entry: u32) -> vec3u {
    return vec3u(entry, entry >> 2u, entry >> 4u) & vec3u(3u);
}
