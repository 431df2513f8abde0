"""Hypothesis: any instruction and program that the table allows."""

from __future__ import annotations

from hypothesis import strategies as st

from bridge.pixelcpu.isa import CONDITIONS, N_REGISTERS, ROWS, Row
from bridge.pixelcpu.microcode import Instruction, Program

_REGISTERS = st.integers(0, N_REGISTERS - 1)


@st.composite
def instructions(draw: st.DrawFn, rows: tuple[Row, ...] = ROWS) -> Instruction:
    """Any instruction of these rows."""
    row = draw(st.sampled_from(rows))
    immediate = None
    if row.may_be_immediate and draw(st.booleans()):
        width = draw(st.sampled_from([w for w in (8, 16, 32, 64) if w <= row.immediate_width]))
        immediate = draw(st.integers(-(1 << (width - 1)), (1 << (width - 1)) - 1))
    return Instruction(
        row,
        d=0 if row.must_write else draw(_REGISTERS),
        b=draw(st.integers(0, len(CONDITIONS) - 1)) if row.takes_condition else draw(_REGISTERS) if row.takes_b else 0,
        a=draw(_REGISTERS) if row.takes_a and immediate is None else 0,
        immediate=immediate,
        sets_flags=row.must_write or (bool(row.writes) and draw(st.booleans())),
    )


def programs(rows: tuple[Row, ...] = ROWS, most: int = 12) -> st.SearchStrategy[Program]:
    """Any program of these rows."""
    return st.lists(instructions(rows), max_size=most).map(Program.of)
