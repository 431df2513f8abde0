"""The kinds of content that a page can be guessed to hold, before the kernel's own records say better."""

from __future__ import annotations

from enum import IntEnum


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
N_COUNTERS = 5
"""Words of workgroup memory that a page's counts need."""
