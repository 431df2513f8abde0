"""The hex view: its rows are the bytes, its arithmetic holds for 64 bits, its events say what was done."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import imgui

from app.widgets.hex_model import FADE_S, ChangeTracker, HexModel
from app.widgets.hexview import HexEvent, HexView, _Layout, _row_texts, _unmapped_text, fitting_layout
from tests.app.widgets.harness import Harness

Key = imgui.Key


@given(st.binary(min_size=1, max_size=32), st.sampled_from([8, 16, 32]), st.sampled_from([8, 12, 16]))
def test_the_texts_of_a_row_are_its_bytes(data: bytes, row_bytes: int, digits: int) -> None:
    data = data[:row_bytes]
    layout = _Layout(digits, row_bytes)
    whole = [" "] * layout.columns
    for kind, text in _row_texts(data, layout):
        for column, char in enumerate(text):
            if char != " ":
                assert whole[column] == " "  # no two kinds share a cell
                whole[column] = char
                index = layout.byte_at(column + 0.5)
                assert index is not None
                byte = data[index]
                assert kind == (0 if byte == 0 else 1 if 32 <= byte < 127 else 2 if byte < 128 else 3)
    line = "".join(whole)
    assert bytes.fromhex(line[layout.hex_start : layout.text_start]) == data
    shown = line[layout.text_start :].ljust(row_bytes)[: len(data)]
    assert all(c == (chr(b) if 32 <= b < 127 else ".") for c, b in zip(shown, data, strict=True))


@pytest.mark.parametrize("row_bytes", [8, 16, 32])
def test_every_byte_can_be_hit_and_only_there(row_bytes: int) -> None:
    layout = _Layout(8, row_bytes)
    for index in range(row_bytes):
        for column in (layout.hex_column(index) + 0.1, layout.hex_column(index) + 1.9, layout.text_start + index + 0.5):
            assert layout.byte_at(column) == index
            assert layout.nearest(column) == index
    assert layout.byte_at(2) is None
    assert layout.byte_at(layout.columns + 0.1) is None
    assert layout.nearest(0) == 0
    assert layout.nearest(1e6) == row_bytes - 1
    assert "".join(_unmapped_text(row_bytes, layout).split()) == "·" * 3 * row_bytes
    assert fitting_layout(layout.columns, 8) == layout
    assert fitting_layout(1, 8).row_bytes == 8


_moves = st.one_of(
    st.tuples(st.just("move_to"), st.integers(0, 1 << 65), st.booleans()),
    st.tuples(st.just("move_by"), st.integers(-(1 << 40), 1 << 40), st.booleans()),
    st.tuples(st.just("scroll_to"), st.integers(-5, 1 << 62)),
    st.tuples(st.just("set_layout"), st.sampled_from([8, 16, 32]), st.integers(0, 90)),
    st.tuples(st.just("set_range"), st.integers(0, 1 << 64), st.integers(0, 1 << 64)),
    st.tuples(st.just("reveal"), st.integers(0, 1 << 64)),
)


@given(st.lists(_moves, max_size=20))
def test_the_cursor_stays_inside_and_in_view(moves: list[tuple[object, ...]]) -> None:
    model = HexModel()
    model.set_range(0x1003, 1 << 64)
    model.set_layout(16, 30)
    for name, *values in moves:
        if name in ("move_to", "move_by"):
            getattr(model, str(name))(values[0], extend=values[1])
        elif name == "set_range":
            low, high = sorted(values)  # type: ignore[type-var]
            model.set_range(low, high)  # type: ignore[arg-type]
        else:
            getattr(model, str(name))(*values)
        assert 0 <= model.top_row <= max(model.total_rows - model.visible_rows, 0)
        assert model.base <= model.cursor <= max(model.end - 1, model.base)
        assert model.base <= model.anchor <= max(model.end - 1, model.base)
        assert model.address_of_row(model.row_of(model.cursor)) <= model.cursor
        if name in ("move_to", "move_by", "reveal") and model.total_rows:
            assert model.top_row <= model.row_of(model.cursor) < model.top_row + model.visible_rows
        start, length = model.selection
        assert start + length - 1 == max(model.anchor, model.cursor)


def test_steps_of_rows_keep_the_column_at_the_ends() -> None:
    model = HexModel()
    model.set_range(0, 100)
    model.set_layout(16, 3)
    model.move_to(5)
    model.move_by(-160)
    assert model.cursor == 5
    model.move_by(1600)
    assert model.cursor == 85
    model.move_by(-32)
    assert model.cursor == 53


def _moves_on(thing: ChangeTracker | HexView) -> bool:
    return thing.animating


def test_changes_are_found_exactly_and_fade() -> None:
    rng = random.Random(1)
    tracker = ChangeTracker()
    rows = {address: rng.randbytes(16) for address in range(0, 160, 16)}
    tracker.observe(dict(rows), 10.0)
    assert not _moves_on(tracker)
    changed = set()
    for _ in range(20):
        address, index = rng.choice(list(rows)), rng.randrange(16)
        data = bytearray(rows[address])
        if (address, index) not in changed:
            data[index] ^= 0x40
        rows[address] = bytes(data)
        changed.add((address, index))
    tracker.observe(dict(rows), 11.0)
    for address in rows:
        heat = tracker.heat(address, 11.0)
        got = set() if heat is None else {(address, int(i)) for i in np.flatnonzero(heat)}
        assert got == {entry for entry in changed if entry[0] == address}
    half = tracker.heat(next(iter(changed))[0], 11.0 + FADE_S / 2)
    assert half is not None
    assert half.max() == pytest.approx(0.5)
    tracker.observe(dict(rows), 11.0 + FADE_S - 0.01)
    assert _moves_on(tracker)
    tracker.observe(dict(rows), 11.0 + FADE_S + 0.01)
    assert not _moves_on(tracker)


def test_a_row_that_comes_into_view_or_changes_size_is_no_change() -> None:
    tracker = ChangeTracker()
    tracker.observe({0: b"a" * 16}, 0)
    tracker.observe({16: b"b" * 16}, 1)
    tracker.observe({0: b"c" * 16, 16: b"b" * 8}, 2)
    assert not _moves_on(tracker)
    tracker.observe({0: b"d" * 16}, 3)
    assert _moves_on(tracker)
    tracker.clear()
    assert tracker.heat(0, 3) is None


class _Stage:
    """A hex view over 1 MiB of random bytes at 3 GiB, with a hole, in an address space of 2^40."""

    BASE, END = 0, 1 << 40
    RAM = 3 << 30

    def __init__(self, stage: Callable[..., Harness], **options: object) -> None:
        self.memory = bytearray(random.Random(2).randbytes(1 << 20))
        self.view = HexView((KeyError,))
        self.events: list[HexEvent] = []
        self.selected: int | None = self.RAM + 0x200
        self.harness = stage(self._draw, **{"width": 700, "height": 500, **options})
        self.harness.frame(3)

    def read(self, address: int, length: int) -> memoryview:
        start = address - self.RAM
        if start < 0 or start + length > len(self.memory):
            raise KeyError(address)
        return memoryview(self.memory)[start : start + length]

    def _draw(self, stage: Harness) -> None:
        event = self.view.draw(
            stage.theme, self.read, base=self.BASE, size_bytes=self.END - self.BASE, selected=self.selected
        )
        if event is not None:
            self.events.append(event)
            self.selected = event.address

    def point(self, address: int) -> tuple[float, float]:
        """Where the hex digits of an address are: found by asking the view, as a user finds it by looking."""
        model = self.view.model
        row = model.row_of(address) - model.top_row
        column = self.view._layout.hex_column(address % model.row_bytes) + 1
        return 12 + 8 + column * 7, 12 + 24 + (row + 0.5) * 20


def test_click_drag_and_double_click(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    assert at.view.model.row_bytes == 16
    address = at.RAM + 0x225
    at.harness.click(*at.point(address))
    assert at.events == [HexEvent("select", address)]
    at.harness.frame(40)  # or the press of the drag would be the second of a double click
    at.harness.drag(at.point(address), at.point(address + 0x31))
    assert at.events[-1] == HexEvent("select", address, 0x32)
    assert at.view.model.selection == (address, 0x32)  # and the round trip through `selected` has not undone it
    at.harness.frame(40)
    at.harness.click(*at.point(address + 3), times=2)
    assert HexEvent("go", address + 3) in at.events
    at.harness.frame(40)
    at.harness.io.add_key_event(Key.mod_shift, True)
    at.harness.click(*at.point(address + 8))
    at.harness.io.add_key_event(Key.mod_shift, False)
    assert at.events[-1].length == 6


def test_keys_move_select_and_copy(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    start = at.RAM + 0x225
    at.harness.click(*at.point(start))
    at.harness.key(Key.right_arrow)
    at.harness.key(Key.down_arrow)
    at.harness.key(Key.left_arrow)
    at.harness.key(Key.up_arrow)
    assert at.events[-1] == HexEvent("select", start)
    at.harness.key(Key.right_arrow, shift=True)
    at.harness.key(Key.down_arrow, shift=True)
    assert at.events[-1] == HexEvent("select", start, 18)
    at.harness.key(Key.c, ctrl=True)
    assert bytes.fromhex(at.harness.clipboard) == at.memory[0x225 : 0x225 + 18]
    at.harness.key(Key.home)
    assert at.events[-1].address == at.RAM + 0x230
    at.harness.key(Key.end)
    assert at.events[-1].address == at.RAM + 0x23F
    at.harness.key(Key.page_down)
    assert at.events[-1].address == at.RAM + 0x23F + (at.view.model.visible_rows - 1) * 16
    at.harness.key(Key.page_up)
    at.harness.key(Key.enter)
    assert at.events[-1] == HexEvent("go", at.RAM + 0x23F)
    at.harness.key(Key.end, ctrl=True)
    assert at.events[-1].address == at.END - 1
    at.harness.key(Key.c, ctrl=True)
    assert len(at.harness.clipboard) > 2  # nothing is mapped here: the clipboard keeps what it had
    at.harness.key(Key.home, ctrl=True, shift=True)
    assert at.events[-1] == HexEvent("select", 0, at.END)


def test_wheel_and_scroll_bar_move_the_rows(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    before = at.view.model.top_row
    at.harness.move(300, 200)
    at.harness.wheel(-2)
    assert at.view.model.top_row == before + 6
    at.harness.wheel(1)
    assert at.view.model.top_row == before + 3
    at.harness.drag((700 - 12 - 5, 40), (680, 2000))
    model = at.view.model
    assert model.top_row + model.visible_rows == model.total_rows


def test_changed_bytes_animate_until_they_rest(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    assert not _moves_on(at.view)
    at.memory[0x205] ^= 1
    at.harness.frame()
    assert _moves_on(at.view)
    frames = math.ceil(FADE_S * 60) + 2
    at.harness.frame(frames)
    assert not _moves_on(at.view)


def test_the_menu_copies_what_is_selected(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    start = at.RAM + 0x212
    at.harness.drag(at.point(start), at.point(start + 5))
    wanted = bytes(at.memory[0x212:0x218])
    copied = set()
    for down in range(5):
        at.harness.click(*at.point(start + 2), button=1)
        at.harness.frame(2)
        x, y = at.point(start + 2)
        at.harness.click(x + 40, y + 16 + down * 23)
        copied.add(at.harness.clipboard)
        at.harness.frame(2)
    assert f"0x{start:012x}" in copied
    assert wanted.hex(" ") in copied
    assert repr(wanted) in copied
    at.harness.click(*at.point(start + 0x60), button=1)  # outside the selection: selects that byte first
    assert at.events[-1] == HexEvent("select", start + 0x60)


def test_nothing_to_copy_where_nothing_is_mapped(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    at.selected = 0x1000
    at.harness.frame(2)
    at.harness.clipboard = "kept"
    at.harness.click(*at.point(0x1000), button=1)
    at.harness.frame(2)
    x, y = at.point(0x1000)
    at.harness.click(x + 40, y + 16 + 23)
    assert at.harness.clipboard == "kept"
    at.harness.key(Key.escape)
    at.harness.move(*at.point(0x1010))  # the tooltip says so too, instead of failing
    at.harness.frame(60)
    at.selected = at.RAM + 0x10
    at.harness.frame(2)
    at.harness.move(*at.point(at.RAM + 0x20))
    at.harness.frame(60)


def test_another_selected_address_is_revealed_but_the_same_one_is_not(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    model = at.view.model
    assert model.row_of(at.RAM + 0x200) - model.top_row == model.visible_rows // 3
    at.harness.move(300, 200)
    at.harness.wheel(-100)
    scrolled = model.top_row
    at.harness.frame(3)
    assert model.top_row == scrolled
    at.selected = at.RAM + 0x80000
    at.harness.frame()
    assert model.cursor == at.RAM + 0x80000
    at.harness.click(*at.point(at.RAM + 0x80010))
    at.selected = at.RAM + 0x80000  # the owner does not adopt the choice
    at.harness.frame(3)
    at.selected = at.RAM + 0x80010  # undone and done again elsewhere: followed each time
    at.harness.frame()
    assert model.cursor == at.RAM + 0x80010


@pytest.mark.parametrize(("width", "row_bytes"), [(380, 8), (700, 16), (1100, 32)])
def test_the_width_decides_the_bytes_in_a_row(stage: Callable[..., Harness], width: int, row_bytes: int) -> None:
    assert _Stage(stage, width=width).view.model.row_bytes == row_bytes


def test_an_empty_range_draws(stage: Callable[..., Harness]) -> None:
    view = HexView()
    harness = stage(lambda h: view.draw(h.theme, lambda a, n: b"", base=0, size_bytes=0, size=(300, 200)))
    harness.frame(3)
    harness.click(100, 100)
    assert not view.animating
