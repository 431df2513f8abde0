"""The Volatility worker: a process that loads Volatility once, and runs each plugin in a process forked from it.

Run as `python -c "from bridge.kernel.volatility_engine.worker import main; main()"`. Jobs and Cancels come in on
standard input, what is said about them goes out on standard output, all as pickles between a program and its own child.
It ends when its input does. Forking gives each plugin empty caches (guests change between runs), takes back all memory
at the end, and lets a plugin be ended or crash without loss.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import find_kernel
from bridge.kernel.supplied_types import with_supplied_types
from bridge.kernel.symbol_cache import users_cache
from bridge.kernel.volatility_engine.records import Cancel, Finished, Job, PluginList, Progress, Target
from bridge.kernel.worker import read_frame, write_frame
from bridge.memory.dump import Dump
from bridge.memory.errors import GuestMemoryError
from bridge.memory.physical import HoldsRam, PhysicalReader
from bridge.memory.ram import GuestRam

if TYPE_CHECKING:
    from bridge.kernel.volatility_engine.session import Session

_GRACE_S = 2.0
"""How long after its time limit a plugin may take to end by itself."""
_MEMORY_BYTES = 4 << 30
"""That a plugin may take beyond what the worker has: hidden-module scans of large guests need hundreds of MiB."""
_PR_SET_PDEATHSIG = 1


@dataclass
class _Running:
    """The job under way."""

    job: Job
    process: int
    pipe: IO[bytes]
    deadline_s: float
    finished: bool = False


class Worker:
    """Takes messages, one at a time, and tells of jobs through `sink`."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._waiting: list[Job] = []
        self._running: _Running | None = None
        self._target: Target | None = None
        self._ram: GuestRam | Dump | None = None
        self._session: Session | None = None

    # ----- what the loop calls

    def sources(self) -> list[IO[bytes]]:
        """The pipes beside standard input that something may come from."""
        return [self._running.pipe] if self._running is not None else []

    def timeout_s(self) -> float | None:
        """How long nothing need be done if nothing comes."""
        return None if self._running is None else max(self._running.deadline_s - time.monotonic(), 0.0)

    def take(self, message: object) -> None:
        """A message from the window."""
        if isinstance(message, Job):
            self._waiting.append(message)
        elif isinstance(message, Cancel):
            self._waiting = [job for job in self._waiting if job.number != message.number]
            if self._running is not None and self._running.job.number == message.number:
                self._running.finished = True  # who cancels knows that it ended
                self.end()
        self._start_next()

    def forward(self) -> None:
        """Pass on one message of the plugin under way, or notice its end or that its time is over."""
        running = self._running
        if running is None:
            return
        if time.monotonic() >= running.deadline_s:
            self._say_ended(f"It did not end within {running.job.time_limit_s:.0f} s, and was stopped.")
        elif not select.select([running.pipe], [], [], 0)[0]:
            return
        elif (message := read_frame(running.pipe)) is not None:
            running.finished = isinstance(message, Finished)
            write_frame(self._sink, message)
            return
        else:
            self._say_ended("The plugin's process ended all at once: it may have run out of memory, or crashed.")
        self.end()
        self._start_next()

    def end(self) -> None:
        """End the plugin under way, whatever it does."""
        if self._running is None:
            return
        running, self._running = self._running, None
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.process, signal.SIGKILL)
        os.waitpid(running.process, 0)
        running.pipe.close()

    # ----- inside

    def _say_ended(self, problem: str) -> None:
        assert self._running is not None
        if not self._running.finished:
            write_frame(self._sink, Finished(self._running.job.number, problem, truncated=True))

    def _start_next(self) -> None:
        while self._running is None and self._waiting:
            job = self._waiting.pop(0)
            try:
                session = self._prepared(job)
            except (KernelError, GuestMemoryError) as error:
                write_frame(self._sink, Finished(job.number, str(error)))
                continue
            self._running = _fork(job, session)

    def _prepared(self, job: Job) -> Session:
        """A session of the job's kernel: the last one if it is still there."""
        from bridge.kernel.volatility_engine.session import Session

        if self._session is not None and job.target == self._target and self._session.kernel.still_there():
            return self._session
        self._session, self._target = None, None
        if self._ram is not None:
            self._ram.close()
            self._ram = None
        write_frame(self._sink, Progress(job.number, "Looking for the kernel"))
        ram: GuestRam | Dump
        if job.target.physical_map is None:
            ram = Dump.open(job.target.path)
        else:
            ram = GuestRam.open(job.target.path, job.target.physical_map)
        self._ram = ram
        held: HoldsRam = ram
        kernel = with_supplied_types(find_kernel(PhysicalReader(held), cache=users_cache()), job.target.types)
        write_frame(self._sink, Progress(job.number, "Reading its types"))
        self._session, self._target = Session(kernel), job.target
        return self._session


def _fork(job: Job, session: Session) -> _Running:
    mine, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(mine)
            _run(job, session, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    return _Running(job, process, io.FileIO(mine), time.monotonic() + job.time_limit_s + _GRACE_S)


def _run(job: Job, session: Session, pipe: int) -> None:
    """The forked process: run the plugin, and say all through the pipe."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        return  # the worker has ended already
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # nothing that a plugin prints may end among the messages
        os.dup2(null, number)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + _MEMORY_BYTES, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(pipe, "wb", buffering=0) as stream:
        session.run(job, lambda message: write_frame(stream, message))


def _data_bytes() -> int:
    """How much memory this process has that counts against RLIMIT_DATA."""
    with Path("/proc/self/status").open() as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmData:")), 0)


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Say what is installed, then run jobs until there are no more messages."""
    write_frame(sink, _installed())
    worker = Worker(sink)
    try:
        while True:
            ready, _, _ = select.select([source, *worker.sources()], [], [], worker.timeout_s())
            if source in ready:
                message = read_frame(source)
                if message is None:
                    return
                worker.take(message)
            worker.forward()
    finally:
        worker.end()


def _installed() -> PluginList:
    try:
        from bridge.kernel.volatility_engine.plugins import list_plugins
    except ImportError as error:
        return PluginList("", (), f"Volatility 3 cannot be loaded: {error}.")
    return list_plugins()


def main() -> None:
    """Run the worker on this process's standard streams."""
    # Unbuffered: a message that was read ahead is one that select does not tell of.
    source, sink = io.FileIO(sys.stdin.fileno(), closefd=False), sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not end in the stream
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve(source, sink)
