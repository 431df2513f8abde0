"""Volume places: where the volumes stand beside each other, and where people put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from render.arrangement import Point, Shape, arrange, box_at, fits, free_place, snapped

if TYPE_CHECKING:
    from app.panes import Panes
    from render.camera import Box
    from render.view import VolumeView


class VolumePlaces:
    """Belongs to the main thread. A volume stands at the same place in all panes."""

    def __init__(self, panes: Panes) -> None:
        self._panes = panes
        self.kept: dict[str, Point] = {}
        """Where people put volumes, by machine: also of those that are not shown now."""

    @property
    def _view(self) -> VolumeView:
        return self._panes.view

    def now(self) -> dict[str, Point]:
        """Return where the volumes stand."""
        return {name: self._view.volume_box(name)[0] for name in self._view.volumes}

    def place_for(self, name: str, shape: Shape) -> Point:
        """Return where a volume that comes should stand: where it was put before, unless another stands there now."""
        others = [self._view.volume_box(other) for other in self._view.volumes]
        kept = self.kept.get(name)
        if kept is not None and fits(box_at(kept, shape), others):
            return kept
        return free_place(shape, others)

    def move(self, machine: str, origin: Sequence[float]) -> bool:
        """Put a volume on the place of the grid that is nearest to `origin`; False where another one stands.

        Raises KeyError.
        """
        shape = _shape(self._view.volume_box(machine))
        place = snapped(origin)
        others = [self._view.volume_box(other) for other in self._view.volumes if other != machine]
        if not fits(box_at(place, shape), others):
            return False
        self.kept[machine] = place
        self._put({machine: place})
        return True

    def put(self, origins: Mapping[str, Point]) -> None:
        """Let volumes stand where they stood: for undo."""
        self.kept.update(origins)
        self._put({name: origin for name, origin in origins.items() if name in self._view.volumes})

    def arrange(self) -> None:
        """Let all volumes stand beside each other in a grid, and forget where they were put."""
        origins = arrange({name: _shape(self._view.volume_box(name)) for name in self._view.volumes})
        for name in origins:
            self.kept.pop(name, None)
        self._put(origins)

    def _put(self, origins: Mapping[str, Point]) -> None:
        for pane in self._panes:
            for name, origin in origins.items():
                pane.view.move_volume(name, origin)


def _shape(box: Box) -> Shape:
    """Voxels along each axis: boxes of volumes have whole sides."""
    x, y, z = (round(high - low) for low, high in zip(*box, strict=True))
    return x, y, z
