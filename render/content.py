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
RANDOM_ENTROPY = 242
"""From this entropy on (of 255 for 8 bits a byte; 7.6 bits) a page is compressed or random. 4096 random bytes come to
253 or 254, what zstd, gzip, JPEG and ciphers leave to 250 and more; code to about 190, English text to 140.
"""


def entropy_table() -> NDArray[np.uint32]:
    """count * log2(count) in 256ths, rounded, (4097,) uint32: entropies are sums of these and so the same everywhere.

    The sum over a page's 256 counts is at most 12 << 20.
    """
    count = np.arange(4097, dtype=np.float64)
    return np.rint(count * np.log2(np.maximum(count, 1)) * 256).astype(np.uint32)
