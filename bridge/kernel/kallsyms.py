"""kallsyms: the kernel's own symbol table, decoded from RAM.

Names are compressed: each is a length and that many bytes, each byte standing for a token of one or more characters;
the first character is the symbol's type, as nm prints it (kernel/kallsyms.c, scripts/kallsyms.c). The tables moved
around over the years, so what is known (VMCOREINFO gives their addresses since v6.0) is used, and otherwise they are
found by what they must look like (`kallsyms_search`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import BadSymbolTable

U64 = npt.NDArray[np.uint64]

MAX_SYMBOLS = 4 << 20
"""Distribution kernels have 100 to 300 thousand; debug builds more. Beyond this it is not a symbol table."""
_MAX_NAME_TOKENS = 1 << 14
_MAX_NAMES_BYTES = 32 << 20
"""Compressed; four million symbols take less."""
_MAX_MEAN_NAME = 512
"""Characters. The kernel's own limit (KSYM_NAME_LEN) for any name."""
N_TOKENS = 256

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


@dataclass
class Effort:
    """What a search for tables (`kallsyms_search`) may still cost. Distribution kernels take a hundredth of it."""

    matches: int = 1 << 14
    """Places with the tokens of the digits: some 50 us each."""
    steps: int = 1 << 29
    """Words and names that are looked at: some nanoseconds each."""
    tables: int = 32
    """Tables that are given out: whoever gets them decodes them, for a second each."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """Every symbol, ordered as the kernel orders them: by address. Parallel (n,)."""

    names: tuple[str, ...]
    addresses: U64
    types: npt.NDArray[np.uint8]
    """ASCII of the type letter: T text, D data, B bss, R rodata, A absolute, …; lower case: local."""


@dataclass(frozen=True, slots=True)
class RawNames:
    """The names as the kernel stores them, copied from RAM: what is recognised by its digest is what was decoded, and
    not what a guest put there in between.
    """

    count: int
    tokens: bytes
    """The token table up to its last token."""
    index: bytes
    names: bytes
    """From the first name on, at least up to the last one."""

    def digest(self, names_bytes: int) -> bytes:
        """SHA-256 of all that decides what the first `names_bytes` bytes of names mean."""
        head = struct.pack("<QQQ", self.count, len(self.tokens), names_bytes)
        return hashlib.sha256(b"".join((head, self.tokens, self.index, self.names[:names_bytes]))).digest()


@dataclass(frozen=True, slots=True)
class Names:
    """What is the same in every boot of a kernel: the names of its symbols, in its order, and their types."""

    text: bytes
    """ASCII, a zero byte between two names."""
    types: npt.NDArray[np.uint8]
    """(n,) ASCII of the type letters."""
    names_bytes: int
    """How many bytes the compressed names take."""

    def split(self) -> tuple[str, ...]:
        """Each name by itself."""
        return tuple(self.text.decode("ascii").split("\0"))


def read_symbols(read: Read, tables: Tables) -> Symbols:
    """Decode all symbols. Raises BadSymbolTable, and what `read` raises."""
    raw = copy_names(read, tables)
    names = decode_names(raw)
    return Symbols(names.split(), read_addresses(read, tables, raw.count), names.types)


def copy_names(read: Read, tables: Tables, names_bytes: int | None = None) -> RawNames:
    """Copy the names from RAM: `names_bytes` of them, or as many as there could be.

    Raises BadSymbolTable, and what `read` raises.
    """
    count = int.from_bytes(read(tables.num_syms, 4), "little")
    if not 0 < count <= MAX_SYMBOLS:
        raise BadSymbolTable(f"kallsyms_num_syms says {count:,} symbols.")
    index = read(tables.token_index, 2 * N_TOKENS)
    last = int.from_bytes(index[-2:], "little")
    tokens = read(tables.token_table, last + 256)
    limit = min(max(tables.token_table - tables.names, 0) or 64 * count, 64 * count, _MAX_NAMES_BYTES)
    names = read(tables.names, limit if names_bytes is None else min(names_bytes, limit))
    return RawNames(count, tokens[: tokens.find(b"\0", last) + 1], index, names)


def read_addresses(read: Read, tables: Tables, count: int) -> U64:
    """The addresses of `count` symbols in this boot, (n,). What does not move with the kernel, such as the offsets of
    per-cpu variables, is said by the table itself.
    """
    offsets = np.frombuffer(read(tables.offsets, 4 * count), "<i4").astype(np.int64)
    if tables.relative_base is None:
        places = np.uint64(tables.offsets) + np.arange(count, dtype=np.uint64) * np.uint64(4)
        return places + offsets.astype(np.uint64)
    base = np.uint64(int.from_bytes(read(tables.relative_base, 8), "little"))
    if (offsets < 0).sum() > count // 2:
        # CONFIG_KALLSYMS_ABSOLUTE_PERCPU: negative ones count down from the base, others are absolute.
        return np.where(offsets < 0, base - np.uint64(1) - offsets.astype(np.uint64), offsets.astype(np.uint64))
    return base + (offsets & 0xFFFF_FFFF).astype(np.uint64)


def decode_names(raw: RawNames) -> Names:
    """Decompress the names. Raises BadSymbolTable."""
    tokens = _tokens(raw)
    starts, lengths = _walk(raw)
    # Each name's tokens one after the other, and one more that ends it: a zero byte.
    n_pieces = lengths + 1
    ends = np.cumsum(n_pieces)
    pieces = np.append(np.frombuffer(raw.names, np.uint8).astype(np.uint16), np.uint16(0))[
        np.arange(ends[-1], dtype=np.int32) - np.repeat((ends - n_pieces - starts).astype(np.int32), n_pieces)
    ]
    pieces[ends - 1] = N_TOKENS
    token_lengths = np.array([len(token) for token in tokens] + [1], np.int32)
    token_starts = np.cumsum(token_lengths, dtype=np.int32) - token_lengths
    piece_lengths = token_lengths[pieces]
    if piece_lengths.sum(dtype=np.int64) > _MAX_MEAN_NAME * raw.count:
        raise BadSymbolTable("The names are longer than any kernel's.")
    piece_ends = np.cumsum(piece_lengths, dtype=np.int64)
    text_lengths = np.diff(piece_ends[ends - 1], prepend=0)
    if (text_lengths < 3).any():
        raise BadSymbolTable("A symbol has no name.")
    shifts = piece_ends - piece_lengths - token_starts[pieces]
    characters = np.frombuffer(b"".join((*tokens, b"\0")), np.uint8)
    text = characters[np.arange(piece_ends[-1]) - np.repeat(shifts, piece_lengths)]
    begins = piece_ends[ends - 1] - text_lengths
    kept = np.ones(len(text), np.bool_)
    kept[begins] = False  # the type comes first
    kept[-1] = False
    return Names(text[kept].tobytes(), text[begins], int(starts[-1] + lengths[-1]))


def _tokens(raw: RawNames) -> list[bytes]:
    index = np.frombuffer(raw.index, "<u2")
    if index[0] or (np.diff(index.astype(np.int64)) <= 0).any():
        raise BadSymbolTable("kallsyms_token_index does not ascend from zero.")
    tokens = [raw.tokens[start : raw.tokens.find(b"\0", start)] for start in index.tolist()]
    if any(not token.isascii() for token in tokens):
        raise BadSymbolTable("kallsyms_token_table holds bytes that no symbol has.")
    return tokens


def _walk(raw: RawNames) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each name's tokens begin, and how many there are: (n,) each. One says where the next is.

    Not compiled: that would take less time than this (0.1 us a name), but loading a compiler's work takes longer.
    """
    starts: list[int] = []
    lengths: list[int] = []
    names, at, end = raw.names, 0, len(raw.names)
    for _ in range(raw.count):
        if at + 2 > end:
            raise BadSymbolTable(f"The names end after {len(starts):,} of {raw.count:,} symbols.")
        length = names[at]
        at += 1
        if length & 0x80:  # ULEB128 of two bytes (since v6.1)
            length = length & 0x7F | names[at] << 7
            at += 1
        if not length or length > _MAX_NAME_TOKENS:
            raise BadSymbolTable("A symbol's name has an impossible length.")
        starts.append(at)
        lengths.append(length)
        at += length
    if at > end:
        raise BadSymbolTable(f"The last of {raw.count:,} names does not end where they do.")
    return np.array(starts, np.int64), np.array(lengths, np.int64)
