"""Access: machines and dumps by name, opened when they are first asked of, read by one thread at a time each.

What the interfaces (REST, MCP) and their clients see of machines; the window's own panels have workers instead.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.kernel.desk import Desk, value_of
from bridge.kernel.errors import KernelError
from bridge.kernel.worker import Assignment, Sighting, Watch
from bridge.machine.discovery import MachineSummary, control, discover, find_record, open_ram, summarise_machines
from bridge.machine.errors import MachineError, NoSuchMachine
from bridge.machine.records import MachineRecord
from bridge.memory.dump_ram import open_dump_ram
from bridge.memory.ram import GuestRam

FRESH_S = 1.0
"""How old a look may be that questions are answered from."""
WAIT_S = 20.0
"""How long who asks waits for others that ask of the same machine."""
MOST_WAITING = 16
"""Who asks while so many wait is told so at once: the threads of an interface are not spent on waiting."""
_LISTEN_S = 0.1
LOST_S = 2.0
"""How long a machine without a kernel is looked at before its memory map is asked for again."""
MAX_READ_BYTES = 1 << 20
"""Of memory at once."""


class Busy(KernelError):
    """Others ask of the same machine, and were not answered in time, or are too many."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Others are asking of {name}, too many or for too long. Ask again.")


class NotKnown(KernelError):
    """The kernel of a machine cannot be told about; the message says why."""


class TooMuch(KernelError):
    """More memory was asked for than is given at once."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length:,} bytes are too many at once: ask for at most {MAX_READ_BYTES:,}.")


@dataclass(slots=True)
class _Opened:
    """A machine that was asked of."""

    identity: object
    ram: GuestRam
    watch: Watch
    still: bool
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0
    """How many wait for the lock, roughly."""
    looked_s: float = -1e9
    sighting: Sighting | None = None
    lost_s: float = 0.0
    """Since when no kernel is found."""
    closed: bool = False

    def is_lost(self) -> bool:
        """Whether its RAM should be mapped anew: the firmware moves it about as a machine starts."""
        return bool(self.lost_s) and not self.still and time.monotonic() - self.lost_s > LOST_S

    def close(self) -> None:
        """Unmap its RAM. Callers hold the lock."""
        self.closed = True
        self.watch.ram.close()
        self.ram.close()


class Access:
    """Safe to use from several threads."""

    def __init__(self, dumps: Mapping[str, Path] | None = None, *, types: Path | None = None) -> None:
        """`dumps`: files that can be asked of beside the machines that run, by name. `types`: see supplied_types."""
        self._dumps = dict(dumps or {})
        self._types = types
        self._opened: dict[str, _Opened] = {}
        self._lock = threading.Lock()
        """Of the two tables; nobody waits for a machine while holding it."""
        self._gates: dict[str, threading.Lock] = {}
        """By name: only one thread opens a machine."""

    def machines(self) -> tuple[MachineSummary, ...]:
        """The machines that run, of any owner, and the dumps. Takes 0.1 s: processor use is watched for as long."""
        return (*summarise_machines(), *(_summary(name, path) for name, path in self._dumps.items()))

    def names(self) -> tuple[str, ...]:
        """What can be asked of."""
        return (*(record.name for record in discover()), *self._dumps)

    @contextlib.contextmanager
    def desk(self, name: str, *, fresh_s: float = FRESH_S) -> Iterator[Desk]:
        """Answer questions about a machine's kernel from a look that is at most `fresh_s` old, for the body.

        Raises NoSuchMachine, MachineError, GuestMemoryError, KernelError.
        """
        with self.asked(name, fresh_s=fresh_s) as (desk, _, _):
            yield desk

    @contextlib.contextmanager
    def asked(
        self, name: str, *, fresh_s: float = FRESH_S, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Desk, GuestRam, bool]]:
        """The same, with the machine's RAM, and whether it stands still for ever: a dump. Who is gone waits no more."""
        with self._held(name, cancelled) as opened:
            _look(name, opened, fresh_s)
            desk = opened.watch.desk
            assert desk is not None
            yield desk, opened.ram, opened.still

    def sighting(self, name: str, *, fresh_s: float = FRESH_S) -> Sighting:
        """The latest look at a machine. Raises as `desk` does."""
        with self._held(name) as opened:
            return _look(name, opened, fresh_s)

    def ask(self, name: str, question: str, *arguments: Any) -> Any:
        """The answer to one of desk.QUESTIONS. Raises as `desk` does."""
        with self.desk(name) as desk:
            return value_of(desk, question, *arguments)

    def read(self, name: str, address: int, length: int) -> bytes:
        """Bytes at a guest-physical address, RAM in one piece. Raises InvalidAddress, TooMuch and as `desk` does."""
        if length > MAX_READ_BYTES:
            raise TooMuch(length)
        with self._held(name) as opened, opened.ram.read_physical(address, length) as view:
            return bytes(view)

    @contextlib.contextmanager
    def ram(self, name: str) -> Iterator[GuestRam]:
        """A machine's RAM, for the body, during which nobody else asks of it."""
        with self._held(name) as opened:
            yield opened.ram

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            opened, self._opened = list(self._opened.values()), {}
        for one in opened:
            with one.lock:
                one.close()

    @contextlib.contextmanager
    def _held(self, name: str, cancelled: Callable[[], bool] = lambda: False) -> Iterator[_Opened]:
        opened = self._open(name)
        self._take(name, opened, cancelled)
        try:
            if opened.closed:  # it was another machine of this name, and ended while we waited
                raise NoSuchMachine(name, self.names())
            yield opened
        finally:
            opened.lock.release()

    def _take(self, name: str, opened: _Opened, cancelled: Callable[[], bool]) -> None:
        """Take the lock of a machine. Raises Busy."""
        if opened.lock.acquire(blocking=False):
            return
        with self._lock:
            if opened.waiting >= MOST_WAITING:
                raise Busy(name)
            opened.waiting += 1
        try:
            until_s = time.monotonic() + WAIT_S
            while not opened.lock.acquire(timeout=_LISTEN_S):
                if cancelled() or time.monotonic() > until_s:
                    raise Busy(name)
        finally:
            with self._lock:
                opened.waiting -= 1

    def _open(self, name: str) -> _Opened:
        record = None if name in self._dumps else self._record(name)
        identity = record if record is None else (record.qemu, record.ram_path)
        with self._lock:
            opened = self._known(name, identity)
            if opened is not None:
                return opened
            gate = self._gates.setdefault(name, threading.Lock())
        # QEMU is asked of the memory map: one that hangs holds up who asks of it, and nobody else.
        if not gate.acquire(timeout=WAIT_S):
            raise Busy(name)
        try:
            with self._lock:
                opened = self._known(name, identity)
                if opened is not None:
                    return opened
                self._drop(name)
            made = self._make(name, record, identity)
            with self._lock:
                self._opened[name] = made
            return made
        finally:
            gate.release()

    def _known(self, name: str, identity: object) -> _Opened | None:
        """The machine as it was opened before, where it is that still. Callers hold the lock."""
        opened = self._opened.get(name)
        return opened if opened is not None and opened.identity == identity and not opened.is_lost() else None

    def _make(self, name: str, record: MachineRecord | None, identity: object) -> _Opened:
        """Open a machine, or a dump where there is no record of one."""
        ram = open_dump_ram(self._dumps[name]).ram if record is None else open_ram(record)
        try:
            assignment = Assignment(ram.path, ram.physical_map, 0.0, 1.0, still=record is None, types=self._types)
            return _Opened(identity, ram, Watch(assignment), record is None)
        except BaseException:
            ram.close()
            raise

    def _record(self, name: str) -> MachineRecord:
        try:
            return find_record(name)
        except NoSuchMachine:
            with self._lock:
                self._drop(name)
            raise NoSuchMachine(name, self.names()) from None

    def _drop(self, name: str) -> None:
        """Forget a machine that ended. Whoever reads it still is waited for in a thread of its own."""
        gone = self._opened.pop(name, None)
        if gone is None:
            return

        def close() -> None:
            with gone.lock:
                gone.close()

        threading.Thread(target=close, name=f"close {name}", daemon=True).start()


def _look(name: str, opened: _Opened, fresh_s: float) -> Sighting:
    """The latest look, or a new one where that is older than `fresh_s`. Raises NotKnown."""
    seen = opened.sighting
    if seen is None or (not opened.still and time.monotonic() - opened.looked_s > fresh_s):
        # What stands before and after it, seen from here, is told as frozen.
        opened.watch.standing = not opened.still and _is_paused(name)
        seen, opened.looked_s = opened.watch.look(), time.monotonic()
        if opened.watch.standing and not _is_paused(name):
            seen = replace(seen, consistency="live")
    opened.sighting = None if seen.problem else seen
    if seen.problem:
        opened.lost_s = opened.lost_s or time.monotonic()
        raise NotKnown(seen.problem)
    opened.lost_s = 0.0
    return seen


def _is_paused(name: str) -> bool:
    try:
        with control(name) as client:
            return not client.qmp("query-status")["running"]
    except MachineError:
        return False


def _summary(name: str, path: Path) -> MachineSummary:
    size = path.stat().st_size if path.exists() else 0
    return MachineSummary(name, "dump", path.name, "", 0, size, 0, 0.0, 0.0, "dump")
