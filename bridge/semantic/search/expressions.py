"""Searching with regular expressions and YARA rules, in processes that are ended when they take too much."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.semantic.search.found import I64, Cancelled, Found, SearchCancelled, SearchEnded
from bridge.semantic.search.pattern import BadPattern, Pattern, PatternKind
from bridge.semantic.search.places import Places
from bridge.semantic.search.source import Source
from bridge.semantic.search.windows import Window, joined_windows, overlapping_windows

_ROOT = Path(__file__).resolve().parents[3]
_LISTEN_S = 0.01
_END_S = 0.5
_FILL_BYTES = 4 << 20
_LARGE_BYTES = 64 << 20
_MAX_ANSWER_BYTES = 1 << 28
_MOST_RULES_SAID = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What expressions and rules may take."""

    start_s: float = 20.0
    """For a process to start and to compile the pattern."""
    window_s: float = 5.0
    """For one window, and of a large one for each 64 MiB: a thousand times what an ordinary expression takes."""
    total_s: float = 120.0
    memory_bytes: int = 512 << 20
    """For each process, beyond what it begins with."""
    longest: int = 4096
    """Bytes of a match. An expression sees no further, before and after."""
    regex_window: int = 512 << 10
    yara_window: int = 1 << 30
    """Rules are judged for so much memory at a time: YARA has to have it in one piece, and it is copied for that."""


class _Child:
    """One process, and the memory that is shared with it."""

    def __init__(self, pattern: Pattern, window_bytes: int, limits: Limits) -> None:
        with contextlib.ExitStack() as undo:
            fd = os.memfd_create("glassbox search", os.MFD_CLOEXEC)
            undo.callback(os.close, fd)
            os.ftruncate(fd, window_bytes)
            self._mapping = mmap.mmap(fd, window_bytes)
            self.window = memoryview(self._mapping)
            ours, theirs = socket.socketpair()
            with theirs:
                self.connection = Connection(ours.detach())
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-c",
                        "from bridge.semantic.search.expression_child import main; main()",
                        *map(str, (theirs.fileno(), fd, window_bytes)),
                    ],
                    cwd=_ROOT,
                    env={**os.environ, "PYTHONPATH": str(_ROOT)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), fd),
                )
        self.task: _Task | None = None
        self.deadline_s = time.monotonic() + limits.start_s
        self.send(
            {
                "kind": str(pattern.kind),
                "value": pattern.value,
                "ignore_case": pattern.ignore_case,
                "longest": limits.longest,
                "memory_bytes": limits.memory_bytes,
            }
        )

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended; the next answer says so
            self.connection.send_bytes(json.dumps(message).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next answer; None where there will be none."""
        try:
            answer = json.loads(self.connection.recv_bytes(_MAX_ANSWER_BYTES))
        except (OSError, EOFError, ValueError):
            return None
        return answer if isinstance(answer, dict) else None

    def wait(self) -> None:
        """Let it end by itself, which it does where it has nothing to do and its connection is closed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)

    def close(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self._process.kill()
        self._process.wait()
        self.window.release()
        self._mapping.close()


@dataclass(frozen=True, slots=True)
class _Task:
    """A window that a process searches."""

    number: int
    window: Window
    laid: I64
    """(n,) where each span begins in the shared memory."""
    missing_bytes: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a process found in a window."""

    task: _Task
    positions: I64
    lengths: I64
    which: I64
    digests: npt.NDArray[np.uint32]
    """(n,) CRC-32 of each match's bytes as they were."""
    end: int
    """Position at which the last match ends; 0 where there is none."""


class ExpressionSearch:
    """One search with a regular expression or rules."""

    def __init__(
        self, source: Source, places: Places, pattern: Pattern, most: int, processes: int, limits: Limits
    ) -> None:
        """`most`: how many matches are wanted."""
        self.names: tuple[str, ...] = (pattern.value,) if pattern.kind is PatternKind.REGEX else ()
        self.notes: tuple[str, ...] = ()
        self._source, self._places, self._pattern = source, places, pattern
        self._most, self._processes, self._limits = most, processes, limits
        self._is_regex = pattern.kind is PatternKind.REGEX
        self._bare: dict[str, None] = {}

    def found(self, cancelled: Cancelled) -> Generator[Found]:
        """Matches as they are found, each checked once more. Raises BadPattern, SearchEnded, SearchCancelled."""
        limits = self._limits
        deadline_s = time.monotonic() + limits.total_s
        if self._is_regex:
            windows = list(joined_windows(self._places, limits.regex_window, limits.longest))
            room = limits.regex_window + 2 * limits.longest + 1
        else:
            windows = list(overlapping_windows(self._places, limits.yara_window, limits.longest))
            room = min(limits.yara_window, max(self._places.n_bytes, 1))
            if len(windows) > 1:
                self.notes += (
                    f"Rules were judged for each {room >> 10:,} KiB by itself: one that needs strings of two of these "
                    "is not told of.",
                )
        children: list[_Child] = []
        with contextlib.ExitStack() as undo:
            for _ in range(min(self._processes, max(len(windows), 1))):
                child = _Child(self._pattern, room, limits)
                undo.callback(child.close)
                children.append(child)
            self._start(children, cancelled)
            answers = self._answers(children, windows, deadline_s, cancelled)
            for answer in answers if self._is_regex else self._whole(answers):
                yield self._checked(answer, cancelled)
            for child in children:
                child.connection.close()
            for child in children:
                child.wait()
        if self._bare:
            some = ", ".join(list(self._bare)[:_MOST_RULES_SAID])
            self.notes += (f"These rules match by their conditions alone, nowhere in particular: {some}.",)

    # ----- processes

    def _start(self, children: list[_Child], cancelled: Cancelled) -> None:
        """Wait until all have compiled the pattern. Raises BadPattern, SearchCancelled."""
        starting = {child.connection: child for child in children}
        while starting:
            for connection in self._ready(list(starting.values()), cancelled):
                child = starting.pop(connection)
                answer = child.receive()
                if answer is None:
                    raise BadPattern("Preparing the pattern takes more memory than it may have, or crashes.")
                if "refused" in answer:
                    child.wait()
                    raise BadPattern(str(answer["refused"]))
            if any(time.monotonic() > child.deadline_s for child in starting.values()):
                raise BadPattern(f"Preparing the pattern takes longer than {self._limits.start_s:g} s.")

    def _answers(
        self, children: list[_Child], windows: list[Window], deadline_s: float, cancelled: Cancelled
    ) -> Iterator[_Answer]:
        """One a window, in order."""
        waiting = list(enumerate(windows))[::-1]
        idle = list(children)
        done: dict[int, _Answer] = {}
        number, searched_to = 0, 0
        while number < len(windows):
            # Not so far ahead that what waits for its turn grows without limit.
            while idle and waiting and waiting[-1][0] < number + 2 * len(children):
                self._give(idle.pop(), *waiting.pop(), cancelled)
            for connection in self._ready([child for child in children if child.task is not None], cancelled):
                child = next(child for child in children if child.connection is connection)
                taken = self._taken(child)
                done[taken.task.number] = taken
                idle.append(child)
            self._hold_to_time(children, deadline_s)
            while (answer := done.pop(number, None)) is not None:
                first = answer.task.window.spans[0]
                if first.begin < searched_to < first.until:
                    # The last match of the window before ends in this one: look on from there, as one pass would.
                    rest = (replace(first, begin=searched_to), *answer.task.window.spans[1:])
                    waiting.append((number, replace(answer.task.window, spans=rest)))
                    break
                searched_to = answer.end if answer.task.window.goes_on else 0
                number += 1
                yield answer

    def _ready(self, children: list[_Child], cancelled: Cancelled) -> list[Connection]:
        if cancelled():
            raise SearchCancelled
        connections = [child.connection for child in children]
        return [ready for ready in wait(connections, _LISTEN_S) if isinstance(ready, Connection)]

    def _hold_to_time(self, children: list[_Child], deadline_s: float) -> None:
        now_s = time.monotonic()
        for child in children:
            if child.task is not None and now_s > child.deadline_s:
                first = child.task.window.spans[0]
                offset = int(self._places.offsets_of(np.array([first.begin]))[0])
                size = sum(span.high - span.low for span in child.task.window.spans)
                raise SearchEnded(
                    f"It was ended: {self._allowed_s(size):g} s were not enough for {size >> 10:,} KiB of memory from "
                    f"{offset:#x} on. Write it so that nothing can match in many ways."
                )
        if now_s > deadline_s:
            raise SearchEnded(f"It was ended after {self._limits.total_s:g} s. Search less memory, or for less.")

    def _give(self, child: _Child, number: int, window: Window, cancelled: Cancelled) -> None:
        """Lay a window's bytes where a process sees them, and have it search them."""
        sizes = [span.high - span.low for span in window.spans]
        laid = np.cumsum([0, *sizes])
        missing = 0
        spans = []
        for span, at in zip(window.spans, laid.tolist(), strict=False):
            for low in range(span.low, span.high, _FILL_BYTES):
                if cancelled():
                    raise SearchCancelled
                high = min(low + _FILL_BYTES, span.high)
                part = child.window[at + low - span.low : at + high - span.low]
                missing += self._source.read_into(self._places, low, part)
            shift = at - span.low
            spans.append([at, span.begin + shift, span.until + shift, span.high + shift])
        child.task = _Task(number, window, laid[:-1], missing)
        child.deadline_s = time.monotonic() + self._allowed_s(sum(sizes))
        child.send({"spans": spans, "limit": self._most + 1})

    def _allowed_s(self, size_bytes: int) -> float:
        return self._limits.window_s * max(1.0, size_bytes / _LARGE_BYTES)

    def _taken(self, child: _Child) -> _Answer:
        """A process's answer, in positions. Raises SearchEnded."""
        task, child.task = child.task, None
        assert task is not None
        answer = child.receive()
        if answer is None or "ended" in answer:
            raise SearchEnded("It was ended: " + ("its process crashed" if answer is None else answer["ended"]) + ".")
        hits = np.array(answer["hits"], np.int64).reshape(-1, 3)
        self.names = tuple(answer["names"])
        self._bare |= dict.fromkeys(answer.get("bare", ()))
        ends = hits[:, 0] + hits[:, 1]
        digests = [zlib.crc32(child.window[at:end]) for at, end in zip(hits[:, 0].tolist(), ends.tolist(), strict=True)]
        shifts = np.array([span.low for span in task.window.spans]) - task.laid

        def in_order(places: I64) -> I64:
            return places + shifts[np.searchsorted(task.laid, places, side="right") - 1]

        return _Answer(
            task,
            in_order(hits[:, 0]),
            hits[:, 1],
            hits[:, 2],
            np.array(digests, np.uint32),
            int(in_order(np.array([answer["end"] - 1]))[0]) + 1 if answer["end"] else 0,
        )

    # ----- matches

    def _whole(self, answers: Iterator[_Answer]) -> Iterator[_Answer]:
        """Matches of rules by place, each once though windows overlap, without those that run on from one piece of
        memory into another that it does not belong to.
        """
        held = np.zeros((0, 4), np.int64)
        stretch = np.cumsum(self._places.joined == 0)
        for answer in answers:
            rows = np.column_stack([answer.positions, answer.lengths, answer.which, answer.digests])
            first = np.searchsorted(self._places.starts, rows[:, 0], side="right") - 1
            last = np.searchsorted(self._places.starts, rows[:, 0] + np.maximum(rows[:, 1], 1) - 1, side="right") - 1
            rows = np.vstack([held, rows[stretch[first] == stretch[last]]])
            # Of the same match, which both windows have, the first one seen.
            _, first_seen = np.unique(rows[:, :3], axis=0, return_index=True)
            rows = rows[first_seen]
            now = rows[:, 0] < answer.task.window.searched
            held = rows[~now]
            rows = rows[now]
            yield replace(
                answer,
                positions=rows[:, 0],
                lengths=rows[:, 1],
                which=rows[:, 2],
                digests=rows[:, 3].astype(np.uint32),
            )

    def _checked(self, answer: _Answer, cancelled: Cancelled) -> Found:
        there = np.zeros(len(answer.positions), np.bool_)
        matches = zip(answer.positions.tolist(), answer.lengths.tolist(), answer.digests.tolist(), strict=True)
        for index, (position, length, digest) in enumerate(matches):
            if index % 1000 == 0 and cancelled():
                raise SearchCancelled
            there[index] = zlib.crc32(self._source.read(self._places, position, length)) == digest
        return Found(
            answer.positions[there],
            answer.lengths[there].astype(np.uint32),
            answer.which[there].astype(np.int32),
            answer.task.window.searched,
            answer.task.missing_bytes,
            int(np.count_nonzero(~there)),
        )
