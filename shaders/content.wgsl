// What kind of bytes a page holds, guessed from counts and entropy, in integers alone, four bytes at a time.
//
// Adding 0x7f to the low seven bits of a byte carries into its top bit unless they were zero; with that, comparisons and
// counts of four bytes are a few word operations and a population count (Warren, "Hacker's Delight", 6-1).

struct Content {
    total: u32,      // sum of the bytes
    filled: u32,     // bytes that are not zero
    highest: u32,
    text: u32,       // printable ASCII and newline
    opcodes: u32,    // bytes that x86-64 code is full of: REX.W, mov r/m, call
    pointers: u32,   // odd words that look like the upper half of a kernel or user address
    first: u32,      // the first byte that is not zero from the middle on, and around
}

const TOPS = 0x80808080u;

fn bytes_not_zero(word: u32) -> u32 {
    return (((word & 0x7f7f7f7fu) + 0x7f7f7f7fu) | word) & TOPS;
}

fn bytes_equal(word: u32, byte: u32) -> u32 {
    return bytes_not_zero(word ^ (byte * 0x01010101u)) ^ TOPS;
}

fn content_of_cell(base: u32) -> Content {
    var c = Content();
    var before = 0u;   // the first one that is not zero in the first half
    for (var i = 0u; i < 16u; i++) {
        let word = data[base + i];
        for (var j = 0u; j < 32u; j += 8u) {
            atomicAdd(&histogram[(word >> j) & 0xffu], 1u);
        }
        if (word != 0u) {
            let byte = (word >> (firstTrailingBit(word) & 24u)) & 0xffu;
            if (i < 8u) {
                before = select(before, byte, before == 0u);
            } else {
                c.first = select(c.first, byte, c.first == 0u);
            }
        }
        let even = word & 0x00ff00ffu;
        let odd = (word >> 8u) & 0x00ff00ffu;
        let sums = even + odd;
        c.total += (sums & 0xffffu) + (sums >> 16u);
        c.filled += countOneBits(bytes_not_zero(word));
        c.highest = max(c.highest, max(max(even & 0xffffu, even >> 16u), max(odd & 0xffffu, odd >> 16u)));
        let low = word & 0x7f7f7f7fu;
        let printable = ~word & (low + 0x60606060u) & ~(low + 0x01010101u) & TOPS;
        c.text += countOneBits(printable | bytes_equal(word, 0x0au));
        c.opcodes += countOneBits(bytes_equal(word, 0x48u) | bytes_equal(word & 0xfdfdfdfdu, 0x89u) | bytes_equal(word, 0xe8u));
        if ((i & 1u) == 1u) {
            c.pointers += select(0u, 1u, ((word >> 16u) == 0xffffu && word < 0xfffffff0u) || (word >> 8u) == 0x7fu);
        }
    }
    c.first = select(c.first, before, c.first == 0u);
    return c;
}

fn summary_of_cell(c: Content) -> vec4f {
    // Mean of what is there, how full, the highest byte, one that stands for all; each is a whole byte.
    let mean = (c.total + c.filled / 2u) / max(c.filled, 1u);
    return vec4f(f32(mean), f32((c.filled * 255u + 63u) / 64u), f32(c.highest), f32(c.first)) / 255.0;
}

fn content_clear(index: u32) {
    for (var i = index; i < 256u; i += 64u) {
        atomicStore(&histogram[i], 0u);
    }
    if (index < {{ n_counters }}u) {
        atomicStore(&counts[index], 0u);
    }
}

fn content_add(c: Content, cell: u32) {
    // Counts of at most 4096 go two to a word: one atomic for each pair.
    atomicAdd(&counts[0], c.total);
    atomicAdd(&counts[1], c.filled | c.text << 16u);
    atomicAdd(&counts[2], c.opcodes | c.pointers << 16u);
    atomicMax(&counts[3], c.highest);
    if (c.filled != 0u) {
        // The page's representative is that of its first filled cell from the middle on, and around; a maximum over
        // complements is a minimum, and nothing is zero.
        atomicMax(&counts[4], ~(((cell ^ 32u) << 8u) | c.first));
    }
}

fn content_add_entropy(index: u32) {
    var sum = 0u;
    for (var i = index; i < 256u; i += 64u) {
        sum += entropy_table[atomicLoad(&histogram[i])];
    }
    atomicAdd(&counts[5], sum);
}

// 0..255 for 0..8 bits a byte: log2(4096) less the mean of log2(count), rounded.
fn entropy_of_page(sum: u32) -> u32 {
    let all = 12u << 20u;
    return min(((all - min(sum, all)) * 255u + (1u << 22u)) >> 23u, 255u);
}

fn summary_of_brick() -> vec2u {
    let total = atomicLoad(&counts[0]);
    let filled = atomicLoad(&counts[1]) & 0xffffu;
    let text = atomicLoad(&counts[1]) >> 16u;
    let opcodes = atomicLoad(&counts[2]) & 0xffffu;
    let pointers = atomicLoad(&counts[2]) >> 16u;
    let highest = atomicLoad(&counts[3]);
    if (filled == 0u) {
        return vec2u(0u);
    }
    let entropy = entropy_of_page(atomicLoad(&counts[5]));
    // The order matters: the first that fits names the page.
    var kind = {{ kinds.DATA }}u;
    if (filled == 4096u && total == highest * 4096u) {
        kind = {{ kinds.FILL }}u;
    } else if (filled < 256u) {
        kind = {{ kinds.SPARSE }}u;
    } else if (entropy >= {{ random_entropy }}u) {
        kind = {{ kinds.RANDOM }}u;
    } else if (text * 100u >= filled * 85u) {
        kind = {{ kinds.TEXT }}u;
    } else if (pointers >= 32u) {
        kind = {{ kinds.POINTERS }}u;
    } else if (opcodes * 100u >= filled * 11u && filled >= 2048u) {
        kind = {{ kinds.CODE }}u;
    }
    let mean = (total + filled / 2u) / filled;
    let representative = ~atomicLoad(&counts[4]) & 0xffu;
    return vec2u(filled | mean << 13u | highest << 21u | kind << 29u, entropy | representative << 8u);
}
