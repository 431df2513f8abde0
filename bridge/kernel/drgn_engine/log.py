"""The kernel's log: the records of its ring of descriptors, and the text that each points to.

Since v5.10 the log is two rings: descriptors with a state, and text blocks that begin with the number of their
descriptor (kernel/printk/printk_ringbuffer.c). All of it is read at once, and a record is believed only if its state
and its block's number fit, so what is being written meanwhile is left out.
"""

from __future__ import annotations

import numpy as np

from bridge.kernel.btf import Btf
from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable, reading
from bridge.kernel.lists import column
from bridge.kernel.records import LogRecord

_MAX_COUNT_BITS, _MAX_SIZE_BITS = 20, 25
"""CONFIG_LOG_BUF_SHIFT is at most 25: 32 MiB of text, and a descriptor for every 32 bytes of it."""
_STATE_SHIFT = 62
_ID_MASK = (1 << _STATE_SHIFT) - 1
_FROM_PROCESSOR = 0x8000_0000


def read_log(program: KernelProgram, limit: int) -> tuple[LogRecord, ...]:
    """The last `limit` records, the newest last. Raises KernelError."""
    with reading("the kernel's log"):
        space, types = program.kernel.space, program.types
        ring = program.program["prb"].read_()
        descriptors = ring.desc_ring
        count_bits, size_bits = descriptors.count_bits.value_(), ring.text_data_ring.size_bits.value_()
        if count_bits > _MAX_COUNT_BITS or size_bits > _MAX_SIZE_BITS:
            raise Unreadable(f"The kernel's log would hold 2^{count_bits} records and 2^{size_bits} bytes of text.")
        count, size = 1 << count_bits, 1 << size_bits
        newest, oldest = descriptors.head_id.counter.value_(), descriptors.tail_id.counter.value_()
        text = space.read(ring.text_data_ring.data.value_(), size)
        finished = {types.enumerator("desc_committed"), types.enumerator("desc_finalized")}
        rows, infos = (
            np.frombuffer(
                space.read(getattr(descriptors, name).value_(), count * types.struct_size(struct)), np.uint8
            ).reshape(count, -1)
            for name, struct in (("descs", "prb_desc"), ("infos", "printk_info"))
        )
        states, begins, ends = (
            column(rows, types.offset("prb_desc", path), "<u8").tolist()
            for path in ("state_var.counter", "text_blk_lpos.begin", "text_blk_lpos.next")
        )
        fields = _Fields(types, infos)
        found: list[LogRecord] = []
        number = newest & _ID_MASK
        span = min((newest - oldest) & _ID_MASK, count - 1)
        for _ in range(span + 1):
            if len(found) >= limit:
                break
            index = number & (count - 1)
            if states[index] & _ID_MASK == number and states[index] >> _STATE_SHIFT in finished:
                block = _block(text, begins[index], ends[index], number)
                found.append(fields.record(index, block))
            number = (number - 1) & _ID_MASK
        found.sort(key=lambda record: record.sequence)
        return tuple(found)


def _block(text: bytes, begin: int, end: int, number: int) -> bytes:
    """The text between two positions of the ring; empty for a record without one, or whose block is another's."""
    if begin & 1 and end & 1:
        return b""
    size = len(text)
    start, stop = begin % size, end % size
    if begin // size != end // size and stop:  # it did not fit before the ring's end: it is at the beginning
        start = 0
    elif not stop:
        stop = size
    if stop - start < 8 or int.from_bytes(text[start : start + 8], "little") != number:
        return b""
    return text[start + 8 : stop]


class _Fields:
    """The members of many ``struct printk_info``."""

    def __init__(self, types: Btf, infos: np.ndarray) -> None:
        def values(name: str, dtype: str) -> list[int]:
            found: list[int] = column(infos, types.offset("printk_info", name), dtype).tolist()
            return found

        level = types.member("printk_info", "level")
        self._level_shift, self._level_mask = level.bit_offset % 8, (1 << (level.bit_size or 3)) - 1
        self._sequences, self._times = values("seq", "<u8"), values("ts_nsec", "<u8")
        self._lengths, self._facilities = values("text_len", "<u2"), values("facility", "u1")
        self._levels, self._callers = values("level", "u1"), values("caller_id", "<u4")

    def record(self, index: int, block: bytes) -> LogRecord:
        caller = self._callers[index]
        letter = "C" if caller & _FROM_PROCESSOR else "T"
        return LogRecord(
            sequence=self._sequences[index],
            time_s=self._times[index] / 1e9,
            level=self._levels[index] >> self._level_shift & self._level_mask,
            facility=self._facilities[index],
            caller=f"{letter}{caller & ~_FROM_PROCESSOR}",
            text=block[: self._lengths[index]].decode("utf-8", "backslashreplace"),
        )
