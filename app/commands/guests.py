"""`glassbox guests`: the guests that can be started; `--prepare` assembles the built-in ones now."""

import argparse
from typing import Any

from app.output import format_bytes, format_table, print_json, print_text, progress_printer
from bridge.machine.catalogue import describe_guest, find_guest, guest_names
from bridge.machine.descriptions import RECIPES
from bridge.machine.guest import GuestError


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--prepare", nargs="*", metavar="GUEST", help="assemble these now (all built-in ones by default)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """List or prepare guests. Returns 0."""
    if options.prepare is not None:
        for name in options.prepare or RECIPES:
            find_guest(name, progress=progress_printer())
    rows = [_row(name) for name in guest_names()]
    if options.json:
        print_json({"guests": rows})
    elif options.prepare is None:
        table = [
            (row["name"], format_bytes(row["ram_bytes"]) if row["ram_bytes"] else "", row["problem"] or row["title"])
            for row in rows
        ]
        print_text(format_table(("NAME", "RAM", "WHAT"), table, right=frozenset({1})))
    return 0


def _row(name: str) -> dict[str, Any]:
    built_in = name in RECIPES
    try:
        guest = describe_guest(name).guest
    except GuestError as error:
        return {"name": name, "title": "", "ram_bytes": None, "built_in": built_in, "problem": str(error)}
    return {"name": name, "title": guest.title, "ram_bytes": guest.ram_bytes, "built_in": built_in, "problem": ""}
