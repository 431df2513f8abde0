"""`glassbox pages`: how much of a guest's memory is what, and whose: by class, slab cache, file, module and process."""

import argparse
from typing import Any

from app.commands.argument_types import row_limit
from app.kernel_source import add_source_arguments, kernel_source
from app.output import format_bytes, format_table, print_json, print_text, printable
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.snapshot import PART_TITLES, Part, SemanticSnapshot
from bridge.semantic.documents import pages_document

_TOP = 10


def configure(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--top",
        type=row_limit,
        default=_TOP,
        metavar="N",
        help=f"lines a list, {_TOP} by default; 0: all; JSON has all",
    )
    parser.add_argument(
        "--consistent", action="store_true", help="hold the machine still for the milliseconds that the look takes"
    )
    add_source_arguments(parser)
    parser.set_defaults(command=command)


def run(options: argparse.Namespace) -> int:
    """Read and print. Returns 0; NoSuchMachine, UsageError, MachineError, KernelError."""
    with kernel_source(options) as source:
        snapshot = source.look(held=options.consistent)
        document = {"source": source.name, **pages_document(snapshot)}
    if options.json:
        print_json(document)
    else:
        print_text("\n".join(_lines(snapshot, document, options.top or None)))
    return 0


def _lines(snapshot: SemanticSnapshot, document: dict[str, Any], top: int | None) -> list[str]:
    total = document["pages"]
    numbers = {CLASS_TITLES[kind]: document["classes"][kind.name.lower()] for kind in PageClass}
    blocks = [
        _table("CLASS", sorted(((title, n) for title, n in numbers.items() if n), key=lambda row: -row[1]), total),
        _table(
            "PART OF PROCESSES",
            sorted(
                ((PART_TITLES[part], document["parts"][part.name.lower()]) for part in Part if part),
                key=lambda row: -row[1],
            ),
            total,
        ),
    ]
    owned = (
        (f"{row['name']} ({row['pid']})" if row["pid"] else row["name"], row["pages"])
        for row in document["page_tables"]
    )
    for title, rows in (
        ("SLAB CACHE", [(row["name"], row["pages"]) for row in document["slabs"]]),
        ("FILE", [(row["path"], row["pages"]) for row in document["files"]]),
        ("MODULE", [(row["name"], row["pages"]) for row in document["modules"]]),
        ("PAGE TABLES OF", list(owned)),
    ):
        if rows:
            rest = rows[top:] if top is not None else []
            more = [(f"{len(rest):,} more", sum(n for _, n in rest))] if rest else []
            blocks.append(_table(title, [(printable(name), n) for name, n in rows[:top]] + more, total))
    free = ", ".join(f"{n:,} of {format_bytes(4096 << order)}" for order, n in enumerate(document["free_blocks"]) if n)
    blocks.append(f"Free blocks: {free}" if free else "No free blocks")
    blocks.append(f"{snapshot.page_map.definite:.1%} of {total:,} pages are known for certain")
    return [line for block in blocks for line in (block, "")][:-1]


def _table(title: str, rows: list[tuple[str, int]], total: int) -> str:
    cells = [(name, f"{n:,}", format_bytes(4096.0 * n), f"{n / total:.1%}") for name, n in rows]
    return format_table((title, "PAGES", "SIZE", "SHARE"), cells, right=frozenset({1, 2, 3}))
