"""Starting QEMU for a new machine, step by step; whatever fails, nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bridge.machine import bounded_log, sockets
from bridge.machine.background import BackgroundLoop
from bridge.machine.command_line import BACKEND_ID, PluginFiles, SocketFds, qemu_arguments
from bridge.machine.errors import MachineError, QemuFailed, QemuMissing, QmpCommandFailed, QmpTimeout, ShmFull
from bridge.machine.machine import Machine
from bridge.machine.mapping import physical_map_of
from bridge.machine.qemu_binary import QemuBinary
from bridge.machine.qmp import QmpConnection
from bridge.machine.ram_file import create_ram_file, remove_ram_file, trace_file_of
from bridge.machine.records import MachineRecord
from bridge.machine.saved_state import SavedState, SavedStateBroken, StateStore
from bridge.machine.states import MachineState
from bridge.machine.warm import DEVICES_FILE, resume_devices, save_when_ready
from bridge.machine.watched_process import WatchedProcess
from bridge.memory.ram import GuestRam
from bridge.trace.errors import BadTraceMemory
from bridge.trace.plugin_file import plugin_for
from bridge.trace.shared_memory import Sizes, TraceMemory

T = TypeVar("T")

# QEMU answers after some 30 ms; a host that swaps or emulates needs its time.
_FIRST_ANSWER_TIMEOUT_S = 30.0
_KILL_WAIT_S = 3.0


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """All that is decided before QEMU starts."""

    record: MachineRecord
    qemu: QemuBinary
    vcpus: int
    board: list[str]
    store: StateStore
    resume_key: str | None
    """The saved state to go on from, if it is there."""
    save_key: str | None
    """Under which to keep the state once the guest is up."""
    report: Callable[[str, float], None]
    traceable: bool = True
    """With the plugin that watches the guest's execution, where QEMU takes it."""


async def start(machine: Machine, plan: LaunchPlan, background: BackgroundLoop) -> None:
    """Start QEMU and let the guest run: resumed where a saved state serves, booted otherwise.

    Raises MachineError, GuestMemoryError or OSError.
    """
    saved = plan.store.find(plan.resume_key) if plan.resume_key is not None else None
    message = ""
    if saved is not None:
        try:
            await _start_once(machine, plan, background, saved)
        except (SavedStateBroken, QemuFailed, QmpTimeout, QmpCommandFailed) as error:
            saved.remove()
            message = f"Booted anew: {error}"
        else:
            return
    if plan.save_key is not None:
        key = plan.save_key
        machine.on_ready = lambda: machine.spawn(save_when_ready(machine, plan.store, key))
    machine.update(warm=False)
    await _start_once(machine, plan, background, None)
    machine.update(message=message)


async def _start_once(machine: Machine, plan: LaunchPlan, background: BackgroundLoop, saved: SavedState | None) -> None:
    record = plan.record
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(remove_ram_file, record.ram_path)
        create_ram_file(record.ram_path, record.ram_bytes)
        plugin = _prepare_trace(machine, plan)
        undo.callback(machine.release_ram)
        if saved is not None:
            console = saved.describe(record.ram_bytes)
            saved.restore_devices(record.directory / DEVICES_FILE)
            plan.report("Copying the saved state", 0.2)
            copying = _RamCopy(saved, record)
            undo.push_async_callback(copying.give_up)
        plan.report("Starting QEMU", 0.4)
        process = _spawn_qemu(plan, plugin, incoming=saved is not None)
        undo.push_async_callback(_kill, process)
        machine.record = record.replace(qemu=process.identity, warm=saved is not None)
        machine.record.save()
        machine.set_pid(process.identity.pid)
        qmp = await _unless_ended(
            process,
            record,
            QmpConnection.open(
                machine.name,
                record.qmp_socket,
                on_event=machine.on_event,
                on_lost=machine.on_lost,
                timeout_s=_FIRST_ANSWER_TIMEOUT_S,
            ),
            discard=QmpConnection.close,
        )
        undo.push_async_callback(qmp.close)
        undo.callback(machine.console.close)
        await machine.console.connect(sockets.connect(record.console_socket, _KILL_WAIT_S), background)
        if saved is not None:
            plan.report("Resuming the saved state", 0.7)
            await _unless_ended(process, record, copying.done())
            await _unless_ended(process, record, resume_devices(qmp, saved.path))
            (record.directory / DEVICES_FILE).unlink(missing_ok=True)
            machine.console.append(console)
        machine.console.on_output = machine.on_output
        physical_map = await _unless_ended(process, record, physical_map_of(background, qmp, BACKEND_ID))
        machine.ram = GuestRam.open(record.ram_path, physical_map)
        await _unless_ended(process, record, qmp.execute("cont"))
        machine.take(qmp=qmp, process=process, state=MachineState.RUNNING)
        undo.pop_all()
    machine.update(warm=saved is not None)
    if saved is not None:
        machine.mark_ready()
    plan.report("Running", 1.0)


def _prepare_trace(machine: Machine, plan: LaunchPlan) -> PluginFiles | None:
    """Make the shared memory for the plugin. Without one the machine runs as well, and says why it cannot be traced."""
    record = plan.record
    machine.trace, machine.trace_problem = None, ""
    if record.accelerator != "tcg":
        machine.trace_problem = "Under KVM the processor runs the guest itself: only an emulated machine can be traced."
        return None
    if not plan.traceable:
        machine.trace_problem = "It was started without the plugin that watches execution, as was asked for."
        return None
    choice = plugin_for(plan.qemu)
    if choice.path is None:
        machine.trace_problem = choice.reason
        return None
    path = trace_file_of(record.ram_path)
    path.unlink(missing_ok=True)  # of a first try
    try:
        machine.trace = TraceMemory.create(path, Sizes(pages=record.ram_bytes >> 12, vcpus=plan.vcpus))
    except (OSError, BadTraceMemory) as error:
        machine.trace_problem = f"There is no room for a trace: {error}."
        return None
    return PluginFiles(choice.path, path)


def _spawn_qemu(plan: LaunchPlan, plugin: PluginFiles | None, *, incoming: bool) -> WatchedProcess:
    record = plan.record
    with contextlib.ExitStack() as stack:
        listening = [_listen(stack, path) for path in (record.qmp_socket, record.control_socket, record.console_socket)]
        fds = [server.fileno() for server in listening]
        # Appended to, so that it can be cut short while QEMU runs.
        log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        log = os.open(record.qemu_log, log_flags, 0o600)
        stack.callback(os.close, log)
        arguments = qemu_arguments(
            plan.board,
            name=record.name,
            ram_path=record.ram_path,
            ram_bytes=record.ram_bytes,
            sockets=SocketFds(*fds),
            incoming=incoming,
            plugin=plugin,
        )
        try:
            child = subprocess.Popen(
                [str(plan.qemu.path), *arguments],
                cwd=record.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=fds,
                process_group=0,  # Ctrl+C in the terminal is Glassbox's, not QEMU's
            )
        except OSError as error:
            raise QemuMissing(f"{plan.qemu.path} could not be started: {error.strerror}.") from error
    return WatchedProcess.of_child(child)


def _listen(stack: contextlib.ExitStack, path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a first try
    try:
        server = sockets.listen(path)
    except OSError as error:
        raise MachineError(f"No socket could be made at {path}: {error.strerror}.") from error
    stack.callback(server.close)
    return server


async def _unless_ended(
    process: WatchedProcess,
    record: MachineRecord,
    work: Coroutine[Any, Any, T],
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """Do `work`, but stop at once when QEMU ends: then raise `QemuFailed` with what it said.

    `discard` is called on what was made, when it is not returned since the whole launch was given up meanwhile.
    """
    task = asyncio.ensure_future(work)
    ended = asyncio.ensure_future(process.exited.wait())
    try:
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
        failed = task.done() and task.exception() is not None
        # It may have hung up a moment before its end is seen.
        if (ended.done() and not task.done()) or (failed and await process.wait(0.2)):
            raise QemuFailed("while it started", process.exit_code, bounded_log.last_lines(record.qemu_log))
        return await task
    except asyncio.CancelledError:
        if discard is not None and task.done() and not task.cancelled() and task.exception() is None:
            await discard(task.result())
        raise
    finally:
        for each in (task, ended):
            if not each.done():
                each.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)


async def _kill(process: WatchedProcess) -> None:
    process.send_signal(signal.SIGKILL)
    await process.wait(_KILL_WAIT_S)
    process.close()


class _RamCopy:
    """The copy of a saved RAM into its file, beside QEMU's start."""

    def __init__(self, saved: SavedState, record: MachineRecord) -> None:
        self._record = record
        self._given_up = threading.Event()
        self._task = asyncio.ensure_future(asyncio.to_thread(saved.restore_ram, record.ram_path, self._given_up.is_set))

    async def done(self) -> None:
        try:
            await self._task
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise ShmFull(self._record.ram_bytes, 0, self._record.ram_path.parent) from error
            raise

    async def give_up(self) -> None:
        self._given_up.set()
        await asyncio.gather(self._task, return_exceptions=True)
