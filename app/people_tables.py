"""The tables of the panels that are about one process: their columns, and how cells read."""

from __future__ import annotations

from app.output import format_bytes
from app.region_list import KIND_WORDS, UNKNOWN, kind_of
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import RecordTable
from bridge.kernel.records import MapEntry, OpenFile, StackFrame

Call = tuple[int, StackFrame]
"""A frame and which it is, the innermost being 0: one address may be on a stack twice."""


def memory_map_table() -> RecordTable[MapEntry]:
    """Make the table of regions: one a window."""
    columns: tuple[Column[MapEntry], ...] = (
        Column("Address", _start, lambda e: f"{e.start:#x}", width=29.0, mono=True, tip="Where it begins"),
        Column(
            "Access", _permissions, width=13.0, mono=True, tone="dim", tip="Read, write, execute; private or shared"
        ),
        Column("What", kind_of, lambda e: KIND_WORDS[kind_of(e)], width=19.0, tone="dim"),
        Column("Path", lambda e: e.path, tip="Whose content it is"),
        Column("Size", _size, lambda e: format_bytes(_size(e)), width=16.0, right=True, descends=True, exact=True),
        Column(
            "In memory",
            lambda e: e.resident_bytes,
            lambda e: "" if e.resident_bytes == UNKNOWN else format_bytes(e.resident_bytes),
            width=19.0,
            right=True,
            descends=True,
            exact=True,
            tip="How much of it is in RAM now",
            share=lambda e: max(e.resident_bytes, 0) / max(_size(e), 1),
        ),
    )
    return RecordTable("memory map", RecordModel(columns, _start, sort=0))


def _start(entry: MapEntry) -> int:
    return entry.start


def _size(entry: MapEntry) -> int:
    return entry.end - entry.start


def _permissions(entry: MapEntry) -> str:
    return entry.permissions


def files_table() -> RecordTable[OpenFile]:
    """Make the table of descriptors: one a window."""
    columns: tuple[Column[OpenFile], ...] = (
        Column("No", lambda f: f.descriptor, width=8.0, right=True, tone="dim", tip="File descriptor"),
        Column("Path", lambda f: f.path, tone=_path_tone),
        Column("Kind", lambda f: f.kind, lambda f: f.kind.capitalize(), width=27.0, tone="dim"),
        Column("Mode", lambda f: f.mode, width=12.0, mono=True, tone="dim", tip="r: read, w: write"),
        Column("Position", lambda f: f.position, width=17.0, right=True, tone="dim", tip="In bytes"),
        Column(
            "Size",
            lambda f: f.size_bytes,
            lambda f: format_bytes(f.size_bytes) if f.size_bytes else "",
            width=16.0,
            right=True,
            descends=True,
            exact=True,
        ),
        Column("Inode", lambda f: f.inode, lambda f: str(f.inode), width=15.0, right=True, tone="faint"),
    )
    return RecordTable("files", RecordModel(columns, lambda file: file.descriptor, sort=0))


def _path_tone(file: OpenFile) -> Tone:
    return "text" if file.path.startswith("/") else "dim"


def stack_table() -> RecordTable[Call]:
    """Make the table of calls: one a window."""
    columns: tuple[Column[Call], ...] = (
        Column("Call", lambda call: call[0], width=10.0, right=True, tone="faint", tip="The innermost is 0"),
        Column("Function", lambda call: call[1].symbol, lambda call: call[1].symbol or "?", mono=True),
        Column(
            "Returns to",
            lambda call: call[1].address,
            lambda call: f"{call[1].address:#x}",
            width=40.0,
            mono=True,
            tone="dim",
            tip="The instruction after the call",
        ),
    )
    return RecordTable("stack", RecordModel(columns, lambda call: call[0]))
