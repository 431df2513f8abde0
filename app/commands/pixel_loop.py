"""`glassbox pixel loop`: what a loop does over all of its rounds, proved, and the kernel of it, a round a lane."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.exit_codes import ExitCode
from app.failures import UsageError
from app.loop_words import loop_words
from app.output import plural, print_json, print_text

if TYPE_CHECKING:
    from bridge.pixelcpu.prove_loop import LoopAttempt


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
    from app.pixel_programs import names_of
    from bridge.pixelcpu.assembly import disassemble

    if found.rounds is None or found.attempt.translation is None:
        return []
    return disassemble(found.rounds, names_of(found.attempt.translation)).splitlines()


def _lines(found: LoopAttempt) -> list[str]:
    lines = [] if found.loop is None else loop_words(found.loop)
    if found.rounds is None:
        return [*lines, f"No kernel. {found.reason}"]
    n_pixels = len(found.rounds.pixels)
    size = f"{plural(len(found.rounds.instructions), 'instruction')} in {plural(n_pixels, 'pixel')}"
    in_order = found.loop is not None and found.loop.ordered and not found.loop.closed
    each = "a round a lane, each going on from the one before" if in_order else "a round a lane"
    return [*lines, "", *_listing(found), "", f"{size}, {each}. Proved: rounds and lanes do the same."]
