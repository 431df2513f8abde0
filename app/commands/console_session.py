"""A machine's serial console on the terminal that `glassbox run` was typed in."""

import os
import select
import sys
import termios
import threading
import tty

from app.output import write_bytes
from bridge.machine.machine import Machine
from bridge.machine.states import MachineState

LEAVE_KEY = b"\x1d"  # Ctrl+], as in telnet and virsh console
_POLL_S = 0.02


class ConsoleSession:
    """Copies console output to standard output and, on a terminal, keys to the guest, until either side ends."""

    def __init__(self, machine: Machine, *, interactive: bool) -> None:
        self._machine = machine
        self._interactive = interactive and sys.stdin.isatty()
        self._show = interactive
        self._ended = threading.Event()
        machine.subscribe(lambda _event: self._check_ended())

    def run(self) -> None:
        """Block until the guest has ended or the user leaves by Ctrl+] (or an interrupt, which is raised)."""
        saved = termios.tcgetattr(sys.stdin) if self._interactive else None
        try:
            if self._interactive:
                tty.setraw(sys.stdin)
            self._copy()
        finally:
            if saved is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)

    def _copy(self) -> None:
        position = 0
        while True:
            ended = self._ended.is_set()
            position, data = self._machine.console.read_since(position)
            if data and self._show:
                write_bytes(data)
            if ended and not data:
                return
            if self._interactive and select.select([sys.stdin], [], [], _POLL_S)[0]:
                keys = os.read(sys.stdin.fileno(), 4096)
                if not keys or LEAVE_KEY in keys:
                    return
                self._machine.console.write(keys)
            elif not self._interactive:
                self._check_ended()
                self._ended.wait(_POLL_S)

    def _check_ended(self) -> None:
        if self._machine.info.state in (MachineState.STOPPED, MachineState.CRASHED):
            self._ended.set()
