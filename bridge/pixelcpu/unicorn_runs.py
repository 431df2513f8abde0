"""x86 code run by Unicorn (QEMU's own translator) on thousands of states within one emulation.

A harness of x86 code loops over a table of states: it loads registers and flags from an entry, falls into the code
that is tried out, and stores the state that it left back into the entry. So 10,000 states take tens of milliseconds,
where an emulation for each takes seconds. Each state has a window of memory of its own. A loop can be run so too, for
a number of rounds that each state tells.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import unicorn
from numpy.typing import NDArray
from unicorn import x86_const

from bridge.pixelcpu.decode import BASE, decode, has_branches, is_jump, target_of
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.undefined import condition_number
from bridge.pixelcpu.x86_state import FLAGS_MASK, HALVES, REGISTERS, States

WINDOW = 256
"""Bytes of memory that each state has."""
WINDOWS_AT = 0x4000_0000
"""Where the first state's window lies; the windows are contiguous."""
MOST_STATES = 1 << 18

_CODE_AT, _SCRATCH_AT, _TABLE_AT = 0x6F00_0000, 0x6F10_0000, 0x6F00_0000_0000
_CURRENT, _LEFT, _STACK, _WENT, _ROUNDS, _RCX = (_SCRATCH_AT + 8 * place for place in range(6))
_WENT_SHIFT = 56
"""Which way was gone is told in the upper bits of the flags' word."""
_NO_WAY = 255
"""That it went where no way was said to be."""
_PAGE = 4096
_PHYSICAL = (1 << 52) - 1
"""Without page tables Unicorn leaves an address's upper bits out: a kernel's memory is mapped at what is left."""
_ROUNDS_WORD = 1 + len(REGISTERS) + len(HALVES)
_WORDS = _ROUNDS_WORD + 1
"""A table's entry: flags, registers in the order of POP, SSE registers, and of a loop how many rounds are left."""
MOST_ROUNDS = 1 << 28
"""Of all states together: minutes."""
RESERVED = ((_CODE_AT, _SCRATCH_AT + _PAGE), (_TABLE_AT, _TABLE_AT + (1 << 32)))
"""Addresses from the first to before the second are the harness's: `memory` cannot lie there."""
_ORDER = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 4]
"""The stack pointer is popped last: it is what the entry is read by."""
_NUMBERS = {name: getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in REGISTERS}
_XMM = [getattr(x86_const, f"UC_X86_REG_XMM{number}") for number in range(16)]


class UnicornFailed(PixelError):
    """The code did not run through: it faulted."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the code left."""

    states: States
    memory: NDArray[np.uint8]
    """(m,)."""
    went: NDArray[np.uint64]
    """(n,): 1 where the jump at the end was taken, else 0; of `ways` the number of the one that was taken."""
    rounds_left: NDArray[np.uint64]
    """(n,): of the rounds that were wanted, those before which the loop was left; 0 where it was not."""


def run_states(
    code: bytes,
    states: States,
    memory: NDArray[np.uint8],
    *,
    jumps: bool = False,
    ways: Sequence[int] = (),
    vectors: bool = True,
    rounds: NDArray[np.uint64] | None = None,
    memory_at: int = WINDOWS_AT,
) -> Run:
    """Run `code` once on each of n states; `memory`: (m,) uint8, from `memory_at` on, which is not changed.

    `jumps`: the code's last instruction is a short or near jump by a condition; where it goes is told, not followed.
    `ways`: of code of several basic blocks, the addresses (as `decode` has them) at which it may go on, at most 255;
    which one it is is told.
    `rounds`: (n,), each at least 1: that jump is followed back to the code's beginning, until so many rounds have gone
    back or one does not; the states are those there. They are counted in x86 code, so that no loop goes on for ever.
    Without `vectors` SSE registers are neither loaded nor stored. There is no time limit, since Unicorn's own is a
    thread that may sleep on; `prover` has one. Raises UnicornFailed.
    """
    count = len(states)
    if not 0 < count <= MOST_STATES or not 0 < len(memory) <= MOST_STATES * WINDOW:
        raise ValueError(f"{count} states with memory of {memory.shape} cannot be run")
    if rounds is not None and (int(rounds.min()) < 1 or float(rounds.sum(dtype=float)) > MOST_ROUNDS):
        raise ValueError("rounds are at least one of each state, and not too many of all")
    end = memory_at + len(memory)
    if memory_at % _PAGE or any(memory_at < behind and end > first for first, behind in RESERVED):
        raise ValueError(f"memory cannot lie at {memory_at:#x}")
    engine = _engine()
    table = np.empty((count, _WORDS), np.uint64)
    table[:, 0] = states.flags & np.uint64(FLAGS_MASK) | np.uint64(2)
    table[:, 1 : 1 + len(REGISTERS)] = states.registers[:, _ORDER]
    table[:, 1 + len(REGISTERS) : _ROUNDS_WORD] = states.halves
    table[:, _ROUNDS_WORD] = 0 if rounds is None else rounds
    program, end = _harness(code, jumps=jumps or bool(ways), ways=ways, vectors=vectors, looped=rounds is not None)
    try:
        engine.mem_map(_CODE_AT, _pages(len(program)))
        engine.mem_map(_SCRATCH_AT, _PAGE)
        engine.mem_map(_TABLE_AT, _pages(table.nbytes + 64))
        engine.mem_map(memory_at & _PHYSICAL, _pages(memory.nbytes))
        engine.mem_write(_CODE_AT, program)
        engine.mem_write(_CURRENT, struct.pack("<QQQQ", _TABLE_AT, count, 0, 0))
        engine.mem_write(_TABLE_AT, table.tobytes())
        engine.mem_write(memory_at & _PHYSICAL, memory.tobytes())
        engine.emu_start(_CODE_AT, end)
        left = struct.unpack("<Q", engine.mem_read(_LEFT, 8))[0]
        if left:
            raise UnicornFailed(f"Unicorn left {left:,} of {count:,} states: the code wrote where its harness lies.")
        after = np.frombuffer(engine.mem_read(_TABLE_AT, table.nbytes), np.uint64).reshape(table.shape)
        content = np.frombuffer(engine.mem_read(memory_at & _PHYSICAL, memory.nbytes), np.uint8)
    except unicorn.UcError as error:
        raise UnicornFailed(f"Unicorn stopped: {error}.") from error
    registers = np.empty((count, len(REGISTERS)), np.uint64)
    registers[:, _ORDER] = after[:, 1 : 1 + len(REGISTERS)]
    flags = after[:, 0] & np.uint64(FLAGS_MASK)
    went = after[:, 0] >> np.uint64(_WENT_SHIFT)
    halves = after[:, 1 + len(REGISTERS) : _ROUNDS_WORD].copy()
    return Run(States(registers, flags, halves), content, went, after[:, _ROUNDS_WORD].copy())


@dataclass(frozen=True, slots=True)
class Once:
    """What one run of one state left."""

    registers: dict[str, int]
    """Of `REGISTERS` and `HALVES`."""
    flags: int
    bytes: dict[int, int]
    """By address, of those asked for."""
    at: int
    """The instruction pointer, relative to the code's beginning."""


def run_once(
    code: bytes,
    registers: Mapping[str, int],
    flags: int,
    memory: Mapping[int, int],
    memory_default: int,
    wanted: list[int],
) -> Once:
    """Run `code` from one state, as a counterexample names it; memory is there wherever it is touched.

    Addresses that x86 does not have (neither half of the address space) cannot be tried. Raises UnicornFailed.
    """
    engine = _engine()
    at = _free_place(registers, memory)
    try:
        engine.mem_map(at, _pages(len(code) + 64))
        engine.mem_write(at, code + b"\xf4" * 32)
        for name, value in registers.items():
            if name in _NUMBERS:
                engine.reg_write(_NUMBERS[name], value)
        for number, register in enumerate(_XMM):
            low, high = (registers.get(f"xmm{number}.{half}", 0) for half in ("low", "high"))
            engine.reg_write(register, low | high << 64)
        engine.reg_write(x86_const.UC_X86_REG_EFLAGS, flags & FLAGS_MASK | 2)
        mapped: set[int] = set()

        def supply(page: int) -> bool:
            if page in mapped or len(mapped) > 64:
                return False
            mapped.add(page)
            engine.mem_map(page, _PAGE)
            content = bytearray([memory_default]) * _PAGE
            for where, value in memory.items():
                if where & ~(_PAGE - 1) == page:
                    content[where - page] = value
            engine.mem_write(page, bytes(content))
            return True

        def missing(_engine: object, _access: int, where: int, size: int, _value: int, _data: object) -> bool:
            first, last = where & ~(_PAGE - 1), (where + size - 1) & ~(_PAGE - 1)
            return all(supply(page) for page in {first, last} if page not in mapped)

        engine.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, missing)
        engine.emu_start(at, at + len(code), count=len(code))
        found = {name: int(engine.reg_read(number)) for name, number in _NUMBERS.items()}
        for number, register in enumerate(_XMM):
            whole = int(engine.reg_read(register))
            found[f"xmm{number}.low"], found[f"xmm{number}.high"] = whole & (1 << 64) - 1, whole >> 64
        content = {}
        for where in wanted:
            inside = where & ~(_PAGE - 1) in mapped
            content[where] = engine.mem_read(where, 1)[0] if inside else memory.get(where, memory_default)
        after = int(engine.reg_read(x86_const.UC_X86_REG_EFLAGS)) & FLAGS_MASK
        return Once(found, after, content, int(engine.reg_read(x86_const.UC_X86_REG_RIP)) - at)
    except unicorn.UcError as error:
        raise UnicornFailed(f"Unicorn stopped: {error}.") from error


def _engine() -> Any:
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    engine.ctl_set_cpu_model(x86_const.UC_CPU_X86_ICELAKE_SERVER)
    return engine


def _free_place(registers: Mapping[str, int], memory: Mapping[int, int]) -> int:
    """Where code can lie that no register and no byte of memory is near."""
    near = {value >> 20 for value in (*registers.values(), *memory)}
    return next(place for place in range(0x10_0000, 0x4000_0000, 0x10_0000) if not {place >> 20} & near)


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _absolute(opcode: bytes, address: int) -> bytes:
    """An instruction whose operand is memory at a 32-bit address: ModRM says SIB, SIB says no base and no index."""
    return opcode + b"\x25" + struct.pack("<I", address)


def _harness(code: bytes, *, jumps: bool, ways: Sequence[int], vectors: bool, looped: bool) -> tuple[bytes, int]:
    """The loop around `code`, and the address at which it ends."""
    text = bytearray()
    size = 8 * _WORDS
    first_half = 8 * (1 + len(REGISTERS))
    text += _absolute(b"\x48\x8b\x24", _CURRENT)  # mov rsp, [current]
    for number in range(16 if vectors else 0):  # movdqu xmm, [rsp + at]
        text += _vector_move(0x6F, number, first_half + 16 * number)
    if looped:
        text += b"\x48\x8b\x8c\x24" + struct.pack("<I", 8 * _ROUNDS_WORD)  # mov rcx, [rsp + rounds]
        text += _absolute(b"\x48\x89\x0c", _ROUNDS)
    text += b"\x9d"  # popfq
    for register in _ORDER:  # pop
        text += (b"\x41" if register > 7 else b"") + bytes([0x58 + (register & 7)])
    if looped:
        text += _with_loop(code)
    elif ways:
        text += _with_ways(code, ways)
    elif jumps:
        text += _with_jump(code)
    else:
        text += code
    text += _absolute(b"\x48\x89\x24", _STACK)  # mov [stack], rsp
    text += _absolute(b"\x48\x8b\x24", _CURRENT)
    text += b"\x48\x8d\xa4\x24" + struct.pack("<I", first_half)  # lea rsp, [rsp + first_half]
    text += _absolute(b"\xff\x34", _STACK)  # push [stack]: the first of what was popped last
    for register in reversed(_ORDER[:-1]):
        text += (b"\x41" if register > 7 else b"") + bytes([0x50 + (register & 7)])
    text += b"\x9c"  # pushfq
    for number in range(16 if vectors else 0):
        text += _vector_move(0x7F, number, first_half + 16 * number)
    if jumps:
        text += _absolute(b"\x48\x8b\x04", _WENT)  # mov rax, [went]
        text += b"\x48\xc1\xe0" + bytes([_WENT_SHIFT]) + b"\x48\x09\x04\x24"  # shl rax, …; or [rsp], rax
        text += _absolute(b"\x48\xc7\x04", _WENT) + b"\x00" * 4
    if looped:
        text += _absolute(b"\x48\x8b\x0c", _ROUNDS) + b"\x48\x89\x8c\x24" + struct.pack("<I", 8 * _ROUNDS_WORD)
    text += _absolute(b"\x48\x81\x04", _CURRENT) + struct.pack("<I", size)  # add qword [current], size
    text += _absolute(b"\x48\xff\x0c", _LEFT)  # dec qword [left]
    back = -(len(text) + 6)
    text += b"\x0f\x85" + struct.pack("<i", back)  # jnz
    return bytes(text) + b"\xf4", _CODE_AT + len(text)


def _with_jump(code: bytes) -> bytes:
    """`code` whose last jump goes over one instruction that notes that it was not taken, or to one that it was."""
    noted = _absolute(b"\x48\xc7\x04", _WENT) + struct.pack("<I", 1)
    # not taken: jmp over the note; taken: the note
    over = b"\xeb" + bytes([len(noted)])
    return _jumping_over(code, len(over)) + over + noted


def _with_loop(code: bytes) -> bytes:
    """`code` whose last jump goes back to its first byte until [rounds] is 0, and leaves flags and registers alone."""
    save, restore = _absolute(b"\x48\x89\x0c", _RCX), _absolute(b"\x48\x8b\x0c", _RCX)
    count = _absolute(b"\x48\x8b\x0c", _ROUNDS) + b"\x48\x8d\x49\xff" + _absolute(b"\x48\x89\x0c", _ROUNDS)
    again = restore + b"\xe9"
    taken = save + count + b"\xe3" + bytes([len(again) + 4]) + again  # lea counts, jrcxz looks: neither touches flags
    left = b"\xe9" + struct.pack("<i", len(taken) + 4 + len(restore))
    text = _jumping_over(code, len(left)) + left + taken
    return text + struct.pack("<i", -(len(text) + 4)) + restore


def _with_ways(code: bytes, ways: Sequence[int]) -> bytes:
    """`code` of several basic blocks that goes on behind itself wherever it would have gone on, and notes where."""
    end = BASE + len(code)
    numbers = sorted(range(len(ways)), key=lambda number: ways[number] != end)  # who falls out of the code comes first
    numbers.append(_NO_WAY)
    notes = [_absolute(b"\x48\xc7\x04", _WENT) + struct.pack("<I", number) for number in numbers]
    each = len(notes[0]) + 5
    places = {ways[number]: each * at for at, number in enumerate(numbers[:-1])}
    text = _laid_out(code, lambda target: places.get(target, each * (len(notes) - 1)))
    for at, note in enumerate(notes):
        text += note + b"\xe9" + struct.pack("<i", each * (len(notes) - at - 1))
    return text


def _laid_out(code: bytes, place_of: Callable[[int], int]) -> bytes:
    """`code` of several basic blocks with jumps of four bytes each; those that leave it, or go to its first
    instruction, go to `place_of` their target, in bytes behind the code."""
    instructions = decode(code)
    sizes = [(5 if one.mnemonic == "jmp" else 6) if is_jump(one) else one.size for one in instructions]
    begins = dict(zip((one.address for one in instructions), itertools.accumulate(sizes, initial=0), strict=False))
    text = bytearray()
    for one in instructions:
        if not is_jump(one):
            text += one.bytes
            continue
        target = target_of(one)
        to = begins[target] if BASE < target < BASE + len(code) else sum(sizes) + place_of(target)
        number = condition_number(one.mnemonic)
        text += b"\xe9" if number is None else bytes([0x0F, 0x80 | number])
        text += struct.pack("<i", to - (len(text) + 4))
    return bytes(text)


def _jumping_over(code: bytes, n_bytes: int) -> bytes:
    """`code` whose last jump, where it is taken, goes over so many bytes behind it."""
    if has_branches(decode(code)):
        return _laid_out(code, lambda target: n_bytes if target == BASE else 0)
    near = decode(code)[-1].size >= 6  # 0f 8x and four bytes; else two bytes, of which one says how far
    return code[:-4] + struct.pack("<i", n_bytes) if near else code[:-1] + bytes([n_bytes])


def _vector_move(opcode: int, number: int, at: int) -> bytes:
    prefix = b"\xf3" + (b"\x44" if number > 7 else b"")
    return prefix + bytes([0x0F, opcode, 0x84 | (number & 7) << 3, 0x24]) + struct.pack("<I", at)
