"""x86-64 machine code as instructions, by capstone; what is no integer code is refused here, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import capstone
from capstone import x86

from bridge.pixelcpu.errors import BadCode, Unsupported

MOST_BYTES = 512
"""Of one block: a hot loop's body is a few dozen."""
MOST_INSTRUCTIONS = 128
BASE = 0x400000
"""Where code is taken to lie: what it computes relative to its own address is refused, so it does not matter."""

_OWN_REGISTERS = "it reads or writes the processor's own registers"
_STOPS = "it enters the kernel or stops"
_LEFT_TO_QEMU = {
    "it asks the processor what it is": "cpuid",
    "it reads the time": "rdtsc rdtscp",
    "it is random": "rdrand rdseed",
    _OWN_REGISTERS: "rdpmc rdmsr wrmsr rdfsbase rdgsbase wrfsbase wrgsbase xgetbv xsetbv fxsave fxrstor xsave xrstor "
    "ldmxcsr stmxcsr",
    "it does input or output": "in out insb insw insd outsb outsw outsd",
    "it orders what other processors see": "mfence lfence sfence pause clflush",
    _STOPS: "syscall sysenter int int1 int3 into ud2 ud0 ud1 hlt",
    "it may fault": "div idiv",
    "it touches flags beyond the six of arithmetic": "popf popfq pushf pushfq std cli sti",
    "it calls or returns": "call ret retf iretq iretd enter",
}
_REASONS = {name: reason for reason, names in _LEFT_TO_QEMU.items() for name in names.split()}
_GROUPS = {
    capstone.CS_GRP_PRIVILEGE: "it is privileged",
    capstone.CS_GRP_INT: _STOPS,
    capstone.CS_GRP_IRET: "it calls or returns",
    x86.X86_GRP_FPU: "it computes with floating point",
    x86.X86_GRP_VM: "it is privileged",
}


@cache
def _capstone() -> Any:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    return engine


def decode(code: bytes) -> list[Any]:
    """The instructions of a block of code, as capstone's. Raises BadCode, Unsupported."""
    if not code:
        raise BadCode("There is no code: give at least one instruction.")
    if len(code) > MOST_BYTES:
        raise BadCode(f"The code has {len(code):,} bytes; at most {MOST_BYTES} are looked at.")
    found = list(_capstone().disasm(code, BASE))
    done = sum(one.size for one in found)
    if done != len(code):
        raise BadCode(f"The bytes at {done} ({code[done : done + 8].hex(' ')}) are no x86-64 instruction.")
    if len(found) > MOST_INSTRUCTIONS:
        raise BadCode(f"The code has {len(found)} instructions; at most {MOST_INSTRUCTIONS} are looked at.")
    for number, one in enumerate(found):
        _check(one, last=number == len(found) - 1)
    if has_branches(found):
        _check_branches(found)
    return found


_STRINGS = frozenset(f"{name}{size}" for name in ("movs", "stos", "lods", "scas", "cmps") for size in "bwdq")


def is_string(one: Any) -> bool:
    """Whether it is a string instruction; MOVSD and CMPSD are also the names of others."""
    if one.mnemonic.split()[-1] not in _STRINGS:
        return False
    return not any(o.type == x86.X86_OP_REG and str(one.reg_name(o.reg)).startswith("xmm") for o in one.operands)


ALIGNMENT = 16
"""Bytes, of what SSE instructions load and store."""
_ANYWHERE = frozenset({"movdqu", "movups", "movupd", "lddqu"})


def must_be_aligned(one: Any) -> bool:
    """Whether it faults where the 16 bytes that it loads or stores are not at a multiple of 16 (SDM, 2.4.5)."""
    if one.mnemonic in _ANYWHERE or one.mnemonic.startswith("v"):
        return False
    return any(operand.type == x86.X86_OP_MEM and operand.size == ALIGNMENT for operand in one.operands)


def is_jump(one: Any) -> bool:
    """Whether it may go elsewhere."""
    return capstone.CS_GRP_JUMP in one.groups or one.mnemonic.startswith("loop")


def has_branches(instructions: Sequence[Any]) -> bool:
    """Whether code has several basic blocks: a jump before its end."""
    return any(is_jump(one) for one in instructions[:-1])


def target_of(jump: Any) -> int:
    """Where a jump goes; for code that `decode` gave."""
    return int(jump.operands[0].imm)


def text_of(one: Any) -> str:
    """An instruction for people."""
    return f"{one.mnemonic} {one.op_str}".strip()


def refuse(one: Any, reason: str) -> Unsupported:
    """Why an instruction is not taken over."""
    return Unsupported(f"“{text_of(one)}” at byte {one.address - BASE} is left to QEMU: {reason}")


def _check(one: Any, *, last: bool) -> None:
    name = one.mnemonic.split()[-1]
    reason = _REASONS.get(name) or next((_GROUPS[group] for group in one.groups if group in _GROUPS), None)
    if reason is not None:
        raise refuse(one, reason)
    if one.prefix[0] == x86.X86_PREFIX_LOCK:
        raise refuse(one, "other processors must see it as one step")
    if one.id == x86.X86_INS_XCHG and any(operand.type == x86.X86_OP_MEM for operand in one.operands):
        raise refuse(one, "other processors must see it as one step")
    for operand in one.operands:
        if operand.type == x86.X86_OP_MEM:
            if operand.mem.segment in (x86.X86_REG_FS, x86.X86_REG_GS):
                raise refuse(one, "it reads memory through a segment register")
            if operand.mem.base == x86.X86_REG_RIP:
                raise refuse(one, "what it reads depends on where the code lies")
    jumps = is_jump(one)
    if one.mnemonic == "cmpxchg" and one.operands[0].size == 4:
        raise refuse(one, "QEMU and others disagree about the upper halves of its registers")
    if one.mnemonic == "blsi":
        raise refuse(one, "QEMU and Intel's manual disagree about its carry")
    if jumps and one.operands and one.operands[0].type != x86.X86_OP_IMM:
        raise refuse(one, "where it goes is computed")
    if one.mnemonic.startswith("rep") and not last:
        raise refuse(one, "control may leave the block before its end")


def _check_branches(instructions: Sequence[Any]) -> None:
    """Of several basic blocks: each jump goes on to an instruction behind it, to the first, or out of the code."""
    begins = {one.address for one in instructions}
    end = instructions[-1].address + instructions[-1].size
    for one in instructions:
        if one.mnemonic.startswith("rep"):
            raise refuse(one, "it is a loop of its own within the code")
        if not is_jump(one):
            continue
        if one.mnemonic != "jmp" and (one.mnemonic[0] != "j" or one.mnemonic in ("jrcxz", "jecxz", "jcxz")):
            raise refuse(one, "it is taken over at the end of a single block alone")
        target = target_of(one)
        if BASE < target <= one.address:
            raise refuse(one, "it goes back within the code, which makes another loop there")
        if BASE < target < end and target not in begins:
            raise refuse(one, "it goes into the middle of an instruction")
