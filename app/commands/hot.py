"""`glassbox hot`, `trace hot`: where a guest's time goes: by block, by path, or by what code looks alike."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.argument_types import row_limit
from app.failures import CommandFailed, UsageError
from app.output import format_table, print_json, print_note, print_text, printable
from app.watched import Watched, add_watch_arguments, duration, watched
from bridge.trace.clusters import Cluster, clusters
from bridge.trace.export import pprof, speedscope
from bridge.trace.hot import Hot, hot_block, hot_of
from bridge.trace.paths import HotPath, hot_paths
from bridge.trace.profile import stacks_of

__all__ = ["configure", "duration", "run"]

_TOP = 10
_MOST = 1 << 20
_TEXT = 48
_SHOWN_BLOCKS = 4
_SPEEDSCOPE, _PPROF = ".speedscope.json", (".pb.gz", ".pprof")


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--top", type=row_limit, default=_TOP, metavar="N", help=f"so many rows, {_TOP} by default; 0: all"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--paths",
        action="store_true",
        help="sequences of blocks that are followed most; each block's entry is recorded, which slows the guest down",
    )
    what.add_argument("--clusters", action="store_true", help="code that is alike but for registers and constants")
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help=f"also save a profile: *{_SPEEDSCOPE} or *{_PPROF[0]} (pprof)"
    )
    add_watch_arguments(parser, 5.0)


def run(options: argparse.Namespace) -> int:
    """Watch and print. Returns 0; UsageError, NoSuchMachine, MachineError, KernelError, TraceError."""
    if options.export is not None:
        _check(options.export)
    with watched(options, edges=options.paths) as seen:
        top = options.top or _MOST
        if options.export is not None:
            _export(seen, options.export)
        if options.paths:
            _print_paths(seen, hot_paths(seen.program, seen.weights.values, top), as_json=options.json)
        elif options.clusters:
            _print_clusters(seen, clusters(seen.program, seen.weights.values, top), as_json=options.json)
        else:
            hot = hot_of(seen.program, seen.weights, seen.naming, top)
            if options.json:
                print_json([one.document() for one in hot.blocks])
                return 0
            print_text(_told(hot))
    if not options.json:
        _note_basis(seen)
    return 0


def _note_basis(seen: Watched) -> None:
    if seen.weights.by == "instructions":
        print_note("There are few samples, as of an idle guest: shares are of the instructions that it ran.")
    elif seen.weights.by == "records":
        print_note("Shares are of the time between the recorded entries of blocks.")


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
    total = f"{hot.entered:,} blocks were entered, {hot.instructions:,} instructions run"
    idle = f"; idle for {hot.idle_share:.0%}" if hot.samples or hot.idle_share else ""
    return f"{table}\n\n{total}{idle}."


def _print_paths(seen: Watched, paths: tuple[HotPath, ...], *, as_json: bool) -> None:
    program, values = seen.program, seen.weights.values
    if as_json:
        print_json(
            [
                {
                    "share": round(path.share, 6),
                    "count": path.count,
                    "loops": path.loops,
                    "measured": program.edges.measured,
                    "blocks": [hot_block(program, n, float(values[n]), seen.naming).document() for n in path.blocks],
                }
                for path in paths
            ]
        )
        return
    rows = []
    for path in paths:
        names = [seen.naming.of(n)[0] or f"{int(program.starts[n]):#x}" for n in path.blocks]
        shown = " → ".join(printable(name) for name in names[:_SHOWN_BLOCKS])
        if len(names) > _SHOWN_BLOCKS:
            shown += f" → … {len(names) - _SHOWN_BLOCKS} more"
        process = printable(seen.naming.of(path.blocks[0])[1])
        cells = (f"{100 * path.share:.1f} %", f"{path.count:,}", f"{len(path.blocks)}", "yes" if path.loops else "")
        rows.append((*cells, process, shown))
    head = ("TIME", "FOLLOWED", "BLOCKS", "LOOPS", "PROCESS", "PATH")
    print_text(format_table(head, rows, right=frozenset({0, 1, 2})))


def _print_clusters(seen: Watched, found: tuple[Cluster, ...], *, as_json: bool) -> None:
    program, values = seen.program, seen.weights.values
    if as_json:
        print_json(
            [
                {
                    "share": round(one.share, 6),
                    "entered": one.entered,
                    "blocks": len(one.blocks),
                    "form": list(one.form),
                    "class": str(program.decoded(one.blocks[0]).kind),
                    "hottest": hot_block(program, one.blocks[0], float(values[one.blocks[0]]), seen.naming).document(),
                }
                for one in found
            ]
        )
        return
    rows = [
        (
            f"{100 * one.share:.1f} %",
            f"{one.entered:,}",
            f"{len(one.blocks):,}",
            str(program.decoded(one.blocks[0]).kind),
            printable(seen.naming.of(one.blocks[0])[0]),
            _cut("; ".join(one.form), 2 * _TEXT),
        )
        for one in found
    ]
    head = ("TIME", "ENTERED", "BLOCKS", "CLASS", "HOTTEST", "FORM")
    print_text(format_table(head, rows, right=frozenset({0, 1, 2})))


def _check(path: Path) -> None:
    if not path.name.endswith((_SPEEDSCOPE, *_PPROF)):
        raise UsageError(f"{path.name!r}: a profile is saved as *{_SPEEDSCOPE} or *{_PPROF[0]}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.absolute().parent} is no directory")


def _export(seen: Watched, path: Path) -> None:
    """Save a profile. Raises CommandFailed."""
    program, weights = seen.program, seen.weights
    busy_ns = 1e9 * (program.seconds.sum() if weights.by == "records" else seen.seconds * (1 - weights.idle_share))
    timed = weights.by != "instructions"
    total = busy_ns if timed else float((program.entered * program.instructions).sum())
    stacks = stacks_of(program, weights, seen.naming, total)
    if path.name.endswith(_SPEEDSCOPE):
        data = speedscope(stacks, f"{seen.name}, {weights.by}", "nanoseconds" if timed else "none").encode()
    else:
        kind = ("cpu", "nanoseconds") if timed else ("instructions", "count")
        data = pprof(stacks, kind, round(1e9 * seen.seconds))
    save(path, data)


def save(path: Path, data: bytes) -> None:
    """Write a file anew, whole or not at all. Raises CommandFailed."""
    beside = path.with_name(f".{path.name}.part")
    try:
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}.") from error
    print_note(f"saved {path} ({len(data):,} bytes)")


def _cut(text: str, most: int = _TEXT) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
