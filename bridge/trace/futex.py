"""Futex: wakes who waits in another process for a word of shared memory to change (futex(2))."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

from numpy.typing import NDArray

_WAKE = 1
_NUMBERS = {"x86_64": 202, "aarch64": 98}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def wake(word: NDArray[Any], most: int = 1 << 30) -> int:
    """Wake at most so many waiters of a 32-bit word, an array over shared memory. Returns how many; -1: not known.

    Who waits also looks by himself after a while, so that a processor whose number is not known here costs time alone.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None or os.name != "posix":
        return -1
    address = ctypes.c_void_p(word.ctypes.data)
    return int(_libc.syscall(ctypes.c_long(number), address, _WAKE, ctypes.c_int(most), None, None, 0))
