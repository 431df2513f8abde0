"""Looking into a QEMU that someone else started, where its guest's RAM is shared; it is never ended from here."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.machine.background import BackgroundLoop
from bridge.machine.errors import MachineError, QmpCommandFailed, SharedMemoryMissing
from bridge.machine.machine import Machine
from bridge.machine.mapping import physical_map_of
from bridge.machine.processes import ProcessIdentity
from bridge.machine.qmp import QmpConnection
from bridge.machine.records import LONGEST_NAME
from bridge.machine.states import EventCallback, MachineInfo, MachineState
from bridge.machine.watched_process import WatchedProcess
from bridge.memory.ram import GuestRam

_MOST_BACKENDS = 256


@dataclass(frozen=True, slots=True)
class Backend:
    """The object that holds a machine's RAM: its QOM path, its file as this process can open it, its size."""

    path: str
    file: Path
    size_bytes: int


async def attach_on_loop(
    background: BackgroundLoop, socket_path: Path, *, name: str | None, taken: Collection[str], emit: EventCallback
) -> Machine:
    """See `MachineManager.attach`. `taken` are names that cannot be had."""
    async with contextlib.AsyncExitStack() as undo:
        handlers: list[Machine] = []
        qmp = await QmpConnection.open(
            name or socket_path.name,
            socket_path,
            on_event=lambda kind, data: handlers[0].on_event(kind, data) if handlers else None,
            on_lost=lambda: handlers[0].on_lost() if handlers else None,
        )
        undo.push_async_callback(qmp.close)
        backend = await find_backend(qmp, qmp.peer_pid)
        running = await qmp.status() == "running"
        own_name = name or _free_name(await _guest_name(qmp) or socket_path.stem, taken)
        accelerator, reason = await _accelerator(qmp)
        ram = GuestRam.open(backend.file, await physical_map_of(background, qmp, backend.path))
        undo.callback(ram.close)
        identity = ProcessIdentity.of(qmp.peer_pid) if qmp.peer_pid is not None else None
        info = MachineInfo(
            name=own_name,
            guest=f"attached to {socket_path}",
            state=MachineState.STARTING,
            accelerator=accelerator,
            accelerator_reason=reason,
            pid=None if identity is None else identity.pid,
            ram_bytes=backend.size_bytes,
            started_at_s=time.time(),
            attached=True,
            warm=False,
            message="",
        )
        machine = Machine(background, info, backend=backend.path, ready_marker=None, record=None, emit=emit)
        machine.ram = ram
        handlers.append(machine)
        process = WatchedProcess.of_running(identity) if identity is not None else None
        machine.take(qmp=qmp, process=process, state=MachineState.RUNNING if running else MachineState.PAUSED)
        undo.pop_all()
    return machine


async def find_backend(qmp: QmpConnection, pid: int | None) -> Backend:
    """The memory backend of a machine, if it is shared. Raises `SharedMemoryMissing`, other MachineError."""
    backends = await _query_backends(qmp)
    path = await _get(qmp, "/machine", "memory-backend")
    if not isinstance(path, str) or not path:
        if len(backends) > 1:
            raise MachineError(
                f"This QEMU's RAM is made of {len(backends)} backends (NUMA nodes), and one is what can be shown. "
                f"Start it with one: -machine memory-backend=ID."
            )
        raise SharedMemoryMissing("it has no memory backend", None)
    path = path if path.startswith("/") else f"/objects/{path}"
    size_bytes = await _get(qmp, path, "size")
    kind = await _get(qmp, path, "type")
    size = size_bytes if isinstance(size_bytes, int) and 0 < size_bytes < 1 << 56 else None
    if size is None or kind not in ("memory-backend-file", "memory-backend-memfd"):
        raise SharedMemoryMissing(f"its RAM is a {_shown(kind)}", size)
    if await _get(qmp, path, "share") is not True:
        raise SharedMemoryMissing(f"its {kind} is private (share=off)", size)
    if kind == "memory-backend-file":
        mem_path = await _get(qmp, path, "mem-path")
        if not isinstance(mem_path, str) or not mem_path:
            raise SharedMemoryMissing("its memory-backend-file has no path", size)
        return Backend(path, _as_seen_by(pid, Path(mem_path)), size)
    return Backend(path, _memfd_of(pid, size), size)


def _as_seen_by(pid: int | None, path: Path) -> Path:
    """A path of another process's, which may be relative, be removed by now, or be a directory (an unnamed file)."""
    if pid is None:
        return path
    with contextlib.suppress(OSError):
        absolute = path if path.is_absolute() else Path(f"/proc/{pid}/cwd").readlink() / path
        if absolute.is_file():
            return absolute
    opened = [link for link, target in _open_files(pid) if target.removesuffix(" (deleted)").startswith(str(path))]
    return opened[0] if len(opened) == 1 else path


def _memfd_of(pid: int | None, size_bytes: int) -> Path:
    if pid is None:
        raise MachineError("The RAM is a memfd, and the process that holds it is not known (another container?).")
    found = [
        link
        for link, target in _open_files(pid)
        if target.startswith("/memfd:memory-backend-memfd") and _size_of(link) == size_bytes
    ]
    if len(found) != 1:
        raise MachineError(
            f"The RAM is a memfd of process {pid}, and {len(found)} open files of it could be that. Run Glassbox as "
            f"the same user, or start QEMU with memory-backend-file instead."
        )
    return found[0]


def _open_files(pid: int) -> list[tuple[Path, str]]:
    files = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                files.append((link, str(link.readlink())))
    return files


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


async def _query_backends(qmp: QmpConnection) -> list[Any]:
    backends = await qmp.execute("query-memdev")
    if not isinstance(backends, list) or len(backends) > _MOST_BACKENDS:
        raise MachineError("This QEMU's answer to query-memdev makes no sense.")
    return backends


async def _get(qmp: QmpConnection, path: str, name: str) -> Any:
    """A property, or None when the object has none of that name."""
    try:
        return await qmp.execute("qom-get", {"path": path, "property": name})
    except QmpCommandFailed:
        return None


async def _guest_name(qmp: QmpConnection) -> str | None:
    try:
        answer = await qmp.execute("query-name")
    except QmpCommandFailed:
        return None
    name = answer.get("name") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else None


async def _accelerator(qmp: QmpConnection) -> tuple[Any, str]:
    try:
        answer = await qmp.execute("query-kvm")
    except QmpCommandFailed:
        answer = None
    enabled = isinstance(answer, dict) and answer.get("enabled") is True
    return ("kvm", "QEMU says that it runs on KVM") if enabled else ("tcg", "QEMU says that it does not run on KVM")


def _free_name(wanted: str, taken: Collection[str]) -> str:
    base = re.sub(r"[^a-z0-9._-]", "-", wanted.lower()[:256]).lstrip("._-")[: LONGEST_NAME - 5] or "attached"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 64 and value.isprintable() else "backend of unknown type"
