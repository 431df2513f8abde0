"""The benchmark of the store, in small: its figures are of a real guest, and of what was really written."""

from __future__ import annotations

import pytest

from app.benchmarks.store import run


def test_what_writing_costs_is_measured_with_and_without(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
    results = {result.name: result for result in run(n_tasks=20, seconds_each=3.0).results}
    values = {name: result.value or 0.0 for name, result in results.items()}
    for label in ("128mib", "128mib_20_tasks"):
        assert str(results[f"censuses_{label}"].bar) == ">= 1"
        assert values[f"censuses_{label}"] > 0
        assert values[f"written_{label}"] > 0, "the guest works, so something changes"
        assert values[f"worker_{label}_with_store"] > 0
        assert 0 < values[f"examples_{label}_slowest"] < values[f"examples_{label}_all_12"]
        assert values[f"database_{label}"] > 0.1, "its symbols alone are more"
