"""What the kernel panel shows now: which list, how each is filtered and ordered, and the symbols of each machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.kernel_symbols import SymbolShelf
from app.widgets.record_table import RecordTable

if TYPE_CHECKING:
    from app.chosen import Key
    from app.telling import Told

MODULES, SLABS, SOCKETS, MOUNTS, LOG, SYMBOLS = SECTIONS = (
    "Modules",
    "Slabs",
    "Sockets",
    "Mounts",
    "Messages",
    "Symbols",
)
DEBUG = 7
"""The least important level of the kernel's log: with it all is shown."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A list as it was read last."""

    rows: Sequence[Any] | None = None
    """None: not yet, or not at all."""
    problem: str = ""
    """Why not, in a sentence."""
    taken_s: float = 0.0
    """When, by time.monotonic()."""
    took_s: float = 0.0


@dataclass(slots=True)
class StoryUi:
    """The story of the selected byte: what was told last, so that nothing jumps while the next is being found."""

    told: Told | None = None
    rows: int = 0
    """How many lines it had."""


@dataclass(slots=True)
class KernelUi:
    """The panel's state on the main thread."""

    section: str = MODULES
    tables: dict[str, RecordTable[Any]] = field(default_factory=dict)
    """One a section, made when it is first shown."""
    fetched: dict[str, Fetched] = field(default_factory=dict)
    """What each section showed in its last frame."""
    machine: str = ""
    """Which machine that was of."""
    shelf: SymbolShelf = field(default_factory=SymbolShelf)
    story: StoryUi = field(default_factory=StoryUi)
    followed: dict[tuple[str, str], tuple[str, Key] | None] = field(default_factory=dict)
    """What was chosen elsewhere, and what held the selected byte, when each section looked last."""
    log_level: int = DEBUG
    """Messages of this level and graver ones are shown."""
    log_kept: int = DEBUG
    """The level that the shown messages were picked by."""
