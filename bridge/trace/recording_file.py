"""Recording's files: rows as Parquet, a row group at a time, and the table of blocks beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bridge.trace.opcodes import Opcodes, bitmap
from bridge.trace.record_columns import (
    HAS_PADDR,
    HAS_VADDR,
    HAS_VALUE,
    KINDS,
    REGISTER_NAMES,
    REGISTERS,
    STORE,
    Columns,
)
from bridge.trace.reserved_file import DiskFull, ReservedFile

FORMAT = 1
METADATA_KEY = b"glassbox"
"""Of the JSON object in the metadata of both files."""
_LEVEL = 1  # of zstd: higher ones cost more than they save here
_SPLIT = ("ts", "seq", "pc", "block", "vaddr", "paddr")
"""Columns whose bytes are stored by significance: the upper ones hardly change, and are gone when packed. That takes
half the time, and less room, than dictionaries or differences do. Not so values, which come again as wholes: those of a
Linux need a third less room plainly, in the same time."""
_INDEX_BYTES = 64 << 10
_INDEX_BYTES_A_GROUP = 4 << 10  # of 13 columns' places, sizes and limits
_HEADER_BYTES = 256 << 10  # of pages
_LEAST_ROWS = 1 << 12  # of a group that is made because the disk is nearly full

SCHEMA = pa.schema(
    [
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("vcpu", pa.uint8(), nullable=False),
        pa.field("seq", pa.uint64(), nullable=False),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("pc", pa.uint64(), nullable=False),
        pa.field("bytes", pa.dictionary(pa.int32(), pa.binary())),
        pa.field("block", pa.uint32(), nullable=False),
        pa.field("vaddr", pa.uint64()),
        pa.field("paddr", pa.uint64()),
        pa.field("size", pa.uint8(), nullable=False),
        pa.field("is_store", pa.bool_(), nullable=False),
        pa.field("value", pa.uint64()),
    ]
)
REGISTERS_FIELD = pa.field("registers", pa.list_(pa.field("item", pa.uint64(), nullable=False)))
BLOCKS_SCHEMA = pa.schema(
    [
        pa.field("block", pa.uint32(), nullable=False),
        pa.field("pc", pa.uint64(), nullable=False),
        pa.field("paddr", pa.uint64()),
        pa.field("bytes", pa.binary(), nullable=False),
        pa.field("instructions", pa.uint16(), nullable=False),
        pa.field("entered", pa.uint64(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("process", pa.string(), nullable=False),
    ]
)


def blocks_path(path: Path) -> Path:
    """Where a recording's blocks are: x.parquet has x.blocks.parquet."""
    return path.with_name(f"{path.name.removesuffix('.parquet')}.blocks.parquet")


class RecordsFile:
    """The rows' file. For one thread."""

    def __init__(self, path: Path, *, registers: bool) -> None:
        """Raises TraceError where it cannot be made."""
        self._registers = registers
        self._schema = SCHEMA.append(REGISTERS_FIELD) if registers else SCHEMA
        self._file = ReservedFile(path)
        self.groups = self.rows = 0
        self.by_kind = np.zeros(len(KINDS), np.int64)
        try:
            self._file.reserve(_INDEX_BYTES)
            self._sink = pa.PythonFile(self._file, "w")
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="zstd",
                compression_level=_LEVEL,
                use_dictionary=["kind", "bytes"],
                column_encoding=dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT"),
                write_statistics=["ts", "vcpu"],
                data_page_size=1 << 20,
                write_page_checksum=True,
            )
        except BaseException:
            self._file.discard()
            raise

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.size

    def write(self, columns: Columns, opcodes: Opcodes) -> None:
        """Append a row group, sorted by time. Raises DiskFull: a part may be written, and the file can be ended."""
        if not columns.count:
            return
        columns.sort()
        self._append(self._table(columns, opcodes), columns.kind[: columns.count])

    def _append(self, table: pa.Table, kind: NDArray[np.int8]) -> None:
        """A row group or, where the room that it may need is not there, its halves: packed it needs a tenth."""
        count = len(kind)
        index = _INDEX_BYTES + _INDEX_BYTES_A_GROUP * (self.groups + 1)
        try:
            self._file.reserve(
                table.nbytes + table.nbytes // 16 + _HEADER_BYTES + index
            )  # zstd may grow what is random
        except DiskFull:
            if count <= _LEAST_ROWS:
                raise
            half = count // 2
            self._append(table.slice(0, half), kind[:half])
            self._append(table.slice(half), kind[half:])
            return
        self._writer.write_table(table, row_group_size=count)
        self.groups += 1
        self.rows += count
        self.by_kind += np.bincount(kind, minlength=len(KINDS))

    def close(self, metadata: Mapping[str, Any]) -> None:
        """End the file, with what is to be known of it. Raises TraceError."""
        self._writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        self._writer.close()
        self._sink.close()
        self._file.keep()

    def discard(self) -> None:
        """Leave nothing behind, unless it was closed."""
        self._file.discard()
        self._writer.close()

    def _table(self, columns: Columns, opcodes: Opcodes) -> pa.Table:
        count = columns.count
        kind, has = columns.kind[:count], columns.has[:count]

        def plain(kind_of: pa.DataType, values: NDArray[Any], known: int = 0) -> pa.Array:
            validity = bitmap(has & known) if known else None
            return pa.Array.from_buffers(kind_of, count, [validity, pa.py_buffer(values[:count])])

        arrays = [
            plain(pa.int64(), columns.ts),
            plain(pa.uint8(), columns.vcpu),
            plain(pa.uint64(), columns.seq),
            pa.DictionaryArray.from_arrays(plain(pa.int8(), columns.kind), pa.array(KINDS)),
            plain(pa.uint64(), columns.pc),
            opcodes.of(columns),
            plain(pa.uint32(), columns.block),
            plain(pa.uint64(), columns.vaddr, HAS_VADDR),
            plain(pa.uint64(), columns.paddr, HAS_PADDR),
            plain(pa.uint8(), columns.size),
            pa.Array.from_buffers(pa.bool_(), count, [None, bitmap(kind == STORE)]),
            plain(pa.uint64(), columns.value, HAS_VALUE),
        ]
        if self._registers:
            told = kind == REGISTERS
            ends = np.zeros(count + 1, np.int32)
            np.cumsum(told * np.int32(len(REGISTER_NAMES)), out=ends[1:])
            values = columns.registers[columns.register_row[:count][told]].reshape(-1)
            items = pa.Array.from_buffers(pa.uint64(), len(values), [None, pa.py_buffer(values)])
            offsets = [bitmap(told), pa.py_buffer(ends)]
            arrays.append(pa.Array.from_buffers(REGISTERS_FIELD.type, count, offsets, children=[items]))
        return pa.Table.from_arrays(arrays, schema=self._schema)


def write_blocks(path: Path, columns: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write the blocks' file: `columns` by the names of BLOCKS_SCHEMA. Raises TraceError."""
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in BLOCKS_SCHEMA}, BLOCKS_SCHEMA)
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    file = ReservedFile(path)
    try:
        sink = pa.PythonFile(file, "w")
        pq.write_table(table, sink, compression="zstd", compression_level=_LEVEL, write_page_checksum=True)
        sink.close()
        file.keep()
    finally:
        file.discard()
