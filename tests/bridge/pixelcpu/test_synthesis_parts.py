"""What the superoptimiser stands on: memory of examples, programs step by step, and the search for one instruction."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pixelcpu import interpreter
from bridge.pixelcpu.isa import FLAG_BITS, N_REGISTERS, ROWS, Kind, Row, Shape
from bridge.pixelcpu.microcode import Instruction, Program, make
from bridge.pixelcpu.synthesis_memory import ExampleMemory, Known
from bridge.pixelcpu.synthesis_search import alike

N = 40
_TOP = (1 << 64) - 1
addresses = st.integers(0, 20) | st.integers(_TOP - 4, _TOP)


@given(st.data())
def test_memory_of_examples_is_memory(data: st.DataObject) -> None:
    """Beside a dictionary for each of three lanes, of which one's bytes are known."""
    known = Known({3: 0x11, 4: 0x22, _TOP: 0x33}, others=0x77)
    memory, model = ExampleMemory([None, known, None]), [dict[int, int](), dict(known.bytes_), dict[int, int]()]
    untouched = ExampleMemory([None, known, None])

    def byte(lane: int, at: int) -> int:
        if lane == 1:
            return model[1].get(at, known.others)
        fresh = untouched.load(np.array([at], np.uint64), 1, np.array([lane]))
        return model[lane].get(at, int(fresh[0]))

    for _ in range(data.draw(st.integers(1, 8))):
        size, lanes = data.draw(st.sampled_from((1, 2, 4, 8))), data.draw(st.sets(st.integers(0, 2), min_size=1))
        where = {lane: data.draw(addresses) for lane in sorted(lanes)}
        chosen, places = np.array(list(where)), np.array(list(where.values()), np.uint64)
        if data.draw(st.booleans()):
            words = [data.draw(st.integers(0, (1 << 8 * size) - 1)) for _ in where]
            memory.store(places, np.array(words, f"<u{size}"), chosen)
            for (lane, at), word in zip(where.items(), words, strict=True):
                for n, part in enumerate(word.to_bytes(size, "little")):
                    model[lane][(at + n) & _TOP] = part
        found = memory.load(places, size, chosen)
        for (lane, at), word in zip(where.items(), found.tolist(), strict=True):
            assert word == int.from_bytes(bytes(byte(lane, (at + n) & _TOP) for n in range(size)), "little")


def test_memories_are_equal_where_stores_left_the_same() -> None:
    def memory(*stores: tuple[int, int, int]) -> ExampleMemory:
        made = ExampleMemory([None, None])
        for lane, at, value in stores:
            made.store(np.array([at], np.uint64), np.array([value], np.uint16), np.array([lane]))
        return made

    assert memory().equals(memory())
    assert memory((0, 8, 0x1234)).equals(memory((0, 8, 0), (0, 8, 0x1234)))
    assert memory((0, 8, 0x1212), (0, 9, 0x1212)).equals(memory((0, 9, 0x1212), (0, 8, 0x1212)))
    assert not memory((0, 8, 0x1234)).equals(memory((0, 9, 0x1234)))
    assert not memory((0, 8, 0x1234)).equals(memory((1, 8, 0x1234)))
    assert not memory().equals(memory((1, 8, 0x1234)))
    same = int(ExampleMemory([None]).load(np.array([8], np.uint64), 2, np.array([0]))[0])
    assert memory().equals(memory((1, 8, same))), "it was there before"


def states() -> interpreter.States:
    rng = np.random.default_rng(3)
    registers = rng.integers(0, 1 << 64, (N, N_REGISTERS), np.uint64, endpoint=False)
    registers[::3] >>= rng.integers(0, 64, registers[::3].shape, np.uint64)
    registers[::5] = rng.choice(np.array([0, 1, _TOP, 1 << 63, 7], np.uint64), registers[::5].shape)
    return interpreter.States(registers, rng.integers(0, 1 << 12, N, np.uint64) & np.uint64(0x8D5))


def test_steps_are_what_programs_do_up_to_there() -> None:
    program = Program.of(
        [
            make("add.64", 1, 2, 3, flags=True),
            make("store.32", 1, 4, immediate=8),
            make("load.32", 5, 4, immediate=8),
            make("adc.16", 6, 5, 1, flags=True),
        ]
    )
    before = states()
    steps = interpreter.steps(program, before, ExampleMemory([None] * N))
    assert len(steps) == 5
    for place, step in enumerate(steps):
        cut = Program.of(program.instructions[:place])
        done = interpreter.run_states(cut, before, ExampleMemory([None] * N)) if place else before
        for number in range(N_REGISTERS):
            assert np.array_equal(np.broadcast_to(step.registers[number], N), done.registers[:, number])
        for flag, bit in FLAG_BITS.items():
            expected = (done.flags >> np.uint64(bit) & np.uint64(1)).astype(bool)
            assert np.array_equal(np.broadcast_to(step.flags[flag], N), expected)


def found_for(window: list[Instruction]) -> list[Instruction]:
    steps = interpreter.steps(Program.of(window), states())
    return list(alike(window, steps[0], steps[-1], N, perf_counter() + 60))


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in ROWS
        if row.kind is Kind.PLAIN and row.has_destination and row.shape in (Shape.UNARY, Shape.BINARY)
    ],
    ids=lambda row: row.name,
)
def test_every_instruction_is_found_again(row: Row) -> None:
    """After a copy to where it then does its work: what it does in one step."""
    width = row.word_width
    copy = make(f"mov.{width}", 1, a=2)
    if row.shape is Shape.UNARY:
        window, wanted = [copy, Instruction(row, 1, 0, 1)], Instruction(row, 1, 0, 2)
    else:
        window, wanted = [copy, Instruction(row, 1, 1, 3)], Instruction(row, 1, 2, 3)
    # What does nothing says of which width the search is, where that is of parts of 64 bits.
    assert wanted in found_for([*window, make(f"mov.{row.width}", 7, a=7)])


def test_what_is_found_does_the_same_in_every_example() -> None:
    windows = [
        [make("shl.64", 1, 1, immediate=3), make("shl.64", 1, 1, immediate=5)],
        [make("xor.32", 1, 1, 1), make("or.32", 1, 1, 2)],
        [make("neg.16", 1, a=2), make("add.16", 1, 1, 3, flags=True)],
        [make("cmov.64", 1, 4, 2), make("cmov.64", 1, 4, 2)],
        [make("cmp.64", 0, 1, 2)],
    ]
    for window in windows:
        after = interpreter.run_states(Program.of(window), states())
        found = found_for(window)
        assert bool(found) == (window[0].row.operation != "cmp")
        for one in found:
            done = interpreter.run_states(Program.of([one]), states())
            assert np.array_equal(done.registers[:, one.d], after.registers[:, one.d]), one
            assert one.row.cost < sum(each.row.cost + each.sets_flags for each in window)


def test_a_search_ends_in_time() -> None:
    window = [make("shl.64", 1, 1, immediate=3), make("shl.64", 1, 1, immediate=5)]
    steps = interpreter.steps(Program.of(window), states())
    assert list(alike(window, steps[0], steps[-1], N, perf_counter() - 1)) == []
