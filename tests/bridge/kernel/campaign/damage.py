"""Damage: what is done to a dump before it is read, each kind with the places that it likes best, and its undoing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

HOSTILE = (
    b"\x1b]0;owned\x07", b"\x1b[2J\x1b[31m", b"\x9b31m", b"a\rb", b"x\ny\n", b"\x08\x08\x7f", b"\xff\xfe\xc3(",
    "\u202eevil".encode(), "\x85 \x9d".encode(), b"%s%n%x{0}{x!r}", b"../../../etc/passwd", b"\xed\xa0\x80",
)  # fmt: skip
"""What a terminal obeys, what is no UTF-8, what turns text around, what a format string or a path would follow."""
_ODD = np.array([0, 1, 2**64 - 1, 2**63, 0x7FFFFFFF, 0xFFFFFFFF, 4096, 1 << 40, 0xFFFF_8000_0000_0000], np.uint64)
_ENTRY = np.array([0x63, 0x67, 0xE7, 0x163, 1, 0x80], np.uint64)


class Ram:
    """A dump that can be changed, and remembers what was there."""

    def __init__(self, data: U8) -> None:
        self.data = data
        self._before: list[tuple[int, U8]] = []

    def put(self, offset: int, content: U8) -> None:
        """Write bytes over what is at `offset`; what would lie behind the end is left out."""
        content = content[: max(0, len(self.data) - offset)]
        self._before.append((offset, self.data[offset : offset + len(content)].copy()))
        self.data[offset : offset + len(content)] = content

    def put_words(self, places: I64, values: npt.NDArray[np.uint64]) -> None:
        """Write words at offsets (n,), multiples of eight."""
        for place, value in zip(places.tolist(), values.tolist(), strict=True):
            self.put(place, np.frombuffer(value.to_bytes(8, "little"), np.uint8))

    def words(self, places: I64) -> npt.NDArray[np.uint64]:
        """The words at offsets (n,), multiples of eight."""
        found: npt.NDArray[np.uint64] = self.data.view("<u8")[places >> 3]
        return found

    def heal(self) -> None:
        """Put back all that was written over."""
        for offset, content in reversed(self._before):
            self.data[offset : offset + len(content)] = content
        self._before.clear()


def change_words(ram: Ram, places: I64, direct_map: int, rng: np.random.Generator) -> None:
    """Some words become others: bits turned, noise, words of the same kind, odd numbers, pointers to themselves."""
    words = ram.words(places)
    full = places[words != 0]  # most words of most structures are nothing, and nobody would notice
    likely = full if len(full) and rng.random() < 0.8 else places
    chosen = np.unique(rng.choice(likely, int(rng.choice([1, 3, 20, 200]))))
    values = ram.words(chosen)
    match int(rng.integers(7)):
        case 0:
            values ^= np.uint64(1) << rng.integers(0, 64, len(chosen)).astype(np.uint64)
        case 1:
            values = rng.integers(0, 2**64, len(chosen), np.uint64)
        case 2:
            values = ram.words(rng.choice(likely, len(chosen)))
        case 3:
            values = rng.choice(_ODD, len(chosen))
        case 4:
            values = values + rng.integers(1, 4096, len(chosen), np.uint64)
        case 5:  # a node that is its own neighbour, child or parent
            values = chosen.astype(np.uint64) + np.uint64(direct_map) - np.uint64(8 * rng.integers(0, 4))
        case _:  # other objects of the same kind, as pointers
            values = rng.choice(likely, len(chosen)).astype(np.uint64) + np.uint64(direct_map)
    ram.put_words(chosen, values)


def change_layouts(ram: Ram, places: I64, rng: np.random.Generator) -> None:
    """Halves of words, as types have them: sizes and counts beyond all bounds, places of members, types of others."""
    chosen = np.unique(rng.choice(places, int(rng.choice([1, 2, 5, 30]))))
    for place in chosen.tolist():
        half = place + 4 * int(rng.integers(2))
        old = int.from_bytes(ram.data[half : half + 4].tobytes(), "little")
        new = [
            0, 1, 0xFFFFFFFF, 1 << 31, 1 << 24, 0x7FFFFFF8, old ^ 1 << int(rng.integers(32)), old + 64, old - 64,
            old << 8, int(rng.integers(1 << 17)), int(rng.integers(1 << 32)),
        ][int(rng.integers(12))]  # fmt: skip
        ram.put(half, np.frombuffer((new & 0xFFFFFFFF).to_bytes(4, "little"), np.uint8))


def loop_tables(ram: Ram, places: I64, rng: np.random.Generator) -> None:
    """Entries of page tables that lead to tables above, to themselves, to no RAM, or claim to be huge pages."""
    chosen = rng.choice(places, int(rng.choice([1, 8, 64, 512])))
    targets = np.where(rng.random(len(chosen)) < 0.5, chosen, rng.choice(places, len(chosen))) & ~4095
    if rng.random() < 0.3:
        targets = rng.integers(0, 1 << 40, len(chosen)) << 12
    values = targets.astype(np.uint64) | rng.choice(_ENTRY, len(chosen))
    if rng.random() < 0.3:  # a whole table of them: 512 times as much at each level
        page = int(chosen[0]) & ~4095
        ram.put(page, np.full(512, np.uint64(page | 0x67), np.uint64).view(np.uint8))
    ram.put_words(chosen, values)


def change_pages(ram: Ram, rng: np.random.Generator) -> None:
    """Whole pages become zeros, noise or each other."""
    pages = rng.integers(0, len(ram.data) >> 12, int(rng.choice([1, 16, 256, 2048])))
    kind = int(rng.integers(3))
    for page in pages.tolist():
        other = int(rng.integers(0, len(ram.data) >> 12)) << 12
        content = [np.zeros(4096, np.uint8), rng.integers(0, 256, 4096, np.uint8), ram.data[other : other + 4096]][kind]
        ram.put(page << 12, content.copy())


def change_span(ram: Ram, rng: np.random.Generator, *, noise: bool) -> None:
    """A large piece of RAM, or all of it, becomes zeros or noise."""
    size = len(ram.data) if rng.random() < 0.2 else int(rng.integers(1 << 20, len(ram.data)))
    start = int(rng.integers(0, len(ram.data) - size + 1)) & ~4095
    ram.put(start, rng.integers(0, 256, size, np.uint8) if noise else np.zeros(size, np.uint8))


def change_to_copies(ram: Ram, pieces: list[bytes], rng: np.random.Generator) -> None:
    """Large parts of RAM become copies of what a kernel is recognised by: each of them could be the one."""
    for _ in range(int(rng.integers(1, 4))):
        piece = pieces[int(rng.integers(len(pieces)))]
        size = int(rng.choice([1 << 16, 4 << 20, 48 << 20, len(ram.data)]))
        start = int(rng.integers(0, max(1, len(ram.data) - size))) & ~4095
        ram.put(start, np.frombuffer(piece * (size // len(piece)), np.uint8))


def hide_notes(ram: Ram, places: I64) -> None:
    """Notes that are none any more: a kernel has to be found by its looks."""
    for place in places.tolist():
        if ram.data[place : place + 9].tobytes() == b"OSRELEASE":
            ram.put(place, np.frombuffer(b"X", np.uint8))


def change_text(ram: Ram, names: list[bytes], raw: Callable[[bytes, int], int], rng: np.random.Generator) -> None:
    """Names of things become what a terminal obeys. `raw`: where some bytes are, from an offset on, or -1."""
    for name in {names[int(at)] for at in rng.integers(0, len(names), 12)} if names else ():
        place = raw(name, int(rng.integers(0, len(ram.data) // 2)))
        for _ in range(64):
            if place < 0:
                break
            text = HOSTILE[int(rng.integers(len(HOSTILE)))]
            ram.put(place, np.frombuffer(text[: max(len(name), 2)], np.uint8))
            place = raw(name, place + len(name))


def change_notes(ram: Ram, places: I64, rng: np.random.Generator) -> None:
    """Numbers and names in the text of a note become others: digits, signs, lengths, what a terminal obeys."""
    starts = places[(places & 4095 == places[0] & 4095)]
    for start in starts.tolist() or places[:1].tolist():
        text = bytearray(ram.data[start : start + 4096].tobytes().split(b"\0OSRELEASE")[0])
        for _ in range(int(rng.choice([1, 4, 40]))):
            at = int(rng.integers(0, max(1, len(text) - 400)))
            equals = text.find(b"=", at)
            if equals < 0:
                continue
            end = text.find(b"\n", equals)
            new = [
                b"f" * int(rng.integers(1, 300)), b"-1", b"0", b"9" * 40, b"ffffffff81000000", b"0x", b"", b"1",
                HOSTILE[int(rng.integers(len(HOSTILE)))], b"%x" % int(rng.integers(0, 2**63)),
            ][int(rng.integers(10))]  # fmt: skip
            text[equals + 1 : end] = new
        ram.put(start, np.frombuffer(bytes(text[:4096]), np.uint8))
