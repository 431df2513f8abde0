"""Attributes that other parts of the program give to pages (class, owner, heat …), as channels of the picture.

A scalar attribute is stored as 0..255 between its `low` and `high`; a categorical one as it is, a byte a category.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.brick_levels import Resources
from render.errors import BadAttribute

AttributeKind = Literal["scalar", "categorical"]
BUILT_IN_CHANNELS = ("content", "value", "entropy", "heat")
_DTYPES = (np.uint8, np.uint16, np.float32)
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, eq=False)
class PageAttribute:
    """One attribute of every page, on the GPU and as it was given."""

    name: str
    texture: wgpu.GPUTexture
    """r8unorm, a texel a brick; 0 where no page is."""
    kind: AttributeKind
    low: float
    """What 0 stands for."""
    high: float
    """What 255 stands for."""
    labels: Mapping[int, str]
    """Of a categorical attribute, what its categories are called."""
    unit: str
    values: NDArray[np.generic]
    """(n_pages,) uint8, uint16 or float32, not to be written to."""
    title: str
    """What people call it."""
    palette: str
    """The palette that it is shown with unless another is chosen; empty: one for its kind."""
    logarithmic: bool = False
    """Whether its scale is: log2(1 + value), from 0 to log2(1 + high)."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedValues:
    """Values that can be shown, and the bytes that show them."""

    values: NDArray[np.generic]
    stored: NDArray[np.uint8]
    low: float
    high: float
    labels: dict[int, str]


def share_of(values: NDArray[np.generic], low: float, high: float, *, logarithmic: bool = False) -> NDArray[np.float64]:
    """Where on a scale values are, (n,) 0 to 1. All the same value is a sane thing to show: it is the low end."""
    numbers = values.astype(np.float64)
    if logarithmic:
        numbers, low, high = np.log2(1.0 + np.maximum(numbers, 0.0)), 0.0, math.log2(1.0 + high)
    span = high - low if high > low else 1.0
    share: NDArray[np.float64] = np.clip((numbers - low) / span, 0.0, 1.0)
    return share


def check_attribute(
    name: str,
    values: NDArray[np.generic],
    n_pages: int,
    kind: str,
    low: float | None,
    high: float | None,
    labels: Mapping[int, str] | Sequence[str] | None,
    *,
    logarithmic: bool = False,
) -> CheckedValues:
    """See `BrickStore.set_attribute`. Raises BadAttribute, which says what was found."""
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise BadAttribute(name, f"its name must have 1 to {_LONGEST_NAME} printable characters")
    if name in BUILT_IN_CHANNELS:
        raise BadAttribute(name, "that is the name of a channel that is always there")
    if kind not in ("scalar", "categorical"):
        raise BadAttribute(name, f"its kind must be scalar or categorical, not {kind!r}")
    if not isinstance(values, np.ndarray):
        raise BadAttribute(name, f"its values must be an array of {n_pages:,}, not {type(values).__name__}")
    if values.shape != (n_pages,):
        raise BadAttribute(name, f"its values must have the shape ({n_pages},), one a page, not {values.shape}")
    if values.dtype.type not in _DTYPES:
        raise BadAttribute(name, f"its values must be uint8, uint16 or float32, not {values.dtype}")
    kept = values.astype(values.dtype.type, copy=True)
    kept.flags.writeable = False
    names = dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labels or ()))
    if kind == "categorical":
        if kept.dtype == np.float32:
            raise BadAttribute(name, "categories are numbered; its values must be uint8 or uint16, not float32")
        if n_pages and int(kept.max()) > 255:
            raise BadAttribute(name, f"there can be 256 categories, and it holds number {int(kept.max())}")
        bad = next((number for number in names if not 0 <= number <= 255), None)
        if bad is not None:
            raise BadAttribute(name, f"it has a label for category {bad}; categories are 0 to 255")
        return CheckedValues(kept, kept.astype(np.uint8), 0.0, 255.0, names)
    finite = np.isfinite(kept)
    if not finite.all():
        page = int(np.argmin(finite))
        raise BadAttribute(name, f"page {page:,} has the value {kept[page]}; all must be finite")
    if names:
        raise BadAttribute(name, "only categories have labels, and it is scalar")
    bottom = float(low) if low is not None else (0.0 if kept.dtype == np.uint8 else float(kept.min()))
    top = float(high) if high is not None else (255.0 if kept.dtype == np.uint8 else float(kept.max()))
    if not (math.isfinite(bottom) and math.isfinite(top) and bottom <= top):
        raise BadAttribute(name, f"it must lie between two finite numbers, low {bottom} and high {top}")
    if logarithmic and bottom != 0:
        raise BadAttribute(name, f"a logarithmic scale begins at 0, not at {bottom}")
    share = share_of(kept, bottom, top, logarithmic=logarithmic)
    return CheckedValues(kept, np.floor(share * 255.0 + 0.5).astype(np.uint8), bottom, top, {})


class PageAttributes:
    """The attributes of one store's pages."""

    def __init__(
        self, resources: Resources, shape_bricks: tuple[int, int, int], where: tuple[NDArray[np.uint32], ...]
    ) -> None:
        """`where`: each page's brick as (z, y, x), (n_pages,) each."""
        self._resources = resources
        self._shape = shape_bricks
        self._where = where
        self._held: dict[str, PageAttribute] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were first given."""
        return tuple(self._held)

    def get(self, name: str) -> PageAttribute:
        """One of them. Raises KeyError."""
        return self._held[name]

    def set(
        self,
        name: str,
        values: NDArray[np.generic],
        kind: AttributeKind,
        low: float | None,
        high: float | None,
        labels: Mapping[int, str] | Sequence[str] | None,
        unit: str,
        title: str,
        palette: str,
        *,
        logarithmic: bool = False,
    ) -> None:
        """See `BrickStore.set_attribute`. The texture of a name stays the same: whoever draws it need not bind anew."""
        checked = check_attribute(name, values, len(self._where[0]), kind, low, high, labels, logarithmic=logarithmic)
        x, y, z = self._shape
        texels = np.zeros((z, y, x), np.uint8)
        texels[self._where] = checked.stored
        old = self._held.get(name)
        usage = wgpu.TextureUsage.COPY_DST | wgpu.TextureUsage.COPY_SRC
        texture = old.texture if old else self._resources.volume(f"attribute {name}", (x, y, z), "r8unorm", usage)
        self._resources.write(texture, texels)
        ends = checked.low, checked.high
        self._held[name] = PageAttribute(
            name, texture, kind, *ends, checked.labels, unit, checked.values, title or name, palette, logarithmic
        )

    def remove(self, name: str) -> None:
        """Forget one of them. Raises BadAttribute."""
        attribute = self._held.pop(name, None)
        if attribute is None:
            raise BadAttribute(name, "pages have no such attribute")
        self._resources.give_back(attribute.texture)

    def clear(self) -> None:
        """Forget all, after their textures were destroyed."""
        self._held.clear()
