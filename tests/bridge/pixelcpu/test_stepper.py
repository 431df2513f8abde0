"""Stepping does what running does, and back undoes it, memory too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.errors import MemoryFault, PixelError
from bridge.pixelcpu.interpreter import run_lanes
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.stepper import MOST_LANES, Stepper, bases_of, flag_names
from tests.bridge.pixelcpu.strategies import programs

MAP = assemble(
    "lane.64 r17\nshl.64 r16, r17, 2\nadd.64 r18, r16, r6\nload.32 r0, [r18]\nmul.32 r0, r0, 7\n"
    "add.64 r16, r16, r7\nstore.32 [r16], r0"
)
SIZE = 1 << 14


def memory() -> ArrayMemory:
    return ArrayMemory(np.arange(SIZE // 4, dtype=np.uint32).view(np.uint8).copy())


def whole(stepper: Stepper, lane: int) -> tuple[list[int], int, bytes]:
    return (
        [stepper.register(n, lane) for n in range(N_REGISTERS)],
        stepper.flags(lane),
        stepper.memory.content.tobytes(),
    )


@given(
    programs(), st.integers(1, 9), st.lists(st.integers(0, SIZE), min_size=N_REGISTERS, max_size=N_REGISTERS), st.data()
)
def test_steps_are_a_run_and_back_is_where_it_was(
    program: Program, lanes: int, first: list[int], data: st.DataObject
) -> None:
    stepper = Stepper(program, memory(), lanes)
    stepper.initial[:] = first
    stepper.reset()
    seen = [whole(stepper, lanes - 1)]
    while stepper.step():
        seen.append(whole(stepper, lanes - 1))
    plain = memory()
    fault, final = "", None
    try:
        final = run_lanes(program, lanes, np.array(first, np.uint64), memory=plain)
    except MemoryFault as error:
        fault = str(error)
    assert stepper.fault == fault
    assert stepper.at_end == (final is not None)
    if final is not None:
        registers, flags, _ = seen[-1]
        assert (registers, flags) == (final.registers.tolist(), final.flags)
    assert plain.content.tobytes() == seen[-1][2]
    for _ in range(data.draw(st.integers(0, len(seen) + 1))):
        place, faulted = stepper.place, bool(stepper.fault)
        assert stepper.back() == (place > 0 or faulted)
        assert stepper.place == max(0, place - (not faulted))
        assert whole(stepper, lanes - 1) == seen[stepper.place]


def test_what_a_step_changed_and_touched_is_told() -> None:
    stepper = Stepper(MAP, memory(), 8)
    stepper.initial[7] = 0x1000
    stepper.reset()
    for _ in range(4):
        assert stepper.step()
    assert stepper.changed == {0}
    access = stepper.access
    assert access is not None
    assert (access.size, access.is_store, access.addresses.tolist()) == (4, False, list(range(0, 32, 4)))
    stepper.run()
    access = stepper.access
    assert access is not None
    assert (access.is_store, access.addresses.tolist()) == (True, list(range(0x1000, 0x1020, 4)))
    assert stepper.changed == frozenset()
    assert stepper.memory.content[0x1000:0x1020].view("<u4").tolist() == [7 * n for n in range(8)]
    assert [stepper.register(0, lane) for lane in (0, 3, 7)] == [0, 21, 49]
    assert not stepper.step()
    stepper.reset()
    assert stepper.memory.content[0x1000:0x1020].tobytes() == memory().content[0x1000:0x1020].tobytes()
    assert stepper.access is None
    assert not stepper.back()


def test_a_lane_that_does_not_make_its_access_has_none() -> None:
    stepper = Stepper(assemble("lane.64 r1\nand.64 r1, r1, 1\nstoreif.8 [r0], r1 if r1"), memory(), 4)
    stepper.run()
    access = stepper.access
    assert access is not None
    assert access.lanes.tolist() == [1, 3]
    assert stepper.flags(0) == stepper.flags(3)


def test_a_fault_is_told_and_nothing_goes_on_behind_it() -> None:
    stepper = Stepper(assemble("mov.64 r1, -8\nstore.64 [r1], r0\nmov.64 r2, 1"), memory(), 2)
    stepper.run()
    assert (stepper.place, stepper.register(2, 0)) == (1, 0)
    assert "outside its memory" in stepper.fault
    assert not stepper.step()
    assert stepper.back()
    assert (stepper.place, stepper.fault) == (1, "")  # it was not done


def test_lanes_have_bounds_and_flags_names() -> None:
    for lanes in (0, MOST_LANES + 1):
        with pytest.raises(PixelError, match="lanes"):
            Stepper(MAP, memory(), lanes)
    assert flag_names(0) == "------"
    assert flag_names(0x8D5) == "OSZAPC"
    assert flag_names(0x40) == "--Z---"


def test_registers_that_address_memory_have_parts_of_it() -> None:
    bases = bases_of(MAP, 1 << 20)
    assert sorted(bases) == [6, 7]
    assert bases[6] == 0
    assert 0 < bases[7] < 1 << 20
    assert bases[7] % 4096 == 0
    one = bases_of(assemble("add.64 r1, r6, r2\nload.8 r0, [r1]"), 1 << 20)
    assert len(one) == 1  # two registers make up one address: the other is no base besides
    assert bases_of(assemble("mov.64 r1, 4\nload.8 r0, [r1]"), 1 << 20) == {}
    assert bases_of(assemble("storeif.8 [r6], r1 if r2"), 1 << 20) in ({}, {6: 0})
