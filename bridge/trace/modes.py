"""Modes: what people choose to have watched, as sets of what the plugin does, and what each is known to cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bridge.trace.layout import layout


class Mode(StrEnum):
    """By what they tell, from nothing to everything."""

    OFF = "off"
    COUNTERS = "counters"
    TIME = "time"
    HEAT = "heat"
    WATCH = "watch"
    TRACE = "trace"


class Policy(StrEnum):
    """What happens when records come faster than they are read."""

    DROP = "drop"
    HOLD = "hold"
    OVERWRITE = "overwrite"


class Recorded(StrEnum):
    """What a trace has records of."""

    BLOCKS = "blocks"
    INSTRUCTIONS = "instructions"
    LOADS = "loads"
    STORES = "stores"
    REGISTERS = "registers"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which blocks a trace has records of; those without limits are of everything."""

    first_virtual: int = 0
    last_virtual: int = (1 << 64) - 1
    page_table: int | None = None
    """The physical address of the top page table (CR3) of the process; None: of every one."""
    one_of: int = 1
    """Blocks whose number is a multiple of this."""

    def __post_init__(self) -> None:
        if not 0 <= self.first_virtual <= self.last_virtual < 1 << 64:
            raise ValueError("a range of addresses begins before it ends, within 64 bits")
        if self.one_of < 1:
            raise ValueError("one of at least one block is traced")
        if self.page_table is not None and (self.page_table < 0 or self.page_table % 4096):
            raise ValueError("a page table is a page: its address is a multiple of 4096")


@dataclass(frozen=True, slots=True)
class Wish:
    """A mode with all that belongs to it."""

    mode: Mode = Mode.OFF
    records: frozenset[Recorded] = frozenset({Recorded.BLOCKS, Recorded.LOADS, Recorded.STORES})
    policy: Policy = Policy.DROP
    filters: Filters = field(default_factory=Filters)
    samples_per_s: int = 1000

    def __post_init__(self) -> None:
        if not 1 <= self.samples_per_s <= 10_000:
            raise ValueError("samples are taken 1 to 10,000 times a second")

    @property
    def parts(self) -> int:
        """The plugin's flags. Counts go along with every mode but off: they cost little, and much builds on them.

        Samples cost as much again, in every block: where that is little of what a mode costs they go along as well.
        """
        known = layout().constants
        if self.mode is Mode.OFF:
            return 0
        parts = known["COUNT"]
        if self.mode in (Mode.TIME, Mode.WATCH, Mode.TRACE):
            parts |= known["SAMPLE"]
        if self.mode is Mode.HEAT:
            parts |= known["HEAT"]
        elif self.mode is Mode.WATCH:
            parts |= known["WATCH"]
        elif self.mode is Mode.TRACE:
            names = {"instructions": "INSNS"}
            for one in self.records:
                parts |= known[f"TRACE_{names.get(one, one.upper())}"]
        return parts


POLICIES = {Policy.DROP: "DROP", Policy.HOLD: "HOLD", Policy.OVERWRITE: "OVERWRITE"}
"""By the plugin's names."""
