"""The small models behind panels: log ring, toasts, undo history, frame times."""

import logging
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.frame_times import FrameTimes
from app.history import History
from app.log import LogRing, RingHandler
from app.toasts import FADE_S, MAX_SHOWN, ToastLevel, Toasts, Way


def test_log_is_bounded_filtered_and_numbered() -> None:
    ring = LogRing(capacity=3)
    for i in range(5):
        ring.add(logging.INFO if i % 2 else logging.ERROR, "demo", f"Line {i}")
    assert [e.text for e in ring.entries()] == ["Line 2", "Line 3", "Line 4"]
    assert [e.number for e in ring.entries()] == [2, 3, 4]
    assert [e.text for e in ring.entries(level=logging.WARNING)] == ["Line 2", "Line 4"]
    assert [e.text for e in ring.entries(needle="LINE 3")] == ["Line 3"]
    assert len(ring.entries(needle="demo")) == 3
    before = ring.version
    ring.clear()
    assert ring.entries() == []
    assert ring.version > before
    assert len(ring.add(logging.INFO, "x", "y").clock) == 12


@given(st.text(max_size=200))
def test_no_text_forges_a_line_or_an_escape(text: str) -> None:
    shown = LogRing().add(logging.INFO, "guest", text).text
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_long_text_is_cut_and_says_so() -> None:
    shown = LogRing().add(logging.INFO, "guest", "x" * 10_000).text
    assert len(shown) < 4_100
    assert "6,000 more characters" in shown


def test_log_takes_lines_from_many_threads() -> None:
    ring = LogRing(capacity=10_000)
    threads = [
        threading.Thread(target=lambda: [ring.add(logging.INFO, "t", "x") for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(e.number for e in ring.entries()) == list(range(2000))


def test_python_logging_arrives() -> None:
    ring = LogRing()
    logger = logging.getLogger("glassbox-test.part")
    handler = RingHandler(ring)
    logger.addHandler(handler)
    try:
        logger.warning("%d pages", 7)
        try:
            raise OSError("gone")
        except OSError:
            logger.exception("reading failed")
        handler.handle(logger.makeRecord(logger.name, logging.WARNING, "x.py", 1, "broken %d", ("format",), None))
        logger.debug("not kept")
    finally:
        logger.removeHandler(handler)
    texts = [e.text for e in ring.entries()]
    assert texts == ["7 pages", "reading failed: gone", "broken %d"]
    assert ring.entries()[0].source == "glassbox-test"


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_toasts_fade_leave_and_stay() -> None:
    clock = _Clock()
    toasts = Toasts(clock)
    info = toasts.add(ToastLevel.INFO, "Saved")
    error = toasts.add(ToastLevel.ERROR, "Failed", "why", Way("Retry", "machine.launch", {"guest": "demo"}))
    assert toasts.animating()
    assert info.opacity(clock.now) == 0
    assert info.opacity(clock.now + FADE_S) == 1
    assert info.opacity(clock.now + 5.0 - FADE_S / 2) == pytest.approx(0.5)
    clock.now += 1
    assert not toasts.animating()
    assert toasts.next_change_s() == pytest.approx(5 - FADE_S - 1)
    toasts.keep(info.number)
    clock.now += 4.5
    assert [t.title for t in toasts.shown()] == ["Saved", "Failed"]
    clock.now += 1000
    assert [t.title for t in toasts.shown()] == ["Failed"]
    assert toasts.next_change_s() == float("inf")
    toasts.dismiss(error.number)
    assert toasts.shown() == []


def test_the_same_toast_counts_up_and_many_wait() -> None:
    toasts = Toasts(_Clock())
    for _ in range(3):
        toasts.add(ToastLevel.ERROR, "Same")
    assert [t.count for t in toasts.shown()] == [3]
    for i in range(10):
        toasts.add(ToastLevel.ERROR, f"Other {i}")
    assert len(toasts.shown()) == MAX_SHOWN
    assert toasts.hidden_count() == 11 - MAX_SHOWN
    assert toasts.shown()[-1].title == "Other 9"
    toasts.dismiss()
    assert toasts.shown() == []


def test_undo_goes_back_and_forth() -> None:
    history: History[int] = History()
    assert history.undo(0) is None
    history.record(1)
    history.record(2)
    history.record(2)
    assert history.can_undo
    assert history.undo(3) == 2
    assert history.undo(2) == 1
    assert history.undo(1) is None
    assert history.redo(1) == 2
    assert history.redo(2) == 3
    assert not history.can_redo
    history.undo(3)
    history.record(2)
    assert history.redo(9) is None


@given(st.lists(st.integers(0, 5), max_size=30))
def test_undoing_everything_visits_every_change_backwards(states: list[int]) -> None:
    history: History[int] = History()
    now = 0
    visited = [0]
    for state in states:
        if state != now:
            history.record(now)
            now = state
            visited.append(state)
    walked = [now]
    while (back := history.undo(now)) is not None:
        now = back
        walked.append(now)
    assert walked == visited[::-1]
    while (forward := history.redo(now)) is not None:
        now = forward
    assert now == visited[-1]


@given(st.lists(st.tuples(st.floats(0.001, 0.2), st.floats(0.0001, 0.1)), min_size=2, max_size=60))
def test_frame_percentiles_are_numpys(frames: list[tuple[float, float]]) -> None:
    times = FrameTimes(capacity=32)
    begins, at = [], 0.0
    for gap, work in frames:
        at += gap
        begins.append(at)
        times.record(at, at + work, animating=True)
    stats = times.stats()
    gaps = np.diff(begins)[-32:]
    works = np.array([w for _, w in frames])[-32:]
    assert stats.frames == len(frames)
    assert stats.interval_p50_s == pytest.approx(np.percentile(gaps, 50))
    assert stats.interval_p99_s == pytest.approx(np.percentile(gaps, 99))
    assert stats.work_p99_s == pytest.approx(np.percentile(works, 99))
    assert stats.fps == pytest.approx(1 / np.percentile(gaps, 50))
    assert times.recent_work(5) == pytest.approx(list(works[-5:]))


def test_rest_is_no_slow_frame() -> None:
    times = FrameTimes()
    assert times.stats().fps == 0
    times.record(0.0, 0.01, animating=False)
    times.record(0.1, 0.11, animating=False)
    times.record(5.0, 5.01, animating=False)
    assert times.stats().interval_p99_s == pytest.approx(0.1)
    times.record(6.0, 6.01, animating=True)  # was due at once: this second was a stall
    assert times.stats().interval_p99_s > 0.9
    times.reset()
    assert times.stats().frames == 0
    assert times.recent_work(3) == []
