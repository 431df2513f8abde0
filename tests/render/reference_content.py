"""What a page's summaries must be, in numpy: neither the shader's way of counting nor the compiled loops'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.content import Kind

COUNT = np.arange(4097)
TABLE = np.rint(COUNT * np.log2(np.maximum(COUNT, 1)) * 256).astype(np.int64)
ALL = 12 << 20
RANDOM_FROM = 245


def entropy_of(pages: NDArray[np.uint8]) -> NDArray[np.int64]:
    """255 for 8 bits a byte, in integers: pages (n, 4096) uint8 -> (n,)."""
    counts = np.stack([np.bincount(page, minlength=256) for page in pages])
    left = ALL - np.minimum(TABLE[counts].sum(axis=1), ALL)
    entropy: NDArray[np.int64] = np.minimum((left * 255 + (1 << 22)) >> 23, 255)
    return entropy


def first_filled(values: NDArray[np.uint8], start: int) -> NDArray[np.uint8]:
    """The first value that is not zero at or after `start`, and around: (..., n) -> (...)."""
    turned = np.roll(values, -start, axis=-1)
    at = (turned != 0).argmax(axis=-1)
    found: NDArray[np.uint8] = np.take_along_axis(turned, at[..., None], axis=-1)[..., 0]
    return found


def cells_of(pages: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each cell's texel in address order: pages (n, 4096) uint8 -> (n, 64, 4)."""
    cells = pages.reshape(-1, 64, 64)
    filled = (cells != 0).sum(axis=-1)
    mean = (cells.sum(axis=-1, dtype=np.int64) + filled // 2) // np.maximum(filled, 1)
    share = (filled * 255 + 63) // 64
    texels = np.stack([mean, share, cells.max(axis=-1), first_filled(cells, 32)], axis=-1)
    result: NDArray[np.uint8] = texels.astype(np.uint8)
    return result


def kinds_of(pages: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What each page is guessed to hold: pages (n, 4096) uint8 -> (n,)."""
    filled = (pages != 0).sum(axis=1)
    text = (((pages >= 0x20) & (pages < 0x7F)) | (pages == 0x0A)).sum(axis=1)
    opcodes = np.isin(pages, [0x48, 0x89, 0x8B, 0xE8]).sum(axis=1)
    odd = np.ascontiguousarray(pages).view("<u4")[:, 1::2]
    pointers = ((odd >> 16 == 0xFFFF) & (odd < 0xFFFFFFF0) | (odd >> 8 == 0x7F)).sum(axis=1)
    kinds: NDArray[np.int64] = np.select(
        [
            filled == 0,
            (pages == pages[:, :1]).all(axis=1),
            filled < 256,
            entropy_of(pages) >= RANDOM_FROM,
            text * 100 >= filled * 85,
            pointers >= 32,
            (opcodes * 100 >= filled * 11) & (filled >= 2048),
        ],
        [Kind.ZERO, Kind.FILL, Kind.SPARSE, Kind.RANDOM, Kind.TEXT, Kind.POINTERS, Kind.CODE],
        Kind.DATA,
    ).astype(np.int64)
    return kinds


def bricks_of(pages: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Each brick's texel: pages (n, 4096) uint8 -> (n, 2) uint32."""
    filled = (pages != 0).sum(axis=1)
    mean = (pages.sum(axis=1, dtype=np.int64) + filled // 2) // np.maximum(filled, 1)
    packed = filled | mean << 13 | pages.max(axis=1).astype(np.int64) << 21 | kinds_of(pages) << 29
    representative = first_filled(first_filled(pages.reshape(-1, 64, 64), 32), 32).astype(np.int64)
    more = np.where(filled > 0, entropy_of(pages) | representative << 8, 0)
    return np.stack([packed, more], axis=1).astype(np.uint32)
