"""`glassbox trace flow`: the flow graph of a function or around a block, with how often each edge was taken."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.argument_types import row_limit
from app.commands.hot import save
from app.failures import UsageError
from app.numbers import parse_address
from app.output import print_json, print_note, print_text, printable
from app.watched import Watched, add_watch_arguments, watched
from bridge.trace.export import dot, graphml
from bridge.trace.flow_view import FlowEdge, FlowNode, FlowView, flow_around, flow_view

_FORMATS = {".graphml": graphml, ".dot": dot, ".gv": dot}
_STEPS = 3
_ROWS = 60
_LINES = 12
_TEXT = 64


def configure(parser: argparse.ArgumentParser, _part: str) -> None:
    """Declare the options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--function", metavar="SYMBOL", help="the blocks of this function of the kernel")
    what.add_argument("--block", type=parse_address, metavar="PC", help="the blocks around the one at this address")
    parser.add_argument(
        "--steps", type=row_limit, default=_STEPS, metavar="N", help=f"with --block: edges away, {_STEPS} by default"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also save the graph: *.graphml or *.dot")
    parser.add_argument(
        "--top", type=row_limit, default=_ROWS, metavar="N", help=f"blocks that are printed, {_ROWS} by default; 0: all"
    )
    add_watch_arguments(parser, 2.0)


def run(options: argparse.Namespace) -> int:
    """Watch and print. Returns 0; UsageError, NoSuchMachine, MachineError, KernelError, TraceError."""
    if options.out is not None:
        if options.out.suffix not in _FORMATS:
            raise UsageError(f"{options.out.name!r}: a graph is saved as *.graphml or *.dot")
        if not options.out.absolute().parent.is_dir():
            raise UsageError(f"{options.out.absolute().parent} is no directory")
    with watched(options, edges=True) as seen:
        view = _view(seen, options)
    if options.out is not None:
        save(options.out, _FORMATS[options.out.suffix](view).encode("utf-8", "replace"))
    if options.json:
        print_json(view.document())
        return 0
    print_text(told(view, options.top or len(view.nodes)))
    if not view.measured:
        print_note("No block's entry was recorded: edges are what the code says, and are not counted.")
    if view.left_out:
        print_note(f"{view.left_out:,} blocks that were entered least are left out.")
    return 0


def _view(seen: Watched, options: argparse.Namespace) -> FlowView:
    if options.function is not None:
        numbers = seen.of_function(options.function).tolist()
        return flow_view(seen.program, numbers, options.function, seen.weights, seen.naming)
    held = seen.at(f"{options.block:#x}")
    return flow_around(seen.program, held, options.steps, f"around {options.block:#x}", seen.weights, seen.naming)


def told(view: FlowView, most: int) -> str:
    """The graph as lines: each block by address, indented by its loops, and below it where it goes on."""
    names = {node.number: _name(node) for node in view.nodes}
    deepest = min((node.block.loop_depth for node in view.nodes), default=0)
    onwards: dict[int, list[FlowEdge]] = {}
    for edge in sorted(view.edges, key=lambda edge: -edge.count):
        onwards.setdefault(edge.source, []).append(edge)
    heads = {edge.target for edge in view.edges if edge.back}
    loops = len(heads)
    summary = f"{printable(view.title)}: {len(view.nodes):,} blocks, {len(view.edges):,} edges, {loops:,} loops"
    lines = [summary, ""]
    for node in view.nodes[:most]:
        block = node.block
        margin = "│ " * (block.loop_depth - deepest)
        mark = "┌ loop: " if node.number in heads else ""
        lines.append(f"{margin}{mark}{names[node.number]}  {block.count:,} times, {block.share:.1%}, {block.kind}")
        shown = [_cut(text) for text in block.disassembly[:_LINES]]
        if len(block.disassembly) > _LINES:
            shown.append(f"… {len(block.disassembly) - _LINES} more")
        lines += [f"{margin}    {text}" for text in shown]
        for edge in onwards.get(node.number, []):
            arrow = "↑ back to" if edge.back else "→"
            taken = f"  {edge.count:,} times" if view.measured else ""
            lines.append(f"{margin}  {arrow} {names[edge.target]}{taken}")
        lines.append(margin.rstrip())
    if len(view.nodes) > most:
        lines.append(f"… {len(view.nodes) - most:,} more blocks")
    return "\n".join(lines).rstrip()


def _name(node: FlowNode) -> str:
    symbol = printable(node.block.symbol)
    return f"{symbol} ({node.block.pc:#x})" if symbol else f"{node.block.pc:#x}"


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
