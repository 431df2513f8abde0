"""Journal of calls that are made while the guest stands: what is left to do for it where who made one was killed."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

JOURNAL_BYTES = 16 << 20
"""So much of what a call stores can be put back; calls are cut to it where they load from what they store to."""
_NAME = "kernels.journal"
_HEAD = 4096
_ENTRY = struct.Struct("<QQ")


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
