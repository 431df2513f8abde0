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

# GNU as's syntax. A boot sector that maps its first 2 MiB, and again from 0xffff800000000000 on, where its stacks are,
# as those of systems are, and the interrupt controller; and goes on in 64-bit mode. Told to work, the first processor
# starts the others anew, by INIT and SIPI, at a jump that it put at 0x6000; each works on 32 KiB of its own, with a
# stack of 4 KiB. The work is Marsaglia's xorshift for numbers that branches, places in memory and calls depend on; one
# call in four copies eight words.
_CODE = bytes.fromhex(
    "fab0fee62131c08ec08ed8"  # start: cli; mov $0xfe,%al; out %al,$0x21; xor %ax,%ax; mov %ax,%es; mov %ax,%ds
    "fcbf0010b90020f3abc70600100320"  # cld; mov $0x1000,%di; mov $0x2000,%cx; rep stosw; movw $0x2003,0x1000
    "c70600180320c70600200330c70618200330"  # movw $0x2003,0x1800; movw $0x3003,0x2000; movw $0x3003,0x2018
    "c7060030830066c706b83f8300e0fe"  # movw $0x83,0x3000; movl $0xfee00083,0x3fb8
    "66c70680407b7d0800c7068440008e"  # movl $0x80000+irq,0x4080; movw $0x8e00,0x4084
    "c6060060ea66c7060160587c0000"  # movb $0xea,0x6000; movl $ap,0x6001
    "31c08ed8660f0116937d660f011e997d"  # ap: xor %ax,%ax; mov %ax,%ds; lgdtl gdtr; lidtl idtr
    "66b8001000000f22d866b8200000000f22e0"  # mov $0x1000,%eax; mov %eax,%cr3; mov $0x20,%eax; mov %eax,%cr4
    "66b9800000c00f32660fbae8080f30"  # mov $0xc0000080,%ecx; rdmsr; bts $8,%eax; wrmsr
    "66b8010000800f22c0ea977c0800"  # mov $0x80000001,%eax; mov %eax,%cr0; ljmp $8,$long
    "41bd0000e0fe418b6d20c1ed18"  # long: mov $0xfee00000,%r13d; mov 0x20(%r13),%ebp; shr $24,%ebp
    "48bc000009000080ffff89e8c1e00c"  # mov $0xffff800000090000,%rsp; mov %ebp,%eax; shl $12,%eax
    "4829c4448d651041c1e41085ed"  # sub %rax,%rsp; lea 0x10(%rbp),%r12d; shl $16,%r12d; test %ebp,%ebp
    "752b"  # jnz work
    "fbf4803c25008000000074f4fac604250080000000"  # wait: sti; hlt; cmpb $0,GO; je wait; cli; movb $0,GO
    "41c7850003000000450c0041c7850003000006460c00"  # movl $0xc4500,0x300(%r13); movl $0xc4606,0x300(%r13)
    "8b0c25088000008d8578563412"  # work: mov ROUNDS,%ecx; lea 0x12345678(%rbp),%eax
    "4889c248c1e20d4831d04889c2"  # loop: mov %rax,%rdx; shl $13,%rdx; xor %rdx,%rax; mov %rax,%rdx
    "48c1ea074831d04889c248c1e211"  # shr $7,%rdx; xor %rdx,%rax; mov %rax,%rdx; shl $17,%rdx
    "4831d089c381e3f87f00004c01e3"  # xor %rdx,%rax; mov %eax,%ebx; and $0x7ff8,%ebx; add %r12,%rbx
    "a8017405480103eb06"  # test $1,%al; jz even; add %rax,(%rbx); jmp both
    "488b134801d6"  # even: mov (%rbx),%rdx; add %rdx,%rsi
    "e821000000f6c4307505e823000000"  # both: call f; test $0x30,%ah; jnz skip; call g
    "ffc975b5f0ff04250480000085ed"  # skip: dec %ecx; jnz loop; lock incl DONE; test %ebp,%ebp
    "0f846dffffff"  # jz wait
    "f4ebfd"  # stay: hlt; jmp stay
    "5251488b13488d3c4259"  # f: push %rdx; push %rcx; mov (%rbx),%rdx; lea (%rdx,%rax,2),%rdi; pop %rcx
    "5ac3"  # pop %rdx; ret
    "51b908000000"  # g: push %rcx; mov $8,%ecx
    "488b13488953084883c308ffc975f1"  # 1: mov (%rbx),%rdx; mov %rdx,8(%rbx); add $8,%rbx; dec %ecx; jnz 1b
    "59c3"  # pop %rcx; ret
    "50b020e6205848cf"  # irq: push %rax; mov $0x20,%al; out %al,$0x20; pop %rax; iretq
    "000000000000000000000000009a2000"  # gdt: .quad 0, 0x00209a0000000000
    "0f00837d0000"  # gdtr: .word 15; .long gdt
    "ff0f00400000"  # idtr: .word 0xfff; .long 0x4000
)


@dataclass(slots=True)
class WorkingGuest:
    """A machine that works when it is told to."""

    machine: Machine
    cpus: int = 1

    def work(self, rounds: int, limit_s: float = _LIMIT_S) -> float:
        """Have each processor work so many rounds. Returns QEMU's processor time in seconds. Raises CommandFailed."""
        before, began = self._word(_DONE), self.processor_s()
        self._write(_ROUNDS, rounds)
        self._write(_GO, 1)
        deadline = monotonic() + limit_s
        while self._word(_DONE) - before & 0xFFFFFFFF < self.cpus:
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
def working_guest(directory: Path, *, traceable: bool, cpus: int = 1) -> Iterator[WorkingGuest]:
    """A machine of its own. Raises CommandFailed when it does not come up, MachineError when it cannot be started."""
    image = directory / "work.img"
    image.write_bytes(_CODE.ljust(510, b"\0") + b"\x55\xaa")
    with MachineManager(traceable=traceable) as manager:
        guest = own_guest(name="work", floppy=image, ram_bytes=16 * MIB, cpus=cpus)
        working = WorkingGuest(manager.launch(guest), cpus)
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
