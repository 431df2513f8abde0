"""Words for what a proved loop is: what it counts, folds, loads and stores; for the command line and the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.output import format_byte_count

if TYPE_CHECKING:
    from bridge.pixelcpu.loop_text import LoopText, StreamText

_KINDS = {
    "registers": "A loop over registers",
    "reduction": "A reduction",
    "fill": "A fill",
    "copy": "A copy",
    "map": "A map",
    "recurrence": "A recurrence over registers",
    "hash": "A hash",
    "search": "A search",
    "sequence": "A sequence that stores",
}
_FOLDS = {
    "sumall": "the sum",
    "xorall": "the xor",
    "andall": "the and",
    "orall": "the or",
    "minuall": "the smallest, unsigned,",
    "maxuall": "the largest, unsigned,",
    "minsall": "the smallest, signed,",
    "maxsall": "the largest, signed,",
}


def loop_words(loop: LoopText) -> list[str]:
    """Lines: what kind it is, and below that, indented, what it is made of."""
    order = "its rounds are done one after the other" if loop.ordered else "its rounds need no order"
    if loop.leaps:
        order = "its rounds are done one after the other, many of them at once"
    if loop.closed:
        order = "its last round is done without those before it"
    lines = [f"{_KINDS[loop.kind]}: {order}."]
    for name, step in loop.counting.items():
        lines.append(f"  counts  {name} by {step:+,} a round")
    for name, fold in loop.folds.items():
        operation, _, width = fold.partition(".")
        lines.append(f"  folds   {name} becomes {_FOLDS[operation]} of all rounds, {width} bits")
    lines += [_stream(stream) for stream in loop.streams]
    for one, other in loop.apart:
        lines.append(
            f"  checks  what is at {loop.streams[one].address} and at {loop.streams[other].address} does not meet"
        )
    lines += [f"  checks  {address} is a multiple of 16" for address in loop.aligned]
    if loop.carried:
        closed = (
            ", which has a closed form" if loop.closed else ", whose bits are sums of bits before" if loop.leaps else ""
        )
        lines.append(f"  carries {', '.join(loop.carried)} on from round to round{closed}")
    if loop.distance:
        steps = "" if loop.step == 1 else f" / {loop.step}"
        distance = f"({loop.distance})" if steps and " " in loop.distance else loop.distance
        lines.append(f"  rounds  {distance}{steps}, if the first goes back")
    else:
        lines.append("  rounds  until one does not go back")
    if loop.fresh:
        lines.append(f"  anew    {', '.join(loop.fresh)}")
    return lines


def _stream(stream: StreamText) -> str:
    verb = "stores" if stream.is_store else "loads "
    anywhere = "somewhere in " if stream.is_table else ""
    where = f"{verb}  {anywhere}{format_byte_count(stream.size)} at {stream.address}"
    return f"  {where}, {stream.stride:+,} a round" if stream.stride else f"  {where}, the same each round"
