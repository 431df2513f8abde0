"""Marks: the selected byte and its page, and the byte under the pointer, wherever volumes stand."""

from __future__ import annotations

from collections.abc import Mapping

from render.composition import Composition
from render.layers import Layer
from render.picking import Hit


class Marks:
    """Of one view."""

    def __init__(self, composition: Composition, layers: Mapping[str, Layer]) -> None:
        self._drawn = composition
        self._layers = layers
        self._selection: tuple[str, int] | None = None
        self.stale = True
        """Another picture is needed, to show them as they are now. The view sets it back."""

    def select(self, key: str | None, address: int | None) -> None:
        """Mark a byte (RAM offset) and its page; None for nothing. Raises KeyError, AddressOutOfCurve."""
        if key is None or address is None:
            self._selection = None
            self._drawn.selection_mark.mark(None)
            self._drawn.page_mark.mark(None)
        else:
            self._selection = (key, address)
            self._drawn.selection_mark.mark(self._layers[key].byte_box(address))
            self._drawn.page_mark.mark(self._layers[key].page_box(address))
        self.stale = True

    def hover(self, hit: Hit | None) -> None:
        """Mark the byte under the pointer, or nothing."""
        box = None if hit is None or hit.key not in self._layers else self._layers[hit.key].byte_box(hit.address)
        if box != self._drawn.hover_mark.box:
            self._drawn.hover_mark.mark(box)
            self.stale = True

    def follow(self, key: str) -> None:
        """Mark the same anew after a volume went elsewhere, was laid otherwise, or went away."""
        there = key in self._layers
        if self._selection is not None and self._selection[0] == key:
            self.select(*(self._selection if there else (None, None)))
        self.hover(None)
