"""The terminal widget in a real ImGui context: typing, selecting, scrolling, following a flood of output."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imgui_bundle import imgui

from app.widgets.terminal import BACKLOG_BYTES, BLINK_FOR_S, BLINK_S, KEPT_BYTES, TerminalWidget
from app.widgets.terminal_screen import TerminalScreen
from tests.app.widgets.harness import Harness

Key = imgui.Key
PAD, CELL, ROW = 12 + 4, 7, 18


class _Stage:
    """A terminal over a buffer that the test prints into; `history` bounds it as the machine's console does."""

    def __init__(self, stage: Callable[..., Harness], *, history: int = 1 << 20, **options: object) -> None:
        self.printed = bytearray()
        self.history = history
        self.sent = b""
        self.terminal = TerminalWidget(self._read, self._write)
        self.size: tuple[float, float] | None = None
        self.harness = stage(
            lambda h: self.terminal.draw(h.theme, self.size), **{"width": 700, "height": 300, **options}
        )
        self.harness.frame(4)

    def _read(self, position: int) -> tuple[int, bytes]:
        return len(self.printed), bytes(self.printed[max(position, len(self.printed) - self.history) :])

    def _write(self, data: bytes) -> None:
        self.sent += data

    def print(self, data: bytes) -> None:
        self.printed += data
        self.harness.frame(2)

    def focus(self) -> None:
        self.terminal.focus()
        self.harness.frame(2)
        self.sent = b""

    def take(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent

    @property
    def screen(self) -> TerminalScreen:
        return self.terminal.screen

    def shown(self) -> list[str]:
        return [line.text().rstrip() for line in self.screen.lines]

    def cell(self, column: int, row: int) -> tuple[float, float]:
        return PAD + (column + 0.5) * CELL, PAD + (row + 0.5) * ROW


# Read through functions: a checker that saw a property once would take it for constant.


def _has_keyboard(at: _Stage) -> bool:
    return at.terminal.wants_keyboard


def _top(at: _Stage) -> int | None:
    return at.terminal._top


def _wait_s(at: _Stage) -> float | None:
    return at.terminal.next_redraw_s


@pytest.fixture
def at(stage: Callable[..., Harness]) -> _Stage:
    return _Stage(stage)


def test_it_fills_the_panel_and_shows_what_is_printed(at: _Stage) -> None:
    assert (at.screen.columns, at.screen.rows) == ((700 - 2 * 12 - 8 - 10) // CELL, (300 - 2 * 12 - 8) // ROW)
    at.print(b"hello\r\nworld")
    assert at.shown()[:2] == ["hello", "world"]


def test_typing_reaches_the_guest_only_with_the_focus(at: _Stage) -> None:
    at.harness.type("lost")
    assert at.take() == b""
    assert not _has_keyboard(at)
    at.focus()
    assert _has_keyboard(at)
    at.harness.type("ls é")
    at.harness.key(Key.enter)
    at.harness.key(Key.tab)
    at.harness.key(Key.up_arrow)
    at.harness.key(Key.backspace)
    at.harness.key(Key.escape)
    at.harness.key(Key.left_alt, alt=True)
    at.harness.key(Key.space, text=" ")
    assert at.take() == "ls é\r\t\x1b[A\x7f\x1b ".encode()
    assert _has_keyboard(at)  # no key of these moves the focus
    at.harness.key(Key.c, ctrl=True)
    at.harness.key(Key.f, alt=True)
    at.harness.key(Key.b, alt=True, text="b")
    assert at.take() == b"\x03\x1bf\x1bb"
    at.print(b"\x1b[?1h")
    at.harness.key(Key.up_arrow)
    assert at.take() == b"\x1bOA"


def test_queries_are_answered(at: _Stage) -> None:
    at.print(b"\x1b[6n\x1b[c")
    assert at.take() == b"\x1b[1;1R\x1b[?62;22c"


def test_a_drag_selects_and_copies(at: _Stage) -> None:
    at.print(b"alpha beta\r\ngamma delta")
    at.harness.drag(at.cell(6, 0), at.cell(4, 1))
    assert at.terminal.selected_text() == "beta\ngamma"
    at.harness.key(Key.c, ctrl=True, shift=True)
    assert at.harness.clipboard == "beta\ngamma"
    assert at.take() == b""
    at.harness.frame(40)
    at.harness.click(*at.cell(7, 1), times=2)
    assert at.terminal.selected_text() == "delta"
    at.harness.frame(40)
    at.harness.click(*at.cell(7, 1), times=3)
    assert at.terminal.selected_text() == "gamma delta"
    at.harness.frame(40)
    at.harness.click(*at.cell(2, 1))
    assert at.terminal.selected_text() == ""
    at.harness.frame(40)
    at.harness.click(*at.cell(0, 0))
    at.harness.drag(at.cell(0, 0), at.cell(2, 0))
    at.harness.io.add_key_event(Key.mod_shift, True)
    at.harness.click(*at.cell(4, 0))
    at.harness.io.add_key_event(Key.mod_shift, False)
    assert at.terminal.selected_text() in ("alpha", "")


def test_paste_by_key_middle_button_and_menu(at: _Stage) -> None:
    at.harness.clipboard = "one\ntwo\x1b"
    at.focus()
    at.harness.key(Key.v, ctrl=True, shift=True)
    assert at.take() == b"one\rtwo"
    at.print(b"\x1b[?2004h")
    at.harness.click(*at.cell(3, 3), button=2)
    assert at.take() == b"\x1b[200~one\rtwo\x1b[201~"
    at.harness.key(Key.insert, shift=True)
    assert at.take() == b"\x1b[200~one\rtwo\x1b[201~"
    at.harness.clipboard = ""
    at.harness.key(Key.v, ctrl=True, shift=True)
    assert at.take() == b""


def test_the_menu_does_what_it_says(at: _Stage) -> None:
    at.print(b"some words\r\n" * 30)
    at.harness.clipboard = "pasted"
    done = set()
    for item in range(6):
        at.harness.click(*at.cell(5, 2), button=1)
        at.harness.frame(2)
        x, y = at.cell(5, 2)
        at.harness.click(x + 40, y + 18 + item * 23)
        at.harness.frame(2)
        if sent := at.take():
            done.add(sent)
        if len(at.terminal.selected_text()) > 200:
            done.add(b"selected all")
        if not at.screen.scrollback:
            done.add(b"cleared")
        at.harness.key(Key.escape)  # the click on a disabled item left the menu open
        at.take()
    stty = f"stty rows {at.screen.rows} cols {at.screen.columns}\r".encode()
    assert {b"pasted", stty, b"selected all", b"cleared"} <= done


def test_scrolling_back_stays_put_and_typing_returns(at: _Stage) -> None:
    for number in range(100):
        at.print(b"line %d\r\n" % number)
    at.harness.move(*at.cell(5, 5))
    at.harness.wheel(5)
    top = at.terminal._top
    assert top == at.screen.screen_line - 15
    at.print(b"more\r\n" * 7)
    assert at.terminal._top == top
    at.focus()
    at.harness.key(Key.page_up, shift=True)
    assert at.terminal._top == top - at.screen.rows + 1
    at.harness.key(Key.home, shift=True)
    assert _top(at) == at.screen.first_line
    at.harness.key(Key.page_down, shift=True)
    at.harness.key(Key.end, shift=True)
    assert _top(at) is None
    at.harness.key(Key.page_up, shift=True)
    assert at.take() == b""
    at.harness.type("x")
    assert _top(at) is None
    at.harness.drag((700 - 12 - 5, 300 - 40), (680, -100))
    assert _top(at) == at.screen.first_line
    at.harness.click(700 - 12 - 10 - 60, 300 - 12 - 24)
    assert _top(at) is None


def test_a_drag_past_the_edge_scrolls(at: _Stage) -> None:
    at.print(b"".join(b"line %d\r\n" % n for n in range(100)))
    at.harness.move(*at.cell(3, 3))
    at.harness.press()
    at.harness.move(PAD + 10, 2)
    at.harness.frame(5)
    at.harness.release()
    assert at.terminal._top is not None
    assert at.terminal._top < at.screen.screen_line - 2


def test_wheel_and_mouse_belong_to_a_program_that_asks(at: _Stage) -> None:
    at.print(b"\x1b[?1049h")
    at.harness.move(*at.cell(5, 5))
    at.harness.wheel(1)
    assert at.take() == b"\x1b[A" * 3
    at.print(b"\x1b[?1002h\x1b[?1006h")
    at.harness.wheel(-1)
    assert at.take() == b"\x1b[<65;6;6M"
    at.harness.drag(at.cell(2, 2), at.cell(6, 3))
    sent = at.take()
    assert sent.startswith(b"\x1b[<0;3;3M\x1b[<32;")
    assert sent.endswith(b"\x1b[<32;7;4M\x1b[<0;7;4m")
    assert at.terminal.selected_text() == ""
    at.print(b"\x1b[?1002l\x1b[?1003h")
    at.harness.move(*at.cell(9, 9))
    assert at.take() == b"\x1b[<35;10;10M"
    at.harness.move(695, 5)
    assert at.take() == b""
    at.print(b"\x1b[?1003l\x1b[?9h\x1b[?1006l")
    at.harness.click(*at.cell(0, 0))
    assert at.take() == b"\x1b[M !!"


def test_focus_is_reported_to_a_program_that_asks(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage)
    at.print(b"\x1b[?1004h")
    at.terminal.focus()
    at.harness.frame(2)
    assert at.take() == b"\x1b[I"
    at.harness.io.add_focus_event(False)
    imgui.set_window_focus(None)
    at.harness.frame(2)
    assert at.take() == b"\x1b[O"


def test_a_flood_is_skipped_ahead_and_said(at: _Stage) -> None:
    at.harness.frame()
    at.printed += (b"flood" * 20 + b"\r\n") * ((BACKLOG_BYTES + 5000) // 100) + b"the end"
    at.history = 4 * BACKLOG_BYTES
    total = len(at.printed)
    at.harness.frame()
    assert at.terminal.skipped_bytes == total - KEPT_BYTES
    for _ in range(500):
        at.harness.frame()
        if at.terminal.next_redraw_s != 0.0:
            break
    assert "the end" in at.shown()
    notes = [line.text() for line in at.screen.scrollback if "skipped" in line.text()]
    assert len(notes) == 1
    assert f"{total - KEPT_BYTES:,} bytes" in notes[0]


def test_bytes_that_the_console_dropped_are_counted(stage: Callable[..., Harness]) -> None:
    at = _Stage(stage, history=1000)
    at.print(b"a")
    at.print(b"b" * 5000)
    assert at.terminal.skipped_bytes == 4000
    assert any("4,000 bytes skipped" in line for line in at.shown())


def test_a_frame_takes_little_of_a_flood_and_the_rest_later(at: _Stage) -> None:
    at.printed += b"\x1b[31mx\x1b[0m" * 60_000
    assert at.terminal.pump(0.0)
    assert at.terminal.pump(0.0)
    while at.terminal.pump(0.05):
        pass
    assert not at.terminal.pump(0.0)


def test_the_cursor_blinks_only_while_used_and_asks_for_few_frames(at: _Stage) -> None:
    at.harness.frame()
    assert _wait_s(at) is None  # no focus: nothing moves
    at.focus()
    wait_s = _wait_s(at)
    assert wait_s is not None
    assert 0 < wait_s <= BLINK_S + 0.01
    at.harness.frame(dt_s=wait_s)
    assert not at.terminal._blink_on()
    at.harness.frame(int(BLINK_FOR_S) + 2, dt_s=1.0)
    assert _wait_s(at) is None
    assert at.terminal._blink_on()
    for shape in (2, 4, 6, 3, 5):
        at.print(b"\x1b[%d q" % shape)
        at.harness.type("x")
        assert (at.terminal.next_redraw_s is None) == (shape % 2 == 0)


def test_a_bell_lights_up_and_fades(at: _Stage) -> None:
    at.print(b"\x07")
    assert _wait_s(at) is not None
    at.harness.frame(20)
    assert _wait_s(at) is None


def test_resizing_waits_until_the_panel_rests(at: _Stage) -> None:
    at.print(b"x" * 90)
    before = at.screen.columns
    at.size = (300, 200)
    at.harness.frame()
    assert at.screen.columns == before
    assert _wait_s(at) is not None
    at.harness.frame(10)
    assert at.screen.columns == (300 - 18) // CELL
    assert at.shown()[:3] == ["x" * 40, "x" * 40, "x" * 10]
    at.size = (3, 3)
    at.harness.frame(20)
    assert at.screen.columns == 40  # too small to be a terminal


def test_the_title_is_the_guests(at: _Stage) -> None:
    at.print(b"\x1b]2;vi \x01notes\x07")
    assert at.terminal.title == "vi notes"  # without its control character
    at.harness.click(*at.cell(5, 2), button=1)  # the menu shows it
    at.harness.frame(2)
    assert imgui.is_popup_open("", imgui.PopupFlags_.any_popup)
    at.print(b"\x1b]0;" + b"t" * 1000 + b"\x1b\\")
    assert at.terminal.title == "t" * 256


def test_reverse_screen_and_every_kind_of_cell_draw(stage: Callable[..., Harness], tmp_path: Path) -> None:
    at = _Stage(stage, gpu=True)
    plain = at.harness.shoot(tmp_path / "plain.png")
    at.printed += (
        "\x1b[?25l\x1b[44mground\x1b[0m \x1b[4;9munder\x1b[0m ┌─┐█ 漢字 \x1b[1mbold\x1b[0m é\u0301\u0302".encode()
    )
    drawn = at.harness.shoot(tmp_path / "drawn.png")
    row = slice(PAD, PAD + ROW)
    blue = np.array([round(c * 255) for c in at.harness.theme.ansi[4][:3]])
    assert (np.abs(drawn[PAD + 1, PAD : PAD + 6 * CELL, :3].astype(int) - blue) <= 1).all()
    assert (drawn[row] != plain[row]).any()
    assert (drawn[PAD + 5 * ROW : PAD + 6 * ROW] == plain[PAD + 5 * ROW : PAD + 6 * ROW]).all()
    block = slice(PAD + 16 * CELL, PAD + 17 * CELL)
    text = np.array([round(c * 255) for c in at.harness.theme.text[:3]])
    assert (np.abs(drawn[row, block, :3].astype(int) - text) <= 1).all()  # U+2588 fills its cell without a seam
    at.printed += b"\x1b[?5h"
    reversed_ = at.harness.shoot(tmp_path / "reversed.png")
    assert reversed_[250, 300, :3].mean() > 200


def test_cursor_on_a_wide_character(at: _Stage) -> None:
    at.focus()
    at.print("漢\x1b[1;2H".encode())
    at.harness.frame(2)
    assert at.screen.cursor_column == 1
