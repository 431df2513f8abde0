"""Futex: waits for a word of shared memory to change, and wakes who waits in another process (futex(2))."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from typing import Any

from numpy.typing import NDArray

_WAIT, _WAKE = 0, 1
_POLL_S = 0.001
_NUMBERS = {"x86_64": 202, "aarch64": 98}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def wait(word: NDArray[Any], seen: int, seconds: float) -> None:
    """Wait at most so long, while a 32-bit word is what was `seen`. May return for no reason."""
    number = _NUMBERS.get(platform.machine())
    if number is None or os.name != "posix":
        time.sleep(min(seconds, _POLL_S))
        return
    most = _Time(int(seconds), int(seconds % 1 * 1e9))
    address = ctypes.c_void_p(word.ctypes.data)
    _libc.syscall(ctypes.c_long(number), address, _WAIT, ctypes.c_uint32(seen), ctypes.byref(most), None, 0)


def wake(word: NDArray[Any], most: int = 1 << 30) -> int:
    """Wake at most so many waiters of a 32-bit word, an array over shared memory. Returns how many; -1: not known.

    Who waits also looks by himself after a while, so that a processor whose number is not known here costs time alone.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None or os.name != "posix":
        return -1
    address = ctypes.c_void_p(word.ctypes.data)
    return int(_libc.syscall(ctypes.c_long(number), address, _WAKE, ctypes.c_int(most), None, None, 0))
