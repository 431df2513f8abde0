"""Which way a machine's loops are taken over: by its plugin where QEMU lets plugins write registers, else by gdb."""

from __future__ import annotations

from bridge.pixelcpu.gdb_hybrid import GdbHybrid
from bridge.pixelcpu.hybrid import LEAST_API, Hybrid, KernelTable
from bridge.trace.session import TraceSession


def takeover_of(session: TraceSession) -> KernelTable:
    """Raises NoTakeover, WorkerLost, MachineError, TraceError."""
    if int(session.memory.plugin["api"]) >= LEAST_API:
        return Hybrid(session)
    return GdbHybrid(session)
