"""Proofs, by z3 and for every order at once, that curves are bijections and that Hilbert's neighbours are neighbours.

The state machine is put to z3 as arrays; what a level does is one step of it. Each theorem is proved by showing that
its negation has no model: a base case, and a step that takes the theorem from the levels below to one level more.
"""

from __future__ import annotations

from typing import Any

import pytest
import z3

from render import hilbert
from render.curves import CURVES, PAGE_BITS, DealtCurve

MACHINE = hilbert.MACHINE
WIDE = 64
_STATE_BITS, _OCTANT_BITS = 5, 3


def state(name: str) -> Any:
    return z3.BitVec(name, _STATE_BITS)


def octal(name: str) -> Any:
    return z3.BitVec(name, _OCTANT_BITS)


def table(name: str, values: Any, bits: int) -> tuple[Any, list[Any]]:
    """A function (state, digit) -> value, and what must hold of it: the table's 192 entries."""
    function = z3.Function(name, z3.BitVecSort(_STATE_BITS), z3.BitVecSort(_OCTANT_BITS), z3.BitVecSort(bits))
    facts = [
        function(z3.BitVecVal(row, _STATE_BITS), z3.BitVecVal(digit, _OCTANT_BITS)) == int(values[row, digit])
        for row in range(hilbert.N_STATES)
        for digit in range(8)
    ]
    return function, facts


OCTANT, OCTANT_FACTS = table("octant", MACHINE.octant, _OCTANT_BITS)
NEXT, NEXT_FACTS = table("next", MACHINE.next_state, _STATE_BITS)
FACTS = OCTANT_FACTS + NEXT_FACTS


def is_state(value: Any) -> Any:
    return z3.ULT(value, hilbert.N_STATES)


def prove(claim: Any, *given: Any) -> None:
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*given)
    solver.add(z3.Not(claim))
    result = solver.check()
    assert result == z3.unsat, f"{result}: {solver.model() if result == z3.sat else solver.reason_unknown()}"


def test_a_false_claim_is_not_proved() -> None:
    """The prover can say no, with a model as its reason."""
    s, d = state("s"), octal("d")
    with pytest.raises(AssertionError, match="sat"):
        prove(OCTANT(s, d) == OCTANT(s, d ^ 1), *FACTS, is_state(s))


def test_one_level_is_a_bijection() -> None:
    """Step of the induction for bijectivity: in every state digits and octants correspond one to one, and the state
    below is a state again. Whatever is a bijection for n levels in every state is then one for n + 1."""
    s, d, e = state("s"), octal("d"), octal("e")
    prove(z3.Implies(OCTANT(s, d) == OCTANT(s, e), d == e), *FACTS, is_state(s))
    prove(is_state(NEXT(s, d)), *FACTS, is_state(s))


def test_any_depth_is_a_bijection() -> None:
    """The induction carried out: if `inner(state, low)` is one to one for every state, so is a level on top of it.

    Addresses are digit and low; voxels are octant and what inner makes of low in the state below.
    """
    low_sort = z3.DeclareSort("low addresses")
    voxel_sort = z3.DeclareSort("low voxels")
    inner = z3.Function("inner", z3.BitVecSort(_STATE_BITS), low_sort, voxel_sort)
    s, d, e = state("s"), octal("d"), octal("e")
    below, other = z3.Const("below", low_sort), z3.Const("other", low_sort)
    t = state("t")
    a, b = z3.Consts("a b", low_sort)
    hypothesis = z3.ForAll([t, a, b], z3.Implies(inner(t, a) == inner(t, b), a == b))
    level = z3.And(OCTANT(s, d) == OCTANT(s, e), inner(NEXT(s, d), below) == inner(NEXT(s, e), other))
    prove(z3.Implies(level, z3.And(d == e, below == other)), hypothesis, *FACTS, is_state(s))


def test_neighbours_on_the_curve_are_neighbours_in_space() -> None:
    """For every order. Let entry(s) and exit(s) be the corners at which the curve in state s begins and ends.

    - They do not depend on depth: the first sub-cube's entry lies in the same corner as the cube's, the last one's exit
      in the cube's. So at depth n the first voxel is the cube's corner entry(s), with all its lower bits alike.
    - Between two consecutive digits: the sub-cubes' octants differ along one axis by one bit; the exit corner of the
      first and the entry corner of the second agree in the other axes, and lie on their common face. With lower bits
      all alike, the voxels differ by one along that axis and by nothing along others.
    - Inside one sub-cube the claim is the same one a level lower.
    """
    s, d = state("s"), octal("d")

    def entry(of: Any) -> Any:
        return OCTANT(of, 0)

    def leave(of: Any) -> Any:
        return OCTANT(of, 7)

    prove(entry(NEXT(s, 0)) == entry(s), *FACTS, is_state(s))
    prove(leave(NEXT(s, 7)) == leave(s), *FACTS, is_state(s))
    here, there = OCTANT(s, d), OCTANT(s, d + 1)
    crossed = here ^ there
    one_axis = z3.Or(crossed == 1, crossed == 2, crossed == 4)
    out, into = leave(NEXT(s, d)), entry(NEXT(s, d + 1))
    consecutive = z3.ULT(d, 7)
    prove(z3.Implies(consecutive, one_axis), *FACTS, is_state(s))
    prove(z3.Implies(consecutive, out ^ into == crossed), *FACTS, is_state(s))
    prove(z3.Implies(consecutive, out & crossed == there & crossed), *FACTS, is_state(s))


@pytest.mark.parametrize("n", [1, 4, 9, 16])
def test_corners_of_octants_are_neighbouring_voxels(n: int) -> None:
    """The last claim of the proof above in voxels, for any two octants side by side with n levels below them."""
    here, there, out, into = (z3.BitVec(name, WIDE) for name in ("here", "there", "out", "into"))
    side = 1 << n

    def along(octant: Any, corner: Any, axis: int) -> Any:
        bit = z3.BitVecVal(1 << axis, WIDE)
        high = z3.If(octant & bit != 0, z3.BitVecVal(side, WIDE), z3.BitVecVal(0, WIDE))
        return high + z3.If(corner & bit != 0, z3.BitVecVal(side - 1, WIDE), z3.BitVecVal(0, WIDE))

    crossed = here ^ there
    given = [
        *(z3.ULT(value, 8) for value in (here, there, out, into)),
        z3.Or(crossed == 1, crossed == 2, crossed == 4),
        out ^ into == crossed,
        out & crossed == there & crossed,
    ]
    steps = []
    for axis in range(3):
        difference = along(here, out, axis) - along(there, into, axis)
        steps.append(z3.If(difference < 0, -difference, difference))
    prove(steps[0] + steps[1] + steps[2] == 1, *given)


def dealt(curve: DealtCurve, address: Any, bits: tuple[int, int, int]) -> list[Any]:
    """The brick of a page's number, as the curve deals it, on bit vectors."""
    axes = [z3.BitVecVal(0, WIDE) for _ in range(3)]
    place = [0, 0, 0]
    for bit, axis in enumerate(curve._deal(bits)):
        axes[axis] = axes[axis] | (z3.LShR(address, bit) & 1) << place[axis]
        place[axis] += 1
    return axes


@pytest.mark.parametrize("name", ["morton", "linear"])
@pytest.mark.parametrize("bits", [(6, 6, 6), (7, 7, 6), (7, 8, 8), (1, 0, 0), (16, 16, 16), (0, 0, 0)])
def test_dealing_bits_is_a_bijection(name: str, bits: tuple[int, int, int]) -> None:
    """Every page has a place in the box, and no two share one; so every place has a page."""
    curve = CURVES[name]
    assert isinstance(curve, DealtCurve)
    first, second = z3.BitVecs("first second", WIDE)
    n_bits = sum(bits)
    inside = [z3.ULT(first, 1 << n_bits), z3.ULT(second, 1 << n_bits)]
    one, other = dealt(curve, first, bits), dealt(curve, second, bits)
    same = z3.And(*(a == b for a, b in zip(one, other, strict=True)))
    prove(z3.Implies(same, first == second), *inside)
    prove(z3.And(*(z3.ULT(axis, 1 << bits[i]) for i, axis in enumerate(one))), *inside)


@pytest.mark.parametrize("name", ["morton", "linear"])
def test_dealt_cells_and_bricks_are_aligned(name: str) -> None:
    """Inside a page: the bits of a byte's number go each to a place of its own, the lowest six to the cell's voxels."""
    tables = CURVES[name].step_tables(4)
    places = [int(tables.position[0, 1 << bit]) for bit in range(PAGE_BITS)]
    assert sorted(places) == [1 << bit for bit in range(PAGE_BITS)]
    number, other = z3.BitVecs("number other", PAGE_BITS)

    def placed(value: Any) -> Any:
        total = z3.BitVecVal(0, PAGE_BITS)
        for bit, place in enumerate(places):
            total = total | z3.If(value >> bit & 1 == 1, z3.BitVecVal(place, PAGE_BITS), z3.BitVecVal(0, PAGE_BITS))
        return total

    prove(z3.Implies(placed(number) == placed(other), number == other))
    cell = 0b1100_1100_1100
    prove(z3.Implies(z3.LShR(number, 6) == z3.LShR(other, 6), placed(number) & cell == placed(other) & cell))
    for digits in range(8**4):  # the table is that linear map
        assert int(tables.position[0, digits]) == sum(place for bit, place in enumerate(places) if digits >> bit & 1)
