"""Kernels run by a process that is not QEMU, over the guest's RAM: tcg_plugin/outside/outside.c, and its journal.

Files are mapped, and code of the table runs: this is for a process of its own (bridge/pixelcpu/gdb_worker.py).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import PixelError
from bridge.trace.layout import layout

LIBRARY = Path(__file__).parents[2] / "tcg_plugin" / "build" / "glassbox-outside.so"
JOURNAL_BYTES = 16 << 20
"""So much of what a call stores can be put back; calls are cut to it where they load from what they store to."""
_NAME = "kernels.journal"
_HEAD = 4096
_STATE_WORDS = 33
_ENTRY = struct.Struct("<QQ")


class OutsideMissing(PixelError):
    """What runs kernels outside of QEMU is not built, or cannot map what it needs."""


class _Space(ctypes.Structure):
    _fields_ = (("root", ctypes.c_uint64), ("levels", ctypes.c_uint32), ("user", ctypes.c_uint32))


class Space:
    """Page tables, and who asks: of one processor, as it stands."""

    def __init__(self, root: int, levels: int, *, user: bool) -> None:
        self.root = root
        self.told = _Space(root, levels, int(user))


class Journal:
    """What has to be done where a call was cut off: a page that tells of registers, then what is to be put back.

    First a call notes what it is going to overwrite; when it is done, registers are noted instead; when QEMU has those,
    nothing is. Whoever finds registers writes them; whoever finds bytes puts them back, the last ones first.
    """

    def __init__(self, path: Path) -> None:
        """Make it, or open what is there. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(fd, _HEAD + JOURNAL_BYTES)
            self.mapping = mmap.mmap(fd, _HEAD + JOURNAL_BYTES)
        finally:
            os.close(fd)
        self._words = np.frombuffer(self.mapping, np.uint64)

    @staticmethod
    def path_in(directory: Path) -> Path:
        """Where a machine's lies."""
        return directory / _NAME

    @property
    def entries_address(self) -> int:
        """Where the part that C writes is in this process."""
        return int(self._words.ctypes.data) + _HEAD

    def promise(self, thread: str, registers: Mapping[int, bytes]) -> None:
        """From now on the call is done, and these registers, by gdb's numbers, are to be written."""
        text = json.dumps({"thread": thread, "registers": {str(n): one.hex() for n, one in registers.items()}}).encode()
        self.mapping[16 : 16 + len(text)] = text
        self._words[1] = len(text)
        self._words[0] = 1  # last: half of it is nothing
        self._words[_HEAD // 8] = 0

    def fulfilled(self) -> None:
        """They are written."""
        self._words[0] = 0
        self._words[_HEAD // 8] = 0

    @property
    def promised(self) -> tuple[str, dict[int, bytes]] | None:
        """The registers that are to be written, and whose they are."""
        if not int(self._words[0]):
            return None
        told = json.loads(self.mapping[16 : 16 + int(self._words[1])])
        return told["thread"], {int(n): bytes.fromhex(one) for n, one in told["registers"].items()}

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Places in the RAM file and what was there, the last one first."""
        if not int(self._words[_HEAD // 8]):
            return
        found = []
        at, end = _HEAD + 16, _HEAD + 16 + int(self._words[_HEAD // 8 + 1])
        while at < end:
            offset, size = _ENTRY.unpack_from(self.mapping, at)
            at += _ENTRY.size
            found.append((offset, self.mapping[at : at + size]))
            at += (size + 7) // 8 * 8
        yield from reversed(found)

    def close(self) -> None:
        """Unmap it."""
        del self._words
        self.mapping.close()


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

    def verify_begin(self, vcpu: int, slot: int, space: Space, state: NDArray[np.uint64], rounds: int) -> None:
        """Begin one."""
        self._library.outside_verify_begin(vcpu, slot, ctypes.byref(space.told), state.ctypes.data, rounds)


def new_state() -> NDArray[np.uint64]:
    """(33,): a kernel's words."""
    return np.zeros(_STATE_WORDS, np.uint64)
