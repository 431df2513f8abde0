"""`bench pixel`: how soon x86 code is microcode that is proved, and how much of x86 that holds for.

Straight-line sequences of one to five arithmetic instructions are translated and proved again and again, in this
process; and each form of instruction that is known here is proved and run on random states, beside Unicorn.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

from app.benchmarks import pixel_gdbstub, pixel_gpu, pixel_hybrid, pixel_program
from app.benchmarks.pixel_forms import FORMS, SEQUENCES
from app.benchmarks.report import Report, Result, at_least, at_most
from bridge.pixelcpu import differential
from bridge.pixelcpu.differential import N_STATES
from bridge.pixelcpu.prove import prove
from bridge.pixelcpu.synthesis import improve
from bridge.pixelcpu.templates import Outline, Template

_SYNTHESIS_BAR, _PROOF_BAR = at_most(100.0), at_most(50.0)
_FORMS_BAR, _MISMATCH_BAR = at_least(60), at_most(0)


PARTS = ("proofs", "loops", "gpu", "gdbstub", "program", "calls")
"""`calls` alone takes a quarter of an hour."""


def run(
    *,
    parts: Sequence[str] = PARTS,
    sequences: Sequence[str] = SEQUENCES,
    forms: Sequence[str] = FORMS,
    turns: int = 5,
    n_states: int = N_STATES + N_STATES // 20,
    calls: int = pixel_hybrid.CALLS,
) -> Report:
    """Measures. `turns`: how often each sequence is proved; `n_states`: on how many states each form is run;
    `calls`: how often kernels are called in random runs."""
    results: list[Result] = []
    if "proofs" in parts:
        results += [*_latencies(sequences, turns), *_optimised(sequences, turns), *_coverage(forms, n_states)]
    if "loops" in parts:
        results += pixel_hybrid.loops(turns=turns)
    device = ""
    if "gpu" in parts:
        found, device = pixel_gpu.gpu(turns=turns)
        results += found
    if "gdbstub" in parts:
        results += pixel_gdbstub.gdbstub(turns=turns)
    if "program" in parts:
        results += pixel_program.program(turns=turns)
    if "calls" in parts:
        results += pixel_hybrid.calls(least=calls)
    notes: tuple[str, ...] = (
        f"{len(sequences)} sequences of 1 to 5 instructions, {turns} times each, by the clock and in processor time of "
        "this process; the first, which loads the libraries, is left out. A proof includes both meanings. Synthesis is "
        "translation and the search for less, two seconds at most; by template: the same again, with what was found.",
        f"{len(forms)} forms: machine code of one instruction, or of a few with a jump at the end. One counts where it "
        f"is proved and at least {min(n_states, N_STATES):,} states were compared with Unicorn, none of which differs.",
        f"loops: {pixel_hybrid.ROUNDS:,} rounds each, medians of {turns} turns by the clock; QEMU alone, with kernels, "
        "with kernels on pages in random order, and the loop's C natively. gdbstub: the same by the usual QEMU, whose "
        "gdbstub kernels are run through. calls: random trip counts, alignments, "
        "flags, pages absent, read-only, shared, not accessed or not written; overlapping buffers; timer interrupts.",
    )
    if device:
        notes += (
            f"gpu: {pixel_gpu.ROUNDS:,} rounds each, medians of {turns} turns by the clock, on {device}; `resident`: "
            "all pages are there already and are compared, `changed`: all are sent anew.",
        )
    return Report("pixel", tuple(results), notes=notes)


def _latencies(sequences: Sequence[str], turns: int) -> list[Result]:
    prove(bytes.fromhex(sequences[0]))
    translation: list[float] = []
    proof: list[float] = []
    processor: list[float] = []
    for _ in range(turns):
        for text in sequences:
            began = process_time()
            attempt = prove(bytes.fromhex(text))
            processor.append(1000 * (process_time() - began))
            translation.append(attempt.ms_synthesis)
            proof.append(attempt.proof.ms)
    return [
        Result("translation_median", statistics.median(translation), "ms"),
        Result("proof_median", statistics.median(proof), "ms", _PROOF_BAR),
        Result("proof_slowest", max(proof), "ms"),
        Result("translation_and_proof_processor_median", statistics.median(processor), "ms"),
    ]


def _optimised(sequences: Sequence[str], turns: int) -> list[Result]:
    """Synthesis is all between code and the microcode that is proved: translation, and the search for less."""
    before, after = 0, 0
    searched: list[float] = []
    reused: list[float] = []
    for _ in range(turns):
        templates: dict[str, Template] = {}
        known = _Known(templates)
        for took in (searched, reused):
            before = after = 0
            for text in sequences:
                code = bytes.fromhex(text)
                attempt = prove(code)
                if attempt.proof.status == "proved" and attempt.translation is not None:
                    improved = improve(code, attempt.translation, templates=known)
                    before += attempt.translation.program.cost
                    after += improved.translation.program.cost
                    took.append(attempt.ms_synthesis + improved.ms)
                    if took is searched:
                        templates |= {outline.name: template for outline, template in improved.templates}
    return [
        Result("synthesis_median", statistics.median(searched), "ms", _SYNTHESIS_BAR),
        Result("synthesis_by_template_median", statistics.median(reused), "ms"),
        Result("synthesis_slowest", max(searched), "ms"),
        Result("synthesised_cost", after / before, "of the direct translation's"),
    ]


@dataclass(frozen=True, slots=True)
class _Known:
    """The templates of this run alone."""

    by_name: dict[str, Template]

    def find(self, outline: Outline, /) -> Template | None:
        return self.by_name.get(outline.name)


def _coverage(forms: Sequence[str], n_states: int) -> list[Result]:
    good, compared, mismatches, slowest = 0, 0, 0, 0.0
    took: list[float] = []
    for text in forms:
        code = bytes.fromhex(text)
        attempt = prove(code)
        slowest = max(slowest, attempt.proof.ms)
        if attempt.translation is None:
            continue
        began = perf_counter()
        record = differential.run(code, attempt.translation, n_states)
        took.append(1000 * (perf_counter() - began))
        compared += record.n_states
        mismatches += record.n_mismatches
        enough = record.n_states >= min(n_states, N_STATES)
        good += attempt.proof.status == "proved" and enough and not record.n_mismatches
    return [
        Result("forms_proved_and_tested", good, "forms", _FORMS_BAR),
        Result("forms_in_all", len(forms), "forms"),
        Result("states_compared", compared, "states"),
        Result("mismatches", mismatches, "states", _MISMATCH_BAR),
        Result("form_proof_slowest", slowest, "ms"),
        Result("differential_run_median", statistics.median(took), "ms"),
    ]
