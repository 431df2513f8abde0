"""`glassbox pixel`: x86 code as Pixel CPU microcode, proved; and microcode compared and shown."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.exit_codes import ExitCode
from app.failures import CommandFailed, UsageError
from app.output import print_json, print_text

if TYPE_CHECKING:
    from bridge.pixelcpu.differential import Record
    from bridge.pixelcpu.library import Kernel, Library
    from bridge.pixelcpu.picture import Picture
    from bridge.pixelcpu.prove import Attempt, Proof
    from bridge.pixelcpu.synthesis import Improved
    from bridge.pixelcpu.template_library import TemplateLibrary
    from bridge.pixelcpu.translation import Translation

_TIME_LIMIT_S = 10.0
_MOST_S = 3600.0
_PROGRAM = "pixels in hex; or a file: a picture, assembly, pixels in hex, or what `pixel prove --json` printed"

_HASH = "a kernel's hash, or how it begins, as `pixel list` tells it"
_LEAST_DIGITS, _MOST_DIGITS = 4, 64
"""Of a hash that is looked for in the library."""


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare what can be asked for."""
    from app.commands.pixel_learn import configure as configure_machines

    todo = parser.add_subparsers(dest="todo", required=True, metavar="prove | loop | learn | run | check | show | list")
    prove = todo.add_parser("prove", help="translate x86 code into microcode and prove both equal")
    loop = todo.add_parser("loop", help="prove what a loop does over all of its rounds, and make its kernel")
    for one in (prove, loop):
        one.add_argument("file", type=Path, nargs="?", metavar="FILE", help="machine code, nothing else")
        one.add_argument("--hex", nargs="+", metavar="BYTES", help="machine code, as in --hex 48 01 d8")
        one.add_argument("--arch", choices=["x86-64"], default="x86-64", help="the processor that it is for")
    prove.add_argument("--test", action="store_true", help="also run it on 10,000 random states, and compare")
    prove.add_argument("--optimise", action="store_true", help="look for cheaper microcode, two seconds at most")
    prove.add_argument("--keep", action="store_true", help="keep it in the library; implies --test")
    check = todo.add_parser("check", help="prove that two microcode programs do the same")
    check.add_argument("first", metavar="OPS_A", help=f"{_HASH}; or {_PROGRAM}")
    check.add_argument("second", metavar="OPS_B", help="the same")
    for one in (prove, loop, check):
        one.add_argument("--time-limit", type=float, default=_TIME_LIMIT_S, metavar="SECONDS", help="of the solver; 10")
    show = todo.add_parser("show", help="print a microcode program as text")
    show.add_argument("program", metavar="OPS", help=f"{_HASH}; or {_PROGRAM}")
    show.add_argument("--png", type=Path, metavar="FILE", help="also save its picture, which the window steps through")
    listed = todo.add_parser("list", help="list the kernels that were proved and kept")
    configure_machines(todo)
    for one in (prove, loop, check, show, listed):
        one.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what was found; 1 where nothing was proved.

    Raises UsageError, PixelError; of machines NoSuchMachine, MachineError, TraceError.
    """
    if options.todo == "show":
        return _show(options)
    if options.todo == "list":
        return _list(options)
    if options.todo in ("learn", "run"):
        from app.commands.pixel_learn import run as run_machine

        return run_machine(options)
    if not 0 < options.time_limit <= _MOST_S:
        raise UsageError(f"the time limit must be more than 0 and at most {_MOST_S:g} seconds")
    if options.todo == "loop":
        from app.commands.pixel_loop import run as run_loop

        return run_loop(options)
    return _check(options) if options.todo == "check" else _prove(options)


def _prove(options: argparse.Namespace) -> int:
    from app.pixel_programs import code_of
    from bridge.pixelcpu.errors import BadCode
    from bridge.pixelcpu.prover import Prover

    code = code_of(options.file, options.hex)
    record = None
    with Prover() as prover:
        try:
            attempt = prover.prove(code, options.time_limit)
        except BadCode as error:
            raise UsageError(str(error)) from error
        if options.optimise and attempt.translation is not None and attempt.proof.status == "proved":
            templates = _templates()
            improved = prover.improve(code, attempt.translation, templates=templates)
            attempt = _optimised(attempt, improved)
            for outline, template in improved.templates if options.keep else ():
                templates.keep(outline, template)
        if (options.test or options.keep) and attempt.translation is not None and attempt.proof.status == "proved":
            record = prover.run(code, attempt.translation)
            if options.keep and record.n_states and not record.n_mismatches:
                _library().keep(_kept(attempt, attempt.translation, record))
    if options.json:
        print_json(_document(attempt, record))
    else:
        print_text("\n".join(_lines(attempt, record)))
    good = attempt.proof.status == "proved" and (record is None or not record.n_mismatches)
    return ExitCode.DONE if good else ExitCode.FAILED


def _optimised(attempt: Attempt, improved: Improved) -> Attempt:
    """With the cheaper microcode, where there is some, and its proof."""
    return replace(
        attempt,
        translation=improved.translation,
        proof=improved.proof or attempt.proof,
        ms_synthesis=attempt.ms_synthesis + improved.ms,
    )


def _library() -> Library:
    from bridge.pixelcpu.library import Library

    return Library(_folder())


def _templates() -> TemplateLibrary:
    from bridge.pixelcpu.template_library import TemplateLibrary

    return TemplateLibrary(_folder() / "templates", _folder() / "key")


def _folder() -> Path:
    from bridge.machine.directories import state_dir

    return state_dir() / "pixel"


def _kept(attempt: Attempt, translation: Translation, record: Record) -> Kernel:
    from bridge.pixelcpu.library import Kernel

    proof = attempt.proof
    return Kernel(
        attempt.code, translation, proof.solver, proof.query_hash, attempt.ms_synthesis, proof.ms, record.n_states
    )


def _list(options: argparse.Namespace) -> int:
    from app.output import format_table

    found = _library().kernels()
    if options.json:
        kernels = [
            {
                "hash": kernel.x86_hash,
                "code": kernel.code.hex(),
                "instructions": len(kernel.translation.program.instructions),
                "cost": kernel.translation.program.cost,
                "ms_synthesis": kernel.ms_synthesis,
                "ms_proof": kernel.ms_proof,
                "states": kernel.n_states,
                "sealed": sealed,
            }
            for kernel, sealed in found
        ]
        print_json({"kernels": kernels})
    elif not found:
        print_text("no kernels; `glassbox pixel prove --hex BYTES --keep` makes one")
    else:
        rows = [
            (
                kernel.x86_hash[:16],
                f"{len(kernel.translation.program.instructions):,}",
                f"{kernel.ms_proof:.1f} ms",
                f"{kernel.n_states:,}",
                "" if sealed else "will be proved again",
                f"{kernel.code[:16].hex(' ')}{' …' if len(kernel.code) > 16 else ''}",
            )
            for kernel, sealed in found
        ]
        header = ("HASH", "INSTRUCTIONS", "PROOF", "STATES", "", "CODE")
        print_text(format_table(header, rows, right=frozenset({1, 2, 3})))
    return ExitCode.DONE


def _picture(said: str) -> Picture:
    """A program with the names of its registers: a kernel by four digits of its hash at least, or as `program_of`.

    Raises UsageError.
    """
    from app.pixel_programs import names_of, picture_of, program_of, why_no_file
    from bridge.pixelcpu.picture import Picture

    digits = said.lower()
    may_be_hash = _LEAST_DIGITS <= len(digits) <= _MOST_DIGITS and set(digits) <= set("0123456789abcdef")
    found = [one for one, _ in _library().kernels() if one.x86_hash.startswith(digits)] if may_be_hash else []
    if len(found) == 1:
        translation = found[0].translation
        return Picture(translation.program, found[0].x86_hash[:16], tuple(names_of(translation)))
    if found:
        raise UsageError(f"{said} is how the hashes of {len(found):,} kernels begin: give more digits of it")
    if not why_no_file(Path(said)):
        return picture_of(Path(said))
    try:
        return Picture(program_of(said))
    except UsageError as error:
        also = "; no kernel's hash begins so either (glassbox pixel list)" if may_be_hash else ""
        raise UsageError(f"{str(error).removesuffix('.')}{also}" if also else str(error)) from error


def _document(attempt: Attempt, record: Record | None) -> dict[str, Any]:
    from app.pixel_programs import names_of, pixel_words
    from bridge.pixelcpu.assembly import disassemble

    proof, translation = attempt.proof, attempt.translation
    example = proof.counterexample
    document: dict[str, Any] = {
        "status": proof.status,
        "reason": proof.reason or None,
        "code": attempt.code.hex(),
        "pixel_ops": [] if translation is None else pixel_words(translation.program),
        "listing": [] if translation is None else disassemble(translation.program, names_of(translation)).splitlines(),
        "cost": None if translation is None else translation.program.cost,
        "ms_synthesis": round(attempt.ms_synthesis, 3),
        "ms_proof": round(proof.ms, 3),
        "solver": proof.solver or None,
        "query_hash": proof.query_hash or None,
        "counterexample": None if example is None else example.as_json(),
    }
    if record is not None:
        document["tested"] = {
            "states": record.n_states,
            "put_aside": record.n_put_aside,
            "mismatches": record.n_mismatches,
            "first": record.first or None,
        }
    return document


def _lines(attempt: Attempt, record: Record | None) -> list[str]:
    from app.output import plural
    from app.pixel_programs import names_of
    from bridge.pixelcpu.assembly import disassemble

    proof, translation = attempt.proof, attempt.translation
    lines = []
    if translation is not None:
        lines += disassemble(translation.program, names_of(translation)).splitlines()
        n_pixels = len(translation.program.pixels)
        size = f"{plural(len(translation.program.instructions), 'instruction')} in {plural(n_pixels, 'pixel')}"
        lines += ["", f"{size}, translated in {attempt.ms_synthesis:.1f} ms."]
    lines += [_verdict(proof)]
    if record is not None:
        aside = f"; {record.n_put_aside:,} more left their memory and were put aside" if record.n_put_aside else ""
        differs = f"{record.n_mismatches:,} differ: {record.first}" if record.n_mismatches else "none differs"
        lines += [f"Run on {plural(record.n_states, 'random state')}: {differs}{aside}."]
    return lines


def _verdict(proof: Proof) -> str:
    said = {
        "proved": "Proved: after any state, registers, flags and memory are the same",
        "refuted": f"Refuted. {proof.reason}",
        "unsupported": f"Unsupported. {proof.reason}",
        "timeout": f"Not decided. {proof.reason}",
    }[proof.status]
    return f"{said}, in {proof.ms:.1f} ms." if proof.status == "proved" else said


def _check(options: argparse.Namespace) -> int:
    from bridge.pixelcpu.prover import Prover

    first, second = _picture(options.first).program, _picture(options.second).program
    with Prover() as prover:
        proof = prover.check_equal(first, second, options.time_limit)
    if options.json:
        example = proof.counterexample
        print_json(
            {
                "status": proof.status,
                "reason": proof.reason or None,
                "costs": [first.cost, second.cost],
                "ms_proof": round(proof.ms, 3),
                "solver": proof.solver or None,
                "query_hash": proof.query_hash or None,
                "counterexample": None if example is None else example.as_json(),
            }
        )
    else:
        print_text(_verdict(proof))
    return ExitCode.DONE if proof.status == "proved" else ExitCode.FAILED


def _show(options: argparse.Namespace) -> int:
    from app.pixel_programs import pixel_words
    from bridge.pixelcpu.assembly import disassemble
    from bridge.pixelcpu.picture import save

    picture = _picture(options.program)
    program = picture.program
    lines = disassemble(program, list(picture.names)).splitlines()
    if options.png is not None:
        try:
            save(picture, options.png)
        except OSError as error:
            raise CommandFailed(f"{options.png} could not be written: {error.strerror}") from error
    if options.json:
        print_json({"pixel_ops": pixel_words(program), "listing": lines, "cost": program.cost, "hash": program.hash})
    else:
        print_text("\n".join(lines) or "an empty program")
    return ExitCode.DONE
