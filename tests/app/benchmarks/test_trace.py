"""The benchmark of traces: every figure is there, and what must be so is so however slow the machine."""

from __future__ import annotations

import pytest

from app.benchmarks.trace import run


def test_each_part_measures_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rounds in (("_ROUNDS", 200_000), ("_TRACED_ROUNDS", 20_000), ("_CALIBRATION", 20_000)):
        monkeypatch.setattr(f"app.benchmarks.trace.{name}", rounds)
    report = run(parts=("modes", "switches", "read", "write"), turns=1, seconds_each=0.2)
    found = {result.name: result for result in report.results}
    assert all(result.value is not None for result in report.results)
    for mode in ("off", "counters", "heat", "watch", "trace"):
        assert (found[f"work.{mode}"].value or 0) > 0
    assert {name: str(found[f"work.{name}"].bar) for name in ("off", "counters", "heat")} == {
        **{"off": "<= 1.03", "counters": "<= 1.08"},
        "heat": "<= 1.6",
    }
    assert (found["switch.max"].value or 0) >= (found["switch.median"].value or 0) > 0
    for name in ("read.guest", "read.two_cpus"):
        assert found[f"{name}.lost_or_repeated"].value == 0
        assert (found[f"{name}.records"].value or 0) > 100_000
    assert found["write.guest.lost"].value == 0
    assert "Measured on" in report.as_text()


def test_the_analysis_needs_no_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.benchmarks.trace._ANALYSED", 1)
    (result,) = run(parts=("analysis",)).results
    assert (result.name, result.unit, str(result.bar)) == ("analysis", "s", "<= 5")
    assert (result.value or 0) > 0
