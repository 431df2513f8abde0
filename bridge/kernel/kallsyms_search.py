"""Where the tables of kallsyms may be in a kernel's image, by what they must look like: for kernels that do not say.

VMCOREINFO gives their addresses since v6.0. The token table is recognised by the tokens of the ten digits, which every
kernel has in this order, and by the index behind it; all else by its place beside them. A guest may fill its memory
with what looks so: the search has an `Effort`, and ends when that is spent.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bridge.kernel.kallsyms import MAX_SYMBOLS, N_TOKENS, Effort, Tables
from bridge.memory.native import compiled

_FEWEST_SYMBOLS = 4096
"""A kernel with fewer is too small to run anything that is looked at here."""
_REACH = 32 << 20
"""How far before the token table the names are looked for: four million symbols take less."""
_MARKED = 256
"""Each name of so many has a marker."""
_ENOUGH_NAMES = 100

_DIGIT_TOKENS = b"".join(b"%d\0" % digit for digit in range(10))


def find_tables(image: bytes | bytearray, base: int, effort: Effort | None = None) -> Iterator[Tables]:
    """Where the tables may be in `image`, a copy of the kernel's read-only data that begins at virtual address `base`.

    The search goes on only as long as somebody wants another one, and `effort` lasts, which several searches may share.
    """
    effort = effort or Effort()
    for match in itertools.islice(re.finditer(re.escape(_DIGIT_TOKENS), image), effort.matches):
        effort.matches -= 1
        for token_table, token_index in _token_tables_around(image, match.start()):
            for tables in _tables_around(image, base, token_table, token_index, effort):
                if effort.tables <= 0:
                    return
                effort.tables -= 1
                yield tables
        if effort.steps <= 0:
            return


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


def _tables_around(
    image: bytes | bytearray, base: int, token_table: int, token_index: int, effort: Effort
) -> Iterator[Tables]:
    """The names come before the token table, their number eight bytes before them, or four where nothing is aligned to
    eight (since v7.1); between names and table lie the markers (how far each 256th name is from the first) and since
    v6.2 more. Offsets are before the number or after the index.
    """
    begin = max(0, token_table - _REACH) & ~7
    data = np.frombuffer(image, np.uint8)
    words = np.frombuffer(image, "<u4", (token_table - begin) // 8 * 2, begin)
    found = np.zeros(2, np.int64)
    at = 0
    while at < len(words) and effort.steps > 0:
        at, steps = _next_names(data, words, begin, token_table, at, effort.steps, found)
        effort.steps -= steps
        if at > len(words):
            return
        num_syms, count = begin + 4 * (at - 1), int(words[at - 1])
        names = int(found[0])
        alignment = 8 if names - num_syms == 8 else 4
        markers = np.zeros(-(-count // _MARKED), np.uint32)
        end, steps = _follow_names(data, names, token_table, count, markers)
        effort.steps -= steps
        end += -end % alignment
        if not end or image[end : end + markers.nbytes] != markers.astype("<u4").tobytes():
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


@compiled(nogil=True)
def _next_names(
    data: npt.NDArray[np.uint8],
    words: npt.NDArray[np.uint32],
    begin: int,
    limit: int,
    at: int,
    steps: int,
    found: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """The next of `words` (n,), which lie in `data` from `begin` on, that could be the number of names that follow it.

    A hundred names could follow each other there, and none of them is empty. Returns the place behind that word, more
    than n where there is none or `steps` are spent, and how many steps it took; found[0] is where the names begin.
    """
    taken = 0
    for index in range(at, len(words)):
        taken += 1
        if taken > steps:
            break
        count = int(words[index])
        # A name has at least a length, a type and two characters.
        if count < _FEWEST_SYMBOLS or count > MAX_SYMBOLS or 4 * count >= limit - begin - 4 * index:
            continue
        # Padding makes the number a word of eight bytes.
        padded = index % 2 == 0 and index + 1 < len(words) and words[index + 1] == 0
        first = begin + 4 * index + (8 if padded else 4)
        place, sound = first, True
        for _ in range(_ENOUGH_NAMES):
            taken += 1
            if place + 2 >= limit:
                sound = False
                break
            length = int(data[place])
            if length & 0x80:  # ULEB128 of two bytes (since v6.1)
                length = length & 0x7F | int(data[place + 1]) << 7
                place += 1
            if not length:
                sound = False
                break
            place += 1 + length
        if sound and place + 2 < limit:
            found[0] = first
            return index + 1, taken
    return len(words) + 1, taken


@compiled(nogil=True)
def _follow_names(
    data: npt.NDArray[np.uint8], at: int, limit: int, count: int, markers: npt.NDArray[np.uint32]
) -> tuple[int, int]:
    """Follow `count` names from `at` on, each of which says where the next is, and note where each 256th begins.

    Returns where they end and how many there were; they end at 0 where one is empty or would lie beyond `limit`.
    """
    first = at
    for i in range(count):
        if at + 2 > limit:
            return 0, i
        if i % _MARKED == 0:
            markers[i // _MARKED] = at - first
        length = int(data[at])
        at += 1
        if length & 0x80:
            length = length & 0x7F | int(data[at]) << 7
            at += 1
        if not length:
            return 0, i
        at += length
    return at, count
