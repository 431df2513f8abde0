"""Machines whose code is known to the byte, and their traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.machine.guest import MIB
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.trace.session import TraceSession
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    floppy_guest,
    private_directories,
    shared_memory,
    wait_until,
)

GO, DONE, COUNTER, WAITED, ROUNDS = 0x8000, 0x8004, 0x9000, 0xA000, 200_000


def counting_code(rounds: int = ROUNDS) -> bytes:
    """16-bit code: again and again waits for GO, counts to `rounds` in memory, tells DONE."""
    wait = bytes.fromhex("66ff0600a0" + "803e008000" + "74f4")  # wait: inc dword [0xa000]; cmp byte [0x8000],0; jz wait
    loop = bytes.fromhex("66ff060090" + "6649" + "75f7")  # loop: inc dword [0x9000]; dec ecx; jnz loop
    begin = bytes.fromhex("fa31c08ed8")  # cli; xor ax,ax; mov ds,ax
    body = wait + bytes.fromhex("c606008000" + "66b9") + rounds.to_bytes(4, "little") + loop
    body += bytes.fromhex("66ff060480")  # inc dword [0x8004]
    again = -(len(body) + 2) & 0xFF
    return begin + body + bytes([0xEB, again])


WAIT_AT = 0x7C00 + 5
"""Physical address of the waiting in `counting_code`."""
WORK_AT = WAIT_AT + 12
"""And of what follows it: GO is taken back, …"""
LOOP_AT = WORK_AT + 5 + 6
"""… and the loop counts."""


@dataclass(slots=True)
class Counting:
    """A machine that counts when it is told to."""

    machine: Machine
    trace: TraceSession
    ram_path: Path

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into its RAM."""
        with self.ram_path.open("r+b") as file:
            file.seek(address)
            file.write(data)

    def word(self, address: int) -> int:
        assert self.machine.ram is not None
        return int.from_bytes(self.machine.ram.read_physical(address, 4), "little")

    def count(self) -> None:
        """Have it count once, and wait until it has, and the plugin has been told."""
        before = self.word(DONE)
        self.write(GO, b"\1")
        wait_until(lambda: self.word(DONE) != before)
        self.settle()

    def settle(self) -> None:
        """Wait until the plugin was told of, and has published, all that came before the waiting.

        A store is seen in RAM before the plugin is told of it. Who is in the next block is done with the one before.
        """
        before = self.word(WAITED)
        wait_until(lambda: self.word(WAITED) != before)
        self.trace.counts()  # the clerk publishes the rings' heads first


@pytest.fixture
def counting(tmp_path: Path, shared_memory: Path, private_directories: Path) -> Iterator[Counting]:  # noqa: F811
    """Of one processor."""
    with MachineManager(shared_memory=shared_memory) as manager:
        machine = manager.launch(floppy_guest(tmp_path, counting_code(), ram_bytes=16 * MIB))
        assert machine.record is not None
        made = Counting(machine, TraceSession(machine), machine.record.ram_path)
        made.write(DONE, bytes(4))
        wait_until(lambda: (made.machine.ram is not None) and made.word(0x7C00) == 0x8EC031FA)
        before = made.word(WAITED)
        wait_until(lambda: made.word(WAITED) > before)  # the firmware, whose memory this is as well, is behind it
        yield made
        machine.stop()
