"""Points of the world and pixels of a picture are two ways of saying one thing, for every camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.camera import CameraState, OrbitCamera
from render.projection import Projection, corners_of, entry_into

SIZE = (640, 360)
BOX = ((10.0, -20.0, 5.0), (74.0, 44.0, 37.0))


def seen_from(azimuth: float, elevation: float, distance: float) -> Projection:
    camera = OrbitCamera(SIZE[0] / SIZE[1])
    camera.state = CameraState(
        target=(40.0, 10.0, 20.0), azimuth_degrees=azimuth, elevation_degrees=elevation, distance=distance
    )
    return Projection.of(camera, SIZE)


@given(
    azimuth=st.floats(-180, 180),
    elevation=st.floats(-89, 89),
    distance=st.floats(1, 5000),
    x=st.floats(0, SIZE[0]),
    y=st.floats(0, SIZE[1]),
    depth=st.floats(0.1, 5000),
)
def test_a_point_is_seen_where_its_ray_begins(
    azimuth: float, elevation: float, distance: float, x: float, y: float, depth: float
) -> None:
    projection = seen_from(azimuth, elevation, distance)
    point = np.array(projection.point_at(x, y, depth))
    assert projection.pixel_of(point) == pytest.approx((x, y), abs=1e-3)
    found = projection.pixels_of(point[None])
    assert found is not None
    assert found[1][0] == pytest.approx(depth, rel=1e-6, abs=1e-6)


def test_what_is_behind_the_eye_is_not_seen() -> None:
    projection = seen_from(30, 20, 100)
    behind = projection.basis.position - 5 * projection.basis.forward
    before = projection.basis.position + 5 * projection.basis.forward
    assert projection.pixel_of(behind) is None
    assert projection.pixel_of(before) == pytest.approx((SIZE[0] / 2, SIZE[1] / 2))
    assert projection.pixels_of(np.stack([before, behind])) is None, "all or nothing"


def test_a_box_has_eight_corners() -> None:
    corners = {tuple(corner) for corner in corners_of(BOX).tolist()}
    assert len(corners) == 8
    assert all(corner[axis] in (BOX[0][axis], BOX[1][axis]) for corner in corners for axis in range(3))


@given(
    st.tuples(*[st.floats(-150, 150)] * 3), st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: max(map(abs, d)) > 0.1)
)
def test_a_ray_enters_a_box_where_it_first_is_in_it(
    start: tuple[float, float, float], way: tuple[float, float, float]
) -> None:
    """Held against the plain meaning: points along the ray, far enough and near enough together."""
    position, direction = np.array(start), np.array(way)
    along = np.linspace(0, 500, 5001)
    points = position + along[:, None] * direction
    within = ((points >= np.array(BOX[0])) & (points <= np.array(BOX[1]))).all(axis=1)
    entry = entry_into(BOX, position, direction)
    if within.any():
        assert entry is not None
        first = along[int(within.argmax())]
        assert first - 0.1 - 1e-6 <= entry <= first + 1e-6
    elif entry is not None:  # it may cut off a corner between two of the points
        grazed = position + entry * direction
        assert (grazed >= np.array(BOX[0]) - 1e-6).all()
        assert (grazed <= np.array(BOX[1]) + 1e-6).all()
