"""A state after which x86 code and microcode differ, read from z3's model: numbers that can be tried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import z3

_MOST_BYTES = 4096
"""Of memory that are told."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A state before, and what differs after."""

    registers: Mapping[str, int]
    """By name; of SSE registers both halves."""
    flags: Mapping[str, int]
    memory: Mapping[int, int]
    """Bytes by address; all others are `memory_default`."""
    memory_default: int
    differs: Mapping[str, tuple[int, int]]
    """As (the first's, the second's): registers and flags by name, ``next``, and a byte as ``[0x1000]``."""

    def as_json(self) -> dict[str, Any]:
        """With numbers as hex text: JavaScript's do not hold 64 bits."""
        return {
            "registers": {name: hex(value) for name, value in self.registers.items()},
            "flags": dict(self.flags),
            "memory": {hex(at): value for at, value in self.memory.items()},
            "memory_default": self.memory_default,
            "differs": {name: [hex(value) for value in both] for name, both in self.differs.items()},
        }

    def __str__(self) -> str:
        """What differs, for people."""
        said = [f"{name} is {one:#x} and {other:#x}" for name, (one, other) in self.differs.items()]
        return ", ".join(said[:4]) + (", …" if len(said) > 4 else "")


@dataclass(frozen=True, slots=True)
class Compared:
    """The terms that were compared."""

    registers: Mapping[str, Any]
    """Before, by name."""
    flags: Mapping[str, Any]
    """Before; one bit each."""
    memory: Any
    """Before."""
    pairs: Mapping[str, tuple[Any, Any]]
    """After."""
    memories: tuple[Any, Any]
    place: Any
    """The address at which the two memories were compared."""
    undefined: Mapping[str, Any]
    """When a pair was not compared."""


def read_model(model: Any, compared: Compared) -> Counterexample:
    """The counterexample that a model is."""
    differs = {}
    for name, pair in compared.pairs.items():
        one, other = (_number(model, term) for term in pair)
        if one != other and not _holds(model, compared.undefined.get(name)):
            differs[name] = (one, other)
    at = _number(model, compared.place)
    one, other = (_number(model, z3.Select(memory, compared.place)) for memory in compared.memories)
    if one != other:
        differs[f"[{at:#x}]"] = (one, other)
    content, default = _bytes(model, compared.memory)
    return Counterexample(
        {name: _number(model, term) for name, term in compared.registers.items()},
        {name: _number(model, term) for name, term in compared.flags.items()},
        content,
        default,
        differs,
    )


def _number(model: Any, term: Any) -> int:
    return int(model.eval(term, model_completion=True).as_long())


def _holds(model: Any, condition: Any) -> bool:
    if condition is None or isinstance(condition, bool):
        return bool(condition)
    return bool(z3.is_true(model.eval(condition, model_completion=True)))


def _bytes(model: Any, array: Any) -> tuple[dict[int, int], int]:
    """An array's bytes that the model names, and what all others are."""
    term = model.eval(array, model_completion=True)
    content: dict[int, int] = {}
    while z3.is_store(term) and len(content) < _MOST_BYTES:
        term, at, value = term.children()
        content.setdefault(at.as_long(), value.as_long())
    default = term.arg(0).as_long() if z3.is_const_array(term) else 0
    return dict(sorted(content.items())), default
