"""The treemap: rectangles that fill an area by amounts, without a gap or an overlap, as square as they can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.widgets.treemap import Rect, squarify

AMOUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=60).map(lambda one: sorted(one, reverse=True))
AREA = st.builds(Rect, st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 900), st.floats(1, 900))


@given(amounts=AMOUNTS, area=AREA)
def test_areas_are_amounts_and_nothing_overlaps(amounts: list[int], area: Rect) -> None:
    rects = squarify(amounts, area)
    assert len(rects) == len(amounts)
    whole = area.width * area.height
    for amount, rect in zip(amounts, rects, strict=True):
        assert rect.width * rect.height == pytest.approx(whole * amount / sum(amounts), rel=1e-6, abs=1e-9 * whole)
        assert rect.x >= area.x - 1e-6 * area.width
        assert rect.y >= area.y - 1e-6 * area.height
        assert rect.x + rect.width <= area.x + area.width * (1 + 1e-6)
        assert rect.y + rect.height <= area.y + area.height * (1 + 1e-6)
    for i, a in enumerate(rects):
        for b in rects[i + 1 :]:
            across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            assert across <= 1e-6 * area.width or down <= 1e-6 * area.height


def test_the_papers_example() -> None:
    """Figure 4 of Bruls, Huizing and van Wijk: 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4."""
    rects = squarify([6, 6, 4, 3, 2, 2, 1], Rect(0, 0, 6, 4))
    sides = [(round(r.width, 3), round(r.height, 3)) for r in rects]
    assert sides[0] == sides[1] == (3.0, 2.0)
    assert sides[2] == (1.714, 2.333)
    assert sides[3] == (1.286, 2.333)
    assert (rects[0].x, rects[0].y, rects[1].x, rects[1].y) == (0, 0, 0, 2)


def test_equal_amounts_in_a_square_are_squares() -> None:
    rects = squarify([1] * 4, Rect(0, 0, 10, 10))
    assert all((r.width, r.height) == (5, 5) for r in rects)


@pytest.mark.parametrize(
    ("amounts", "area"), [([0, 0], Rect(0, 0, 5, 5)), ([3, 1], Rect(2, 3, 0, 5)), ([], Rect(0, 0, 1, 1))]
)
def test_nothing_to_divide_is_nothing(amounts: list[int], area: Rect) -> None:
    assert squarify(amounts, area) == [Rect(area.x, area.y, 0.0, 0.0)] * len(amounts)


def test_a_rectangle_holds_its_inside_and_shrinks_to_nothing() -> None:
    rect = Rect(1, 2, 10, 6)
    assert rect.holds(1, 2)
    assert not rect.holds(11, 3)
    assert not rect.holds(3, 8)
    assert rect.inset(1, 2) == Rect(2, 5, 8, 2)
    assert rect.inset(20) == Rect(21, 22, 0, 0)
