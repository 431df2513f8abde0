"""Where the tables of kallsyms may be in a kernel's image, by what they must look like: for kernels that do not say.

VMCOREINFO gives their addresses since v6.0. The token table is recognised by the tokens of the ten digits, which every
kernel has in this order, and by the index behind it; all else by its place beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bridge.kernel.kallsyms import MAX_SYMBOLS, N_TOKENS, Tables
from bridge.memory.native import compiled

_FEWEST_SYMBOLS = 4096
"""A kernel with fewer is too small to run anything that is looked at here."""
_REACH = 32 << 20
"""How far before the token table the names are looked for: four million symbols take less."""

_DIGIT_TOKENS = b"".join(b"%d\0" % digit for digit in range(10))


def find_tables(image: bytes | bytearray, base: int) -> Iterator[Tables]:
    """Where the tables may be in `image`, a copy of the kernel's read-only data that begins at virtual address `base`.

    The search goes on only as long as somebody wants another one.
    """
    for match in re.finditer(re.escape(_DIGIT_TOKENS), image):
        for token_table, token_index in _token_tables_around(image, match.start()):
            yield from _tables_around(image, base, token_table, token_index)


def _token_tables_around(image: bytes | bytearray, digits: int) -> list[tuple[int, int]]:
    """(token table, index) offsets of a table whose tokens of the digits are at `digits`."""
    # Token b"0" is number 0x30, so 48 tokens come before.
    at = digits
    for _ in range(ord("0")):
        at = image.rfind(b"\0", max(0, at - 64), at - 1) + 1
        if at <= 0:
            return []
    results = []
    for start in {at, at + -at % 4, at + -at % 8}:  # padding before the table looks like an empty token
        end, ok = start, True
        positions = []
        for _ in range(N_TOKENS):
            positions.append(end - start)
            stop = image.find(b"\0", end, end + 256)
            if stop < 0:
                ok = False
                break
            end = stop + 1
        if not ok:
            continue
        index = np.array(positions, "<u2").tobytes()
        place = image.find(index, end, end + 64 + len(index))
        if place >= 0:
            results.append((start, place))
    return results


def _tables_around(image: bytes | bytearray, base: int, token_table: int, token_index: int) -> Iterator[Tables]:
    """The names come before the token table, their number eight bytes before them, or four where nothing is aligned to
    eight (since v7.1); between names and table lie the markers (how far each 256th name is from the first) and since
    v6.2 more. Offsets are before the number or after the index.
    """
    begin = max(0, token_table - _REACH) & ~7
    words = np.frombuffer(image[begin : token_table & ~7], "<u4")
    plausible = (words >= _FEWEST_SYMBOLS) & (words <= MAX_SYMBOLS)
    room = token_table - begin - 4 * np.arange(len(words))
    plausible &= words.astype(np.int64) * 4 < room  # a name has at least a length, a type and two characters
    chosen = np.flatnonzero(plausible)
    # Padding makes the number a word of eight bytes.
    padded = (chosen % 2 == 0) & (np.append(words, 1)[chosen + 1] == 0)
    begins = begin + 4 * chosen + np.where(padded, 8, 4)
    sound = _begin_with_names(np.frombuffer(image[:token_table], np.uint8), begins)
    for index in np.flatnonzero(sound).tolist():
        num_syms, count = begin + 4 * int(chosen[index]), int(words[chosen[index]])
        names, alignment = int(begins[index]), 8 if padded[index] else 4
        if not _has_markers(image, names, count, token_table, alignment):
            continue
        after = token_index + 2 * N_TOKENS
        after += -after % alignment
        size = 4 * count + -4 * count % alignment
        old = num_syms - 8 - size
        for offsets, relative in ((after, after + size), (old, num_syms - 8), (after, None)):
            if offsets >= 0:
                yield Tables(
                    base + num_syms,
                    base + names,
                    base + token_table,
                    base + token_index,
                    base + offsets,
                    None if relative is None else base + relative,
                )


def _begin_with_names(raw: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether a hundred names could follow each other from each of `places` (n,) on: none of them is empty."""
    sound = np.zeros(len(places), np.bool_)
    left = np.flatnonzero(places + 2 < len(raw))
    at = places[left]
    for _ in range(100):
        length = raw[at].astype(np.int64)
        long = length & 0x80 != 0
        length = np.where(long, length & 0x7F | raw[at + 1].astype(np.int64) << 7, length)
        at += 1 + long + length
        going = (length > 0) & (at + 2 < len(raw))
        left, at = left[going], at[going]  # most end after a few
    sound[left] = True
    return sound


def _has_markers(image: bytes | bytearray, names: int, count: int, limit: int, alignment: int) -> bool:
    """Whether `count` names begin at `names`, with their markers behind them."""
    # Not zeroed: most walks end after a few of what may be said to be millions.
    starts, lengths = np.empty(count, np.int64), np.empty(count, np.int64)
    if _walk_names(np.frombuffer(image, np.uint8), names, limit, starts, lengths) < count:
        return False
    at = int(starts[-1] + lengths[-1])
    at += -at % alignment
    markers = (starts - np.where(lengths < 0x80, 1, 2) - names)[::256]
    return image[at : at + 4 * len(markers)] == markers.astype("<u4").tobytes()


@compiled(nogil=True)
def _walk_names(
    data: npt.NDArray[np.uint8],
    at: int,
    limit: int,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> int:
    """Follow names from `at` on, each of which says where the next is, and note where their tokens are.

    Returns how many there are: fewer than there is room for where one would begin beyond `limit`, or is empty; an empty
    one's start is noted.
    """
    for i in range(len(starts)):
        if at + 2 > limit:
            return i
        length = int(data[at])
        at += 1
        if length & 0x80:  # ULEB128 of two bytes (since v6.1)
            length = length & 0x7F | int(data[at]) << 7
            at += 1
        starts[i], lengths[i] = at, length
        if not length:
            return i
        at += length
    return len(starts)
