"""The feeder: a thread that writes down what is seen of all machines, as it is seen; no frame waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bridge.kernel.census.records import Census
from bridge.kernel.desk import Answer
from bridge.kernel.packed_symbols import PackedSymbols
from bridge.machine.errors import MachineError
from bridge.semantic.store.errors import StoreDamaged, StoreError
from bridge.semantic.store.forgetting import Limits
from bridge.semantic.store.sessions import Kept, OpenSession, remove_old, set_aside
from bridge.semantic.store.writer import Store

LATEST_S = 0.9
"""Between two censuses of a machine that is looked at twice a second, at most."""
_SHARE = 0.1
"""Of the time, at most, that may go into censuses where they take long."""
_TICK_S = 0.1
_ANSWER_S = 5.0
_SLICE_S = 0.2
_FORGET_EVERY_S = 10.0
_CHECK_S = 0.2
"""That the file is read for damage, at most, as often as that."""
_PAUSE_S = 10.0
"""After something went wrong with the database."""
_SYMBOLS_S = 0.05
"""That symbols are written between two censuses, at most."""
_CLOSE_S = 5.0
_UNSEEN = -1
logger = logging.getLogger("store")


class Asked(Protocol):
    """What looks at a machine: a KernelWatcher."""

    @property
    def n_seen(self) -> int:
        """Grows with each look."""
        ...

    def ask(self, name: str, *arguments: Any) -> int:
        """Put a question; its number."""
        ...

    def wait_for(self, number: int, timeout_s: float) -> Answer | None:
        """The answer, or None if it does not come in time."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """A machine that is looked at."""

    watcher: Asked
    ram_bytes: int
    is_dump: bool


@dataclass(slots=True)
class _Fed:
    """What the store has of a machine."""

    watched: Watched
    machine_id: int | None = None
    known: int = 0
    n_seen: int = _UNSEEN
    due_s: float = 0.0
    time_s: float = 0.0
    problem: str = ""


class Feeder:
    """Writes one session. `start` it, `close` it."""

    def __init__(
        self,
        machines: Callable[[], Mapping[str, Watched]],
        *,
        limits: Limits | None = None,
        kept: Kept | None = None,
        folder: Path | None = None,
    ) -> None:
        """`machines` is called from the feeder's thread. `folder`: where sessions lie, the user's own unless said."""
        self._machines = machines
        self._limits = limits or Limits()
        self._kept = kept or Kept()
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="semantic store", daemon=True)
        self._session: OpenSession | None = None
        self._store: Store | None = None
        self._fed: dict[str, _Fed] = {}
        self._symbols: dict[int, Iterator[int]] = {}
        """Of kernels whose symbols are being written."""
        self._symbols_asked: set[int] = set()
        self._wall_s = time.time() - time.monotonic()
        self.path: Path | None = None
        """The database, once there is anything in it."""
        self.problem = ""
        """Why nothing is written now, in a sentence; empty while it is."""
        self.n_written = 0
        """How many censuses were written: grows with each."""
        self.busy_s = 0.0
        """Processor time of the thread."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Finish what is being written, and end. A second call does nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    # ----- in the thread

    def _run(self) -> None:
        forget_s = 0.0
        try:
            while not self._stop.wait(_TICK_S):
                try:
                    self._step()
                    if self._store is not None and time.monotonic() >= forget_s:
                        forget_s = time.monotonic() + _FORGET_EVERY_S
                        self._store.check(_CHECK_S)
                        self._store.forget(self._wall_s + time.monotonic())
                except StoreDamaged as error:
                    self._replace(error)
                except (StoreError, OSError, MachineError) as error:
                    self._fail(str(error))
                self.busy_s = time.thread_time()
        finally:
            self._end()

    def _fail(self, problem: str) -> None:
        if problem != self.problem:
            logger.warning("%s", problem)
        self.problem = problem
        self._tell_again()
        self._stop.wait(_PAUSE_S)

    def _tell_again(self) -> None:
        """Whatever was not written is asked for anew."""
        for fed in self._fed.values():
            fed.known, fed.n_seen = 0, _UNSEEN
        self._symbols.clear()
        self._symbols_asked.clear()

    def _leave(self) -> None:
        """Write no more to this database: the next that is seen goes, whole, to another."""
        self._end()
        self._store = self._session = self.path = None
        for fed in self._fed.values():
            fed.machine_id = None
        self._tell_again()

    def _replace(self, error: StoreDamaged) -> None:
        """Set a damaged database aside. All that is known is known without it."""
        self._leave()
        try:
            there = set_aside(error.path)
        except OSError as failure:
            self._fail(f"{error} Nor can it be set aside: {failure}.")
            return
        logger.warning("%s It was set aside as %s, and another is begun.", error, there)

    def _step(self) -> None:
        if self._store is not None and not self._store.in_place:
            logger.warning("The database %s was removed or replaced: another is begun.", self._store.path)
            self._leave()
        machines = self._machines()
        for name in [name for name, fed in self._fed.items() if self._is_other(machines.get(name), fed)]:
            fed = self._fed.pop(name)
            if fed.machine_id is not None and self._store is not None:
                self._store.machine_gone(fed.machine_id, self._now(fed))
        now_s = time.monotonic()
        asked: list[tuple[_Fed, str, int]] = []
        for name, watched in machines.items():
            fed = self._fed.setdefault(name, _Fed(watched))
            n_seen = watched.watcher.n_seen
            if n_seen != fed.n_seen and now_s >= fed.due_s:
                fed.n_seen = n_seen
                asked.append((fed, name, watched.watcher.ask("census", fed.known)))
        for fed, name, number in asked:
            answer = self._answer(fed.watched.watcher, number)
            if answer is None:
                continue
            self._note(fed, name, answer)
            if isinstance(answer.value, Census):
                self._write(name, fed, answer.value, answer.took_s)
        self._write_symbols()

    def _note(self, fed: _Fed, name: str, answer: Answer) -> None:
        """Log what could not be read, once."""
        problems = answer.value.problems if isinstance(answer.value, Census) else ()
        problem = " ".join((answer.problem, *problems)).strip()
        if problem and problem != fed.problem:
            logger.warning("Not all of %s could be written down: %s", name, problem)
        fed.problem = problem

    @staticmethod
    def _is_other(watched: Watched | None, fed: _Fed) -> bool:
        return watched is None or watched.watcher is not fed.watched.watcher

    def _answer(self, watcher: Asked, number: int) -> Answer | None:
        until_s = time.monotonic() + _ANSWER_S
        while not self._stop.is_set() and time.monotonic() < until_s:
            answer = watcher.wait_for(number, _SLICE_S)
            if answer is not None:
                return answer
        return None

    def _write(self, name: str, fed: _Fed, census: Census, took_s: float) -> None:
        if self._store is None:
            self._store = self._opened()
        fed.time_s = max(self._wall_s + census.taken_s, fed.time_s + 1e-6)
        if fed.machine_id is None:
            watched = fed.watched
            fed.machine_id = self._store.machine(
                name, ram_bytes=watched.ram_bytes, is_dump=watched.is_dump, time_s=fed.time_s
            )
        kernel_id = self._store.write(fed.machine_id, census, fed.time_s)
        fed.known = census.number
        if census.n_pending:
            fed.n_seen = _UNSEEN  # the same look tells more when it is asked again
        fed.due_s = time.monotonic() + min(LATEST_S, took_s / _SHARE)
        self.problem = ""
        self.path = self._store.path
        self.n_written += 1
        if kernel_id not in self._symbols_asked:
            self._symbols_asked.add(kernel_id)
            if not self._store.has_symbols(kernel_id):
                self._ask_symbols(fed.watched.watcher, self._store, kernel_id)

    def _ask_symbols(self, watcher: Asked, store: Store, kernel_id: int) -> None:
        answer = self._answer(watcher, watcher.ask("symbol_table", 0))
        if answer is not None and isinstance(answer.value, PackedSymbols):
            self._symbols[kernel_id] = store.write_symbols(kernel_id, answer.value)

    def _write_symbols(self) -> None:
        until_s = time.monotonic() + _SYMBOLS_S
        while self._symbols and time.monotonic() < until_s and not self._stop.is_set():
            kernel_id, batches = next(iter(self._symbols.items()))
            if next(batches, None) is None:
                del self._symbols[kernel_id]

    def _opened(self) -> Store:
        if self._session is None:
            remove_old(self._kept, self._folder)
            self._session = OpenSession(self._folder)
        try:
            return Store.open(self._session.path, self._limits)
        except StoreError:
            self._session.close()  # its folder may be gone: another place is made at the next try
            self._session = None
            raise

    def _now(self, fed: _Fed) -> float:
        return max(self._wall_s + time.monotonic(), fed.time_s + 1e-6)

    def _end(self) -> None:
        # What was known last stays what is known: the session is over, not its machines.
        if self._store is not None:
            self._store.close()
        if self._session is not None:
            self._session.close()
