"""What a stop is worth: thresholds from measured times, waits that grow, pages that are tried before they are kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pixelcpu.gdb_economy import LONGEST_CALL_S, NEVER, WORTH_A_LOOK, Economy, Site, Trials

MS = 1e-3


def used(
    economy: Economy, kernel_ns: float = 1.0, rounds: int = 1 << 20, call_ms: float = 0.5, times: int = 10
) -> None:
    for _ in range(times):
        economy.called(rounds, rounds * kernel_ns * 1e-9, rounds * kernel_ns * 1e-9 + call_ms * MS)


def test_a_call_pays_from_the_rounds_that_are_gained() -> None:
    economy = Economy()
    assert economy.least_rounds == WORTH_A_LOOK
    economy.measured(600_000, 3 * MS, ended=False)  # 5 ns a round
    used(economy)
    # 0.5 ms, half as much again, at 4 ns gained
    assert economy.least_rounds == pytest.approx(187_500, rel=0.01)
    assert economy.most_rounds == pytest.approx(LONGEST_CALL_S / 1e-9, rel=0.01)


def test_where_qemu_is_as_fast_no_call_pays() -> None:
    economy = Economy()
    economy.measured(3_000_000, 3 * MS, ended=False)
    used(economy)
    assert economy.least_rounds == NEVER


def test_first_calls_decide_nothing() -> None:
    economy = Economy()
    economy.measured(600_000, 3 * MS, ended=False)
    used(economy, kernel_ns=50.0, call_ms=20, times=3)
    assert economy.least_rounds == WORTH_A_LOOK
    used(economy)
    assert economy.least_rounds < 400_000
    assert economy.most_rounds > 1_000_000, "a slow first call is forgotten"


def test_qemu_is_measured_three_times_and_the_quickest_counts() -> None:
    economy = Economy()
    for rounds in (300_000, 600_000, 400_000):
        assert economy.wants_measurement
        economy.measured(rounds, 3 * MS, ended=False)
    assert not economy.wants_measurement
    assert economy.round_s == pytest.approx(5e-9)


def test_loops_that_end_too_soon_are_measured_by_that() -> None:
    economy = Economy()
    for _ in range(3):
        economy.measured(30_000, 3 * MS, ended=True)
    assert economy.guessed_s == pytest.approx(5e-8)
    assert economy.round_s == 0, "it is not told"
    used(economy)
    assert economy.least_rounds < 20_000
    assert not Economy(eager=True).wants_measurement


@given(st.floats(1e-10, 1e-6), st.floats(1e-10, 1e-6), st.floats(1e-5, 1e-1))
def test_thresholds_are_always_rounds(round_s: float, kernel_s: float, call_s: float) -> None:
    economy = Economy()
    economy.measured(1_000_000, round_s * 1_000_000, ended=False)
    used(economy, kernel_s * 1e9, call_ms=call_s / MS)
    assert 2 <= economy.least_rounds <= NEVER
    assert economy.most_rounds >= 2
    if economy.least_rounds < NEVER:
        assert economy.least_rounds * (round_s - kernel_s) > call_s * 0.9


def test_a_place_that_is_met_in_vain_is_left_for_longer_each_time() -> None:
    site, now, waits = Site(0x1000, 0, 1, 3), 100.0, []
    for _ in range(12):
        assert site.refused(now, soon=False)
        waits.append(site.due_s - now)
        now = site.due_s
    assert waits[0] == pytest.approx(0.01)
    assert all(later == pytest.approx(min(2 * before, 5.0)) for before, later in itertools.pairwise(waits))
    site.paid()
    site.refused(now, soon=False)
    assert site.due_s - now == pytest.approx(0.01)


def test_what_may_go_better_a_round_later_is_met_some_times() -> None:
    site = Site(0x1000, 0, 1, 3)
    assert [site.refused(1.0, soon=True) for _ in range(9)] == [False] * 7 + [True, False]


def tried(
    rate: Callable[[bool], float], seconds: float, trials: Trials, page: int = 7, now: float = 0.0
) -> list[float]:
    """Let time pass: `rate` says how many instructions a second are done with the page's breakpoints, and without.
    Returns, for each millisecond, whether they were there.
    """
    done, there = [0.0], []
    for _ in range(int(seconds * 1000)):
        trials.tick(now, {page}, lambda: int(done[0]))
        there.append(float(trials.allows(page)))
        done[0] += rate(trials.allows(page)) * MS
        now += MS
    return there


def test_a_page_that_pays_is_kept_and_tried_again_ever_more_seldom() -> None:
    there = tried(lambda on: 3e9 if on else 1e9, 20.0, Trials())
    assert sum(there[1000:]) / len(there[1000:]) > 0.85
    assert not any(there[:90]), "the first window is without"


def test_a_page_that_makes_the_guest_slow_is_left_alone() -> None:
    there = tried(lambda on: 0.2e9 if on else 1e9, 30.0, Trials())
    assert sum(there) / len(there) < 0.08
    assert any(there), "it was tried"


def _whole(done: list[float]) -> int:
    return int(done[0])


def test_a_page_that_pays_in_some_phases_alone_does_not_make_the_others_slow() -> None:
    """As a program that maps an array many times over, and then fills one whose pages are not there yet."""
    for seed in range(8):
        left, phase, now = [0.0], [True], 0.0
        done = [0.0]
        trials = Trials()
        work = {True: 1.4e9, False: 0.01e9}  # of instructions in each phase
        rates = {True: {True: 5e9, False: 0.7e9}, False: {True: 0.002e9, False: 0.7e9}}
        left[0] = work[True] * (1 + seed / 8)
        for _ in range(60_000):
            trials.tick(now, {7}, partial(_whole, done))
            on = trials.allows(7)
            step = min(rates[phase[0]][on] * MS, left[0])
            done[0] += step
            left[0] -= step
            if left[0] <= 0:
                phase[0] = not phase[0]
                left[0] = work[phase[0]]
            now += MS
        assert done[0] > 0.7 * 0.7e9 * 60, "little is lost"


def test_a_page_that_changes_nothing_is_not_kept() -> None:
    assert sum(tried(lambda _: 1e9, 10.0, Trials())) < 2000


def test_a_page_that_is_gone_while_it_is_tried_ends_its_trial() -> None:
    trials = Trials()
    tried(lambda _: 1e9, 0.25, trials)
    assert trials.tick(0.26, set(), lambda: 0)
    assert not trials.allows(7)
    assert trials.wakes_s() == float("inf")
    assert trials.tick(0.27, {8}, lambda: 0), "another one's turn"


def test_a_trial_that_was_disturbed_begins_anew() -> None:
    trials = Trials()
    tried(lambda on: 3e9 if on else 1e9, 0.55, trials)
    trials.begin_again()
    assert not trials.allows(7)
    there = tried(lambda on: 3e9 if on else 1e9, 0.5, trials, now=0.55)
    assert 0.3 < sum(there) / len(there) < 0.7, "windows without and with it, in turns"


def test_the_eager_try_nothing() -> None:
    assert all(tried(lambda _: 0.0, 0.1, Trials(eager=True)))
