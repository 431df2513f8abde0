"""Gate before a machine's run state: who stops the guest or lets it go on waits while it stands where we have it stand.

A guest that stands at a breakpoint has, for QEMU, just stopped: `cont` would let it go on in the middle of a call whose
registers are not written yet, and `stop` would be forgotten as soon as the call is over. So while a gdbstub is used,
there is a file in the machine's directory, and all of Glassbox's `stop`, `cont` and resets pass through it: they hold
its lock meanwhile, and write down what they want. The lock ends with the last process that has the same open file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

from bridge.machine.errors import MachineError

GATED = frozenset({"stop", "cont", "system_reset"})
LIMIT_S = 5.0
_NAME, _USER, _BYTES = "run.gate", "run.user", 64
_POLL_S = 0.001


class GateShut(MachineError):
    """Somebody holds the gate for far longer than a call takes."""

    def __init__(self) -> None:
        super().__init__(f"The guest has stood at a breakpoint of Glassbox's for {LIMIT_S:g} s; try again.")


class RunGate:
    """An open gate file; several processes have it open."""

    def __init__(self, fd: int) -> None:
        """Takes `fd` over, also when it raises (OSError)."""
        self.fd = fd
        try:
            self._mapping = mmap.mmap(fd, _BYTES)
        except BaseException:
            os.close(fd)
            raise
        self._words = np.frombuffer(self._mapping, np.uint64, 3)

    @classmethod
    def made_in(cls, directory: Path) -> RunGate:
        """Make it, or open what is there. Raises OSError."""
        fd = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(fd, _BYTES)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    @classmethod
    def found_in(cls, directory: Path) -> RunGate | None:
        """The gate, where one was made and is in use; None where the way is free."""
        try:
            gate = cls(os.open(directory / _NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
        except (OSError, ValueError):  # none is there; or it is not made whole yet
            return None
        if gate.active:
            return gate
        gate.close()
        return None

    @staticmethod
    def taken_in(directory: Path) -> int | None:
        """Be the one who uses the gdbstub: a file descriptor, for as long as it is open anywhere; None: somebody is."""
        fd = os.open(directory / _USER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def close(self) -> None:
        """Let go of it."""
        del self._words
        self._mapping.close()
        os.close(self.fd)

    @property
    def active(self) -> bool:
        """Whether a gdbstub is used."""
        return bool(self._words[0])

    @active.setter
    def active(self, active: bool) -> None:
        self._words[0] = active

    @property
    def held(self) -> bool:
        """Whether somebody wants the guest to stand; with the lock held."""
        return bool(self._words[1])

    @held.setter
    def held(self, held: bool) -> None:
        self._words[1] = held

    @property
    def times(self) -> int:
        """How often anybody stopped the guest or let it go on, but for who uses the gdbstub."""
        return int(self._words[2])

    def note(self, command: str) -> None:
        """Write down what a QMP command is for; with the lock held."""
        if command in ("stop", "cont"):
            self._words[1] = command == "stop"
        self._words[2] += np.uint64(1)

    @contextlib.contextmanager
    def locked(self, limit_s: float = LIMIT_S) -> Iterator[None]:
        """Be alone. Raises GateShut."""
        deadline = time.monotonic() + limit_s
        while not self._try():
            if time.monotonic() > deadline:
                raise GateShut
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    @contextlib.asynccontextmanager
    async def locked_on_loop(self, limit_s: float = LIMIT_S) -> AsyncIterator[None]:
        """The same, for an asyncio task. Raises GateShut."""
        deadline = time.monotonic() + limit_s
        while not self._try():
            if time.monotonic() > deadline:
                raise GateShut
            await asyncio.sleep(_POLL_S)
        try:
            yield
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
