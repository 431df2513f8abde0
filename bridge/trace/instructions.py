"""Instructions of blocks: decoded once, with what a flow graph and a table of hot blocks need to know of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from capstone import x86_const

from bridge.trace.x86_engine import engine


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
_SPECIAL = re.compile(r"\b[cd]r\d|^[d-gs]s\b(?!:)")
"""Registers that only the kernel has to do with, and segments that are loaded: capstone calls that privileged."""
_IO = frozenset({"in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"})
_RETURNS = frozenset({"sysret", "sysretq", "sysexit", "sysexitq"})
_ENTERS = frozenset({"syscall", "sysenter"})
_WAITS = frozenset({"hlt", "mwait", "mwaitx"})


@dataclass(frozen=True, slots=True)
class _Traits:
    vector: bool
    privileged: bool
    jumps: bool
    calls: bool
    returns: bool
    interrupts: bool


_NO_TRAITS = _Traits(*[False] * 6)
_TRAITS: dict[tuple[str, bool], _Traits] = {}


def _traits(mnemonic: str, operands: str, code: bytes, at: int, bits: int) -> _Traits:
    """What all instructions of a name are. Asked once a name: capstone's details take ten times as long as its text."""
    special = _SPECIAL.search(operands) is not None
    known = _TRAITS.get((mnemonic, special))
    if known is None:
        insn = next(engine(bits, detail=True).disasm(code, at), None)
        groups = set() if insn is None else set(insn.groups)
        known = _Traits(
            not _VECTOR.isdisjoint(groups),
            x86_const.X86_GRP_PRIVILEGE in groups,
            x86_const.X86_GRP_JUMP in groups,
            x86_const.X86_GRP_CALL in groups,
            bool(groups & {x86_const.X86_GRP_RET, x86_const.X86_GRP_IRET}) or mnemonic in _RETURNS,
            x86_const.X86_GRP_INT in groups or mnemonic in _ENTERS,
        )
        _TRAITS[mnemonic, special] = known
    return known


def plain(code: bytes, at: int, bits: int = 64) -> Iterator[tuple[int, int, str, str]]:
    """Address, size, mnemonic and operands of each instruction, as text."""
    found: Iterator[tuple[int, int, str, str]] = engine(bits).disasm_lite(code, at)
    return found


def decode(code: bytes, at: int, bits: int = 64) -> Decoded:
    """Decode a block's bytes, as code of 16, 32 or 64 bits that lies at virtual address `at`.

    Bytes that are no instruction end it.
    """
    found: list[Instruction] = []
    memory = vector = 0
    privileged = io = False
    mnemonic, operands, traits = "", "", _NO_TRAITS
    for address, size, mnemonic, operands in plain(code, at, bits):
        offset = address - at
        found.append(Instruction(offset, size, f"{mnemonic} {operands}".strip()))
        memory += "[" in operands and mnemonic not in _TOUCH_NOTHING
        traits = _traits(mnemonic, operands, code[offset : offset + size], address, bits)
        vector += traits.vector
        privileged = privileged or traits.privileged
        io = io or mnemonic.split()[-1] in _IO
    kind = BlockClass.ALU
    if io:
        kind = BlockClass.IO
    elif privileged:
        kind = BlockClass.PRIVILEGED
    elif vector * 3 >= len(found) > 0:
        kind = BlockClass.VECTOR
    elif memory * 2 >= len(found) > 0:
        kind = BlockClass.MEMORY
    elif 0 < len(found) <= _SHORT and traits.jumps:
        kind = BlockClass.BRANCHY
    if not found:
        return Decoded((), (), kind)
    end = _ending(mnemonic, operands, traits, at, found[-1].offset + found[-1].size)
    return Decoded(tuple(found), end.successors, kind)


def bits_at(address: int) -> int:
    """How wide the code at a virtual address is, by what systems do.

    One that runs 64-bit code has it above 1 MiB; the firmware and what it boots is 16-bit code below.
    """
    return 16 if address < 1 << 20 else 64


@dataclass(frozen=True, slots=True)
class Ending:
    """How a block ends."""

    successors: tuple[int, ...]
    """As of `Decoded`."""
    calls: bool
    """By a call: it goes on behind itself when that has returned."""
    returns: bool
    """By a return, to whoever called or was interrupted."""
    is_open: bool
    """It goes, or may go, where only the run shows."""
    waits: bool
    """For an interrupt."""
    size: int
    """Its bytes that are instructions."""


_NO_ENDING = Ending((), False, False, True, False, 0)


def ending(code: bytes, at: int, bits: int = 64) -> Ending:
    """How a block ends. Quicker than `decode`."""
    found = list(plain(code, at, bits))
    if not found:
        return _NO_ENDING
    address, size, mnemonic, operands = found[-1]
    offset = address - at
    traits = _traits(mnemonic, operands, code[offset : offset + size], address, bits)
    return _ending(mnemonic, operands, traits, at, offset + size)


def _ending(mnemonic: str, operands: str, traits: _Traits, at: int, end: int) -> Ending:
    name = mnemonic.split()[-1]
    targets: list[int] = []
    direct = _NUMBER.fullmatch(operands) is not None
    if (traits.jumps or traits.calls) and direct:
        targets.append((int(operands, 0) - at + _HALF) % (2 * _HALF) - _HALF)  # forwards or backwards
    if not traits.returns and not (traits.jumps and name in ("jmp", "ljmp")):  # a call comes back, too
        targets.append(end)
    is_open = traits.returns or traits.interrupts or ((traits.jumps or traits.calls) and not direct)
    return Ending(tuple(dict.fromkeys(targets)), traits.calls, traits.returns, is_open, name in _WAITS, end)


_NUMBER = re.compile(r"0x[0-9a-f]+|\d")
_SHORT = 2
_HALF = 1 << 63
