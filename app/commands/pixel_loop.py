"""`glassbox pixel loop`: what a loop does over all of its rounds, proved, and the kernel of it, a round a lane."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.exit_codes import ExitCode
from app.failures import UsageError
from app.output import format_byte_count, plural, print_json, print_text

if TYPE_CHECKING:
    from bridge.pixelcpu.loop_text import LoopText, StreamText
    from bridge.pixelcpu.prove_loop import LoopAttempt

_KINDS = {
    "registers": "A loop over registers",
    "reduction": "A reduction",
    "fill": "A fill",
    "copy": "A copy",
    "map": "A map",
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


def run(options: argparse.Namespace) -> int:
    """Print what was found; 1 where there is no kernel. Raises UsageError, PixelError."""
    from app.pixel_programs import code_of
    from bridge.pixelcpu.errors import BadCode
    from bridge.pixelcpu.prover import Prover

    with Prover() as prover:
        try:
            found = prover.prove_loop(code_of(options.file, options.hex), options.time_limit)
        except BadCode as error:
            raise UsageError(str(error)) from error
    if options.json:
        print_json(_document(found))
    else:
        print_text("\n".join(_lines(found)))
    return ExitCode.DONE if found.rounds is not None else ExitCode.FAILED


def _document(found: LoopAttempt) -> dict[str, Any]:
    from app.pixel_programs import pixel_words

    proof = found.attempt.proof
    return {
        "status": "proved" if found.rounds is not None else _status(found),
        "reason": found.reason or None,
        "code": found.attempt.code.hex(),
        "loop": None if found.loop is None else asdict(found.loop),
        "pixel_ops": [] if found.rounds is None else pixel_words(found.rounds),
        "listing": _listing(found),
        "cost": None if found.rounds is None else found.rounds.cost,
        "ms_proof": round(proof.ms, 3),
        "solver": proof.solver or None,
    }


def _status(found: LoopAttempt) -> str:
    status = found.attempt.proof.status
    return "unsupported" if status == "proved" else status


def _listing(found: LoopAttempt) -> list[str]:
    from app.commands.pixel import names_of
    from bridge.pixelcpu.assembly import disassemble

    if found.rounds is None or found.attempt.translation is None:
        return []
    return disassemble(found.rounds, names_of(found.attempt.translation)).splitlines()


def _lines(found: LoopAttempt) -> list[str]:
    lines = [] if found.loop is None else _about(found.loop)
    if found.rounds is None:
        return [*lines, f"No kernel. {found.reason}"]
    n_pixels = len(found.rounds.pixels)
    size = f"{plural(len(found.rounds.instructions), 'instruction')} in {plural(n_pixels, 'pixel')}"
    return [*lines, "", *_listing(found), "", f"{size}, a round a lane. Proved: rounds and lanes do the same."]


def _about(loop: LoopText) -> list[str]:
    lines = [f"{_KINDS[loop.kind]}: its rounds need no order."]
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
    steps = "" if loop.step == 1 else f" / {loop.step}"
    distance = f"({loop.distance})" if steps and " " in loop.distance else loop.distance
    lines.append(f"  rounds  {distance}{steps}, if the first goes back")
    if loop.fresh:
        lines.append(f"  anew    {', '.join(loop.fresh)}")
    return lines


def _stream(stream: StreamText) -> str:
    verb = "stores" if stream.is_store else "loads "
    where = f"{verb}  {format_byte_count(stream.size)} at {stream.address}"
    return f"  {where}, {stream.stride:+,} a round" if stream.stride else f"  {where}, the same each round"
