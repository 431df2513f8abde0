"""Starting and ending a machine's gdbstub, and clearing up behind a process that was killed while it used one.

A QEMU whose gdb has gone keeps the breakpoints, and a guest that stood still stands. Whoever survives takes them away,
does what the journal says, and lets the guest go on.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bridge.machine.discovery import control, find_record
from bridge.machine.errors import MachineError
from bridge.machine.gdb_journal import Journal
from bridge.machine.gdbstub import GdbStub
from bridge.machine.run_gate import RunGate

_SOCKET = "gdb.sock"


def start_server(name: str) -> Path:
    """Have a running machine's QEMU listen for gdb. Returns where. Raises MachineError."""
    directory = find_record(name).directory
    path = directory / _SOCKET
    end_server(name)
    path.unlink(missing_ok=True)
    with control(name) as client:
        # QEMU runs in the machine's directory: a path of any length is a short one there.
        said = str(
            client.qmp("human-monitor-command", **{"command-line": f"gdbserver unix:{_SOCKET},server=on,wait=off"})
        )
    if not path.exists():
        raise MachineError(f"QEMU of '{name}' opened no gdbstub: {said.strip()[:200] or 'it did not say why'}.")
    return path


def end_server(name: str) -> None:
    """Have it listen no more. Breakpoints stay. Raises MachineError."""
    with control(name) as client:
        client.qmp("human-monitor-command", **{"command-line": "gdbserver none"})


def runs(name: str) -> bool:
    """Whether its processors run. Raises MachineError."""
    with control(name) as client:
        return bool(client.qmp("query-status")["running"])


def recover(name: str, gate: RunGate) -> None:
    """Clear up behind a process that used the gdbstub and is no more; the guest goes on where nobody wants it to stand.

    `gate`: perhaps still locked by that process: with the same open file, it is ours. Raises MachineError.
    """
    record = find_record(name)
    with gate.locked():
        with contextlib.closing(GdbStub.open(start_server(name))) as stub:
            stub.resynchronise()
            _finish(stub, record.directory, record.ram_path)
        end_server(name)
        held = gate.held
        gate.active = False
    if not held:
        with control(name) as client:
            client.qmp("cont")


def recover_if_left(name: str, directory: Path) -> None:
    """The same, where all who used it are gone; nothing happens where one is left, or none was. Raises MachineError."""
    gate = RunGate.found_in(directory)
    if gate is None:
        return
    with contextlib.closing(gate):
        user = RunGate.taken_in(directory)
        if user is not None:
            try:
                if gate.active:  # still: somebody may have done it just now
                    recover(name, gate)
            finally:
                os.close(user)


def _finish(stub: GdbStub, directory: Path, ram: Path) -> None:
    """What a call that was cut off has left to do."""
    path = Journal.path_in(directory)
    if not path.exists():
        return
    with contextlib.closing(Journal(path)) as journal:
        promised = journal.promised
        if promised is not None:
            thread, registers = promised
            stub.registers(thread)  # from now on it is this processor's
            for number, content in registers.items():
                stub.write_register(number, content)
        else:
            with ram.open("r+b") as file:
                for offset, content in journal.entries():
                    file.seek(offset)
                    file.write(content)
        journal.fulfilled()
