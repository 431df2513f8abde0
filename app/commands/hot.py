"""`glassbox hot`: where a running guest's time goes, block by block."""

from __future__ import annotations

import argparse
import re
import time

from app.commands.argument_types import row_limit
from app.failures import UsageError
from app.kernel_source import add_source_arguments, kernel_source
from app.output import format_table, print_json, print_note, print_text, printable
from bridge.trace.hot import Hot, hottest
from bridge.trace.modes import Mode, Wish
from bridge.trace.naming import KernelNamer
from bridge.trace.visit import traced

_TOP = 10
_LONGEST_S = 600.0
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|min)?")
_UNITS = {None: 1.0, "s": 1.0, "ms": 0.001, "min": 60.0}
_TEXT = 48


def duration(text: str) -> float:
    """Seconds of `5s`, `500ms`, `2min` or a number. Raises ArgumentTypeError."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.01 <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no time from 10ms to 10min, such as 5s")
    return seconds


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--top", type=row_limit, default=_TOP, metavar="N", help=f"so many blocks, {_TOP} by default; 0: all"
    )
    parser.add_argument(
        "--for", dest="seconds", type=duration, default=5.0, metavar="TIME", help="how long to watch: 5s by default"
    )
    add_source_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Watch and print. Returns 0; UsageError, NoSuchMachine, MachineError, KernelError, TraceError."""
    if options.dump is not None:
        raise UsageError("nothing runs in a dump: name a machine")
    with kernel_source(options) as source, traced(source.name) as session:
        namer = KernelNamer(source.kernel, source.look())
        session.follow_tasks(namer.task_words(session.memory.vcpus))
        session.set(Wish(Mode.COUNTERS))
        before, _ = session.counts(), session.samples()
        time.sleep(options.seconds)
        after, (samples, _) = session.counts(), session.samples()
        namer = KernelNamer(source.kernel, source.look())  # processes that came meanwhile are known, too
        hot = hottest(before, after, samples, session.code_of, namer, options.top or len(after.blocks))
    if options.json:
        print_json([one.document() for one in hot.blocks])
        return 0
    print_text(_told(hot))
    if not hot.by_samples:
        print_note("The guest was idle for nearly all of the time: shares are of the instructions that it ran.")
    return 0


def _told(hot: Hot) -> str:
    rows = [
        (
            f"{100 * one.share:.1f} %",
            f"{one.count:,}",
            f"{one.pc:#x}",
            printable(one.symbol),
            printable(one.process),
            str(one.loop_depth),
            str(one.kind),
            _cut("; ".join(one.disassembly)),
        )
        for one in hot.blocks
    ]
    head = ("TIME", "ENTERED", "PC", "SYMBOL", "PROCESS", "LOOPS", "CLASS", "INSTRUCTIONS")
    table = format_table(head, rows, right=frozenset({0, 1, 5}))
    total = f"{hot.entered:,} blocks were entered, {hot.instructions:,} instructions run; idle for {hot.idle_share:.0%}"
    return f"{table}\n\n{total}."


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
