"""kallsyms: the kernel's own symbol table, decoded from RAM.

Names are compressed: each is a length and that many bytes, each byte standing for a token of one or more characters;
the first character is the symbol's type, as nm prints it (kernel/kallsyms.c, scripts/kallsyms.c). The tables moved
around over the years, so what is known (VMCOREINFO gives their addresses since v6.0) is used, and otherwise they are
found by what they must look like.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import BadSymbolTable
from bridge.memory.native import compiled

U64 = npt.NDArray[np.uint64]

MAX_SYMBOLS = 4 << 20
"""Distribution kernels have 100 to 300 thousand; debug builds more. Beyond this it is not a symbol table."""
_MAX_NAME_TOKENS = 1 << 14
_N_TOKENS = 256
_FEWEST_SYMBOLS = 4096
"""A kernel with fewer is too small to run anything that is looked at here."""
_REACH = 32 << 20
"""How far before the token table the names are looked for: four million symbols take less."""

Read = Callable[[int, int], bytes]
"""(virtual address, length) -> bytes; raises KernelError."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the tables are, as virtual addresses."""

    num_syms: int
    names: int
    token_table: int
    token_index: int
    offsets: int
    relative_base: int | None
    """None where offsets are relative to their own place (since v7.0)."""

    def moved(self, shift: int) -> Tables:
        """The same tables at addresses that are `shift` higher."""
        return Tables(
            num_syms=self.num_syms + shift,
            names=self.names + shift,
            token_table=self.token_table + shift,
            token_index=self.token_index + shift,
            offsets=self.offsets + shift,
            relative_base=None if self.relative_base is None else self.relative_base + shift,
        )


@dataclass(frozen=True, slots=True)
class Symbols:
    """Every symbol, ordered as the kernel orders them: by address. Parallel (n,)."""

    names: tuple[str, ...]
    addresses: U64
    types: npt.NDArray[np.uint8]
    """ASCII of the type letter: T text, D data, B bss, R rodata, A absolute, …; lower case: local."""


def read_symbols(read: Read, tables: Tables) -> Symbols:
    """Decode all symbols. Raises BadSymbolTable, and what `read` raises."""
    count = int.from_bytes(read(tables.num_syms, 4), "little")
    if not 0 < count <= MAX_SYMBOLS:
        raise BadSymbolTable(f"kallsyms_num_syms says {count:,} symbols.")
    tokens = _tokens(read, tables)
    names, types = _names(read, tables, count, tokens)
    return Symbols(names, _addresses(read, tables, count), types)


def _tokens(read: Read, tables: Tables) -> list[bytes]:
    index = np.frombuffer(read(tables.token_index, 2 * _N_TOKENS), "<u2")
    table = read(tables.token_table, int(index[-1]) + 256)
    if index[0] or (np.diff(index.astype(np.int64)) <= 0).any():
        raise BadSymbolTable("kallsyms_token_index does not ascend from zero.")
    tokens = [table[start : table.find(b"\0", start)] for start in index.tolist()]
    if any(not token.isascii() for token in tokens):
        raise BadSymbolTable("kallsyms_token_table holds bytes that no symbol has.")
    return tokens


def _names(
    read: Read, tables: Tables, count: int, tokens: list[bytes]
) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    limit = min(max(tables.token_table - tables.names, 0) or 64 * count, 64 * count)
    raw = np.frombuffer(read(tables.names, limit), np.uint8)
    starts, lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
    found = _walk_names(raw, 0, limit, starts, lengths)
    if found < count and not starts[found]:
        raise BadSymbolTable(f"The names end after {found:,} of {count:,} symbols.")
    end = int(starts[-1] + lengths[-1])
    if found < count or end > limit or int(lengths.max()) > _MAX_NAME_TOKENS:
        raise BadSymbolTable("A symbol's name has an impossible length.")
    # Every token of every name, one after the other.
    total = int(lengths.sum())
    first = np.cumsum(lengths) - lengths
    place = np.arange(total) - np.repeat(first - starts, lengths)
    used = raw[place]
    token_lengths = np.array([len(token) for token in tokens], np.int64)
    out_lengths = token_lengths[used]
    size = int(out_lengths.sum())
    token_starts = np.cumsum(token_lengths) - token_lengths
    blob = np.frombuffer(b"".join(tokens), np.uint8)
    out_first = np.cumsum(out_lengths) - out_lengths
    text = blob[np.arange(size) - np.repeat(out_first - token_starts[used], out_lengths)]
    symbol_lengths = np.add.reduceat(out_lengths, first)
    ends = np.cumsum(symbol_lengths)
    begins = ends - symbol_lengths
    if (symbol_lengths < 2).any():
        raise BadSymbolTable("A symbol has no name.")
    whole = text.tobytes().decode("ascii")
    names = tuple(whole[begin + 1 : end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True))
    return names, text[begins]


def _addresses(read: Read, tables: Tables, count: int) -> U64:
    offsets = np.frombuffer(read(tables.offsets, 4 * count), "<i4").astype(np.int64)
    if tables.relative_base is None:
        places = np.uint64(tables.offsets) + np.arange(count, dtype=np.uint64) * np.uint64(4)
        return places + offsets.astype(np.uint64)
    base = np.uint64(int.from_bytes(read(tables.relative_base, 8), "little"))
    if (offsets < 0).sum() > count // 2:
        # CONFIG_KALLSYMS_ABSOLUTE_PERCPU: negative ones count down from the base, others are absolute.
        return np.where(offsets < 0, base - np.uint64(1) - offsets.astype(np.uint64), offsets.astype(np.uint64))
    return base + (offsets & 0xFFFF_FFFF).astype(np.uint64)


_DIGIT_TOKENS = b"".join(b"%d\0" % digit for digit in range(10))


def find_tables(image: bytes, base: int) -> list[Tables]:
    """Where the tables may be in `image`, a copy of the kernel's read-only data that begins at virtual address `base`.

    Used when VMCOREINFO does not say. The token table is recognised by the tokens of the ten digits, which every kernel
    has in this order, and by the index behind it; all else by its place beside them.
    """
    found: list[Tables] = []
    for match in re.finditer(re.escape(_DIGIT_TOKENS), image):
        for token_table, token_index in _token_tables_around(image, match.start()):
            found += _tables_around(image, base, token_table, token_index)
    return found


def _token_tables_around(image: bytes, digits: int) -> list[tuple[int, int]]:
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
        for _ in range(_N_TOKENS):
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


def _tables_around(image: bytes, base: int, token_table: int, token_index: int) -> list[Tables]:
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
    found = []
    for index in np.flatnonzero(sound).tolist():
        num_syms, count = begin + 4 * int(chosen[index]), int(words[chosen[index]])
        names, alignment = int(begins[index]), 8 if padded[index] else 4
        if not _has_markers(image, names, count, token_table, alignment):
            continue
        after = token_index + 2 * _N_TOKENS
        after += -after % alignment
        size = 4 * count + -4 * count % alignment
        old = num_syms - 8 - size
        for offsets, relative in ((after, after + size), (old, num_syms - 8), (after, None)):
            if offsets >= 0:
                found.append(
                    Tables(
                        base + num_syms,
                        base + names,
                        base + token_table,
                        base + token_index,
                        base + offsets,
                        None if relative is None else base + relative,
                    )
                )
    return found


def _begin_with_names(raw: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether a hundred names could follow each other from each of `places` (n,) on: none of them is empty."""
    at = places.copy()
    sound = at + 2 < len(raw)
    for _ in range(100):
        at = np.where(sound, at, 0)
        length = raw[at].astype(np.int64)
        long = length & 0x80 != 0
        length = np.where(long, length & 0x7F | raw[at + 1].astype(np.int64) << 7, length)
        at += 1 + long + length
        sound &= (length > 0) & (at + 2 < len(raw))
    return sound


def _has_markers(image: bytes, names: int, count: int, limit: int, alignment: int) -> bool:
    """Whether `count` names begin at `names`, with their markers behind them."""
    starts, lengths = np.zeros(count, np.int64), np.zeros(count, np.int64)
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
