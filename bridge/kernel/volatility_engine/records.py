"""What the window, its Volatility worker and a plugin's run tell each other: plain values that cross processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bridge.memory.physical_map import PhysicalMap

Cell = int | float | str | bool | None
"""None where the plugin could not say."""

TIME_LIMIT_S = 300.0
ROW_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Option:
    """Something that a plugin lets one choose."""

    name: str
    kind: str
    """bool, int, text, choice, or ints and texts: lists of those."""
    description: str
    default: Cell | tuple[Cell, ...] = None
    optional: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plugin:
    """One of Volatility's plugins for Linux."""

    name: str
    """`linux.pslist`: as `vol` takes it, without the class where a module has one only."""
    description: str
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginList:
    """What is installed. The worker's first message."""

    version: str
    """Of Volatility; empty where it cannot be loaded."""
    plugins: tuple[Plugin, ...]
    problem: str = ""
    """Why there are none, or which are left out, in a sentence."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a plugin's table."""

    name: str
    kind: str
    """int, hex, float, bool, time (text that sorts by time), bytes (text in hex), code or text."""


@dataclass(frozen=True, slots=True)
class Target:
    """What plugins look at: a machine's RAM file with its map, or a dump, whose map is in itself."""

    path: Path
    physical_map: PhysicalMap | None = None
    types: Path | None = None
    """The user's own types, for kernels that carry none."""


@dataclass(frozen=True, slots=True)
class Job:
    """Run one plugin. `number` comes back with all that is said about it."""

    number: int
    target: Target
    plugin: str
    options: dict[str, Cell | tuple[Cell, ...]] = field(default_factory=dict)
    time_limit_s: float = TIME_LIMIT_S
    row_limit: int = ROW_LIMIT
    folder: Path | None = None
    """Where files go that the plugin writes; None: it may write none."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the job of that number, if it is still under way."""

    number: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    number: int
    step: str
    fraction: float = 0.0
    """0 where it cannot be said."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The table's head, before its rows."""

    number: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some more rows: each as long as the columns, with how deep it is in the tree (0: not in another)."""

    number: int
    depths: tuple[int, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last that is said about a job."""

    number: int
    problem: str = ""
    """Why there is no table, or why it is cut short, in a sentence."""
    truncated: bool = False
    """Whether rows may be missing."""
    notes: tuple[str, ...] = ()
    """What the plugin warned of."""
    files: tuple[str, ...] = ()
    """Names of files that were written, in the job's folder."""
    took_s: float = 0.0
