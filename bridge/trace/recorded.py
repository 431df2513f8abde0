"""Recorded: a recording's files, checked and read back piece by piece, whoever wrote them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bridge.trace.errors import BadRecording
from bridge.trace.layout import layout
from bridge.trace.record_columns import BLOCK, INSN, KINDS, LOAD, STORE
from bridge.trace.recording_file import BLOCKS_SCHEMA, FORMAT, METADATA_KEY, REGISTERS_FIELD, SCHEMA, blocks_path

NONE = (1 << 64) - 1
"""An address that is null."""
_MOST_METADATA = 16 << 20
_MOST_COLUMNS = 64
_MOST_GROUP_ROWS = 1 << 24
_MOST_GROUP_BYTES = 1 << 31
_MOST_BLOCKS = 1 << 22
_MOST_BLOCK_BYTES = 1 << 29
_MOST_RAM_RANGES = 64
_MOST_PAGES = 1 << 24
_PAGE_SHIFT = 12
_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, RuntimeError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Heat:
    """What happened in each page of RAM, (pages,) each, by the RAM file's offset."""

    executed: NDArray[np.int64]
    """Instructions that were recorded or, where none were, entries of blocks."""
    loads: NDArray[np.int64]
    stores: NDArray[np.int64]
    elsewhere: int
    """Records of what lies outside of RAM: devices."""


class Recording:
    """Both files of a recording. Nothing of the rows is kept in memory."""

    metadata: Mapping[str, Any]
    blocks: NDArray[Any]
    """(n,) of `block`, by number; zeros where a number's block was not entered. Entry 0 is none."""
    entered: NDArray[np.int64]
    """(n,): how often each was, while it was recorded."""

    def __init__(self, path: Path) -> None:
        """Raises BadRecording."""
        self.path = path
        with _judged(path):
            self._file = _opened(path)
            self._check_rows()
            self.metadata = _metadata_of(self._file, path)
            self.rows = int(self._file.metadata.num_rows)
            self.row_groups = int(self._file.metadata.num_row_groups)
        beside = blocks_path(path)
        if not beside.exists():
            raise BadRecording(f"{path} has no {beside.name} beside it, which names its blocks.")
        with _judged(beside):
            self._take_blocks(_opened(beside), beside)

    @classmethod
    def open(cls, path: Path) -> Recording:
        """The recording in x.parquet and x.blocks.parquet. Raises BadRecording."""
        return cls(path)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that `batches` can tell."""
        return tuple(self._file.schema_arrow.names)

    @property
    def pages(self) -> int:
        """4 KiB pages of the machine's RAM."""
        return int(self.metadata["pages"])

    def code_of(self, number: int) -> bytes:
        """The bytes of a block; none where it was not entered."""
        return bytes(self._codes.get(number, b""))

    def name_of(self, number: int) -> tuple[str, str]:
        """Symbol and process of a block, empty where not known."""
        symbol, process = self._names.get(number, ("", ""))
        return str(symbol), str(process)

    def process_of_task(self, task: int) -> str:
        """By what `value` says in the row of a block; empty where not known."""
        return str(self.metadata.get("tasks", {}).get(f"{task:#x}", ""))

    def batches(self, columns: Sequence[str], most_rows: int = 1 << 18) -> Iterator[dict[str, NDArray[Any]]]:
        """The rows in pieces, these columns of them. `kind` as the numbers of KINDS; addresses that are null are NONE,
        values that are null 0; `bytes` and `registers` as arrays of objects. Raises BadRecording.
        """
        unknown = sorted(set(columns) - set(self._file.schema_arrow.names))
        if unknown:
            raise BadRecording(f"{self.path} has no column {unknown[0]!r}.")
        with _judged(self.path):
            for batch in self._file.iter_batches(most_rows, columns=list(columns), use_threads=False):
                yield {name: _numpy(name, batch.column(name)) for name in columns}

    def heat(self) -> Heat:
        """What was executed, read and written, by page. Raises BadRecording."""
        heat = {kind: np.zeros(self.pages, np.int64) for kind in (BLOCK, INSN, LOAD, STORE)}
        outside = 0
        ranges = [(int(physical), int(size), int(offset)) for physical, size, offset in self.metadata["ram"]]
        for batch in self.batches(("kind", "paddr")):
            kinds, paddrs = batch["kind"], batch["paddr"]
            offsets = np.full(len(paddrs), NONE, np.uint64)
            for physical, size, offset in ranges:
                inside = (paddrs >= np.uint64(physical)) & (paddrs - np.uint64(physical) < np.uint64(size))
                offsets[inside] = paddrs[inside] - np.uint64(physical) + np.uint64(offset)
            pages = offsets >> np.uint64(_PAGE_SHIFT)
            inside = pages < self.pages
            for kind, counts in heat.items():
                counts += np.bincount(pages[inside & (kinds == kind)].astype(np.int64), minlength=self.pages)
            outside += int((~inside & (paddrs != np.uint64(NONE))).sum())
        executed = heat[INSN] if heat[INSN].any() else heat[BLOCK]
        return Heat(executed, heat[LOAD], heat[STORE], outside)

    def _check_rows(self) -> None:
        for field in SCHEMA:
            _check_type(self.path, self._file.schema_arrow, field)
        if "registers" in self._file.schema_arrow.names:
            _check_type(self.path, self._file.schema_arrow, REGISTERS_FIELD)
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            if not 0 <= group.num_rows <= _MOST_GROUP_ROWS or not 0 <= group.total_byte_size <= _MOST_GROUP_BYTES:
                raise BadRecording(f"{self.path} has a row group of {group.num_rows:,} rows: that is no recording's.")

    def _take_blocks(self, file: pq.ParquetFile, path: Path) -> None:
        told = file.metadata
        sizes = [told.row_group(number).total_byte_size for number in range(told.num_row_groups)]
        if told.num_rows > _MOST_BLOCKS or min(sizes, default=0) < 0 or sum(sizes) > _MOST_BLOCK_BYTES:
            raise BadRecording(f"{path} tells of {told.num_rows:,} blocks in {sum(sizes):,} bytes: too much.")
        for field in BLOCKS_SCHEMA:
            _check_type(path, file.schema_arrow, field)
        table = file.read(use_threads=False)
        numbers = table["block"].to_numpy().astype(np.int64)
        if len(numbers) and not 0 < int(numbers.min()) <= int(numbers.max()) < _MOST_BLOCKS:
            raise BadRecording(f"{path} numbers blocks from {numbers.min()} to {numbers.max()}: that cannot be.")
        if len(np.unique(numbers)) != len(numbers):
            raise BadRecording(f"{path} tells of one block twice.")
        codes = table["bytes"].to_pylist()
        self.blocks = np.zeros(int(numbers.max(initial=0)) + 1, layout()["block"])
        self.blocks["virtual_first"][numbers] = table["pc"].to_numpy()
        self.blocks["physical"][numbers] = _numpy("paddr", table["paddr"].combine_chunks())
        self.blocks["bytes"][numbers] = [len(code) for code in codes]
        self.blocks["instructions"][numbers] = table["instructions"].to_numpy()
        self.entered = np.zeros(len(self.blocks), np.int64)
        entered = table["entered"].to_numpy()
        self.entered[numbers] = np.minimum(entered, np.uint64(1 << 62)).astype(np.int64)
        self._codes = dict(zip(numbers.tolist(), codes, strict=True))
        names = zip(table["symbol"].to_pylist(), table["process"].to_pylist(), strict=True)
        self._names = dict(zip(numbers.tolist(), names, strict=True))


@contextlib.contextmanager
def _judged(path: Path) -> Iterator[None]:
    """Whatever goes wrong in the body is the file's fault."""
    try:
        yield
    except BadRecording:
        raise
    except FileNotFoundError:
        raise BadRecording(f"There is no {path}.") from None
    except _ERRORS as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadRecording(f"{path} is damaged, or no recording: {said}") from error


def _opened(path: Path) -> pq.ParquetFile:
    if not path.is_file() and path.exists():
        raise BadRecording(f"{path} is no regular file.")
    return pq.ParquetFile(
        path,
        page_checksum_verification=True,
        thrift_string_size_limit=_MOST_METADATA,
        thrift_container_size_limit=1 << 20,
    )


def _check_type(path: Path, schema: pa.Schema, wanted: pa.Field) -> None:
    if len(schema.names) > _MOST_COLUMNS or schema.names.count(wanted.name) != 1:
        raise BadRecording(f"{path} is no recording: it has no column {wanted.name!r}.")
    found = schema.field(wanted.name).type
    plain = found.value_type if pa.types.is_dictionary(found) else found
    expected = wanted.type.value_type if pa.types.is_dictionary(wanted.type) else wanted.type
    if plain != expected and not (
        pa.types.is_list(plain) and plain.value_type == getattr(expected, "value_type", None)
    ):
        raise BadRecording(f"{path} is no recording: its column {wanted.name!r} is of {found}, not of {expected}.")


def _metadata_of(file: pq.ParquetFile, path: Path) -> Mapping[str, Any]:
    told = (file.metadata.metadata or {}).get(METADATA_KEY)
    document = json.loads(told) if told is not None else None
    if not isinstance(document, dict):
        raise BadRecording(f"{path} is Parquet, but no recording of Glassbox.")
    if document.get("format") != FORMAT:
        raise BadRecording(f"{path} is a recording of format {document.get('format')!r}; {FORMAT} is known.")
    ram, tasks, pages = document.get("ram"), document.get("tasks", {}), document.get("pages")
    good = isinstance(tasks, dict) and isinstance(pages, int) and 0 < pages <= _MOST_PAGES
    good = good and isinstance(ram, list) and len(ram) <= _MOST_RAM_RANGES and all(_is_range(one) for one in ram)
    if not good:
        raise BadRecording(f"{path} says of the machine's RAM what cannot be.")
    return document


def _is_range(one: Any) -> bool:
    return (
        isinstance(one, list)
        and len(one) == 3  # physical address, bytes, offset in the RAM file
        and all(isinstance(value, int) and 0 <= value < 1 << 64 for value in one)
    )


def _numpy(name: str, column: pa.Array) -> NDArray[Any]:
    """As numbers, or as objects."""
    if name == "kind":
        if not pa.types.is_dictionary(column.type):
            column = pc.dictionary_encode(column)
        if column.null_count:
            raise BadRecording("a record is of no kind")
        names = column.dictionary.to_pylist()
        numbers = np.array([KINDS.index(kind) if kind in KINDS else -1 for kind in names] + [-1], np.int8)
        found: NDArray[Any] = numbers[np.asarray(column.indices)]
        if (found < 0).any():
            raise BadRecording("a record is of a kind that is not known")
        return found
    if name in ("bytes", "registers"):
        objects = np.empty(len(column), object)
        objects[:] = column.to_pylist()
        return objects
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(NONE if name in ("vaddr", "paddr") else 0, column.type))
    return np.asarray(column.to_numpy(zero_copy_only=False))
