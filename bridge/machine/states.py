"""What can be known of a machine at a glance: its state, its facts, its use of the host, its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Accelerator = Literal["tcg", "kvm"]


class MachineState(StrEnum):
    """A machine's life. STOPPED and CRASHED are final."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CRASHED = "crashed"

    @property
    def ended(self) -> bool:
        """True for the final states."""
        return self in (MachineState.STOPPED, MachineState.CRASHED)


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """Facts about a machine at one instant."""

    name: str
    guest: str
    state: MachineState
    accelerator: Accelerator | Literal["none"]
    """"none" for a dump."""
    accelerator_reason: str
    pid: int | None
    ram_bytes: int
    started_at_s: float
    """Seconds since the epoch."""
    attached: bool
    """QEMU is someone else's: it is looked at, and never ended."""
    warm: bool
    """It was resumed from a saved state instead of booted."""
    message: str
    """What a person should know now, such as why it crashed; empty when all is well."""
    dump: str = ""
    """For a dump, which stands still like a paused machine: its format, "raw", "ELF core" or "LiME"."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a machine costs its host."""

    cpu_percent: float
    """Of one core, since the call before; 0 the first time."""
    rss_bytes: int
    uptime_s: float


@dataclass(frozen=True, slots=True)
class MachineEvent:
    """Something that happened to a machine.

    `kind` is a QMP event's name (SHUTDOWN, RESET, STOP, RESUME, GUEST_PANICKED, …) or one of ours: STATE (the state or
    message changed), READY (the guest is up), CRASH, SAVED (its state was kept for the next start), DETACHED.
    """

    machine: str
    kind: str
    at_s: float
    detail: Mapping[str, Any]


EventCallback = Callable[[MachineEvent], None]
