"""What commands print."""

import json

import pytest

from app import output


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1536, "1.5 KiB"),
        (128 << 20, "128 MiB"),
        (int(1.4 * (1 << 30)), "1.4 GiB"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_bytes_are_printed_with_the_unit_that_suits(count: int, text: str) -> None:
    assert output.format_bytes(count) == text


def test_counts_that_matter_to_the_byte_are_printed_so() -> None:
    assert [output.format_byte_count(n) for n in (0, 1, 2, 3170)] == ["0 bytes", "1 byte", "2 bytes", "3,170 bytes"]


@pytest.mark.parametrize(("seconds", "text"), [(4.23, "4.2 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert output.format_duration(seconds) == text


def test_a_table_is_aligned_and_numbers_stand_right() -> None:
    table = output.format_table(("NAME", "PID"), [("demo", "7"), ("boot-sector", "4711")], right=frozenset({1}))
    assert table.splitlines() == ["NAME          PID", "demo            7", "boot-sector  4711"]


def test_an_error_goes_to_standard_error_and_into_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_error("no such thing", as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": False, "error": "no such thing"}
    assert err == "glassbox: no such thing\n"
    output.print_error("again")
    assert capsys.readouterr().out == ""


def test_progress_says_each_step_once_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    report = output.progress_printer()
    for step, share in (("Looking", 0.0), ("Loading, 1 of 3 MB", 0.2), ("Loading, 3 of 3 MB", 0.6), ("Done", 1.0)):
        report(step, share)
        report(step, share)
    assert capsys.readouterr().err.splitlines() == [
        "glassbox: Looking",
        "glassbox: Loading, 1 of 3 MB",
        "glassbox: Done",
    ]


def test_progress_rewrites_the_line_that_counts_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    report = output.progress_printer()
    for step, share in (("Looking", 0.0), ("Loading, 1 of 3 MB", 0.2), ("Loading, 3 of 3 MB", 0.6), ("Done", 1.0)):
        report(step, share)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 3, "three steps, three lines; the last one is ended"
    assert "\r\x1b[Kglassbox: Loading, 3 of 3 MB\nglassbox: Done\n" in shown


def test_nothing_that_a_guest_says_is_obeyed_by_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Symbols, releases and reasons come out of guest memory, and reach the terminal by these two."""
    output.print_text("one\x1b[2J\ntwo\u202e")
    output.print_error("the note of 6.1\x1b]0;x\x07 leads nowhere")
    printed = capsys.readouterr()
    assert printed.out == "one\\u001b[2J\ntwo\\u202e\n"
    assert printed.err == "glassbox: the note of 6.1\\u001b]0;x\\u0007 leads nowhere\n"


def test_a_note_that_names_what_a_guest_chose_is_no_order_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_note("took it for \x1b]0;owned\x07\u202e")
    assert capsys.readouterr().err == "glassbox: took it for \\u001b]0;owned\\u0007\\u202e\n"
