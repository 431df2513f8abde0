"""ORC: for each instruction of the kernel, where its caller's stack pointer, frame pointer and return address are.

Two parallel tables, sorted by address: offsets of instructions relative to the entry itself, and six bytes that say how
to get from a frame to the one above (arch/x86/include/asm/orc_types.h, arch/x86/kernel/unwind_orc.c). The bits moved in
v6.3 and v6.4; the kernel's own types say where they are. By v7.2 registers have other numbers, which no type says: the
table itself does, because nearly all of its entries are relative to the stack pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf
from bridge.kernel.errors import MissingType

_REGS_BP, _REGS_IP, _REGS_SP = 4 * 8, 16 * 8, 19 * 8
"""In `struct pt_regs`: fifteen registers and the number of the call, then what the processor pushes."""
_MAX_ENTRIES = 4 << 20


class _Base(IntEnum):
    """What an offset is relative to (ORC_REG_…). The others hold only right after an interrupt."""

    PREVIOUS_SP = 1
    BP = 4
    SP = 5
    BP_INDIRECT = 8
    SP_INDIRECT = 9


_LATER_SP = 3
_LATER = {_LATER_SP: _Base.SP, 4: _Base.BP, 8: _Base.PREVIOUS_SP, 9: _Base.SP_INDIRECT, 10: _Base.BP_INDIRECT}
_EARLIER = {int(base): base for base in _Base}


class Frame(NamedTuple):
    """The registers that matter, in one function that called on."""

    ip: int
    sp: int
    bp: int
    interrupted: bool
    """Whether `ip` was about to run, and is no return address."""


@dataclass(frozen=True, slots=True)
class OrcLayout:
    """Where the parts of `struct orc_entry` are, and what its type's numbers mean."""

    entry_bytes: int
    sp_offset: int
    bp_offset: int
    flags: int
    sp_shift: int
    bp_shift: int
    type_shift: int
    type_mask: int
    call: int
    regs: int
    regs_partial: int
    later_numbers: bool = False
    """Whether registers have the numbers of v7.2."""

    @classmethod
    def of(cls, types: Btf) -> OrcLayout:
        """Raises MissingType for a kernel without ORC."""
        if not types.has("orc_entry"):
            raise MissingType("struct orc_entry: it was built without ORC tables, so its stacks cannot be unwound")
        sp, bp, kind = (types.member("orc_entry", name) for name in ("sp_reg", "bp_reg", "type"))
        flags = sp.bit_offset // 8
        # Linux commit fb799447ae29 ("x86,objtool: Split UNWIND_HINT_EMPTY in two", in v6.4) put two types before these.
        first = 0 if types.has("orc_entry", "end") else 2
        return cls(
            entry_bytes=types.struct_size("orc_entry"),
            sp_offset=types.offset("orc_entry", "sp_offset"),
            bp_offset=types.offset("orc_entry", "bp_offset"),
            flags=flags,
            sp_shift=sp.bit_offset - 8 * flags,
            bp_shift=bp.bit_offset - 8 * flags,
            type_shift=kind.bit_offset - 8 * flags,
            type_mask=(1 << (kind.bit_size or 2)) - 1,
            call=first,
            regs=first + 1,
            regs_partial=first + 2,
        )

    def for_table(self, entries: bytes) -> OrcLayout:
        """The same, with the numbers of registers that the kernel image's table of entries is written in."""
        rows = np.frombuffer(entries[: len(entries) // self.entry_bytes * self.entry_bytes], np.uint8)
        flags = rows.reshape(-1, self.entry_bytes)[:, self.flags].astype(np.int64)
        registers = flags >> self.sp_shift & 15
        return replace(self, later_numbers=bool((registers == _LATER_SP).sum() > (registers == _Base.SP).sum()))

    def base(self, number: int) -> _Base | None:
        """What a register's number stands for."""
        return (_LATER if self.later_numbers else _EARLIER).get(number)


class OrcTable:
    """One pair of tables: the kernel image's, or a module's."""

    def __init__(self, layout: OrcLayout, place: int, offsets: bytes, entries: bytes) -> None:
        """`place`: address of the table of offsets. Raises ValueError for tables that do not fit each other."""
        count = len(offsets) // 4
        if count > _MAX_ENTRIES or len(entries) != count * layout.entry_bytes:
            raise ValueError(f"ORC tables of {len(offsets):,} and {len(entries):,} bytes do not fit each other")
        self.layout = layout
        self._place, self._offsets, self._entries = place, offsets, entries

    @cached_property
    def _addresses(self) -> npt.NDArray[np.uint64]:
        relative = np.frombuffer(self._offsets, "<i4").astype(np.int64)
        places = np.uint64(self._place) + np.arange(len(relative), dtype=np.uint64) * np.uint64(4)
        return places + relative.view(np.uint64)

    def above(self, frame: Frame, word: Callable[[int], int]) -> Frame | None:
        """The frame that called this one; None where the stack ends, or where the tables do not say.

        `word` reads 64 bits of the stack, and raises for what is no stack.
        """
        layout = self.layout
        # A return address may lie behind its function's end, if that does not return.
        at = frame.ip if frame.interrupted else frame.ip - 1
        index = int(np.searchsorted(self._addresses, np.uint64(at), side="right")) - 1
        if index < 0:
            return None
        entry = self._entries[index * layout.entry_bytes :][: layout.entry_bytes]
        flags = int.from_bytes(entry[layout.flags : layout.flags + 2], "little")
        sp_reg, bp_reg = (layout.base(flags >> shift & 15) for shift in (layout.sp_shift, layout.bp_shift))
        kind = flags >> layout.type_shift & layout.type_mask
        sp_offset = int.from_bytes(entry[layout.sp_offset : layout.sp_offset + 2], "little", signed=True)
        bp_offset = int.from_bytes(entry[layout.bp_offset : layout.bp_offset + 2], "little", signed=True)
        match sp_reg:
            case _Base.SP:
                sp = frame.sp + sp_offset
            case _Base.BP:
                sp = frame.bp + sp_offset
            case _Base.SP_INDIRECT:
                sp = word(frame.sp) + sp_offset
            case _Base.BP_INDIRECT:
                sp = word(frame.bp + sp_offset)
            case _:
                return None
        bp = frame.bp
        if kind == layout.call:
            ip, next_sp = word(sp - 8), sp
        elif kind == layout.regs:
            ip, next_sp, bp = word(sp + _REGS_IP), word(sp + _REGS_SP), word(sp + _REGS_BP)
        elif kind == layout.regs_partial:
            ip, next_sp = word(sp), word(sp + _REGS_SP - _REGS_IP)
        else:
            return None
        if bp_reg == _Base.PREVIOUS_SP:
            bp = word(sp + bp_offset)
        elif bp_reg == _Base.BP:
            bp = word(frame.bp + bp_offset)
        return Frame(ip, next_sp, bp, kind != layout.call)
