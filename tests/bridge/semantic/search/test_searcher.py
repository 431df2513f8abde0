"""Searching for bytes and texts finds exactly what a naive search does, wherever pieces and pages meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam
from bridge.semantic.search.needles import Needle
from bridge.semantic.search.pattern import Pattern, PatternKind, parse_pattern
from bridge.semantic.search.places import VirtualPages
from bridge.semantic.search.searcher import Searcher


def ram_of(folder: Path, data: bytes) -> GuestRam:
    path = folder / "ram"
    path.write_bytes(data.ljust(-(-len(data) // PAGE_BYTES) * PAGE_BYTES, b"\0"))
    return GuestRam.open(path)


def naive(memory: bytes, needles: tuple[Needle, ...]) -> list[tuple[int, int]]:
    """Every (place, length) at which a needle matches, in order."""
    found = set()
    for needle in needles:
        n = len(needle.value)
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(memory, np.uint8), n)
        mask, value = (np.frombuffer(part, np.uint8) for part in (needle.mask, needle.value))
        found |= {(int(at), n) for at in np.flatnonzero(((windows & mask) == (value & mask)).all(axis=1))}
    return sorted(found)


BYTES = st.text("0f?", min_size=2, max_size=8).filter(lambda text: len(text) % 2 == 0 and text.strip("?"))


@settings(max_examples=60)
@given(
    data=st.lists(st.sampled_from([0x00, 0x0F, 0xF0, 0xFF]), min_size=1, max_size=200),
    values=st.lists(BYTES, min_size=1, max_size=3),
    threads=st.integers(1, 2),
)
def test_bytes_are_found_as_a_naive_search_does(
    data: list[int], values: list[str], threads: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    memory = np.resize(np.array(data, np.uint8), 2 * PAGE_BYTES).tobytes()
    pattern = Pattern(PatternKind.BYTES, values[0], alternatives=tuple(values[1:]))
    with ram_of(tmp_path_factory.mktemp("ram"), memory) as ram:
        result = Searcher(ram, threads=threads).search(pattern, limit=1_000_000)
    assert list(zip(result.offsets.tolist(), result.lengths.tolist(), strict=True)) == naive(memory, pattern.needles())
    assert result.complete
    assert result.problem == ""
    assert result.searched_bytes == len(memory)


def test_a_match_goes_on_in_the_next_virtual_page(tmp_path: Path) -> None:
    pages = np.zeros((4, PAGE_BYTES), np.uint8)
    pages[3, -3:] = list(b"sec")
    pages[1, :3] = list(b"ret")
    virtual = VirtualPages(np.array([0x5000, 0x4000], np.uint64), np.array([1, 3], np.uint32))
    with ram_of(tmp_path, pages.tobytes()) as ram:
        result = Searcher(ram).search(Pattern(PatternKind.TEXT, "secret"), virtual)
        assert not len(Searcher(ram).search(Pattern(PatternKind.TEXT, "secret")))
    assert result.vaddrs is not None
    assert result.vaddrs.tolist() == [0x4FFD]
    assert result.offsets.tolist() == [4 * PAGE_BYTES - 3]
    assert result.parts.tolist() == [[0, 4 * PAGE_BYTES - 3, 3], [0, PAGE_BYTES, 3]]


def test_numbers_are_little_endian_and_as_wide_as_written() -> None:
    assert str(parse_pattern("0x12345678")) == "78 56 34 12"
    assert str(parse_pattern("0x1")) == "01 00 00 00"
    assert str(parse_pattern("0xffffffff81000000")) == "00 00 00 81 ff ff ff ff"
    assert str(parse_pattern("78563412 | 1? ??")) == "78 56 34 12 | 1? ??"
