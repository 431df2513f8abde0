"""Watched: what the commands of a trace work on, a program with its weights and names: of a machine that is watched for
a while, or of a recording."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.failures import UsageError
from app.kernel_source import add_source_arguments, kernel_source
from app.numbers import BadNumber, parse_address
from bridge.trace.errors import TraceError
from bridge.trace.hot import Naming, Weights
from bridge.trace.layout import layout
from bridge.trace.live import watch_program
from bridge.trace.naming import KernelNamer
from bridge.trace.program import Program
from bridge.trace.visit import traced

if TYPE_CHECKING:
    from bridge.trace.recorded import Recording

_LONGEST_S = 600.0
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|min)?")
_UNITS = {None: 1.0, "s": 1.0, "ms": 0.001, "min": 60.0}
_LARGEST_FUNCTION = 1 << 20
_LONGEST = 200


def duration(text: str) -> float:
    """Argparse type: seconds of `5s`, `500ms`, `2min` or a number."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.01 <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no time from 10ms to 10min, such as 5s")
    return seconds


def add_watch_arguments(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Declare what is watched, and for how long."""
    parser.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=seconds,
        metavar="TIME",
        help=f"how long to watch: {seconds:g}s by default",
    )
    parser.add_argument(
        "--recording", type=Path, metavar="FILE.parquet", help="what `trace record` saved, instead of a machine"
    )
    add_source_arguments(parser)


@dataclass(frozen=True, slots=True)
class Watched:
    """What ran in a while."""

    name: str
    program: Program
    weights: Weights
    naming: Naming
    seconds: float
    find_function: Callable[[str], NDArray[np.int64] | None]
    """The blocks of a symbol that ran; None where there is no such symbol."""

    def of_function(self, symbol: str) -> NDArray[np.int64]:
        """The blocks of a function that ran. Raises UsageError for no symbol, TraceError where none of them ran."""
        found = self.find_function(symbol)
        if found is None:
            raise UsageError(f"there is no symbol {symbol[:_LONGEST]!r}; see glassbox symbols --find TEXT")
        return _some(found, symbol)

    def at(self, text: str) -> NDArray[np.int64]:
        """The blocks that hold an address, or are of a symbol. Raises as `of_function` does."""
        try:
            address = parse_address(text)
        except BadNumber:
            return self.of_function(text)
        return _some(self.program.holding(address), text)


def _some(found: NDArray[np.int64], text: str) -> NDArray[np.int64]:
    if not len(found):
        raise TraceError(f"Nothing of {text[:_LONGEST]} ran meanwhile: watch for longer, or choose another place.")
    return found


@contextlib.contextmanager
def watched(options: argparse.Namespace, *, edges: bool) -> Iterator[Watched]:
    """Watch what the arguments name, or take what was recorded. `edges`: measure which block follows which, at several
    times the cost.

    Raises UsageError, NoSuchMachine, MachineError, KernelError, TraceError.
    """
    if options.recording is not None:
        if options.name is not None or options.dump is not None:
            raise UsageError("name a machine or a recording, not both")
        yield _recorded(options.recording)
        return
    if options.dump is not None:
        raise UsageError("nothing runs in a dump: name a machine, or a recording with --recording FILE")
    with kernel_source(options) as source, traced(source.name) as session:
        namer = KernelNamer(source.kernel, source.look())
        session.follow_tasks(namer.task_words(session.memory.vcpus))
        program, samples = watch_program(session, options.seconds, edges=edges)
        namer = KernelNamer(source.kernel, source.look())  # processes that came meanwhile are known, too
        weights = Weights.of(program, samples)
        naming = Naming(program, namer, weights.tasks)
        symbols = source.kernel.symbols

        def find(symbol: str) -> NDArray[np.int64] | None:
            address = symbols.find(symbol)
            if address is None:
                return None
            size = min(symbols.size_of(address), _LARGEST_FUNCTION)
            return program.within(address, size) if size else program.holding(address)

        yield Watched(source.name, program, weights, naming, options.seconds, find)


class _RecordedNamer:
    """Names as a recording has them, by where blocks begin."""

    def __init__(self, recording: Recording, program: Program) -> None:
        self._recording = recording
        self._numbers = {(program.physical_of(n), int(program.starts[n])): n for n in range(1, len(program))}

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        return self._recording.name_of(self._numbers.get((physical, address), 0))

    def process_of_task(self, task: int) -> str:
        return self._recording.process_of_task(task)


def _recorded(path: Path) -> Watched:
    """Raises BadRecording."""
    from bridge.trace.recorded import Recording  # loads Parquet's library, which takes a while

    recording = Recording.open(path)
    program = Program.from_recording(recording)
    weights = Weights.of(program, np.empty(0, layout()["sample"]))
    naming = Naming(program, _RecordedNamer(recording, program), weights.tasks)

    def find(symbol: str) -> NDArray[np.int64] | None:
        names = (recording.name_of(n)[0].partition(" + ")[0] for n in program.ran.tolist())
        found: NDArray[np.int64] = program.ran[np.fromiter((name == symbol for name in names), bool, len(program.ran))]
        return found

    return Watched(path.name, program, weights, naming, 0.0, find)
