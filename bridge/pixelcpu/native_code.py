"""Native code of a loop, mapped executable: what a plugin runs in QEMU can be run here, too.

It is as good as what made it: only a process that may be lost should run it (`prover_child`).
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.native_loop import NativeLoop

_READ, _EXEC = 1, 4


class Mapped:
    """Code as `object_image` lays it out, for as long as this is there; not writable any more."""

    def __init__(self, content: bytes) -> None:
        """Raises PixelError where this host lets nobody have such memory."""
        self._memory = mmap.mmap(-1, len(content))
        self._memory.write(content)
        self._at = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        size = -(-len(content) // mmap.PAGESIZE) * mmap.PAGESIZE
        library: Any = ctypes.CDLL(None)
        if library.mprotect(ctypes.c_void_p(self._at), ctypes.c_size_t(size), _READ | _EXEC):
            raise PixelError("This host allows no memory to be executed that was written here.")

    def address(self, entry: int) -> int:
        """Where a function begins that is so far from the code's beginning."""
        return self._at + entry

    def function(self, entry: int, n_arguments: int) -> Callable[..., int]:
        """That function, of so many words; it gives one."""
        kind = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * n_arguments)
        return kind(self.address(entry))


class NativeCode(Mapped):
    """A loop's `plan(state, addresses)` and `run(state, windows, rounds)`, as tcg_plugin/trace_format.h has them.

    They take addresses in this process's memory.
    """

    def __init__(self, loop: NativeLoop) -> None:
        """Raises as `Mapped`."""
        super().__init__(loop.native)
        self.plan, self.run = self.function(loop.plan, 2), self.function(loop.run, 3)
