"""`glassbox files`, `sockets`, `mounts`, `modules`, `slabs`, `log`, `stack`: a guest kernel's lists, from its RAM."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from app.failures import UsageError
from app.kernel_source import KernelSource, add_source_arguments, kernel_source, process_number
from app.output import format_bytes, format_table, print_json, print_text, printable
from bridge.kernel.details import Details

_LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
_EVERYTHING = 1 << 20
"""More records than the kernel's log can hold."""


def configure(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options."""
    if command == "files":
        parser.add_argument("pid", metavar="PID", help="process number")
    if command == "stack":
        parser.add_argument("tid", metavar="TID", help="thread number; a process's own is that of its first thread")
    if command == "mounts":
        parser.add_argument("--pid", metavar="PID", default="1", help="as this process sees it (default: 1)")
    if command == "log":
        parser.add_argument("--last", metavar="N", type=int, default=_EVERYTHING, help="only the last N records")
    add_source_arguments(parser)
    parser.set_defaults(command=command)


def run(options: argparse.Namespace) -> int:
    """Read and print. Returns 0; NoSuchMachine, UsageError, KernelError."""
    with kernel_source(options) as source:
        _COMMANDS[options.command](source, Details(source.introspector()), options)
    return 0


def _print(
    source: KernelSource,
    details: Details,
    options: argparse.Namespace,
    records: Sequence[Any],
    header: tuple[str, ...],
    row: Callable[[Any], tuple[str, ...]],
    *,
    right: frozenset[int] = frozenset(),
) -> None:
    """One JSON object with all that is known of each record, or a table of what a person looks for."""
    if options.json:
        rows = [asdict(record) for record in records]
        print_json({"source": source.name, "consistency": details.consistency, options.command: rows})
        return
    if not records:
        print_text(f"no {options.command}")
        return
    print_text(format_table(header, [row(record) for record in records], right=right))


def _files(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    _print(
        source,
        details,
        options,
        details.files(process_number(options.pid)),
        ("FD", "MODE", "KIND", "POSITION", "SIZE", "PATH"),
        lambda file: (
            str(file.descriptor),
            file.mode,
            file.kind,
            f"{file.position:,}",
            format_bytes(file.size_bytes) if file.kind == "file" else "-",
            printable(file.path),
        ),
        right=frozenset({0, 3, 4}),
    )


def _sockets(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    _print(
        source,
        details,
        options,
        details.sockets(),
        ("PID", "FD", "PROCESS", "FAMILY", "KIND", "PROTOCOL", "STATE", "LOCAL", "REMOTE"),
        lambda socket: (
            str(socket.pid),
            str(socket.descriptor),
            printable(socket.process),
            socket.family,
            socket.kind,
            socket.protocol,
            socket.state,
            printable(socket.local),
            printable(socket.remote),
        ),
        right=frozenset({0, 1}),
    )


def _mounts(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    _print(
        source,
        details,
        options,
        details.mounts(process_number(options.pid)),
        ("ID", "PARENT", "DEVICE", "TYPE", "SOURCE", "PATH", "OPTIONS"),
        lambda mount: (
            str(mount.mount_id),
            str(mount.parent_id),
            mount.device,
            printable(mount.file_system),
            printable(mount.source),
            printable(mount.path),
            mount.options,
        ),
        right=frozenset({0, 1}),
    )


def _modules(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    _print(
        source,
        details,
        options,
        details.modules(),
        ("NAME", "SIZE", "BASE", "STATE", "USES", "USED BY"),
        lambda module: (
            printable(module.name),
            format_bytes(module.size_bytes),
            f"{module.base:#x}",
            module.state,
            f"{module.references:,}",
            printable(", ".join(module.used_by)),
        ),
        right=frozenset({1, 4}),
    )


def _slabs(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    _print(
        source,
        details,
        options,
        details.slabs(),
        ("CACHE", "IN USE", "OBJECTS", "OBJECT SIZE", "SLABS", "ALSO KNOWN AS"),
        lambda cache: (
            printable(cache.name),
            f"{'' if cache.complete else 'up to '}{cache.active:,}",
            f"{cache.objects:,}",
            format_bytes(cache.object_bytes),
            f"{cache.slabs:,}",
            printable(", ".join(cache.aliases)),
        ),
        right=frozenset({1, 2, 3, 4}),
    )


def _log(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    if options.last < 1:
        raise UsageError("--last takes a number of records, at least 1")
    records = details.log(options.last)
    if options.json:
        rows = [asdict(record) for record in records]
        print_json({"source": source.name, "consistency": details.consistency, "log": rows})
        return
    for record in records:
        head = f"[{record.time_s:12.6f}] {_LEVELS[record.level & 7]:<6} "
        first, *rest = record.text.split("\n")
        print_text("\n".join([head + printable(first), *(" " * len(head) + printable(line) for line in rest)]))


def _stack(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    _print(
        source,
        details,
        options,
        details.stack(process_number(options.tid)),
        ("ADDRESS", "FUNCTION"),
        lambda frame: (f"{frame.address:016x}", printable(frame.symbol)),
    )


_COMMANDS: dict[str, Callable[[KernelSource, Details, argparse.Namespace], None]] = {
    "files": _files,
    "sockets": _sockets,
    "mounts": _mounts,
    "modules": _modules,
    "slabs": _slabs,
    "log": _log,
    "stack": _stack,
}
