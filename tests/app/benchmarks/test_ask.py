"""The way from Enter to the answer, measured in a real window on a real guest, in small."""

from __future__ import annotations

from app.benchmarks.ask_window import window_results


def test_the_parts_of_the_way_make_up_the_whole() -> None:
    results, notes = window_results({"heap": "heap of dropbear"}, 2, times=1)
    values = {result.name.removeprefix("window_heap_"): result.value or 0.0 for result in results}
    assert 0 < values["answering_p50"] <= values["job_p50"] <= values["enter_to_shown_p50"]
    assert 0 < values["beside_frames_p50"] < values["enter_to_shown_p50"]
    assert {str(result.bar) for result in results if result.bar is not None} == {"<= 100"}
    assert "1280x720" in notes[0]
