"""The terminal's screen: equal to an independent emulator where both apply, bounded and total on hostile bytes."""

import time

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.widgets.terminal_cells import BOLD, ITALIC, PLAIN, REVERSE, TRUE_COLOUR, UNDERLINE, Style, char_columns
from app.widgets.terminal_screen import MAX_REPLY_BYTES, SCROLLBACK_SLACK, TerminalScreen
from app.widgets.vt_parser import MAX_OSC_CHARS, MAX_STRING_CHARS, parse_parameters


def shown(screen: TerminalScreen) -> list[str]:
    return [line.text().rstrip() for line in screen.lines]


def fed(data: bytes, columns: int = 20, rows: int = 5) -> TerminalScreen:
    screen = TerminalScreen(columns, rows)
    screen.feed(data)
    return screen


# Independent truth: pyte, fed the same sequences, over what it implements as xterm does.
_numbers = st.integers(0, 12).map(lambda n: str(n) if n else "")
_text = st.text(st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=8)
_sgr = st.lists(
    st.sampled_from(
        [*("0", "1", "3", "4", "7", "9", "22", "23", "24", "27", "29", "31", "42", "39", "49", "93", "104")]
    ),
    min_size=1,
    max_size=3,
).map(lambda codes: f"\x1b[{';'.join(codes)}m")
_pieces = st.one_of(
    _text,
    _sgr,
    st.just("\r\n"),
    st.just("\r"),
    st.builds("\x1b[{}{}".format, _numbers, st.sampled_from("ABCDEFGdP@XLM")),
    st.builds("\x1b[{};{}H".format, _numbers, _numbers),
    st.builds("\x1b[{}J".format, st.sampled_from(["", "1", "2"])),
    st.builds("\x1b[{}K".format, st.sampled_from(["", "1", "2"])),
    st.just("\x1bM\x1b[G"),
    st.just("\t"),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_pieces, max_size=25))
def test_the_grid_equals_pyte(pieces: list[str]) -> None:
    ours = TerminalScreen(16, 6)
    oracle = pyte.Screen(16, 6)
    stream = pyte.Stream(oracle)
    for piece in pieces:
        # pyte keeps the wrap pending over cursor moves and edits; a real terminal (and Linux) does not.
        if oracle.cursor.x == oracle.columns and not piece[0].isprintable():
            stream.feed("\x1b[16G")
            ours.feed(b"\x1b[16G")
        for row in range(oracle.lines):
            oracle.buffer[row]  # pyte's delete-lines forgets to move rows that it never made; touching makes them
        stream.feed(piece)
        ours.feed(piece.encode())
    assert [line.text() for line in ours.lines] == oracle.display
    assert (ours.cursor_column, ours.y) == (min(oracle.cursor.x, 15), oracle.cursor.y)
    for y, line in enumerate(ours.lines):
        for x, style in enumerate(line.styles):
            cell = oracle.buffer[y][x]
            if line.cells[x] == " ":
                continue
            assert bool(style.flags & BOLD) == cell.bold
            assert bool(style.flags & ITALIC) == cell.italics
            assert bool(style.flags & UNDERLINE) == cell.underscore
            assert bool(style.flags & REVERSE) == cell.reverse
            assert (style.fg == -1) == (cell.fg == "default")


def test_every_way_to_cut_the_bytes_gives_the_same_screen() -> None:
    data = "a\x1b[31mré漢\x1b]0;title\x07b\x1b[2;3Hx\x1b(0qq\x1b(B\x1b[4:3mu\x1bP1;2q\x1b\\z".encode()
    whole = fed(data)
    assert whole.title == "title"
    for cut in range(len(data)):
        pieces = TerminalScreen(20, 5)
        pieces.feed(data[:cut])
        pieces.feed(data[cut:])
        assert [(x.cells, x.styles) for x in pieces.lines] == [(x.cells, x.styles) for x in whole.lines]
    assert shown(whole)[:2] == ["aré漢b", "  x──uz"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            _pieces.map(str.encode),
            st.sampled_from(
                [
                    b"\x1b[?1049h",
                    b"\x1b[?1049l",
                    b"\x1bc",
                    b"\x1b[5;2r",
                    b"\x1b[2;4r",
                    b"\x1b[?6h",
                    b"\x1b[99999999999999999999b",
                    b"\x1b[4h",
                    b"\x1b#8",
                    "漢字é\u0301".encode(),
                    b"\x1b[18t",
                    b"\x1b[6n",
                    b"\x1b[?7l",
                    b"\x1b[?7h",
                    b"\x1b[S",
                    b"\x1b[9T",
                    b"\x1b[3g",
                    b"\x1b[!p",
                    b"\x1b7",
                    b"\x1b8",
                ]
            ),
        ),
        max_size=30,
    ),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=3),
)
def test_any_bytes_and_sizes_leave_a_whole_screen(pieces: list[bytes], sizes: list[tuple[int, int]]) -> None:
    screen = TerminalScreen(14, 5, scrollback_lines=20)
    for index, piece in enumerate(pieces):
        screen.feed(piece)
        if index < len(sizes):
            screen.resize(*sizes[index])
    assert len(screen.lines) == screen.rows
    assert all(len(line.cells) == len(line.styles) == screen.columns for line in screen.lines)
    assert 0 <= screen.y < screen.rows
    assert 0 <= screen.x <= screen.columns
    assert len(screen.scrollback) <= 20 + SCROLLBACK_SLACK
    assert len(screen.replies) <= MAX_REPLY_BYTES
    for line in [*screen.lines, *screen.scrollback]:
        for x, cell in enumerate(line.cells):
            if cell == "":
                assert x > 0
                assert char_columns(line.cells[x - 1][0]) == 2
            elif char_columns(cell[0]) == 2:
                assert line.cells[x + 1 : x + 2] == [""]
        assert line.used_columns() == max(
            (x + 1 for x, cell in enumerate(line.cells) if cell != " " or line.styles[x] != PLAIN), default=0
        )


@pytest.mark.parametrize(
    "attack",
    [
        b"\x1b[" + b"9" * 4_000_000 + b"A",
        b"\x1b[" + b"1;" * 2_000_000 + b"m",
        b"\x1b]0;" + b"A" * 4_000_000,
        b"\x1bP" + b"q" * 4_000_000,
        b"e" + "\u0301".encode() * 1_000_000,
        b"\x1b7" * 500_000,
        b"\x1b[65535b" * 100,
        b"\x1b[6n" * 200_000,
        b"\x1b[99999L\x1b[99999S\x1b[99999@" * 5_000,
    ],
    ids=["digits", "parameters", "osc", "dcs", "marks", "saves", "repeat", "queries", "counts"],
)
def test_an_attack_costs_little_time_and_memory(attack: bytes) -> None:
    screen = TerminalScreen(80, 24)
    screen.feed(b"x")
    started = time.process_time()
    for start in range(0, len(attack), 16384):
        screen.feed(attack[start : start + 16384])
    assert time.process_time() - started < 10
    kept = sum(len(cell) for line in screen.lines + screen.scrollback for cell in line.cells) + len(screen.title)
    kept += len(screen.replies) + sum(map(len, screen._parser._buffer))
    assert kept < 80 * 6_000 + MAX_OSC_CHARS + MAX_REPLY_BYTES
    screen.feed(b"\x18\x1bc\x1b[Hstill here")
    assert shown(screen)[0] == "still here"


def test_a_string_without_an_end_is_given_up() -> None:
    screen = fed(b"\x1b]2;" + b"A" * MAX_STRING_CHARS + b"\n")
    screen.feed(b"\r\nback")
    assert "back" in "".join(shown(screen))
    assert screen.title == ""


def test_an_escape_breaks_off_a_string() -> None:
    assert shown(fed(b"\x1b]junk\x1b[31mred"))[0] == "red"
    assert shown(fed(b"\x1bPjunk\x18ok"))[0] == "ok"


def test_sequences_in_pieces_cancelled_or_malformed() -> None:
    assert shown(fed(b"\x1b[3\n1mX"))[:2] == ["", "X"]  # a control acts inside a sequence
    assert shown(fed(b"\x1b[31\x18mX"))[0] == "mX"
    assert shown(fed(b"\x1b[3\x1b[1mX"))[0] == "X"
    assert shown(fed("\x1b[3é".encode()))[0] == "é"
    assert shown(fed(b"\x1b[3\x7f1mX"))[0] == "X"
    assert shown(fed(b"\x1b[" + b"1" * 300 + b"mX"))[0] == "X"
    assert shown(fed(b"\x1b[1\x01 ?mX"))[0] == "X"  # a prefix in the wrong place: swallowed
    assert shown(fed("\x9b31mX".encode()))[0] == "31mX"
    assert shown(fed(b"\x1b %GX\x1b(%%%%%%0Y"))[0] == "XY"
    assert parse_parameters("0000000000000001;9999999999;;5:-1"[:-3]) == ((1,), (65535,), (-1,), (5,))


def test_colours_and_attributes() -> None:
    def style(sgr: bytes) -> Style:
        return fed(b"\x1b[" + sgr + b"mx").lines[0].styles[0]

    assert style(b"38;5;200") == Style(fg=200)
    assert style(b"48;2;1;2;3") == Style(bg=TRUE_COLOUR + 0x010203)
    assert style(b"38:2::255:0:1;1") == Style(fg=TRUE_COLOUR + 0xFF0001, flags=BOLD)
    assert style(b"38:2:255:0:1") == Style(fg=TRUE_COLOUR + 0xFF0001)
    assert style(b"58;5;3;4") == Style(flags=UNDERLINE)
    assert style(b"4:0") == PLAIN
    assert style(b"97;101") == Style(fg=15, bg=9)
    assert style(b"38;5;999") == PLAIN
    assert style(b"38;9") == PLAIN
    assert style(b"1;7;22;27") == PLAIN
    assert style(b"31;44;39;49") == PLAIN
    assert style(b"1;31;") == PLAIN
    assert style(b"31;1") == Style(fg=1, flags=BOLD)


def test_erasing_leaves_the_current_ground() -> None:
    screen = fed(b"\x1b[44m\x1b[2J\x1b[0mx")
    assert screen.lines[2].styles[5] == Style(bg=4)


def test_wide_characters_are_never_cut() -> None:
    screen = fed("漢字漢字".encode(), columns=7)
    assert shown(screen)[:2] == ["漢字漢", "字"]
    screen.feed(b"\x1b[1;2Hx")
    assert shown(screen)[0] == " x字漢"
    screen.feed(b"\x1b[1;3H\x1b[P")
    assert shown(screen)[0] == " x 漢"
    assert shown(fed("ab漢".encode(), columns=3))[:2] == ["ab", "漢"]
    assert shown(fed("\x1b[?7lab漢".encode(), columns=3))[:2] == ["a漢", ""]


def test_combining_marks_join_their_base() -> None:
    screen = fed("e\u0301\u200d漢\u0301".encode())
    assert screen.lines[0].cells[:3] == ["é", "漢\u0301", ""]
    assert fed("\u0301x".encode()).lines[0].cells[0] == "x"


def test_scrolling_keeps_lines_and_numbers() -> None:
    screen = TerminalScreen(10, 3, scrollback_lines=4)
    for number in range(1200):
        screen.feed(b"%d\r\n" % number)
    assert screen.end_line == 1201
    for number in range(screen.first_line, 1200):
        line = screen.line(number)
        assert line is not None
        assert line.text().rstrip() == str(number)
    assert screen.line(screen.first_line - 1) is None
    assert screen.line(screen.end_line) is None
    screen.feed(b"\x1b[3J")
    assert screen.first_line == screen.screen_line == 1198


def test_margins_scroll_only_inside() -> None:
    screen = fed(b"1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n\nx")
    assert shown(screen) == ["1", "4", "", "x", "5"]
    assert not screen.scrollback
    screen.feed(b"\x1b[2;1H\x1bMtop")
    assert shown(screen) == ["1", "top", "4", "", "5"]
    screen.feed(b"\x1b[?6h\x1b[1;1H!\x1b[6n\x1b[9;1H?")
    assert shown(screen) == ["1", "!op", "4", "?", "5"]
    assert screen.take_replies() == b"\x1b[1;2R"
    screen.feed(b"\x1b[r\x1b[?6l\x1b[5;1H\x1b[L\x1b[1;1H\x1b[2M")
    assert shown(screen) == ["4", "?", "", "", ""]
    screen.feed(b"\x1b[3;2r\x1b[T\x1b[2S")
    assert shown(screen)[0] == "?"
    screen.feed(b"\x1b[2;3r\x1b[4;1Hkeep\x1b[L\x1b[M\x1b[A\x1b[9A")
    assert screen.y == 1


def test_the_alternate_screen_comes_and_goes() -> None:
    screen = fed(b"shell\x1b[31m\x1b[?1049h\x1b[2J\x1b[Hvi\x1b[?1049h")
    assert screen.alternate
    assert shown(screen)[0] == "vi"
    screen.feed(b"\n" * 9)
    assert not screen.scrollback
    screen.resize(30, 4)
    screen.feed(b"\x1b[?1049l!")
    assert shown(screen)[0] == "shell!"
    assert screen.lines[0].styles[5].fg == 1
    screen.feed(b"\x1b[?1049l\x1b[?47hx\x1b[?47l\x1b[?1048h\x1b[5;5H\x1b[?1048l")
    assert (screen.x, screen.y) == (7, 0)
    screen.feed(b"\x1b[?1049h\x1bc")
    assert not screen.alternate


def test_answers_are_fixed_forms() -> None:
    screen = fed(b"\x1b[c\x1b[>c\x1b[5n\x1b[3;4H\x1b[6n\x1b[18t\x1b[?2004$p\x1b[?25$p\x1b[?4$p\x1b[?1049$p\x1b[?1000$p")
    assert screen.take_replies() == (
        b"\x1b[?62;22c\x1b[>1;10;0c\x1b[0n\x1b[3;4R\x1b[8;5;20t"
        b"\x1b[?2004;2$y\x1b[?25;1$y\x1b[?4;0$y\x1b[?1049;2$y\x1b[?1000;2$y"
    )
    assert screen.take_replies() == b""
    screen.feed(b"\x1b]0;evil\x07\x1b[21t\x1b[9c\x1b[>1c\x1b[7n\x1b[19t")  # a title is never told back
    assert screen.take_replies() == b""


def test_modes_shapes_tabs_and_resets() -> None:
    screen = fed(b"\x1b[?1;5;25;1002;1006;2004;1004h\x1b[20h\x1b[4h\x1b=\x1b[5 q\x1b[9 q")
    modes = screen.modes
    assert (modes.application_cursor, modes.reverse_screen, modes.mouse, modes.mouse_sgr) == (True, True, 1002, True)
    assert (modes.bracketed_paste, modes.focus_reports, modes.insert, modes.application_keypad) == (True,) * 4
    assert screen.cursor_shape == 5
    screen.feed(b"ab\rX\nY")
    assert shown(screen)[:2] == ["Xab", "Y"]
    screen.feed(b"\x1b[!p\x1b>\x1b[?1002l\x1b[99h")
    assert not screen.modes.insert
    assert screen.modes.mouse == 0
    screen.feed(b"\x1bc\ta\x1b[3g\x1b[1;5H\x1bH\r\tb\x1b[5G\x1b[g\r\tc\x1b[Zd\x07")
    assert shown(screen)[0] == "d   b   a          c"
    assert screen.bells == 1
    screen.feed(b"\x1bc\x1b[9I\x1b[Z\x1b[Z!")
    assert shown(screen)[0] == "        !"
    assert fed(b"ab\bc\x1b[3bd\x1b[2D\x1b[X").lines[0].text(0, 6) == "accc d"
    assert shown(fed(b"\x1b#8"))[4] == "E" * 20
    assert shown(fed(b"\x0eq\x0f\x1b)0q\x0eq\x0fq"))[0] == "qq─q"
    assert shown(fed(b"\x1b[?7l" + b"0123456789" * 3))[0] == "0123456789012345678" + "9"
    assert shown(fed(b"a\x1bDb\x1bEc\x0bd"))[:4] == ["a", " b", "c", " d"]


def test_reset_keeps_what_was_on_the_screen_in_the_scrollback() -> None:
    screen = fed(b"one\r\ntwo\x1bc")
    assert [line.text() for line in screen.scrollback] == ["one", "two"]
    assert shown(screen) == [""] * 5


def test_a_note_is_a_row_of_its_own() -> None:
    screen = fed(b"half\x1b[3")
    screen.note("skipped", Style(flags=ITALIC))
    screen.feed(b"1m")
    assert shown(screen)[:3] == ["half", "skipped", "1m"]
    assert screen.lines[1].styles[0].flags == ITALIC
    assert screen.lines[2].styles[0] == PLAIN


def _logical(screen: TerminalScreen) -> list[str]:
    """The text with wrapped lines joined."""
    texts = [""]
    for line in screen.scrollback + screen.lines:
        texts[-1] += line.text()
        if not line.wrapped:
            texts.append("")
    return [text.rstrip() for text in texts]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("abc漢 "), max_size=30), max_size=12),
    st.lists(st.tuples(st.integers(2, 40), st.integers(1, 12)), min_size=1, max_size=4),
)
def test_wrapping_anew_loses_no_text(lines: list[str], sizes: list[tuple[int, int]]) -> None:
    screen = TerminalScreen(12, 6)
    screen.feed("\r\n".join(lines).encode() + b"#")
    before = "\n".join(_logical(screen)).rstrip()
    for columns, rows in sizes:
        screen.resize(columns, rows)
        assert "\n".join(_logical(screen)).rstrip().replace(" ", "") == before.replace(" ", "")
        assert screen.x > 0
        assert screen.lines[screen.y].cells[screen.x - 1] == "#"
        assert all(len(line.cells) == columns for line in screen.lines)


def test_growing_keeps_the_top_of_a_half_empty_screen_and_the_bottom_of_a_full_one() -> None:
    screen = fed(b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7", rows=4)
    screen.resize(20, 6)
    assert shown(screen) == ["2", "3", "4", "5", "6", "7"]
    screen.feed(b"\x1b[2J\x1b[Hx")
    screen.resize(20, 8)
    assert shown(screen)[0] == "x"
    screen.resize(20, 8)
    screen.resize(0, 0)
    assert (screen.columns, screen.rows) == (2, 1)
