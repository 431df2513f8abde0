"""A session of Volatility 3 over one kernel: its layers and types once, then plugins, one at a time.

Everything that Volatility caches hangs on its context, and guests change under it: so a plugin runs in a process forked
from this one (see `worker`), which ends with it.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from volatility3 import framework
from volatility3.framework import contexts, exceptions, interfaces
from volatility3.framework.layers.intel import LinuxIntel32e
from volatility3.framework.renderers import Disassembly, LayerData, format_hints
from volatility3.framework.symbols.linux import LinuxKernelIntermedSymbols

from bridge.kernel.isf import banner, isf_document, linked_offset
from bridge.kernel.kernel import Kernel
from bridge.kernel.volatility_engine.layers import LinuxIntel57, RamLayer
from bridge.kernel.volatility_engine.plugins import NoSuchPlugin, checked, described, find_plugin, plugin_classes
from bridge.kernel.volatility_engine.records import Cell, Column, Columns, Finished, Job, Progress, Rows

framework.require_interface_version(2, 0, 0)

Emit = Callable[[object], None]

_BATCH_ROWS, _BATCH_S = 500, 0.1
_PROGRESS_S = 0.1
_MAX_TEXT = 8192
"""Characters of one cell: guest memory decides how long strings are."""
_MAX_NOTES = 20
_MAX_FILES = 10_000
# Parts of Volatility ask for the module by this name, whatever it is called.
_MODULE, _LAYER, _RAM = "kernel", "kernel_layer", "ram"


class _TimeUp(BaseException):
    """The job's time is over. Not an Exception: plugins swallow those."""


class _EnoughRows(BaseException):
    """The table is as long as it may be."""


class Session:
    """One kernel, ready for plugins. Raises BadTypes where it has no types, MissingSymbol, NotMapped."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        plugin_classes()  # loads what the kernel's types are given their behaviour by
        document = isf_document(kernel)
        # Plugins that look for hidden modules refuse tables of other makers than dwarf2json 0.8, which was the first to
        # give types to all symbols. Ours has them; this one never leaves the process.
        document["metadata"]["producer"] = {"name": "dwarf2json", "version": "0.9.0"}
        self._context = contexts.Context()
        self._context.add_layer(RamLayer(self._context, "layers.ram", _RAM, kernel.reader))
        offset = linked_offset(kernel)
        for key, value in {
            "memory_layer": _RAM,
            "page_map_offset": kernel.space.root,
            "kernel_virtual_offset": offset,
            "kernel_banner": banner(kernel).decode("latin-1"),
        }.items():
            self._context.config[f"layers.kernel.{key}"] = value
        layer_class = LinuxIntel57 if kernel.levels == 5 else LinuxIntel32e
        layer = layer_class(self._context, "layers.kernel", _LAYER, {"os": "Linux"})
        self._context.add_layer(layer)
        # Where the table's reader looks for it, which does not get it from the arguments.
        self._context.config["symbols.kernel.symbol_mask"] = layer.address_mask
        with _in_memory(json.dumps(document, separators=(",", ":")).encode()) as url:
            table = LinuxKernelIntermedSymbols(
                self._context,
                "symbols.kernel",
                _MODULE,
                url,
                validate=False,  # we have just made it
                symbol_mask=layer.address_mask,
            )
        self._context.symbol_space.append(table)
        self._context.module(_MODULE, _LAYER, offset, native_layer_name=_LAYER)

    def run(self, job: Job, emit: Emit) -> None:
        """Run a plugin, and tell of it: Progress, Columns, Rows, at last Finished. Once in this session: what it reads
        is cached in it.
        """
        started = time.monotonic()
        notes = _Notes()
        files: list[str] = []
        problem, truncated = "", False
        table = _Table(job, emit)
        logging.getLogger("volatility3").addHandler(notes)
        try:
            with _time_limit(job.time_limit_s):
                self._construct(job, emit, files).run().populate(table.add)
        except _TimeUp:
            problem, truncated = f"It was ended after {job.time_limit_s:.0f} s, its time limit.", True
        except _EnoughRows:
            problem, truncated = f"Only the first {job.row_limit:,} rows are shown.", True
        except (NoSuchPlugin, _NoFolder) as error:
            problem, truncated = str(error), table.n_rows > 0
        except exceptions.InvalidAddressException as error:
            problem, truncated = f"Memory that it needs is not there: {error}", True
        except MemoryError:
            problem, truncated = "It needed more memory than it may have.", True
        except Exception as error:  # noqa: BLE001 - plugins are others' code over guests' data
            problem, truncated = f"{job.plugin} failed ({type(error).__name__}: {str(error)[:400]}).", True
        finally:
            logging.getLogger("volatility3").removeHandler(notes)
        table.flush()
        took_s = time.monotonic() - started
        emit(Finished(job.number, problem, truncated, tuple(notes.texts), tuple(files), took_s))

    def _construct(self, job: Job, emit: Emit, files: list[str]) -> _Populated:
        name, kind = find_plugin(job.plugin)
        values = checked(described(name), job.options)
        path = f"plugins.{kind.__name__}"
        for requirement in kind.get_requirements():
            if isinstance(requirement, framework.configuration.requirements.ModuleRequirement):
                self._context.config[f"{path}.{requirement.name}"] = _MODULE
            elif isinstance(requirement, framework.configuration.requirements.TranslationLayerRequirement):
                self._context.config[f"{path}.{requirement.name}"] = _LAYER
        for option, value in values.items():
            self._context.config[f"{path}.{option}"] = value
        missing = kind.unsatisfied(self._context, path)
        if missing:
            raise NoSuchPlugin(f"{name} needs what is not here: {', '.join(sorted(map(str, missing)))}.")
        plugin = kind(self._context, path, progress_callback=_progress(job, emit))
        plugin.set_open_method(_file_handler(job.folder, files))
        return _Populated(plugin, job, emit)


class _Populated:
    """A constructed plugin, whose table's head is told before its rows."""

    def __init__(self, plugin: Any, job: Job, emit: Emit) -> None:
        self._plugin, self._job, self._emit = plugin, job, emit

    def run(self) -> Any:
        grid = self._plugin.run()
        columns = tuple(Column(column.name, _kind(column.type)) for column in grid.columns)
        self._emit(Columns(self._job.number, columns))
        return grid


class _Table:
    """Gathers rows and sends them on in batches."""

    def __init__(self, job: Job, emit: Emit) -> None:
        self._job, self._emit = job, emit
        self._depths: list[int] = []
        self._rows: list[tuple[Cell, ...]] = []
        self._due_s = 0.0
        self.n_rows = 0

    def add(self, node: Any, _accumulator: Any) -> None:
        """A visitor of TreeGrid.populate. Raises _EnoughRows."""
        if self.n_rows >= self._job.row_limit:
            raise _EnoughRows
        self.n_rows += 1
        self._depths.append(max(node.path_depth - 1, 0))
        self._rows.append(tuple(map(_cell, node.values)))
        if len(self._rows) >= _BATCH_ROWS or time.monotonic() >= self._due_s:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._rows:
            self._emit(Rows(self._job.number, tuple(self._depths), tuple(self._rows)))
        self._depths, self._rows, self._due_s = [], [], time.monotonic() + _BATCH_S


def _kind(column_type: type[Any]) -> str:
    kinds: tuple[tuple[type[Any], str], ...] = (
        (format_hints.Hex, "hex"),
        (format_hints.Bin, "int"),
        (format_hints.MultiTypeData, "text"),
        (Disassembly, "code"),
        (LayerData, "bytes"),
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (bytes, "bytes"),
        (datetime.datetime, "time"),
    )
    return next((word for known, word in kinds if issubclass(column_type, known)), "text")


def _cell(value: Any) -> Cell:
    if isinstance(value, interfaces.renderers.BaseAbsentValue):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return _text(value)[:_MAX_TEXT]


def _text(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        known = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return known.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, format_hints.MultiTypeData):
        return bytes(value).decode(value.encoding, "replace").partition("\0")[0]
    if isinstance(value, Disassembly):
        return _disassembled(value)
    if isinstance(value, LayerData):
        length = min(value.length, _MAX_TEXT // 3)
        data: bytes = value.context.layers[value.layer_name].read(value.offset, length, pad=True)
        return data.hex(" ")
    if isinstance(value, bytes):
        return value[: _MAX_TEXT // 3].hex(" ")
    return str(value)


def _disassembled(value: Disassembly) -> str:
    from bridge.trace.x86_engine import engine  # few answers have code

    lines = engine(64).disasm_lite(value.data[:512], value.offset)
    return "; ".join(f"{mnemonic} {operands}".strip() for _, _, mnemonic, operands in lines)


def _progress(job: Job, emit: Emit) -> Callable[[float, str | None], None]:
    due_s = 0.0

    def report(percent: float, step: str | None = None) -> None:
        nonlocal due_s
        if (now_s := time.monotonic()) >= due_s:
            due_s = now_s + _PROGRESS_S
            emit(Progress(job.number, (step or "")[:200], min(max(percent / 100, 0.0), 1.0)))

    return report


class _Notes(logging.Handler):
    """Keeps what plugins warn of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first few, each once."""
        text = record.getMessage()[:500]
        if len(self.texts) < _MAX_NOTES and text not in self.texts:
            self.texts.append(text)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def end(_signal: int, _frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """The URL of a file that has no name, and is gone afterwards."""
    handle = os.memfd_create("isf")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        yield f"file:///proc/self/fd/{handle}"
    finally:
        os.close(handle)


class _NoFolder(Exception):
    """A plugin wants to write files, and has no folder for them."""


def _file_handler(folder: Path | None, files: list[str]) -> type[Any]:
    """The class whose objects plugins write to. Names come from guests: they are made harmless, and no file that is
    there already is written over.
    """

    class Handler(io.BytesIO, interfaces.plugins.FileHandlerInterface):  # type: ignore[misc]
        is_open = False

        def __init__(self, filename: str) -> None:
            if folder is None:
                raise _NoFolder("It writes files, and has no folder for them: `glassbox vol` takes --output FOLDER.")
            if len(files) >= _MAX_FILES:
                raise _NoFolder(f"It wrote {_MAX_FILES:,} files; no more are taken.")
            io.BytesIO.__init__(self)
            interfaces.plugins.FileHandlerInterface.__init__(self, filename)
            self.is_open = True

        def close(self) -> None:
            if self.closed or folder is None or not self.is_open:  # also what was refused is closed when it is freed
                io.BytesIO.close(self)
                return
            stem = self.sanitize_filename(self.preferred_filename).lstrip(".")[:180] or "file"
            for count in range(_MAX_FILES):
                name = stem if not count else f"{stem}-{count}"
                try:
                    with (folder / name).open("xb") as file:
                        file.write(self.getbuffer())
                except FileExistsError:
                    continue
                files.append(name)
                break
            io.BytesIO.close(self)

    return Handler
