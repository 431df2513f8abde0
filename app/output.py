"""What commands print: one JSON object a run with `--json`, else text for people; errors to standard error."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def print_json(document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object, or a list of them, and a newline to standard output."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Write lines for people to standard output; what a guest may have put into them is made harmless."""
    sys.stdout.write(_harmless(text) + "\n")
    sys.stdout.flush()


def write_bytes(data: bytes | memoryview) -> None:
    """Write raw bytes to standard output, all of them: an unbuffered stream (PYTHONUNBUFFERED) takes what it can."""
    view = memoryview(data)
    while view:
        view = view[sys.stdout.buffer.write(view) :]
    sys.stdout.buffer.flush()


def print_error(message: str, *, as_json: bool = False) -> None:
    """Write what went wrong: a sentence on standard error, and with `as_json` also an object on standard output.

    Errors may name what was found in a guest: in it, nothing is left that a terminal would obey.
    """
    if as_json:
        print_json({"ok": False, "error": message})
    sys.stderr.write(f"glassbox: {_harmless(message)}\n")
    sys.stderr.flush()


def print_note(sentence: str) -> None:
    """Write what else should be known to standard error, where it does not mix with what was asked for.

    Like errors, it may name what was found in a guest.
    """
    sys.stderr.write(f"glassbox: {_harmless(sentence)}\n")
    sys.stderr.flush()


def progress_printer() -> Callable[[str, float], None]:
    """Return a progress callback that says each new step on standard error.

    A step that counts ("Downloading…, 3 of 31 MB") is said once; on a terminal its line is rewritten as it counts.
    """
    last = ""
    terminal = sys.stderr.isatty()

    def report(step: str, _fraction: float) -> None:
        nonlocal last
        if step == last:
            return
        goes_on = step.partition(",")[0] == last.partition(",")[0]
        if terminal:
            sys.stderr.write(f"\r\x1b[Kglassbox: {step}" if goes_on else f"{chr(10) if last else ''}glassbox: {step}")
            if _fraction >= 1.0:
                sys.stderr.write("\n")
        elif not goes_on:
            sys.stderr.write(f"glassbox: {step}\n")
        sys.stderr.flush()
        last = "" if terminal and _fraction >= 1.0 else step

    return report


def _harmless(text: str) -> str:
    """`text` with its line ends, and nothing else that a terminal would obey."""
    return "\n".join(line if line.isprintable() else printable(line) for line in text.split("\n"))


def printable(text: str) -> str:
    """Return guest text on one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def format_bytes(count: float) -> str:
    """Return `count` bytes with a binary unit: ``128 MiB``, ``1.4 GiB``, ``512 B``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def format_byte_count(count: int) -> str:
    """Return `count` bytes to the byte: ``1 byte``, ``3,170 bytes``."""
    return "1 byte" if count == 1 else f"{count:,} bytes"


def plural(count: int, what: str) -> str:
    """Return how many of something there are: ``1 block``, ``3,170 blocks``."""
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def format_duration(seconds: float) -> str:
    """Return a duration as people say it: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_table(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, right: frozenset[int] = frozenset()
) -> str:
    """Return rows aligned under a header; columns in `right` are set flush right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: tuple[str, ...]) -> str:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in [header, *rows])
