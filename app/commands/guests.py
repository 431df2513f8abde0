"""`glassbox guests`: the guests that can be started; `--prepare` assembles the built-in ones now."""

import argparse

from app.commands.guest_options import progress_printer
from app.output import format_bytes, format_table, print_json, print_text
from bridge.machine.catalogue import describe_guests, find_guest


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "--prepare", nargs="*", metavar="GUEST", help="assemble these now (all built-in ones by default)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """List or prepare guests. Returns 0."""
    summaries = describe_guests()
    if options.prepare is not None:
        names = options.prepare or [summary.name for summary in summaries if summary.built_in]
        for name in names:
            find_guest(name, progress=progress_printer())
    if options.json:
        rows = [
            {"name": s.name, "title": s.title, "ram_bytes": s.ram_bytes, "built_in": s.built_in, "problem": s.problem}
            for s in summaries
        ]
        print_json({"guests": rows})
    elif options.prepare is None:
        table = [(s.name, format_bytes(s.ram_bytes), s.problem or s.title) for s in summaries]
        print_text(format_table(("NAME", "RAM", "WHAT"), table, right=frozenset({1})))
    return 0
