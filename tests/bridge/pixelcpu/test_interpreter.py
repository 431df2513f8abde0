"""The interpreter against the model of integers: every row, every pair of operands at 8 bits, corners at the others."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.errors import MemoryFault, PixelError, TooManySteps
from bridge.pixelcpu.interpreter import Final, States, run_lanes, run_states
from bridge.pixelcpu.isa import N_REGISTERS, OPERATIONS, ROWS, Kind
from bridge.pixelcpu.memory import ArrayMemory
from tests.bridge.pixelcpu.model import MODEL
from tests.bridge.pixelcpu.rows import (
    EVERY_LANES,
    EXAMPLES,
    PLAIN,
    A,
    assert_same,
    every_expected,
    every_pair,
    expected,
    some_states,
    words_of,
)


def test_the_model_knows_every_plain_operation() -> None:
    assert set(MODEL) == {row.operation for row in ROWS if row.kind is Kind.PLAIN}
    assert set(OPERATIONS) == {row.operation for row in ROWS}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_row_does_what_the_manual_says_at_corners_and_at_random(name: str) -> None:
    for example in EXAMPLES[name]:
        states = some_states(400 // len(EXAMPLES[name]), example.row.opcode)
        assert_same(run_states(example.program, states), expected(example, states), states, str(example))


@pytest.mark.parametrize("name", [row.name for row in PLAIN if row.word_width == 8 and not row.takes_condition])
def test_a_row_of_8_bits_does_what_the_manual_says_for_every_pair_of_operands_and_either_carry(name: str) -> None:
    (example,) = EXAMPLES[name]
    memory = ArrayMemory(np.zeros(4 * EVERY_LANES, np.uint8))
    run_lanes(every_pair(example), EVERY_LANES, _registers(), 0, memory)
    found, (value, flags) = memory.content.view(np.uint16).reshape(-1, 2), every_expected(example)
    np.testing.assert_array_equal(found[:, 0], value)
    np.testing.assert_array_equal(found[:, 1], flags)


def test_a_condition_holds_as_the_manual_says_for_all_flags() -> None:
    states = States(
        np.zeros((64, N_REGISTERS), np.uint64),
        words_of(np.array([[n >> place & 1 for place in range(6)] for n in range(64)], np.uint64)),
    )
    for example in EXAMPLES["set.8"]:
        assert_same(run_states(example.program, states), expected(example, states), states, str(example))


def _registers(**values: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    registers = np.zeros(N_REGISTERS, np.uint64)
    for name, value in values.items():
        registers[int(name[1:])] = value
    return registers


def test_lanes_load_and_store_where_their_addresses_say_at_any_alignment() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 4, 8):
        content = rng.integers(0, 256, 900).astype(np.uint8)
        words = content[3 : 3 + 100 * size].copy().view(f"<u{size}")
        width = 8 * size
        program = assemble(
            f"lane.64 r1\nmul.64 r2, r1, {size}\nadd.64 r2, r2, r0\nload.{width} r3, [r2 - 2]\n"
            f"not.{width} r3, r3\nstore.{width} [r2 + r4], r3\n"
        )
        memory = ArrayMemory(content.copy(), 0xFFFF_FFFF_FFFF_F000)
        run_lanes(program, 100, _registers(r0=0xFFFF_FFFF_FFFF_F005, r4=-2 % (1 << 64)), 0, memory)
        wanted = content.copy()
        wanted[3 : 3 + 100 * size] = (~words).view(np.uint8)
        np.testing.assert_array_equal(memory.content, wanted)


def test_an_access_outside_memory_is_a_fault_that_says_who_and_where() -> None:
    memory = ArrayMemory(np.zeros(64, np.uint8), 0x1000)
    program = assemble("lane.64 r1\nshl.64 r1, r1, 2\nload.32 r2, [r1 + r0]")
    assert isinstance(run_lanes(program, 16, _registers(r0=0x1000), 0, memory), Final)
    with pytest.raises(MemoryFault, match="Lane 16 made a 4-byte load from 0x1040") as raised:
        run_lanes(program, 20, _registers(r0=0x1000), 0, memory)
    assert (raised.value.lane, raised.value.address, raised.value.is_store) == (16, 0x1040, False)
    for start in (0x0FFF, 0x103D, 0):
        with pytest.raises(MemoryFault):
            run_lanes(program, 1, _registers(r0=start), 0, memory)
    with pytest.raises(MemoryFault, match="store to 0x0"):
        run_lanes(assemble("store.8 [r0], r0"), 1, _registers(), 0)
    locked = np.zeros(8, np.uint8)
    locked.flags.writeable = False
    with pytest.raises(MemoryFault, match="store"):
        run_lanes(assemble("store.8 [r0], r0"), 1, _registers(), 0, ArrayMemory(locked))


def test_a_load_or_store_that_is_not_made_does_not_fault_and_changes_nothing() -> None:
    memory = ArrayMemory(np.arange(16, dtype=np.uint8))
    program = assemble(
        "lane.64 r1\nltu.64 r2, r1, 8\nshl.64 r3, r1, 1\nmov.64 r4, 0x1111111111111111\n"
        "loadif.16 r4, [r3] if r2\nstoreif.8 [r3], r1 if r2\n"
    )
    after = run_states(program, States(np.zeros((12, N_REGISTERS), np.uint64), np.zeros(12, np.uint64)), memory)
    assert after.registers[:, 4].tolist() == [
        0x1111111111110000 + (2 * lane + 1) * 256 + 2 * lane if lane < 8 else 0x1111111111111111 for lane in range(12)
    ]
    assert memory.content[::2].tolist() == list(range(8))
    assert memory.content[1::2].tolist() == list(range(1, 16, 2))
    never = assemble("loadif.64 r1, [r3] if r2\nstoreif.64 [r3], r1 if r2")
    assert run_lanes(never, 3, _registers(r1=5)).registers[1] == 5


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_a_reduction_folds_over_all_lanes_and_gives_each_the_result(width: int) -> None:
    states = some_states(501, width)
    values = [int(value) % (1 << width) for value in states.registers[:, A]]
    signed = [value - (1 << width) if value >> (width - 1) else value for value in values]
    xor = every = 0
    for value in values:
        xor ^= value
        every |= value
    both = (1 << width) - 1
    for value in values:
        both &= value
    wanted = {
        "sumall": sum(values),
        "xorall": xor,
        "andall": both,
        "orall": every,
        "minuall": min(values),
        "maxuall": max(values),
        "minsall": min(signed),
        "maxsall": max(signed),
    }
    for operation, value in wanted.items():
        after = run_states(assemble(f"zx32.64 r1, r0\n{operation}.{width} r0, r3"), states)
        low = after.registers[:, 0] & np.uint64((1 << width) - 1)
        assert set(low.tolist()) == {value % (1 << width)}, operation


def test_a_reduction_of_what_all_lanes_share_counts_the_lanes() -> None:
    program = assemble("sumall.64 r1, r0\nxorall.64 r2, r0\nmaxsall.8 r3, -3\nsumall.8 r4, 2")
    for lanes in (1, 2, 255, 256):
        final = run_lanes(program, lanes, _registers(r0=7))
        assert final.registers[1:5].tolist() == [7 * lanes, 7 * (lanes % 2), 0xFD, 2 * lanes % 256]


def test_the_last_lanes_registers_and_flags_are_the_runs() -> None:
    final = run_lanes(assemble("lane.64 r1\ncmp.64! r1, 4\nset.8 r2, e"), 5, _registers())
    assert final.registers[1:3].tolist() == [4, 1]
    assert final.flags == 1 << 6 | 1 << 2


def test_a_run_is_bounded_and_has_a_lane() -> None:
    program = assemble("mov.64 r1, 1\nmov.64 r2, 2")
    with pytest.raises(TooManySteps, match="20 steps, and 19 are allowed"):
        run_lanes(program, 10, _registers(), most_steps=19)
    with pytest.raises(PixelError, match="at least one lane"):
        run_lanes(program, 0, _registers())
    with pytest.raises(ValueError, match="registers are"):
        run_lanes(program, 1, np.zeros(31, np.uint64))
    with pytest.raises(ValueError, match="contiguous"):
        ArrayMemory(np.zeros((2, 2), np.uint8))
