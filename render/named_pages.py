"""Named pages: names beside the volumes of one view, each led to the pages that it is of, wherever those lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.callout_layer import CalloutLayer, Name
from render.callouts import MOST_CALLOUTS, Anchored, Callout, CalloutLayout
from render.labels import Rect
from render.layers import Layer
from render.page_boxes import anchor_of_pages
from render.projection import Projection, corners_of

_MARGIN_PX = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class NamedPages:
    """Pages (n,) of a volume that have a name; `key` tells it from the others."""

    key: str
    volume: str
    pages: NDArray[np.uint32]
    text: str
    colour: str
    """#rrggbb"""


@dataclass(frozen=True, slots=True, eq=False)
class _Anchor:
    """Where a name's line ends, in voxels of its volume, and what that was worked out from."""

    store: BrickStore
    pages: NDArray[np.uint32]
    at: NDArray[np.float64]


class PageNames:
    """Of one view."""

    def __init__(self, drawn: CalloutLayer, layers: Mapping[str, Layer]) -> None:
        self._drawn = drawn
        self._layers = layers
        self._named: tuple[NamedPages, ...] = ()
        self._anchors: dict[str, _Anchor] = {}
        self._layout = CalloutLayout()
        self._reserved: tuple[Rect, ...] = ()
        self.stale = False
        """Another picture is needed, to show them as they are now. The view sets it back."""

    def show(self, named: Sequence[NamedPages]) -> None:
        """Have these names, the most important first; those for which there is no room are left out."""
        self._named = tuple(named)
        self._find()

    def follow(self) -> None:
        """Find the pages anew after a volume went elsewhere, was laid otherwise, or came or went away."""
        self._find()
        self.stale |= bool(self._named)

    def _find(self) -> None:
        here = [one for one in self._named if one.volume in self._layers and len(one.pages)][:MOST_CALLOUTS]
        before, self._anchors = self._anchors, {one.key: self._anchor(one) for one in here}
        moved = before.keys() != self._anchors.keys() or any(
            (self._anchors[key].at != anchor.at).any() for key, anchor in before.items()
        )
        self.stale |= self._drawn.name([Name(one.key, one.text, one.colour) for one in here]) or moved

    def _anchor(self, one: NamedPages) -> _Anchor:
        store, before = self._layers[one.volume].store, self._anchors.get(one.key)
        if before is not None and before.store is store and before.pages is one.pages:
            return before
        return _Anchor(store, one.pages, anchor_of_pages(store, one.pages))

    @property
    def placed(self) -> tuple[Callout, ...]:
        """The names that the picture shows, and where, in its pixels."""
        return self._drawn.placed

    @property
    def reserved(self) -> tuple[Rect, ...]:
        """Where no names may stand, in pixels: something lies over the picture there."""
        return self._reserved

    @reserved.setter
    def reserved(self, rects: Sequence[Rect]) -> None:
        if tuple(rects) != self._reserved:
            self._reserved = tuple(rects)
            self.stale |= bool(self._named)

    def lay(self, projection: Projection, pixel_ratio: float) -> None:
        """Place the names in the picture that is being drawn."""
        width, height = (float(side) for side in projection.size_px)
        names: list[Anchored] = []
        for one in self._named:
            if (anchor := self._anchors.get(one.key)) is None:
                continue
            at = projection.pixel_of(anchor.at + self._layers[one.volume].origin)
            if at is not None:
                names.append(self._drawn.anchored(one.key, at))
        margin = _MARGIN_PX * pixel_ratio
        around = self._around(projection)
        placed = self._layout.lay(names, (width, height), around, margin=margin, reserved=self._reserved)
        self._drawn.show(placed, height)

    def _around(self, projection: Projection) -> Rect:
        """The outline of all volumes in the picture; all of it where the eye is within one."""
        width, height = (float(side) for side in projection.size_px)
        found = [projection.pixels_of(corners_of(layer.box)) for layer in self._layers.values()]
        seen = [pixels[0] for pixels in found if pixels is not None]
        if len(seen) < len(found) or not seen:
            return 0.0, 0.0, width, height
        low, high = np.concatenate(seen).min(axis=0), np.concatenate(seen).max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])
