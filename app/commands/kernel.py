"""`glassbox ps`, `maps`, `pages`, `symbols`, `where`: what a guest's kernel says, read from its RAM alone."""

import argparse
from collections.abc import Callable
from dataclasses import asdict

from app.failures import CommandFailed
from app.isf_export import add_isf_argument, export_isf
from app.kernel_source import KernelSource, add_source_arguments, kernel_source, process_number
from app.numbers import parse_address
from app.output import format_byte_count, format_bytes, format_table, print_json, print_text, printable
from app.symbol_cache import clear_symbol_cache
from bridge.kernel.details import Details
from bridge.kernel.where import Story, paddr_of
from bridge.semantic.documents import process_documents, story_document


def configure(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options."""
    if command == "maps":
        parser.add_argument("pid", metavar="PID", help="process number")
    if command == "where":
        parser.add_argument("address", metavar="ADDRESS", help="guest-physical address, or virtual with --pid")
        parser.add_argument(
            "--pid", metavar="PID", help="the address is a virtual one of this process; 0: the kernel's"
        )
    if command == "symbols":
        parser.add_argument("--find", metavar="TEXT", default="", help="only those whose name holds TEXT")
        add_isf_argument(parser)
        parser.add_argument(
            "--clear-cache", action="store_true", help="forget what was decoded of kernels before; needs no machine"
        )
    if command == "ps":
        parser.add_argument("--threads", action="store_true", help="every thread, not only processes")
    add_source_arguments(parser)
    parser.set_defaults(command=command)


def run(options: argparse.Namespace) -> int:
    """Read and print. Returns 0; NoSuchMachine, UsageError, KernelError."""
    if options.command == "symbols" and options.clear_cache:
        clear_symbol_cache(options)
        return 0
    with kernel_source(options) as source:
        _COMMANDS[options.command](source, options)
    return 0


def _ps(source: KernelSource, options: argparse.Namespace) -> None:
    introspector, stood = source.introspector(), source.stands()
    tasks = introspector.tasks.threads() if options.threads else introspector.tasks.processes()
    lines = {int(pid): introspector.tasks.command_line(tasks, i) for i, pid in enumerate(tasks.pids)}
    rows = process_documents(tasks, lines)
    if options.json:
        consistency = "frozen" if stood and source.stands() else tasks.consistency
        print_json({"source": source.name, "consistency": consistency, "processes": rows})
        return
    table = [
        (
            str(row["pid"]),
            str(row["ppid"]),
            str(row["uid"]),
            str(row["state"]),
            format_bytes(float(str(row["rss_bytes"]))) if row["rss_bytes"] else "-",
            f"{row['task']:#x}",
            printable(str(row["cmdline"]) or f"[{row['name']}]"),
        )
        for row in rows
    ]
    print_text(
        format_table(("PID", "PPID", "UID", "S", "RSS", "TASK", "COMMAND"), table, right=frozenset({0, 1, 2, 4}))
    )


def _maps(source: KernelSource, options: argparse.Namespace) -> None:
    pid = process_number(options.pid)
    details = Details(source.introspector())
    entries = details.maps(pid)
    if not entries:
        raise CommandFailed(f"process {pid} has no memory map: it is a thread of the kernel, or it has ended")
    if options.json:
        rows = [asdict(entry) for entry in entries]
        print_json({"source": source.name, "consistency": details.consistency, "pid": pid, "maps": rows})
        return
    table = [
        (
            f"{entry.start:012x}-{entry.end:012x}",
            entry.permissions,
            format_bytes(entry.end - entry.start),
            format_bytes(entry.resident_bytes) if entry.resident_bytes else "-",
            f"{entry.file_offset:#x}" if entry.file_offset else "",
            printable(entry.path),
        )
        for entry in entries
    ]
    header = ("RANGE", "PERM", "SIZE", "RESIDENT", "FILE OFFSET", "PATH")
    print_text(format_table(header, table, right=frozenset({2, 3, 4})))


def _symbols(source: KernelSource, options: argparse.Namespace) -> None:
    if options.isf is not None:
        export_isf(source, options.isf, as_json=options.json)
        return
    symbols = source.kernel.symbols.symbols
    chosen = [i for i, name in enumerate(symbols.names) if options.find in name]
    if options.json:
        document = {
            "source": source.name,
            "release": source.kernel.release,
            "build_id": source.kernel.build_id,
            "kernel_offset": source.kernel.kernel_offset,
            "types": 0 if source.kernel.types is None else len(source.kernel.types),
            "symbols": [
                {"address": int(symbols.addresses[i]), "type": chr(symbols.types[i]), "name": symbols.names[i]}
                for i in chosen
            ],
        }
        print_json(document)
        return
    addresses, types = symbols.addresses.tolist(), symbols.types.tolist()
    print_text("\n".join(f"{addresses[i]:016x} {chr(types[i])} {symbols.names[i]}" for i in chosen))


def _where(source: KernelSource, options: argparse.Namespace) -> None:
    address = parse_address(options.address)
    introspector = source.introspector()
    snapshot = introspector.look(frozen=source.still)
    if options.pid is not None:
        pid = process_number(options.pid)
        address = paddr_of(source.kernel, snapshot, address, pid or None)
    story = Details(introspector).story(snapshot, address)
    if options.json:
        print_json({"source": source.name, **story_document(story)})
        return
    lines = [("Physical", f"{story.paddr:#x}"), ("RAM offset", f"{story.offset:#x}"), ("Page", story.page_class)]
    if story.kernel_vaddr is not None:
        lines.append(("Kernel", f"{story.kernel_vaddr:#x}"))
    if story.symbol is not None:
        lines.append(("Symbol", str(story.symbol)))
    lines += _whose(story)
    if story.n_mappings:
        lines.append(("Part", story.part))
    for mapping in story.mappings:
        place = f"{mapping.vaddr:#x}"
        if mapping.vma_end:
            place += f" in {mapping.vma_start:#x}-{mapping.vma_end:#x}"
        lines.append(("Mapped by", f"{printable(mapping.name)} ({mapping.pid}) at {place}"))
    if story.n_mappings > len(story.mappings):
        lines.append(("", f"and {story.n_mappings - len(story.mappings):,} more"))
    print_text("\n".join(f"{label:<11} {text}" for label, text in lines))


def _whose(story: Story) -> list[tuple[str, str]]:
    """What the page belongs to, beyond its class."""
    lines = []
    if story.slab_object is not None:
        held = story.slab_object
        state = "in use" if held.allocated else "free"
        place = f"{held.address:#x} + {(story.kernel_vaddr or held.address) - held.address:#x}"
        lines.append(("Object", f"{printable(held.cache)} {place}, {format_byte_count(held.size_bytes)}, {state}"))
    elif story.cache:
        lines.append(("Slab cache", printable(story.cache)))
    if story.file_path:
        lines.append(("File", f"{printable(story.file_path)} + {story.file_offset or 0:#x}"))
    if story.stack_task is not None:
        lines.append(("Stack of", f"{printable(story.stack_task[1])} ({story.stack_task[0]})"))
    if story.module:
        lines.append(("Module", printable(story.module)))
    if story.table_owner is not None:
        owner = f"{printable(story.table_owner[1])} ({story.table_owner[0]})"
        lines.append(("Table of", f"{owner}, level {story.table_level}"))
    if story.order is not None:
        lines.append(("Free block", f"{1 << story.order:,} page{'s' if story.order else ''}"))
    return lines


_COMMANDS: dict[str, Callable[[KernelSource, argparse.Namespace], None]] = {
    "ps": _ps,
    "maps": _maps,
    "symbols": _symbols,
    "where": _where,
}
