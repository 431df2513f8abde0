// A curve as a state machine, two levels (six address bits, a 4^3 cell) at a step.
//
// The host fills the tables from the same arrays that numpy walks (render/curves.py), so there is one definition:
//   forward: state * 64 + digits   -> x | y << 2 | z << 4 | next state << 8
//   inverse: state * 64 + position -> digits
// Both are packed two to a word, the inverse behind the forward one. Hilbert has 24 states, other curves one.

struct CurveTables {
    forward: array<u32, {{ 32 * n_states }}>,
    inverse: array<u32, {{ 32 * n_states }}>,
}

@group(0) @binding({{ curve_binding }})
var<storage, read> curve: CurveTables;

fn curve_forward(state: u32, digits: u32) -> u32 {
    let index = state * 64u + digits;
    return (curve.forward[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
}

fn curve_inverse(state: u32, position: u32) -> u32 {
    let index = state * 64u + position;
    return (curve.inverse[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
}

fn curve_cell(entry: u32) -> vec3u {
    return vec3u(entry, entry >> 2u, entry >> 4u) & vec3u(3u);
}
