"""`glassbox files`, `sockets`, `mounts`, `modules`, `slabs`, `log`, `stack`: a guest kernel's lists, from its RAM."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
        details = Details(source.introspector())
        if options.command == "log":
            _log(source, details, options)
        else:
            _list(source, details, options)
    return 0


@dataclass(frozen=True, slots=True)
class _Column:
    """Of a table for people. Cells hold nothing that a terminal would act on."""

    title: str
    cell: Callable[[Any], str]
    right: bool = False


@dataclass(frozen=True, slots=True)
class _List:
    """Where the records of a list are from, and what a person looks for in one."""

    records: Callable[[Details, argparse.Namespace], Sequence[Any]]
    columns: tuple[_Column, ...]


def _number(title: str, cell: Callable[[Any], str]) -> _Column:
    return _Column(title, cell, right=True)


_LISTS: Mapping[str, _List] = {
    "files": _List(
        lambda details, options: details.files(process_number(options.pid)),
        (
            _number("FD", lambda file: str(file.descriptor)),
            _Column("MODE", lambda file: file.mode),
            _Column("KIND", lambda file: file.kind),
            _number("POSITION", lambda file: f"{file.position:,}"),
            _number("SIZE", lambda file: format_bytes(file.size_bytes) if file.kind == "file" else "-"),
            _Column("PATH", lambda file: printable(file.path)),
        ),
    ),
    "sockets": _List(
        lambda details, _options: details.sockets(),
        (
            _number("PID", lambda socket: str(socket.pid)),
            _number("FD", lambda socket: str(socket.descriptor)),
            _Column("PROCESS", lambda socket: printable(socket.process)),
            _Column("FAMILY", lambda socket: socket.family),
            _Column("KIND", lambda socket: socket.kind),
            _Column("PROTOCOL", lambda socket: socket.protocol),
            _Column("STATE", lambda socket: socket.state),
            _Column("LOCAL", lambda socket: printable(socket.local)),
            _Column("REMOTE", lambda socket: printable(socket.remote)),
        ),
    ),
    "mounts": _List(
        lambda details, options: details.mounts(process_number(options.pid)),
        (
            _number("ID", lambda mount: str(mount.mount_id)),
            _number("PARENT", lambda mount: str(mount.parent_id)),
            _Column("DEVICE", lambda mount: mount.device),
            _Column("TYPE", lambda mount: printable(mount.file_system)),
            _Column("SOURCE", lambda mount: printable(mount.source)),
            _Column("PATH", lambda mount: printable(mount.path)),
            _Column("OPTIONS", lambda mount: mount.options),
        ),
    ),
    "modules": _List(
        lambda details, _options: details.modules(),
        (
            _Column("NAME", lambda module: printable(module.name)),
            _number("SIZE", lambda module: format_bytes(module.size_bytes)),
            _Column("BASE", lambda module: f"{module.base:#x}"),
            _Column("STATE", lambda module: module.state),
            _number("USES", lambda module: f"{module.references:,}"),
            _Column("USED BY", lambda module: printable(", ".join(module.used_by))),
        ),
    ),
    "slabs": _List(
        lambda details, _options: details.slabs(),
        (
            _Column("CACHE", lambda cache: printable(cache.name)),
            _number("IN USE", lambda cache: f"{'' if cache.complete else 'up to '}{cache.active:,}"),
            _number("OBJECTS", lambda cache: f"{cache.objects:,}"),
            _number("OBJECT SIZE", lambda cache: format_bytes(cache.object_bytes)),
            _number("SLABS", lambda cache: f"{cache.slabs:,}"),
            _Column("ALSO KNOWN AS", lambda cache: printable(", ".join(cache.aliases))),
        ),
    ),
    "stack": _List(
        lambda details, options: details.stack(process_number(options.tid)),
        (
            _Column("ADDRESS", lambda frame: f"{frame.address:016x}"),
            _Column("FUNCTION", lambda frame: printable(frame.symbol)),
        ),
    ),
}


def _list(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    """One JSON object with all that is known of each record, or a table of what a person looks for."""
    found = _LISTS[options.command]
    records = found.records(details, options)
    if options.json:
        _print_records(source, details, options, records)
    elif not records:
        print_text(f"no {options.command}")
    else:
        rows = [tuple(column.cell(record) for column in found.columns) for record in records]
        right = frozenset(at for at, column in enumerate(found.columns) if column.right)
        print_text(format_table(tuple(column.title for column in found.columns), rows, right=right))


def _print_records(source: KernelSource, details: Details, options: argparse.Namespace, records: Sequence[Any]) -> None:
    rows = [asdict(record) for record in records]
    print_json({"source": source.name, "consistency": details.consistency, options.command: rows})


def _log(source: KernelSource, details: Details, options: argparse.Namespace) -> None:
    if options.last < 1:
        raise UsageError("--last takes a number of records, at least 1")
    records = details.log(options.last)
    if options.json:
        _print_records(source, details, options, records)
        return
    for record in records:
        head = f"[{record.time_s:12.6f}] {_LEVELS[record.level & 7]:<6} "
        first, *rest = record.text.split("\n")
        print_text("\n".join([head + printable(first), *(" " * len(head) + printable(line) for line in rest)]))
