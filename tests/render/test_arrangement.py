"""Where volumes stand and where their names do: nothing touches, nothing is lost, and nothing covers anything."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from render.arrangement import SNAP, Shape, arrange, box_at, fits, free_place, overlap, snapped
from render.labels import Named, place_labels

sides = st.sampled_from([16, 32, 64, 128, 256, 512, 1024])
shapes = st.tuples(sides, sides, sides)


@given(st.lists(shapes, min_size=1, max_size=12))
def test_no_two_volumes_touch_and_all_stand_on_the_grid(found: list[Shape]) -> None:
    named = {f"m{i}": shape for i, shape in enumerate(found)}
    places = arrange(named)
    assert list(places) == list(named)
    boxes = [box_at(places[key], named[key]) for key in named]
    for a, b in itertools.combinations(boxes, 2):
        assert not overlap(a, b, SNAP)
        small = min(max(high - low for low, high in zip(*box, strict=True)) for box in (a, b))
        assert not overlap(a, b, small / 2), "half the smaller one's side is between them"
    for x, y, z in places.values():
        assert z == 0
        assert (x, y) == (round(x), round(y))


@given(sides, sides, st.integers(1, 16))
def test_equal_volumes_make_a_grid_about_as_wide_as_deep(side: int, height: int, count: int) -> None:
    shape = side, side, height
    places = arrange({str(i): shape for i in range(count)})
    cell = shape[0] + math.ceil(max(shape) / 2 / SNAP) * SNAP + SNAP
    rows = math.ceil(math.sqrt(count))
    for axis in (0, 1):
        along = [place[axis] for place in places.values()]
        assert max(along) - min(along) + shape[axis] <= rows * cell


def test_the_largest_stands_at_the_back_and_small_ones_before_or_beside_it() -> None:
    places = arrange({"small": (128, 128, 64), "big": (1024, 1024, 1024), "other": (256, 256, 128)})
    assert not any(places["big"])
    for key in ("small", "other"):
        x, y, _ = places[key]
        assert x >= 1024 or y < 0, "where one looks from at first, it is not behind the big one"
    world = 1024 + 256 + 256
    assert all(-world < x < world and -world < y < world for x, y, _ in places.values())


@given(shapes, st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40), shapes), max_size=6))
def test_a_new_volume_finds_room_among_any_others(shape: Shape, stand: list[tuple[int, int, Shape]]) -> None:
    others = [box_at((x * SNAP, y * SNAP, 0), other) for x, y, other in stand]
    place = free_place(shape, others)
    assert fits(box_at(place, shape), others)
    assert place[2] == 0


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 3))
def test_snapping_goes_to_the_nearest_place(origin: tuple[float, float, float]) -> None:
    place = snapped(origin)
    for value, snap in zip(origin, place, strict=True):
        assert snap % SNAP == 0
        assert abs(value - snap) <= SNAP / 2


def test_room_is_asked_for_along_every_axis() -> None:
    one = box_at((0, 0, 0), (64, 64, 64))
    assert fits(box_at((64 + SNAP - 1, 0, 0), (64, 64, 64)), [one]) is False
    assert fits(box_at((64 + SNAP, 0, 0), (64, 64, 64)), [one])
    assert fits(box_at((0, 0, 64 + SNAP), (64, 64, 64)), [one]), "one may stand above another"


# Names

PICTURE = (1280.0, 720.0)


def rect(place: tuple[float, float], volume: Named) -> tuple[float, float, float, float]:
    x, y = place
    return x - volume.width / 2, y - volume.height / 2, x + volume.width / 2, y + volume.height / 2


@st.composite
def outlines(draw: st.DrawFn) -> Named:
    left, top = draw(st.floats(0, 1200)), draw(st.floats(0, 700))
    width, height = draw(st.floats(1, 600)), draw(st.floats(1, 500))
    return Named((left, top, left + width, top + height), left + width / 2, draw(st.floats(20, 120)), 16.0)


@given(st.lists(outlines(), min_size=1, max_size=6))
def test_names_never_cover_each_other_and_stay_in_the_picture(volumes: list[Named]) -> None:
    places = place_labels(volumes, PICTURE)
    rects = [rect(place, volume) for place, volume in zip(places, volumes, strict=True) if place is not None]
    assert len(rects) == len(volumes)
    for left, top, right, bottom in rects:
        assert -1e-6 <= left < right <= PICTURE[0] + 1e-6
        assert -1e-6 <= top < bottom <= PICTURE[1] + 1e-6
    for a, b in itertools.combinations(rects, 2):
        assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_lone_name_stands_above_its_volume() -> None:
    volume = Named((400, 300, 600, 500), 480, 60, 16)
    (place,) = place_labels([volume], PICTURE)
    assert place is not None
    assert place[0] == 480
    assert 280 < place[1] < 292, "its lower edge clears the outline"


def test_of_two_at_one_place_the_farther_is_named_below() -> None:
    volume = Named((400, 300, 600, 500), 500, 60, 16)
    near, far = place_labels([volume, volume], PICTURE)
    assert near is not None
    assert far is not None
    assert near[1] < 300
    assert far[1] > 500


def test_what_is_out_of_the_picture_is_not_named() -> None:
    for outline in ((-300, 100, -10, 300), (1300, 100, 1400, 300), (100, -90, 200, -1), (100, 730, 200, 800)):
        assert place_labels([Named((*map(float, outline),), 0.0, 50, 16)], PICTURE) == [None]  # type: ignore[arg-type]


def test_so_many_that_there_is_no_room_still_have_places() -> None:
    crowd = [Named((0.0, 0.0, 40.0, 20.0), 20.0, 40.0, 16.0)] * 30
    assert all(place is not None for place in place_labels(crowd, (40.0, 60.0)))
