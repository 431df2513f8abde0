"""Learning from a machine that runs: its hottest loops are found by its trace, learned, and put into its plugin.

All of it is done by one thread, besides the process that proves. What it knows is told as data, at any time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.machine.errors import MachineError
from bridge.memory.errors import GuestMemoryError
from bridge.pixelcpu.candidates import Candidate, candidates_of
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.estimate import qemu_round_ns, speed_up
from bridge.pixelcpu.gpu_back_end import Gpu, NoGpu, kernel_for_gpu
from bridge.pixelcpu.hybrid import KernelTable, Live, NoRoom, Told
from bridge.pixelcpu.learned import Learned, State
from bridge.pixelcpu.learner import Cancelled, Learner
from bridge.trace.errors import TraceError
from bridge.trace.hot import Namer, Naming, Weights
from bridge.trace.modes import Mode, Wish
from bridge.trace.program import Program
from bridge.trace.session import Counts, TraceSession

MOST_KERNELS = 64
"""As the plugin has room for."""
LEAST_SHARE = 0.005
"""Of the time or of the instructions: a loop below that is not worth a proof."""
PERIOD_S = 1.0
WINDOW_S = 10.0
"""Loops are ranked by what ran in so long."""
_MOST_LISTED = 256
_MOST_NAMED = 4096
_UNNAMED_S = 10.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A loop of the machine, and what became of it."""

    candidate: Candidate
    state: State
    reason: str
    """Why it is left to QEMU, in a sentence; empty where it is not, or not yet."""
    learned: Learned | None
    told: Told | None
    """By the plugin, of a kernel that is live."""
    rounds: int
    """That its kernel did since `Learning.mark`; with `verify`: that were compared with QEMU's."""
    taken: float
    """Of all instructions since then, the share that was done by the kernel, 0 to 1."""
    gpu_rounds: int = 0
    """Of `rounds`, those that the GPU did."""
    no_gpu: str = ""
    """Why the GPU cannot do it, in a sentence; empty where it can, or is not asked for."""
    estimate: float | None = None
    """How many times as fast its rounds would be by the kernel, as `estimate.speed_up` predicts; None: not known."""

    @property
    def back_end(self) -> str:
        """Who did most of the rounds that a kernel could do, since then: host, GPU, or QEMU."""
        if not self.rounds:
            return "QEMU"
        return "GPU" if 2 * self.gpu_rounds > self.rounds else "host"


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment since which figures can be told."""

    at_s: float
    """Monotonic."""
    instructions: int
    """Executed until then."""
    told: Mapping[int, Told]
    """By the plugin, by the number of the kernel."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at one moment."""

    entries: tuple[Entry, ...]
    """Heaviest first."""
    settled: bool
    """Nothing waits to be learned, of what was seen so far."""
    instructions: int
    """Executed since `Learning.mark`, by QEMU and by kernels."""
    taken: float
    """The share of them that kernels did, 0 to 1."""
    seconds: float
    """Since then."""
    saved_s: float
    """Of all processors' time since then: what the kernels' rounds took under QEMU at its quickest, less what they
    took; only of kernels whose speed was measured. 0 through the gdbstub, which slows other code down besides."""
    made: int
    """Loops that were learned here …"""
    from_library: int
    """… and that were known already."""
    gpu: str
    """The GPU that kernels can be done by; empty where there is none, or none yet …"""
    no_gpu: str
    """… and why, in a sentence; empty where nobody asked for one."""
    failure: str
    """Why it ended by itself, in a sentence; empty where it did not."""


class Learning:
    """Of one machine. `start`, then `look` as often as wanted, then `stop`, which empties the plugin's table."""

    def __init__(
        self,
        session: TraceSession,
        learner: Learner,
        namer: Callable[[], Namer],
        *,
        hybrid: KernelTable | None = None,
        verify: bool = False,
        most: int = MOST_KERNELS,
        watch_s: float = PERIOD_S,
        goes_on: bool = False,
        watch: Callable[[Mode], object] | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        """`namer`: asked once, when there is something to name; processes that came meanwhile are known then.

        `hybrid`: takes over what was learned, and goes on until it is stopped; without one nothing of the machine is
        changed, and it ends when the loops that were seen in `watch_s` are learned, unless it `goes_on`.

        `verify`: kernels run beside QEMU, and what they find is compared, not used. `most`: so many of the heaviest.

        `gpu`: does rounds of what is live, where the plugin asks it; closed by whoever made it.

        `watch`: is told what has to be watched at least, where the session is shared; None: the session is.
        """
        self._session, self._learner, self._namer_of = session, learner, namer
        self._namer: _Remembering | None = None
        self._hybrid, self._verify, self._most, self._watch_s = hybrid, verify, min(most, MOST_KERNELS), watch_s
        self._goes_on = goes_on or hybrid is not None
        self._watch_mode: Callable[[Mode], object] = watch or (lambda mode: session.set(Wish(mode)))
        self._mode = Mode.OFF
        self._samples = session.sample_reader()
        self._window: deque[tuple[float, Counts, NDArray[Any]]] = deque()
        self._seen: dict[bytes, Candidate] = {}
        self._states: dict[bytes, State] = {}
        self._slots: dict[bytes, int] = {}
        self._left: dict[bytes, str] = {}
        """Tested, but not for this machine: the reasons."""
        self._gpu = gpu if hybrid is not None else None
        self._no_gpu: dict[bytes, str] = {}
        """Of loops that were handed to the GPU, why it cannot do them; empty where it can."""
        self._gpu_name = self._gpu_problem = ""
        self._qemu_ns: dict[bytes, float] = {}
        """What a round took under QEMU, by samples, before there was a kernel."""
        self._mark = Mark(monotonic(), 0, {})
        self._failure, self._settled = "", False
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._changed = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, name="learning", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """False when it has ended: by `stop`, by a failure, or because all is learned."""
        return self._thread.is_alive()

    @property
    def problem(self) -> str:
        """Why what was learned last could not be kept, in a sentence; empty where it was."""
        return self._learner.problem

    def wait(self, seconds: float) -> bool:
        """Wait until everything that was seen is learned, or nothing goes on. Returns whether that is so."""
        deadline = monotonic() + seconds
        with self._changed:
            while self._thread.is_alive() and not self._settled and (left := deadline - monotonic()) > 0:
                self._changed.wait(min(left, PERIOD_S))
            return self._settled or not self._thread.is_alive()

    def mark(self) -> Mark:
        """Have figures be of what comes from now on. Raises TraceError."""
        counts = self._session.counts()
        with self._lock:
            told = {one.id: one for one in self._told().values()}
            self._mark = Mark(monotonic(), _instructions(counts), told)
            return self._mark

    def look(self, since: Mark | None = None) -> Look:
        """What is known now; figures are `since` a mark that was made, None: the latest. Raises TraceError."""
        now = _instructions(self._session.counts())
        with self._lock:
            mark = since or self._mark
            told, marked = self._told(), mark.told
            instructions = max(0, now - mark.instructions) + self._uncounted(told, marked)
            entries = [self._entry(code, told, marked, instructions) for code in self._seen]
            entries.sort(key=lambda one: -max(one.taken, one.candidate.time_share, one.candidate.share))
            return Look(
                tuple(entries),
                self._settled,
                instructions,
                min(1.0, sum(one.taken for one in entries)),
                monotonic() - mark.at_s,
                sum(_saved_s(one, marked.get(one.id)) for one in told.values()) if self._tells_saved else 0.0,
                self._learner.made,
                self._learner.from_library,
                self._gpu_name,
                self._gpu_problem,
                self._failure,
            )

    def stop(self) -> None:
        """End it, and leave all to QEMU again. Waits for the thread; raises TraceError, MachineError where the
        machine does not answer."""
        self._ends.set()
        self._learner.cancel()
        if self._thread.ident is not None:
            self._thread.join()
        if self._hybrid is not None and not self._session.ended:
            self._hybrid.clear()

    # From here on it is the thread's.

    def _run(self) -> None:
        try:
            self._want(Mode.TIME)
            if self._hybrid is not None:
                self._hybrid.clear()  # of somebody who ended without
            self._samples.read()
            self._window.append((monotonic(), self._session.counts(), self._samples.read()[0]))
            self._ends.wait(self._watch_s)
            while not self._ends.is_set():
                self._watch()
                if self._hybrid is not None:
                    self._want(Mode.COUNTERS)  # samples cost, and speeds are measured from here on
                self._learn(until=monotonic() + PERIOD_S)
                self._hand_to_gpu()
                if self._settled:
                    if not self._goes_on:
                        break
                    self._ends.wait(PERIOD_S)
        except Cancelled:
            pass
        except (TraceError, MachineError, PixelError, GuestMemoryError, OSError) as error:
            self._failure = str(error)
        finally:
            with self._changed:
                self._changed.notify_all()

    def _want(self, mode: Mode) -> None:
        if mode is not self._mode:
            self._watch_mode(mode)
            self._mode = mode

    def _watch(self) -> None:
        """Take in what ran since the window began."""
        if self._session.ended:
            raise TraceError("The machine has ended.")
        if self._hybrid is not None:
            self._hybrid.check()
        if not self._goes_on and self._seen:
            return
        counts, (samples, _) = self._session.counts(), self._samples.read()
        self._window.append((monotonic(), counts, samples))
        program = Program.from_counts(counts, self._session.code_of, self._window[0][1])
        weights = Weights.of(program, np.concatenate([samples for _, _, samples in self._window][1:]))
        busy_s = (self._window[-1][0] - self._window[0][0]) * len(counts.entered) * (1 - weights.idle_share)
        if self._namer is None:
            self._namer = _Remembering(self._namer_of())
        found = candidates_of(
            program, weights, Naming(program, self._namer, weights.tasks), self._most, self._session.ram_at
        )
        while len(self._window) > 2 and self._window[1][0] < monotonic() - max(WINDOW_S, self._watch_s):
            self._window.popleft()
        with self._lock:
            if weights.by == "samples" and len(samples):
                for one in found:
                    if one.code not in self._slots:
                        self._qemu_ns[one.code] = qemu_round_ns(one.time_share, busy_s, one.entered)
            for code, one in self._seen.items():  # what does not run any more weighs nothing
                self._seen[code] = replace(one, entered=0, share=0.0, time_share=0.0)
            for one in found:
                if max(one.share, one.time_share) >= LEAST_SHARE:
                    self._seen[one.code] = self._named(one, by_samples=bool(weights.tasks))
            spare = [code for code in self._seen if code not in self._slots and self._states.get(code)]
            for code in spare[: max(0, len(self._seen) - _MOST_LISTED)]:
                del self._seen[code], self._states[code]
            self._qemu_ns = {code: ns for code, ns in self._qemu_ns.items() if code in self._seen}
        self._refuse_wrong()

    def _named(self, one: Candidate, *, by_samples: bool) -> Candidate:
        """Samples say whose code ran; without, it is asked whose page it is now, and that may be another's since."""
        before = self._seen.get(one.code)
        if by_samples or before is None or not before.process:
            return one
        return replace(one, symbol=before.symbol, process=before.process)

    def _learn(self, until: float) -> None:
        while True:
            with self._lock:
                waiting = [code for code in self._seen if code not in self._states]
                waiting.sort(key=lambda code: -max(self._seen[code].time_share, self._seen[code].share))
            with self._changed:
                self._settled = not waiting and not self._for_gpu()
                if self._settled:
                    self._changed.notify_all()
            if not waiting or self._ends.is_set() or (self._goes_on and monotonic() > until):
                return
            code = waiting[0]
            self._learner.learn(code, partial(self._put_state, code))
            self._install(code)

    def _put_state(self, code: bytes, state: State) -> None:
        with self._lock:
            self._states[code] = state

    def _install(self, code: bytes) -> None:
        learned = self._learner.known(code)
        if self._hybrid is None or learned is None or learned.native is None or learned.reason:
            return
        if why := self._hybrid.why_not(learned.native):
            with self._lock:
                self._left[code] = why
            return
        free = [slot for slot in self._hybrid.free_slots() if slot not in self._slots.values()]
        if not free or len(self._slots) >= self._most:
            return
        try:
            self._hybrid.install({free[0]: learned.native}, verify=self._verify)
        except NoRoom:
            return  # it stays as it is, tested
        with self._lock:
            self._slots[code] = free[0]
            self._states[code] = State.LIVE

    def _for_gpu(self) -> list[bytes]:
        return [code for code in self._slots if code not in self._no_gpu] if self._gpu is not None else []

    def _hand_to_gpu(self) -> None:
        """One loop more; the host does it meanwhile."""
        waiting = self._for_gpu()
        if self._gpu is None or not waiting:
            return
        code, reason = waiting[0], ""
        try:
            self._gpu_name = self._gpu.device
            learned = self._learner.try_on_gpu(code, self._gpu)
            record = learned.gpu_test
            assert record is not None
            if record.good:
                assert self._hybrid is not None
                slot = self._slots[code]
                self._gpu.load(slot, self._hybrid.id_of(slot), kernel_for_gpu(learned))
            elif record.first:
                reason = f"On the GPU it was not as beside Unicorn: {record.first}."
            else:
                reason = f"Only {record.n_rounds:,} rounds on the GPU could be compared."
        except Cancelled:
            raise
        except NoGpu as error:
            self._gpu_name, self._gpu_problem, reason = "", str(error), str(error)
        except PixelError as error:
            reason = str(error)
        with self._lock:
            self._no_gpu[code] = reason

    def _check_gpu(self) -> None:
        if self._gpu is None or not self._gpu_name:
            return
        try:
            self._gpu.check()
        except PixelError as error:
            self._gpu_name, self._gpu_problem = "", str(error)

    def _refuse_wrong(self) -> None:
        """What differed from QEMU, or could not be taken, is never tried again."""
        if self._hybrid is None:
            return
        self._check_gpu()
        for code, told in self._told().items():
            if told.gpu is not None and told.gpu.wrong and not self._no_gpu.get(code):
                self._learner.refuse_gpu(code, told.gpu.wrong)
                with self._lock:
                    self._no_gpu[code] = f"The GPU's results differed from QEMU's: {told.gpu.wrong}."
            if told.state in (Live.WRONG, Live.BAD):
                said = f"Its results differed from QEMU's: {told.wrong}." if told.wrong else "The plugin refused it."
                self._learner.refuse(code, said)
                self._hybrid.install({told.slot: None})
                with self._lock:
                    del self._slots[code]
                    self._no_gpu.pop(code, None)
                    self._states[code] = State.QEMU_ONLY

    def _told(self) -> dict[bytes, Told]:
        if self._hybrid is None or not self._slots:
            return {}
        by_slot = {one.slot: one for one in self._hybrid.told()}
        return {code: by_slot[slot] for code, slot in self._slots.items() if slot in by_slot}

    def _rounds(self, told: Told) -> int:
        return told.verified_rounds if self._verify else told.rounds

    @property
    def _tells_saved(self) -> bool:
        return self._hybrid is not None and self._hybrid.counts_rounds and not self._verify

    def _uncounted(self, all_told: Mapping[bytes, Told], marked: Mapping[int, Told]) -> int:
        """Instructions of the rounds that kernels did and the trace knows nothing of: it counts their first blocks."""
        if self._hybrid is None or self._verify:
            return 0
        counted = self._hybrid.counts_rounds
        return sum(
            (self._seen[code].n_instructions - (self._seen[code].n_counted if counted else 0))
            * (told.rounds - (marked[told.id].rounds if told.id in marked else 0))
            for code, told in all_told.items()
            if code in self._seen
        )

    def _entry(
        self, code: bytes, all_told: Mapping[bytes, Told], marked: Mapping[int, Told], instructions: int
    ) -> Entry:
        candidate, learned, told = self._seen[code], self._learner.known(code), all_told.get(code)
        rounds = 0
        if told is not None:
            rounds = self._rounds(told) - (self._rounds(marked[told.id]) if told.id in marked else 0)
        taken = 0 if self._verify else rounds
        before = None if told is None or told.id not in marked else marked[told.id].gpu
        by_gpu = 0 if told is None or told.gpu is None else told.gpu.rounds - (before.rounds if before else 0)
        by_gpu = min(by_gpu, rounds)  # the mark may have been made between a call's both counts
        return Entry(
            candidate,
            self._states.get(code, State.TRACED),
            (learned.reason if learned is not None else "") or self._left.get(code, ""),
            learned,
            told,
            rounds,
            taken * candidate.n_instructions / instructions if instructions else 0.0,
            by_gpu,
            self._no_gpu.get(code, ""),
            self._estimate(code, learned, told),
        )

    def _estimate(self, code: bytes, learned: Learned | None, told: Told | None) -> float | None:
        if learned is None or learned.reason:
            return None
        sampled = self._qemu_ns.get(code, 0.0)
        if told is None:
            return speed_up(sampled, learned.figures)
        rounds_a_call = told.rounds / told.calls if told.calls else 0.0
        return speed_up(told.round_ns or sampled, learned.figures, told.call_ns, rounds_a_call)


def _saved_s(told: Told, before: Told | None) -> float:
    rounds = told.rounds - (0 if before is None else before.rounds)
    seconds = told.seconds - (0.0 if before is None else before.seconds)
    return rounds * told.round_ns * 1e-9 - seconds if told.round_ns else 0.0


def _instructions(counts: Counts) -> int:
    return int((counts.total * counts.blocks["instructions"].astype(np.uint64)).sum())


class _Remembering:
    """Asks a namer for each place once: blocks are the same from look to look. What has no name may get one."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self._known: dict[tuple[int | None, int], tuple[float, tuple[str, str]]] = {}
        self.process_of_task = namer.process_of_task

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        """Symbol and process."""
        asked_s, found = self._known.get((physical, address), (-_UNNAMED_S, ("", "")))
        if not any(found) and monotonic() - asked_s >= _UNNAMED_S:
            found = self._namer.place(physical, address)
            if len(self._known) >= _MOST_NAMED:
                self._known.clear()
            self._known[physical, address] = monotonic(), found
        return found


class Nameless:
    """Knows no names: of a guest whose kernel was not found."""

    def place(self, _physical: int | None, _address: int) -> tuple[str, str]:
        """Nothing."""
        return "", ""

    def process_of_task(self, _task: int) -> str:
        """Nothing."""
        return ""
