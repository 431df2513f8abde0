"""Clusters: sequences of instructions that do the same with other registers and constants, and what they take."""

from __future__ import annotations

import re
from dataclasses import dataclass

import capstone
import numpy as np
from capstone import x86_const
from numpy.typing import NDArray

from bridge.trace.instructions import disassembled
from bridge.trace.program import Program

MOST_BLOCKS = 20_000
"""That are looked at, the heaviest first: decoding takes a tenth of a millisecond each."""
_WIDE = re.compile(r"(?:xmm|ymm|zmm|mm|st|k)\(?\d*\)?")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Blocks of one form."""

    form: tuple[str, ...]
    """Their instructions: `r1` … are registers in the order in which they appear, `v1` … vectors, `n` is a number."""
    blocks: tuple[int, ...]
    """Numbers, the heaviest first."""
    share: float
    """Of the time, of all of them."""
    entered: int


def clusters(program: Program, values: NDArray[np.float64], top: int) -> tuple[Cluster, ...]:
    """The `top` clusters by time. `values`: (n,) each block's share of it."""
    order = np.argsort(-values, kind="stable")[:MOST_BLOCKS]
    groups: dict[tuple[str, ...], list[int]] = {}
    for number in order[values[order] > 0].tolist():
        groups.setdefault(abstract(program.code_of(number), int(program.starts[number])), []).append(number)
    found = [
        Cluster(form, tuple(numbers), float(values[numbers].sum()), int(program.entered[numbers].sum()))
        for form, numbers in groups.items()
        if form
    ]
    found.sort(key=lambda one: -one.share)
    return tuple(found[:top])


def abstract(code: bytes, at: int) -> tuple[str, ...]:
    """The form of a block: each register by its place in the order of appearance, constants and addresses left out.

    `mov rax, [rbx + 8]; add rax, rcx` and `mov rdx, [rsi + 16]; add rdx, rdi` are of one form. The stack pointer, the
    instruction pointer and segments stay: they say what is done.
    """
    names: dict[str, str] = {}

    def register(insn: capstone.CsInsn, number: int, size: int) -> str:
        name = insn.reg_name(number) or "?"
        family = _family(name)
        if family is None:
            return str(name)
        kind = "v" if _WIDE.fullmatch(name) else "r"
        called = names.setdefault(family, f"{kind}{sum(one[0] == kind for one in names.values()) + 1}")
        return called if size in (0, 8) or kind == "v" else f"{called}.{8 * size}"

    def operand(insn: capstone.CsInsn, one: capstone.x86.X86Op) -> str:
        if one.type == x86_const.X86_OP_REG:
            return register(insn, one.reg, one.size)
        if one.type == x86_const.X86_OP_IMM:
            return "n"
        parts = [register(insn, one.mem.base, 0)] if one.mem.base else []
        if one.mem.index:
            scale = f" * {one.mem.scale}" if one.mem.scale != 1 else ""
            parts.append(register(insn, one.mem.index, 0) + scale)
        if one.mem.disp or not parts:
            parts.append("n")
        segment = f"{insn.reg_name(one.mem.segment)}:" if one.mem.segment else ""
        return f"{segment}[{' + '.join(parts)}]"

    def text(insn: capstone.CsInsn) -> str:
        if x86_const.X86_GRP_JUMP in insn.groups and insn.mnemonic != "jmp":
            return "jcc"  # which condition says little of what is done
        return f"{insn.mnemonic} {', '.join(operand(insn, one) for one in insn.operands)}".strip()

    return tuple(text(insn) for insn in disassembled(code, at))


def _family(name: str) -> str | None:
    """What al, ax, eax and rax have in common; None for registers that are known by their own names."""
    if _WIDE.fullmatch(name):
        return re.sub(r"^[xyz]mm", "v", name)
    if re.fullmatch(r"r\d+[dwb]?", name):
        return name.rstrip("dwb")
    short = name.lstrip("er") if len(name) == 3 else name
    if re.fullmatch(r"[abcd][hlx]", short):
        return short[0] + "x"
    if short.removesuffix("l") in ("si", "di", "bp"):
        return short.removesuffix("l")
    return None
