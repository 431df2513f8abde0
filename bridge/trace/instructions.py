"""Instructions of blocks: decoded once, with what a flow graph and a table of hot blocks need to know of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import capstone
from capstone import x86_const


class BlockClass(StrEnum):
    """What a block mostly does."""

    ALU = "alu"
    MEMORY = "memory"
    BRANCHY = "branchy"
    VECTOR = "vector"
    PRIVILEGED = "privileged"
    IO = "i/o"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of a block. `offset` counts from the block's first byte."""

    offset: int
    size: int
    text: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A block's instructions; offsets of successors may lie outside of it, before its beginning too."""

    instructions: tuple[Instruction, ...]
    successors: tuple[int, ...]
    """Where it goes on, as offsets from the block's first byte; without what only the run shows (ret, jmp rax)."""
    kind: BlockClass


_VECTOR = {x86_const.X86_GRP_SSE1, x86_const.X86_GRP_SSE2, x86_const.X86_GRP_SSE3, x86_const.X86_GRP_SSE41}
_VECTOR |= {x86_const.X86_GRP_SSE42, x86_const.X86_GRP_SSSE3, x86_const.X86_GRP_AVX, x86_const.X86_GRP_AVX2}
_VECTOR |= {x86_const.X86_GRP_MMX, x86_const.X86_GRP_AES, x86_const.X86_GRP_AVX512}
_TOUCH_NOTHING = frozenset({"lea", "nop"})  # whatever their operands look like
_IO = frozenset({"in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"})
_MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}


@functools.cache
def _engine(bits: int) -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, _MODES[bits])
    engine.detail = True
    return engine


def decode(code: bytes, at: int, bits: int = 64) -> Decoded:
    """Decode a block's bytes, as code of 16, 32 or 64 bits that lies at virtual address `at`.

    Bytes that are no instruction end it.
    """
    found: list[Instruction] = []
    last: capstone.CsInsn | None = None
    memory = vector = 0
    privileged = io = False
    for last in _engine(bits).disasm(code, at):
        text = f"{last.mnemonic} {last.op_str}".strip()
        found.append(Instruction(last.address - at, last.size, text))
        memory += (
            any(operand.type == x86_const.X86_OP_MEM for operand in last.operands)
            and last.mnemonic not in _TOUCH_NOTHING
        )
        vector += not _VECTOR.isdisjoint(last.groups)
        io = io or last.mnemonic.split()[-1] in _IO
        privileged = privileged or x86_const.X86_GRP_PRIVILEGE in last.groups
    kind = BlockClass.ALU
    if io:
        kind = BlockClass.IO
    elif privileged:
        kind = BlockClass.PRIVILEGED
    elif vector * 3 >= len(found) > 0:
        kind = BlockClass.VECTOR
    elif memory * 2 >= len(found) > 0:
        kind = BlockClass.MEMORY
    elif 0 < len(found) <= _SHORT and last is not None and _branches(last):
        kind = BlockClass.BRANCHY
    end = found[-1].offset + found[-1].size if found else 0
    return Decoded(tuple(found), _successors(last, at, end), kind)


def disassembled(code: bytes, at: int) -> Iterator[capstone.CsInsn]:
    """A block's instructions with all details, of code as wide as it is at such an address."""
    found: Iterator[capstone.CsInsn] = _engine(bits_at(at)).disasm(code, at)
    return found


def bits_at(address: int) -> int:
    """How wide the code at a virtual address is, by what systems do.

    One that runs 64-bit code has it above 1 MiB; the firmware and what it boots is 16-bit code below.
    """
    return 16 if address < 1 << 20 else 64


def successors(code: bytes, at: int, bits: int = 64) -> tuple[int, ...]:
    """Those of `decode`, by a look at the last instruction alone, which is several times as quick."""
    first, end = 0, 0
    for offset, size, _, _ in _plain_engine(bits).disasm_lite(code, 0):
        first, end = offset, offset + size
    last = next(_engine(bits).disasm(code[first:end], at + first), None)
    return _successors(last, at, end)


@functools.cache
def _plain_engine(bits: int) -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_X86, _MODES[bits])


_SHORT = 2
_HALF = 1 << 63


def _branches(insn: capstone.CsInsn) -> bool:
    return x86_const.X86_GRP_JUMP in insn.groups


def _successors(last: capstone.CsInsn | None, at: int, end: int) -> tuple[int, ...]:
    if last is None:
        return ()
    groups = set(last.groups)
    if groups & {x86_const.X86_GRP_RET, x86_const.X86_GRP_IRET}:
        return ()
    jumps, calls = x86_const.X86_GRP_JUMP in groups, x86_const.X86_GRP_CALL in groups
    targets: list[int] = []
    if (jumps or calls) and last.operands and last.operands[0].type == x86_const.X86_OP_IMM:
        targets.append((last.operands[0].imm - at + _HALF) % (2 * _HALF) - _HALF)  # forwards or backwards
    if not (jumps and last.mnemonic == "jmp"):  # a call comes back, too; so does what is no jump at all
        targets.append(end)
    return tuple(dict.fromkeys(targets))
