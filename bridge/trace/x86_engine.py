"""The x86 decoder as all parts use it: one engine a thread, width and degree of detail, made when first asked for."""

from __future__ import annotations

import threading

import capstone

MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
_of_thread = threading.local()
"""Engines are one thread's each: the interpreter's lock is not held while one decodes."""


def engine(bits: int, *, detail: bool = False) -> capstone.Cs:
    """For code of 16, 32 or 64 bits; with `detail` it tells groups and operands, at ten times the cost."""
    engines: dict[tuple[int, bool], capstone.Cs] = _of_thread.__dict__.setdefault("engines", {})
    found = engines.get((bits, detail))
    if found is None:
        found = engines[bits, detail] = capstone.Cs(capstone.CS_ARCH_X86, MODES[bits])
        found.detail = detail
    return found
