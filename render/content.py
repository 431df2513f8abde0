"""The kinds of content that a page can be guessed to hold, before the kernel's own records say better."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """Three bits of a brick's summary; `shaders/content.wgsl` decides. A guess, to be shown as such."""

    ZERO = 0
    SPARSE = 1
    DATA = 2
    TEXT = 3
    POINTERS = 4
    CODE = 5
    RANDOM = 6
    FILL = 7


KIND_TITLES: dict[Kind, str] = {
    Kind.ZERO: "Zero",
    Kind.SPARSE: "Nearly empty",
    Kind.DATA: "Data",
    Kind.TEXT: "Text",
    Kind.POINTERS: "Pointers",
    Kind.CODE: "Machine code",
    Kind.RANDOM: "Compressed or random",
    Kind.FILL: "One byte repeated",
}
N_COUNTERS = 6
"""Words of workgroup memory that a page's counts need, beside its histogram."""
RANDOM_ENTROPY = 245
"""From this entropy on (of 255; 7.7 bits a byte) a page is compressed or random. Measured by the page: random
bytes 253 or 254, zlib and LZMA 253 with 2 % of pages below 245, PNG 249; normally distributed doubles 242, floats 233,
machine code 165 to 205, base64 191, English text 140.
"""


def entropy_table() -> NDArray[np.uint32]:
    """count * log2(count) in 256ths, rounded, (4097,) uint32: entropies are sums of these and so the same everywhere.

    The sum over a page's 256 counts is at most 12 << 20.
    """
    count = np.arange(4097, dtype=np.float64)
    return np.rint(count * np.log2(np.maximum(count, 1)) * 256).astype(np.uint32)
