"""Keeps the program alive when a RAM file shrinks under its mapping.

Reading a mapped page that the file no longer has raises SIGBUS, which ends a process. Whoever loops over a mapping asks
for the file's size again and again, but between the question and the read the file can shrink. So the pages of the
mappings that are registered here are replaced by zeros when that happens, and the read goes on; the next question for
the size then finds what is wrong. Every other SIGBUS goes where it went before.

The handler is compiled: Python's own signal handlers run only between instructions, and this one has to return to the
very load that failed (sigaction(2), mmap(2)).
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import threading
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

_SA_SIGINFO, _SA_ONSTACK = 4, 0x08000000
_MAP_FIXED = 0x10
_PAGE_MASK = ~np.uint64(4095)
_MOST_MAPPINGS = 256
_FAULT_ADDRESS_WORD = 2
"""`siginfo_t.si_addr` is at byte 16 on 64-bit Linux."""

_ranges: npt.NDArray[np.uint64] = np.zeros(2 * _MOST_MAPPINGS, np.uint64)
"""Start and end of each registered mapping; the handler reads it, so it is never moved."""
_previous = (ctypes.c_char * 256)()
"""What handled SIGBUS before, as sigaction(2) gave it."""
_lock = threading.Lock()
_types: Any = numba.types
_numba: Any = numba
_kept: list[Any] = []


class _Sigaction(ctypes.Structure):
    """glibc's `struct sigaction` on x86-64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_char * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def guard(start: int, size_bytes: int) -> None:
    """Survive that the file behind a mapping shrinks. Does nothing more than the system would if there are too many."""
    with _lock:
        if not _kept:
            _install()
        for at in range(0, len(_ranges), 2):
            if not _ranges[at + 1]:
                _ranges[at] = start
                _ranges[at + 1] = start + size_bytes
                return


def release(start: int) -> None:
    """The mapping at `start` is given up."""
    with _lock:
        for at in range(0, len(_ranges), 2):
            if _ranges[at] == start and _ranges[at + 1]:
                _ranges[at + 1] = 0
                return


def _install() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    map_memory = libc.mmap
    map_memory.restype = ctypes.c_uint64
    map_memory.argtypes = [ctypes.c_uint64, ctypes.c_uint64] + [ctypes.c_int32] * 4
    set_action = libc.sigaction
    set_action.restype = ctypes.c_int32
    set_action.argtypes = [ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint64]
    # Addresses, not objects: compiled code takes them for constants, and what is there lives as long as this module.
    ranges_at, previous_at = _ranges.ctypes.data, ctypes.addressof(_previous)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
    bus, readable = int(signal.SIGBUS), mmap.PROT_READ

    def handle(_number: int, information: Any, _context: Any) -> None:  # pragma: no cover - compiled
        address = _numba.carray(information, 4)[_FAULT_ADDRESS_WORD]
        ranges = _numba.carray(_address_as_words(ranges_at), 2 * _MOST_MAPPINGS)
        for at in range(0, 2 * _MOST_MAPPINGS, 2):
            if ranges[at] <= address < ranges[at + 1]:
                map_memory(address & _PAGE_MASK, 4096, readable, flags, -1, 0)
                return
        set_action(bus, previous_at, 0)  # not ours: the load fails again, and is handled as it was before

    words = _types.CPointer(_types.uint64)
    compiled = numba.cfunc(_types.void(_types.int32, words, words))(handle)
    action = _Sigaction(handler=compiled.address, flags=_SA_SIGINFO | _SA_ONSTACK)
    if set_action(bus, ctypes.addressof(action), previous_at):
        raise OSError(ctypes.get_errno(), "sigaction failed")
    _kept.append((compiled, libc))


def _as_words(typing_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba matches arguments by name
    """An address as a pointer to 64-bit words."""

    def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _context.get_value_type(signature.return_type))

    return _types.CPointer(_types.uint64)(_types.uint64), generate


_address_as_words: Any = intrinsic(_as_words)
