"""What the plugin counts is what QEMU says: its log of blocks, its counter of instructions; and code that changes."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bridge.machine.qemu_binary import find_qemu
from bridge.trace.layout import layout
from bridge.trace.plugin_file import plugin_for
from bridge.trace.session import Counts
from bridge.trace.shared_memory import RamRange, Sizes, TraceMemory
from tests.bridge.machine.conftest import private_directories  # noqa: F401 - a fixture

RAM_BYTES = 4 << 20
SECTOR = 0x7C00
BEFORE, AFTER, CHANGED = 0x9100, 0x9104, 3000
ROUNDS = 5000

# 16-bit code; it ends QEMU itself, by a device made for that.
_END = bytes.fromhex("b000e6f4" + "ebfe")  # mov al,0; out 0xf4,al; jmp $
COUNTING = (
    bytes.fromhex("fa31c08ed8" + "fc")  # cli; xor ax,ax; mov ds,ax; cld
    + bytes.fromhex("0f31" + "66a30091")  # rdtsc; mov [BEFORE],eax
    + bytes.fromhex("b9")
    + ROUNDS.to_bytes(2, "little")  # mov cx,ROUNDS
    + bytes.fromhex("66ff060090" + "f6c103" + "7502" + "6640" + "49" + "75f1")
    # loop: inc dword [0x9000]; test cl,3; jnz skip; inc eax; skip: dec cx; jnz loop
    + bytes.fromhex("0f31" + "66a30491")  # rdtsc; mov [AFTER],eax
    + _END
)
FIRST_RDTSC, LAST_RDTSC = SECTOR + 6, SECTOR + 30
CHANGING = (
    bytes.fromhex("fa31c08ed8")
    + bytes.fromhex("b9")
    + CHANGED.to_bytes(2, "little")  # mov cx,CHANGED
    + bytes.fromhex("ff060f7c" + "eb00")  # again: inc word [0x7c0f]; jmp next
    + bytes.fromhex("b80000" + "49" + "75f4")  # next: mov ax,0 (which is what was changed); dec cx; jnz again
    + _END
)
CHANGED_AT = SECTOR + 14


@dataclass(frozen=True, slots=True)
class Ran:
    """What a machine left that ran from power on until its code ended it."""

    counts: Counts
    refused: int
    ram: Path
    log: str

    def word(self, address: int) -> int:
        with self.ram.open("rb") as file:
            file.seek(address)
            return int.from_bytes(file.read(4), "little")

    def of_sector(self) -> dict[int, int]:
        """How often the blocks that begin in the boot sector were entered, by their address."""
        found: Counter[int] = Counter()
        for block, entered in zip(self.counts.blocks, self.counts.total.tolist(), strict=True):
            if SECTOR <= int(block["virtual_first"]) < SECTOR + 512 and entered:
                found[int(block["virtual_first"])] += entered
        return dict(found)


def run(directory: Path, code: bytes, *options: str, accel: str = "tcg", blocks: int = 1 << 18) -> Ran:
    """Boot that code with each block counted. QEMU ends by the code's own doing, and says nothing."""
    plugin = plugin_for(find_qemu())
    assert plugin.path is not None, plugin.reason
    ram, floppy = directory / "one.ram", directory / "boot.img"
    ram.write_bytes(bytes(RAM_BYTES))
    floppy.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    memory = TraceMemory.create(directory / "one.trace", Sizes(RAM_BYTES >> 12, 1, blocks=blocks))
    memory.tell_ram([RamRange(0, RAM_BYTES, 0)])
    memory.reader["parts"] = layout().constants["COUNT"]
    arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc,memory-backend=ram"]
    arguments += ["-accel", accel, "-m", f"{RAM_BYTES >> 20}M", "-device", "isa-debug-exit,iobase=0xf4"]
    arguments += ["-object", f"memory-backend-file,id=ram,size={RAM_BYTES},share=on,mem-path={ram}"]
    arguments += ["-drive", f"file={floppy},if=floppy,format=raw", "-D", str(directory / "log"), *options]
    arguments += ["-plugin", f"{plugin.path},shm={directory / 'one.trace'},ram={ram}"]
    ended = subprocess.run([str(find_qemu().path), *arguments], capture_output=True, timeout=300, check=False)
    assert ended.returncode == 1, ended.stderr.decode()  # what the device makes of 0
    assert ended.stderr == b""
    known = int(memory.plugin["blocks"])
    counts = Counts(memory.blocks[:known].copy(), memory.counts[:, :known].copy(), 0)
    log = directory / "log"
    return Ran(counts, int(memory.plugin["refused_blocks"]), ram, log.read_text() if log.exists() else "")


def entered_by_the_log(log: str) -> dict[int, int]:
    """How often QEMU says that it ran each block, by address. One that it stopped before its beginning did not run."""
    found: Counter[int] = Counter()
    for line in log.splitlines():
        if match := re.match(r"Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/", line):
            found[int(match[1], 16)] += 1
        elif match := re.match(r"Stopped execution of TB chain before \S+ \[([0-9a-f]+)\]", line):
            found[int(match[1], 16)] -= 1
    return {address: count for address, count in found.items() if count}


@pytest.mark.parametrize("accel", ["tcg", "tcg,one-insn-per-tb=on"])
def test_each_block_is_counted_as_often_as_qemu_says_that_it_ran_it(
    tmp_path: Path,
    private_directories: Path,  # noqa: F811
    accel: str,
) -> None:
    ran = run(tmp_path, COUNTING, "-d", "exec,nochain", "-dfilter", f"{SECTOR:#x}+0x200", accel=accel)
    said = entered_by_the_log(ran.log)
    assert ran.of_sector() == said
    assert ROUNDS - 1 in said.values() or ROUNDS in said.values()
    assert len(said) > (12 if "one-insn" in accel else 5)
    assert ran.word(0x9000) == ROUNDS


def test_instructions_are_as_many_as_qemu_counts(tmp_path: Path, private_directories: Path) -> None:  # noqa: F811
    """With -icount the guest's time-stamp counter is that of the instructions that QEMU has run, 128 ticks each."""
    shift = 7
    ran = run(tmp_path, COUNTING, "-icount", f"shift={shift},sleep=off")
    ticks = ran.word(AFTER) - ran.word(BEFORE)
    said = ticks >> shift
    assert said << shift == ticks
    counted = 0
    for block, entered in zip(ran.counts.blocks, ran.counts.total.tolist(), strict=True):
        first = int(block["virtual_first"])
        if FIRST_RDTSC < first <= LAST_RDTSC:
            assert first + int(block["bytes"]) <= LAST_RDTSC + 2  # reading the counter ends a block
            counted += entered * int(block["instructions"])
    assert counted == said
    # From behind the first reading to the second one: mov and mov, the rounds (every fourth with one more), and it.
    assert said == 2 + ROUNDS * 5 + ROUNDS // 4 + 1


def test_code_that_changes_itself_is_another_block_each_time(
    tmp_path: Path,
    private_directories: Path,  # noqa: F811
) -> None:
    ran = run(tmp_path, CHANGING)
    blocks = ran.counts.blocks
    starts = blocks["virtual_first"].astype(np.int64)
    holds = (starts <= CHANGED_AT) & (starts + blocks["bytes"] > CHANGED_AT) & (starts >= SECTOR)
    assert int(ran.counts.total[holds].sum()) == CHANGED
    assert int(holds.sum()) == CHANGED  # no two of them alike
    assert ran.refused == 0


def test_more_blocks_than_there_is_room_for_end_no_machine(
    tmp_path: Path,
    private_directories: Path,  # noqa: F811
) -> None:
    ran = run(tmp_path, CHANGING, blocks=64)
    assert len(ran.counts.blocks) == 64
    assert ran.refused > CHANGED
    assert int(ran.counts.total.sum()) > 0
    assert ran.word(SECTOR + 15) & 0xFFFF == CHANGED  # the guest did its work
