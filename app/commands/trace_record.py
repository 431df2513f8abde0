"""`glassbox trace record`: what a running guest executes, into a Parquet file."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.argument_types import row_limit
from app.commands.hot import duration
from app.exit_codes import ExitCode
from app.failures import UsageError
from app.interrupts import interrupts
from app.kernel_source import KernelSource, kernel_source, settle_source
from app.numbers import BadNumber, parse_address
from app.output import format_bytes, format_duration, print_error, print_json, print_note, print_text, progress_printer
from bridge.kernel.errors import KernelError
from bridge.kernel.snapshot import SemanticSnapshot
from bridge.trace.modes import Filters, Mode, Policy, Recorded, Wish
from bridge.trace.naming import KernelNamer
from bridge.trace.visit import traced

if TYPE_CHECKING:
    from bridge.trace.recording import Recorder, Summary

_SHOW_EVERY_S = 0.2
_WORTH_TELLING_S = 0.05
_BAR = 20
_PLURALS = {
    "block": "entries of blocks",
    "insn": "instructions",
    "load": "loads",
    "store": "stores",
    "registers": "sets of registers",
    "discontinuity": "places where some are missing",
}


def configure(parser: argparse.ArgumentParser, _part: str) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="the machine's name; not needed where only one runs")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.parquet", help="where to save the recording")
    parser.add_argument(
        "--for", dest="seconds", type=duration, default=5.0, metavar="TIME", help="how long to record: 5s by default"
    )
    parser.add_argument(
        "--what",
        type=_what,
        default=Wish().records,
        metavar="LIST",
        help=f"any of {','.join(Recorded)}; blocks,loads,stores by default",
    )
    parser.add_argument("--process", metavar="PID|NAME", help="only while this process's memory is in use")
    parser.add_argument("--range", type=_range, metavar="FIRST-LAST", help="only code at these virtual addresses")
    parser.add_argument("--one-of", type=row_limit, default=1, metavar="N", help="only one of N blocks")
    parser.add_argument(
        "--when-full",
        type=Policy,
        choices=list(Policy),
        default=Policy.HOLD,
        metavar="|".join(Policy),
        help="records come faster than they are written: hold the guest back (which loses nothing, and is what is done "
        "by default), drop new ones, or overwrite old ones",
    )
    parser.add_argument("--types", type=Path, metavar="FILE", help="an ISF or vmlinux, for kernels that carry no types")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(dump=None)


def _what(text: str) -> frozenset[Recorded]:
    try:
        return frozenset(Recorded(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: what is recorded is any of {','.join(Recorded)}") from None


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    with contextlib.suppress(BadNumber):
        if dash and (first_at := parse_address(first)) <= (last_at := parse_address(last)):
            return first_at, last_at
    raise argparse.ArgumentTypeError(f"{text!r} is no range of addresses such as 0x400000-0x4fffff")


def run(options: argparse.Namespace) -> int:
    """Record and say what became of it. Returns 0, or 1 where it ended early; UsageError, NoSuchMachine, MachineError,
    TraceError.
    """
    from bridge.trace.recording import Recorder  # loads Parquet's library, which takes a while

    if not options.out.absolute().parent.is_dir():
        raise UsageError(f"{options.out.absolute().parent} is no directory")
    if options.one_of < 1:
        raise UsageError("one of at least one block is recorded")
    settle_source(options)
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(traced(options.name))
        source, seen = stack.enter_context(_kernel(options))
        wish = Wish(Mode.TRACE, options.what, options.when_full, _filters(options, seen))
        namer = None
        if source is not None and seen is not None:
            namer = KernelNamer(source.kernel, seen)
            session.follow_tasks(namer.task_words(session.memory.vcpus))
        facts: dict[str, Any] = {
            "machine": options.name,
            "kernel": None if source is None else source.kernel.release,
            "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        }
        recorder = Recorder(session, options.out, wish)
        with interrupts() as interrupted, contextlib.closing(recorder):
            if not recorder.start():
                print_note(f"'{options.name}' is paused: there is nothing to record until it runs.")
            _wait(recorder, options.seconds, interrupted)
            recorder.end()
            if source is not None and namer is not None:
                before = namer.tasks
                with contextlib.suppress(KernelError):  # it was reset meanwhile: what was seen before holds
                    namer = KernelNamer(source.kernel, source.look())  # processes that came are known, too
                facts["tasks"] = before | namer.tasks
            summary = recorder.finish(namer, facts)
    failure = _failure(summary)
    if options.json:
        print_json(_document(summary, failure))
    else:
        print_text(_told(summary))
    if failure:
        print_error(failure)
    return ExitCode.FAILED if failure else ExitCode.DONE


@contextlib.contextmanager
def _kernel(options: argparse.Namespace) -> Iterator[tuple[KernelSource, SemanticSnapshot] | tuple[None, None]]:
    """The guest's kernel, and a look at it; None, and a note, where none is known: all is recorded nevertheless."""
    with contextlib.ExitStack() as stack:
        found: tuple[KernelSource, SemanticSnapshot] | tuple[None, None] = None, None
        try:
            source = stack.enter_context(kernel_source(options))
            found = source, source.look()
        except KernelError as error:
            if options.process is not None:
                raise
            print_note(f"Nothing will have a name in the recording. {error}")
        yield found


def _filters(options: argparse.Namespace, seen: SemanticSnapshot | None) -> Filters:
    first, last = options.range or (0, (1 << 64) - 1)
    root = None if options.process is None or seen is None else _root(seen, options.process)
    return Filters(first, last, root, options.one_of)


def _root(seen: SemanticSnapshot, wanted: str) -> int:
    """The page table of a process, by its number or name. Raises UsageError."""
    processes = seen.processes
    found = [
        n
        for n, (pid, name) in enumerate(zip(processes.pids.tolist(), processes.names, strict=True))
        if wanted in (str(pid), name) and processes.roots[n]
    ]
    if len(found) != 1:
        which = ", ".join(str(int(processes.pids[n])) for n in found[:8])
        said = f"several processes are called {wanted!r}: {which}" if found else f"no process with memory is {wanted!r}"
        raise UsageError(f"{said}; see glassbox ps")
    return int(processes.roots[found[0]]) & ~0xFFF


def _wait(recorder: Recorder, seconds: float, interrupted: threading.Event) -> None:
    show, began = progress_printer(), time.monotonic()
    while True:
        passed = min(time.monotonic() - began, seconds)
        ends = passed >= seconds or interrupted.is_set() or not recorder.goes_on
        bar = "█" * round(_BAR * passed / seconds)
        figures = f"{bar:░<{_BAR}} {passed:.1f} of {seconds:g} s, {recorder.records:,} records"
        show(f"Recording, {figures}, {format_bytes(recorder.file_bytes)}", 1.0 if ends else passed / seconds)
        if ends:
            return
        interrupted.wait(min(_SHOW_EVERY_S, seconds - passed))


def _failure(summary: Summary) -> str:
    """A sentence, where it ended early; empty where it did not."""
    if not summary.failure:
        return ""
    return f"{summary.failure.rstrip('.')}. The {summary.rows:,} records until then are in {summary.path}."


def _document(summary: Summary, failure: str) -> dict[str, Any]:
    lost = summary.lost
    document = {
        "ok": not failure,
        "out": str(summary.path.absolute()),
        "blocks_out": str(summary.blocks_path.absolute()),
        "seconds": round(summary.seconds, 3),
        "records": summary.rows,
        "by_kind": dict(summary.by_kind),
        "blocks": summary.blocks,
        "bytes": summary.file_bytes,
        "row_groups": summary.groups,
        "lost": {
            "total": lost.total,
            "dropped": list(lost.dropped),
            "overwritten": list(lost.overwritten),
            "torn": lost.torn,
            "unwritten": lost.unwritten,
        },
        "held_s": [round(held, 3) for held in summary.waited_s],
        "lag_ms": None if summary.lag_s is None else round(summary.lag_s * 1e3, 3),
    }
    return {**document, "error": failure} if failure else document


def _told(summary: Summary) -> str:
    kinds = ", ".join(f"{count:,} {_PLURALS[kind]}" for kind, count in summary.by_kind.items() if count)
    lines = [
        f"saved {summary.path} ({format_bytes(summary.file_bytes)}): {kinds or 'no records'}, "
        f"in {format_duration(summary.seconds)}",
        f"saved {summary.blocks_path}: {summary.blocks:,} blocks",
    ]
    held = max(summary.waited_s, default=0.0)
    if held >= _WORTH_TELLING_S:
        lines.append(f"The guest was held back for {format_duration(held)}.")
    lost = summary.lost.total - summary.lost.unwritten
    if lost:
        share = lost / (summary.lost.total + summary.rows)
        lines.append(f"{lost:,} records were lost, {share:.1%}; --when-full hold loses none.")
    if summary.lost.unwritten:
        lines.append(f"{summary.lost.unwritten:,} records had no room in the file.")
    if not summary.lost.total:
        lines.append("Nothing was lost.")
    return "\n".join(lines)
