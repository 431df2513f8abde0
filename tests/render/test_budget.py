"""The budget: resolutions that fit a frame, quick to give way and slow to come back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.budget import Budget
from tests.render.conftest import MakeView

FRAME_S, PIXELS = 0.033, 1280 * 720


@given(st.floats(1e-10, 1e-3), st.floats(0.0, 0.1))
def test_what_is_planned_fits_or_is_as_small_as_it_gets(pixel_s: float, compose_s: float) -> None:
    budget = Budget(FRAME_S, 0.02, 6, compose_s=compose_s, quick_pixel_s=pixel_s)
    scale = budget.scale_for(PIXELS)
    assert 0.12 <= scale <= 1.0
    planned = compose_s + scale**2 * PIXELS * pixel_s
    assert planned <= FRAME_S * 1.001 or scale == 0.12 or compose_s > 0.6 * FRAME_S
    if scale < 1:
        assert planned >= 0.2 * FRAME_S


def test_a_dear_frame_is_believed_at_once_and_a_cheap_one_slowly() -> None:
    budget = Budget(FRAME_S, 0.02, 6)
    for _ in range(200):
        budget.learn_quick(1000, 1000 * 4e-8)
    before = budget.scale_for(PIXELS)
    budget.learn_quick(1000, 1000 * 2e-7)
    dear = budget.scale_for(PIXELS)
    assert dear < 0.8 * before
    budget.learn_quick(1000, 1000 * 4e-8)
    assert dear < budget.scale_for(PIXELS) < dear + 0.3 * (before - dear)


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=50))
def test_what_is_learned_stays_between_what_was_seen(times: list[float]) -> None:
    budget = Budget(FRAME_S, 0.02, 6)
    seen = [budget.compose_s]
    for took_s in times:
        budget.learn_compose(took_s)
        seen.append(took_s)
        assert min(seen) <= budget.compose_s <= max(seen)
        budget.learn_sharp(0, took_s)
        assert math.isfinite(budget.pixel_s)


def test_another_look_begins_carefully() -> None:
    budget = Budget(FRAME_S, 0.02, 6, pixel_s=5e-7, quick_pixel_s=1e-8)
    budget.forget()
    assert budget.quick_pixel_s == 5e-7


def test_the_views_budget_can_be_set(make_view: MakeView) -> None:
    view = make_view()
    still_s = view.budget.still_s
    frame_s = view.frame_budget_s
    view.frame_budget_s = 2 * frame_s
    assert view.frame_budget_s == view.budget.frame_s == 2 * frame_s
    assert view.budget.still_s == pytest.approx(2 * still_s)
    assert view.scale == 1.0
    for wrong in (0.0, -1.0, float("nan"), 100.0):
        with pytest.raises(ValueError, match="makes no sense"):
            view.frame_budget_s = wrong
