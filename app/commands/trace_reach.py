"""`glassbox trace reach`: what can be reached and from where, over the flow graph or over the kernel's pointers."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.commands.argument_types import row_limit
from app.failures import CommandFailed, UsageError
from app.kernel_source import kernel_source
from app.numbers import BadNumber, parse_address
from app.output import format_bytes, format_table, plural, print_json, print_note, print_text, printable
from app.watched import Watched, add_watch_arguments, watched
from bridge.memory.physical_map import PAGE_BYTES
from bridge.trace.follows import Edges
from bridge.trace.pointers import Kind, PointerGraph
from bridge.trace.reach import Reached, page_ranges, reach

_ROWS = 20
_LONGEST_TEXT = 200
_HINT = "task:PID, mm:ADDRESS, vma:ADDRESS or page:ADDRESS"


def configure(parser: argparse.ArgumentParser, _part: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--from",
        dest="origin",
        required=True,
        metavar="PLACE",
        help=f"an address or a symbol of code, or {_HINT} of memory",
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
    origin = _pointer(options.origin)
    target = None if options.target is None else _pointer(options.target)
    if options.target is not None and (origin is None) != (target is None):
        raise UsageError(f"one end is code and the other one memory: {_HINT} are memory")
    document = _over_code(options) if origin is None else _over_memory(options, origin, target)
    if options.json:
        print_json(document)
        return 0
    print_text(_told(document, options.top or 1 << 30))
    for note in document["notes"]:
        print_note(note)
    return 0


def _pointer(text: str) -> tuple[Kind, int] | None:
    """What a place of memory is; None for one of code. Raises UsageError."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in list(Kind):
        return None
    try:
        return Kind(kind), parse_address(rest)
    except BadNumber as error:
        raise UsageError(f"{text[:_LONGEST_TEXT]!r}: {error}") from None


def _over_code(options: argparse.Namespace) -> dict[str, Any]:
    with watched(options, edges=True) as seen:
        program = seen.program
        starts = seen.at(options.origin)
        targets = None if options.target is None else seen.at(options.target)
        flow = program.flow if options.returns else program.flow_within_functions
        found = reach(flow.reversed() if options.back else flow, starts.tolist())
        rows = _functions(seen, found)
        path = [] if targets is None else _path(found, targets.tolist(), back=options.back)
        physical, sizes = program.physical[found.found], program.sizes[found.found]
        in_ram = physical != np.uint64((1 << 64) - 1)
        taken = _taken(program.edges if options.returns else program.within_functions)
        steps = [
            {
                "block": n,
                "pc": int(program.starts[n]),
                "name": seen.naming.of(n)[0],
                "process": seen.naming.of(n)[1],
                "count": taken.get((before, n)),
            }
            for before, n in zip([-1, *path], path, strict=False)
        ]
        notes = [] if program.edges.measured else ["No block's entry was recorded: edges are what the code says."]
        ranges = page_ranges(physical[in_ram], sizes[in_ram])
        return _document(options, plural(len(found.found), "block"), len(found.found), rows, steps, ranges, notes)


def _taken(edges: Edges) -> dict[tuple[int, int], int]:
    if not edges.measured:
        return {}
    pairs = zip(edges.sources.tolist(), edges.targets.tolist(), strict=True)
    return dict(zip(pairs, edges.counts.tolist(), strict=True))


def _functions(seen: Watched, found: Reached) -> list[dict[str, Any]]:
    """What is reached by function and process, the nearest first."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number in found.found.tolist():
        symbol, process = seen.naming.of(number)
        name = symbol.partition(" + ")[0]
        row = rows.setdefault(
            (name, process),
            {"name": name, "process": process, "steps": int(found.steps[number]), "blocks": 0, "entered": 0},
        )
        row["blocks"] += 1
        row["entered"] += int(seen.program.entered[number])
    return list(rows.values())


def _over_memory(
    options: argparse.Namespace, origin: tuple[Kind, int], target: tuple[Kind, int] | None
) -> dict[str, Any]:
    if options.recording is not None:
        raise UsageError("a recording has no memory of its guest: name a machine, or a dump with --dump FILE")
    with kernel_source(options) as source:
        snapshot = source.look()
        ram = source.kernel.reader.ram
        pages = np.arange(len(snapshot.page_map.classes), dtype=np.uint64) * np.uint64(PAGE_BYTES)
        graph = PointerGraph(snapshot, ram.physical_map.paddr_from_offset(pages).astype(np.uint64))
        starts = _nodes(graph, origin)
        found = reach(graph.flow.reversed() if options.back else graph.flow, starts)
        path = [] if target is None else _path(found, _nodes(graph, target), back=options.back)
        numbers = found.found
        kinds = graph.kinds(numbers)
        rows: list[dict[str, Any]] = []
        for number in numbers[kinds < list(Kind).index(Kind.PAGE)].tolist():
            node, following = graph.node(number), graph.flow.successors(number)
            n_pages = int((graph.kinds(following) == list(Kind).index(Kind.PAGE)).sum())
            told = {"kind": str(node.kind), "address": node.address, "name": node.label}
            rows.append({**told, "steps": int(found.steps[number]), "pages": n_pages})
        steps = [
            {"kind": str(node.kind), "address": node.address, "name": node.label} for node in map(graph.node, path)
        ]
        counts = Counter(kinds.tolist())
        what = ", ".join(plural(counts[n], kind) for n, kind in enumerate(Kind) if counts[n])
        addresses = graph.physical_of(numbers)
        ranges = page_ranges(addresses[addresses != np.uint64((1 << 64) - 1)], np.ones(1, np.int64))
        return _document(options, what, len(numbers), rows, steps, ranges, [])


def _nodes(graph: PointerGraph, place: tuple[Kind, int]) -> list[int]:
    found = graph.find(*place)
    if not found:
        kind, value = place
        shown = f"{value}" if kind is Kind.TASK and value < 1 << 22 else f"{value:#x}"
        where = "is mapped by no process" if kind is Kind.PAGE else "is not there"
        raise CommandFailed(f"{kind}:{shown} {where}; glassbox ps and glassbox maps list what is.")
    return found


def _path(found: Reached, targets: list[int], *, back: bool) -> list[int]:
    """In the direction of the edges, from wherever to wherever. Empty where there is none."""
    nearest = found.nearest(targets)
    path = () if nearest is None else found.path(nearest)
    return list(path[::-1] if back else path)


def _document(
    options: argparse.Namespace,
    what: str,
    count: int,
    rows: list[dict[str, Any]],
    path: list[dict[str, Any]],
    ranges: NDArray[np.int64],
    notes: list[str],
) -> dict[str, Any]:
    if options.target is not None and not path:
        ends = (options.target, options.origin) if options.back else (options.origin, options.target)
        notes.append(f"No way was seen from {ends[0][:_LONGEST_TEXT]} to {ends[1][:_LONGEST_TEXT]}.")
    return {
        "from": options.origin,
        "to": options.target,
        "back": options.back,
        "what": what,
        "reached": count,
        "rows": rows,
        "path": path,
        "ranges": ranges.tolist(),
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
