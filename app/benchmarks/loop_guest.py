"""Guest that runs one piece of 64-bit code at a time, from registers and memory that it is given, through page tables
that its host lays; page faults, timer interrupts and single steps are handled and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from numpy.typing import NDArray

from app.failures import CommandFailed
from bridge.machine.catalogue import own_guest
from bridge.machine.guest import Guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager

MIB = 1 << 20
PAGE = 4096
AREA = 1 << 39
"""Where the host's pages begin, for the guest; below is all RAM's first 2 MiB as it lies."""
FIRST_PAGE = 2 * MIB
"""RAM from here on is the host's to lay out."""
PRESENT, WRITABLE, USER, ACCESSED, DIRTY = 1, 2, 4, 0x20, 0x40
READY = PRESENT | WRITABLE | ACCESSED | DIRTY
_TABLE_PAGES = 128
"""Of last-level entries: 512 pages each."""
_GO, _DONE, _FAULTS, _TICKS, _TRAPS = 0x8000, 0x8004, 0x8008, 0x800C, 0x8010
_BEFORE, _AFTER, _RUN, _IDT = 0x9000, 0xA000, 0x10000, 0x7000
_LIMIT_S = 300.0
_POLL_S = 0.0001

# GNU as's syntax. The boot sector maps its first 2 MiB, goes on in 64-bit mode, and waits to be told.
_BOOT = bytes.fromhex(
    "fa31c08ed88ec0fcbf0010b90020f3ab"  # cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%es; cld; mov $0x1000,%di; … rep stosw
    "c70600100320c70600200330c70600308300"  # movw $0x2003,0x1000; movw $0x3003,0x2000; movw $0x83,0x3000
    "66b8001000000f22d866b8200600000f22e0"  # mov $0x1000,%eax; mov %eax,%cr3; mov $0x620,%eax; mov %eax,%cr4
    "66b9800000c00f32660fbae8080f30660f0116907c"  # mov $0xc0000080,%ecx; rdmsr; bts $8,%eax; wrmsr; lgdtl gdtr
    "66b8010001800f22c0ea577c0800"  # mov $0x80010001,%eax; mov %eax,%cr0; ljmp $8,$long
    "bc00700000f390803c25008000000074f4"  # long: mov $0x7000,%esp; wait: pause; cmpb $0,GO; je wait
    "c604250080000000b800000100ffe090"  # movb $0,GO; mov $0x10000,%eax; jmp *%rax
    "000000000000000000000000009a200000000000009200001700787c0000"  # gdt; gdtr
)
# lidt; mov 0x9098,%rax; mov %rax,%cr3; the timer's rate from 0x90b0; SSE registers from 0x9100, mov $0x6f00,%esp, the
# others from 0x9000, rax last; pushq 0x9080; popfq; jmp *0x9088
_BEGIN = bytes.fromhex(
    "0f011c25f06f0000488b0425989000000f22d8b034e643488b0425b0900000e64088e0e640f30f6f042500910000f30f6f0c"
    "2510910000f30f6f142520910000f30f6f1c2530910000f30f6f242540910000f30f6f2c2550910000f30f6f342560910000"
    "f30f6f3c2570910000f3440f6f042580910000f3440f6f0c2590910000f3440f6f1425a0910000f3440f6f1c25b0910000f3"
    "440f6f2425c0910000f3440f6f2c25d0910000f3440f6f3425e0910000f3440f6f3c25f0910000bc006f0000488b0c250890"
    "0000488b142510900000488b1c2518900000488b2c2528900000488b342530900000488b3c25389000004c8b042540900000"
    "4c8b0c25489000004c8b1425509000004c8b1c25589000004c8b2425609000004c8b2c25689000004c8b3425709000004c8b"
    "3c2578900000488b042500900000ff3425809000009dff2425889000 00".replace(" ", "")
)
# pushfq; popq 0xa080; cli; all registers to 0xa000, SSE registers to 0xa100; lock incl DONE; wait again
_END = bytes.fromhex(
    "9c8f042580a00000fa4889042500a0000048890c2508a000004889142510a0000048891c2518a000004889242520a0000048"
    "892c2528a000004889342530a0000048893c2538a000004c89042540a000004c890c2548a000004c89142550a000004c891c"
    "2558a000004c89242560a000004c892c2568a000004c89342570a000004c893c2578a00000f30f7f042500a10000f30f7f0c"
    "2510a10000f30f7f142520a10000f30f7f1c2530a10000f30f7f242540a10000f30f7f2c2550a10000f30f7f342560a10000"
    "f30f7f3c2570a10000f3440f7f042580a10000f3440f7f0c2590a10000f3440f7f1425a0a10000f3440f7f1c25b0a10000f3"
    "440f7f2425c0a10000f3440f7f2c25d0a10000f3440f7f3425e0a10000f3440f7f3c25f0a10000f0ff042504800000f39080"
    "3c25008000000074f4c604250080000000b800000100ffe0"
)
# A page fault: push rax, rdx; incl FAULTS; of cr2 less 0x90a0 the entry in the tables at 0x90a8 |= 0x63; invlpg; iretq
_FAULT = bytes.fromhex(
    "5052ff0425088000000f20d04889c2482b1425a090000048c1ea0c48c1e20348031425a890000048830a630f01385a584883c40848cf"
)
_IRQ = bytes.fromhex("50ff04250c800000b020e6205848cf")  # push %rax; incl TICKS; end of interrupt; pop %rax; iretq
_TRAP = bytes.fromhex("ff04251080000048cf")  # incl TRAPS; iretq
_END_AT, _FAULT_AT, _IRQ_AT, _TRAP_AT = _RUN + 0x200, _RUN + 0x400, _RUN + 0x480, _RUN + 0x4C0
_BACK = bytes.fromhex("ff242590900000")  # jmp *0x9090: behind the code under test
_INTERRUPTS = 0x202
_TABLES = 1 * MIB
"""Page tables of the area: one each of the upper levels, then `_TABLE_PAGES` of the last."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left."""

    registers: NDArray[np.uint64]
    """(16,), rax, rcx, rdx, rbx, rsp …"""
    flags: int
    vectors: NDArray[np.uint64]
    """(16, 2): xmm0 to xmm15, lower half first."""
    faults: int
    ticks: int
    """Timer interrupts."""
    traps: int
    """Of instructions that were stepped through."""
    took_s: float


class LoopGuest:
    """One machine; for one thread."""

    def __init__(self, machine: Machine, ram: NDArray[np.uint8]) -> None:
        """`ram`: (n,) uint8, its RAM, writable."""
        self.machine, self.ram = machine, ram
        self._put(_RUN, _BEGIN.ljust(0x200, b"\0"))
        self._put(_END_AT, _END)
        self._put(_FAULT_AT, _FAULT)
        self._put(_IRQ_AT, _IRQ)
        self._put(_TRAP_AT, _TRAP)
        for vector, handler in ((1, _TRAP_AT), (8, _IRQ_AT), (14, _FAULT_AT)):
            gate = handler & 0xFFFF | 8 << 16 | 0x8E00 << 32 | (handler >> 16) << 48
            self._put(_IDT + 16 * vector, gate.to_bytes(8, "little") + bytes(8))
        self._put(0x6FF0, (0xFFF).to_bytes(2, "little") + _IDT.to_bytes(8, "little"))
        upper = PRESENT | WRITABLE | USER | ACCESSED  # the last level decides
        self._words(0x1000)[1] = _TABLES | upper
        self._words(_TABLES)[0] = (_TABLES + PAGE) | upper
        for number in range(_TABLE_PAGES):
            self._words(_TABLES + PAGE)[number] = (_TABLES + (2 + number) * PAGE) | upper
        self._set_word(0x9090, _END_AT)
        self._set_word(0x9098, 0x1000)
        self._set_word(0x90A0, AREA)
        self._set_word(0x90A8, _TABLES + 2 * PAGE)
        self.entries[:] = 0

    @property
    def entries(self) -> NDArray[np.uint64]:
        """(pages,): the area's page-table entries. What is changed holds from the next run on."""
        first = _TABLES + 2 * PAGE
        return self.ram[first : first + _TABLE_PAGES * PAGE].view(np.uint64)

    @property
    def faults(self) -> int:
        """Page faults since its start."""
        return self._count(_FAULTS)

    def map_pages(self, first: int, frames: Sequence[int] | NDArray[np.integer], bits: int = READY) -> None:
        """Have the area's pages from `first` on be these page frames."""
        self.entries[first : first + len(frames)] = np.asarray(frames, np.uint64) * np.uint64(PAGE) | np.uint64(bits)

    def run(
        self,
        code: bytes,
        at: int,
        registers: Sequence[int],
        *,
        flags: int = 2,
        vectors: NDArray[np.uint64] | None = None,
        timer_hz: int = 0,
        limit_s: float = _LIMIT_S,
    ) -> Outcome:
        """Run code that ends at its end. `at`: where it is put, below 2 MiB: physical, and the same for the guest.

        `registers`: 16, of which rsp is not used. `timer_hz`: interrupts; 0: none. Raises CommandFailed.
        """
        faults, ticks, traps = (self._count(place) for place in (_FAULTS, _TICKS, _TRAPS))
        began = monotonic()
        self.wait(self.start(code, at, registers, flags=flags, vectors=vectors, timer_hz=timer_hz), limit_s)
        took_s = monotonic() - began
        return Outcome(
            self._words(_AFTER)[:16].copy(),
            int(self._words(_AFTER)[16]),
            self._words(0xA100)[:32].copy().reshape(16, 2),
            self._count(_FAULTS) - faults & 0xFFFFFFFF,
            self._count(_TICKS) - ticks & 0xFFFFFFFF,
            self._count(_TRAPS) - traps & 0xFFFFFFFF,
            took_s,
        )

    def start(
        self,
        code: bytes,
        at: int,
        registers: Sequence[int],
        *,
        flags: int = 2,
        vectors: NDArray[np.uint64] | None = None,
        timer_hz: int = 0,
    ) -> int:
        """Begin, as `run` does, and do not wait for the end: `wait` does, which takes what is given back."""
        done = self._count(_DONE)
        self._put(at, code + _BACK)
        self._words(_BEFORE)[:16] = np.array([one % (1 << 64) for one in registers], np.uint64)
        self._set_word(0x9080, flags | (_INTERRUPTS if timer_hz else 0))
        self._set_word(0x9088, at)
        self._set_word(0x90B0, min(0xFFFF, 1_193_182 // timer_hz) if timer_hz else 0xFFFF)
        self._words(0x9100)[:32] = 0 if vectors is None else vectors.reshape(-1)
        self.ram[_GO] = 1
        return done

    def wait(self, started: int, limit_s: float = _LIMIT_S) -> None:
        """Wait until what was started last has come to its end: the guest's memory may tell of it before.

        Raises CommandFailed.
        """
        began = monotonic()
        while self._count(_DONE) == started:
            if monotonic() - began > limit_s or not self.machine.runs:
                raise CommandFailed("the guest did not come to the end of its code in time")
            sleep(_POLL_S)

    def _count(self, place: int) -> int:
        return int(self.ram[place : place + 4].view(np.uint32)[0])

    def _words(self, place: int) -> NDArray[np.uint64]:
        return self.ram[place : place + PAGE].view(np.uint64)

    def _set_word(self, place: int, value: int) -> None:
        self.ram[place : place + 8].view(np.uint64)[0] = value

    def _put(self, place: int, data: bytes) -> None:
        self.ram[place : place + len(data)] = np.frombuffer(data, np.uint8)


def loops_to_launch(directory: Path, *, ram_bytes: int = 64 * MIB, cpus: int = 1) -> Guest:
    """The guest, for whoever launches machines; `directory` is to keep its disk."""
    image = directory / "loops.img"
    image.write_bytes(_BOOT.ljust(510, b"\0") + b"\x55\xaa")
    return own_guest(name="loops", floppy=image, ram_bytes=ram_bytes, cpus=cpus)


def loops_on(machine: Machine) -> LoopGuest:
    """The guest on its machine, once it has started. Raises CommandFailed when it does not come up."""
    assert machine.record is not None
    deadline = monotonic() + _LIMIT_S
    with machine.record.ram_path.open("r+b") as file:
        ram = np.memmap(file, np.uint8, "r+")
    while bytes(ram[0x7C00:0x7C04]) != _BOOT[:4] or machine.ram is None or int(ram[0x1000]) != 0x23:
        if monotonic() > deadline:
            raise CommandFailed("the guest's firmware did not start it in time")
        sleep(_POLL_S)
    return LoopGuest(machine, ram)


@contextlib.contextmanager
def loop_guest(directory: Path, *, ram_bytes: int = 64 * MIB, cpus: int = 1) -> Iterator[LoopGuest]:
    """A machine of its own. Raises CommandFailed when it does not come up, MachineError when it cannot be started."""
    with MachineManager(traceable=True) as manager:
        yield loops_on(manager.launch(loops_to_launch(directory, ram_bytes=ram_bytes, cpus=cpus)))
