"""Telling: gathers from the kernel's worker, over a few frames, what the inspector says of the selected byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app.code_names import PAGE_BYTES, GuestCode
from app.story_facts import Fact, facts_of, region_at
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.records import MapEntry, Module, SlabObject
from bridge.kernel.where import Story

if TYPE_CHECKING:
    from app.kernel_symbols import KernelSymbols
    from app.state import AppState
    from bridge.kernel.worker import Sighting

EVERY_S = 1.0
SLOW_EVERY_S = 5.0
IMAGE_REACH = 64 << 20
"""The kernel's image lies in one piece, and is smaller."""
_OWN_ADDRESSES = frozenset(CLASS_TITLES[kind] for kind in (PageClass.MODULE, PageClass.VMALLOC, PageClass.KERNEL_STACK))
"""Classes that the kernel maps once more, beside the direct map."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one byte."""

    machine: str
    address: int
    """Guest-physical."""
    facts: tuple[Fact, ...] = ()
    code: GuestCode | None = None
    """Where it runs if it is code."""
    consistency: str = ""
    taken_s: float = 0.0
    problem: str = ""
    """Why nothing is known, in a sentence."""


def tell(state: AppState, machine: str, address: int) -> Told | None:
    """Return what is known of a byte by now; None before the first answer. For each frame that shows it."""
    sighting = state.kernels.sighting(machine)
    if sighting is None or sighting.problem:
        return None if sighting is None else Told(machine, address, problem=sighting.problem)
    found = state.machine(machine)
    every_s = math.inf if found is not None and found.info.dump else EVERY_S
    answer = state.kernels.ask(machine, "where", address, now_s=state.now_s, every_s=every_s)
    if answer is None:
        return None
    if answer.problem:
        return Told(machine, address, problem=answer.problem)
    story: Story = answer.value
    asking = _Asking(state, machine)
    symbols = state.kernel.shelf.of(state.kernels, machine, state.now_s)
    slab = asking.slab(story)
    regions = asking.regions(story)
    region = region_at(regions, story.mappings[0].vaddr) if story.mappings else None
    size = 0
    if symbols is not None and story.symbol is not None and story.kernel_vaddr is not None:
        size = symbols.size_of(story.kernel_vaddr - story.symbol.offset)
    code = asking.code(story, symbols, regions)
    own = code.virtual(story.paddr) if code is not None and not story.mappings and story.symbol is None else None
    facts = facts_of(story, slab, region, size, own, _task_at(sighting, slab))
    return Told(machine, address, facts, code, story.consistency, story.taken_s)


def _task_at(sighting: Sighting, slab: SlabObject | None) -> tuple[int, str] | None:
    """Number and name of the process whose record an object is."""
    if slab is None or sighting.processes is None:
        return None
    found = np.flatnonzero(sighting.processes.addresses == np.uint64(slab.address))
    if not len(found):
        return None
    return int(sighting.processes.pids[found[0]]), sighting.processes.names[found[0]]


@dataclass(frozen=True, slots=True)
class _Asking:
    """Further questions, each put only where the story calls for it."""

    state: AppState
    machine: str

    def _ask(self, name: str, *arguments: Any, every_s: float = SLOW_EVERY_S) -> Any:
        answer = self.state.kernels.ask(self.machine, name, *arguments, now_s=self.state.now_s, every_s=every_s)
        return None if answer is None or answer.problem else answer.value

    def slab(self, story: Story) -> SlabObject | None:
        if not story.cache or story.kernel_vaddr is None:
            return None
        found: SlabObject | None = self._ask("slab_object", story.kernel_vaddr, every_s=EVERY_S)
        return found

    def regions(self, story: Story) -> tuple[MapEntry, ...]:
        if not story.mappings:
            return ()
        return self._ask("maps", story.mappings[0].pid) or ()

    def code(self, story: Story, symbols: KernelSymbols | None, regions: tuple[MapEntry, ...]) -> GuestCode | None:
        page = story.paddr - story.paddr % PAGE_BYTES
        if story.mappings:
            first = story.mappings[0]
            start = first.vaddr - first.vaddr % PAGE_BYTES
            return GuestCode(page, page + PAGE_BYTES, start, first.pid, symbols, (), regions)
        if story.symbol is not None and story.kernel_vaddr is not None:
            before = min(IMAGE_REACH, story.paddr)
            return GuestCode(story.paddr - before, page + IMAGE_REACH, story.kernel_vaddr - before, None, symbols)
        if story.page_class in _OWN_ADDRESSES:
            vaddr: int | None = self._ask("kernel_vaddr", story.paddr)
            modules: tuple[Module, ...] = self._ask("modules") or ()
            if vaddr is not None:
                return GuestCode(page, page + PAGE_BYTES, vaddr - vaddr % PAGE_BYTES, None, symbols, modules)
        return None
