"""Writers: which instruction, in which process, wrote a byte: by watched pages from then on, backwards by the rings."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.memory.physical_map import PAGE_BYTES
from bridge.trace.instructions import Decoded, bits_at, decode
from bridge.trace.layout import layout
from bridge.trace.ring import newest

if TYPE_CHECKING:
    from bridge.trace.session import TraceSession

_MOST_BYTES = 64
"""Of one access; what a damaged record says beyond is not believed."""


@dataclass(frozen=True, slots=True)
class Access:
    """One load or store."""

    at_ns: int
    """CLOCK_MONOTONIC."""
    pc: int
    """Virtual, as where its block was translated first."""
    code: int | None
    """Physical address of the instruction; None where that is no RAM."""
    text: str
    """The instruction; empty where it is not known any more."""
    physical: int
    size: int
    value: int | None
    """What was loaded or stored; None where QEMU does not tell. Of 16 bytes, the lower half."""
    is_store: bool
    vcpu: int
    task: int
    """The word that names the task; 0: not known."""


def overlapping(touches: NDArray[Any], first: int, end: int) -> NDArray[np.bool_]:
    """Which accesses, (n,) of `touch` or `record`, touch any byte from a physical address to before another."""
    begins = touches["physical"]
    sizes = np.minimum(touches["size"], _MOST_BYTES).astype(np.uint64)
    none = begins == np.uint64(layout().constants["NONE"])
    return np.asarray(~none & (begins < np.uint64(end)) & (begins + sizes > np.uint64(first)))


def access_of_touch(session: TraceSession, touch: NDArray[Any]) -> Access:
    """What a hit of a watched page, or a last touch, tells."""
    return _access(session, touch, int(touch["ns"]), int(touch["task"]), _has(touch, "STORE"))


def backwards(session: TraceSession, first: int, end: int, most: int) -> list[Access]:
    """The last stores to any byte from a physical address to before another that the rings still hold, newest first.

    For traces with records of stores; those of blocks tell the process. Takes nothing out of the rings.
    """
    known = layout().constants
    clock = _Clock(session)
    found: list[Access] = []
    for vcpu in range(min(int(session.memory.plugin["vcpus"]), session.memory.vcpus)):
        records = newest(session.memory, vcpu)
        is_block = np.flatnonzero(records["kind"] == known["RECORD_BLOCK"])
        stores = np.flatnonzero((records["kind"] == known["RECORD_STORE"]) & overlapping(records, first, end))[-most:]
        before = np.searchsorted(is_block, stores) - 1
        for at, block in zip(stores.tolist(), before.tolist(), strict=True):
            task = int(records[is_block[block]]["value"]) if block >= 0 else 0
            found.append(_access(session, records[at], clock.ns(int(records[at]["tsc"])), task, is_store=True))
    found.sort(key=lambda one: -one.at_ns)
    return found[:most]


class _Clock:
    """Of the records' time stamps."""

    def __init__(self, session: TraceSession) -> None:
        told = session.memory.plugin
        self._tsc, self._ns, self._hz = int(told["tsc"]), int(told["ns_at_tsc"]), int(told["tsc_hz"])

    def ns(self, tsc: int) -> int:
        """CLOCK_MONOTONIC; when the plugin began, while it has not yet measured the rate."""
        return self._ns + ((tsc - self._tsc) * 1_000_000_000 // self._hz if self._hz else 0)


def _has(touch: NDArray[Any], flag: str) -> bool:
    return bool(int(touch["flags"]) & layout().constants[f"FLAG_{flag}"])


def _access(session: TraceSession, told: NDArray[Any], at_ns: int, task: int, is_store: bool) -> Access:
    pc, number = int(told["pc"]), int(told["block"])
    code, text = _instruction(session, number, pc)
    return Access(
        at_ns=at_ns,
        pc=pc,
        code=code,
        text=text,
        physical=int(told["physical"]),
        size=min(int(told["size"]), _MOST_BYTES),
        value=int(told["value"]) if _has(told, "VALUE") else None,
        is_store=is_store,
        vcpu=int(told["vcpu"]),
        task=task,
    )


def _instruction(session: TraceSession, number: int, pc: int) -> tuple[int | None, str]:
    """Where the instruction lies in physical memory, and it in words.

    A block's records tell the virtual address that its process has it at: what both have is the place in the page.
    """
    memory = session.memory
    if not 0 < number < len(memory.blocks):
        return None, ""
    block = memory.blocks[number]
    start = int(block["virtual_first"])
    for insn in _decoded(session.code_of(block), start).instructions:
        if (start + insn.offset - pc) % PAGE_BYTES == 0:
            return _physical(block, insn.offset), insn.text
    return None, ""


@functools.lru_cache(maxsize=512)
def _decoded(code: bytes, start: int) -> Decoded:
    return decode(code, start, bits_at(start))


def _physical(block: NDArray[Any], offset: int) -> int | None:
    none, first, behind = layout().constants["NONE"], int(block["physical"]), int(block["physical_behind"])
    if first == none:
        return None
    left = PAGE_BYTES - first % PAGE_BYTES
    if offset < left:
        return first + offset
    return None if behind == none else behind // PAGE_BYTES * PAGE_BYTES + offset - left
