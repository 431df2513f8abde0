"""A processor that stands, as its gdbstub tells it, and as a kernel wants it: words of its state, page tables, mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.machine.gdb_journal import Journal
from bridge.machine.gdbstub import GdbGarbage, GdbStub
from bridge.pixelcpu.outside import Space, new_state
from bridge.pixelcpu.x86_state import REGISTERS

_NEEDED = dict.fromkeys((*REGISTERS, "rip", "cr3", "cr4", "efer"), 8) | {"cs": 4, "eflags": 4}
_NEEDED |= {f"xmm{number}": 16 for number in range(16)}
_ROOT = 0x000F_FFFF_FFFF_F000  # SDM volume 3, 4.5: of CR3
_LA57, _LMA, _TRAP, _USER = 1 << 12, 1 << 10, 1 << 8, 3
_LOW = 0xFFFF_FFFF


def check_description(stub: GdbStub) -> None:
    """Raises GdbGarbage where the gdbstub tells not of all registers that are needed, in their sizes."""
    for name, size in _NEEDED.items():
        told = stub.described.get(name)
        if told is None or told.size != size:
            raise GdbGarbage(f"QEMU's gdbstub tells of no {name} of {size} bytes.")


class Frame:
    """A processor's registers, at one moment."""

    def __init__(self, stub: GdbStub, thread: str) -> None:
        """Raises GdbError."""
        self._stub, self.thread = stub, thread
        self._raw = stub.registers(thread)
        self.pc, self.stack, self.flags = self.get("rip"), self.get("rsp"), self.get("eflags")
        self.space = Space(
            self.get("cr3") & _ROOT, 5 if self.get("cr4") & _LA57 else 4, user=self.get("cs") & _USER == _USER
        )

    def bytes_of(self, name: str) -> bytes:
        """A register's."""
        where = self._stub.described[name]
        return self._raw[where.offset : where.offset + where.size]

    def get(self, name: str) -> int:
        """A register's number."""
        return int.from_bytes(self.bytes_of(name), "little")

    @property
    def vcpu(self) -> int:
        """Its number, from 0."""
        return int(self.thread.rpartition(".")[2], 16) - 1

    @property
    def is_stepped(self) -> bool:
        """The guest has each of its instructions trap."""
        return bool(self.flags & _TRAP)

    def is_64_bit(self, journal: Journal) -> bool:
        """Whether it runs 64-bit code. QEMU tells of other code only the lower halves, and takes no r8. GdbError."""
        if not self.get("efer") & _LMA:
            return False
        if self.pc > _LOW or any(self.get(name) > _LOW for name in REGISTERS):
            return True
        if any(self.get(name) for name in REGISTERS[8:]):
            return True
        number = self._stub.described["r8"].number
        journal.promise(self.thread, {number: bytes(8)})
        self._stub.write_register(number, (1).to_bytes(8, "little"))
        back = Frame(self._stub, self.thread).get("r8")
        self._stub.write_register(number, bytes(8))
        journal.fulfilled()
        return back == 1

    def state(self, halves: Mapping[int, int]) -> NDArray[np.uint64]:
        """(33,): a kernel's words. `halves`: the word of each half of an SSE register, by its number."""
        state = new_state()
        for number, name in enumerate(REGISTERS):
            state[number] = self.get(name)
        for half, word in halves.items():
            content = self.bytes_of(f"xmm{half // 2}")
            state[word] = int.from_bytes(content[8 * (half % 2) :][:8], "little")
        return state

    def changes(self, halves: Mapping[int, int], writes: int, state: NDArray[np.uint64]) -> dict[int, bytes]:
        """Registers that a kernel made others of, by gdb's numbers. `writes`: a bit a word that it may change."""
        found: dict[int, bytes] = {}
        for number, name in enumerate(REGISTERS):
            content = int(state[number]).to_bytes(8, "little")
            if writes >> number & 1 and content != self.bytes_of(name):
                found[self._stub.described[name].number] = content
        vectors: dict[str, bytearray] = {}
        for half, word in halves.items():
            if writes >> word & 1:
                name = f"xmm{half // 2}"
                content_of = vectors.setdefault(name, bytearray(self.bytes_of(name)))
                content_of[8 * (half % 2) : 8 * (half % 2) + 8] = int(state[word]).to_bytes(8, "little")
        for name, content_of in vectors.items():
            found[self._stub.described[name].number] = bytes(content_of)
        return found
