"""Things as arrays: what is grouped, left out and listed is what one would get by going through them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap, RamRegion
from bridge.semantic.query.found import Found, Made, Spans, grouped, one, pages_of
from bridge.semantic.query.patterns import _pages_of
from bridge.semantic.query.results import NOBODY, NOWHERE, Matches

N_PAGES = 64
HOLE = 32
"""Pages from here on lie behind a hole in the guest's addresses; the last of them lie nowhere."""
NOWHERE_FROM = 60
MAP = PhysicalMap(
    N_PAGES * PAGE_BYTES,
    (
        RamRegion(0, 0, HOLE * PAGE_BYTES, "low"),
        RamRegion(1 << 32, HOLE * PAGE_BYTES, (NOWHERE_FROM - HOLE) * PAGE_BYTES, "high"),
    ),
)
CLASSES = np.array([PageClass.SLAB, PageClass.FILE] * (N_PAGES // 2), np.uint8)

page_sets = st.lists(st.sets(st.integers(0, N_PAGES - 1), max_size=12), max_size=9)


def paddr_of(page: int) -> int:
    return page * PAGE_BYTES if page < HOLE else (1 << 32) + (page - HOLE) * PAGE_BYTES


def found_of(sets: list[set[int]], *, always: bool = True, spans: bool = False) -> Found:
    """Things called t0, t1 …, of processes 10, 11 …; spans are the first byte of each page."""
    pages = np.array([page for some in sets for page in sorted(some)], np.uint32)
    starts = np.cumsum([0, *map(len, sets)])
    ranges = np.array([(paddr_of(int(page)), 1) for page in pages], np.int64).reshape(-1, 2)
    return Found(
        [f"t{at}" for at in range(len(sets))],
        ["thing"] * len(sets),
        np.arange(10, 10 + len(sets)),
        starts,
        pages,
        Spans(starts, ranges) if spans else None,
        always,
    )


def pages_at(paddrs: np.ndarray) -> np.ndarray:
    return (MAP.offset_from_paddr(paddrs.astype(np.uint64)) // PAGE_BYTES).astype(np.uint32)


def listed(found: Found) -> list[tuple[str, list[int]]]:
    return [
        (found.labels[at], found.pages[found.starts[at] : found.starts[at + 1]].tolist()) for at in range(len(found))
    ]


@given(st.lists(st.tuples(st.integers(-1, 6), st.integers(0, N_PAGES - 1)), max_size=60), st.sampled_from([5, 70_000]))
@settings(deadline=None)
def test_pages_are_grouped_each_once_and_what_is_outside_is_left_out(mapped: list[tuple[int, int]], count: int) -> None:
    mapped.sort(key=lambda pair: pair[1])
    keys = np.array([key for key, _ in mapped], np.int32)
    groups = grouped(keys, np.array([page for _, page in mapped], np.uint32), count)
    for key in range(-1, 8):
        assert groups.of(key).tolist() == sorted({page for k, page in mapped if k == key and 0 <= key < count})
    chosen = np.array([6, -1, 0, 3, 3, count + 5])
    some = groups.some(chosen)
    assert [some.of(at).tolist() for at in range(len(chosen))] == [groups.of(at).tolist() for at in chosen.tolist()]


@given(page_sets, st.sets(st.integers(0, N_PAGES - 5)), st.booleans(), st.booleans())
@settings(deadline=None)
def test_only_pages_that_count_are_kept_and_what_has_none_is_left_out(
    sets: list[set[int]], counting: set[int], always: bool, spans: bool
) -> None:
    sets = [{page for page in some if page < NOWHERE_FROM} for some in sets]
    found = found_of(sets, always=always, spans=spans)
    mask = np.isin(np.arange(N_PAGES), list(counting))
    kept = found.only(mask, pages_at)
    assert listed(kept) == [(f"t{at}", sorted(some & counting)) for at, some in enumerate(sets) if some & counting]
    assert kept.pids.tolist() == [10 + at for at, some in enumerate(sets) if some & counting]
    if kept.spans is not None:
        assert kept.spans.ranges[:, 0].tolist() == [paddr_of(page) for _, pages in listed(kept) for page in pages]
        assert (kept.spans.starts == kept.starts).all()
    everything = found.only(None, pages_at)
    assert listed(everything) == [(f"t{at}", sorted(some)) for at, some in enumerate(sets) if some or always]
    assert pages_of([found, kept], N_PAGES).tolist() == sorted(set().union(*sets))


@given(page_sets, page_sets, st.booleans())
@settings(deadline=None)
def test_a_list_of_matches_says_of_each_what_its_match_says(
    sets: list[set[int]], more: list[set[int]], spans: bool
) -> None:
    if spans:
        sets = [{page for page in some if page < NOWHERE_FROM} for some in sets]
    matches = Matches([found_of(sets, spans=spans), found_of([]), found_of(more)], CLASSES, MAP)
    together = [*sets, *more]
    assert len(matches) == len(together) == len(list(matches))
    for at, (match, pages) in enumerate(zip(matches, together, strict=True)):
        assert match.pages.tolist() == sorted(pages)
        assert matches.page_counts[at] == len(pages)
        assert matches.pids[at] == match.pid
        assert matches.label(at) == match.label
        assert matches.kind(at) == match.kind == "thing"
        assert matches.page_class(at) == match.page_class
        kinds = {CLASS_TITLES[PageClass(int(CLASSES[page]))] for page in pages}
        assert match.page_class == ("several" if len(kinds) > 1 else kinds.pop() if kinds else "")
        assert matches.sizes[at] == match.ranges[:, 1].sum()
        assert matches.firsts[at] == (match.ranges[:, 0].min() if len(match.ranges) else NOWHERE)
        if not (spans and at < len(sets)):
            inside = {page for page in pages if page < NOWHERE_FROM}
            covered = [s + o for s, n in match.ranges.tolist() for o in range(0, n, PAGE_BYTES)]
            assert covered == sorted(map(paddr_of, inside))
            assert len(match.ranges) == len({paddr_of(p) for p in inside} - {paddr_of(p) + PAGE_BYTES for p in inside})
    assert matches.is_of_one_kind
    assert matches.is_of_one_process == (len({match.pid for match in matches}) <= 1)
    for page in range(0, N_PAGES, 7):
        holders = [len(pages) for pages in together if page in pages]
        index = matches.holding(page)
        assert (index is None) == (not holders)
        if index is not None:
            assert page in together[index]
            assert len(together[index]) == min(holders)


def test_many_pages_are_put_together_as_few_are() -> None:
    pages = [*range(0, 20), *range(22, 50)]  # over the hole, and more than are put together one by one
    (match,) = Matches([found_of([set(pages)])], CLASSES, MAP)
    page = PAGE_BYTES
    assert match.ranges.tolist() == [[0, 20 * page], [22 * page, 10 * page], [1 << 32, 18 * page]]
    (nowhere,) = Matches([found_of([{61, 62}])], CLASSES, MAP)
    assert nowhere.ranges.shape == (0, 2)


def test_a_label_is_made_when_it_is_looked_at_and_not_before() -> None:
    made: list[int] = []

    def label(at: int) -> str:
        made.append(at)
        return f"number {at}"

    labels = Made(label, np.arange(0, 1000, 2))
    pages = np.arange(500, dtype=np.uint32) % N_PAGES
    found = Found(labels, ["thing"] * 500, np.full(500, NOBODY), np.arange(501), pages)
    matches = Matches([found.some(np.arange(10, 500))], CLASSES, MAP)
    assert len(matches) == 490
    assert not made
    assert matches[0].label == "number 20"
    assert matches[0].pid is None
    assert [match.label for match in matches[-2:]] == ["number 996", "number 998"]
    assert labels[1:3][1] == "number 4"
    assert made == [20, 20, 996, 998, 4]
    with pytest.raises(IndexError):
        matches[490]
    assert matches[-490].pages.tolist() == matches[0].pages.tolist()


def test_a_single_thing_may_be_less_than_its_page() -> None:
    (match,) = Matches([one("here", "symbol", 7, np.array([3], np.uint32), np.array([[0x3010, 8]]))], CLASSES, MAP)
    assert (match.label, match.kind, match.pid, match.ranges.tolist()) == ("here", "symbol", 7, [[0x3010, 8]])
    assert match.document()["pages"] == 1


def test_a_match_that_goes_on_in_a_page_before_its_first_has_its_pages_in_order() -> None:
    number = np.array([0, 0, 1, 2])
    offsets = np.array([5 * PAGE_BYTES + 4090, 2 * PAGE_BYTES, 7 * PAGE_BYTES + 4095, 0])
    starts, pages = _pages_of(number, offsets, np.array([6, 4, 2 * PAGE_BYTES, 1]), 3)
    assert starts.tolist() == [0, 2, 5, 6]
    assert pages.tolist() == [2, 5, 7, 8, 9, 0]
