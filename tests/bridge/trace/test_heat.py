"""The mode heat tells several accesses at once; what it tells is what the mode trace tells one by one, of any code."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.trace.layout import layout
from bridge.trace.modes import Filters, Mode, Policy, Recorded, Wish
from bridge.trace.session import TraceSession
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    floppy_guest,
    private_directories,
    shared_memory,
    wait_until,
)

MIB = 1 << 20
GO, DONE, CALLED = 0x8000, 0x8004, 0x8008
PROGRAMS, PROGRAM_BYTES = 0x100000, 0x4000
DATA, DATA_END = 0x180000, 0x1C0000
HIGH = 0xFFFF800000000000
"""The same 2 MiB are there once more."""

# Maps 2 MiB twice, by pages of 4 KiB, two of which have changed places; in 64-bit mode it calls what it is told.
BOOT = """
.code16
 cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%es; cld
 mov $0x1000,%di; mov $0x2000,%cx; rep stosw
 movw $0x2003,0x1000; movw $0x2003,0x1800; movw $0x3003,0x2000; movw $0x4003,0x3000
 mov $0x4000,%di; mov $3,%eax
1: mov %eax,(%di); add $0x1000,%eax; add $8,%di; cmp $0x5000,%di; jne 1b
 movl $0x194003,0x4000+0x191*8; movl $0x191003,0x4000+0x194*8
 lgdtl gdtr; mov $0x1000,%eax; mov %eax,%cr3; mov $0x620,%eax; mov %eax,%cr4
 mov $0xc0000080,%ecx; rdmsr; bts $8,%eax; wrmsr; mov $0x80000001,%eax; mov %eax,%cr0; ljmp $8,$long
.code64
long: mov $0xffff800000090000,%rsp
wait: pause; cmpb $0,0x8000; je wait
 movb $0,0x8000; mov %rsp,0x8010; mov 0x8008,%eax; jmp *%rax
back: mov 0x8010,%rsp; incl 0x8004; jmp wait
.align 8
gdt: .quad 0, 0x00209a0000000000
gdtr: .word 15; .long gdt
.org 500
 jmp back
"""
BACK = 0x7C00 + 500
BASES = ("rbx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r12", "r13", "r14", "rsp")
FORMS = (
    *("mov {m},%rax", "mov %rax,{m}", "movl $5,{m}", "movb %al,{m}", "movzbl {m},%eax", "movswq {m},%rdx"),
    *("add %rax,{m}", "add {m},%rdx", "incl {m}", "negq {m}", "shlq $3,{m}", "shlq %cl,{m}", "cmpq $7,{m}"),
    *("testb $1,{m}", "sete {m}", "imul {m},%rdx", "mulq {m}", "btsq $3,{m}", "adcl $1,{m}", "cmovzq {m},%rax"),
    *("lock xaddq %rax,{m}", "xchg %rax,{m}", "lock incq {m}", "cmpxchg %rdx,{m}", "pushq {m}", "popq {m}"),
    *("movups {m},%xmm0", "movups %xmm0,{m}", "movsd {m},%xmm1", "pxor %xmm1,%xmm1", "fldl {m}", "fstpl {m}"),
    *("movnti %rax,{m}", "lea {m},%rdx", "prefetcht0 {m}", "mov %fs:{m},%rax", "mov %rax,%gs:{m}", "bt $2,%eax"),
)
STEPS = (
    *("lea {d}({b}),{b}", "add ${d},{b}", "sub ${d},{b}", "inc {b}", "mov {b},{c}", "lea {d}({c}),{b}", "push %rax"),
    *("pop %rax", "push {b}", "call 1f; 1: pop %rdx", "push $3; popfq", "xor %eax,%eax", "mul %rdx", "cltd"),
)


def program(source: random.Random) -> str:
    """Code that accesses the data in all kinds of ways, often around the borders of pages, and once changes itself.

    No address depends on what is in memory: two runs are the same.
    """

    def somewhere() -> int:
        page = source.randrange(DATA + 0x8000, DATA_END - 0x8000, 0x1000)
        return page + source.choice((source.randrange(-400, 400), source.randrange(4096), 16 * source.randrange(200)))

    def placed(base: str) -> str:
        return f"movabs ${somewhere() + source.choice((0, HIGH)):#x},%{base}"

    lines = [placed(base) for base in BASES] + ["mov $3,%ecx; xor %eax,%eax; xor %edx,%edx", "fninit"]
    for step in range(700):
        base, other = source.choice(BASES), source.choice(BASES)
        kind = source.random()
        if kind < 0.05:
            lines.append(placed(base))
        elif kind < 0.2:
            form = source.choice(STEPS)
            if "{c}" in form and source.random() < 0.8:
                continue
            distance = source.randrange(-64, 64)
            lines.append(form.format(b=f"%{base}", c=f"%{other}", d=distance))
        elif kind < 0.23:
            lines.append(f"jz 2f; nop; 2: test %eax,%eax; jnz 3f; nop; 3: mov ${source.randrange(9)},%ecx")
        elif kind < 0.25:
            lines += [placed("rsi"), placed("rdi"), "mov $40,%ecx", source.choice(("rep movsb", "rep stosq"))]
        elif kind < 0.28:  # what is known of addresses is forgotten; then both sides of a border, the far one first
            border = source.choice((0x191000, 0x192000, 0x194000, 0x195000, 0x1A0000)) + source.choice((0, HIGH))
            lines += [f"movabs ${border:#x},%{base}", "mov %cr3,%rax; mov %rax,%cr3"]
            lines += [
                source.choice(FORMS[:4]).format(m=f"{side}(%{base})") for side in source.choice(((-24, 8), (8, -24)))
            ]
        elif kind < 0.29:
            lines.append(f"movb ${step & 127},4f+1(%rip); jmp 4f; 4: mov $0,%al")
        else:
            index = source.choice(("", "", ",%rcx,2", ",%rcx"))
            size = source.randrange(-100, 100)
            lines.append(source.choice(FORMS).format(m=f"{size}(%{base}{index})"))
    return ".code64\n" + "\n".join(lines) + f"\nmov ${BACK:#x},%eax\njmp *%rax\n"


def assembled(directory: Path, text: str, origin: int) -> bytes:
    """The code of that source, by GNU as."""
    source, made, code = directory / "one.s", directory / "one.o", directory / "one.bin"
    source.write_text(text)
    subprocess.run(["as", "--64", "-o", str(made), str(source)], check=True)
    link = ["ld", "--oformat", "binary", "-e", "0", f"-Ttext={origin:#x}", "-o", str(code), str(made)]
    subprocess.run(link, check=True, capture_output=True)
    return code.read_bytes()


@pytest.fixture
def guest(tmp_path: Path, shared_memory: Path, private_directories: Path) -> Iterator[Machine]:  # noqa: F811
    code = assembled(tmp_path, BOOT, 0x7C00)
    with MachineManager(shared_memory=shared_memory) as manager:
        machine = manager.launch(floppy_guest(tmp_path, code, ram_bytes=16 * MIB))
        wait_until(lambda: machine.ram is not None and machine.ram.read_physical(0x7C00, len(code)) == code)
        yield machine


def test_what_is_told_at_once_is_what_is_told_one_by_one(guest: Machine, tmp_path: Path) -> None:
    session, source = TraceSession(guest), random.Random(4)
    assert guest.record is not None
    pages = slice(PROGRAMS >> 12, 0x200)
    accesses = 0
    for number in range(12):
        at = PROGRAMS + number * PROGRAM_BYTES
        code = assembled(tmp_path, program(source), at)
        assert len(code) <= PROGRAM_BYTES
        _write(guest, at, code)
        _write(guest, CALLED, at.to_bytes(4, "little"))
        session.set(
            Wish(Mode.TRACE, frozenset({Recorded.LOADS, Recorded.STORES}), Policy.DROP, Filters(at, at + 0x4000))
        )
        reader = session.rings()[0]
        reader.done(reader.waiting())
        _run(guest)
        session.set(Wish(Mode.HEAT))
        one_by_one = _by_page(reader.read().records)
        before = session.memory.heat[0].copy()
        _run(guest)
        session.set(Wish())
        after = session.memory.heat[0]
        at_once = np.array([after[name][:0x200] - before[name][:0x200] for name in ("loads", "stores")]).astype(
            np.int64
        )
        differ = np.argwhere(one_by_one[:, pages] != at_once[:, pages])
        assert not len(differ), (
            number,
            differ,
            one_by_one[:, pages][tuple(differ.T)],
            at_once[:, pages][tuple(differ.T)],
        )
        accesses += int(at_once[:, pages].sum())
    assert accesses > 5000


def _by_page(records: NDArray[np.void]) -> NDArray[np.int64]:
    """(2, 512): loads and stores of each page. An access that reaches into a second page is one of both."""
    found = np.zeros((2, 0x200), np.int64)
    stores = (records["kind"] == layout().constants["RECORD_STORE"]).astype(int)
    first = records["physical"].astype(np.int64)
    np.add.at(found, (stores, first >> 12), 1)
    crosses = (first & 4095) + records["size"] > 4096
    behind = (records["virtual_address"][crosses].astype(np.int64) >> 12 & 0x1FF) + 1
    np.add.at(found, (stores[crosses], _place(behind)), 1)
    return found


def _place(pages: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the boot sector put these pages."""
    return np.where(pages == 0x191, 0x194, np.where(pages == 0x194, 0x191, pages))


def _write(guest: Machine, address: int, data: bytes) -> None:
    assert guest.record is not None
    with guest.record.ram_path.open("r+b") as file:
        file.seek(address)
        file.write(data)


def _run(guest: Machine) -> None:
    def done() -> int:
        assert guest.ram is not None
        return int.from_bytes(guest.ram.read_physical(DONE, 4), "little")

    before = done()
    _write(guest, GO, b"\1")
    wait_until(lambda: done() != before)
