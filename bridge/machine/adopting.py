"""Taking over a machine whose Glassbox has ended: its monitor, its console with all that was printed, its RAM."""

from __future__ import annotations

import contextlib

from bridge.machine import bounded_log, sockets
from bridge.machine.background import BackgroundLoop
from bridge.machine.command_line import BACKEND_ID
from bridge.machine.console import HISTORY_BYTES
from bridge.machine.errors import MachineError, MachineGone
from bridge.machine.machine import Machine
from bridge.machine.mapping import physical_map_of
from bridge.machine.qmp import QmpConnection
from bridge.machine.ram_file import trace_file_of
from bridge.machine.records import MachineRecord
from bridge.machine.states import MachineState
from bridge.machine.watched_process import WatchedProcess
from bridge.memory.ram import GuestRam

_CONNECT_TIMEOUT_S = 3.0
# Its Glassbox was killed while it saved the guest's state, or just before it let the guest run: it waits to go on.
_INTERRUPTED = frozenset({"postmigrate", "prelaunch"})


async def adopt_on_loop(machine: Machine, record: MachineRecord, background: BackgroundLoop) -> None:
    """Connect `machine` to the running QEMU of `record`, which is this process's already.

    When it fails, the machine is left as it was found, without an owner.
    """
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(_disown, machine, record)
        process = WatchedProcess.of_running(record.qemu) if record.qemu is not None else None
        if process is None:
            raise MachineGone(record.name)
        undo.callback(process.close)
        qmp = await QmpConnection.open(
            record.name, record.qmp_socket, on_event=machine.on_event, on_lost=machine.on_lost
        )
        undo.push_async_callback(qmp.close)
        interrupted = await qmp.settle_migration()
        status = await qmp.status()
        interrupted = interrupted or status in _INTERRUPTED
        running = status == "running"
        if status == "inmigrate":
            raise MachineError(f"'{record.name}' was cut off while it was being resumed, and has no state. Stop it.")
        try:
            connected = sockets.connect(record.console_socket, _CONNECT_TIMEOUT_S)
        except OSError as error:
            raise MachineError(f"The console of '{record.name}' cannot be reached: {error.strerror}.") from error
        undo.callback(connected.close)
        # The guest stands still for a moment, so that what is in the log and what comes by the socket is all, once.
        if running:
            await qmp.execute("stop")
        try:
            history = bounded_log.read_tail(record.console_log, HISTORY_BYTES)
            machine.console.append(history)
            machine.console.on_output = machine.on_output
            await machine.console.connect(connected, background)
        finally:
            if running or interrupted:
                await qmp.let_go_on()
                running = True
        machine.ram = GuestRam.open(record.ram_path, await physical_map_of(background, qmp, BACKEND_ID))
        undo.callback(machine.release_ram)
        machine.open_trace(trace_file_of(record.ram_path))
        machine.take(qmp=qmp, process=process, state=MachineState.RUNNING if running else MachineState.PAUSED)
        undo.pop_all()
    if record.ready or (record.ready_marker is not None and record.ready_marker in history):
        machine.mark_ready()


def _disown(machine: Machine, record: MachineRecord) -> None:
    machine.record = None  # its files are not ours to remove
    with contextlib.suppress(OSError):
        record.replace(owner=None).save()
