"""Hybrid execution with a QEMU that has no plugin interface for it: the table's kernels run by QEMU's gdbstub.

A process of its own does it (bridge/pixelcpu/gdb_worker.py). It and this one look after each other: when this one ends,
however, the other clears up and lets the guest go on; when the other one does, this one does the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from bridge.machine.discovery import find_record
from bridge.machine.errors import MachineError
from bridge.machine.gdb_journal import Journal
from bridge.machine.gdb_recovery import end_server, recover, recover_if_left, runs, start_server
from bridge.machine.run_gate import RunGate
from bridge.pixelcpu.errors import WorkerLost
from bridge.pixelcpu.gdb_worker import LOUD, QUIET, READY, TAKE, Wanted
from bridge.pixelcpu.hybrid import KernelTable, NoTakeover
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.outside import LIBRARY
from bridge.trace.modes import Mode, Wish
from bridge.trace.session import TraceSession

_ROOT = Path(__file__).parents[2]
_LOST = "The process that runs kernels beside QEMU has ended, or hangs."
_CLEARED_UP_S, _POLL_S = 3.0, 0.01
_START_S, _ANSWER_S, _END_S = 20.0, 15.0, 15.0


class GdbHybrid(KernelTable):
    """A machine's table, and the process that runs what is in it. `close` it. Thread-safe."""

    counts_rounds = False
    way = "gdbstub"

    def why_not(self, loop: NativeLoop) -> str:
        """Why a loop cannot be done in this way, in a sentence; empty where it can."""
        if loop.ends_itself:
            return "How many rounds it runs is not known beforehand, and QEMU's gdbstub is worth it for many only."
        return ""

    def __init__(self, session: TraceSession, *, eager: bool = False) -> None:
        """`eager`: kernels do all that they can, whether it is worth a stop or not. Stops the guest for a moment.

        Raises NoTakeover, WorkerLost, MachineError, TraceError.
        """
        super().__init__(session)
        if not LIBRARY.exists():
            raise NoTakeover("What runs kernels beside QEMU is not built (./glassbox builds it).")
        self._name, self._eager, self._on = session.machine_name, eager, False
        directory = find_record(self._name).directory
        recover_if_left(self._name, directory)
        deadline = time.monotonic() + _CLEARED_UP_S
        while (user := RunGate.taken_in(directory)) is None:  # who clears up has it as well, for a moment
            if time.monotonic() > deadline:
                raise NoTakeover(f"Loops of '{self._name}' are done by kernels through its gdbstub already.")
            time.sleep(_POLL_S)
        try:
            self._gate, self._process, self._control = self._started(user)
        except BaseException:
            os.close(user)
            raise
        self._user = user
        self._ends = False
        self._watcher = threading.Thread(target=self._watch, name="gdb-worker", daemon=True)
        self._watcher.start()

    @property
    def on(self) -> bool:
        """Whether loops are taken over."""
        return self._on and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that does it."""
        return self._process.pid

    def check(self) -> None:
        """Raises WorkerLost."""
        if not self._ends and self._process.poll() is not None:
            raise WorkerLost(_LOST)

    def close(self) -> None:
        """Take all breakpoints away, and end the process. Does nothing the second time."""
        with self._lock:
            self._ends, self._on = True, False
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._watcher.join()
        self._control.close()

    def _take_over(self, *, on: bool) -> None:
        if on and not int(self._memory.plugin["parts"]):
            self._session.set(Wish(Mode.COUNTERS))  # the plugin tells where loops are, and which pages hold code
        self._ask(TAKE)
        self._ask(LOUD if on else QUIET)
        self._on = on

    def _ask(self, order: bytes) -> None:
        try:
            self._control.send(order)
            if select.select([self._control], [], [], _ANSWER_S)[0] and self._control.recv(1) == order:
                return
        except OSError:
            pass
        self._process.kill()  # it hangs, if it has not ended: what it left is cleared up
        raise WorkerLost(_LOST)

    def _started(self, user: int) -> tuple[RunGate, subprocess.Popen[bytes], socket.socket]:
        record = find_record(self._name)
        Journal(Journal.path_in(record.directory)).close()
        gate = RunGate.made_in(record.directory)
        ours, theirs = socket.socketpair()
        try:
            with gate.locked():
                gate.active = True  # first: from now on nobody stops it or lets it go on
                gate.held = not runs(self._name)
                stub = start_server(self._name)
            assert self._memory.path is not None
            wanted = Wanted(
                trace=str(self._memory.path),
                ram=str(record.ram_path),
                directory=str(record.directory),
                stub=str(stub),
                gate_fd=gate.fd,
                control_fd=theirs.fileno(),
                eager=self._eager,
            )
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    "from bridge.pixelcpu.gdb_worker import main; main()",
                    json.dumps(dataclasses.asdict(wanted)),
                ],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                pass_fds=(gate.fd, user, theirs.fileno()),
                start_new_session=True,  # who kills Glassbox's group does not kill it, and it clears up
            )
        except BaseException:
            gate.active = False
            for one in (ours, theirs, gate):
                one.close()
            raise
        theirs.close()
        ready = select.select([ours], [], [], _START_S)[0]
        if not ready or ours.recv(1) != READY:
            process.kill()
            process.wait()
            self._clear_up(gate)
            ours.close()
            gate.close()
            raise WorkerLost("The process that runs kernels beside QEMU did not start.")
        return gate, process, ours

    def _watch(self) -> None:
        """When the process ends otherwise than it should, clear up behind it."""
        self._process.wait()
        self._on = False
        if self._process.returncode:
            self._clear_up(self._gate)
        self._gate.close()
        os.close(self._user)

    def _clear_up(self, gate: RunGate) -> None:
        with contextlib.suppress(MachineError):  # it may have been killed because the machine is gone
            recover(self._name, gate)
            return
        with contextlib.suppress(MachineError):
            end_server(self._name)
