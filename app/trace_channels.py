"""Trace channels: what a guest executes, loads and stores, as three kinds of heat of the live picture."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.tracing import TracerState
from bridge.trace.modes import Mode
from bridge.trace.page_heat import PageHeat, Touched
from render.heat import HALF_LIFE_S
from render.transfer import Transfer

if TYPE_CHECKING:
    from app.tracing import Tracer, Tracers
    from bridge.trace.session import TraceSession
    from render.bricks import BrickStore

EXECUTED, LOADED, STORED = "executed", "loaded", "stored"
TITLES = {EXECUTED: "Execution heat", LOADED: "Load heat", STORED: "Store heat"}
UNITS = {EXECUTED: "instructions", LOADED: "loads", STORED: "stores"}
_PALETTES = {EXECUTED: "magma", LOADED: "ice", STORED: "ember"}
TOP = 1e9
"""The scale is logarithmic and ends here: about what a processor does in a half-life when it does nothing else."""
_JOB = "heat channels"
RECORDED = {name: f"recorded {name}" for name in TITLES}
"""Channels of what a recording holds, beside those of what is done now."""
TRACE_TRANSFERS: dict[str, Transfer] = {
    name: Transfer(((0.0, 0.02), (1 / 255, 0.25), (0.5, 1.0), (1.0, 1.0))) for name in (*TITLES, *RECORDED.values())
}
"""How opaque they are unless the user says otherwise: what is not touched recedes."""


class TraceHeat:
    """Of one machine: grows with what is touched, and halves as the write heat does."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.half_life_s = HALF_LIFE_S
        self._lock = threading.Lock()
        self._counting: tuple[TraceSession, PageHeat] | None = None
        self._heat: dict[str, NDArray[np.float64]] = {}
        self._number = 0
        tracer.attend(_JOB, self.look)

    def look(self, session: TraceSession) -> None:
        """Take in what was done since the last look; on the tracer's thread. Raises TraceError."""
        ram = self.tracer.machine.ram
        if ram is None:
            return
        if self._counting is None or self._counting[0] is not session:
            self._counting = session, PageHeat(session)
        self.add(self._counting[1].take(ram.physical_map), with_accesses=self.tracer.mode is Mode.HEAT)

    def add(self, touched: Touched, *, with_accesses: bool) -> None:
        """Let what there is grow older, and what was touched hotter."""
        left = 2.0 ** (-touched.seconds / self.half_life_s)
        new = {EXECUTED: touched.executed}
        with self._lock:
            if with_accesses or LOADED in self._heat:
                new |= {LOADED: touched.loads.astype(np.float64), STORED: touched.stores.astype(np.float64)}
            for name, more in new.items():
                before = self._heat.get(name)
                self._heat[name] = more if before is None else before * left + more
            self._number += 1

    def latest(self) -> tuple[int, Mapping[str, NDArray[np.float64]]]:
        """How many looks there were, and the heat of each page by channel; nobody writes to the arrays."""
        with self._lock:
            return self._number, dict(self._heat)


class TraceChannels:
    """Of all machines. Belongs to the main thread."""

    def __init__(self) -> None:
        self._heats: dict[str, TraceHeat] = {}
        self._shown: dict[str, int] = {}

    def follow(self, tracers: Tracers, stores: Mapping[str, BrickStore], looked_at: frozenset[str]) -> bool:
        """Show what is new in the channels that are looked at; whether anything was.

        A channel comes with the first look that has it, so that there is none that never showed anything.
        """
        changed = False
        for gone in self._heats.keys() - stores.keys():
            del self._heats[gone]
            self._shown.pop(gone, None)
        for name, store in stores.items():
            tracer = tracers.of(name)
            if tracer is None:
                continue
            heat = self._heats.get(name)
            if heat is None or heat.tracer is not tracer:
                if tracer.state is TracerState.OFF:
                    continue
                heat = self._heats[name] = TraceHeat(tracer)
                self._shown.pop(name, None)
            heat.half_life_s = store.half_life_s
            number, found = heat.latest()
            if number == self._shown.get(name):
                continue
            for channel, values in found.items():
                new = channel not in store.attributes
                if len(values) == store.n_pages and (new or channel in looked_at):
                    show_heat(store, channel, values)
                    changed = True
            self._shown[name] = number
        return changed


def show_heat(
    store: BrickStore, channel: str, heat: NDArray[np.float64], *, name: str = "", title: str = "", top: float = TOP
) -> None:
    """Show each page's heat, (n_pages,), as a channel, of that name and title unless others are said."""
    store.set_attribute(
        name or channel,
        heat.astype(np.float32),
        low=0.0,
        high=top,
        unit=UNITS[channel],
        title=title or TITLES[channel],
        palette=_PALETTES[channel],
        logarithmic=True,
    )
