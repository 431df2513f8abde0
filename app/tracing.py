"""Tracing: each shown machine's tracer, a thread that has its plugin watch what the user chose, and looks at that.

Off is the rule: then there is no thread, and another program can trace the machine. Others take part by jobs, which
run on the thread with the session, once or at each look; or by a need, for which the session is held while the user
has nothing watched.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from app.trace_looks import Look, LookMaker, Shown
from bridge.machine.errors import MachineError
from bridge.machine.machine import Machine
from bridge.memory.errors import GuestMemoryError
from bridge.trace.errors import TracedElsewhere, TraceError
from bridge.trace.modes import Mode, Policy, Wish
from bridge.trace.visit import traced_own

if TYPE_CHECKING:
    from bridge.kernel.tasks import Tasks
    from bridge.kernel.watcher import KernelWatcher
    from bridge.kernel.worker import Sighting
    from bridge.machine.manager import AnyMachine
    from bridge.trace.session import Switched, TraceSession

LOOK_EVERY_S = 0.4
RETRY_S = 1.0
"""How long until it is tried again to trace what another program traces."""
END_LIMIT_S = 4.0
T = TypeVar("T")


class TracerState(StrEnum):
    """Where a tracer is."""

    OFF = "off"
    STARTING = "starting"
    ON = "on"
    ELSEWHERE = "elsewhere"
    """Another program traces the machine; it is tried again."""
    FAILED = "failed"


class NotTraced(TraceError):
    """A job came to a tracer that is off, or goes off."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the kernel's own records told last: by which names go."""

    watcher: KernelWatcher | None = None
    tasks: Mapping[int, str] = field(default_factory=dict)
    """Processes by the address of their task, and of each thread's."""

    def process_of(self, task: int) -> str:
        """The process of a word that names a task; empty where not known."""
        return self.tasks.get(task, "")


def task_names(processes: Tasks | None, threads: Tasks | None) -> dict[int, str]:
    """Processes as `name (pid)`, by the address of each of their tasks."""
    if processes is None:
        return {}
    names = {pid: f"{name} ({pid})" for pid, name in zip(processes.pids.tolist(), processes.names, strict=True)}
    found = dict(zip(processes.addresses.tolist(), names.values(), strict=True))
    if threads is not None:
        for address, group in zip(threads.addresses.tolist(), threads.tgids.tolist(), strict=True):
            if group in names:
                found[address] = names[group]
    return found


class Tracer:
    """Of one machine. Everything but the thread's own half may be called from any thread; nothing waits."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.state = TracerState.OFF
        self.problem = ""
        """Why it is not on although it should be, or went off."""
        self.switched: Switched | None = None
        """How the last change of mode went."""
        self.n_news = 0
        """Grows with each look, and each change of state."""
        self.shown = Shown()
        """What of a look is wanted; set by the panel."""
        self._wish = Wish()
        self._need = Mode.OFF
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._jobs: deque[tuple[Callable[[TraceSession], Any], Future[Any]]] = deque()
        self._attending: dict[str, Callable[[TraceSession], None]] = {}
        self._told = Told()
        self._latest: Look | None = None

    # What the window asks

    @property
    def mode(self) -> Mode:
        """What the user chose."""
        return self._wish.mode

    @property
    def wish(self) -> Wish:
        """The same with all that belongs to it."""
        return self._wish

    @property
    def why_not(self) -> str:
        """Why the machine cannot be traced at all; empty where it can."""
        if self.machine.info.state.ended:
            return "The machine has ended."
        return "" if self.machine.trace is not None else self.machine.trace_problem

    @property
    def tasks(self) -> Mapping[int, str]:
        """Processes by the word that names a task, as the kernel's own records told last."""
        return self._told.tasks

    @property
    def told(self) -> Told:
        """By what names go."""
        return self._told

    def latest(self) -> Look | None:
        """The newest look; None before the first, and when it went off."""
        return self._latest

    def set_mode(self, mode: Mode) -> None:
        """Watch something else, or nothing, from the next moment on."""
        self.set_wish(Wish(mode, policy=Policy.OVERWRITE if mode is Mode.TRACE else Policy.DROP))

    def set_wish(self, wish: Wish) -> None:
        """The same, with all that belongs to a mode."""
        with self._change:
            self._wish = wish
            if wish.mode is Mode.OFF:
                self.problem, self._latest = "", None
            self._begin()

    def need(self, mode: Mode) -> None:
        """Say what somebody else needs watched at least while the user has nothing watched; OFF: nothing any more."""
        with self._change:
            self._need = mode
            self._begin()

    def _begin(self) -> None:
        """Have the thread do what is wanted now; with the condition held."""
        if self._thread is None and self._wants():
            self._say(TracerState.STARTING)
            self._thread = threading.Thread(target=self._work, name=f"tracer {self.machine.name}", daemon=True)
            self._thread.start()
        self._change.notify_all()

    def run(self, job: Callable[[TraceSession], T]) -> Future[T]:
        """Run a job once on the thread, with the session; NotTraced where that is off. Its rings are the thread's."""
        future: Future[T] = Future()
        with self._change:
            if self._thread is None:
                future.set_exception(NotTraced(f"'{self.machine.name}' is not traced."))
            else:
                self._jobs.append((job, future))
                self._change.notify_all()
        return future

    def attend(self, name: str, job: Callable[[TraceSession], None] | None) -> None:
        """Run a job at each look, too, until None takes its place. One that raises TraceError ends the trace.

        Costs nothing where it is run already.
        """
        if self._attending.get(name) == job:
            return
        with self._change:
            attending = {key: one for key, one in self._attending.items() if key != name}
            self._attending = attending if job is None else {**attending, name: job}

    def tell(self, watcher: KernelWatcher | None, tasks: Mapping[int, str]) -> None:
        """Say by what names go."""
        self._told = Told(watcher, tasks)

    def join(self, limit_s: float) -> None:
        """Wait until it is off."""
        thread = self._thread
        if thread is not None:
            thread.join(limit_s)

    # The thread

    def _wanted(self) -> Wish:
        return self._wish if self._wish.mode is not Mode.OFF else Wish(self._need)

    def _wants(self) -> bool:
        return self._wanted().mode is not Mode.OFF

    def _say(self, state: TracerState, problem: str = "") -> None:
        self.state, self.problem = state, problem
        self.n_news += 1

    def _work(self) -> None:
        while True:
            with self._change:
                if not self._wants():
                    self._end(TracerState.OFF, self.problem)
                    return
            try:
                with traced_own(self.machine) as session:
                    self._trace(session)
            except TracedElsewhere as error:
                with self._change:
                    self._say(TracerState.ELSEWHERE, str(error))
                    self._fail_jobs()
                    self._change.wait_for(lambda: not self._wants(), RETRY_S)
            except (TraceError, MachineError, GuestMemoryError, OSError, ValueError) as error:
                with self._change:
                    wanted = self._wants()
                    self._wish, self._need = Wish(), Mode.OFF
                    ended = self.machine.info.state.ended
                    said = "The machine has ended." if ended else str(error)
                    self._end(TracerState.FAILED if wanted else TracerState.OFF, said if wanted else "")
                return

    def _end(self, state: TracerState, problem: str) -> None:
        self._thread = None
        self._latest = None
        self._fail_jobs()
        self._say(state, problem)

    def _fail_jobs(self) -> None:
        while self._jobs:
            self._jobs.popleft()[1].set_exception(NotTraced(f"'{self.machine.name}' is not traced."))

    def _trace(self, session: TraceSession) -> None:
        applied: Wish | None = None
        maker: LookMaker | None = None
        due_s = 0.0
        while True:
            with self._change:
                wish, shown, jobs = self._wanted(), self._wish.mode is not Mode.OFF, list(self._jobs)
                self._jobs.clear()
            if wish.mode is Mode.OFF:
                for _, future in jobs:
                    future.set_exception(NotTraced(f"'{self.machine.name}' is not traced."))
                return
            if wish != applied:
                self.switched, applied = session.set(wish), wish
                self._say(TracerState.ON)
                due_s = 0.0
            for job, future in jobs:
                _do(job, session, future)
            if session.ended:
                raise TraceError("The machine has ended.")
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + LOOK_EVERY_S
                maker = maker or LookMaker(session)
                maker.follow_kernel(self._told)
                if shown:
                    for attending in self._attending.values():
                        attending(session)
                    self._take(maker.look(wish.mode, self.shown, self._told))
                else:  # what is seen from now on is seen anew
                    maker.forget()
            with self._change:
                self._change.wait_for(
                    lambda: self._wanted() != wish or bool(self._jobs),  # noqa: B023 - asked within this turn alone
                    max(0.0, due_s - time.monotonic()),
                )

    def _take(self, look: Look) -> None:
        with self._change:
            if self._wish.mode is not Mode.OFF:  # else it was switched off meanwhile
                self._latest = look
                self.n_news += 1


def _do(job: Callable[[TraceSession], Any], session: TraceSession, future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job(session))
    except BaseException as error:  # noqa: BLE001 - handed to the one who asked
        future.set_exception(error)


class Tracers:
    """The machines' tracers, by name. Belongs to the main thread."""

    def __init__(self) -> None:
        self._tracers: dict[str, Tracer] = {}
        self._seen: dict[str, int] = {}
        self._sightings: dict[str, Sighting | None] = {}

    def of(self, machine: str | None) -> Tracer | None:
        """A machine's tracer; None for a dump, in which nothing runs, and where there is no machine."""
        return self._tracers.get(machine or "")

    def sync(self, machines: Iterable[AnyMachine]) -> None:
        """Have a tracer for each machine, and let go of those that are gone."""
        wanted = {machine.name: machine for machine in machines if isinstance(machine, Machine)}
        for name, tracer in list(self._tracers.items()):
            if wanted.get(name) is not tracer.machine:
                tracer.set_mode(Mode.OFF)
                del self._tracers[name]
                self._sightings.pop(name, None)
        for name, machine in wanted.items():
            if name not in self._tracers:
                self._tracers[name] = Tracer(machine)

    def tell(self, name: str, watcher: KernelWatcher | None, sighting: Sighting | None) -> None:
        """Say what is known of a machine's kernel; costs nothing while that is the same."""
        tracer = self._tracers.get(name)
        if tracer is None or tracer.state is TracerState.OFF or self._sightings.get(name, False) is sighting:
            return
        self._sightings[name] = sighting
        known = sighting is not None and not sighting.problem
        tasks = task_names(sighting.processes, sighting.threads) if known and sighting is not None else {}
        tracer.tell(watcher if known else None, tasks)

    def pump(self) -> bool:
        """Whether there was anything new since the last call."""
        now = {name: tracer.n_news for name, tracer in self._tracers.items()}
        news, self._seen = now != self._seen, now
        return news

    def close(self) -> None:
        """Have all go off, and wait until the guests run as before."""
        for tracer in self._tracers.values():
            tracer.set_mode(Mode.OFF)
        for tracer in self._tracers.values():
            tracer.join(END_LIMIT_S)
        self._tracers.clear()
