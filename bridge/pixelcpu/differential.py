"""Translations tried out: Unicorn runs the x86 code and numpy the microcode, on the same thousands of random states.

Every register, every flag that the SDM defines, every byte of memory and where the code goes on are compared. Registers
that addresses are made of point into a window of memory that each state has of its own; a state whose accesses leave
its window is put aside, and told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from capstone import x86
from numpy.typing import NDArray

from bridge.pixelcpu import interpreter
from bridge.pixelcpu.decode import BASE, decode, has_branches, is_jump, is_string, target_of
from bridge.pixelcpu.emitter import RCX
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.undefined import undefined_after
from bridge.pixelcpu.unicorn_runs import WINDOW, WINDOWS_AT, run_states
from bridge.pixelcpu.x86_state import FLAG_BITS, FLAGS, HALVES, REGISTERS, States, random_states

N_STATES = 10_000
_MIDDLE, _SPREAD = WINDOW // 4, WINDOW // 2
_STACK = {"push": ("rsp",), "pop": ("rsp",), "leave": ("rbp", "rsp")}


@dataclass(frozen=True, slots=True)
class Record:
    """What a differential run found."""

    n_states: int
    """Compared."""
    n_put_aside: int
    """Whose accesses left their window."""
    n_mismatches: int
    """States in which anything differs."""
    first: str
    """What differs in the first of these, in words."""


def run(code: bytes, translation: Translation, n_states: int = N_STATES, seed: int = 1) -> Record:
    """Compare on random states. Raises UnicornFailed, BadCode, Unsupported."""
    instructions = decode(code)
    states = with_pointers(instructions, random_states(n_states, seed), seed)
    memory = np.random.default_rng(seed).integers(0, 256, n_states * WINDOW, np.uint8)
    before = memory.copy()
    windows = Windows(memory)
    there = interpreted(translation, states, windows)
    good = ~windows.outside
    if not good.any():
        return Record(0, n_states, 0, "")
    branches = has_branches(instructions)
    conditional = translation.taken is not None and (branches or is_jump(instructions[-1]))
    here = run_states(
        code if branches else _without_plain_jump(code, instructions),
        states.chosen(good),
        before,
        jumps=conditional,
        ways=_ways(translation) if branches else (),
        vectors=bool(translation.halves),
    )
    shown = defined_flags(code, instructions, states)
    wrong: dict[str, NDArray[np.bool_]] = {}
    for number, name in enumerate(REGISTERS):
        wrong[name] = here.states.registers[:, number] != there.registers[good, number]
    for place, name in enumerate(HALVES):
        if name in translation.halves:
            wrong[name] = here.states.halves[:, place] != there.registers[good, translation.halves[name]]
    for flag in FLAGS:
        bit = np.uint64(FLAG_BITS[flag])
        wrong[flag] = ((here.states.flags ^ there.flags[good]) >> bit & np.uint64(1)).astype(bool) & shown[flag][good]
    if conditional:
        assert translation.taken is not None
        wrong["next"] = here.went != way_taken(translation, there)[good]
    differs = (here.memory != memory).reshape(n_states, WINDOW).any(axis=1)
    wrong["memory"] = differs[good]
    bad = np.any(list(wrong.values()), axis=0)
    first = _told(int(bad.argmax()), wrong, states.chosen(good)) if bad.any() else ""
    return Record(int(good.sum()), int((~good).sum()), int(bad.sum()), first)


class Windows:
    """Memory for the interpreter, in place: each lane's own window of `WINDOW` bytes; what is beyond reads as zero."""

    def __init__(self, content: NDArray[np.uint8]) -> None:
        self._content = content
        self.outside = np.zeros(len(content) // WINDOW, bool)
        """(n,): which lanes left their windows."""

    def load(self, addresses: NDArray[np.uint64], size: int, lanes: NDArray[np.intp]) -> NDArray[Any]:
        """Words (n,) of `size` bytes."""
        if len(lanes) == 1 and not lanes[0]:
            self.outside[1:] = True  # one address for all lanes, of which it can lie in the first's window alone
        places, inside = self._places(addresses, size, lanes)
        words = np.zeros(len(places), f"<u{size}")
        words[inside] = self._words(size)[places[inside]]
        return words

    def store(self, addresses: NDArray[np.uint64], values: NDArray[Any], lanes: NDArray[np.intp]) -> None:
        """Write words (n,)."""
        places, inside = self._places(addresses, values.itemsize, lanes)
        self._words(values.itemsize)[places[inside]] = values[inside]

    def _places(
        self, addresses: NDArray[np.uint64], size: int, lanes: NDArray[np.intp]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        addresses = np.broadcast_to(addresses, lanes.shape)
        starts = np.uint64(WINDOWS_AT) + lanes.astype(np.uint64) * np.uint64(WINDOW)
        offsets = addresses - starts
        inside = offsets <= np.uint64(WINDOW - size)
        self.outside[lanes[~inside]] = True
        return np.where(inside, offsets, 0).astype(np.int64) + lanes * WINDOW, inside

    def _words(self, size: int) -> NDArray[Any]:
        return np.ndarray((len(self._content) - size + 1,), f"<u{size}", self._content, strides=(1,))


def interpreted(translation: Translation, states: States, windows: Windows) -> interpreter.States:
    """What a translation makes of states; `windows` are changed. Registers are the Pixel CPU's, (n, 32)."""
    before = interpreter.States(registers_of(translation, states), states.flags)
    return interpreter.run_states(translation.program, before, windows)


def registers_of(translation: Translation, states: States) -> NDArray[np.uint64]:
    """The Pixel CPU's registers, (n, 32), where a translation begins in states of x86."""
    registers = np.zeros((len(states), N_REGISTERS), np.uint64)
    registers[:, : len(REGISTERS)] = states.registers
    for place, name in enumerate(HALVES):
        if name in translation.halves:
            registers[:, translation.halves[name]] = states.halves[:, place]
    return registers


def _ways(translation: Translation) -> tuple[int, ...]:
    """Where code goes on, by the number that `way_taken` gives."""
    if translation.taken is None:
        return (translation.goes_on,)
    return translation.goes_on, translation.target, *translation.others


def way_taken(translation: Translation, after: interpreter.States) -> NDArray[np.uint64]:
    """(n,): where code goes on: 0 is `goes_on`, 1 `target`, then come the `others`."""
    assert translation.taken is not None
    taken = after.registers[:, translation.taken]
    if translation.elsewhere is None:
        return taken
    elsewhere = after.registers[:, translation.elsewhere]
    return np.where(elsewhere > 0, elsewhere + np.uint64(1), taken)


def _without_plain_jump(code: bytes, instructions: list[Any]) -> bytes:
    """A jump that is always taken leaves no trace but where it goes, which is known."""
    last = instructions[-1]
    if last.mnemonic != "jmp" and not last.mnemonic.startswith("rep "):
        return code
    if last.mnemonic.startswith("rep "):
        return code[: last.address - BASE] + _one_turn(last)
    return code[: last.address - BASE] or b"\x90"


def _one_turn(one: Any) -> bytes:
    """REP's string instruction done once unless rcx is 0: jrcxz over it; the count goes down without touching flags."""
    body = bytes(one.bytes).replace(b"\xf3", b"", 1) + b"\x48\x8d\x49\xff"  # lea rcx, [rcx - 1]
    return b"\xe3" + bytes([len(body)]) + body


def with_pointers(instructions: list[Any], states: States, seed: int) -> States:
    """The states, with registers that addresses are made of pointing into each state's window."""
    rng = np.random.default_rng(seed + 1)
    count = len(states)
    windows = np.uint64(WINDOWS_AT) + np.arange(count, dtype=np.uint64) * np.uint64(WINDOW)
    registers = states.registers.copy()

    def point(name: str, minus: int = 0, divided: int = 1) -> None:
        places = windows + rng.integers(_MIDDLE, _MIDDLE + _SPREAD, count, np.uint64) - np.uint64(minus % (1 << 64))
        registers[:, REGISTERS.index(name)] = places // np.uint64(divided)

    for one in reversed(instructions):  # the first that uses a register decides
        name = one.mnemonic.split()[-1]
        if is_string(one):
            point("rsi")
            point("rdi")
        for register in _STACK.get(name, ()):
            point(register)
        for operand in one.operands:
            if operand.type != x86.X86_OP_MEM or name in ("lea", "nop") or is_string(one):
                continue
            mem = operand.mem
            base, index = (_whole(one, register) for register in (mem.base, mem.index))
            if index in REGISTERS and base in REGISTERS and index != base:
                few = rng.integers(0, 8, count).astype(np.uint64)
                registers[:, REGISTERS.index(index)] = few
            if base in REGISTERS:
                divided = 1 + mem.scale if index == base else 1
                point(base, mem.disp, divided)
            elif index in REGISTERS:
                point(index, mem.disp, mem.scale)
    return States(registers, states.flags, states.halves)


def _whole(one: Any, register: int) -> str:
    name = str(one.reg_name(register)) if register else ""
    if name.startswith("e"):
        return "r" + name[1:]
    return name.rstrip("d") if name[1:2].isdigit() else name


def defined_flags(code: bytes, instructions: list[Any], states: States) -> dict[str, NDArray[np.bool_]]:
    """By flag, in which states it is defined after the code; of several basic blocks, where every way defines it."""
    if has_branches(instructions):
        return _defined_on_all_ways(instructions, len(states))
    undefined: dict[str, Any] = dict.fromkeys(FLAGS, False)
    for one in instructions:
        rcx = states.registers[:, RCX]
        if one.address > BASE and any(o.type == x86.X86_OP_REG and one.reg_name(o.reg) == "cl" for o in one.operands):
            before = translate(code[: one.address - BASE])
            memory = np.zeros(len(states) * WINDOW, np.uint8)
            rcx = interpreted(before, states, Windows(memory)).registers[:, RCX]
        undefined = undefined_after(one, undefined, rcx)
    return {flag: ~np.broadcast_to(np.asarray(value, bool), (len(states),)) for flag, value in undefined.items()}


def _defined_on_all_ways(instructions: list[Any], n_states: int) -> dict[str, NDArray[np.bool_]]:
    waiting: dict[int, dict[str, bool]] = {}
    here: dict[str, bool] | None = dict.fromkeys(FLAGS, False)

    def met(one: dict[str, bool] | None, other: dict[str, bool] | None) -> dict[str, bool] | None:
        return one or other if one is None or other is None else {flag: one[flag] or other[flag] for flag in FLAGS}

    for one in instructions:
        here = met(here, waiting.pop(one.address, None))
        if here is None:
            continue
        after = undefined_after(one, here, _COUNTS)
        here = {flag: bool(np.any(after[flag])) for flag in FLAGS}
        if is_jump(one):
            waiting[target_of(one)] = met(here, waiting.get(target_of(one))) or here
            here = None if one.mnemonic == "jmp" else here
    for way in waiting.values():
        here = met(here, way)
    assert here is not None
    return {flag: np.full(n_states, not here[flag]) for flag in FLAGS}


_COUNTS = np.arange(64, dtype=np.uint64)
"""That a shift by a register may have."""


def _told(at: int, wrong: dict[str, NDArray[np.bool_]], states: States) -> str:
    names = [name for name, where in wrong.items() if where[at]]
    values = " ".join(f"{name}={int(value):#x}" for name, value in zip(REGISTERS, states.registers[at], strict=True))
    return f"{', '.join(names)} after {values} flags={int(states.flags[at]):#x}"
