"""Loops: what is claimed of all rounds holds when an independent processor runs them, in order and backwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
import pytest
import unicorn
from unicorn import x86_const

from bridge.pixelcpu.decode import BASE
from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.llvm import CompiledKernel, Window
from bridge.pixelcpu.loop_kernel import kernel_of
from bridge.pixelcpu.loop_terms import symbols
from bridge.pixelcpu.loops import Loop, loop_of
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.x86_state import FLAGS_MASK, HALVES, REGISTERS

DATA, DATA_BYTES = 0x100000, 1 << 14
NAMES = ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10", "r11")
_IDS = [getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in NAMES]

KNOWN = {
    # name: code, what it is called, what counts, what is folded
    "add rax,[rdi]; add rdi,8; dec rcx; jnz": ("4803074883c70848ffc975f4", "reduction", "rcx rdi", "sumall"),
    "add eax,[rdi+rcx*4-4]; sub rcx,1; jne": ("03448ffc4883e90175f6", "reduction", "rcx", "sumall"),
    "mov ecx,[rsi]; mov [rdi],ecx; …; cmp rsi,rax; jne": ("8b0e890f4883c6044883c7044839c675ef", "copy", "rdi rsi", ""),
    "mov [rdi],rax; add rdi,8; cmp rdi,rdx; jb": ("4889074883c7084839d772f4", "fill", "rdi", ""),
    "mov eax,[rsi+rcx*4]; imul; xor; mov [rdi+rcx*4],eax; …; jl": (
        "8b048e6bc00783f05589048f48ffc14839d17cec",
        "map",
        "rcx",
        "",
    ),
    "xor eax,ecx; dec ecx; jnz": ("31c8ffc975fa", "registers", "rcx", "xorall"),
    "movzx edx,byte [rdi]; add eax,edx; inc rdi; cmp rdi,rsi; jne": (
        "0fb61701d048ffc74839f775f3",
        "reduction",
        "rdi",
        "sumall",
    ),
    "the largest, signed": ("8b1739c20f4fc24883c704ffc975f1", "reduction", "rcx rdi", "maxsall"),
    "the smallest, unsigned": ("488b174839c2480f42c24883c708ffc975ee", "reduction", "rcx rdi", "minuall"),
    "and rax,[rdi]; or rbx,[rdi]; …": ("482307480b1f4883c70848ffc975f1", "reduction", "rcx rdi", "andall orall"),
    "add dword [rdi],3; add rdi,4; sub ecx,1; jnz": ("8307034883c70483e90175f4", "map", "rcx rdi", ""),
    "movdqu xmm0,[rsi]; paddd xmm0,xmm1; movdqu [rdi],xmm0; …": (
        "f30f6f06660ffec1f30f7f074883c6104883c7104883e90175e6",
        "map",
        "rcx rdi rsi",
        "",
    ),
    "add rax,[rdi]; add rdi,24; cmp rdi,rsi; jb": ("4803074883c7184839f772f4", "reduction", "rdi", "sumall"),
    "mov [rdi+rcx*4],eax; add rcx,4; cmp rcx,rdx; jle": ("89048f4883c1044839d17ef4", "fill", "rcx", ""),
    "mov [rdi+rcx*8],rax; sub rcx,1; jns": ("488904cf4883e90179f6", "fill", "rcx", ""),
    "mov byte [rdi+rcx],0; sub rcx,1; cmp rcx,rdx; ja": ("c6040f004883e9014839d177f3", "fill", "rcx", ""),
    "add rax,[rdi]; add rdi,8; add ecx,3; cmp edx,ecx; jg": (
        "4803074883c70883c10339ca7ff2",
        "reduction",
        "rcx rdi",
        "sumall",
    ),
    "add [rdi+rcx*4],eax; inc ecx; cmp ecx,edx; jb": ("01048fffc139d172f7", "map", "rcx", ""),
    "cmp [rdi],sil; jne; inc rax; …; dec rcx": (
        "403837750348ffc048ffc748ffc975f0",
        "reduction",
        "rcx rdi",
        "sumall",
    ),
    "cmp byte [rdi],128; jb; inc eax; …": (
        "803f807202ffc048ffc7ffc975f2",
        "reduction",
        "rcx rdi",
        "sumall",
    ),
    "the largest by a branch, signed": ("8b1739c27e0289d04883c704ffc975f0", "reduction", "rcx rdi", "maxsall"),
    "movzx eax,byte [rdi]; cmp al,sil; jbe; mov [rdi],sil; …": (
        "0fb6074038f0760340883748ffc748ffc975ed",
        "map",
        "rcx rdi",
        "",
    ),
    "mov eax,[rsi]; test eax,eax; js else; mov [rdi],eax; jmp; else: neg eax; mov [rdi],eax; …": (
        "8b0685c078048907eb04f7d889074883c6044883c70448ffc975e5",
        "map",
        "rcx rdi rsi",
        "",
    ),
    "inc rdi; cmp rdi,rdx; je out; movzx eax,byte [rdi]; …; ja first; sub eax,32; mov [rdi],al; jmp": (
        "48ffc74839d774120fb6078d489f80f91977ed83e8208807ebe6",
        "map",
        "rdi",
        "",
    ),
    "test byte [rdi],1; je; mov [rdi+1],al; jmp; else: mov [rdi+1],sil; …": (
        "f607017405884701eb04408877014883c70248ffc975e9",
        "map",
        "rcx rdi",
        "",
    ),
    "a sum that is looked at": ("030789c24883c704ffc975f4", "reduction", "rcx rdi", "sumall"),
}

REFUSED = {
    "488b3f48ffc975f8": "depends on rdi, which does not count",  # mov rdi,[rdi]
    "488b174803024883c70848ffc975f1": "loads addresses from memory",
    "88040f4801c94839d172f5": "depends on rcx, which does not count",
    "48ffc0ebfb": "It has no end",
    "48ffc0": "It is no loop",
    "0fa2ffc975fa": "asks the processor what it is",
}


@dataclass
class State:
    words: dict[str, int]
    memory: bytes
    flags: int = 0


class Processor:
    """Unicorn, with some memory."""

    def __init__(self, code: bytes) -> None:
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._uc.mem_map(BASE, 0x1000)
        self._uc.mem_map(DATA, DATA_BYTES)
        self._uc.mem_write(BASE, code)
        self._code, self.entered, self._most = code, 0, 0
        self._uc.hook_add(unicorn.UC_HOOK_CODE, self._at_header, begin=BASE, end=BASE)

    def _at_header(self, uc: unicorn.Uc, *_: object) -> None:
        if self.entered == self._most:
            uc.emu_stop()
        else:
            self.entered += 1

    def run(self, before: State, most: int) -> tuple[State, bool]:
        """The state after at most so many rounds, and whether it is at the first instruction again."""
        self.entered, self._most = 0, most
        self._uc.mem_write(DATA, before.memory)
        for number, name in zip(_IDS, NAMES, strict=True):
            self._uc.reg_write(number, before.words[name])
        self._uc.reg_write(x86_const.UC_X86_REG_EFLAGS, 2)
        self._uc.emu_start(BASE, BASE + len(self._code))
        words = {name: self._uc.reg_read(number) for number, name in zip(_IDS, NAMES, strict=True)}
        there = self._uc.reg_read(x86_const.UC_X86_REG_RIP) == BASE
        flags = self._uc.reg_read(x86_const.UC_X86_REG_EFLAGS)
        return State(words, bytes(self._uc.mem_read(DATA, DATA_BYTES)), flags), there


def some_state(chance: random.Random) -> State:
    """Pointers into the memory, small counts now and then."""
    middle = DATA + DATA_BYTES // 2
    words = {name: chance.choice((chance.getrandbits(64), chance.getrandbits(7), 1, 0)) for name in NAMES}
    for name in ("rsi", "rdi"):
        words[name] = middle + chance.randrange(-512, 512) * chance.choice((1, 4, 8))
    words["rcx"] = chance.choice((0, 1, 2, chance.randrange(200), chance.randrange(200), (1 << 32) - 3))
    words["rdx"] = chance.choice((words["rcx"] + chance.randrange(200), words["rdi"] + chance.randrange(500), 7))
    if chance.random() < 0.5:
        words["rsi"] = words["rdi"] + chance.randrange(400)
        words["rdx"] = chance.randrange(8)
    words["r8"] = chance.choice((words["rdi"] + chance.randrange(900), chance.randrange(500)))
    words["rax"] = chance.choice((words["rax"], words["rsi"] + 4 * chance.randrange(300)))
    return State(words, chance.randbytes(DATA_BYTES))


def check_in_order(loop: Loop, before: State, n_rounds: int, _chance: random.Random) -> None:
    """Run the rounds by microcode, one after the other."""
    processor = Processor(loop.code)
    try:
        there, at_header = processor.run(before, n_rounds)
    except unicorn.UcError:
        return
    if loop.trips is not None:
        assert at_header
        assert processor.entered == n_rounds
    if not n_rounds or not at_header:
        return
    registers = np.zeros(N_REGISTERS, np.uint64)
    registers[: len(REGISTERS)] = [before.words.get(register, 0) for register in REGISTERS]
    memory = ArrayMemory(np.frombuffer(bytearray(before.memory), np.uint8), DATA)
    done = kernel_of(loop, translate(loop.code)).run(n_rounds, registers, 0, memory)
    assert {register: int(done.registers[REGISTERS.index(register)]) for register in NAMES} == there.words
    assert memory.content.tobytes() == there.memory


_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "sumall": lambda a, b, _: a + b,
    "xorall": lambda a, b, _: a ^ b,
    "orall": lambda a, b, _: a | b,
    "andall": lambda a, b, _: a & b,
    "minuall": lambda a, b, _: min(a, b),
    "maxuall": lambda a, b, _: max(a, b),
    "minsall": lambda a, b, sign: min(a, b, key=lambda word: word ^ sign),
    "maxsall": lambda a, b, sign: max(a, b, key=lambda word: word ^ sign),
}


@cache
def loop_named(name: str) -> Loop:
    return loop_of(bytes.fromhex(KNOWN[name][0]))


def check(loop: Loop, before: State, n_rounds: int, chance: random.Random) -> None:
    """Run the rounds in order; then each from a state of its own, the last one first, with rubbish in what is fresh."""
    processor = Processor(loop.code)
    try:
        in_order, at_header = processor.run(before, n_rounds)
    except unicorn.UcError:
        return  # an address beyond the memory: who runs a loop looks at its streams first
    assert at_header
    assert processor.entered == n_rounds
    for name, value in loop.after(before.words, n_rounds).items():
        assert in_order.words.get(name, value) == value
    memory = bytearray(before.memory)
    parts: dict[str, list[int]] = {name: [] for name in loop.folds}
    for lane in reversed(range(n_rounds)):
        words = before.words | {k: v for k, v in loop.after(before.words, lane).items() if k in NAMES}
        words |= {name: fold.neutral for name, fold in loop.folds.items()}
        words |= {name: chance.getrandbits(64) for name in loop.fresh if name in NAMES}
        done, _ = processor.run(State(words, bytes(memory)), 1)
        memory[:] = done.memory
        for name in parts:
            parts[name].append(done.words[name])
    assert bytes(memory) == in_order.memory
    for name, fold in loop.folds.items():
        mask, sign = (1 << fold.width) - 1, 1 << (fold.width - 1)
        combine = _COMBINE[fold.operation]
        total = reduce(lambda a, b: combine(a, b, sign) & mask, parts[name], before.words[name] & mask)
        assert n_rounds == 0 or in_order.words[name] == total


def test_an_end_that_is_a_constant_is_known() -> None:
    """z3 compares the upper and the lower bits by themselves: add rdx,[rdi+rcx]; add rcx,8; cmp rcx,0x2000; jb."""
    loop = loop_of(bytes.fromhex("4803140f4883c1084881f90020000072ef"))
    assert (loop.kind, loop.ordered) == ("reduction", False)
    for rcx, expected in (
        (0, 1023),
        (8, 1022),
        (0x1FE9, 1),
        (0x1FF0, 1),
        (0x1FF8, 0),
        (0x2000, 0),
        (-8 % (1 << 64), 1024),
    ):
        words = dict.fromkeys((*REGISTERS, *HALVES), 0) | {"rcx": rcx, "rdi": 0x10000}
        assert loop.rounds(words) == expected


@pytest.mark.parametrize("name", KNOWN)
def test_rounds_may_run_in_any_order(name: str) -> None:
    _, kind, counting, folds = KNOWN[name]
    loop = loop_named(name)
    assert loop.kind == kind
    assert " ".join(sorted(loop.inductions)) == counting
    assert " ".join(fold.operation for fold in loop.folds.values()) == folds
    chance = random.Random(name)
    done = most = 0
    while done < 10 or most < 5:
        before = some_state(chance)
        n_rounds = loop.rounds(before.words)
        if n_rounds < 100:
            check(loop, before, n_rounds, chance)
            done, most = done + 1, max(most, n_rounds)


@pytest.mark.parametrize("name", KNOWN)
def test_hardly_a_round_is_left_out(name: str) -> None:
    loop = loop_named(name)
    chance = random.Random(name)
    for _ in range(16):
        before = some_state(chance)
        before.words["rcx"] &= 0xFF
        assert loop.trips is not None
        predicted = loop.trips.rounds(before.words)
        if predicted > 500 or loop.apart:
            continue
        processor = Processor(loop.code)
        processor.run(before, predicted + 3)
        assert processor.entered in (predicted, predicted + 1, predicted + 2) or predicted == 0


@pytest.mark.parametrize("hexadecimal", REFUSED)
def test_what_cannot_be_done_at_all_is_refused_with_the_reason(hexadecimal: str) -> None:
    with pytest.raises(Unsupported, match=REFUSED[hexadecimal]):
        loop_of(bytes.fromhex(hexadecimal))


@pytest.mark.parametrize("name", KNOWN)
def test_a_kernel_does_what_the_loop_does(name: str) -> None:
    """Every register, flag and byte of memory, after any number of rounds."""
    code = bytes.fromhex(KNOWN[name][0])
    kernel = kernel_of(loop_named(name), translate(code))
    compiled = CompiledKernel(kernel.rounds)
    chance = random.Random(name)
    compared = 0
    while compared < 6:
        before = some_state(chance)
        n_rounds = min(kernel.loop.rounds(before.words), chance.randrange(1, 200))
        processor = Processor(code)
        try:
            there, _ = processor.run(before, n_rounds)
        except unicorn.UcError:
            continue
        if not n_rounds:
            continue
        registers = np.zeros(N_REGISTERS, np.uint64)
        registers[: len(REGISTERS)] = [before.words.get(register, 0) for register in REGISTERS]
        memory = ArrayMemory(np.frombuffer(bytearray(before.memory), np.uint8), DATA)
        done = kernel.run(n_rounds, registers, 0, memory)
        assert {register: int(done.registers[REGISTERS.index(register)]) for register in NAMES} == there.words
        assert memory.content.tobytes() == there.memory
        assert done.flags == there.flags & FLAGS_MASK
        again = np.frombuffer(bytearray(before.memory), np.uint8)
        run = compiled.run(n_rounds, registers, 0, Window(again, DATA))  # by vectors, in place
        assert run.lanes == n_rounds
        for register in {*kernel.loop.inductions, *kernel.loop.folds} & {*NAMES}:
            assert int(run.registers[REGISTERS.index(register)]) == there.words[register]
        assert again.tobytes() == there.memory
        compared += 1


def test_no_round_at_all_is_refused() -> None:
    code = bytes.fromhex("31c8ffc975fa")
    with pytest.raises(PixelError, match="at least one round, not 0"):
        kernel_of(loop_of(code), translate(code)).run(0, np.zeros(N_REGISTERS, np.uint64))


def test_a_register_that_may_keep_its_upper_half_is_looked_at() -> None:
    loop = loop_named("the largest by a branch, signed")
    assert loop.folds["rax"].narrow
    words = dict.fromkeys(NAMES, 0) | {"rcx": 9, "rdi": DATA}
    assert loop.rounds(words | {"rax": (1 << 32) - 1}) == 8
    assert loop.rounds(words | {"rax": 1 << 32}) == 0
    assert not loop_named("the largest, signed").folds["rax"].narrow, "cmov clears it"


def test_a_store_that_may_not_be_made_is_no_load() -> None:
    loop = loop_named("mov eax,[rsi]; test eax,eax; js else; mov [rdi],eax; jmp; else: neg eax; mov [rdi],eax; …")
    assert [(stream.is_store, stream.stride) for stream in loop.streams] == [(False, 4), (True, 4)]
    assert {"kept"} & symbols(loop_named("movzx eax,byte [rdi]; cmp al,sil; jbe; mov [rdi],sil; …").streams[1].value)


def test_what_only_some_rounds_write_is_carried_on() -> None:
    """cmp [rdi],al; jne; mov ebx,[rsi]; inc rdi; add rsi,4; dec rcx; jnz: ebx may be of any round before."""
    loop = loop_of(bytes.fromhex("380775028b1e48ffc74883c60448ffc975ee"))
    assert loop.ordered
    assert "rbx" in loop.carried
    with pytest.raises(Unsupported, match="addresses from memory"):  # a pointer that moves now and then
        loop_of(bytes.fromhex("803f0074044883c60148ffc7880648ffc975ed"))


def test_a_state_that_is_not_as_assumed_runs_no_round() -> None:
    loop = loop_of(bytes.fromhex("31c8ffc975fa"))  # dec ecx
    words = dict.fromkeys(NAMES, 0)
    assert loop.rounds(words | {"rcx": 9}) == 8
    assert loop.rounds(words | {"rcx": 1 << 32 | 9}) == 0
    assert loop.rounds(words) == 0  # 2^32 rounds, through 0: QEMU begins
    copy = loop_of(bytes.fromhex("8b0e890f4883c6044883c7044839c675ef"))
    words |= {"rsi": 0x1000, "rax": 0x2000}
    assert copy.rounds(words | {"rdi": 0x8000}) == 1023
    assert copy.rounds(words | {"rdi": 0x1010}) == 3  # it reads after four what it writes now
    assert copy.rounds(words | {"rdi": 0x1001}) == 0
    assert copy.rounds(words | {"rdi": (1 << 64) - 64}) == 15  # addresses do not wrap around


_PARTS = [
    *("480307", "4883c708", "4831c3", "48891e", "4883c608", "48ffc2", "480fafda", "4c8d0c57", "4c8b0f", "4c890e"),
    *("448b5704", "4d31cb", "4883ee08", "4501d3", "4d21cb", "4c895608", "4d39d94d0f42d9", "4c010e", "4d89ca"),
    *("49c1e103", "49f7d1", "440fb617", "4883c704", "4c890cce", "4c8b0c96", "4d29d3", "49f7d9", "4d09d3", "c60607"),
]
_ENDS = ["48ffc975", "ffc975", "4c39c772", "48ffc14c39c17c", "83e90279"]


def test_whatever_is_taken_on_is_right() -> None:
    """Loops of random instructions: most are refused, and those that are not hold what was claimed."""
    chance = random.Random(7)
    taken = 0
    for _ in range(40):
        body = bytes.fromhex("".join(chance.sample(_PARTS, chance.randint(1, 5))) + chance.choice(_ENDS))
        code = body + bytes([-(len(body) + 1) & 0xFF])
        try:
            loop = loop_of(code)
        except PixelError:
            continue
        taken += 1
        for _ in range(4):
            before = some_state(chance)
            n_rounds = loop.rounds(before.words)
            if n_rounds < 40:
                (check_in_order if loop.ordered else check)(loop, before, n_rounds, chance)
    assert taken > 4
