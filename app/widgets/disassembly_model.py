"""What a disassembly shows: which instructions are in view, which one is selected, and what changed."""

from __future__ import annotations

from app.widgets.byte_source import ByteSource
from app.widgets.hex_model import ChangeTracker
from app.widgets.x86_decode import (
    MAX_INSTRUCTION_BYTES,
    SYNC_BYTES,
    SYNC_MARGIN_BYTES,
    Bits,
    Instruction,
    boundaries_before,
    decode,
    instruction_start,
)

ROW_BYTES = 16  # memory is read and compared in rows of this size


class DisassemblyModel:
    """A window of `rows` instructions from `top`, an address where one begins; so is `boundary`.

    `selected` is the address that was asked for; the instruction that holds it begins at `boundary`.
    """

    def __init__(self) -> None:
        self.base, self.end = 0, 1 << 64
        self.bits: Bits = 64
        self.rows = 1
        self.top = 0
        self.selected = self.boundary = 0
        self._tracker = ChangeTracker()
        self._key: tuple[object, ...] = ()
        self._lines: list[Instruction] = []

    @property
    def animating(self) -> bool:
        return self._tracker.animating

    @property
    def shown_bytes(self) -> int:
        return self._lines[-1].end - self._lines[0].address if self._lines else ROW_BYTES

    def set_view(self, base: int, end: int, bits: Bits, rows: int) -> None:
        self.base, self.end, self.bits, self.rows = base, end, bits, rows
        self.top = min(max(self.top, base), max(end - 1, base))

    def show(self, source: ByteSource, address: int) -> None:
        """Select an address; unless its instruction begins a line in view, bring it to a third of the height."""
        self.selected = min(max(address, self.base), max(self.end - 1, self.base))
        self.boundary = self._start_of(source, self.selected)
        shown = self._decode(source, self.top, self.rows)
        if not any(line.address == self.boundary for line in shown[:-1]):
            self.top = self._back(source, self.boundary, self.rows // 3)

    def select(self, line: Instruction) -> None:
        """Select an instruction of the listing."""
        self.selected = self.boundary = line.address

    def _start_of(self, source: ByteSource, address: int) -> int:
        before = min(SYNC_BYTES, address - self.base)
        after = min(MAX_INSTRUCTION_BYTES, self.end - address)
        code = source.piece(address - before, before + after)
        return (
            address if code is None else address - before + instruction_start(code, before, address - before, self.bits)
        )

    def scroll(self, source: ByteSource, count: int) -> None:
        """Move the window by `count` instructions."""
        if count < 0:
            self.top = self._back(source, self.top, -count)
        elif count:
            lines = self._decode(source, self.top, count + 1)
            if lines and lines[-1].end <= self.end:
                self.top = lines[-1].address

    def step(self, source: ByteSource, count: int) -> Instruction | None:
        """Select the instruction `count` before or after the selected one, and keep it in view."""
        if count < 0:
            target = self._back(source, self.boundary, -count)
        else:
            ahead = self._decode(source, self.boundary, count + 1)
            if not ahead:
                return None
            target = ahead[-1].address
        self.selected = self.boundary = target
        if target < self.top:
            self.top = target
        elif not any(line.address == target for line in self._decode(source, self.top, self.rows)):
            self.top = self._back(source, target, self.rows - 1)
        return next(iter(self._decode(source, target, 1)), None)

    def current(self) -> Instruction | None:
        """Return the selected instruction while it is in view."""
        return next((line for line in self._lines if line.address <= self.selected < line.end), None)

    def lines(self, source: ByteSource, now_s: float) -> list[Instruction]:
        """Return the instructions in view, decoded anew only when their bytes changed."""
        start, rows = self._read(source, self.top, self.rows + 1)
        self._tracker.observe(
            {start + i * ROW_BYTES: row for i, row in enumerate(rows) if row is not None and len(row) == ROW_BYTES},
            now_s,
        )
        key = (self.top, self.boundary, self.bits, self.rows, start, tuple(rows))
        if key != self._key:
            self._key = key
            self._lines = self._listing(start, rows, self.top, self.rows + 1)
        return self._lines

    def heat(self, line: Instruction, now_s: float) -> float:
        """Return how fresh an instruction is, 1 (just changed) to 0."""
        hottest = 0.0
        for row in range(line.address - line.address % ROW_BYTES, line.end, ROW_BYTES):
            heat = self._tracker.heat(row, now_s)
            if heat is not None:
                piece = heat[max(line.address - row, 0) : max(line.end - row, 0)]
                hottest = max(hottest, float(piece.max(initial=0.0)))
        return hottest

    # Reading and decoding.

    def _read(self, source: ByteSource, address: int, count: int) -> tuple[int, list[bytes | None]]:
        """Return the rows of memory that hold `count` instructions from `address`, and where the first begins."""
        start = address - address % ROW_BYTES
        rows = -(-(count * MAX_INSTRUCTION_BYTES + ROW_BYTES) // ROW_BYTES)
        return start, source.rows(start, ROW_BYTES, rows, self.end)

    def _decode(self, source: ByteSource, address: int, count: int) -> list[Instruction]:
        start, rows = self._read(source, address, count)
        return self._listing(start, rows, address, count)

    def _listing(self, start: int, rows: list[bytes | None], address: int, count: int) -> list[Instruction]:
        """Decode rows of memory from `address`; each stretch that is not mapped becomes one line."""
        lines: list[Instruction] = []
        index = 0
        while index < len(rows) and len(lines) < count:
            last = index
            while last + 1 < len(rows) and (rows[last + 1] is None) == (rows[index] is None):
                last += 1
            first = max(start + index * ROW_BYTES, address)
            stop = min(start + (last + 1) * ROW_BYTES, self.end)
            if first < stop:
                stretch = rows[index : last + 1]
                if stretch[0] is None:
                    lines.append(Instruction(first, b"", "··", "not mapped", "unmapped", size=stop - first))
                else:
                    code = b"".join(row for row in stretch if row is not None)[first - (start + index * ROW_BYTES) :]
                    lines += decode(code, first, self.bits, limit=count - len(lines), boundary=self.boundary)
            index = last + 1
        return lines

    def _back(self, source: ByteSource, address: int, count: int) -> int:
        """Return where the instruction `count` before `address` begins, as far as memory is mapped."""
        while count > 0 and address > self.base:
            code = self._before(source, address)
            length = len(code)
            if not code:
                return max(address - count * ROW_BYTES, self.base)  # across a hole there is nothing to agree on
            chain = boundaries_before(code, address, self.bits)
            # The far end of the chain is found again from nearer.
            reliable = [at for at in chain if at >= SYNC_MARGIN_BYTES] or list(chain)
            if address - length == self.base:
                reliable = list(chain)
            taken = reliable[:count]
            count -= len(taken)
            address = address - length + taken[-1]
        return address

    def _before(self, source: ByteSource, address: int) -> bytes:
        """Return the mapped bytes that end at `address`, at most SYNC_BYTES."""
        longest = min(SYNC_BYTES, address - self.base)
        for length in (longest, *range(longest - longest % ROW_BYTES, 0, -ROW_BYTES), 1):
            code = source.piece(address - length, length) if length else None
            if code is not None:
                return code
        return b""
