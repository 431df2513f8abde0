"""What the slices panel and the planes in the volume remember of the person before them; nothing that undo covers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from render.cut import Axis, Plane
from render.planes import Point

if TYPE_CHECKING:
    from app.flat_pane import FlatPane
    from app.pane import Pane
    from app.state import Look


@dataclass(slots=True)
class FlatPlace:
    """What the middle of a flat picture shows (u, v), and how many pixels a voxel has."""

    centre: Point
    zoom: float
    whole: bool = False
    """All of the plane, whatever the panel's size: until someone zooms or pans."""


@dataclass(frozen=True, slots=True)
class SheetRef:
    """One plane of one machine."""

    machine: str
    axis: Axis


@dataclass(frozen=True, slots=True)
class SheetDrag:
    """A plane that is being dragged in the volume."""

    sheet: SheetRef
    pane: Pane
    plane: Plane
    """Where it stood when it was taken."""
    grabbed: NDArray[np.float64]
    """The point of it that was taken, in the world, (3,)."""


@dataclass(slots=True)
class SlicesUi:
    """Belongs to the main thread."""

    axis: Axis = "z"
    """Whose flat picture is shown."""
    places: dict[tuple[str, Axis], FlatPlace] = field(default_factory=dict)
    flat: FlatPane | None = None
    rect: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Where the flat picture lies in the window: x, y, width, height, in logical pixels."""
    before: Look | None = None
    """What undo should bring back when the slider or handle that is held has changed something."""
    pan_from: Point | None = None
    """The centre when the flat picture was pressed; None while it is not."""
    moved: bool = False
    """Whether that press became a drag."""
    line: Axis | None = None
    """The plane whose line in the flat picture is dragged."""
    drag: SheetDrag | None = None
    edge: SheetRef | None = None
    """The plane in the volume that the pointer could take, and in which view."""
    edge_pane: Pane | None = None
    has_keys: bool = False
    """The panel has the keyboard: arrows step its plane."""
    cramped: bool = False
    """There is not room for all of the panel, so it scrolls."""
    animating: bool = False
    """The flat picture changes by itself: pages cool down."""
