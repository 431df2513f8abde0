"""Programs, pixels and text say the same, and what is no program is refused with the pixel or line that is wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bridge.pixelcpu.assembly import assemble, disassemble, line_of
from bridge.pixelcpu.errors import BadMicrocode
from bridge.pixelcpu.isa import BY_NAME, BY_OPCODE, CONDITIONS, FLAGS, OPERATIONS, ROWS, Kind, Shape
from bridge.pixelcpu.microcode import MOST_INSTRUCTIONS, MOST_PIXELS, Instruction, Program, decode, make, signed
from tests.bridge.pixelcpu.strategies import instructions, programs


def decoded_or_wrong(pixels: NDArray[np.uint8]) -> tuple[Program | None, int]:
    """The program, or the pixel that is wrong."""
    try:
        return decode(pixels), -1
    except BadMicrocode as bad:
        return None, -1 if bad.at is None else bad.at


@given(programs())
def test_a_program_is_its_pixels_and_its_text(program: Program) -> None:
    pixels = program.pixels
    assert len(pixels) == sum(instruction.n_pixels for instruction in program.instructions)
    assert decode(pixels) == program
    assert assemble(disassemble(program)) == program
    names = [f"name{number}" for number in range(16)]
    assert assemble(disassemble(program, names), names) == program


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 4), max_size=6))
@example([(0x08, 0x41, 2, 0x80)])
@example([(0x08, 0xC1, 2, 1), (1, 0, 0, 0)])
@example([(0x0B, 0xC1, 2, 2), (1, 0, 0, 0), (255, 255, 255, 255)])
def test_pixels_are_one_program_or_are_refused(pixels: list[tuple[int, int, int, int]]) -> None:
    array = np.array(pixels, np.uint8).reshape(-1, 4)
    program, wrong_at = decoded_or_wrong(array)
    if program is None:
        assert 0 <= wrong_at < len(pixels)
    else:
        np.testing.assert_array_equal(program.pixels, array)


@given(instructions(), st.integers(0, 31))
def test_a_changed_bit_is_another_instruction_or_none(instruction: Instruction, place: int) -> None:
    pixels = Program.of([instruction]).pixels.copy()
    pixels[0, place // 8] ^= 1 << place % 8
    program, _ = decoded_or_wrong(pixels)
    assert program is None or program.instructions != (instruction,)


def test_every_opcode_is_a_row_or_is_refused() -> None:
    for opcode in range(256):
        row = BY_OPCODE.get(opcode)
        green = 0x20 if row and row.must_write else 0
        pixels = np.array([[opcode, green, 0, 0]], np.uint8)
        if row is None:
            with pytest.raises(BadMicrocode, match=f"opcode {opcode:#04x}"):
                decode(pixels)
        else:
            assert decode(pixels).instructions[0].row is row
            assert line_of(decode(pixels).instructions[0]).split()[0].rstrip("!") == row.name
    assert 0 not in BY_OPCODE


def test_the_table_is_one() -> None:
    assert [row.opcode for row in ROWS] == sorted({row.opcode for row in ROWS})
    assert len(BY_NAME) == len(ROWS)
    for row in ROWS:
        assert set(row.writes) <= set(FLAGS) >= set(row.reads)
        assert row.cost > 0
        assert row.says
    assert len(CONDITIONS) == 16


@pytest.mark.parametrize(
    ("pixels", "problem", "at"),
    [
        ([[0, 0, 0, 0]], "no instruction has the opcode 0x00", 0),
        ([[0x0A, 0x80, 0, 1], [0, 0, 0, 0]], "a wide immediate without an immediate", 0),
        ([[0x0A, 0xC0, 0, 3]] * 9, "an immediate of 3 pixels", 0),
        ([[0x06, 0, 0, 1], [0x0B, 0xC0, 0, 2], [1, 1, 1, 1]], "the immediate is cut short", 1),
        ([[0x0B, 0xC0, 0, 1], [5, 0, 0, 0]], "the immediate 5 has a shorter form", 0),
        ([[0x0B, 0xC0, 0, 2], [255] * 4, [255] * 4], "the immediate -1 has a shorter form", 0),
        ([[0x08, 0xC0, 0, 1], [0, 1, 0, 0]], "the immediate 256 does not fit into 8 bits", 0),
        ([[0x0A, 0, 32, 0]], "there is no register 32", 0),
        ([[0x0A, 0, 0, 33]], "there is no register 33", 0),
        ([[0x06, 0, 1, 0]], "it takes no B", 0),
        ([[0xD0, 0, 0, 1]], "it takes no A", 0),
        ([[0x90, 0, 16, 0]], "there is no condition 16", 0),
        ([[0x06, 0x20, 0, 1]], "it has no flags to write", 0),
        ([[0x26, 0, 0, 1]], "it does nothing but write flags, and may not", 0),
        ([[0x26, 0x21, 0, 1]], "it has no destination", 0),
        ([[0xCA, 0x40, 0, 1]], "its A is no immediate", 0),
    ],
)
def test_what_is_no_program_is_refused_with_the_pixel_that_is_wrong(pixels: Any, problem: str, at: int) -> None:
    with pytest.raises(BadMicrocode, match=re.escape(problem)) as raised:
        decode(np.array(pixels, np.uint8))
    assert raised.value.at == at


def test_what_is_no_array_of_pixels_is_refused() -> None:
    wrongs: list[Any] = [np.zeros((2, 3), np.uint8), np.zeros((2, 4), np.int64), np.zeros(4, np.uint8)]
    for wrong in wrongs:
        with pytest.raises(BadMicrocode, match="a program is"):
            decode(wrong)
    with pytest.raises(BadMicrocode, match="are the most"):
        decode(np.zeros((MOST_PIXELS + 1, 4), np.uint8))
    with pytest.raises(BadMicrocode, match="are the most"):
        Program.of([make("mov.64", 1, immediate=0)] * (MOST_INSTRUCTIONS + 1))


def test_an_instruction_is_made_by_name_and_takes_immediates_of_either_sign() -> None:
    assert make("mov.8", 1, immediate=0xFF) == make("mov.8", 1, immediate=-1)
    assert make("mov.64", 1, immediate=(1 << 64) - 1).immediate == -1
    assert make("padd.8", 1, 2, immediate=0x8000_0000_0000_0000).immediate == -(1 << 63)
    assert make("load.8", 1, 2, immediate=300).immediate == 300
    assert make("cmp.32", b=1, a=2).sets_flags
    assert not make("add.32", 1, 2, 3).sets_flags
    assert signed(0x80, 8) == -128
    with pytest.raises(BadMicrocode, match=r"no operation 'add\.7'"):
        make("add.7", 1)
    with pytest.raises(BadMicrocode, match="no register 32"):
        make("add.8", 32)
    with pytest.raises(BadMicrocode, match="both a register and an immediate"):
        Instruction(BY_NAME["add.8"], 1, 2, 3, immediate=5)


def test_a_program_tells_what_it_reaches() -> None:
    program = assemble(
        "load.32 r1, [r2 + 4]\nadd.32! r3, r1, 1\nbt.32! r3, 1\nstoreif.8 [r4], r3 if r1\nsumall.64 r5, r3"
    )
    assert [i.row.operation for i in program.accesses] == ["load", "storeif"]
    assert program.writes == {1, 3, 5}
    assert program.writes_flags == "ACOPSZ"
    assert program.has_reductions
    assert program.cost == 6 + 1 + 1 + 2 + 1 + 7 + 4
    assert not Program.of([]).has_reductions
    assert len({program.hash, Program.of([]).hash, program.hash}) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n\nadd.9 r1, r2, r3", "no operation 'add.9' (at 2)"),
        ("add.8 r1, r2", "add.8 is written add.8 d,b,a"),
        ("add.8 r1, r2, r32", "'r32' is neither a register nor a number"),
        ("add.8 r1, 5, r2", "no register '5'"),
        ("add.8 r1, r2, 256", "256 does not fit into 8 bits"),
        ("add.8 r1, r2, -129", "-129 does not fit into 8 bits"),
        ("mov.64 r1, 0x10000000000000000", "neither a register nor a number"),
        ("mov.64 r1, 007", "neither a register nor a number"),
        ("load.8 r1, [r2 - r3]", "'-r3' is neither"),
        ("loadif.8 r1, [r2] if 4", "its A is no immediate"),
        ("set.8 r1, zz", "no condition 'zz'"),
        ("mov.8! r1, r2", "it has no flags to write"),
        ("\x00", "no operation"),
        ("mov.8 r1, \u0663", "mov.8 is written"),
    ],
)
def test_text_that_is_no_program_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(BadMicrocode, match=re.escape(problem)):
        assemble(text)


def test_text_is_forgiving_of_spaces_comments_and_number_bases_and_is_bounded() -> None:
    said = (
        "  ; nothing\n\tload.16   r1 ,[ r2+0x10 ] ; a word\r\nstore.16 [r2-1] ,  r1\nload.8 r1, [r3 + r4]\n"
        "load.8 r1, [r3]"
    )
    assert disassemble(assemble(said)) == (
        "load.16 r1, [r2 + 16]\nstore.16 [r2 - 1], r1\nload.8 r1, [r3 + r4]\nload.8 r1, [r3]\n"
    )
    with pytest.raises(BadMicrocode, match="are the most"):
        assemble(" " * 1_000_000)


def test_every_shape_and_kind_is_in_use() -> None:
    assert {row.shape for row in ROWS} == set(Shape)
    assert {row.kind for row in ROWS} == set(Kind)
    assert len(OPERATIONS) >= 60
