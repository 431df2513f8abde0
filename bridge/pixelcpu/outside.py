"""Kernels run by a process that is not QEMU, over the guest's RAM: tcg_plugin/outside/outside.c.

Files are mapped, and code of the table runs: this is for a process of its own (bridge/pixelcpu/gdb_worker.py).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.machine.gdb_journal import JOURNAL_BYTES, Journal
from bridge.pixelcpu.errors import PixelError
from bridge.trace.layout import layout

LIBRARY = Path(__file__).parents[2] / "tcg_plugin" / "build" / "glassbox-outside.so"
_STATE_WORDS = 33


class OutsideMissing(PixelError):
    """What runs kernels outside of QEMU is not built, or cannot map what it needs."""


class _Space(ctypes.Structure):
    _fields_ = (("root", ctypes.c_uint64), ("levels", ctypes.c_uint32), ("user", ctypes.c_uint32))


class Space:
    """Page tables, and who asks: of one processor, as it stands."""

    def __init__(self, root: int, levels: int, *, user: bool) -> None:
        self.root = root
        self.told = _Space(root, levels, int(user))


class Outside:
    """The library. Once a process."""

    def __init__(self, trace: Path, ram: Path, journal: Journal) -> None:
        """Raises OutsideMissing."""
        try:
            self._library = ctypes.CDLL(str(LIBRARY))
        except OSError as error:
            raise OutsideMissing(f"{LIBRARY} is not built (make -C tcg_plugin): {error}.") from error
        library, space = self._library, ctypes.POINTER(_Space)
        library.outside_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint64]
        library.outside_open.restype = ctypes.c_bool
        library.outside_warm.argtypes = [ctypes.c_char_p]
        library.outside_warm.restype = None
        library.outside_ticks.restype = ctypes.c_uint64
        library.outside_plan.argtypes = [ctypes.c_uint32, ctypes.c_void_p]
        library.outside_plan.restype = ctypes.c_uint64
        library.outside_check.argtypes = [ctypes.c_uint32, space, ctypes.c_uint64]
        library.outside_check.restype = ctypes.c_int
        library.outside_call.argtypes = [
            ctypes.c_uint32,
            space,
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_int),
            ctypes.POINTER(ctypes.c_uint64),
        ]
        library.outside_call.restype = ctypes.c_uint64
        library.outside_verify_look.argtypes = [ctypes.c_uint32, ctypes.c_uint32, space, ctypes.c_void_p]
        library.outside_verify_look.restype = ctypes.c_bool
        library.outside_verify_begin.argtypes = [
            ctypes.c_uint32,
            ctypes.c_uint32,
            space,
            ctypes.c_void_p,
            ctypes.c_uint64,
        ]
        library.outside_verify_begin.restype = None
        self._none = layout().constants["DECLINED_REASONS"]
        if not library.outside_open(os.fsencode(trace), os.fsencode(ram), journal.entries_address, JOURNAL_BYTES):
            raise OutsideMissing(f"{trace} or {ram} cannot be mapped.")

    def warm(self, ram: Path) -> None:
        """Have RAM be at hand in this process. Takes milliseconds a gigabyte, or some hundred; from any thread."""
        self._library.outside_warm(os.fsencode(ram))

    def take(self) -> None:
        """Take the table of kernels as it is."""
        self._library.outside_take()

    def ticks(self) -> int:
        """The host's time-stamp counter."""
        return int(self._library.outside_ticks())

    def plan(self, slot: int, state: NDArray[np.uint64]) -> int:
        """How many rounds surely go back to the loop's first instruction. `state`: (33,)."""
        return int(self._library.outside_plan(slot, state.ctypes.data))

    def check(self, slot: int, space: Space, address: int) -> int | None:
        """Why the loop is not at this address; None where it is."""
        why = int(self._library.outside_check(slot, ctypes.byref(space.told), address))
        return None if why == self._none else why

    def call(self, slot: int, space: Space, state: NDArray[np.uint64], rounds: int) -> tuple[int, int | None]:
        """Do rounds, and change `state`. Returns how many, and what stopped it; None: nothing did."""
        why, ticks = ctypes.c_int(), ctypes.c_uint64()
        done = self._library.outside_call(slot, ctypes.byref(space.told), state.ctypes.data, rounds, why, ticks)
        return int(done), None if why.value == self._none else why.value

    def verify_look(self, vcpu: int, slot: int, space: Space, state: NDArray[np.uint64]) -> bool:
        """With verification: whether a comparison goes on, or ended just now."""
        return bool(self._library.outside_verify_look(vcpu, slot, ctypes.byref(space.told), state.ctypes.data))

    def forget(self) -> None:
        """Give up the comparisons that go on: breakpoints go, and nobody counts the rounds."""
        self._library.outside_forget()

    def verify_begin(self, vcpu: int, slot: int, space: Space, state: NDArray[np.uint64], rounds: int) -> None:
        """Begin one."""
        self._library.outside_verify_begin(vcpu, slot, ctypes.byref(space.told), state.ctypes.data, rounds)


def new_state() -> NDArray[np.uint64]:
    """(33,): a kernel's words."""
    return np.zeros(_STATE_WORDS, np.uint64)
