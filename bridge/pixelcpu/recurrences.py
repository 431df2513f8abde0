"""What recurrences over registers have that does without all rounds in their order: a closed form over the integers
modulo 2^64 (`closed_form`), leaps over GF(2) (`bit_linear`), or each of a part that needs nothing of the other."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from bridge.pixelcpu.bit_linear import BitLinear, bit_linear_of
from bridge.pixelcpu.closed_form import ClosedForm, closed_form_of
from bridge.pixelcpu.loop_memory import Counting
from bridge.pixelcpu.loop_terms import symbols

Term = Any


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Together they are of all that is carried on, or there are none."""

    closed: ClosedForm | None = None
    linear: BitLinear | None = None


def recurrence_of(after: Mapping[str, Term], carried: AbstractSet[str], counting: Counting) -> Recurrence:
    """`after`: each register after a round, over those before, where rounds touch no memory."""
    closed = closed_form_of(after, carried, counting)
    if closed is not None:
        return Recurrence(closed)
    linear = bit_linear_of(after, carried, counting)
    if linear is not None:
        return Recurrence(linear=linear)
    parts = _parts(after, carried)
    summed = {name for part in parts if closed_form_of(after, part, counting) is not None for name in part}
    if summed:
        linear = bit_linear_of(after, carried - summed, counting)
        closed = None if linear is None else closed_form_of(after, summed, counting)
        if closed is not None:
            return Recurrence(closed, linear)
    return Recurrence()


def _parts(after: Mapping[str, Term], carried: AbstractSet[str]) -> list[set[str]]:
    """What is carried on, in parts that have nothing to do with each other."""
    parts: list[set[str]] = []
    for name in sorted(carried):
        mine = {name} | (symbols(after[name]) & carried)
        apart = [part for part in parts if not part & mine]
        for part in parts:
            if part & mine:
                mine |= part
        parts = [*apart, mine]
    return parts
