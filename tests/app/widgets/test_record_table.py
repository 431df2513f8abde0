"""The record table does with a real ImGui what a person at mouse and keys expects of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from imgui_bundle import imgui

from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent, colour_of
from tests.app.widgets.harness import Harness

WIDTH, HEIGHT = 640, 300


@dataclass(frozen=True)
class Row:
    name: str
    size: int


COLUMNS = (
    Column[Row]("Name", lambda row: row.name, indent=lambda row: row.size % 3),
    Column[Row]("Size", lambda row: row.size, width=30, right=True, descends=True, mono=True, tip="In bytes"),
    Column[Row]("Nothing", lambda _row: "", width=20),
)


class Bench:
    """A table in a window of its own, and what came of it."""

    def __init__(self, rows: tuple[Row, ...], *, sort: int | None = 0, gpu: bool = False) -> None:
        self.rows = rows
        self.events: list[TableEvent[Row]] = []
        self.table = RecordTable("test", RecordModel(COLUMNS, lambda row: row.name, sort=sort))
        self.ran: list[str] = []
        self.rects: dict[str, tuple[float, float]] = {}
        self.harness = Harness(self._draw, width=WIDTH, height=HEIGHT, gpu=gpu)
        self.harness.frame(3)

    def _draw(self, harness: Harness) -> None:
        self.table.filter_box(200)
        self.body_y = imgui.get_cursor_screen_pos().y
        event = self.table.draw(harness.theme, self.rows, menu=self._menu)
        if event is not None:
            self.events.append(event)

    def _menu(self, row: Row) -> list[MenuEntry]:
        return [
            MenuEntry("Do", "", lambda: self.ran.append(row.name)),
            MenuEntry("Not now", "", lambda: self.ran.append("never"), "there is a reason"),
        ]

    def row_y(self, at: int) -> float:
        """The middle of the row that is drawn at `at`, while the table is at its top."""
        theme = self.harness.theme
        return self.body_y + 18 + (at + 0.5) * theme.px(7)

    def said(self) -> list[tuple[str, str]]:
        return [(event.kind, event.row.name) for event in self.events]

    def has_keys(self) -> bool:
        return self.table.focused

    def menu_item(self, index: int) -> None:
        popup = next(w for w in imgui.get_current_context().windows if w.active and w.name.startswith("##Popup"))
        items = 5  # two of its own, three for copying
        step = (popup.size.y - 16) / items
        self.harness.click(popup.pos.x + 30, popup.pos.y + 8 + (index + 0.5) * step)


ROWS = (Row("beta", 20), Row("alpha", 3), Row("delta", 11), Row("gamma", 100))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(ROWS)
    yield bench
    bench.harness.close()


def test_a_click_chooses_and_a_double_click_opens(bench: Bench) -> None:
    bench.harness.click(100, bench.row_y(1))
    assert bench.said() == [("choose", "beta")]
    assert bench.table.selected == "beta"
    bench.harness.frame(60)
    bench.harness.click(100, bench.row_y(2), times=2)
    assert bench.said()[1:] == [("choose", "delta"), ("open", "delta")]


def test_a_click_on_a_header_sorts_and_the_next_one_turns_it(bench: Bench) -> None:
    header = bench.body_y + 10
    bench.harness.click(470, header)
    bench.harness.click(100, bench.row_y(0))
    assert bench.said() == [("choose", "gamma")], "sizes begin with the largest"
    bench.harness.frame(60)
    bench.harness.click(470, header)
    bench.harness.click(100, bench.row_y(0))
    assert bench.said()[-1] == ("choose", "alpha")


def test_scripts_sort_by_a_columns_title(bench: Bench) -> None:
    bench.table.sort_by("Size")
    bench.harness.frame(2)
    assert [ROWS[at].size for at in bench.table.model.view(ROWS)] == [100, 20, 11, 3]
    bench.table.sort_by("Name", descending=True)
    bench.harness.frame(2)
    assert [ROWS[at].name for at in bench.table.model.view(ROWS)] == ["gamma", "delta", "beta", "alpha"]
    with pytest.raises(KeyError):
        bench.table.sort_by("Colour")


def test_what_is_typed_filters(bench: Bench) -> None:
    bench.harness.click(100, 20)
    bench.harness.type("LT")
    assert [ROWS[at].name for at in bench.table.model.view(ROWS)] == ["delta"]
    bench.harness.key(imgui.Key.escape)
    assert bench.table.model.needle == ""
    bench.table.set_filter("gam")
    bench.harness.frame(2)
    bench.harness.click(100, bench.row_y(0))
    assert bench.said() == [("choose", "gamma")]


def test_keys_walk_open_and_copy(bench: Bench) -> None:
    bench.harness.click(100, bench.row_y(0))
    assert bench.has_keys()
    steps = {
        imgui.Key.down_arrow: "beta",
        imgui.Key.end: "gamma",
        imgui.Key.up_arrow: "delta",
        imgui.Key.home: "alpha",
        imgui.Key.page_down: "gamma",
        imgui.Key.page_up: "alpha",
    }
    for key, name in steps.items():
        bench.harness.key(key)
        assert bench.said()[-1] == ("choose", name)
    bench.harness.key(imgui.Key.up_arrow)
    assert bench.said()[-1] == ("choose", "alpha"), "there is nothing before the first"
    bench.harness.key(imgui.Key.enter)
    assert bench.said()[-1] == ("open", "alpha")
    bench.harness.key(imgui.Key.c, ctrl=True)
    assert bench.harness.clipboard == "alpha\t3\t"
    bench.harness.key(imgui.Key.f, ctrl=True)
    bench.harness.frame(2)
    bench.harness.type("nothing")
    assert bench.table.model.needle == "nothing"
    assert not bench.has_keys()
    bench.harness.click(100, bench.row_y(3))
    count = len(bench.events)
    bench.harness.key(imgui.Key.down_arrow)
    assert len(bench.events) == count, "an empty table has no rows to walk"


def test_a_rows_menu_runs_and_copies(bench: Bench) -> None:
    def menu(item: int) -> None:
        bench.harness.click(550, bench.row_y(1), button=1)
        bench.harness.frame(2)
        bench.menu_item(item)
        bench.harness.frame(2)

    menu(0)
    assert bench.ran == ["beta"]
    assert bench.table.selected == "beta"
    menu(1)
    assert bench.ran == ["beta"], "what cannot be done is not done"
    bench.harness.key(imgui.Key.escape)
    bench.harness.click(480, bench.row_y(1), button=1)
    bench.harness.frame(2)
    bench.menu_item(2)
    assert bench.harness.clipboard == "20", "the cell under the pointer"
    menu(3)
    assert bench.harness.clipboard == "beta\t20\t"
    menu(4)
    assert bench.harness.clipboard.splitlines()[:3] == ["Name,Size,Nothing", "alpha,3,", "beta,20,"]


def test_a_row_is_brought_into_view() -> None:
    rows = tuple(Row(f"row {number:06}", number) for number in range(150_000))
    bench = Bench(rows)
    bench.table.show("row 100000")
    bench.harness.frame(3)
    bench.harness.key(imgui.Key.c, ctrl=True)
    bench.harness.click(100, 200)
    chosen = bench.events[-1].row.size
    assert abs(chosen - 100_000) < 10
    bench.table.show("row 999999")  # one that is gone moves nothing
    bench.harness.frame(3)
    bench.harness.click(100, 200)
    assert abs(bench.events[-1].row.size - chosen) < 2
    bench.harness.close()


def test_a_table_that_follows_stays_at_its_end_unless_one_looks_back() -> None:
    rows = tuple(Row(f"row {number:03}", number) for number in range(50))
    bench = Bench(rows, sort=None)
    bench.table.follow = True
    bench.harness.frame(3)

    def last_in_view() -> int:
        bench.harness.click(100, HEIGHT - 24)
        return bench.events[-1].row.size

    assert last_in_view() >= 48
    bench.rows = (*rows, *(Row(f"row {number:03}", number) for number in range(50, 90)))
    bench.harness.frame(3)
    assert last_in_view() >= 88
    bench.harness.move(100, 150)
    bench.harness.wheel(5)
    bench.harness.frame(30)
    seen = last_in_view()
    assert seen < 88
    bench.rows = (*bench.rows, Row("row 999", 999))
    bench.harness.frame(3)
    assert last_in_view() == seen
    bench.harness.close()


def test_rows_that_came_in_an_order_can_be_brought_back_to_it() -> None:
    bench = Bench(ROWS, sort=None)
    assert [ROWS[at] for at in bench.table.model.view(ROWS)] == list(ROWS)
    for expected in (["alpha", "beta", "delta", "gamma"], ["gamma", "delta", "beta", "alpha"], [r.name for r in ROWS]):
        bench.harness.click(60, bench.body_y + 10)
        bench.harness.frame(60)
        assert [ROWS[at].name for at in bench.table.model.view(ROWS)] == expected
    bench.harness.close()


def test_a_cell_that_is_cut_is_told_in_full_on_hover() -> None:
    bench = Bench((Row("a very long name " * 20, 1), Row("short", 2)))
    windows = imgui.get_current_context().windows
    bench.harness.move(100, bench.row_y(1))
    bench.harness.frame(3)
    assert not any(w.active and w.name.startswith("##Tooltip") for w in windows)
    bench.harness.move(100, bench.row_y(0))
    bench.harness.frame(3)
    assert any(w.active and w.name.startswith("##Tooltip") for w in imgui.get_current_context().windows)
    bench.harness.close()


def test_the_chosen_row_is_marked_in_the_picture(tmp_path: object) -> None:
    from pathlib import Path

    bench = Bench(ROWS, gpu=True)
    before = bench.harness.shoot(Path(str(tmp_path)) / "before.png").astype(int)
    bench.table.show("beta")
    bench.harness.frame(2)
    after = bench.harness.shoot(Path(str(tmp_path)) / "after.png").astype(int)
    rows = np.flatnonzero((np.abs(after - before).sum(2) > 20).sum(1) > WIDTH / 3)
    assert abs(rows.mean() - bench.row_y(1)) < 4
    assert np.ptp(rows) < 30
    bench.harness.close()


def test_tones_are_colours_of_the_theme(bench: Bench) -> None:
    theme = bench.harness.theme
    assert colour_of(theme, "bad") == theme.bad
    assert len({colour_of(theme, tone) for tone in ("text", "dim", "faint", "accent", "good", "warn", "bad")}) == 7
