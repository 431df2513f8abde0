"""Where slice planes lie, by arithmetic that can be followed with a pencil."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.cut import AXES, Plane, plane_range
from render.planes import AXES_SHOWN, crossing, extent, frame_of, moved_to, outline, plane_through

SHAPE = (512, 256, 128)
planes = st.one_of(
    st.builds(Plane, st.sampled_from(AXES[:3]), st.floats(0, 512)),
    st.builds(Plane, st.just("oblique"), st.floats(-300, 300), st.floats(-360, 360), st.floats(-90, 90)),
)


@given(planes, st.floats(-500, 500), st.floats(-500, 500))
def test_a_frame_is_right_angled_and_its_own_inverse(plane: Plane, u: float, v: float) -> None:
    frame = frame_of(plane, SHAPE)
    axes = np.stack([frame.right, frame.up, frame.normal])
    assert np.abs(axes @ axes.T - np.eye(3)).max() < 1e-9
    assert frame.shown(frame.point(u, v)) == pytest.approx((u, v), abs=1e-6)
    assert frame.height(frame.point(u, v)) == pytest.approx(0.0, abs=1e-6)
    assert np.abs(frame.normal - plane.normal).max() < 1e-9
    if plane.axis == "oblique":
        assert frame.up[2] >= -1e-9, "z is up in the picture too"


def test_planes_of_the_axes_have_the_volumes_own_coordinates() -> None:
    point = np.array([5.0, 6.0, 7.0])
    for axis, (across, up) in AXES_SHOWN.items():
        assert frame_of(Plane(axis, 3.0), SHAPE).shown(point) == (point[across], point[up])
        assert frame_of(Plane(axis, 3.7), SHAPE).origin["xyz".index(axis)] == 3.5, "the middle of the layer"


@given(planes)
def test_an_outline_lies_on_the_plane_in_the_volume_and_around_all_of_it(plane: Plane) -> None:
    corners = outline(plane, SHAPE)
    frame = frame_of(plane, SHAPE)
    if not len(corners):
        assert plane.axis == "oblique"
        assert abs(plane.position) >= plane_range(plane, SHAPE)[1] - 1e-6
        return
    for corner in corners:
        assert frame.height(corner) == pytest.approx(0.0, abs=1e-5)
        assert (corner >= -1e-5).all()
        assert (corner <= np.array(SHAPE) + 1e-5).all()
    # The area by corners equals the area by counting points of a grid on the plane that lie in the box.
    shown = np.array([frame.shown(corner) for corner in corners])
    area = 0.5 * abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in pairwise([*shown, shown[0]])))
    low, high = extent(plane, SHAPE)
    steps = 200
    middles = (np.arange(steps) + 0.5) / steps
    u, v = np.meshgrid(low[0] + middles * (high[0] - low[0]), low[1] + middles * (high[1] - low[1]))
    at = frame.origin + u[..., None] * frame.right + v[..., None] * frame.up
    share = ((at >= 0) & (at <= SHAPE)).all(axis=-1).mean()
    whole = (high[0] - low[0]) * (high[1] - low[1])
    assert area == pytest.approx(share * whole, abs=0.02 * whole + 1e-6)


def test_an_outline_ends_at_the_clip_box() -> None:
    clip = ((100.0, -5.0, 32.0), (700.0, 64.0, 64.0))
    corners = outline(Plane("x", 200.0), SHAPE, clip)
    assert corners.min(axis=0).tolist() == [200.5, 0.0, 32.0]
    assert corners.max(axis=0).tolist() == [200.5, 64.0, 64.0]
    assert len(corners) == 4
    assert len(outline(Plane("x", 50.0), SHAPE, clip)) == 0
    assert len(outline(Plane("x", 50.0), SHAPE, ((900.0, 0.0, 0.0), (950.0, 9.0, 9.0)))) == 0
    assert len(outline(Plane("oblique", 0.0, 45.0, 35.26), (64, 64, 64))) == 6, "a cube's corner view"


def test_crossings() -> None:
    a, b = crossing(Plane("z", 10.0), Plane("x", 100.0), SHAPE) or ((0, 0), (0, 0))
    assert sorted([a, b]) == [pytest.approx((100.5, 0.0)), pytest.approx((100.5, 256.0))]
    assert crossing(Plane("z", 10.0), Plane("z", 11.0), SHAPE) is None
    a, b = crossing(Plane("z", 63.0), Plane("oblique", 0.0, 90.0, 0.0), SHAPE) or ((0, 0), (0, 0))
    assert sorted([a, b]) == [pytest.approx((0.0, 128.0)), pytest.approx((512.0, 128.0))]
    assert crossing(Plane("x", 0.0), Plane("oblique", 250.0), SHAPE) is None, "beyond the volume's edge"


@given(planes, st.tuples(*(st.floats(0, side - 1) for side in SHAPE)))
def test_a_plane_moved_to_a_voxel_shows_it(plane: Plane, corner: tuple[float, ...]) -> None:
    voxel = np.floor(corner)
    moved = plane_through(plane, voxel + 0.5, SHAPE)
    assert (moved.azimuth_degrees, moved.elevation_degrees) == (plane.azimuth_degrees, plane.elevation_degrees)
    frame = frame_of(moved, SHAPE)
    assert frame.height(voxel + 0.5) == pytest.approx(0.0, abs=1e-6)
    u, v = frame.shown(voxel + 0.5)
    assert np.floor(frame.point(u, v) + 1e-9).tolist() == voxel.tolist()


@given(planes, st.floats(-1e6, 1e6))
def test_planes_stay_in_the_volume(plane: Plane, position: float) -> None:
    moved = moved_to(plane, position, SHAPE)
    low, high = plane_range(moved, SHAPE)
    assert low <= moved.position <= high
    if plane.axis != "oblique":
        assert moved.position == int(moved.position) < high


def test_nothing_of_a_plane_beside_the_volume() -> None:
    assert extent(Plane("oblique", 1000.0), SHAPE) == ((0.0, 0.0), (0.0, 0.0))
