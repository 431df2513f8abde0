"""`glassbox ps`, `maps`, `pages`, `symbols`, `where`: what a guest's kernel says, read from its RAM alone."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from app.failures import CommandFailed, UsageError
from app.isf_export import add_isf_argument, export_isf
from app.kernel_source import KernelSource, add_source_arguments, kernel_source
from app.numbers import parse_address
from app.output import format_bytes, format_table, print_json, print_text
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.where import paddr_of, tell


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
    if command == "ps":
        parser.add_argument("--threads", action="store_true", help="every thread, not only processes")
    add_source_arguments(parser)
    parser.set_defaults(command=command)


def run(options: argparse.Namespace) -> int:
    """Read and print. Returns 0; NoSuchMachine, UsageError, KernelError."""
    with kernel_source(options) as source:
        _COMMANDS[options.command](source, options)
    return 0


def _ps(source: KernelSource, options: argparse.Namespace) -> None:
    introspector = source.introspector()
    tasks = introspector.tasks.threads() if options.threads else introspector.tasks.processes()
    rows = [
        {
            "pid": int(tasks.pids[i]),
            "tgid": int(tasks.tgids[i]),
            "ppid": int(tasks.ppids[i]),
            "name": tasks.names[i],
            "state": tasks.states[i],
            "uid": int(tasks.uids[i]),
            "cr3": int(tasks.roots[i]),
            "rss_bytes": int(tasks.rss_bytes[i]),
            "task": int(tasks.addresses[i]),
            "cmdline": introspector.tasks.command_line(tasks, i),
        }
        for i in range(len(tasks))
    ]
    if options.json:
        print_json({"source": source.name, "consistency": tasks.consistency, "processes": rows})
        return
    table = [
        (
            str(row["pid"]),
            str(row["ppid"]),
            str(row["uid"]),
            str(row["state"]),
            format_bytes(float(str(row["rss_bytes"]))) if row["rss_bytes"] else "-",
            f"{row['task']:#x}",
            _printable(str(row["cmdline"]) or f"[{row['name']}]"),
        )
        for row in rows
    ]
    print_text(
        format_table(("PID", "PPID", "UID", "S", "RSS", "TASK", "COMMAND"), table, right=frozenset({0, 1, 2, 4}))
    )


def _maps(source: KernelSource, options: argparse.Namespace) -> None:
    introspector = source.introspector()
    tasks = introspector.tasks.processes()
    index = _process_index(tasks.pids, options.pid)
    if not int(tasks.mms[index]):
        raise CommandFailed(f"process {options.pid} is a thread of the kernel and has no memory map")
    vmas = introspector.maps.vmas(tasks.mms[index : index + 1])
    rows = []
    for i in range(len(vmas)):
        flags = int(vmas.flags[i])
        letters = "".join(c if flags & bit else "-" for c, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC)))
        rows.append(
            {
                "start": int(vmas.starts[i]),
                "end": int(vmas.ends[i]),
                "permissions": letters + ("s" if flags & VM_SHARED else "p"),
                "file_offset": int(vmas.page_offsets[i]) << 12 if vmas.files[i] else 0,
                "file": int(vmas.files[i]),
            }
        )
    if options.json:
        print_json({"source": source.name, "pid": int(options.pid), "complete": vmas.complete, "maps": rows})
        return
    table = [
        (
            f"{row['start']:012x}-{row['end']:012x}",
            str(row["permissions"]),
            format_bytes(float(int(str(row["end"])) - int(str(row["start"])))),
            f"{row['file_offset']:#x}" if row["file"] else "",
        )
        for row in rows
    ]
    print_text(format_table(("RANGE", "PERM", "SIZE", "FILE OFFSET"), table, right=frozenset({2, 3})))


def _pages(source: KernelSource, options: argparse.Namespace) -> None:
    snapshot = source.introspector().look()
    counts = np.bincount(snapshot.page_map.classes, minlength=len(PageClass))
    total = len(snapshot.page_map.classes)
    if options.json:
        classes = {kind.name.lower(): int(counts[kind]) for kind in PageClass}
        document = {"source": source.name, "pages": total, "definite": snapshot.page_map.definite, "classes": classes}
        print_json(document)
        return
    order = sorted((kind for kind in PageClass if counts[kind]), key=lambda kind: -int(counts[kind]))
    table = [
        (
            CLASS_TITLES[kind],
            f"{counts[kind]:,}",
            format_bytes(4096.0 * int(counts[kind])),
            f"{counts[kind] / total:.1%}",
        )
        for kind in order
    ]
    print_text(format_table(("CLASS", "PAGES", "SIZE", "SHARE"), table, right=frozenset({1, 2, 3})))
    print_text(f"{snapshot.page_map.definite:.1%} of {total:,} pages are known for certain")


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
    snapshot = source.introspector().look()
    if options.pid is not None:
        pid = _pid(options.pid)
        address = paddr_of(source.kernel, snapshot, address, pid or None)
    story = tell(source.kernel, snapshot, address)
    if options.json:
        document = asdict(story)
        document["symbol"] = None if story.symbol is None else str(story.symbol)
        print_json({"source": source.name, **document})
        return
    lines = [("Physical", f"{story.paddr:#x}"), ("RAM offset", f"{story.offset:#x}"), ("Page", story.page_class)]
    if story.kernel_vaddr is not None:
        lines.append(("Kernel", f"{story.kernel_vaddr:#x}"))
    if story.symbol is not None:
        lines.append(("Symbol", str(story.symbol)))
    if story.n_mappings:
        lines.append(("Part", story.part))
    for mapping in story.mappings:
        place = f"{mapping.vaddr:#x}"
        if mapping.vma_end:
            place += f" in {mapping.vma_start:#x}-{mapping.vma_end:#x}"
        lines.append(("Mapped by", f"{_printable(mapping.name)} ({mapping.pid}) at {place}"))
    if story.n_mappings > len(story.mappings):
        lines.append(("", f"and {story.n_mappings - len(story.mappings):,} more"))
    print_text("\n".join(f"{label:<11} {text}" for label, text in lines))


def _process_index(pids: np.ndarray, text: str) -> int:
    found = np.flatnonzero(pids == _pid(text))
    if not len(found):
        raise CommandFailed(f"there is no process {text}; `glassbox ps` lists them")
    return int(found[0])


def _pid(text: str) -> int:
    if not text.isdecimal() or len(text) > 10:
        raise UsageError(f"{text!r} is no process number")
    return int(text)


def _printable(text: str) -> str:
    """Guest text on one line, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


_COMMANDS: dict[str, Callable[[KernelSource, argparse.Namespace], None]] = {
    "ps": _ps,
    "maps": _maps,
    "pages": _pages,
    "symbols": _symbols,
    "where": _where,
}
