"""The benchmark of the analysis measures something, of whatever many records."""

from app.benchmarks.trace_analysis import analysis_seconds


def test_it_takes_time() -> None:
    assert analysis_seconds(1) > 0
