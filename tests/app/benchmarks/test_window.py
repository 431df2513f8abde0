"""The window benchmark, in small: a real window with a real guest gives figures that can be believed."""

import pytest

from app.benchmarks import window
from app.benchmarks.report import Report
from app.failures import CommandFailed


@pytest.fixture(scope="module")
def report() -> Report:
    return window.run(seconds_each=1.5, guest="boot-sector")


def test_frames_and_the_start_are_counted(report: Report) -> None:
    values = {result.name: result.value for result in report.results}
    assert all(value is not None and value > 0 for value in values.values())
    assert (values["turning_frame_work_p50"] or 0) <= (values["turning_frame_work_p99"] or 0)
    assert 100 < (values["window_answers"] or 0) < 60_000
    assert any("Drawn on" in note for note in report.notes)


def test_an_idle_window_rests_and_is_held_against_the_issues_bar(report: Report) -> None:
    results = {result.name: result for result in report.results}
    assert str(results["idle_core_percent"].bar) == "<= 5"
    frames = results["idle_frames"].value
    assert frames is not None
    assert frames <= 10, "a window over a paused guest that nobody touches draws next to nothing"


def test_a_guest_that_there_is_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "START_LIMIT_S", 4.0)
    with pytest.raises(CommandFailed, match=r"no guest was up|window ended"):
        window.run(seconds_each=0.1, guest="no-such-guest")
