"""A QEMU process whose end is noticed at once, whether it is our child or was found running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess

from bridge.machine.processes import ProcessIdentity, send_signal

_left: list[subprocess.Popen[bytes]] = []
"""Children that nobody watches any more, detached machines for one. They stay our children."""


def reap_left() -> None:
    """Have those of them that have ended leave the system's table of processes."""
    _left[:] = [child for child in list(_left) if child.poll() is None]


class WatchedProcess:
    """To be used on the background loop only. `close` it when it is no longer of interest."""

    def __init__(self, identity: ProcessIdentity, pidfd: int, child: subprocess.Popen[bytes] | None) -> None:
        """Takes over `pidfd`. `child` is reaped when it ends."""
        self.identity = identity
        self.exited = asyncio.Event()
        self.exit_code: int | None = None
        """Known of children only; negative for a signal (-SIGKILL)."""
        self._pidfd = pidfd
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._on_exit)

    @classmethod
    def of_child(cls, child: subprocess.Popen[bytes]) -> WatchedProcess:
        """Watch a child that has just been started and not been waited for."""
        reap_left()
        pidfd = os.pidfd_open(child.pid)
        # A child that has ended at once is a zombie, which has no identity any more; nobody will look for it either.
        identity = ProcessIdentity.of(child.pid) or ProcessIdentity(child.pid, 0, "")
        return cls(identity, pidfd, child)

    @classmethod
    def of_running(cls, identity: ProcessIdentity) -> WatchedProcess | None:
        """Watch a process that somebody else started; None when it has ended."""
        pidfd = identity.open_pidfd()
        return None if pidfd is None else cls(identity, pidfd, None)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal it; nothing happens when it has ended."""
        if self._pidfd >= 0:
            send_signal(self._pidfd, number)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for its end. True when it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.exited.wait()
        return self.exited.is_set()

    def close(self) -> None:
        """Stop watching. Does nothing the second time."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            if self._child is not None:
                _left.append(self._child)
                reap_left()

    def _on_exit(self) -> None:
        if self._child is not None:
            self.exit_code = self._child.wait()  # it has ended: this only reaps it
        else:
            self.exit_code = self._reap()
        self.close()
        self.exited.set()

    def _reap(self) -> int | None:
        # One that was found running may be a child all the same: detached, and then taken back.
        try:
            ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
