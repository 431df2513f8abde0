"""Searching for bytes and texts finds exactly what a naive search does, wherever pages, buffers and threads meet."""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.memory.dump import Dump
from bridge.memory.errors import DumpNotFound, RamClosed
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap, RamRegion
from bridge.memory.ram import GuestRam
from bridge.semantic.search import loops, needle_search
from bridge.semantic.search.needle_search import NeedleSearch
from bridge.semantic.search.pattern import MAX_NEEDLE_BYTES, BadPattern, Pattern, PatternKind, parse_pattern
from bridge.semantic.search.places import VirtualPages, physical_places
from bridge.semantic.search.results import Hits
from bridge.semantic.search.searcher import MAX_LIMIT, Searcher
from bridge.semantic.search.source import open_source
from bridge.semantic.search.warm_up import warm_up
from tests.bridge.memory.ram_file import ram_file
from tests.bridge.semantic.search.memory import naive, naive_in, ram_of, spans

FEW = st.sampled_from([0x00, 0x0F, 0xF0, 0xFF])
HALVES = st.text("0f?", min_size=2, max_size=10).filter(lambda text: len(text) % 2 == 0 and text.strip("?") != "")


def text(value: str) -> Pattern:
    return Pattern(PatternKind.TEXT, value)


@settings(max_examples=30)
@given(
    data=st.lists(FEW, min_size=1, max_size=200),
    values=st.lists(HALVES, min_size=1, max_size=4),
    threads=st.integers(1, 3),
    task=st.integers(1000, 9000),
)
def test_every_place_is_found_overlaps_included(data: list[int], values: list[str], threads: int, task: int) -> None:
    memory = np.resize(np.array(data, np.uint8), 3 * PAGE_BYTES).tobytes()
    pattern = Pattern(PatternKind.BYTES, values[0], alternatives=tuple(values[1:]))
    with ram_of(memory) as (_, ram), pytest.MonkeyPatch.context() as patch:
        patch.setattr(needle_search, "TASK_BYTES", task)
        result = Searcher(ram, threads=threads).search(pattern, limit=MAX_LIMIT)
    assert spans(result) == naive(memory, pattern.needles())
    assert (result.complete, result.notes, result.gone) == (True, (), 0)
    assert result.searched_bytes == result.total_bytes == len(memory)
    for which, length in zip(result.which.tolist(), result.lengths.tolist(), strict=True):
        assert len(pattern.needles()[which].value) == length


@settings(max_examples=30)
@given(
    length=st.sampled_from([1, 2, 3, 63, 64, 65, 4095, 4096, 4097, MAX_NEEDLE_BYTES]),
    edge=st.sampled_from([0, PAGE_BYTES, loops.BUFFER_BYTES, 2 * loops.BUFFER_BYTES, 4 * loops.BUFFER_BYTES]),
    shift=st.integers(-70, 70),
    task=st.sampled_from([loops.BUFFER_BYTES - 1, loops.BUFFER_BYTES, loops.BUFFER_BYTES + 1, 8 << 20]),
    wild=st.booleans(),
)
def test_a_match_is_found_wherever_it_lies(length: int, edge: int, shift: int, task: int, wild: bool) -> None:
    """Around the edges of buffers, of tasks and of RAM, needles of all sizes."""
    size = 4 * loops.BUFFER_BYTES
    value = np.random.default_rng(length).integers(1, 256, length, np.uint8)
    at = min(max(edge + shift - length // 2, 0), size - length)
    memory = np.zeros(size, np.uint8)
    memory[at : at + length] = value
    words = [f"{byte:02x}" for byte in value.tolist()]
    if wild and length > 2:
        words[length // 2] = "??"
    with ram_of(memory) as (_, ram), pytest.MonkeyPatch.context() as patch:
        patch.setattr(needle_search, "TASK_BYTES", task)
        result = Searcher(ram).search(Pattern(PatternKind.BYTES, " ".join(words)))
    assert (at, length) in spans(result)
    assert len(result) == 1 or length <= 2


@settings(max_examples=30)
@given(
    rows=st.lists(st.lists(FEW, min_size=1, max_size=6), min_size=6, max_size=6),
    mask=st.lists(st.booleans(), min_size=6, max_size=6),
    value=HALVES,
)
def test_in_chosen_pages_matches_go_on_only_from_page_to_next_page(
    rows: list[list[int]], mask: list[bool], value: str
) -> None:
    pages = np.array([np.resize(np.array(row, np.uint8), PAGE_BYTES) for row in rows])
    runs = [
        [page for page, _ in group] for chosen, group in itertools.groupby(enumerate(mask), lambda p: p[1]) if chosen
    ]
    pattern = Pattern(PatternKind.BYTES, value)
    with ram_of(pages.tobytes()) as (_, ram):
        result = Searcher(ram).search(pattern, np.array(mask), limit=MAX_LIMIT)
    assert spans(result) == naive_in(pages, runs, pattern.needles())
    assert result.total_bytes == sum(mask) * PAGE_BYTES
    assert result.vaddrs is None
    assert result.parts.tolist() == [[i, at, n] for i, (at, n) in enumerate(spans(result))]


@settings(max_examples=30)
@given(
    rows=st.lists(st.lists(FEW, min_size=1, max_size=5), min_size=5, max_size=5),
    mapped=st.dictionaries(st.integers(0, 7), st.integers(0, 6), max_size=8),
    value=HALVES,
    length=st.sampled_from([0, 5000]),
)
def test_in_an_address_space_matches_go_on_in_the_next_virtual_page(
    rows: list[list[int]], mapped: dict[int, int], value: str, length: int
) -> None:
    """Also over three pages; pages that RAM does not have part what they stand between."""
    pages = np.array([np.resize(np.array(row, np.uint8), PAGE_BYTES) for row in rows])
    there = {vpage: page for vpage, page in sorted(mapped.items()) if page < len(rows)}
    runs: list[list[int]] = []
    for vpage, page in there.items():
        if vpage - 1 in there:
            runs[-1].append(page)
        else:
            runs.append([page])
    pattern = Pattern(PatternKind.BYTES, value + "?" * (2 * length))
    virtual = VirtualPages(
        np.array([0x7F0000000000 + PAGE_BYTES * vpage for vpage in mapped], np.uint64),
        np.array(list(mapped.values()), np.uint32),
    )
    with ram_of(pages.tobytes()) as (_, ram):
        result = Searcher(ram).search(pattern, virtual, limit=MAX_LIMIT)
    assert spans(result) == naive_in(pages, runs, pattern.needles())
    assert result.vaddrs is not None
    assert (np.diff(result.vaddrs.astype(np.int64)) >= 0).all()
    page_of = {vpage * PAGE_BYTES + 0x7F0000000000: page for vpage, page in there.items()}
    parts = result.parts
    assert np.bincount(parts[:, 0], parts[:, 2], minlength=len(result)).tolist() == result.lengths.tolist()
    for vaddr, offset in zip(result.vaddrs.tolist(), result.offsets.tolist(), strict=True):
        assert page_of[vaddr // PAGE_BYTES * PAGE_BYTES] * PAGE_BYTES + vaddr % PAGE_BYTES == offset
    for index in range(min(len(result), 3)):
        memory = b"".join(pages.tobytes()[offset : offset + n] for _, offset, n in parts[parts[:, 0] == index].tolist())
        assert naive(memory, pattern.needles()) == [(0, len(memory))]


def test_memory_does_not_go_on_over_a_hole_in_the_physical_addresses() -> None:
    data = np.zeros(4 * PAGE_BYTES, np.uint8)
    for edge in (PAGE_BYTES, 2 * PAGE_BYTES, 3 * PAGE_BYTES):
        data[edge - 3 : edge + 3] = list(b"secret")
    # A second region directly after the first is no hole; the third lies elsewhere.
    regions = (
        RamRegion(0, 0, PAGE_BYTES, "low"),
        RamRegion(PAGE_BYTES, PAGE_BYTES, PAGE_BYTES, "next"),
        RamRegion(1 << 32, 2 * PAGE_BYTES, 2 * PAGE_BYTES, "high"),
    )
    with ram_of(data, PhysicalMap(len(data), regions)) as (_, ram):
        assert spans(Searcher(ram).search(text("secret"))) == [(PAGE_BYTES - 3, 6), (3 * PAGE_BYTES - 3, 6)]
        every = np.ones(4, np.bool_)
        assert len(Searcher(ram).search(text("secret"), every)) == 2
        last = np.array([False, True, True, True])
        assert spans(Searcher(ram).search(text("secret"), last)) == [(3 * PAGE_BYTES - 3, 6)]


def test_texts_are_found_in_both_encodings_and_any_case() -> None:
    memory = b"Passwort\0pAsSwOrT\0P\0a\0s\0S\0w\0o\0r\0t\0PASSW\x0frt P@sswort" + "paßwort".encode()
    with ram_of(memory) as (_, ram):
        result = Searcher(ram).search(Pattern(PatternKind.TEXT, "passwort", ignore_case=True))
        exact = Searcher(ram).search(text("Passwort"))
    assert spans(result) == [(0, 8), (9, 8), (18, 16)]
    assert [result.names[which] for which in result.which] == ["passwort", "passwort", "passwort (UTF-16LE)"]
    assert spans(exact) == [(0, 8)]


def test_a_limit_gives_the_first_ones_and_says_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needle_search, "TASK_BYTES", PAGE_BYTES)
    data = np.zeros(8 * PAGE_BYTES, np.uint8)
    data[::512] = 7
    places = list(range(0, len(data), 512))
    with ram_of(data) as (_, ram):
        for limit in (1, 8, 9, 63):
            result = Searcher(ram).search(parse_pattern("07"), limit=limit)
            assert result.offsets.tolist() == places[:limit]
            assert not result.complete
            assert result.notes == (f"These are the first {limit:,}; there are more.",)
        result = Searcher(ram).search(parse_pattern("07"), limit=64)
        assert result.complete
        assert len(result) == 64
        # Zeros are nearly everywhere: no more is kept than asked for.
        zeros = Searcher(ram).search(parse_pattern("00 | ?0"), limit=10_000)
        assert len(zeros) == 10_000
        for limit in (0, -1, MAX_LIMIT + 1):
            with pytest.raises(BadPattern, match="1 to 1,000,000"):
                Searcher(ram).search(parse_pattern("07"), limit=limit)


def test_batches_come_in_order_with_progress_and_together_are_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needle_search, "TASK_BYTES", PAGE_BYTES)
    data = np.zeros(16 * PAGE_BYTES, np.uint8)
    data[5::1000] = 9
    events: list[object] = []
    with ram_of(data) as (_, ram):
        result = Searcher(ram).search(parse_pattern("09"), found=events.append, progress=events.append)
    batches = [event for event in events if isinstance(event, Hits)]
    assert len(batches) == 16
    assert np.concatenate([batch.offsets for batch in batches]).tolist() == result.offsets.tolist()
    assert [event for event in events if isinstance(event, float)] == [n / 16 for n in range(1, 17)]
    assert isinstance(events[0], Hits), "what was found comes before it is told how far the search is"


def test_a_search_is_cancelled_in_its_midst_and_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needle_search, "TASK_BYTES", PAGE_BYTES)
    found: list[Hits] = []
    data = np.zeros(64 * PAGE_BYTES, np.uint8)
    data[::PAGE_BYTES] = 9
    with ram_of(data) as (_, ram):
        result = Searcher(ram).search(parse_pattern("09"), found=found.append, cancelled=lambda: len(found) >= 5)
        never = Searcher(ram).search(parse_pattern("09"), cancelled=lambda: True)
    assert result.offsets.tolist() == [n * PAGE_BYTES for n in range(5)]
    assert (result.complete, result.notes) == (False, ("It was cancelled.",))
    assert result.searched_bytes == 5 * PAGE_BYTES
    assert (len(never), never.searched_bytes) == (0, 0)


def test_a_loop_in_the_midst_of_useless_work_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and needle made so that each place is compared nearly to its end: the loop itself has to stop."""
    memory = np.full(4 * loops.BUFFER_BYTES, 0x61, np.uint8)
    needle = parse_pattern("61" * (MAX_NEEDLE_BYTES - 1) + "6?")
    stopped = np.ones(1, np.uint32)
    with ram_of(memory) as (_, ram):
        searcher = Searcher(ram, threads=1)
        with open_source(ram) as source:
            places = physical_places(ram.physical_map, ram.size_bytes)
            search = NeedleSearch(source, places, needle.needles(), 10, 1)
            monkeypatch.setattr(search, "_stopped", stopped)
            piece = search._search(0, places.n_bytes)
            assert not len(piece.positions)
        assert len(searcher.search(needle, limit=10)) == 10


def test_what_the_guest_overwrites_before_it_is_delivered_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    search = NeedleSearch._search
    with ram_of(b"old secret, new secret".ljust(3 * PAGE_BYTES, b"\0") + b"secret") as (file, ram):

        def overwritten_meanwhile(self: NeedleSearch, first: int, stop: int) -> object:
            piece = search(self, first, stop)
            file.pages[0, 4:6] = 0
            return piece

        monkeypatch.setattr(NeedleSearch, "_search", overwritten_meanwhile)
        result = Searcher(ram, threads=1).search(text("secret"))
    assert result.offsets.tolist() == [16, 3 * PAGE_BYTES]
    assert result.gone == 1
    assert result.complete


def test_a_file_that_shrinks_ends_in_a_sentence_not_in_a_signal() -> None:
    data = np.zeros(64 * PAGE_BYTES, np.uint8)
    data[[100, -100]] = 9
    with ram_of(data) as (file, ram):
        os.truncate(file.path, 16 * PAGE_BYTES + 10)
        result = Searcher(ram).search(parse_pattern("09"))
        zeros = Searcher(ram).search(parse_pattern("00 00"), limit=MAX_LIMIT)
    assert result.offsets.tolist() == [100]
    assert not result.complete
    assert result.notes == (
        f"The RAM file has become shorter: {48 * PAGE_BYTES - 10:,} bytes of it are no longer there.",
    )
    assert int(zeros.offsets.max()) < 16 * PAGE_BYTES + 10, "what is not there is not found either"


def test_holes_of_the_file_stay_holes_and_are_zeros() -> None:
    with ram_file(1024) as file, GuestRam.open(file.path) as ram:
        file.pages[512, :2] = [9, 8]
        before = file.allocated_bytes
        result = Searcher(ram).search(parse_pattern("00 00 09 08 | 09 08 00"))
        assert file.allocated_bytes == before
    assert spans(result) == [(512 * PAGE_BYTES - 2, 4), (512 * PAGE_BYTES, 3)]


def elf_core(data: bytes, paddr: int) -> bytes:
    header = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    return header + struct.pack("<IIQQQQQQ", 1, 6, 120, 0, paddr, len(data), len(data), 0) + data


def test_dumps_are_searched_as_machines_are(tmp_path: Path) -> None:
    data = b"\0" * 5000 + b"secret" + b"\0" * (2 * PAGE_BYTES - 5006)
    raw, core = tmp_path / "raw", tmp_path / "core"
    raw.write_bytes(data)
    core.write_bytes(elf_core(data, 1 << 20))
    for path, kind in ((raw, "raw"), (core, "ELF core")):
        dump = Dump.open(path)
        assert dump.kind == kind
        result = Searcher(dump).search(text("secret"))
        assert spans(result) == [(5000, 6)]
        assert result.complete
        found = Searcher(dump).search(Pattern(PatternKind.REGEX, "s[a-z]+t"))
        assert spans(found) == [(5000, 6)]
    raw_dump = Dump.open(raw)
    raw.unlink()
    with pytest.raises(DumpNotFound):
        Searcher(raw_dump).search(text("secret"))


def test_ram_that_was_closed_says_so() -> None:
    with ram_of(b"x") as (_, ram):
        pass
    with pytest.raises(RamClosed):
        Searcher(ram).search(text("secret"))


def test_nothing_to_search_is_no_error() -> None:
    with ram_of(b"secret") as (_, ram):
        nowhere = VirtualPages(np.zeros(0, np.uint64), np.zeros(0, np.uint32))
        for pages in (np.zeros(1, np.bool_), nowhere):
            for pattern in (text("secret"), Pattern(PatternKind.REGEX, "secret")):
                result = Searcher(ram).search(pattern, pages)
                assert (len(result), result.total_bytes, result.complete, result.parts.shape) == (0, 0, True, (0, 3))


def test_warming_up_compiles_what_a_search_needs() -> None:
    warm_up()
    for loop in (loops.find_needles, loops.still_there):
        assert getattr(loop, "signatures", None), "it was called"
