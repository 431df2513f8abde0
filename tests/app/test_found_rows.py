"""The rows of an answer: made when they are looked at, and sorted by what their cells show."""

from __future__ import annotations

import numpy as np
import pytest

from app.found_rows import COLUMNS, NO_ROWS, NOWHERE, FoundRows, found_table, ranges_text
from bridge.kernel.page_classes import PageClass
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap, RamRegion
from bridge.semantic.query.found import Found
from bridge.semantic.query.results import NOBODY, Matches

SETS: tuple[list[int], ...] = ([9, 3, 4], [], [7], [0, 1], [15])
MAP = PhysicalMap(16 * PAGE_BYTES, (RamRegion(0x10000, 0, 15 * PAGE_BYTES, "ram"),))


@pytest.fixture
def rows() -> FoundRows:
    pages = np.array([page for some in SETS for page in sorted(some)], np.uint32)
    found = Found(
        ["c", "b", "a", "e", "d"],
        ["heap", "stack", "heap", "file", "file"],
        np.array([30, 20, 50, NOBODY, 10]),
        np.cumsum([0, *map(len, SETS)]),
        pages,
    )
    return FoundRows(Matches([found], np.full(16, PageClass.SLAB, np.uint8), MAP))


def test_cells_are_those_of_the_match(rows: FoundRows) -> None:
    shown = [[column.shown(row) for column in COLUMNS] for row in rows]
    assert shown[0] == ["c", "heap", "30", "3", "12 KiB", "Slab", "0x13000"]
    assert shown[1] == ["b", "stack", "20", "0", "0 B", "", ""]
    assert shown[3][2] == ""
    assert shown[4][-1] == "", "the guest cannot reach it"
    assert rows[4].first == NOWHERE
    assert ranges_text(rows[0].match) == "0x13000+0x2000\n0x19000+0x1000"
    assert [row.index for row in rows[1:3]] == [1, 2]
    assert rows[-1].index == 4
    assert type(rows[np.arange(5)[2]].index) is int, "ImGui takes no number of numpy's"
    with pytest.raises(IndexError):
        rows[5]


@pytest.mark.parametrize("at", range(len(COLUMNS)))
@pytest.mark.parametrize("descending", [False, True])
def test_rows_are_sorted_by_what_a_column_holds(rows: FoundRows, at: int, descending: bool) -> None:
    model = found_table().model
    model.sort, model.descending = at, descending
    values = [COLUMNS[at].value(rows[index]) for index in model.view(rows).tolist()]
    assert values == sorted(values, reverse=descending)
    assert model.view(NO_ROWS).tolist() == []


def test_the_filter_looks_at_all_that_is_shown(rows: FoundRows) -> None:
    model = found_table().model
    model.needle = "file 0x10"
    assert [rows[at].match.label for at in model.view(rows).tolist()] == ["e"]


def test_the_smallest_match_that_holds_a_page_is_what_is_meant(rows: FoundRows) -> None:
    held = rows.holding(4)
    assert held is not None
    assert held.index == 0
    assert rows.holding(5) is None
    assert NO_ROWS.holding(0) is None
