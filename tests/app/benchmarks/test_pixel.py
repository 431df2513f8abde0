"""The Pixel CPU's benchmark, in small: its figures stand beside their bars, and count what was really proved."""

from __future__ import annotations

from app.benchmarks.pixel import run
from app.benchmarks.pixel_forms import FORMS, SEQUENCES


def test_every_figure_is_there_and_counts_what_is_good() -> None:
    report = run(sequences=SEQUENCES[:2], forms=("4801d8", "8b03", "0fa2"), turns=1, n_states=200)
    found = {result.name: result for result in report.results}
    assert {name: str(result.bar) for name, result in found.items() if result.bar is not None} == {
        "synthesis_median": "<= 100",
        "proof_median": "<= 50",
        "forms_proved_and_tested": ">= 60",
        "mismatches": "<= 0",
    }
    assert found["forms_proved_and_tested"].value == 2, "CPUID is none"
    assert found["forms_in_all"].value == 3
    assert found["states_compared"].value == 400
    assert found["mismatches"].value == 0
    assert all(result.value is not None and result.value >= 0 for result in report.results)


def test_the_forms_are_told_apart() -> None:
    assert len(set(FORMS)) == len(FORMS) > 250
    assert len(SEQUENCES) >= 20
