"""The camera: a turntable around a point, from the whole volume down to a single voxel.

World units are voxels, z is up. The basis comes straight from the two angles, so that looking along the axis of the
turntable is as good a place as any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Two opposite corners: low, high."""

FIELD_OF_VIEW_DEGREES = 34.0
"""Vertical. Narrow enough that a cube does not look warped, wide enough that depth shows."""
FLIGHT_S = 0.3
CLEAR_FRACTION = 0.5
"""Nothing nearer than this share of the way to the target is shown: coming close opens the volume."""
_FIT_MARGIN = 1.1
_BOXES_MARGIN = 1.25
_BOXES_LEAST = 160.0
"""From nearer than this, a few pages would be seen with nothing around them that tells where they are."""
NEAREST = 2.5
"""Distance at which one voxel fills most of the picture."""

AXIS_VIEWS: dict[str, tuple[float, float]] = {
    "+x": (0.0, 0.0),
    "-x": (180.0, 0.0),
    "+y": (90.0, 0.0),
    "-y": (-90.0, 0.0),
    "+z": (-90.0, 90.0),
    "-z": (-90.0, -90.0),
}
"""From which side one looks: azimuth and elevation in degrees."""


@dataclass(frozen=True, slots=True)
class CameraState:
    """Where the camera is; everything that undo, a link between views, or a test needs."""

    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance: float = 100.0
    azimuth_degrees: float = -52.0
    elevation_degrees: float = 24.0
    opening: Box | None = None
    """A box that is laid open: what stands between it and the camera is cut away."""


@dataclass(frozen=True, slots=True)
class Basis:
    """The camera's axes in the world, unit vectors, and where it stands."""

    position: Vector
    right: Vector
    up: Vector
    forward: Vector


@dataclass(frozen=True, slots=True)
class _Flight:
    start: CameraState
    end: CameraState
    started_s: float


class OrbitCamera:
    """Orbit, pan, zoom and fly; `update` moves what is in motion and says whether anything was."""

    def __init__(self, aspect: float = 16 / 9) -> None:
        self.aspect = aspect
        self.inertia = False
        self.state = CameraState()
        self._world: Box = ((0.0, 0.0, 0.0), (100.0, 100.0, 100.0))
        self._flight: _Flight | None = None
        self._spin = (0.0, 0.0)
        self._spin_fresh = False
        self._updated_s: float | None = None

    # ----- what others ask

    @property
    def basis(self) -> Basis:
        """Right, up, forward and position for the current state."""
        return basis_of(self.state)

    @property
    def flying(self) -> bool:
        return self._flight is not None

    @property
    def moving(self) -> bool:
        """Whether the next `update` will move the camera."""
        return self.flying or self._spin != (0.0, 0.0)

    def half_extent(self) -> tuple[float, float]:
        """Half the picture's width and height at distance one."""
        half = math.tan(math.radians(FIELD_OF_VIEW_DEGREES) / 2)
        return half * self.aspect, half

    def depth_range(self) -> tuple[float, float]:
        """Near and far planes that hold the world and lose no precision close up."""
        low, high = (np.array(corner) for corner in self._world)
        basis = self.basis
        reach = float(np.linalg.norm(high - low)) / 2
        depth = float((((low + high) / 2) - basis.position) @ basis.forward)
        far = max(depth + reach, self.state.distance) * 1.05 + 1.0
        near = max(min(self.state.distance * 0.02, far / 4), far * 1e-5, 0.01)
        return near, far

    # ----- what people do

    def orbit(self, right_degrees: float, up_degrees: float) -> None:
        """Turn around the target."""
        self.skip()
        self._turn(right_degrees, up_degrees)
        if self.inertia:
            self._spin, self._spin_fresh = (right_degrees, up_degrees), True

    def _turn(self, right_degrees: float, up_degrees: float) -> None:
        azimuth = (self.state.azimuth_degrees + right_degrees + 180.0) % 360.0 - 180.0
        elevation = max(-90.0, min(90.0, self.state.elevation_degrees + up_degrees))
        self.state = replace(self.state, azimuth_degrees=azimuth, elevation_degrees=elevation)

    def pan(self, right: float, up: float) -> None:
        """Shift the picture's content by a share of its height, keeping what is at the target's depth under the
        cursor.
        """
        self.skip()
        scale = 2 * self.half_extent()[1] * self.state.distance
        basis = self.basis
        self._move_target(np.array(self.state.target) - (basis.right * right + basis.up * up) * scale)

    def zoom(self, factor: float, at: tuple[float, float, float] | None = None) -> None:
        """Come nearer (factor > 1) or go away, keeping the world point `at` where it is on the screen."""
        self.skip()
        limit = self._farthest()
        distance = max(NEAREST, min(limit, self.state.distance / factor))
        scale = distance / self.state.distance
        anchor = np.array(self.state.target if at is None else at)
        target = anchor + (np.array(self.state.target) - anchor) * scale
        if at is not None:
            # The point under the cursor should end in the middle of the zoom, not in front of or behind it: let the
            # target's depth slide towards the anchor's, along the line of sight, without moving the eye.
            basis = self.basis
            eye = target - basis.forward * distance
            depth = float((anchor - eye) @ basis.forward)
            if depth > NEAREST:
                distance = max(NEAREST, min(limit, distance + (depth - distance) * min(1.0, abs(math.log(factor)))))
                target = eye + basis.forward * distance
        self.state = replace(self.state, distance=distance)
        self._move_target(target)

    def fly_to(self, box: Box, now_s: float, *, margin: float = 1.25, open_up: bool | None = None) -> None:
        """Fly until `box` fills the picture.

        With `open_up` (by default for boxes that are small in their world) it is laid open: what hides it is cut away
        until `close` or `fit`.
        """
        low, high = np.array(box[0], float), np.array(box[1], float)
        if open_up is None:
            open_up = float((high - low).max()) * 4 <= float(np.subtract(self._world[1], self._world[0]).max())
        radius = max(float(np.linalg.norm(high - low)) / 2, 0.5)
        end = replace(
            self._goal(),
            target=_tuple((low + high) / 2),
            distance=max(NEAREST, self._distance_for(radius) * margin),
            opening=box if open_up else None,
        )
        self._fly(end, now_s)

    def fly_to_boxes(self, boxes: Sequence[Box], now_s: float) -> None:
        """Fly until all boxes, of which there is at least one, are in the picture, with some of what is around them."""
        self._fly(self._fitted(self._goal(), boxes, margin=_BOXES_MARGIN, least=_BOXES_LEAST), now_s)

    def close(self) -> None:
        """Show again what was cut away."""
        self.skip()
        self.state = replace(self.state, opening=None)

    def fit(self, now_s: float | None = None) -> None:
        """Show the whole world, flying there if a time is given."""
        self._go(self._fitted(self._goal()), now_s)

    def axis_view(self, axis: str, now_s: float | None = None) -> None:
        """Look along an axis, from the side that `axis` ("+x" … "-z") names. Raises KeyError for another name."""
        azimuth, elevation = AXIS_VIEWS[axis]
        self._go(self._fitted(replace(self._goal(), azimuth_degrees=azimuth, elevation_degrees=elevation)), now_s)

    def skip(self) -> None:
        """End a flight where it was going; stop coasting."""
        if self._flight is not None:
            self.state = self._flight.end
            self._flight = None
        self._spin = (0.0, 0.0)

    # ----- what the view does

    def set_world(self, box: Box) -> None:
        """The box that `fit` shows and that panning cannot leave."""
        self._world = box

    def update(self, now_s: float) -> bool:
        """Advance flights and coasting to `now_s`; True if the camera moved."""
        elapsed = 0.0 if self._updated_s is None else max(0.0, now_s - self._updated_s)
        self._updated_s = now_s
        before = self.state
        if self._flight is not None:
            share = (now_s - self._flight.started_s) / FLIGHT_S
            if share >= 1.0:
                self.skip()
            else:
                self.state = _between(self._flight.start, self._flight.end, _ease(max(share, 0.0)))
        elif self._spin != (0.0, 0.0):
            if not self._spin_fresh:
                decay = math.exp(-elapsed * 5.0)
                self._spin = (self._spin[0] * decay, self._spin[1] * decay)
                if max(map(abs, self._spin)) < 0.02:
                    self._spin = (0.0, 0.0)
                self._turn(*self._spin)
            self._spin_fresh = False
        return self.state != before

    # ----- inside

    def _goal(self) -> CameraState:
        return self.state if self._flight is None else self._flight.end

    def _go(self, state: CameraState, now_s: float | None) -> None:
        if now_s is None:
            self.skip()
            self.state = state
        else:
            self._fly(state, now_s)

    def _fly(self, end: CameraState, now_s: float) -> None:
        turn = (end.azimuth_degrees - self.state.azimuth_degrees + 180.0) % 360.0 - 180.0
        start = replace(self.state, azimuth_degrees=end.azimuth_degrees - turn)  # the short way round
        self._spin = (0.0, 0.0)
        self._flight = _Flight(start, end, now_s)

    def _fitted(
        self,
        state: CameraState,
        boxes: Sequence[Box] | None = None,
        *,
        margin: float = _FIT_MARGIN,
        least: float = NEAREST,
    ) -> CameraState:
        """The same angles, from where the boxes (the whole world) just fit the picture with a margin for labels."""
        ends = np.array(boxes or [self._world], float)  # (n, 2, 3)
        low, high = ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
        corners = np.array([[box[i >> axis & 1][axis] for axis in range(3)] for box in ends for i in range(8)])
        corners -= (low + high) / 2
        basis, (half_width, half_height) = basis_of(state), self.half_extent()
        across, upright, away = corners @ basis.right, corners @ basis.up, corners @ basis.forward
        distance = np.maximum(np.abs(across) / half_width, np.abs(upright) / half_height) * margin - away
        return replace(state, target=_tuple((low + high) / 2), distance=max(float(distance.max()), least), opening=None)

    def _distance_for(self, radius: float) -> float:
        half = math.atan(min(self.half_extent()))
        return radius / math.sin(half)

    def _farthest(self) -> float:
        low, high = np.array(self._world[0]), np.array(self._world[1])
        return max(4 * self._distance_for(float(np.linalg.norm(high - low)) / 2), 2 * NEAREST)

    def _move_target(self, target: Vector) -> None:
        low, high = np.array(self._world[0]), np.array(self._world[1])
        reach = (high - low).max()
        self.state = replace(self.state, target=_tuple(np.clip(target, low - reach, high + reach)))


def basis_of(state: CameraState) -> Basis:
    """The axes and the position that a state means."""
    azimuth, elevation = math.radians(state.azimuth_degrees), math.radians(state.elevation_degrees)
    outward = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    forward = -outward
    return Basis(np.array(state.target) + outward * state.distance, right, np.cross(right, forward), forward)


def _tuple(vector: Vector) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


def _ease(share: float) -> float:
    return share * share * (3.0 - 2.0 * share)


def _between(start: CameraState, end: CameraState, share: float) -> CameraState:
    """Part of the way; distances go by their logarithm, so that a flight over many scales feels even."""
    low, high = np.array(start.target), np.array(end.target)
    zoom = end.distance / start.distance
    distance = start.distance * zoom**share
    # The target moves with the distance, not with time: otherwise it would rush through the picture while close.
    along = share if abs(zoom - 1.0) < 1e-3 else (zoom**share - 1.0) / (zoom - 1.0)
    return CameraState(
        target=_tuple(low + (high - low) * along),
        distance=distance,
        azimuth_degrees=start.azimuth_degrees + (end.azimuth_degrees - start.azimuth_degrees) * share,
        elevation_degrees=start.elevation_degrees + (end.elevation_degrees - start.elevation_degrees) * share,
        opening=end.opening,
    )
