"""Guest whose work is known: computes, branches, calls, loads and stores, as much as it is told, and then sleeps."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from app.failures import CommandFailed
from bridge.machine.catalogue import own_guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.trace.modes import Mode, Policy, Wish
from bridge.trace.ring import RingReader
from bridge.trace.session import TraceSession

MIB = 1 << 20
_GO, _DONE, _ROUNDS = 0x8000, 0x8004, 0x8008
_LIMIT_S = 120.0
_POLL_S = 0.002

# 16-bit code with 32-bit operands; GNU as's syntax.
_CODE = bytes.fromhex(
    "fa31c08ed88ed0bc0070"  # cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7000,%sp
    "fbf4803e00800074f7"  # wait: sti; hlt; cmpb $0,GO; je wait
    "fac606008000668b0e0880"  # cli; movb $0,GO; movl ROUNDS,%ecx
    "66b878563412"  # movl $0x12345678,%eax
    "6689c266c1e20d6631d0"  # loop: movl %eax,%edx; shll $13,%edx; xorl %edx,%eax
    "6689c266c1ea116631d0"  # movl %eax,%edx; shrl $17,%edx; xorl %edx,%eax
    "6689c266c1e2056631d0"  # movl %eax,%edx; shll $5,%edx; xorl %edx,%eax (Marsaglia's xorshift)
    "89c381e3fc3fa8017407"  # movw %ax,%bx; andw $0x3ffc,%bx; testb $1,%al; jz even
    "6601870090eb08"  # addl %eax,0x9000(%bx); jmp both
    "668b9700906601d6"  # even: movl 0x9000(%bx),%edx; addl %edx,%esi
    "e81300f6c4307503"  # both: call f; testb $0x30,%ah; jnz skip
    "e81e00"  # call g, one time in four
    "664975ba"  # skip: decl %ecx; jnz loop
    "66ff060480eb99"  # incl DONE; jmp wait
    "66526651668b970090"  # f: pushl %edx; pushl %ecx; movl 0x9000(%bx),%edx
    "67668d3c426659665ac3"  # leal (%edx,%eax,2),%edi; popl %ecx; popl %edx; ret
    "51b908008b970090899702904975f559c3"  # g: pushw %cx; movw $8,%cx; eight words are copied, one up; popw %cx; ret
)


@dataclass(slots=True)
class WorkingGuest:
    """A machine that works when it is told to."""

    machine: Machine

    def work(self, rounds: int, limit_s: float = _LIMIT_S) -> float:
        """Have it work so many rounds. Returns the processor time that QEMU took, in seconds. Raises CommandFailed."""
        before, began = self._word(_DONE), self.processor_s()
        self._write(_ROUNDS, rounds)
        self._write(_GO, 1)
        deadline = monotonic() + limit_s
        while self._word(_DONE) == before:
            if monotonic() > deadline:
                raise CommandFailed("the guest did not end its work in time")
            sleep(_POLL_S)
        return self.processor_s() - began

    def processor_s(self) -> float:
        """What all of QEMU's threads ran so far."""
        pid = self.machine.info.pid
        ran_ns = 0
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                ran_ns += int((thread / "schedstat").read_text().split()[0])
        return ran_ns / 1e9

    def _word(self, address: int) -> int:
        assert self.machine.ram is not None
        return int.from_bytes(self.machine.ram.read_physical(address, 4), "little")

    def _write(self, address: int, value: int) -> None:
        assert self.machine.record is not None
        with self.machine.record.ram_path.open("r+b") as file:
            file.seek(address)
            file.write(value.to_bytes(4, "little"))


@contextlib.contextmanager
def working_guest(directory: Path, *, traceable: bool) -> Iterator[WorkingGuest]:
    """A machine of its own. Raises CommandFailed when it does not come up, MachineError when it cannot be started."""
    image = directory / "work.img"
    image.write_bytes(_CODE.ljust(510, b"\0") + b"\x55\xaa")
    with MachineManager(traceable=traceable) as manager:
        guest = own_guest(name="work", floppy=image, ram_bytes=16 * MIB)
        working = WorkingGuest(manager.launch(guest))
        deadline = monotonic() + _LIMIT_S
        while working._word(0x7C00) != int.from_bytes(_CODE[:4], "little"):
            if monotonic() > deadline:
                raise CommandFailed("the guest's firmware did not start it in time")
            sleep(_POLL_S)
        working._write(_DONE, 0)
        working.work(1)
        yield working


@contextlib.contextmanager
def emptied(readers: list[RingReader]) -> Iterator[None]:
    """For the length of the body somebody gives back all that comes into the rings, without a look at it."""
    stop = threading.Event()

    def empty() -> None:
        while not stop.is_set():
            if not sum(_give_back(reader) for reader in readers):
                time.sleep(_POLL_S / 10)

    thread = threading.Thread(target=empty, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _give_back(reader: RingReader) -> int:
    count = len(reader.views().records)
    reader.done(count)
    return count


@contextlib.contextmanager
def watched(session: TraceSession, mode: Mode) -> Iterator[None]:
    """That mode, for the length of the body."""
    readers = session.rings()
    with emptied(readers) if mode is Mode.TRACE else contextlib.nullcontext():
        session.set(Wish(mode, policy=Policy.HOLD))
        try:
            yield
        finally:
            session.set(Wish())
