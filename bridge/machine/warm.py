"""Warm start: keep the state of a guest that has just come up, and let a new machine go on from it.

QEMU writes and reads the devices' state (a migration to a file); RAM, which is a shared file, it leaves alone
(`x-ignore-shared`), and we copy what is in it. A guest's clock stands still in between: on resuming, its idea of the
time is that of the moment of saving, as after waking a laptop, while its hardware clock is right.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bridge.machine.errors import MachineError
from bridge.machine.guest import Guest
from bridge.machine.machine import Machine
from bridge.machine.qemu_binary import QemuBinary
from bridge.machine.qmp import QmpConnection
from bridge.machine.saved_state import (
    SavedStateBroken,
    StateStore,
    compress_zero_pages,
    file_identity,
    read_ram,
    state_key,
)
from bridge.machine.states import Accelerator
from bridge.memory.errors import GuestMemoryError

DEVICES_FILE = "devices.state"
_CAPABILITIES = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
_MIGRATION_TIMEOUT_S = 10.0
_POLL_S = 0.002
_CONSOLE_BYTES = 64 << 10


def can_keep_state(guest: Guest) -> bool:
    """Say whether a guest's state can be kept.

    Not with media that it can write to: what it wrote is gone with its machine, and the resumed guest would believe
    it were there.
    """
    return guest.keeps_state and guest.ready_marker is not None and guest.disk is None and guest.floppy is None


def key_of(guest: Guest, board: list[str], qemu: QemuBinary, accelerator: Accelerator) -> str:
    """What a saved state depends on: QEMU, the board with all its arguments, the files behind them, the processor."""
    files = [path for path in (guest.kernel, guest.initrd, guest.cdrom) if path is not None]
    parts = [qemu.description, qemu.identity, *board, *map(file_identity, files), (guest.ready_marker or b"").hex()]
    if accelerator == "kvm":
        # The guest has seen the host's processor.
        parts.append(_processor())
    return state_key(parts)


def _processor() -> str:
    first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "microcode")))


async def resume_devices(qmp: QmpConnection, path: Path) -> None:
    """Have a QEMU that waits for it (-incoming defer) read the devices' state from its working directory.

    Raises `SavedStateBroken` when QEMU refuses it; `path` is the saved state's, for that message.
    """
    await qmp.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES})
    await qmp.execute("migrate-incoming", {"uri": f"file:{DEVICES_FILE}", "exit-on-error": False})
    await _migrated(qmp.execute, path)


async def save_state(machine: Machine, store: StateStore, key: str) -> None:
    """Keep the state of a running machine. The guest stands still only while QEMU and we copy it into memory.

    Raises MachineError, GuestMemoryError or OSError, having left nothing half-written.
    """
    record, ram = machine.record, machine.ram
    if record is None or ram is None:
        raise MachineError(f"'{machine.name}' has no RAM file to save.")
    devices = record.directory / DEVICES_FILE
    await machine.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES})
    try:
        async with machine.quietly_paused():
            begin = time.perf_counter()
            await machine.execute("migrate", {"uri": f"file:{DEVICES_FILE}"})
            await _migrated(machine.execute, devices)
            extents = ram.allocated_extents()
            needed = sum(length for _, length in extents)
            if needed > psutil.virtual_memory().available // 4:
                raise MachineError(f"Saving {needed >> 20:,} MiB would take more than a quarter of the memory left.")
            data = await asyncio.to_thread(read_ram, record.ram_path, extents)
            console = machine.console.read_since(0)[1][-_CONSOLE_BYTES:]
            paused_s = time.perf_counter() - begin
        await asyncio.to_thread(_store, store, key, extents, data, devices, ram.size_bytes, console)
    finally:
        devices.unlink(missing_ok=True)
    machine.emit("SAVED", {"paused_s": paused_s, "ram_bytes": needed})


def _store(
    store: StateStore,
    key: str,
    extents: list[tuple[int, int]],
    data: np.ndarray[Any, np.dtype[np.uint8]],
    devices: Path,
    ram_bytes: int,
    console: bytes,
) -> None:
    store.save(key, compress_zero_pages(extents, data), devices.read_bytes(), ram_bytes, console)


async def save_when_ready(machine: Machine, store: StateStore, key: str) -> None:
    """`save_state`, where failing is no more than a boot that will be a cold one again."""
    try:
        await save_state(machine, store, key)
    except (MachineError, GuestMemoryError, OSError) as error:
        machine.emit("SAVE_FAILED", {"message": str(error)})


async def _migrated(execute: Any, path: Path) -> None:
    deadline = time.monotonic() + _MIGRATION_TIMEOUT_S
    while True:
        status = await execute("query-migrate")
        kind = status.get("status") if isinstance(status, dict) else None
        if kind == "completed":
            return
        if kind in ("failed", "cancelled") or time.monotonic() > deadline:
            reason = status.get("error-desc", kind) if isinstance(status, dict) else "no status"
            raise SavedStateBroken(path, f"QEMU says: {str(reason)[:200]}")
        await asyncio.sleep(_POLL_S)
