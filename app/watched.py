"""Watched: what the commands of a trace work on — a program, its weights and names — from a machine that is watched for
a while."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.failures import UsageError
from app.kernel_source import add_source_arguments, kernel_source
from app.numbers import BadNumber, parse_address
from bridge.kernel.kernel import Kernel
from bridge.trace.errors import TraceError
from bridge.trace.hot import Naming, Weights
from bridge.trace.live import watch_program
from bridge.trace.naming import KernelNamer
from bridge.trace.program import Program
from bridge.trace.visit import traced

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
    add_source_arguments(parser)


@dataclass(frozen=True, slots=True)
class Watched:
    """What ran in a while."""

    name: str
    program: Program
    weights: Weights
    naming: Naming
    seconds: float
    kernel: Kernel

    def of_function(self, symbol: str) -> NDArray[np.int64]:
        """The blocks of a function that ran. Raises UsageError for no symbol, TraceError where none of them ran."""
        address = self.kernel.symbols.find(symbol)
        if address is None:
            raise UsageError(f"there is no symbol {symbol[:_LONGEST]!r}; see glassbox symbols --find TEXT")
        size = min(self.kernel.symbols.size_of(address), _LARGEST_FUNCTION)
        return _some(self.program.within(address, size) if size else self.program.holding(address), symbol)

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
    """Watch what the arguments name. `edges`: measure which block follows which, at several times the cost.

    Raises UsageError, NoSuchMachine, MachineError, KernelError, TraceError.
    """
    if options.dump is not None:
        raise UsageError("nothing runs in a dump: name a machine")
    with kernel_source(options) as source, traced(source.name) as session:
        namer = KernelNamer(source.kernel, source.look())
        session.follow_tasks(namer.task_words(session.memory.vcpus))
        program, samples = watch_program(session, options.seconds, edges=edges)
        namer = KernelNamer(source.kernel, source.look())  # processes that came meanwhile are known, too
        weights = Weights.of(program, samples)
        naming = Naming(program, namer, weights.tasks)
        yield Watched(source.name, program, weights, naming, options.seconds, source.kernel)
