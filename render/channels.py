"""Channels: the scalars that can be looked at, what they are called and measured in, and the legend of a look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from render.attributes import PageAttribute
from render.content import KIND_TITLES, Kind
from render.look import Look
from render.palettes import (
    CATEGORICAL,
    FloatArray,
    is_palette,
    palette_table,
    srgb_from_linear,
)

BY_VOXEL = ("content", "value")
"""Channels whose scalar is the byte; that of all others is one for the whole page."""
HEAT_TOP = 127
"""Writes, decayed, at which the heat's scale ends; it is logarithmic, so that a single write can be seen beside it."""


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """What a channel's scalars mean."""

    title: str
    unit: str = ""
    kind: Literal["scalar", "categorical"] = "scalar"
    low: float = 0.0
    """What the scalar 0 stands for."""
    high: float = 255.0
    """What the scalar 255 stands for; of a categorical channel, the last category's number."""
    per_page: bool = True
    labels: tuple[str, ...] = ()
    """Of a categorical channel, the categories' names in order."""
    order: tuple[int, ...] = ()
    """The categories that a legend names, one after another; empty: all."""
    ticks: tuple[tuple[float, str], ...] = ()
    """Places on the scale, 0..1, and what stands there."""
    palette: str = ""
    """Its own palette; empty: one for its kind."""
    logarithmic: bool = False
    """Whether the scalar goes with log2(1 + value)."""

    def value_at(self, share: float) -> float:
        """What a place on the scale stands for, 0 to 1."""
        if self.logarithmic:
            return float((1.0 + self.high) ** share - 1.0)
        return self.low + share * (self.high - self.low)


CHANNELS: dict[str, ChannelInfo] = {
    "content": ChannelInfo(
        "Content", "", "categorical", 0, 7, per_page=False, labels=tuple(KIND_TITLES[kind] for kind in Kind)
    ),
    "value": ChannelInfo(
        "Byte value",
        per_page=False,
        ticks=tuple((value / 255, f"0x{value:02x}") for value in (0x00, 0x40, 0x80, 0xC0, 0xFF)),
    ),
    "entropy": ChannelInfo(
        "Entropy", "bits/byte", high=8.0, ticks=tuple((bits / 8, str(bits)) for bits in (0, 2, 4, 6, 8))
    ),
    "heat": ChannelInfo(
        "Write heat",
        "writes",
        high=float(HEAT_TOP),
        ticks=tuple((float(np.log2(1 + n) / np.log2(1 + HEAT_TOP)), str(n)) for n in (0, 1, 3, 7, 15, 31, 63, 127)),
        logarithmic=True,
    ),
}
"""The channels that every volume has."""
_OWN_PALETTES = {"content": "content", "value": "aurora", "entropy": "viridis", "heat": "ember"}


def info_of_attribute(attribute: PageAttribute) -> ChannelInfo:
    """What an attribute's scalars mean."""
    if attribute.kind == "scalar":
        return ChannelInfo(
            attribute.title,
            attribute.unit,
            "scalar",
            attribute.low,
            attribute.high,
            palette=attribute.palette,
            ticks=_decades(attribute.high) if attribute.logarithmic else (),
            logarithmic=attribute.logarithmic,
        )
    numbers = [*attribute.labels, int(attribute.values.max(initial=0))]
    labels = tuple(attribute.labels.get(number, str(number)) for number in range(max(numbers) + 1))
    # Where all that there is has a name, numbers between are nobody's: a legend leaves them out.
    order = tuple(attribute.labels) if max(attribute.labels, default=-1) == max(numbers) else ()
    return ChannelInfo(
        attribute.title,
        attribute.unit,
        "categorical",
        0.0,
        float(max(numbers)),
        labels=labels,
        order=order,
        palette=attribute.palette,
    )


def _decades(high: float) -> tuple[tuple[float, str], ...]:
    """Ticks of a logarithmic scale: powers of a thousand."""
    units = [(0.0, "0"), *((1000.0**n, f"1{unit}") for n, unit in enumerate(("", " K", " M", " G", " T")))]
    return tuple((math.log2(1 + value) / math.log2(1 + high), text) for value, text in units if value <= high)


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One category: what it is called, its sRGB colour (0..255), whether it is hidden."""

    label: str
    color: tuple[int, int, int]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Legend:
    """What the colours of a look mean: a gradient for a scalar channel, entries for a categorical one."""

    title: str
    unit: str
    gradient: NDArray[np.uint8] | None
    """(256, 3) sRGB, or None."""
    entries: tuple[LegendEntry, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


def palette_of(look: Look, info: ChannelInfo) -> str:
    """The name of the palette that a look is drawn with."""
    if look.palette and (look.palette != "content" or look.channel == "content"):
        return look.palette
    own = info.palette if is_palette(info.palette) else ""
    return own or _OWN_PALETTES.get(look.channel, "cividis" if info.kind == "scalar" else CATEGORICAL[0])


def colors_of(look: Look, info: ChannelInfo) -> NDArray[np.float32]:
    """(8, 256, 3) float32 linear light: kind of content, scalar -> colour. An unknown palette is the channel's own."""
    name = palette_of(look, info)
    return palette_table(name if is_palette(name) else palette_of(Look(channel=look.channel), info))


def legend_of(look: Look, info: ChannelInfo) -> Legend:
    """The legend of a look at a channel."""
    colors = colors_of(look, info)
    if look.channel == "content":
        # A kind is shown by the colour of its middle byte.
        entries = tuple(
            LegendEntry(KIND_TITLES[kind], _srgb(colors[kind, 160]), kind in look.hidden_kinds)
            for kind in Kind
            if kind != Kind.ZERO
        )
        return Legend(info.title, info.unit, None, entries, info.low, info.high, ())
    if info.kind == "categorical":
        opacities = look.transfer.opacities()
        entries = tuple(
            LegendEntry(info.labels[scalar], _srgb(colors[0, scalar]), bool(opacities[scalar] <= 0))
            for scalar in (info.order or range(len(info.labels)))[:256]
        )
        return Legend(info.title, info.unit, None, entries, info.low, info.high, ())
    gradient = np.round(srgb_from_linear(colors[0].astype(np.float64)) * 255).astype(np.uint8)
    ticks = info.ticks or tuple((share, f"{info.value_at(share):,.4g}") for share in (0, 0.5, 1))
    return Legend(info.title, info.unit, gradient, (), info.low, info.high, ticks)


def _srgb(linear: NDArray[np.float32]) -> tuple[int, int, int]:
    color: FloatArray = np.round(srgb_from_linear(linear.astype(np.float64)) * 255)
    return int(color[0]), int(color[1]), int(color[2])
