"""What each written page holds, summed up by the processor: for software Vulkan, whose workgroups count more slowly.

`shaders/content.wgsl` says the same for GPUs, and `tests/render/reference_content.py` in numpy; all three give the
same bits, because everything is integers. On the way the pages are copied to where the GPU reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.compiled import any_bits, cell_facts, compiled, copy_octets, count_bits, first_bit, octet, word
from render.content import RANDOM_ENTROPY, Kind

U64: Any = np.uint64
_UINTP: Any = np.uintp

_SPARSE, _DATA, _TEXT, _POINTERS, _CODE, _RANDOM, _FILL = (
    int(kind) for kind in (Kind.SPARSE, Kind.DATA, Kind.TEXT, Kind.POINTERS, Kind.CODE, Kind.RANDOM, Kind.FILL)
)
_TO_SUM = 12 << 20
_RANDOM_ENTROPY = RANDOM_ENTROPY


@compiled
def classify(
    data: int,
    n_pages: int,
    targets: NDArray[np.uint64],
    cell_order: NDArray[np.uint8],
    states: NDArray[np.uint8],
    entropy_table: NDArray[np.uint32],
    cells: NDArray[np.uint32],
    bricks: NDArray[np.uint32],
) -> None:
    """Sum up pages and copy them.

    data: address of n_pages * 4096 bytes, aligned to 8.
    targets: (n_pages,) addresses to which each page is copied; 0: nowhere.
    cell_order: (n_states, 64) state, number of a cell -> its place in the brick, x | y << 2 | z << 4.
    states: (n_pages,) each page's state.
    entropy_table: (4097,) see render.content.
    cells: (n_pages, 64) out: each cell's texel, in the order of their places.
    bricks: (n_pages, 2) out: the brick's texel.
    """
    counts = np.zeros((4, 256), np.uint32)
    for page in range(n_pages):
        base = _UINTP(data) + _UINTP(page * 4096)
        target = _UINTP(targets[page])
        filled_bits = U64(0)
        for part in range(8):
            filled_bits |= any_bits(base + _UINTP(512 * part))
        if target != 0:
            copy_octets(target, base, 4096)
        if filled_bits == 0:
            for cell in range(64):
                cells[page, cell] = 0
            bricks[page, 0] = 0
            bricks[page, 1] = 0
            continue
        counts[:] = 0
        total, filled, highest, pointers, representative = U64(0), U64(0), U64(0), U64(0), U64(0)
        state = states[page]
        # From the middle on and around, so that the first cell that holds something gives the representative.
        for turn in range(64):
            cell = turn ^ 32
            at = base + _UINTP(64 * cell)
            mask, cell_total, cell_highest, cell_pointers = cell_facts(at)
            place = cell_order[state, cell]
            if mask == 0:
                cells[page, place] = 0
                continue
            cell_filled = count_bits(mask)
            turned = (mask >> U64(32)) | (mask << U64(32))
            first = octet(at + _UINTP(first_bit(turned) ^ U64(32)))
            mean = (cell_total + (cell_filled >> U64(1))) // cell_filled
            share = (cell_filled * U64(255) + U64(63)) >> U64(6)
            cells[page, place] = np.uint32(mean | share << U64(8) | cell_highest << U64(16) | first << U64(24))
            total += cell_total
            filled += cell_filled
            pointers += cell_pointers
            highest = max(highest, cell_highest)
            if representative == 0:
                representative = first
            for i in range(8):
                eight = word(at + _UINTP(8 * i))
                # Four histograms: a byte that comes again need not wait until it was counted.
                counts[0, eight & U64(255)] += np.uint32(1)
                counts[1, eight >> U64(8) & U64(255)] += np.uint32(1)
                counts[2, eight >> U64(16) & U64(255)] += np.uint32(1)
                counts[3, eight >> U64(24) & U64(255)] += np.uint32(1)
                counts[0, eight >> U64(32) & U64(255)] += np.uint32(1)
                counts[1, eight >> U64(40) & U64(255)] += np.uint32(1)
                counts[2, eight >> U64(48) & U64(255)] += np.uint32(1)
                counts[3, eight >> U64(56)] += np.uint32(1)
        for byte in range(256):
            counts[0, byte] += counts[1, byte] + counts[2, byte] + counts[3, byte]
        count = counts[0]
        count[0] = np.uint32(4096) - np.uint32(filled)  # empty cells were not looked at
        sums = np.uint32(0)
        for byte in range(256):
            sums += entropy_table[count[byte]]
        text = U64(count[10])
        for byte in range(32, 127):
            text += U64(count[byte])
        opcodes = U64(count[0x48]) + U64(count[0x89]) + U64(count[0x8B]) + U64(count[0xE8])
        left = U64(_TO_SUM) - min(U64(sums), U64(_TO_SUM))
        entropy = min((left * U64(255) + U64(1 << 22)) >> U64(23), U64(255))
        kind = U64(_DATA)
        if filled == 4096 and total == highest * U64(4096):
            kind = U64(_FILL)
        elif filled < 256:
            kind = U64(_SPARSE)
        elif entropy >= _RANDOM_ENTROPY:
            kind = U64(_RANDOM)
        elif text * U64(100) >= filled * U64(85):
            kind = U64(_TEXT)
        elif pointers >= 32:
            kind = U64(_POINTERS)
        elif opcodes * U64(100) >= filled * U64(11) and filled >= 2048:
            kind = U64(_CODE)
        mean = (total + (filled >> U64(1))) // filled
        bricks[page, 0] = np.uint32(filled | mean << U64(13) | highest << U64(21) | kind << U64(29))
        bricks[page, 1] = np.uint32(entropy | representative << U64(8))
