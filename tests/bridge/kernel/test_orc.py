"""ORC tables with the numbers that registers had and have: the same entry leads to the same caller."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from bridge.kernel.orc import Frame, OrcLayout, OrcTable

LAYOUT = OrcLayout(6, 0, 2, 4, 0, 4, 8, 7, call=2, regs=3, regs_partial=4)
EARLIER = {"none": 0, "previous": 1, "bp": 4, "sp": 5, "bp indirect": 8, "sp indirect": 9}
LATER = {"none": 0, "previous": 8, "bp": 4, "sp": 3, "bp indirect": 10, "sp indirect": 9}
PLACE = 0xFFFF_FFFF_8200_0000
CODE = 0xFFFF_FFFF_8100_0000
STACK = {0x1000 + 8 * i: 0x2000 + 16 * i for i in range(64)}
# Each function's (sp_reg, sp_offset, bp_reg, bp_offset), and who called it, from sp 0x1000 and bp 0x1020.
CASES = [
    (("sp", 0x10, "none", 0), Frame(STACK[0x1008], 0x1010, 0x1020, False)),
    (("sp", 0x18, "previous", -16), Frame(STACK[0x1010], 0x1018, STACK[0x1008], False)),
    (("bp", 0x10, "previous", -16), Frame(STACK[0x1028], 0x1030, STACK[0x1020], False)),
    (("sp indirect", -0xF00, "bp", 8), Frame(STACK[0x10F8], 0x1100, STACK[0x1028], False)),
    (("bp indirect", 8, "none", 0), None),
    (("none", 0, "none", 0), None),
]


def table_of(numbers: dict[str, int]) -> OrcTable:
    entries = b""
    # Nearly all of a kernel's entries are relative to the stack pointer.
    for (sp, sp_offset, bp, bp_offset), _ in [*CASES, *CASES[:1] * 20]:
        entries += struct.pack("<hhH", sp_offset, bp_offset, numbers[sp] | numbers[bp] << 4 | 2 << 8)
    n = len(entries) // 6
    offsets = struct.pack(f"<{n}i", *(CODE + 0x100 * i - (PLACE + 4 * i) for i in range(n)))
    return OrcTable(LAYOUT.for_table(entries), PLACE, offsets, entries)


@pytest.mark.parametrize("numbers", [EARLIER, LATER], ids=["earlier", "later"])
@pytest.mark.parametrize("index", range(len(CASES)))
def test_the_same_callers_by_either_numbers(numbers: dict[str, int], index: int) -> None:
    table = table_of(numbers)
    assert table.layout == replace(LAYOUT, later_numbers=numbers is LATER)
    frame = Frame(CODE + 0x100 * index + 0x20, 0x1000, 0x1020, False)
    expected = CASES[index][1]
    if CASES[index][0][0] == "bp indirect":
        with pytest.raises(KeyError):  # what is there leads off this stack
            table.above(frame, STACK.__getitem__)
        return
    assert table.above(frame, STACK.__getitem__) == expected


def table_of_one(kind: int) -> OrcTable:
    """A function whose stack pointer is where the registers of what it interrupted are."""
    entries = struct.pack("<hhH", 0, 0, 5 | kind << 8)
    return OrcTable(LAYOUT, PLACE, struct.pack("<i", CODE - PLACE), entries)


def test_what_was_interrupted_is_read_from_its_registers() -> None:
    """`struct pt_regs`: bp is the fifth, ip the seventeenth, sp the twentieth (arch/x86/include/asm/ptrace.h)."""
    stack = {0x1000 + 8 * i: 0x9000 + i for i in range(21)}
    frame = Frame(CODE + 8, 0x1000, 0x77, False)
    above = table_of_one(LAYOUT.regs).above(frame, stack.__getitem__)
    assert above == Frame(0x9000 + 16, 0x9000 + 19, 0x9000 + 4, True)
    # Only what the processor pushes: ip, cs, flags, sp, ss.
    above = table_of_one(LAYOUT.regs_partial).above(frame, stack.__getitem__)
    assert above == Frame(0x9000, 0x9003, 0x77, True)


def test_a_type_that_says_that_the_stack_ends() -> None:
    frame = Frame(CODE + 8, 0x1000, 0x77, False)
    assert table_of_one(1).above(frame, STACK.__getitem__) is None


def test_tables_that_do_not_fit_each_other() -> None:
    with pytest.raises(ValueError, match="do not fit each other"):
        OrcTable(LAYOUT, PLACE, bytes(8), bytes(6))
