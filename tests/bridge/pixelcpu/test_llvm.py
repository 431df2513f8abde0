"""Compiled kernels: every row as the model has it, loops in both ways of going on, and faults between two lanes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.pixelcpu.assembly import assemble, line_of
from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.interpreter import States, run_lanes, run_states
from bridge.pixelcpu.isa import FLAGS_MASK, N_REGISTERS
from bridge.pixelcpu.llvm import CompiledKernel, Run, Window
from bridge.pixelcpu.memory import ArrayMemory
from tests.bridge.pixelcpu.rows import (
    GIVEN_BYTES,
    PROBED,
    assert_probed,
    assert_same,
    expected,
    probe,
    probe_memory,
    some_states,
)


def _registers(**values: int) -> NDArray[np.uint64]:
    registers = np.zeros(N_REGISTERS, np.uint64)
    for name, value in values.items():
        registers[int(name[1:])] = value
    return registers


def test_every_row_does_what_the_model_says() -> None:
    states = some_states(300, 5)
    for first in range(0, len(PROBED), 9):  # without memory, and few at once: each compiles in some 40 ms
        some = PROBED[first : first + 9]
        text = "rdf.64 r9\n"
        for place, example in enumerate(some):
            (instruction,) = example.program.instructions
            text += f"mov.64 r1, r31\nwrf.64! r9, {FLAGS_MASK}\n{line_of(instruction)}\n"
            text += f"mov.64 r{10 + place}, r1\nrdf.64 r{20 + place}\n"
        with CompiledKernel(assemble(text)) as kernel:
            given = States(states.registers.copy(), states.flags)
            given.registers[:, 31] = given.registers[:, 1]
            done = kernel.run_states(given)
        for place, example in enumerate(some):
            registers = states.registers.copy()
            registers[:, 1] = done.registers[:, 10 + place]
            found = States(registers, done.registers[:, 20 + place])
            assert_same(found, expected(example, states), states, str(example))


def test_vector_code_does_what_the_model_says() -> None:
    states = some_states(333, 8)
    some = tuple(
        e for e in PROBED if e.row.operation in ("sar", "rol", "adc", "mulhu", "lzcnt", "mins") and e.row.width == 32
    )
    before, wanted = probe_memory(some, states)
    with CompiledKernel(probe(some)) as kernel:
        assert kernel.run(333, _registers(r6=GIVEN_BYTES * 333), 0, Window(before)).lanes == 333
    assert_probed(before, wanted, some, 333)


def _step_by_step(text: str, n: int, registers: NDArray[np.uint64], flags: int, memory: NDArray[np.uint8]) -> Run:
    """What a loop of n iterations does: the interpreter, one lane at a time, each going on from the one before."""
    program = assemble(text)
    for _ in range(n):
        final = run_lanes(program, 1, registers, flags, ArrayMemory(memory, 0x1000))
        registers, flags = final.registers, final.flags
    return Run(n, registers, flags)


LOOPS = {
    "sum": "load.32 r2, [r0]\nadd.32! r4, r4, r2\nadd.64! r0, r0, 4\ncmp.64! r0, r5",
    "map": "load.16 r2, [r0]\nxor.16! r2, r2, 0x5a5a\nstore.16 [r0], r2\nsub.64! r0, r0, -2",
    "copy backwards": "load.64 r2, [r0 + 512]\nstore.64 [r0 + 560], r2\nsub.64 r0, r0, 8",
    "copy that overlaps": "load.8 r2, [r0]\nstore.8 [r0 + 3], r2\ninc.64! r0, r0",
    "hash": "load.8 r2, [r0]\nzx8.64 r2, r2\nxor.64 r4, r4, r2\nmul.64! r4, r4, 0x100000001b3\ninc.64! r0, r0",
    "carry over all words": "load.64 r2, [r0]\nadc.64! r2, r2, r2\nstore.64 [r0], r2\nlane.64 r6\nrdf.64 r7\n"
    "mov.64 r8, r0\nmov.64 r0, r8\ninc.64 r0, r0\nadd.64 r0, r0, 7",
    "only some": "load.8 r2, [r0]\ncmp.8! r2, 100\nset.64 r3, a\nstoreif.8 [r0], r4 if r3\nloadif.8 r6, [r0] if r3\n"
    "add.64 r0, r0, 1\nadd.8 r4, r4, r2",
    "table": "load.8 r2, [r0]\nzx8.64 r2, r2\nload.8 r3, [r2 + r7]\nstore.8 [r0], r3\ninc.64 r0, r0",
    "registers only": "shl.64 r2, r4, 13\nxor.64 r4, r4, r2\nshr.64 r2, r4, 7\nxor.64! r4, r4, r2\nrcl.16! r1, r1, 3",
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_a_loop_goes_on_from_lane_to_lane(text: str) -> None:
    rng = np.random.default_rng(3)
    content = rng.integers(0, 256, 2048).astype(np.uint8)
    with CompiledKernel(assemble(text), carried=True) as kernel:
        for n in (1, 2, 61):
            registers = rng.integers(0, 1 << 64, N_REGISTERS, np.uint64)
            registers[[0, 7]] = 0x1000 + 700, 0x1000 + 1024
            flags = FLAGS_MASK if n == 2 else 1
            ours, theirs = content.copy(), content.copy()
            wanted = _step_by_step(text.replace("lane.64 r6", "mov.64 r6, r31"), n, registers, flags, theirs)
            found = kernel.run(n, registers, flags, Window(ours, 0x1000))
            if "lane" in text:
                wanted.registers[6] = n - 1
            assert found.lanes == n
            np.testing.assert_array_equal(found.registers, wanted.registers)
            assert found.flags == wanted.flags
            np.testing.assert_array_equal(ours, theirs)


def test_a_loop_that_leaves_its_memory_ends_after_the_last_lane_that_did_not() -> None:
    # Two stores and a load that faults after them: of the lane that faults neither is to be seen.
    text = (
        "load.32 r2, [r0]\nadd.32! r2, r2, 1\nstore.32 [r0], r2\nset.64 r9, e\nstoreif.8 [r1], r2 if r9\n"
        "storeif.8 [r1], r2 if r1\nload.32 r3, [r0 + 64]\nadd.32! r4, r4, r3\nadd.64! r0, r0, {step}"
    )
    for step, lanes in ((4, 48), (12, 16), (-4, 6)):
        content = np.arange(256, dtype=np.uint8)
        content[252:] = 0xFF
        registers = _registers(r0=0x1000 if step > 0 else 0x1014, r1=0x10FF)
        said = text.format(step=step)
        with CompiledKernel(assemble(said), carried=True) as kernel:
            ours, theirs = content.copy(), content.copy()
            found = kernel.run(1000, registers, 5, Window(ours, 0x1000))
            assert found.lanes == lanes
            wanted = _step_by_step(said, lanes, registers, 5, theirs)
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(found.registers, wanted.registers)
            assert found.flags == wanted.flags
            # From where it ended not one more lane can go, and nothing changes.
            again = kernel.run(7, found.registers, found.flags, Window(ours, 0x1000))
            assert (again.lanes, again.flags) == (0, found.flags)
            np.testing.assert_array_equal(again.registers, found.registers)
            np.testing.assert_array_equal(ours, theirs)


LANES = {
    "sum": "lane.64 r1\nshl.64 r1, r1, 2\nload.32 r2, [r0 + r1]\nsumall.32 r4, r2\nadd.32! r5, r5, r4",
    "all reductions": "lane.64 r1\nload.8 r2, [r0 + r1]\nsumall.8 r10, r2\nxorall.8 r11, r2\nandall.8 r12, r2\n"
    "orall.8 r13, r2\nminuall.8 r14, r2\nmaxuall.8 r15, r2\nminsall.8 r16, r2\nmaxsall.8 r17, r2\nsumall.64 r18, 3\n"
    "lane.64 r19",
    "map": "lane.64 r1\nmul.64 r1, r1, 3\nadd.64 r1, r1, r0\nload.16 r2, [r1]\nnot.16 r2, r2\nstore.16 [r1], r2",
    "fill": "lane.64 r1\nshl.64 r1, r1, 3\nsub.64 r1, r0, r1\nstore.64 [r1 + 800], r6\ncmp.64! r1, r0",
    "only some": "lane.64 r1\nadd.64 r1, r1, r0\nload.8 r2, [r1]\nand.64 r3, r2, 1\nstoreif.8 [r1], r6 if r3\n"
    "loadif.8 r6, [r1] if r3\nsumall.64 r7, r6",
    "scattered": "lane.64 r1\nmul.8 r2, r1, 77\nzx8.64 r2, r2\nadd.64 r2, r2, r0\nstore.8 [r2], r1",
}


@pytest.mark.parametrize("text", LANES.values(), ids=LANES)
def test_lanes_run_as_the_interpreter_runs_them(text: str) -> None:
    rng = np.random.default_rng(4)
    content = rng.integers(0, 256, 4096).astype(np.uint8)
    program = assemble(text)
    with CompiledKernel(program) as kernel:
        for n in (1, 2, 100):
            registers = rng.integers(0, 1 << 64, N_REGISTERS, np.uint64)
            registers[0] = 0x1000 + 1001
            ours, theirs = content.copy(), content.copy()
            wanted = run_lanes(program, n, registers, 2, ArrayMemory(theirs, 0x1000))
            found = kernel.run(n, registers, 2, Window(ours, 0x1000))
            assert found.lanes == n
            np.testing.assert_array_equal(found.registers, wanted.registers)
            assert found.flags == wanted.flags
            np.testing.assert_array_equal(ours, theirs)


def test_lanes_that_leave_memory_end_with_the_sums_of_those_before() -> None:
    content = np.arange(40, dtype=np.uint8)
    with CompiledKernel(assemble(LANES["sum"])) as kernel:
        registers = _registers(r0=0, r5=1)
        found = kernel.run(11, registers, 0, Window(content))
        assert (found.lanes, found.registers[4]) == (10, content.view(np.uint32).sum(dtype=np.uint32))
        assert found.registers[5] == found.registers[4] + np.uint64(1)
        assert found.registers[1] == 9 * 4
        for window in (Window(content[:3]), Window(content[:0]), Window(content, 1), Window(content, -1 << 63)):
            none = kernel.run(11, registers, 4, window)
            assert (none.lanes, none.flags) == (0, 4)
            np.testing.assert_array_equal(none.registers, registers)
        assert kernel.run(1 << 62, registers, 0, Window(content)).lanes == 10


def test_each_access_has_a_window_of_its_own_where_it_is_given_one() -> None:
    source, target = np.arange(64, dtype=np.uint8), np.zeros(64, np.uint8)
    text = "load.8 r2, [r0]\nstore.8 [r1], r2\ninc.64 r0, r0\ninc.64 r1, r1"
    with CompiledKernel(assemble(text), carried=True) as kernel:
        registers = _registers(r0=0x7000, r1=0x1010)
        assert kernel.run(99, registers, 0, [Window(source, 0x7000), Window(target, 0x1000)]).lanes == 48
        assert target.tolist() == [0] * 16 + list(range(48))
        source.flags.writeable = target.flags.writeable = False
        assert kernel.run(1, registers, 0, [Window(source, 0x7000), Window(target, 0x1000)]).lanes == 0
        with pytest.raises(ValueError, match="1 windows for 2 loads and stores"):
            kernel.run(1, registers, 0, [Window(source)])
        with pytest.raises(ValueError, match="a window is contiguous"):
            kernel.run(1, registers, 0, Window(source[::2]))


def test_states_run_a_lane_each() -> None:
    text = "load.16 r1, [r2]\nadd.16! r1, r1, r3\nstore.8 [r4], r1\nlane.64 r5"
    program = assemble(text)
    states = some_states(50, 2)
    states.registers[:, 2] = np.arange(50) * 2
    states.registers[:, 4] = 200 + np.arange(50)
    ours, theirs = np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)
    one_lane = run_states(assemble(text.replace("lane.64 r5", "mov.64 r5, 0")), states, ArrayMemory(theirs))
    with CompiledKernel(program) as kernel:
        found = kernel.run_states(states, Window(ours))
        np.testing.assert_array_equal(found.registers, one_lane.registers)
        np.testing.assert_array_equal(found.flags, one_lane.flags)
        np.testing.assert_array_equal(ours, theirs)
        states.registers[7, 2] = 255
        with pytest.raises(PixelError, match="State 7 made a load or store"):
            kernel.run_states(states, Window(ours))


def _executable(addresses: list[int]) -> int:
    """How many of them lie in memory that can be executed now."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [tuple(int(end, 16) for end in line[0].split("-")) for line in lines if "x" in line[1]]
    return sum(any(first <= address < last for first, last in ranges) for address in addresses)


def test_a_kernel_that_was_closed_gives_its_code_back_and_runs_no_more() -> None:
    kernels = [CompiledKernel(assemble(f"mov.64 r1, {number}")) for number in range(6)]
    code = [int(kernel._code["kernel"]) for kernel in kernels]
    assert _executable(code) == 6
    assert [int(kernel.run(1, _registers()).registers[1]) for kernel in kernels] == list(range(6))
    for kernel in kernels:
        kernel.close()
        kernel.close()
    assert _executable(code) == 0
    with pytest.raises(PixelError, match="was closed"):
        kernels[0].run(1, _registers())


@pytest.mark.parametrize(
    ("text", "carried", "reason"),
    [
        ("sumall.64 r1, r2", True, "goes on from the lane before"),
        ("sumall.64 r1, r2\nload.8 r3, [r1]", False, "would make the lanes wait"),
        ("sumall.64 r1, r2\nsumall.64 r3, r1", False, "another pass over all lanes"),
    ],
)
def test_what_lanes_cannot_do_together_is_refused(text: str, carried: bool, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        CompiledKernel(assemble(text), carried=carried)


def test_a_run_has_a_lane_and_32_registers() -> None:
    with CompiledKernel(assemble("mov.64 r1, 1")) as kernel:
        for lanes in (0, -1, 1 << 63):
            with pytest.raises(PixelError, match="at least one lane"):
                kernel.run(lanes, _registers())
        with pytest.raises(ValueError, match="registers are"):
            kernel.run(1, np.zeros(31, np.uint64))
