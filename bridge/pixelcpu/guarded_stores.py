"""Stores that are made under a condition, as z3 terms: one row of stores, in which such a one may leave what was there.

Memory after an `if` could be a choice between two memories; as a row it stays what a block's memory is, and two rows
are compared store by store.
"""

from __future__ import annotations

from typing import Any

import z3

Term = Any


def guarded(memory: Term, only_if: Term, address: Term, byte: Term) -> Term:
    """Memory after a byte was stored, if that condition holds."""
    if not z3.is_true(only_if):
        byte = z3.If(only_if, byte, z3.Select(memory, address))
    return z3.Store(memory, address, byte)


def guard_of(store: Term) -> tuple[Term, Term]:
    """The condition and the byte of a store: true and all that is stored, where `guarded` did not make it."""
    byte = store.arg(2)
    if byte.decl().kind() == z3.Z3_OP_ITE:
        kept = byte.arg(2)
        if z3.is_select(kept) and kept.arg(0).eq(store.arg(0)) and kept.arg(1).eq(store.arg(1)):
            return byte.arg(0), byte.arg(1)
    return z3.BoolVal(True), byte
