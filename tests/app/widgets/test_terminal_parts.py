"""Keys, colours, boxes and selection of the terminal: checked against terminfo, Unicode, and first principles."""

import random
import re
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import imgui

from app.theme import PALETTES, Rgba, rgb
from app.widgets.terminal_boxes import box_rects, is_box
from app.widgets.terminal_cells import BOLD, DIM, HIDDEN, REVERSE, TRUE_COLOUR, Style
from app.widgets.terminal_keys import (
    MAX_PASTE_BYTES,
    SPECIAL_KEYS,
    TYPED_KEYS,
    encode_mouse,
    encode_paste,
    encode_special,
    encode_text,
    encode_typed,
)
from app.widgets.terminal_palette import MIN_CONTRAST, contrast, indexed_colour, luminance, readable
from app.widgets.terminal_screen import Modes, TerminalScreen
from app.widgets.terminal_selection import BY_LINE, BY_WORD, Selection

Key = imgui.Key
APPLICATION = Modes(application_cursor=True)

# terminfo's names of the capabilities that our keys stand for.
_CAPABILITIES = {
    "kcuu1": Key.up_arrow, "kcud1": Key.down_arrow, "kcuf1": Key.right_arrow, "kcub1": Key.left_arrow,
    "khome": Key.home, "kend": Key.end, "kich1": Key.insert, "kdch1": Key.delete, "kpp": Key.page_up,
    "knp": Key.page_down, **{f"kf{n}": Key(int(Key.f1) + n - 1) for n in range(1, 13)},
}  # fmt: skip


def test_keys_are_those_of_terminfo() -> None:
    """In application mode, as terminfo describes keys (after smkx), every key sends what xterm's does."""
    entry = subprocess.run(["infocmp", "-1", "xterm"], check=True, capture_output=True, text=True).stdout
    strings = dict(re.findall(r"^\s(\w+)=(.*),$", entry, re.M))
    for name, key in _CAPABILITIES.items():
        wanted = strings[name].replace(r"\E", "\x1b").encode()
        assert encode_special(key, APPLICATION) == wanted, name
    assert encode_special(Key.tab, Modes(), shift=True) == strings["kcbt"].replace(r"\E", "\x1b").encode()


def test_modifiers_and_editing_keys() -> None:
    assert encode_special(Key.up_arrow, Modes()) == b"\x1b[A"
    assert encode_special(Key.left_arrow, APPLICATION, ctrl=True) == b"\x1b[1;5D"
    assert encode_special(Key.f1, Modes(), shift=True) == b"\x1b[1;2P"
    assert encode_special(Key.delete, Modes(), ctrl=True, shift=True, alt=True) == b"\x1b[3;8~"
    assert encode_special(Key.backspace, Modes()) == b"\x7f"
    assert encode_special(Key.backspace, Modes(), ctrl=True) == b"\x08"
    assert encode_special(Key.backspace, Modes(), alt=True) == b"\x1b\x7f"
    assert encode_special(Key.enter, Modes()) == encode_special(Key.keypad_enter, Modes()) == b"\r"
    assert encode_special(Key.tab, Modes()) == b"\t"
    assert encode_special(Key.escape, Modes()) == b"\x1b"
    assert len(set(SPECIAL_KEYS)) == len(SPECIAL_KEYS)


def test_control_makes_every_control_character() -> None:
    sent = {encode_typed(key, ctrl=True, alt=False) for key in TYPED_KEYS}
    assert {bytes([code]) for code in range(32)} <= sent
    assert encode_typed(Key.c, ctrl=True, alt=True) == b"\x1b\x03"
    assert encode_typed(Key.b, ctrl=False, alt=True) == b"\x1bb"
    assert encode_typed(Key.b, ctrl=False, alt=False) == b""
    assert encode_typed(Key.period, ctrl=True, alt=False) == b""
    assert encode_text("aé\x03\x7f\r漢\ud800", alt=False) == "aé漢".encode()
    assert encode_text("ab", alt=True) == b"\x1ba\x1bb"


@given(st.text())
def test_no_paste_can_act_as_keys(text: str) -> None:
    data = encode_paste(text, bracketed=True)
    assert data.startswith(b"\x1b[200~")
    assert data.endswith(b"\x1b[201~")
    inner = data[6:-6].decode()
    assert not [char for char in inner if unicodedata.category(char) == "Cc" and char not in "\r\t"]


def test_pastes_are_short_and_end_lines_with_return() -> None:
    assert encode_paste("a\r\nb\nc", bracketed=False) == b"a\rb\rc"
    assert len(encode_paste("é" * MAX_PASTE_BYTES, bracketed=False)) <= MAX_PASTE_BYTES


def test_mouse_reports() -> None:
    sgr, old = Modes(mouse=1000, mouse_sgr=True), Modes(mouse=1000)
    assert encode_mouse(sgr, 0, 4, 9, pressed=True) == b"\x1b[<0;5;10M"
    assert encode_mouse(sgr, 2, 4, 9, pressed=False, ctrl=True) == b"\x1b[<18;5;10m"
    assert encode_mouse(sgr, 0, 0, 0, pressed=True, moved=True, shift=True, alt=True) == b"\x1b[<44;1;1M"
    assert encode_mouse(old, 0, 0, 0, pressed=True) == b"\x1b[M !!"
    assert encode_mouse(old, 1, 0, 0, pressed=False) == b"\x1b[M#!!"
    assert encode_mouse(old, 0, 500, 0, pressed=True) == b""


@given(st.tuples(*[st.floats(0, 1)] * 3), st.tuples(*[st.floats(0, 1)] * 3))
def test_text_can_always_be_read(text: tuple[float, float, float], ground: tuple[float, float, float]) -> None:
    assert contrast(readable(Rgba(*text), Rgba(*ground)), Rgba(*ground)) >= MIN_CONTRAST
    assert luminance(Rgba(1, 1, 1)) == pytest.approx(1)


def test_the_256_colours_are_xterms() -> None:
    ansi = PALETTES["dark"].ansi
    assert indexed_colour(3, ansi) == ansi[3]
    assert indexed_colour(16, ansi) == rgb(0x000000)
    assert indexed_colour(231, ansi) == rgb(0xFFFFFF)
    assert indexed_colour(67, ansi) == rgb(0x5F87AF)
    assert indexed_colour(232, ansi) == rgb(0x080808)
    assert indexed_colour(255, ansi) == rgb(0xEEEEEE)


BOXES = [chr(code) for code in range(0x2500, 0x25A0) if is_box(chr(code))]


@pytest.mark.parametrize(("width", "height"), [(7, 18), (8, 16), (14, 36)])
def test_boxes_stay_in_their_cell_and_reach_the_edges_their_name_says(width: int, height: int) -> None:
    for char in BOXES:
        rects = box_rects(char, width, height)
        assert rects, char
        for x0, y0, x1, y1, opacity in rects:
            assert -1 <= x0 < x1 <= width + 1, char
            assert -1 <= y0 < y1 <= height + 1, char
            assert 0 < opacity <= 1
        name = unicodedata.name(char)
        if not name.startswith("BOX DRAWINGS") or "DASH" in name:
            continue
        touched = {
            "UP": min(r[1] for r in rects) <= 0,
            "DOWN": max(r[3] for r in rects) >= height,
            "LEFT": min(r[0] for r in rects) <= 0,
            "RIGHT": max(r[2] for r in rects) >= width,
        }
        for side, reached in touched.items():
            axis = "VERTICAL" if side in ("UP", "DOWN") else "HORIZONTAL"
            assert reached == (side in name.split() or axis in name.split()), (char, side)


def test_blocks_cover_the_share_of_the_cell_that_their_name_says() -> None:
    def area(char: str) -> float:
        return sum((x1 - x0) * (y1 - y0) * a for x0, y0, x1, y1, a in box_rects(char, 8, 16)) / 128

    assert [area(char) for char in "▁▂▃▄▅▆▇█"] == [n / 8 for n in range(1, 9)]
    assert [area(char) for char in "▏▎▍▌▋▊▉"] == [n / 8 for n in range(1, 8)]
    assert [area(char) for char in "░▒▓▀▐▔▕"] == [0.25, 0.5, 0.75, 0.5, 0.5, 0.125, 0.125]
    assert [area(char) for char in "▖▗▘▙▚▛▜▝▞▟"] == [n / 4 for n in (1, 1, 1, 3, 2, 3, 3, 1, 2, 3)]
    assert len(box_rects("┄", 9, 16)) > 1


def _screen() -> TerminalScreen:
    screen = TerminalScreen(20, 5)
    screen.feed("root@demo:/usr/bin# ls -l --color 漢字 x\r\n\r\nlast  line   ".encode())
    return screen


def test_words_lines_and_wrapped_text() -> None:
    screen = _screen()
    assert Selection((0, 3), (0, 3), BY_WORD).text(screen) == "root@demo:/usr/bin#"
    assert Selection((1, 14), (1, 14), BY_WORD).text(screen) == "漢字"
    assert Selection((1, 15), (1, 15), BY_WORD).text(screen) == "漢字"
    assert Selection((3, 6), (3, 1), BY_WORD).text(screen) == "last  line"
    assert Selection((3, 2), (0, 5), BY_LINE).text(screen) == "root@demo:/usr/bin# ls -l --color 漢字 x\n\nlast  line"
    assert Selection((0, 18), (1, 1)).text(screen) == "# ls"
    assert Selection((9, 0), (9, 3), BY_WORD).text(screen) == ""
    assert Selection((0, 2), (0, 2)).empty


def test_a_selection_outlives_the_lines_it_named() -> None:
    screen = TerminalScreen(10, 3, scrollback_lines=5)
    screen.feed(b"first\r\n")
    selection = Selection((0, 0), (1, 4))
    screen.feed(b"x\r\n" * 2000)
    assert selection.text(screen) == ""
    assert (
        Selection((0, 0), (screen.end_line, 0), BY_LINE).text(screen).count("x")
        == screen.end_line - screen.first_line - 1
    )


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 19), st.integers(0, 19))
def test_selected_columns_and_text_agree(line_a: int, line_b: int, column_a: int, column_b: int) -> None:
    rng = random.Random(4)
    screen = TerminalScreen(20, 5)
    rows = ["".join(rng.choices("abcdef", k=20)) for _ in range(31)]
    for row in rows:
        screen.feed(row.encode() + b"\r\n")
    selection = Selection((line_a, column_a), (line_b, column_b))
    first, last = sorted(((line_a, column_a), (line_b, column_b)))
    flat = "\n".join(rows)
    assert selection.text(screen) == flat[first[0] * 21 + first[1] : last[0] * 21 + last[1] + 1]
    for number in range(31):
        columns = selection.columns_on(number, screen)
        assert (columns is not None) == (first[0] <= number <= last[0])


def test_styles_resolve_as_terminals_do() -> None:
    from app.theme import u32
    from app.widgets.terminal_palette import TerminalPalette
    from tests.app.widgets.harness import Harness

    seen: list[TerminalPalette] = []
    harness = Harness(lambda h: seen.extend([TerminalPalette(h.theme), TerminalPalette(h.theme, reverse_screen=True)]))
    harness.frame()
    theme, (palette, reverse) = harness.theme, seen
    harness.close()
    assert palette.resolve(Style()) == (u32(theme.text), None)
    assert reverse.resolve(Style()) == (u32(theme.surface), None)
    assert reverse.ground == u32(theme.text)
    assert palette.resolve(Style(flags=REVERSE)) == (u32(theme.surface), u32(theme.text))
    assert palette.resolve(Style(fg=1, flags=BOLD)) == (u32(theme.ansi[9]), None)
    assert palette.resolve(Style(bg=4))[1] == u32(theme.ansi[4])
    assert palette.resolve(Style(fg=TRUE_COLOUR + 0xABCDEF))[0] == u32(rgb(0xABCDEF))
    hidden = palette.resolve(Style(bg=2, flags=HIDDEN))
    assert hidden[0] == hidden[1]
    assert palette.resolve(Style(flags=DIM))[0] not in (u32(theme.text), u32(theme.surface))
    assert palette.key != reverse.key
