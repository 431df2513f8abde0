"""Opcodes: the bytes of each instruction of each block, found once a block, and numbered so that alike ones are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.trace.record_columns import Columns, find_opcodes, unknown_blocks
from bridge.trace.x86_engine import engine

_WIDTHS = (64, 32, 16)
_MOST_BLOCK_BYTES = 1 << 16  # QEMU ends them at a page's end
_FIRMWARE_END, _ONLY_64_BIT = 1 << 20, 1 << 32


class Opcodes:
    """Grows with the blocks whose records come. For one thread."""

    def __init__(self, blocks: NDArray[Any], code_of: Callable[[NDArray[Any]], bytes]) -> None:
        """`blocks`: (n,) of `block`, filled in while it is looked at; `code_of` tells one's bytes."""
        self._blocks, self._code_of = blocks, code_of
        self._first = np.full(len(blocks), -1, np.int64)  # of each block in `_numbers`
        self._sizes = np.zeros(len(blocks), np.int64)
        self._numbers = np.empty(1 << 12, np.int32)
        self._count = 0
        self._of: dict[bytes, int] = {}
        self._texts: list[bytes] = []

    def of(self, columns: Columns) -> pa.DictionaryArray:
        """The opcode of each row, null where there is none: binary, by a dictionary of its own."""
        count = columns.count
        kind, block, insn = columns.kind[:count], columns.block[:count], columns.insn[:count]
        new = np.empty(min(count, len(self._blocks)), np.uint32)
        for number in new[: unknown_blocks(kind, block, self._first, new)].tolist():
            self._learn(number)
        local = np.full(len(self._texts), -1, np.int32)
        used = np.empty(len(self._texts), np.int32)
        index, known = np.empty(count, np.int32), np.empty(count, np.uint8)
        places = (self._first, self._sizes, self._numbers)
        found = find_opcodes(kind, block, insn, *places, local, used, index, known)
        return pa.DictionaryArray.from_arrays(
            pa.Array.from_buffers(pa.int32(), count, [bitmap(known), pa.py_buffer(index)]),
            pa.array([self._texts[n] for n in used[:found].tolist()], pa.binary()),
        )

    def _learn(self, number: int) -> None:
        block = self._blocks[number]
        if not number or not 0 < int(block["bytes"]) <= _MOST_BLOCK_BYTES:
            return
        code, at = self._code_of(block), 0
        sizes = self._lengths(code, int(block["instructions"]), int(block["virtual_first"]))
        if self._count + len(sizes) > len(self._numbers):
            self._numbers = np.concatenate([self._numbers, np.empty(len(self._numbers) + len(sizes), np.int32)])
        self._first[number], self._sizes[number] = self._count, len(sizes)
        for size in sizes:
            text = code[at : at + size]
            opcode = self._of.setdefault(text, len(self._texts))
            if opcode == len(self._texts):
                self._texts.append(text)
            self._numbers[self._count] = opcode
            self._count += 1
            at += size

    def _lengths(self, code: bytes, instructions: int, start: int) -> list[int]:
        """Of its instructions. In which mode it ran is not told, but so many they are, and nothing is left over."""
        found: dict[int, list[int]] = {}
        # Some code fits in two modes: 64-bit code lies above 1 MiB, the firmware's 16-bit code below.
        for bits in _WIDTHS if start >= _FIRMWARE_END else reversed(_WIDTHS):
            found[bits] = [size for _, size, _, _ in engine(bits).disasm_lite(code, 0, instructions)]
            if len(found[bits]) == instructions and sum(found[bits]) == len(code):
                return found[bits]
        # One that the decoder does not know: what comes before it is told where the mode is beyond doubt.
        return found[64] if start >= _ONLY_64_BIT else []


def bitmap(mask: NDArray[Any]) -> pa.Buffer:
    """A mask (n,) as Arrow keeps validity, a bit each."""
    return pa.py_buffer(np.packbits(mask, bitorder="little"))
