"""The benchmark of traces: every figure is there, and what must be so is so however slow the machine."""

from __future__ import annotations

import numpy as np
import pytest

from app.benchmarks.trace import _in_order, run
from app.failures import CommandFailed
from bridge.trace.layout import layout
from bridge.trace.plugin_file import PluginChoice


def test_each_part_measures_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rounds in (("_ROUNDS", 200_000), ("_TRACED_ROUNDS", 20_000), ("_CALIBRATION", 20_000)):
        monkeypatch.setattr(f"app.benchmarks.trace.{name}", rounds)
    report = run(parts=("modes", "switches", "read", "write"), turns=1, seconds_each=0.2)
    found = {result.name: result for result in report.results}
    assert all(result.value is not None for result in report.results)
    for mode in ("off", "counters", "time", "heat", "watch", "trace"):
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


def test_a_boot_is_measured_in_each_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.benchmarks.trace._BOOTED", "boot-sector")
    monkeypatch.setattr("app.benchmarks.trace._BOOTS", 1)
    report = run(parts=("boot",))
    found = {result.name: result for result in report.results}
    assert list(found) == ["boot.none", "boot.off", "boot.counters", "boot.time", "boot.heat"]
    assert all((result.value or 0) > 0 for result in found.values())
    assert {name: str(found[f"boot.{name}"].bar) for name in ("off", "counters", "heat")} == {
        **{"off": "<= 1.03", "counters": "<= 1.08"},
        "heat": "<= 1.6",
    }


def test_a_guest_that_is_not_up_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.benchmarks.trace._BOOTED", "boot-sector")
    monkeypatch.setattr("app.benchmarks.trace._BOOT_LIMIT_S", 0.0)
    with pytest.raises(CommandFailed, match="not up after 0 s"):
        run(parts=("boot",))


def test_a_billion_records_are_as_many_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.benchmarks.trace._BILLION", 1_000_000)
    monkeypatch.setattr("app.benchmarks.trace._CALIBRATION", 5_000)
    found = {result.name: result for result in run(parts=("billion",)).results}
    assert found["read.billion.lost_or_repeated"].value == 0
    assert (found["read.billion.records"].value or 0) == pytest.approx(1_000_000, rel=0.1)


def test_without_the_plugin_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "The plugin is not built."
    monkeypatch.setattr("bridge.machine.launching.plugin_for", lambda _qemu: PluginChoice(None, why))
    report = run(parts=("modes",))
    assert {(result.value, result.why) for result in report.results} == {(None, why)}
    assert why in report.notes


def test_records_that_are_not_the_next_ones_are_found() -> None:
    records = np.zeros(8, layout()["record"])
    records["sequence"] = np.arange(3, 11)
    assert _in_order(records, 3) == 0
    records["sequence"][5] = 7  # repeated
    assert _in_order(records, 3) == 1
    assert _in_order(records, 4) == 8
