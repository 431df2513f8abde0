"""Names beside volumes: where they stand, that none covers another, and that they keep their places."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.callout_layer import LONGEST_NAME
from render.callouts import MOST_CALLOUTS, Anchored, Callout, CalloutLayout, pooled
from render.camera import CameraState
from render.labels import Rect
from render.named_pages import NamedPages
from render.page_boxes import anchor_of_pages
from tests.render.conftest import MakeStore, MakeView

PICTURE = (1000.0, 600.0)
AROUND = (300.0, 100.0, 700.0, 500.0)
places = st.tuples(st.floats(-50, 1050), st.floats(-50, 650))


def named(*anchors: tuple[float, float], width: float = 90.0) -> list[Anchored]:
    return [Anchored(str(i), anchor, width, 22.0) for i, anchor in enumerate(anchors)]


def lay(names: list[Anchored], layout: CalloutLayout | None = None, **more: tuple[Rect, ...]) -> list[Callout]:
    return (layout or CalloutLayout()).lay(names, PICTURE, AROUND, margin=10.0, **more)


def meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@given(
    st.lists(st.tuples(places, st.floats(20, 300)), max_size=60),
    st.lists(places, min_size=2, max_size=2),
    st.floats(320, 1000),
)
def test_no_name_covers_another_or_leaves_the_picture(
    anchors: list[tuple[tuple[float, float], float]], corners: list[tuple[float, float]], width: float
) -> None:
    (ax, ay), (bx, by) = corners
    picture = (width, 600.0)
    around = min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)
    names = [Anchored(str(i), anchor, round(wide), 22.0) for i, (anchor, wide) in enumerate(anchors)]
    reserved = ((0.0, 0.0, 250.0, 200.0), (0.0, 450.0, 200.0, 600.0))
    found = CalloutLayout().lay(names, picture, around, margin=10.0, reserved=reserved)
    assert len(found) <= MOST_CALLOUTS
    for callout in found:
        left, top, right, bottom = callout.rect
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= PICTURE[1]
        assert not any(meet(callout.rect, card) for card in reserved)
        assert callout.anchor in [name.anchor for name in names]
    columns = {side: [c.rect for c in found if c.side == side] for side in ("left", "right")}
    for rects in columns.values():
        assert not any(meet(a, b) for a, b in itertools.combinations(rects, 2))
    assert not any(meet(a, b) for a, b in itertools.product(columns["left"], columns["right"]))


@given(st.lists(st.floats(-1e6, 1e6), max_size=12))
def test_pooling_is_the_nearest_rising_sequence(wanted: list[float]) -> None:
    """By the conditions that only the least-squares solution meets (Barlow and others, 1972)."""
    found = pooled(np.array(wanted))
    assert len(found) == len(wanted)
    assert (np.diff(found) >= -1e-9).all()
    rest = np.array(wanted) - found
    assert np.abs(rest.sum()) < 1e-3
    assert abs(float(rest @ found)) < 1e-3 * (1 + float(np.abs(found).max(initial=0)))
    assert (np.cumsum(rest) > -1e-3).all(), "no head of it would rather be lower"


def test_names_stand_beside_what_they_name() -> None:
    left, right = lay(named((350.0, 200.0), (650.0, 300.0)))
    assert [callout.side for callout in (left, right)] == ["left", "right"]
    assert [callout.rect for callout in (left, right)] == [(190, 189, 280, 211), (720, 289, 810, 311)]
    assert [callout.elbow for callout in (left, right)] == [(280, 200), (720, 300)]


def test_a_column_keeps_the_order_and_spreads_no_more_than_needed() -> None:
    found = lay(named((650, 300), (660, 302), (640, 298), (690, 450)))
    middles = {callout.key: (callout.rect[1] + callout.rect[3]) / 2 for callout in found}
    assert middles["2"] < middles["0"] < middles["1"] < middles["3"]
    assert middles["3"] == 450
    assert middles["0"] == pytest.approx(300, abs=1)
    assert middles["0"] - middles["2"] == pytest.approx(27, abs=1)


def test_those_that_matter_less_find_no_room() -> None:
    names = named(*[(600.0 + i, 100.0 + i) for i in range(30)])
    found = lay(names)
    assert len(found) == MOST_CALLOUTS
    assert {callout.key for callout in found} == {str(i) for i in range(MOST_CALLOUTS)}
    assert {callout.side for callout in found} == {"left", "right"}, "one side alone has not room for all"
    low = CalloutLayout().lay(names, (1000.0, 100.0), (300.0, 0.0, 700.0, 100.0), margin=10.0)
    assert {callout.key for callout in low} == {"0"} if len(low) == 1 else len(low) <= 4
    assert lay(named((-5.0, 100.0), (500.0, 601.0))) == [], "what is out of the picture has none"


def test_names_do_not_flicker_where_two_are_nearly_as_high() -> None:
    layout = CalloutLayout()
    first = lay(named((600, 300), (640, 303)), layout)
    for shake in (2, -2, 5, -6, 0):
        again = lay(named((600, 300 + shake), (640, 303 - shake)), layout)
        assert [callout.key for callout in again] == [callout.key for callout in first]
    swapped = lay(named((600, 330), (640, 300)), layout)
    assert [callout.key for callout in swapped] == ["1", "0"], "where it is clear they change places"
    assert lay([], layout) == []


def test_a_name_changes_sides_only_when_it_is_clear() -> None:
    layout = CalloutLayout()
    assert lay(named((520, 300)), layout)[0].side == "right"
    assert lay(named((480, 300)), layout)[0].side == "right", "a little beyond the middle"
    assert lay(named((460, 300)), layout)[0].side == "left"
    assert lay(named((490, 300)))[0].side == "left", "with no memory the middle decides"


@given(st.lists(st.tuples(st.floats(310, 690), st.floats(110, 490)), min_size=1, max_size=10), st.floats(-0.4, 0.4))
def test_a_small_movement_moves_names_little(anchors: list[tuple[float, float]], by: float) -> None:
    layout = CalloutLayout()
    before = {callout.key: callout.rect for callout in lay(named(*anchors), layout)}
    after = {callout.key: callout.rect for callout in lay(named(*[(x + by, y + by) for x, y in anchors]), layout)}
    assert before.keys() == after.keys()
    for key, rect in before.items():
        assert np.abs(np.subtract(after[key], rect)).max() <= 1 + 1e-9


# In a picture


def pages_at(store: BrickStore, *bricks: tuple[int, int, int]) -> NDArray[np.uint32]:
    """The pages of bricks."""
    all_bricks = store.bricks_of_pages(np.arange(store.n_pages, dtype=np.uint32)).tolist()
    return np.array([all_bricks.index(list(brick)) for brick in bricks], np.uint32)


def test_a_line_ends_in_the_middle_of_the_largest_box(make_store: MakeStore) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    cube = [(x, y, z) for x in (2, 3) for y in (2, 3) for z in (2, 3)]
    anchor = anchor_of_pages(store, pages_at(store, (0, 0, 0), *cube))
    assert (np.abs(anchor - 48) == 8).all(), "a brick of it, not the point between them"
    ring = [(x, y, 0) for x in range(3) for y in range(3) if (x, y) != (1, 1)]
    anchor = anchor_of_pages(store, pages_at(store, *ring))
    assert tuple((anchor // 16).astype(int)) in ring, "where nothing of it is no line ends"


def test_names_are_drawn_with_lines_and_leave_again(make_view: MakeView, make_store: MakeStore) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    view = make_view((480, 300))
    view.add_volume("m", store)
    red, green = pages_at(store, (0, 1, 1)), pages_at(store, (3, 1, 2))
    view.finish(0.0)
    before = view.screenshot()
    view.names.show([NamedPages("a", "m", red, "sshd (412)", "#ff2020"), NamedPages("b", "m", green, "b", "#20ff20")])
    view.finish(1.0)
    picture = view.screenshot().astype(int)
    placed = {callout.key: callout for callout in view.names.placed}
    assert placed.keys() == {"a", "b"}
    for key, pages, channel in (("a", red, 0), ("b", green, 1)):
        found = placed[key]
        low = 16.0 * store.bricks_of_pages(pages)[0] + 8
        assert found.anchor == pytest.approx(view.projection.pixel_of(low), abs=1e-6)
        x, y = round(found.anchor[0]), round(found.anchor[1])
        assert picture[y, x, channel] > 200, "the line's end"
        left, top, right, bottom = (round(side) for side in found.rect)
        plate = picture[top:bottom, left:right, :3]
        assert ((plate[..., channel] > 200) & (plate[..., 2] < 100)).sum() > 15, "the dot"
        assert (plate.min(axis=2) > 170).sum() > 3 * len("b"), "letters"
        line = picture[:, :, channel] - picture[:, :, 1 - channel] > 120
        between = slice(*sorted((x, round(found.elbow[0]))))
        assert line[:, between].any(axis=0).mean() > 0.95, "a line from end to end"
    assert view.draw(2.0) is False, "a picture that is done stays done"
    view.names.show([])
    view.finish(3.0)
    np.testing.assert_array_equal(view.screenshot(), before)
    assert view.names.placed == ()


def test_names_follow_their_volume_and_what_is_reserved(make_view: MakeView, make_store: MakeStore) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    view = make_view((480, 300))
    view.add_volume("m", store)
    pages = pages_at(store, (3, 3, 3))
    view.names.show(
        [NamedPages("a", "m", pages, "x" * 200, "#ff2020"), NamedPages("b", "other", pages, "b", "#20ff20")]
    )
    view.finish(0.0)
    (first,) = view.names.placed
    view.names.show([NamedPages("a", "m", pages, "short", "#ff2020")])
    view.finish(0.0)
    (short,) = view.names.placed
    assert first.rect[2] - first.rect[0] > short.rect[2] - short.rect[0]
    assert first.rect[2] - first.rect[0] < 12 * LONGEST_NAME, "a long name is cut"
    view.move_volume("m", (640.0, 0.0, 0.0))
    view.camera.fit()
    view.finish(1.0)
    assert view.names.placed[0].anchor == pytest.approx(view.projection.pixel_of(np.array([696.0, 56.0, 56.0])))
    left, _, _, bottom = view.names.placed[0].rect
    view.names.reserved = [(left, 0.0, 480.0, bottom + 10)]
    assert view.draw(2.0) is True
    assert view.names.placed[0].rect[1] > bottom
    view.names.reserved = list(view.names.reserved)
    assert view.draw(3.0) is False
    view.pixel_ratio = 2.0
    view.finish(4.0)
    grown = view.names.placed[0].rect
    assert grown[3] - grown[1] == 2 * (short.rect[3] - short.rect[1])
    view.camera.state = CameraState((696.0, 56.0, 56.0), 40, -52, 24)  # the eye is in the volume
    view.finish(5.0)
    assert view.names.placed[0].rect[2] <= 480
    view.camera.state = CameraState((696.0, 156.0, 56.0), 10, 90, 0)  # before the eye is nothing of it
    view.finish(6.0)
    view.remove_volume("m")
    view.finish(7.0)
    assert view.names.placed == ()
