"""The camera: where it goes, what it keeps in place, and that no input can throw it out of the world."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.camera import AXIS_VIEWS, FLIGHT_S, NEAREST, Box, CameraState, OrbitCamera, basis_of

WORLD = ((0.0, 0.0, 0.0), (512.0, 512.0, 256.0))


def camera() -> OrbitCamera:
    made = OrbitCamera(1.6)
    made.set_world(WORLD)
    made.fit()
    return made


def on_screen(camera: OrbitCamera, point: tuple[float, float, float]) -> tuple[float, float]:
    """Where a world point is in the picture, -1..1."""
    basis, (half_width, half_height) = camera.basis, camera.half_extent()
    seen = np.array(point) - basis.position
    depth = seen @ basis.forward
    return float(seen @ basis.right / depth / half_width), float(seen @ basis.up / depth / half_height)


# Functions, because a type checker believes that a property which was true once stays true.
def is_flying(camera: OrbitCamera) -> bool:
    return camera.flying


def is_moving(camera: OrbitCamera) -> bool:
    return camera.moving


def target_of(camera: OrbitCamera) -> tuple[float, ...]:
    return camera.state.target


def opening_of(camera: OrbitCamera) -> Box | None:
    return camera.state.opening


angles = st.floats(-720, 720)


@given(angles, st.floats(-90, 90))
def test_basis_is_orthonormal_everywhere(azimuth: float, elevation: float) -> None:
    basis = basis_of(CameraState((1, 2, 3), 10, azimuth, elevation))
    frame = np.stack([basis.right, basis.up, -basis.forward])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1.0)
    np.testing.assert_allclose(basis.position + 10 * basis.forward, [1, 2, 3], atol=1e-12)
    assert basis.up[2] >= -1e-12, "never upside down"


@given(angles, st.floats(-90, 90), st.floats(0.3, 4))
def test_fit_shows_every_corner(azimuth: float, elevation: float, aspect: float) -> None:
    made = OrbitCamera(aspect)
    made.set_world(WORLD)
    made.state = replace(made.state, azimuth_degrees=azimuth, elevation_degrees=elevation)
    made.fit()
    places = [on_screen(made, (x, y, z)) for x in (0, 512) for y in (0, 512) for z in (0, 256)]
    reach = max(max(abs(x), abs(y)) for x, y in places)
    assert 0.85 < reach < 1.0, "all of it, and nearly touching an edge"


@pytest.mark.parametrize("axis", AXIS_VIEWS)
def test_axis_views_look_along_their_axis(axis: str) -> None:
    made = camera()
    made.axis_view(axis)
    outward = -made.basis.forward
    assert outward["xyz".index(axis[1])] == pytest.approx(1.0 if axis[0] == "+" else -1.0)


def test_another_axis_is_refused() -> None:
    with pytest.raises(KeyError):
        camera().axis_view("up")


@given(st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), max_size=20))
def test_orbit_keeps_target_and_distance(turns: list[tuple[float, float]]) -> None:
    made = camera()
    target, distance = made.state.target, made.state.distance
    for right, up in turns:
        made.orbit(right, up)
    assert (made.state.target, made.state.distance) == (target, distance)
    assert -90 <= made.state.elevation_degrees <= 90
    assert -180 <= made.state.azimuth_degrees < 180


def test_pan_moves_content_with_the_pointer() -> None:
    made = camera()
    point = made.state.target
    made.pan(0.1, -0.05)
    x, y = on_screen(made, point)
    assert x == pytest.approx(0.2 / made.aspect)
    assert y == pytest.approx(-0.1)


@given(
    st.floats(1.01, 3.0),
    st.tuples(st.floats(200, 300), st.floats(200, 300), st.floats(100, 150)),
    st.integers(1, 40),
)
def test_zoom_keeps_the_point_under_the_cursor(factor: float, point: tuple[float, float, float], steps: int) -> None:
    made = camera()
    before = on_screen(made, point)
    for _ in range(steps):
        if made.state.distance / factor < 2 * NEAREST:
            break
        made.zoom(factor, point)
        np.testing.assert_allclose(on_screen(made, point), before, atol=1e-6)


def test_zoom_reaches_one_voxel_and_stays_in_bounds() -> None:
    made = camera()
    point = (100.5, 80.5, 60.5)
    for _ in range(200):
        made.zoom(1.2, point)
    assert made.state.distance == pytest.approx(NEAREST)
    voxel_share = 1 / (2 * made.half_extent()[1] * made.state.distance)
    assert voxel_share > 0.5, "one voxel fills more than half of the picture's height"
    assert math.dist(made.state.target, point) < 2 * NEAREST
    for _ in range(200):
        made.zoom(0.5)
    assert made.state.distance < 10_000
    for _ in range(200):
        made.pan(10, 10)
    assert max(map(abs, made.state.target)) <= 1024


def test_flight_eases_and_arrives() -> None:
    made = camera()
    start = made.state
    box = ((16.0, 16.0, 16.0), (32.0, 32.0, 32.0))
    made.fly_to(box, now_s=10.0)
    assert is_flying(made)
    assert made.state == start
    distances = []
    for share in (0.25, 0.5, 0.75):
        assert made.update(10.0 + share * FLIGHT_S)
        distances.append(made.state.distance)
    assert start.distance > distances[0] > distances[1] > distances[2]
    assert made.update(10.0 + FLIGHT_S)
    assert not is_flying(made)
    assert target_of(made) == (24, 24, 24)
    assert opening_of(made) == box
    assert not made.update(11.0), "arrived: nothing moves by itself"
    low, high = on_screen(made, box[0]), on_screen(made, box[1])
    assert all(abs(value) < 1 for value in (*low, *high))


def test_flight_takes_the_short_way_round_and_keeps_the_target_in_view() -> None:
    made = camera()
    made.state = replace(made.state, azimuth_degrees=170)
    made.axis_view("-x", now_s=0.0)
    made.update(FLIGHT_S / 2)
    assert 170 < made.state.azimuth_degrees < 180
    made.axis_view("+y", now_s=FLIGHT_S / 2)
    made.fly_to(((100.0, 100.0, 100.0), (101.0, 101.0, 101.0)), now_s=FLIGHT_S)
    for i in range(1, 10):
        made.update(FLIGHT_S + FLIGHT_S * i / 9)
        x, y = on_screen(made, (100.5, 100.5, 100.5))
        assert max(abs(x), abs(y)) < 1.0


def test_skipping_a_flight_arrives_at_once() -> None:
    made = camera()
    made.fly_to(((16.0, 16.0, 16.0), (32.0, 32.0, 32.0)), now_s=0.0)
    made.skip()
    assert target_of(made) == (24, 24, 24)
    made.fit(now_s=1.0)
    made.orbit(5, 0)  # a hand on the mouse ends a flight where it was going
    assert not is_flying(made)
    assert target_of(made) == (256, 256, 128)
    assert opening_of(made) is None


def test_only_small_boxes_are_laid_open() -> None:
    made = camera()
    made.fly_to(WORLD, now_s=0.0)
    made.skip()
    assert opening_of(made) is None
    made.fly_to(WORLD, now_s=0.0, open_up=True)
    made.skip()
    assert opening_of(made) == WORLD
    made.close()
    assert opening_of(made) is None


def test_inertia_is_off_unless_asked_for() -> None:
    made = camera()
    made.update(0.0)
    made.orbit(10, 0)
    assert not is_moving(made)
    made.inertia = True
    made.orbit(10, 0)
    assert is_moving(made)
    turned = []
    now = 0.0
    for _ in range(400):
        before = made.state.azimuth_degrees
        now += 0.016
        made.update(now)
        turned.append((made.state.azimuth_degrees - before) % 360)
    assert not is_moving(made), "it comes to rest"
    assert turned[1] > turned[10] > 0


@given(st.floats(2.5, 5000), angles, st.floats(-90, 90))
def test_depth_range_holds_the_world(distance: float, azimuth: float, elevation: float) -> None:
    made = camera()
    made.state = CameraState((256, 256, 128), distance, azimuth, elevation)
    near, far = made.depth_range()
    assert 0 < near < far
    assert near < distance < far
    corners = np.array([(x, y, z) for x in (0, 512) for y in (0, 512) for z in (0, 256)])
    depths = (corners - made.basis.position) @ made.basis.forward
    assert depths.max() <= far


@pytest.mark.parametrize("aspect", [0.6, 1.0, 2.1])
@pytest.mark.parametrize("angles", [(-52.0, 24.0), (0.0, 90.0), (140.0, -30.0)])
def test_a_flight_to_boxes_has_all_of_them_in_view(aspect: float, angles: tuple[float, float]) -> None:
    camera = OrbitCamera(aspect)
    camera.set_world(((0, 0, 0), (512, 512, 512)))
    camera.state = CameraState((256, 256, 256), 1500, *angles, opening=((0, 0, 0), (1, 1, 1)))
    boxes = [((0.0, 0.0, 0.0), (32.0, 16.0, 16.0)), ((400.0, 300.0, 200.0), (480.0, 512.0, 208.0))]
    camera.fly_to_boxes(boxes, 0.0)
    camera.update(10.0)
    assert (camera.state.azimuth_degrees, camera.state.elevation_degrees) == angles
    assert camera.state.opening is None
    basis, (half_width, half_height) = camera.basis, camera.half_extent()
    corners = np.array([[box[i >> axis & 1][axis] for axis in range(3)] for box in boxes for i in range(8)])
    seen = corners - basis.position
    depth = seen @ basis.forward
    assert (depth > 0).all()
    across = np.abs(seen @ basis.right) / depth / half_width
    upright = np.abs(seen @ basis.up) / depth / half_height
    assert 0.6 < max(across.max(), upright.max()) < 0.9, "they fill the picture, with room around them"


def test_a_flight_to_one_page_keeps_its_surroundings_in_view() -> None:
    camera = OrbitCamera(1.5)
    camera.set_world(((0, 0, 0), (512, 512, 512)))
    camera.fly_to_boxes([((16.0, 16.0, 16.0), (32.0, 32.0, 32.0))], 0.0)
    camera.skip()
    assert camera.state.target == (24.0, 24.0, 24.0)
    assert camera.state.distance == 160.0
