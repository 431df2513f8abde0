"""`glassbox trace`: what a guest executes, record by record, and what follows from it."""

from __future__ import annotations

import argparse
import importlib

_PARTS = {
    "record": ("app.commands.trace_record", "record what a running guest executes into a Parquet file"),
    "import": ("app.commands.trace_import", "check a recording, and say what is in it"),
    "hot": ("app.commands.hot", "show where the time goes: by block, by path, or by code that is alike"),
    "flow": ("app.commands.trace_flow", "show the flow graph of a function or around a block"),
    "reach": ("app.commands.trace_reach", "say what can be reached from where, in code and in memory"),
}
"""Modules that have `configure(parser, part)` and `run(options)`, as commands have."""


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the parts and their options."""
    parts = parser.add_subparsers(dest="part", required=True, metavar=" | ".join(_PARTS))
    for name, (module, title) in _PARTS.items():
        part = parts.add_parser(name, help=title, description=f"{title[:1].upper()}{title[1:]}.")
        importlib.import_module(module).configure(part, name)


def run(options: argparse.Namespace) -> int:
    """Run the part that was asked for. Returns its exit code; raises what it raises."""
    return int(importlib.import_module(_PARTS[options.part][0]).run(options))
