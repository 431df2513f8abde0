"""`glassbox trace reach`: what can be reached and from where, over the flow graph or over the kernel's pointers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from app.commands.argument_types import row_limit
from app.failures import CommandFailed, UsageError
from app.kernel_source import kernel_source
from app.output import format_bytes, format_table, plural, print_json, print_note, print_text, printable
from app.reach_places import POINTER_HINT, BadPlace, pointer_of
from app.watched import add_watch_arguments, watched
from bridge.kernel.page_sets import NothingThere
from bridge.trace.pointers import Kind
from bridge.trace.reaching import Reaching, reach_code, reach_memory

_ROWS = 20
_LONGEST_TEXT = 200


def configure(parser: argparse.ArgumentParser, _part: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--from",
        dest="origin",
        required=True,
        metavar="PLACE",
        help=f"an address or a symbol of code, or {POINTER_HINT} of memory",
    )
    parser.add_argument("--to", dest="target", metavar="PLACE", help="also show a shortest way to there")
    parser.add_argument("--back", action="store_true", help="what leads to it, instead of where it leads")
    parser.add_argument(
        "--returns",
        action="store_true",
        help="of code: over returns and interrupts too, to whoever called; without, what runs because of it",
    )
    parser.add_argument("--top", type=row_limit, default=_ROWS, metavar="N", help=f"rows, {_ROWS} by default; 0: all")
    add_watch_arguments(parser, 2.0)


def run(options: argparse.Namespace) -> int:
    """Look and print. Returns 0; UsageError, NoSuchMachine, MachineError, KernelError, TraceError."""
    try:
        origin = pointer_of(options.origin)
        target = None if options.target is None else pointer_of(options.target)
    except BadPlace as error:
        raise UsageError(str(error)) from None
    if options.target is not None and (origin is None) != (target is None):
        raise UsageError(f"one end is code and the other one memory: {POINTER_HINT} are memory")
    document = _over_code(options) if origin is None else _over_memory(options, origin, target)
    if options.json:
        print_json(document)
        return 0
    print_text(_told(document, options.top or 1 << 30))
    for note in document["notes"]:
        print_note(note)
    return 0


def _over_code(options: argparse.Namespace) -> dict[str, Any]:
    with watched(options, edges=True) as seen:
        program = seen.program
        starts = seen.at(options.origin)
        targets = [] if options.target is None else seen.at(options.target).tolist()

        def names(numbers: Sequence[int]) -> dict[int, tuple[str, str]]:
            return {number: seen.naming.of(number) for number in numbers}

        back, returns = options.back, options.returns
        found, _ = reach_code(program, names, starts.tolist(), targets, back=back, returns=returns)
        rows = [
            {
                "name": row.name,
                "process": row.process,
                "steps": row.steps,
                "blocks": row.blocks,
                "entered": row.entered,
            }
            for row in found.rows
        ]
        steps = [
            {"block": one.number, "pc": one.address, "name": one.name, "process": one.process, "count": one.count}
            for one in found.path
        ]
        notes = [] if program.edges.measured else ["No block's entry was recorded: edges are what the code says."]
        return _document(options, found, rows, steps, notes)


def _over_memory(
    options: argparse.Namespace, origin: tuple[Kind, int], target: tuple[Kind, int] | None
) -> dict[str, Any]:
    if options.recording is not None:
        raise UsageError("a recording has no memory of its guest: name a machine, or a dump with --dump FILE")
    with kernel_source(options) as source:
        snapshot = source.look()
        physical_map = source.kernel.reader.ram.physical_map
        try:
            found, _ = reach_memory(snapshot, physical_map, origin, target, back=options.back)
        except NothingThere as error:
            raise CommandFailed(f"{error} glassbox ps and glassbox maps list what is.") from None
        rows = [
            {"kind": row.kind, "address": row.address, "name": row.name, "steps": row.steps, "pages": row.pages}
            for row in found.rows
        ]
        steps = [{"kind": one.kind, "address": one.address, "name": one.name} for one in found.path]
        return _document(options, found, rows, steps, [])


def _document(
    options: argparse.Namespace,
    found: Reaching,
    rows: list[dict[str, Any]],
    path: list[dict[str, Any]],
    notes: list[str],
) -> dict[str, Any]:
    if options.target is not None and not path:
        ends = (options.target, options.origin) if options.back else (options.origin, options.target)
        notes.append(f"No way was seen from {ends[0][:_LONGEST_TEXT]} to {ends[1][:_LONGEST_TEXT]}.")
    return {
        "from": options.origin,
        "to": options.target,
        "back": options.back,
        "what": ", ".join(plural(count, kind) for kind, count in found.counts.items()),
        "reached": found.reached,
        "rows": rows,
        "path": path,
        "ranges": found.ranges.tolist(),
        "notes": notes,
    }


def _told(document: dict[str, Any], most: int) -> str:
    rows, path = document["rows"], document["path"]
    lines: list[str] = []
    if path:
        lines.append(plural(len(path) - 1, "step"))
        for place in path:
            count = f"  {plural(place['count'], 'time')}" if place.get("count") else ""
            address = place["pc"] if "pc" in place else place["address"]
            kind = f"{place['kind']:<5}" if "kind" in place else ""
            name = printable(place["name"])
            lines.append(f"  → {kind}{name + '  ' if name else ''}{address:#x}{count}")
        lines.append("")
    if rows and "kind" in rows[0]:
        head: tuple[str, ...] = ("STEPS", "KIND", "PAGES", "ADDRESS", "NAME")
        cells = [
            (str(row["steps"]), row["kind"], f"{row['pages']:,}", f"{row['address']:#x}", printable(row["name"]))
            for row in rows[:most]
        ]
        right = frozenset({0, 2})
    else:
        head = ("STEPS", "BLOCKS", "ENTERED", "SYMBOL", "PROCESS")
        cells = [
            (
                str(row["steps"]),
                f"{row['blocks']:,}",
                f"{row['entered']:,}",
                printable(row["name"]) or "-",
                printable(row["process"]),
            )
            for row in rows[:most]
        ]
        right = frozenset({0, 1, 2})
    lines.append(format_table(head, cells, right=right))
    if len(rows) > most:
        lines.append(f"… and {len(rows) - most:,} more")
    size = sum(length for _, length in document["ranges"])
    verb = "lead to" if document["back"] else "can be reached from"
    place = printable(document["from"])
    lines += ["", f"{document['what']} {verb} {place}, in {format_bytes(float(size))} of memory."]
    return "\n".join(lines)
