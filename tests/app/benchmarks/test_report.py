"""The report: what is measured stands beside its bar, in a form that programs and people can read."""

import json
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.benchmarks.report import Report, Result, at_least, at_most, describe_environment

RESULTS = (
    Result("speed", 1234.5678, "MB/s", at_least(0.8)),
    Result("delay", 0.01234, "s", at_most(0.01)),
    Result("ratio", 123.4, "ratio"),
)


def test_the_form_of_the_json_is_the_agreed_one() -> None:
    document: dict[str, Any] = json.loads(json.dumps(Report("memory", RESULTS, {"cpu": "x"}, ("a note",)).as_json()))
    assert document == {
        "bench": "memory",
        "environment": {"cpu": "x", "notes": ["a note"]},
        "results": [
            {"name": "speed", "value": 1234.5678, "unit": "MB/s", "bar": ">= 0.8", "ok": True},
            {"name": "delay", "value": 0.01234, "unit": "s", "bar": "<= 0.01", "ok": False},
            {"name": "ratio", "value": 123.4, "unit": "ratio", "bar": None, "ok": None},
        ],
    }


def test_the_table_is_aligned_and_marks_what_was_missed() -> None:
    lines = Report("memory", RESULTS, {"cpu": "x", "cores": 2}, ("a note",)).as_text().splitlines()
    assert lines[0].split() == ["bench", "memory", "value", "unit", "bar"]
    assert lines[1].split() == ["speed", "1,235", "MB/s", ">=", "0.8", "ok"]
    assert lines[2].split() == ["delay", "0.0123", "s", "<=", "0.01", "missed"]
    assert lines[3].split() == ["ratio", "123", "ratio"]
    assert lines[1].index("MB/s") == lines[2].index("s  ")
    assert lines[-2:] == ["Measured on: cpu x, cores 2.", "a note"]


@given(st.floats(allow_nan=True), st.floats(allow_nan=False))
def test_bars_are_met_on_their_right_side(value: float, limit: float) -> None:
    if math.isnan(value):
        assert not at_least(limit).is_met(value)
        assert not at_most(limit).is_met(value)
    else:
        assert at_least(limit).is_met(value) == (value >= limit)
        assert at_most(limit).is_met(value) == (value <= limit)


def test_the_environment_names_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Report("x", ()).environment
    assert environment["cores"] == len(os.sched_getaffinity(0))
    assert environment["cpu"]
    assert environment["kernel"] == os.uname().release
    assert {"numpy", "numba", "python", "memory", "load"} <= set(environment)
    json.dumps(environment)
    # Other processors have no such line.
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, **options: "processor : 0\n")
    assert describe_environment()["cpu"] == os.uname().machine
