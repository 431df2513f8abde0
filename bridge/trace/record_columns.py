"""Columns of records: what a recording holds, turned from the rings' records column by column, in compiled loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.memory.native import compiled
from bridge.trace.layout import layout

KINDS = ("block", "insn", "load", "store", "registers", "discontinuity")
"""By their numbers in `Columns.kind`."""
BLOCK, INSN, LOAD, STORE, REGISTERS, DISCONTINUITY = range(6)
REGISTER_NAMES = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    *("rip", "eflags"),
)
"""In the order in which the plugin tells them (tcg_plugin/spaces.c)."""
HAS_VADDR, HAS_PADDR, HAS_VALUE = 1, 2, 4
"""Of `Columns.has`."""

_N_REGISTERS = len(REGISTER_NAMES)
_IN_A_RECORD = 5  # of them; four records hold them all (tcg_plugin/records.c)
_RECORDS_OF_REGISTERS = 4
_FLAG_VALUE, _FLAG_LOST = (layout().constants[name] for name in ("FLAG_VALUE", "FLAG_LOST"))
_RECORD_BLOCK, _RECORD_REGISTERS = (layout().constants[name] for name in ("RECORD_BLOCK", "RECORD_REGISTERS"))
_NONE = np.uint64(layout().constants["NONE"])

# What is remembered of a vCPU between two pieces of its ring: the time of the last row, registers
# half told, and which record is next.
_LAST_TS, _PARTS_SEEN, _FIRST_SEQUENCE, _TORN, _NEXT, _BEGUN, _VALUES = range(7)
STATE_WORDS = _VALUES + _N_REGISTERS


@dataclass(slots=True, eq=False)
class Columns:
    """Room for rows, all arrays of the same length; the first `count` hold."""

    ts: NDArray[np.int64]
    """Nanoseconds since the recording began."""
    seq: NDArray[np.uint64]
    pc: NDArray[np.uint64]
    vaddr: NDArray[np.uint64]
    paddr: NDArray[np.uint64]
    value: NDArray[np.uint64]
    block: NDArray[np.uint32]
    insn: NDArray[np.uint16]
    """Which instruction of its block."""
    vcpu: NDArray[np.uint8]
    kind: NDArray[np.int8]
    size: NDArray[np.uint8]
    has: NDArray[np.uint8]
    """HAS_VADDR | HAS_PADDR | HAS_VALUE: what is known."""
    registers: NDArray[np.uint64]
    """(rows, 18) where registers are recorded, by row of their own; else (0, 18)."""
    register_row: NDArray[np.int32]
    """Which of those a row has."""
    count: int = 0
    n_registers: int = 0

    @classmethod
    def of(cls, rows: int, *, registers: bool = False) -> Columns:
        """Room for so many."""
        rows_of_registers = rows if registers else 0
        return cls(
            ts=np.empty(rows, np.int64),
            seq=np.empty(rows, np.uint64),
            pc=np.empty(rows, np.uint64),
            vaddr=np.empty(rows, np.uint64),
            paddr=np.empty(rows, np.uint64),
            value=np.empty(rows, np.uint64),
            block=np.empty(rows, np.uint32),
            insn=np.empty(rows, np.uint16),
            vcpu=np.empty(rows, np.uint8),
            kind=np.empty(rows, np.int8),
            size=np.empty(rows, np.uint8),
            has=np.empty(rows, np.uint8),
            registers=np.empty((rows_of_registers, _N_REGISTERS), np.uint64),
            register_row=np.empty(rows_of_registers, np.int32),
        )

    @property
    def room(self) -> int:
        """Rows that it still has room for."""
        return len(self.ts) - self.count

    def take(self, records: NDArray[Any], clock: Clock, state: NDArray[np.uint64]) -> int:
        """Append records (n,) of one vCPU; `state` is that vCPU's. Returns how many of them: fewer where room ends."""
        taken, self.count, self.n_registers = _convert(
            records,
            clock.tsc,
            clock.ns_per_tick,
            state,
            *(self.ts, self.seq, self.pc, self.vaddr, self.paddr, self.value, self.block, self.insn, self.vcpu),
            *(self.kind, self.size, self.has, self.registers, self.register_row),
            self.count,
            self.n_registers,
        )
        return taken

    def sort(self) -> None:
        """Bring the rows into the order of time; those of one vCPU keep theirs."""
        ts = self.ts[: self.count]
        if (ts[1:] >= ts[:-1]).all():
            return
        order = np.argsort(ts, kind="stable")  # timsort: a piece of a ring is in order already
        columns: list[NDArray[Any]] = [self.ts, self.seq, self.pc, self.vaddr, self.paddr, self.value, self.block]
        columns += [self.insn, self.vcpu, self.kind, self.size, self.has]
        for column in [*columns, self.register_row] if len(self.register_row) else columns:
            column[: self.count] = column[: self.count][order]


@dataclass(frozen=True, slots=True)
class Clock:
    """The processor's time-stamp counter as nanoseconds: (counter - tsc) * ns_per_tick."""

    tsc: int
    """When the recording began."""
    ns_per_tick: float

    @property
    def hz(self) -> float:
        """Ticks a second."""
        return 1e9 / self.ns_per_tick


def new_state() -> NDArray[np.uint64]:
    """What `Columns.take` remembers of one vCPU, before its first record."""
    return np.zeros(STATE_WORDS, np.uint64)


def torn(state: NDArray[np.uint64]) -> int:
    """Records of registers that were left out, because others of the same four were lost."""
    return int(state[_TORN])


@compiled(nogil=True)
def _convert(
    records: NDArray[Any],
    tsc: int,
    ns_per_tick: float,
    state: NDArray[np.uint64],
    ts: NDArray[np.int64],
    seq: NDArray[np.uint64],
    pc: NDArray[np.uint64],
    vaddr: NDArray[np.uint64],
    paddr: NDArray[np.uint64],
    value: NDArray[np.uint64],
    block: NDArray[np.uint32],
    insn: NDArray[np.uint16],
    vcpu: NDArray[np.uint8],
    kind: NDArray[np.int8],
    size: NDArray[np.uint8],
    has: NDArray[np.uint8],
    registers: NDArray[np.uint64],
    register_row: NDArray[np.int32],
    at: int,
    n_registers: int,
) -> tuple[int, int, int]:
    room = len(ts)
    with_registers = len(register_row) > 0
    last = np.int64(state[_LAST_TS])
    for index in range(len(records)):
        record = records[index]
        if at + 2 > room:  # one of its own, and one that says that others are missing
            state[_LAST_TS] = np.uint64(last)
            return index, at, n_registers
        flags = record.flags
        missing = record.sequence - state[_NEXT] if state[_BEGUN] else np.uint64(0)
        if (flags & _FLAG_LOST and state[_BEGUN]) or missing:  # before the first one it is nobody's here
            ts[at], seq[at], pc[at], vaddr[at], paddr[at], value[at] = last, record.sequence, 0, 0, 0, missing
            block[at], insn[at], vcpu[at], kind[at], size[at] = 0, 0, record.vcpu, DISCONTINUITY, 0
            has[at] = HAS_VALUE if missing else 0
            at += 1
        state[_NEXT], state[_BEGUN] = record.sequence + np.uint64(1), 1
        if record.kind == _RECORD_REGISTERS:
            part = np.uint64(record.instruction)
            if part == np.uint64(0):
                state[_TORN] += state[_PARTS_SEEN]
                state[_FIRST_SEQUENCE] = record.sequence
            elif part != state[_PARTS_SEEN] or record.sequence != state[_FIRST_SEQUENCE] + part:
                state[_TORN] += state[_PARTS_SEEN] + np.uint64(1)
                state[_PARTS_SEEN] = 0
                continue
            first = _VALUES + _IN_A_RECORD * np.int64(part)
            state[first], state[first + 1], state[first + 2] = record.tsc, record.pc, record.virtual_address
            if part < np.uint64(3):
                state[first + 3], state[first + 4] = record.physical, record.value
            state[_PARTS_SEEN] = part + np.uint64(1)
            if state[_PARTS_SEEN] != np.uint64(_RECORDS_OF_REGISTERS):
                continue
            state[_PARTS_SEEN] = 0
            if not with_registers:
                continue
            registers[n_registers] = state[_VALUES:]
            register_row[at] = n_registers
            n_registers += 1
            ts[at], seq[at], pc[at] = last, state[_FIRST_SEQUENCE], registers[n_registers - 1, 16]
            vaddr[at], paddr[at], value[at] = 0, 0, 0
            block[at], insn[at], vcpu[at], kind[at], size[at], has[at] = record.block, 0, record.vcpu, REGISTERS, 0, 0
            at += 1
            continue
        # A vCPU's thread may move to a processor whose counter is some ticks behind: its own time never goes back.
        now = np.int64(np.float64(np.int64(record.tsc - np.uint64(tsc))) * ns_per_tick)
        last = max(last, now)
        told = 0
        address, physical, known = record.virtual_address, record.physical, record.value
        if record.kind == _RECORD_BLOCK:
            address = _NONE  # the address space's root stands there
            if known != np.uint64(0):  # the task's word
                told |= HAS_VALUE
        elif flags & _FLAG_VALUE:
            told |= HAS_VALUE
        if address != _NONE:
            told |= HAS_VADDR
        else:
            address = np.uint64(0)
        if physical != _NONE:
            told |= HAS_PADDR
        else:
            physical = np.uint64(0)
        ts[at], seq[at], pc[at], vaddr[at], paddr[at], value[at] = (
            last,
            record.sequence,
            record.pc,
            address,
            physical,
            known,
        )
        block[at], insn[at], vcpu[at] = record.block, record.instruction, record.vcpu
        kind[at], size[at], has[at] = record.kind - 1, record.size, told
        at += 1
    state[_LAST_TS] = np.uint64(last)
    return len(records), at, n_registers


@compiled(nogil=True)
def tally(
    kind: NDArray[np.int8], block: NDArray[np.uint32], seen: NDArray[np.bool_], entered: NDArray[np.int64]
) -> None:
    """Note by number (n,) which blocks rows are of, and add up how often each was entered."""
    for row in range(len(kind)):
        number = block[row]
        if number < len(seen):
            seen[number] = True
            entered[number] += kind[row] == BLOCK


@compiled(nogil=True)
def unknown_blocks(
    kind: NDArray[np.int8], block: NDArray[np.uint32], first: NDArray[np.int64], found: NDArray[np.uint32]
) -> int:
    """The blocks (k,) of rows with opcodes, each once, whose `first` is -1; it is -2 then. Returns how many."""
    count = 0
    for row in range(len(kind)):
        number = np.int64(block[row])
        if INSN <= kind[row] <= STORE and number < len(first) and first[number] == -1 and count < len(found):
            found[count] = number
            first[number] = -2
            count += 1
    return count


@compiled(nogil=True)
def find_opcodes(
    kind: NDArray[np.int8],
    block: NDArray[np.uint32],
    insn: NDArray[np.uint16],
    first: NDArray[np.int64],
    sizes: NDArray[np.int64],
    numbers: NDArray[np.int32],
    local: NDArray[np.int32],
    used: NDArray[np.int32],
    index: NDArray[np.int32],
    known: NDArray[np.uint8],
) -> int:
    """Which opcode each row has, numbered by first appearance: `index` (n,), where `known`. Returns how many differ.

    `first` and `sizes` (blocks,): where each block's instructions are in `numbers`, which says what number the opcode
    of each has in all. `local`, all -1, and `used` are as long as there are opcodes in all: `used` says which ones
    they are.
    """
    count = 0
    for row in range(len(kind)):
        known[row], index[row] = 0, 0
        number = np.int64(block[row])
        if kind[row] < INSN or kind[row] > STORE or number >= len(first) or np.int64(insn[row]) >= sizes[number]:
            continue
        opcode = numbers[first[number] + np.int64(insn[row])]
        if local[opcode] < 0:
            local[opcode] = count
            used[count] = opcode
            count += 1
        known[row], index[row] = 1, local[opcode]
    for one in range(count):
        local[used[one]] = -1
    return count
