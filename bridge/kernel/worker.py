"""The worker: a process of its own that looks at a machine again and again, and says what it saw.

Run as `python -c "from bridge.kernel.worker import main; main()"` (as a module it would pickle its own types under
another name); what it looks at and what it is asked come in on standard input, what it saw and what it answers go out
on standard output, all as pickles between a program and its own child. It ends when its input does.
"""

from __future__ import annotations

import contextlib
import gc
import io
import pickle
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bridge.kernel.desk import Answer, Desk, Question, answer
from bridge.kernel.errors import KernelError
from bridge.kernel.frozen import HOLD_S, LOOK, PREPARE, PUBLISH, STEPS
from bridge.kernel.kernel import find_kernel
from bridge.kernel.maps import Vmas
from bridge.kernel.owners import Owners
from bridge.kernel.page_details import PageDetails
from bridge.kernel.pulse import Pulse
from bridge.kernel.sighting_stream import Shortener
from bridge.kernel.snapshot import Introspector, Reading, SemanticSnapshot
from bridge.kernel.supplied_types import with_supplied_types
from bridge.kernel.symbol_cache import users_cache
from bridge.kernel.tasks import Consistency, Tasks
from bridge.kernel.vmcoreinfo import note_texts
from bridge.memory.errors import GuestMemoryError
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap
from bridge.memory.ram import GuestRam

_LENGTH = struct.Struct("<Q")
_SEARCH_EVERY_S = 2.0
"""How often, at most, a machine without a kernel is searched for one: it may be booting."""
_NOTE_COMES_S = 30.0
"""How long a kernel may take to boot that will have a note as the last one had."""
_SETTLES_S = 0.05
"""How soon a machine that was paused is looked at."""
_NOTES_AFTER_S = 1.0
"""How long a kernel's clock stands before others are searched for: an idle one may sleep for a second."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to look at, and how much of a core that may take."""

    path: Path
    physical_map: PhysicalMap
    period_s: float
    core_share: float
    still: bool = False
    """Whether the machine never changes: a dump. Every look at it is a frozen one."""
    types: Path | None = None
    """The user's own types, for a kernel that carries none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether the machine stands still from now on, because it was paused, until the next message of this kind."""

    stands: bool


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look saw, as small as can be shown from. Arrays are by page of the RAM file."""

    taken_s: float
    """time.monotonic(), which all processes share."""
    duration_s: float
    problem: str
    """Why there is nothing to say, in a sentence; empty if there is."""
    release: str = ""
    processes: Tasks | None = None
    n_threads: int = 0
    vmas: Vmas | None = None
    classes: npt.NDArray[np.uint8] | None = None
    parts: npt.NDArray[np.uint8] | None = None
    first_owner: npt.NDArray[np.int32] | None = None
    """Index into `processes`, -1 for none."""
    definite: float = 0.0
    threads: Tasks | None = None
    details: PageDetails | None = None
    consistency: Consistency = "live"
    torn: bool = False
    """Whether the kernel's records changed faster than they could be followed."""


def write_frame(stream: IO[bytes], message: object) -> None:
    """Send one message. Raises OSError when nobody reads any more."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any | None:
    """The next message, or None at the end, also where the writer was killed in the middle of one.

    Only ever from our own child or parent.
    """
    head = _read(stream, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    n_bytes = _LENGTH.unpack(head)[0]
    data = _read(stream, n_bytes)
    if len(data) < n_bytes:
        return None
    return pickle.loads(data)  # noqa: S301 - from the process that started us, or that we started


def _read(stream: IO[bytes], n_bytes: int) -> bytes:
    """Up to `n_bytes`, fewer only at the end: a raw stream gives what there is."""
    pieces = bytearray()
    while len(pieces) < n_bytes and (piece := stream.read(n_bytes - len(pieces))):
        pieces += piece
    return bytes(pieces)


class Watch:
    """Looks at one assignment, finding the kernel anew when it is gone."""

    def __init__(self, assignment: Assignment, *, standing: bool = False) -> None:
        self.ram = GuestRam.open(assignment.path, assignment.physical_map)
        self._introspector: Introspector | None = None
        self._desk: Desk | None = None
        self._core_share = assignment.core_share
        self._search_s = -1e9
        self._problem = "No kernel was looked for yet."
        self.standing = standing
        """Whether the machine is paused, as far as is known."""
        self.runs_on: Callable[[], bool] = lambda: False
        """Whether it was said meanwhile that the machine runs on."""
        self.look_began_s = 0.0
        """Processor time of this process when the latest look began, without the search for a kernel before it."""
        self._still = assignment.still
        self._types = assignment.types
        self._pulse: Pulse | None = None
        self._note_until_s = 0.0
        """Until when only a kernel with a note is searched for."""
        self._notes: frozenset[str] = frozenset()
        """Every note that was in RAM when the kernel was found."""
        self._stood_s = 0.0
        """Since when its clock stands; 0 while it does not."""
        self._notes_s = 0.0
        """When to search for other notes next."""
        self._held: Reading | None = None
        """Seen while the machine stood still, and not told yet."""
        self._first: tuple[Owners, npt.NDArray[np.int32]] | None = None

    @property
    def desk(self) -> Desk | None:
        """Answers about the kernel that the latest look found; None where it found none."""
        return self._desk

    def look(self) -> Sighting:
        """One look; what goes wrong is said in it."""
        started = time.monotonic()
        self.look_began_s = time.process_time()
        if self._introspector is not None and self._is_gone(started):
            # Rebooted, or another kernel was started by kexec. If this one had a note, the next has one soon.
            self._note_until_s = started + (_NOTE_COMES_S if self._introspector.kernel.info is not None else 0.0)
            self._introspector, self._desk = None, None
        if self._introspector is None:
            if started < self._search_s:
                return Sighting(started, 0.0, self._problem)
            try:
                reader = PhysicalReader(self.ram)
                # Before it is searched: a note that comes meanwhile is a new one.
                self._notes = note_texts(reader)
                kernel = find_kernel(reader, by_signature=started >= self._note_until_s, cache=users_cache())
                introspector = Introspector(with_supplied_types(kernel, self._types))
                introspector.stands = self._stands
                self._introspector = introspector
                self._desk = Desk(self._introspector)
                self._pulse = Pulse(self._introspector.kernel)
            except Exception as error:  # noqa: BLE001 - guest memory must not be able to end the worker
                took_s = time.monotonic() - started
                known = isinstance(error, KernelError | GuestMemoryError)
                self._problem = (
                    str(error) if known else f"No kernel can be made out here ({type(error).__name__}: {error})."
                )
                self._search_s = started + max(_SEARCH_EVERY_S, took_s / self._core_share)
                return Sighting(started, took_s, self._problem)
            started, self.look_began_s = time.monotonic(), time.process_time()
        try:
            seen = self._introspector.look(frozen=self._still)
        except (KernelError, GuestMemoryError) as error:
            why = f"The kernel's records could not be followed: {error}"
            return Sighting(started, time.monotonic() - started, why, torn=True)
        except Exception as error:  # noqa: BLE001 - guest memory must not be able to end the worker
            why = f"The kernel's records make no sense ({type(error).__name__}: {error})."
            return Sighting(started, time.monotonic() - started, why, torn=True)
        return self._told(seen)

    def settle(self) -> None:
        """Be ready to look again and again, after the first look; a dump is looked at once."""
        if self._introspector is not None and not self._still:
            self._introspector.remember()

    def _is_gone(self, now_s: float) -> bool:
        """Whether the kernel that was found runs no more: another has taken its place, or it was started anew."""
        assert self._introspector is not None
        kernel = self._introspector.kernel
        if not kernel.still_there():
            return True
        if self._still or self._pulse is None:
            return False
        beat = self._pulse.feel()
        if beat == "beats":
            self._stood_s = 0.0
            return False
        if beat == "restarted":
            return True
        # Paused, or what is left of it after a reboot: then another one has written its note by now, or soon will.
        if not self._stood_s:
            self._stood_s, self._notes_s = now_s, now_s + _NOTES_AFTER_S
        if now_s < self._notes_s:
            return False
        self._notes_s = now_s + max(_NOTES_AFTER_S, (now_s - self._stood_s) / 4)
        notes = note_texts(kernel.reader)
        return len(notes) > 1 or notes != self._notes

    def _stands(self) -> bool:
        return self._still or (self.standing and not self.runs_on())

    def _told(self, seen: SemanticSnapshot) -> Sighting:
        if self._desk is not None:
            self._desk.snapshot = seen
        assert self._introspector is not None
        return Sighting(
            seen.taken_s,
            seen.duration_s,
            "",
            self._introspector.kernel.release,
            seen.processes,
            len(seen.threads),
            seen.vmas,
            seen.page_map.classes,
            seen.parts,
            self._first_owners(seen.owners),
            seen.page_map.definite,
            seen.threads,
            seen.details,
            seen.consistency,
        )

    def _first_owners(self, owners: Owners) -> npt.NDArray[np.int32]:
        if self._first is None or self._first[0] is not owners:
            self._first = owners, owners.first()
        return self._first[1]

    def step(self, question: Question) -> tuple[Answer, Sighting | None]:
        """One of the steps of a frozen look; see `bridge.kernel.frozen`. The last one has something to tell."""
        started = time.monotonic()
        problem, told = "", None
        if question.name == PREPARE:
            self._held = None
            self.settle()
            if self._introspector is not None and self._introspector.kernel.still_there():
                # What stays the same until the machine stands need not be worked out while it does.
                with contextlib.suppress(Exception):  # guest memory must not be able to end the worker
                    self._introspector.look()
            else:
                problem = "There is no kernel to look at while the machine stands still."
        elif question.name == LOOK and self._introspector is not None:
            gc.disable()  # not now: a machine waits
            try:
                self._held = self._introspector.read(frozen=True)
            except Exception as error:  # noqa: BLE001 - as in look()
                problem = f"The kernel's records could not be followed: {error}"
            finally:
                gc.enable()
        elif question.name == PUBLISH and self._held is not None:
            stood_still = bool(question.arguments and question.arguments[0])
            told = self._finished(self._held, stood_still)
            self._held = None
        ended = time.monotonic()
        return Answer(question.number, not problem, problem, ended, ended - started), told

    def _finished(self, held: Reading, stood_still: bool) -> Sighting:
        try:
            assert self._introspector is not None
            seen = self._introspector.finish(held)
        except Exception as error:  # noqa: BLE001 - as in look()
            why = f"The kernel's records make no sense ({type(error).__name__}: {error})."
            return Sighting(held.started_s, 0.0, why, torn=True)
        return self._told(seen if stood_still else seen.called("live"))

    def answer(self, question: Question) -> Answer:
        """Answer a question, or say why that cannot be done."""
        return answer(self._desk, question, self._problem)


class _Inbox:
    """The messages, one after the other; those that came during a look can be looked through before their turn."""

    def __init__(self, source: IO[bytes], ready: Callable[[float], bool]) -> None:
        self._source = source
        self._ready = ready
        self._waiting: deque[Any] = deque()

    def next(self) -> Any | None:
        """The next message; None at the end."""
        return self._waiting.popleft() if self._waiting else read_frame(self._source)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the next message; whether there is one, or the end."""
        return bool(self._waiting) or self._ready(timeout_s)

    def says_it_runs_on(self) -> bool:
        """Whether a message that has come says so, or that all will be another."""
        while self._ready(0.0):
            self._waiting.append(read_frame(self._source))
            if self._waiting[-1] is None:
                return True
        return any(not m.stands if isinstance(m, Standing) else isinstance(m, Assignment) for m in self._waiting)


def serve(source: IO[bytes], sink: IO[bytes], ready: Callable[[float], bool]) -> None:
    """Look and answer as the messages say, until there are no more.

    Sightings are told as a `Shortener` says them. `ready(timeout_s)` waits for the next message, and says whether there
    is one (or the end). `source` must not read ahead of what it is asked for.
    """
    watch: Watch | None = None
    told, problem, due_s, standing = "", "No machine was named yet.", 0.0, False
    inbox, shortener = _Inbox(source, ready), Shortener()
    while (message := inbox.next()) is not None:
        if isinstance(message, Question) and message.name in STEPS and watch is not None:
            reply, told_frozen = watch.step(message)
            write_frame(sink, reply)
            if told_frozen is not None:
                write_frame(sink, shortener.shorten(told_frozen))
            due_s = time.monotonic() + HOLD_S
        elif isinstance(message, Standing):
            standing = message.stands
            if watch is not None:
                watch.standing = standing
            due_s = min(due_s, time.monotonic() + _SETTLES_S) if standing else due_s
        elif isinstance(message, Question):
            reply = answer(None, message, problem) if watch is None else watch.answer(message)
            write_frame(sink, reply)
        else:
            if watch is not None:
                watch.ram.close()
            watch, told, due_s, assignment = None, "", 0.0, message
            try:
                watch = Watch(assignment, standing=standing)
                watch.runs_on = inbox.says_it_runs_on
            except GuestMemoryError as error:
                problem = str(error)
                write_frame(sink, shortener.shorten(Sighting(time.monotonic(), 0.0, problem)))
        while watch is not None:
            if time.monotonic() >= due_s:
                began_s = time.monotonic()
                seen = watch.look()
                if not seen.problem or seen.problem != told:  # a machine without a kernel is told of once
                    write_frame(sink, shortener.shorten(seen))
                told = seen.problem
                # What a look costs decides how often there is one: never more of a core than allowed.
                spent_s = time.process_time() - watch.look_began_s
                due_s = began_s + max(assignment.period_s, spent_s / assignment.core_share)
                watch.settle()
            if inbox.wait(max(due_s - time.monotonic(), 0.0)):
                break
    if watch is not None:
        watch.ram.close()


def main() -> None:
    """Run the worker on this process's standard streams."""
    # Unbuffered: a message that was read ahead is one that select does not tell of.
    source, sink = io.FileIO(sys.stdin.fileno(), closefd=False), sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not end in the stream
    try:
        serve(source, sink, lambda timeout_s: bool(select.select([source], [], [], timeout_s)[0]))
    except (BrokenPipeError, KeyboardInterrupt):
        return
