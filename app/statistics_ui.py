"""What the statistics panel remembers from frame to frame: whose memory it divided last, and where it drew it."""

from __future__ import annotations

from dataclasses import dataclass

from app.memory_shares import Share
from app.widgets.treemap import Rect


@dataclass(frozen=True, slots=True)
class Cell:
    """One rectangle of the treemap."""

    rect: Rect
    share: Share
    parent: Share | None
    """The category that it is a part of; None for a category itself."""
    head: float = 0.0
    """How much of a category's rectangle is its heading."""


@dataclass(slots=True)
class StatisticsUi:
    """Belongs to the main thread."""

    with_free: bool = True
    """Whether free memory takes its share of the picture."""
    machine: str = ""
    taken_s: float = -1e9
    """When the shares were counted."""
    shares: tuple[Share, ...] = ()
    cells: tuple[Cell, ...] = ()
    cells_of: tuple[object, ...] = ()
    """What the cells were laid from: they are laid anew when any of it changes."""
    drawn_at: tuple[float, float] = (0.0, 0.0)
    """The upper left corner that the cells count from."""
    menu: Share | None = None
    """What the context menu is about."""
    menu_asked: bool = False
    """It opens at the end of the frame: what asked for it may lie in a window of its own."""
