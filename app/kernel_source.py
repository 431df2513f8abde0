"""What the kernel commands read from: a running machine or a dump, opened and introspected."""

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.failures import UsageError
from app.output import progress_printer
from bridge.kernel.frozen import look_while_held
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.snapshot import Introspector, SemanticSnapshot
from bridge.kernel.supplied_types import with_supplied_types
from bridge.kernel.symbol_cache import users_cache
from bridge.machine.discovery import control, discover, find_record, open_ram
from bridge.machine.errors import MachineError
from bridge.memory.dump import Dump
from bridge.memory.physical import HoldsRam, PhysicalReader

_STANDING = frozenset({"paused", "guest-panicked", "internal-error", "io-error", "shutdown", "watchdog", "debug"})
"""QEMU's run states in which nothing in the machine runs, and nothing is loaded into it."""


@dataclass(frozen=True, slots=True)
class KernelSource:
    """A kernel that was found, and where."""

    name: str
    kernel: Kernel
    still: bool = False
    """Whether nothing changes: a dump."""

    def introspector(self) -> Introspector:
        """Look into it. Raises MissingType where the kernel carries no types."""
        introspector = Introspector(self.kernel)
        introspector.stands = self.stands
        return introspector

    def stands(self) -> bool:
        """Whether nothing changes now: a dump, or a machine that somebody paused."""
        return self.still or _is_paused(self.name)

    def look(self, *, held: bool = False) -> SemanticSnapshot:
        """Look at all of it; `held`: while the machine stands still. Raises KernelError, MachineError."""
        introspector = self.introspector()
        if held and not self.still:
            return look_while_held(introspector, lambda: _held(self.name))
        return introspector.look(frozen=self.still)


def _is_paused(name: str) -> bool:
    try:
        with control(name) as client:
            status = client.qmp("query-status")
    except MachineError:
        return False  # it cannot be asked: nothing is claimed
    return not status["running"] and status["status"] in _STANDING


@contextlib.contextmanager
def _held(name: str) -> Iterator[None]:
    """Stop a running machine of any owner for the length of the body, and let it go on if it ran."""
    with control(name) as client:
        ran = client.qmp("query-status")["running"]
        if ran:
            client.qmp("stop")
        try:
            yield
        finally:
            if ran:
                client.qmp("cont")


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `NAME | --dump FILE` and `--json`."""
    parser.add_argument("name", nargs="?", help="the machine's name; not needed where only one runs")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="a RAM dump instead: raw, ELF core or LiME")
    parser.add_argument("--types", type=Path, metavar="FILE", help="an ISF or vmlinux, for kernels that carry no types")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def settle_source(options: argparse.Namespace) -> None:
    """See to it that a machine or a dump is named; the only machine that runs needs no name. Raises UsageError."""
    others = ""
    if options.name is None and options.dump is None:
        running = [record.name for record in discover()]
        if len(running) == 1:
            options.name = running[0]
        elif running:
            others = f"; there are: {', '.join(running)}"
    if (options.name is None) == (options.dump is None):
        raise UsageError(f"name a machine, or a dump with --dump FILE{others}")


@contextlib.contextmanager
def kernel_source(options: argparse.Namespace) -> Iterator[KernelSource]:
    """Open what the arguments name, and find its kernel.

    Raises UsageError, NoSuchMachine, GuestMemoryError, NoKernelFound.
    """
    settle_source(options)
    if options.dump is not None:
        dump = Dump.open(options.dump, progress=progress_printer())
        yield KernelSource(options.dump.name, _kernel(dump, options.types), still=True)
        dump.close()
        return
    ram = open_ram(find_record(options.name))
    try:
        yield KernelSource(options.name, _kernel(ram, options.types))
    finally:
        ram.close()


def process_number(text: str) -> int:
    """The number of a process or thread. Raises UsageError."""
    if not text.isdecimal() or len(text) > 10:
        raise UsageError(f"{text!r} is no process number")
    return int(text)


def _kernel(ram: HoldsRam, types: Path | None) -> Kernel:
    return with_supplied_types(find_kernel(PhysicalReader(ram), cache=users_cache()), types)
