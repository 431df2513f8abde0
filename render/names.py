"""Names: puts the names of volumes into a picture, clear of each other, as the camera moves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from render.labels import Named, place_labels
from render.layers import Layer
from render.projection import Projection, corners_of

_AXES_FROM_PX = 150
"""The letters of a volume's axes are shown from this size on: nearer together they cannot be told apart."""


def lay_volume_names(layers: Iterable[Layer], projection: Projection, pixel_ratio: float) -> None:
    """Put each volume's name above it in the picture, clear of the others; small volumes have no axis letters."""
    seen: list[tuple[float, Layer, Named]] = []
    for layer in layers:
        found = projection.pixels_of(corners_of(layer.box))
        if found is None:  # the camera is inside, or it is behind: there is no outline to name
            layer.frame.lay_labels(axes=True, name_at=None)
            continue
        (x, y), depth = found[0].T, found[1]
        outline = float(x.min()), float(y.min()), float(x.max()), float(y.max())
        upper = y.argsort()[:4]
        named = Named(outline, float(x[upper].mean()), *layer.frame.name_size_px)
        seen.append((float(depth.min()), layer, named))
    seen.sort(key=lambda entry: entry[0])
    width, height = projection.size_px
    places = place_labels([named for _, _, named in seen], (float(width), float(height)))
    for (depth_min, layer, named), place in zip(seen, places, strict=True):
        left, top, right, bottom = named.outline
        at = None if place is None else np.subtract(projection.point_at(*place, depth_min), layer.origin)
        layer.frame.lay_labels(
            axes=max(right - left, bottom - top) >= _AXES_FROM_PX * pixel_ratio,
            name_at=None if at is None else (float(at[0]), float(at[1]), float(at[2])),
        )
