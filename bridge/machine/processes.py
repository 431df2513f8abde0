"""Processes by identity: a pid together with its start time, so that a reused pid is never taken for the old one."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

# Field 22 of /proc/PID/stat (proc_pid_stat(5)), counted from the field after the command's name, which is number 3.
_START_TIME_FIELD = 22 - 3


@functools.cache
def boot_id() -> str:
    """The kernel's name for this boot; start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, once. `start_ticks` is its start in clock ticks since boot."""

    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of a process that is alive now, or None. A zombie is not alive."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        # The command's name may hold spaces and parentheses; it ends at the last one.
        state, *fields = stat[stat.rindex(b")") + 1 :].split()
        if state in (b"Z", b"X"):
            return None
        return cls(pid, int(fields[_START_TIME_FIELD - 1]), boot_id())

    @classmethod
    def own(cls) -> ProcessIdentity:
        """The identity of this process."""
        identity = cls.of(os.getpid())
        assert identity is not None
        return identity

    @property
    def alive(self) -> bool:
        """True while this very process runs."""
        return ProcessIdentity.of(self.pid) == self

    def open_pidfd(self) -> int | None:
        """A pidfd (pidfd_open(2)) of this very process, to be closed by the caller; None when it is gone."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return None
        # The pid may have been reused before it was opened; not after.
        if not self.alive and not pidfd_ended(pidfd):
            os.close(pidfd)
            return None
        return pidfd


def pidfd_ended(pidfd: int) -> bool:
    """Say whether the process of a pidfd has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Signal the process of a pidfd; nothing happens when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def find_process(*fragments: str) -> ProcessIdentity | None:
    """The living process of this user whose command line holds all of `fragments`, if any."""
    wanted = [fragment.encode() for fragment in fragments]
    own_pid, own_uid = str(os.getpid()), os.getuid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == own_pid:
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == own_uid:
                command_line = (entry / "cmdline").read_bytes()
                if all(fragment in command_line for fragment in wanted):
                    return ProcessIdentity.of(int(entry.name))
    return None
