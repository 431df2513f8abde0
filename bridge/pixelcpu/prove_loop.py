"""All of a loop in one question: its round is proved, its rounds are shown to need no order, its kernel is made.

What is told has no z3 terms in it, so that it can leave the process that proves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.loop_kernel import kernel_of
from bridge.pixelcpu.loop_native import native_loop
from bridge.pixelcpu.loop_text import LoopText, StreamText
from bridge.pixelcpu.loops import Loop, loop_of
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.prove import TIME_LIMIT_S, Attempt, prove
from bridge.pixelcpu.x86_state import HALVES, REGISTERS

_TERM_TEXT_CHARS = 200
known_loop = lru_cache(1)(loop_of)
"""`loop_of`; of the latest it is known, which its native code is tried and measured with."""


@dataclass(frozen=True, slots=True)
class LoopAttempt:
    """What became of a loop."""

    attempt: Attempt
    """Its round."""
    loop: LoopText | None
    rounds: Program | None
    """The kernel: round i in lane i."""
    native: NativeLoop | None
    """The kernel as code for this host, as a machine's plugin takes it."""
    reason: str
    """Why there is no kernel, or none for a plugin; empty where there is one."""


def prove_loop(code: bytes, time_limit_s: float = TIME_LIMIT_S, attempt: Attempt | None = None) -> LoopAttempt:
    """Translate, prove, and make a kernel; `attempt`: what became of its round, where that is known already.

    Raises BadCode; what cannot be is told.
    """
    attempt = attempt or prove(code, time_limit_s)
    if attempt.translation is None or attempt.proof.status != "proved":
        return LoopAttempt(attempt, None, None, None, attempt.proof.reason)
    try:
        loop = known_loop(code)
    except Unsupported as error:
        return LoopAttempt(attempt, None, None, None, str(error))
    try:
        kernel = kernel_of(loop, attempt.translation)
    except Unsupported as error:
        return LoopAttempt(attempt, _told(loop), None, None, str(error))
    told = replace(_told(loop), closed=kernel.last_alone, leaps=kernel.leaps is not None)
    try:
        native = native_loop(loop, kernel, attempt.translation)
    except Unsupported as error:
        return LoopAttempt(attempt, told, kernel.rounds, None, str(error))
    return LoopAttempt(attempt, told, kernel.rounds, native, "")


def _told(loop: Loop) -> LoopText:
    return LoopText(
        loop.kind,
        {name: one.step for name, one in loop.inductions.items()},
        {name: f"{fold.operation}.{fold.width}" for name, fold in loop.folds.items()},
        tuple(sorted(loop.fresh)),
        tuple(
            StreamText(term_text(z3.simplify(one.base + one.first)), one.size, one.stride, one.is_store, one.is_table)
            for one in loop.streams
        ),
        loop.apart,
        "" if loop.trips is None else term_text(loop.trips.distance),
        1 if loop.trips is None else loop.trips.step,
        loop.ordered,
        tuple(name for name in (*REGISTERS, *HALVES) if name in loop.carried),
        tuple(term_text(address) for address in loop.aligned),
    )


def term_text(term: Any) -> str:
    """A z3 word for people: `rdi + rcx*4 - 4`; cut where it is long."""
    text = _text(term)
    return text if len(text) <= _TERM_TEXT_CHARS else text[: _TERM_TEXT_CHARS - 2] + " …"


def _text(term: Any) -> str:
    if z3.is_bv_value(term):
        return str(term.as_signed_long())
    if z3.is_const(term):
        return str(term)
    kind, parts = term.decl().kind(), term.children()
    if kind == z3.Z3_OP_BADD:
        constants = [part for part in parts if z3.is_bv_value(part)]
        texts = [_text(part) for part in (*(part for part in parts if not z3.is_bv_value(part)), *constants)]
        return texts[0] + "".join(f" - {text[1:]}" if text.startswith("-") else f" + {text}" for text in texts[1:])
    if kind == z3.Z3_OP_BMUL and z3.is_bv_value(parts[0]) and len(parts) == 2:
        factor = parts[0].as_signed_long()
        return f"-{_text(parts[1])}" if factor == -1 else f"{_text(parts[1])}*{factor}"
    if kind == z3.Z3_OP_ZERO_EXT:
        return _text(parts[0])
    if kind == z3.Z3_OP_EXTRACT and term.params()[1] == 0 and z3.is_const(parts[0]):
        return f"{parts[0]}.{term.size()}"
    if kind == z3.Z3_OP_CONCAT and len(parts) == 2 and z3.is_bv_value(parts[1]) and parts[1].as_long() == 0:
        low = parts[1].size()
        inner = parts[0]
        if inner.decl().kind() == z3.Z3_OP_EXTRACT and inner.params()[1] == 0:
            return f"{_text(inner.arg(0))}*{1 << low}"
    if kind == z3.Z3_OP_CONCAT and z3.is_bv_value(parts[0]) and parts[0].as_long() == 0 and len(parts) == 2:
        return _text(parts[1])
    return " ".join(str(term).split())
