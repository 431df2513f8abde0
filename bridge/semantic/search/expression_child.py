"""The process in which regular expressions and YARA rules run: it is given bytes, and says what matches in them.

Run as `python -c "from bridge.semantic.search.expression_child import main; main()" SOCKET WINDOW BYTES`, with the two
descriptors inherited: a socket, and memory that is shared with who asks. It opens nothing else, and ends when the
socket does. A pattern may take all the time and memory that this process has: it is ended from outside then. So no
pattern is looked at, not even compiled, before the limits stand, and answers are plain JSON, which can do nothing to
who reads it.

Expressions are Python's `re`: what people know, without one more library to keep. Its matcher backtracks, but one that
takes linear time would need limits of memory all the same, and would refuse what many write (look-around, references
back). YARA is YARA-X, which YARA's authors made to succeed it, in a memory-safe language: rules and memory are both
untrusted here.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MAX_WARNINGS = 8


class _Refused(Exception):
    """A pattern that cannot be used; says why."""


def main() -> None:
    """Answer on the socket until it closes."""
    socket, window, n_bytes = map(int, sys.argv[1:4])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # of expressions that will mean something else one day
    memory = memoryview(mmap.mmap(window, n_bytes, prot=mmap.PROT_READ))
    with Connection(socket) as connection:
        try:
            _serve(connection, memory, window)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # who asked has gone


def _serve(connection: Connection, memory: memoryview, window: int) -> None:
    def receive() -> Any:
        return json.loads(connection.recv_bytes())

    def send(message: dict[str, Any]) -> None:
        connection.send_bytes(json.dumps(message).encode())

    job = receive()
    try:
        search = _Regex(job) if job["kind"] == "regex" else _Yara(job, window)
    except _Refused as refusal:
        send({"refused": str(refusal)})
        return
    except MemoryError:
        send({"refused": "Preparing it takes more memory than it may have."})
        return
    send({"ready": True})
    while True:
        task = receive()
        try:
            send(search.run(memory, task["spans"], task["limit"]))
        except MemoryError:
            send({"ended": "it takes more memory than it may have"})
            return


def _limit_memory(n_bytes: int) -> None:
    """Let this process take so much more memory than it has, and no more."""
    with Path("/proc/self/status").open() as file:
        now = next((int(line.split()[1]) << 10 for line in file if line.startswith("VmData:")), 0)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + n_bytes, hard))


class _Regex:
    """Finds what an expression matches, as `re.finditer` does."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._longest: int = job["longest"]
        self._name: str = job["value"]
        _limit_memory(job["memory_bytes"])
        try:
            text = self._name.encode("utf-8", "surrogateescape")
            self._expression = re.compile(text, re.IGNORECASE if job["ignore_case"] else 0)
        except (re.error, OverflowError, RecursionError, ValueError) as error:
            raise _Refused(f"This is no regular expression: {error}.") from error
        if self._expression.fullmatch(b""):
            raise _Refused("The expression matches nothing at all too, which is everywhere: write a+ instead of a*.")

    def run(self, memory: memoryview, spans: list[list[int]], limit: int) -> dict[str, Any]:
        """Matches that begin in [begin, until) of each span (low, begin, until, high); it is seen from low to high.

        Each is (place in memory, length, name); `end` is where the last one ends.
        """
        hits: list[tuple[int, int, int]] = []
        end = 0
        for low, begin, until, high in spans:
            for start, stop in self._matches(memory[low:high], begin - low, until - low):
                end = low + stop
                hits.append((low + start, stop - start, 0))
                if len(hits) >= limit:
                    return {"hits": hits, "end": end, "names": [self._name]}
        return {"hits": hits, "end": end, "names": [self._name]}

    def _matches(self, span: memoryview, begin: int, until: int) -> Iterator[tuple[int, int]]:
        """Start and end of each match that is not empty. One that is longer than the longest is looked for again as if
        memory ended there, so that what is found does not depend on how memory is cut.
        """
        at = begin
        while at < until:
            for match in self._expression.finditer(span, at):
                start, end = match.span()
                if start >= until:
                    return
                if end - start > self._longest:
                    shorter = self._expression.match(span, start, start + self._longest)
                    at = start + 1
                    if shorter is not None and shorter.end() > start:
                        at = shorter.end()
                        yield start, at
                    break
                if end > start:
                    yield start, end
            else:
                return


class _Yara:
    """Finds the strings of YARA rules that match.

    A rule's condition speaks of all that is searched, so all of it is given to YARA at once: as the file behind the
    shared memory, which needs no copy.
    """

    def __init__(self, job: dict[str, Any], window: int) -> None:
        self._window = window
        try:
            import yara_x
        except ImportError as error:
            raise _Refused(f"YARA rules need the package yara-x, which cannot be loaded: {error}.") from error
        _limit_memory(job["memory_bytes"])
        compiler = yara_x.Compiler(relaxed_re_syntax=True, includes_enabled=False)
        compiler.max_warnings(_MAX_WARNINGS)
        try:
            compiler.add_source(job["value"])
        except (yara_x.CompileError, ValueError) as error:
            raise _Refused(f"These are no YARA rules that can be used: {_said(str(error))}.") from error
        self._rules = compiler.build()
        self._scanner = yara_x.Scanner(self._rules)
        self._names: dict[str, int] = {}

    def run(self, memory: memoryview, spans: list[list[int]], limit: int) -> dict[str, Any]:
        """Matches in the one span, which begins where memory does: each (place in memory, length, name), and the rules
        that match without a string.
        """
        ((_, _, _, high),) = spans
        if high < len(memory):
            os.ftruncate(self._window, high)  # the last window: nobody looks beyond it any more
        self._scanner.max_matches_per_pattern(limit)
        hits: list[tuple[int, int, int]] = []
        bare: list[str] = []
        for rule in self._scanner.scan_file(f"/proc/self/fd/{self._window}").matching_rules:
            before = len(hits)
            for pattern in rule.patterns:
                which = self._names.setdefault(f"{rule.identifier}:{pattern.identifier}", len(self._names))
                hits.extend((match.offset, match.length, which) for match in pattern.matches)
            if len(hits) == before:
                bare.append(rule.identifier)
        return {"hits": hits, "end": 0, "names": list(self._names), "bare": bare}


def _said(report: str) -> str:
    """What a compiler's report says, without the picture of the source: the error, and on which line."""
    lines = report.splitlines()
    where = next((line.split("-->", 1)[1].strip() for line in lines if "-->" in line), "")
    return lines[0].strip().rstrip(".") + (f" ({where})" if where else "")
