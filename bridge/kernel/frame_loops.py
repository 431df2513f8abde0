"""The compiled loop that keeps a copy of all `struct page`, and their most wanted members as columns, up to date."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.memory.native import compiled

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]

RECORD_WORDS = 8
"""The record's size that is provided for, in words: 64 bytes, as on every kernel without debugging options."""


@compiled(nogil=True)
def update(
    words: U64,
    pieces: I64,
    places: I64,
    records: U64,
    flags: U64,
    links: U64,
    mapping: U64,
    page_type: U32,
    refcount: I32,
) -> tuple[int, bool]:
    """Bring records (n, 8) and columns (n,) up to what `words`, the RAM, holds.

    `pieces` (r, 3): the first record, the one behind the last, and the word where they lie. `places` (5,): where flags,
    link, mapping (in words), page type and reference count (in half words) are in a record. Every record is read whole
    and compared; what is the same is not written. Returns how many are another, and whether any link is.
    """
    n_changed = 0
    other_links = False
    for piece in range(len(pieces)):
        source = pieces[piece, 2]
        for row in range(pieces[piece, 0], pieces[piece, 1]):
            w0, w1, w2, w3 = words[source], words[source + 1], words[source + 2], words[source + 3]
            w4, w5, w6, w7 = words[source + 4], words[source + 5], words[source + 6], words[source + 7]
            source += RECORD_WORDS
            differs = (w0 ^ records[row, 0]) | (w1 ^ records[row, 1]) | (w2 ^ records[row, 2]) | (w3 ^ records[row, 3])
            differs |= (w4 ^ records[row, 4]) | (w5 ^ records[row, 5]) | (w6 ^ records[row, 6]) | (w7 ^ records[row, 7])
            if differs == np.uint64(0):
                continue
            n_changed += 1
            records[row, 0], records[row, 1], records[row, 2], records[row, 3] = w0, w1, w2, w3
            records[row, 4], records[row, 5], records[row, 6], records[row, 7] = w4, w5, w6, w7
            flags[row] = records[row, places[0]]
            link = records[row, places[1]]
            if link != links[row]:
                links[row] = link
                other_links = True
            mapping[row] = records[row, places[2]]
            high = np.uint64(32) * np.uint64(places[3] & 1)
            page_type[row] = np.uint32(records[row, places[3] >> 1] >> high & np.uint64(0xFFFF_FFFF))
            high = np.uint64(32) * np.uint64(places[4] & 1)
            refcount[row] = np.int32(np.uint32(records[row, places[4] >> 1] >> high & np.uint64(0xFFFF_FFFF)))
    return n_changed, other_links
