"""Learning: each shown machine's learner, which has its hottest loops proved, and done by kernels, as the user chose.

Off is the rule: then there is no thread and no solver, and nothing of the machine is watched or changed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app.tracing import NotTraced, TracerState
from bridge.kernel.errors import KernelError
from bridge.machine.directories import state_dir
from bridge.machine.errors import MachineError
from bridge.memory.errors import GuestMemoryError
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.learned import State
from bridge.trace.errors import TraceError
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.tracing import Tracer, Tracers
    from bridge.machine.machine import Machine
    from bridge.pixelcpu.learning import Entry, Learning, Look, Mark
    from bridge.trace.session import TraceSession

LOOK_EVERY_S = 0.5
FIGURES_S = 5.0
"""Figures are of so long until now."""
FIRST_WATCH_S = 2.0
KEPT_EVENTS = 500
KEPT_SHARES = 60
RETRY_S = 1.0
END_LIMIT_S = 6.0
_SESSION_LIMIT_S = 30.0


class Way(StrEnum):
    """What is done with a machine's loops."""

    OFF = "off"
    LEARN = "learn"
    """They are proved; the machine runs as it did."""
    TAKE_OVER = "take over"
    """Kernels do them."""
    VERIFY = "verify"
    """Kernels do them beside QEMU, and what they find is compared, not used."""


class LearningState(StrEnum):
    """Where a learner is."""

    OFF = "off"
    STARTING = "starting"
    ON = "on"
    ELSEWHERE = "elsewhere"
    """Another program traces the machine; it is tried again."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a loop."""

    at_s: float
    """Seconds since 1970."""
    where: str
    """The loop, by its symbol or address; empty: it is of the whole machine."""
    state: State | None
    text: str
    """A sentence."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of a machine's loops at one moment. Nobody writes to it."""

    way: Way
    look: Look
    vcpus: int
    by: str
    """Who runs kernels: plugin or gdbstub; empty where nobody does."""
    shares: tuple[float, ...]
    """Of the instructions, what kernels did, in the last half minute, the newest last."""

    @property
    def speed_up(self) -> float:
        """Of the whole machine: what its processors would have needed for the same work without, by what they did.

        Time in which they had nothing to do counts as well.
        """
        spent = self.look.seconds * self.vcpus
        return (spent + max(0.0, self.look.saved_s)) / spent if spent > 0 else 1.0


class MachineLearner:
    """Of one machine. Everything but the thread's own half may be called from any thread; nothing waits."""

    def __init__(self, machine: Machine, tracer: Tracer, inquire: Callable[..., Any]) -> None:
        """`inquire(machine, question, …)` asks the machine's kernel, and waits. Raises KernelError."""
        self.machine, self.tracer = machine, tracer
        self.state = LearningState.OFF
        self.problem = ""
        """Why it is not on although it should be, or went off."""
        self.n_news = 0
        """Grows with each look, and each change of state."""
        self._inquire = inquire
        self._way = Way.OFF
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._latest: Learnt | None = None
        self._events: tuple[Event, ...] = ()
        self._reached: dict[bytes, tuple[State, str]] = {}

    @property
    def way(self) -> Way:
        """What the user chose."""
        return self._way

    @property
    def events(self) -> tuple[Event, ...]:
        """The last ones, oldest first."""
        return self._events

    @property
    def why_not(self) -> str:
        """Why nothing can be learned of the machine at all; empty where it can."""
        return self.tracer.why_not

    def latest(self) -> Learnt | None:
        """The newest look; None before the first, and when it went off."""
        return self._latest

    def set_way(self, way: Way) -> None:
        """Do something else with the machine's loops, from the next moment on."""
        with self._change:
            if way is Way.OFF:
                self.problem = ""
            self._way = way
            if self._thread is None and way is not Way.OFF:
                self._say(LearningState.STARTING)
                self._thread = threading.Thread(target=self._work, name=f"learner {self.machine.name}", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def join(self, limit_s: float) -> None:
        """Wait until it is off."""
        thread = self._thread
        if thread is not None:
            thread.join(limit_s)

    # The thread

    def _say(self, state: LearningState, problem: str = "") -> None:
        self.state, self.problem = state, problem
        self.n_news += 1

    def _work(self) -> None:
        while True:
            with self._change:
                way = self._way
                if way is Way.OFF:
                    self._end(LearningState.OFF)
                    return
            try:
                self._learn(way)
            except NotTraced as error:
                elsewhere = self.tracer.state is TracerState.ELSEWHERE
                with self._change:
                    if not elsewhere:
                        self._end(LearningState.FAILED, self.tracer.problem or str(error))
                        return
                    self._say(LearningState.ELSEWHERE, self.tracer.problem)
                    self._change.wait_for(lambda: self._way is Way.OFF, RETRY_S)
            except (TraceError, MachineError, PixelError, GuestMemoryError, OSError, ValueError) as error:
                with self._change:
                    if self._way is Way.OFF:
                        self._end(LearningState.OFF)
                        return
                    ended = self.machine.info.state.ended
                    self._end(LearningState.FAILED, "The machine has ended." if ended else str(error))
                return

    def _end(self, state: LearningState, problem: str = "") -> None:
        self._thread, self._way = None, Way.OFF
        self._say(state, problem)

    def _learn(self, way: Way) -> None:
        """Until the user wants something else. Raises TraceError, MachineError, PixelError."""
        from app.gpu_owner import GpuOwner
        from bridge.pixelcpu.gpu_back_end import BackEnd
        from bridge.pixelcpu.learner import Learner
        from bridge.pixelcpu.learning import Learning
        from bridge.pixelcpu.prover import Prover
        from bridge.pixelcpu.takeover import takeover_of

        folder = state_dir() / "pixel"
        self._reached.clear()
        with ExitStack() as stack:
            stack.callback(self._leave)
            session = self._session()
            if session is None:
                return
            hybrid = None if way is Way.LEARN else stack.enter_context(closing(takeover_of(session)))
            gpu = None
            if hybrid is not None and hybrid.asks_gpu:
                hybrid.prefer(BackEnd.AUTO)
                gpu = stack.enter_context(GpuOwner.of(session))
            prover = stack.enter_context(Prover())
            learner = Learner(folder, prover)
            learning = Learning(
                session,
                learner,
                lambda: _Names(self.machine.name, self._inquire, self.tracer),
                hybrid=hybrid,
                verify=way is Way.VERIFY,
                watch_s=FIRST_WATCH_S,
                goes_on=True,
                watch=self.tracer.need,
                gpu=gpu,
            )
            stack.callback(_stopped, learning)
            learning.start()
            self._say(LearningState.ON)
            self._note(None, {Way.LEARN: "Learning.", Way.TAKE_OVER: "Taking over.", Way.VERIFY: "Verifying."}[way])
            self._follow(way, session, learning, "" if hybrid is None else hybrid.way)
        self._note(None, "All is left to QEMU." if way is not Way.LEARN else "Learning has ended.")

    def _leave(self) -> None:
        """Before another thread may begin: what it needs must not be taken from it."""
        self._latest = None
        self.tracer.need(Mode.OFF)

    def _session(self) -> TraceSession | None:
        """The tracer's, once it has one; None where the user does not want it any more. Raises TraceError."""
        self.tracer.need(Mode.TIME)
        asked = self.tracer.run(lambda session: session)
        deadline = time.monotonic() + _SESSION_LIMIT_S
        while True:
            try:
                return asked.result(LOOK_EVERY_S)
            except TimeoutError:
                if self._way is Way.OFF:
                    return None
                if time.monotonic() > deadline:
                    raise TraceError(f"The plugin in '{self.machine.name}' did not begin in time.") from None
            except CancelledError as error:
                raise NotTraced(f"'{self.machine.name}' is not traced.") from error

    def _follow(self, way: Way, session: TraceSession, learning: Learning, by: str) -> None:
        marks: deque[Mark] = deque([learning.mark()])
        shares: deque[float] = deque(maxlen=KEPT_SHARES)
        told = ""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._way is not way, LOOK_EVERY_S)
                if self._way is not way:
                    return
            if self.tracer.state in (TracerState.FAILED, TracerState.OFF):
                raise TraceError(self.tracer.problem or f"'{self.machine.name}' is not traced any more.")
            while len(marks) > 1 and marks[1].at_s <= time.monotonic() - FIGURES_S:
                marks.popleft()
            look = learning.look(marks[0])
            newest = learning.look(marks[-1]).taken
            marks.append(learning.mark())
            shares.append(newest)
            self._tell(look)
            if learning.problem != told:
                told = learning.problem
                self._note(None, told)
            self._latest = Learnt(way, look, session.memory.vcpus, by, tuple(shares))
            self.n_news += 1
            if not learning.goes_on:
                raise TraceError(look.failure or "Learning has ended by itself.")

    # What happened

    def _note(self, state: State | None, text: str, where: str = "") -> None:
        if text:
            self._events = (*self._events, Event(time.time(), where, state, text))[-KEPT_EVENTS:]

    def _tell(self, look: Look) -> None:
        """Note what is new since the look before."""
        for one in look.entries:
            code = one.candidate.code
            known = self._reached.get(code)
            now = one.state, one.reason
            if known != now:
                self._reached[code] = now
                self._note(one.state, _sentence(one), one.candidate.symbol or f"{one.candidate.address:#x}")


def _sentence(one: Entry) -> str:
    if one.reason:
        return f"Left to QEMU. {one.reason}"
    learned = one.learned
    kind = learned.loop.kind if learned is not None and learned.loop is not None else "loop"
    return {
        State.TRACED: f"Seen: {one.candidate.time_share:.1%} of the time, {one.candidate.share:.1%} of instructions.",
        State.LIFTED: "Its round is microcode.",
        State.SYNTHESISED: "Its round is cheaper microcode, proved equal to the x86 code.",
        State.PROVED: f"Proved over all rounds: a {kind}.",
        State.TESTED: f"Proved and tested: a {kind}." if learned is not None else "Proved and tested.",
        State.LIVE: "Live: a kernel does its rounds.",
        State.QEMU_ONLY: "Left to QEMU.",
    }[one.state]


def _stopped(learning: Learning) -> None:
    try:
        learning.stop()
    except (TraceError, MachineError):
        return  # it is gone, and its table with it


class _Names:
    """What the window knows of names. For the learner's thread."""

    def __init__(self, machine: str, inquire: Callable[..., Any], tracer: Tracer) -> None:
        self._machine, self._inquire, self._tracer = machine, inquire, tracer

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        """Symbol and process of code; empty where no kernel tells."""
        if self._tracer.told.watcher is None:
            return "", ""
        try:
            found = self._inquire(self._machine, "code_places", ((physical, address),))
        except KernelError:
            return "", ""
        symbol, process = found[0] if found else ("", "")
        return symbol, process

    def process_of_task(self, task: int) -> str:
        """The process of a word that names a task."""
        return self._tracer.told.process_of(task)


class Learners:
    """The machines' learners, by name. Belongs to the main thread."""

    def __init__(self) -> None:
        self._learners: dict[str, MachineLearner] = {}
        self._seen: dict[str, int] = {}

    def of(self, machine: str | None) -> MachineLearner | None:
        """A machine's learner; None for a dump, in which nothing runs, and where there is no machine."""
        return self._learners.get(machine or "")

    def sync(self, names: Iterable[str], tracers: Tracers, inquire: Callable[..., Any]) -> None:
        """Have a learner for each machine that has a tracer, and let go of those that are gone."""
        wanted = {name: tracer for name in names if (tracer := tracers.of(name)) is not None}
        for name, learner in list(self._learners.items()):
            if wanted.get(name) is not learner.tracer:
                learner.set_way(Way.OFF)
                del self._learners[name]
        for name, tracer in wanted.items():
            if name not in self._learners:
                self._learners[name] = MachineLearner(tracer.machine, tracer, inquire)

    def pump(self) -> bool:
        """Whether there was anything new since the last call."""
        now = {name: learner.n_news for name, learner in self._learners.items()}
        news, self._seen = now != self._seen, now
        return news

    def close(self) -> None:
        """Have all go off, and wait until QEMU does everything again."""
        for learner in self._learners.values():
            learner.set_way(Way.OFF)
        for learner in self._learners.values():
            learner.join(END_LIMIT_S)
        self._learners.clear()
