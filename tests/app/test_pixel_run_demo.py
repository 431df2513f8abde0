"""`pixel run` on a Linux guest: a program's loops are taken over, and it prints what it prints without."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from app.cli import main
from app.exit_codes import ExitCode
from bridge.machine.catalogue import find_guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from tests.app.conftest import own_homes
from tests.app.endless_loops import MAP, SUM
from tests.bridge.machine.newer_qemu import have_newer_qemu

_LONG_S = 300.0
_TURNS, _WORDS = 40, 1 << 20
_BASE, _ONE, _OTHER, _SUM_AT = 0x400000, 0x500000, 0x900000, 0xD00000
_COUNT = bytes.fromhex("890c8f48ffc14839d17cf5")  # mov [rdi+rcx*4],ecx; inc rcx; cmp rcx,rdx; jl
_PRINTED = re.compile(rb"it is ([0-9a-f ]{23})\r")


@pytest.fixture(scope="module")
def demo(guest_cache: Path) -> Iterator[Machine]:
    newer = have_newer_qemu(guest_cache)
    with own_homes(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSBOX_QEMU", str(newer))
        with MachineManager() as manager:
            machine = manager.launch(find_guest("demo"))
            assert machine.wait_ready(240)
            yield machine


def program() -> bytes:
    """A program for Linux: it counts into an area, maps that to and fro, and writes the sum's eight bytes."""

    def begin(source: int, target: int) -> bytes:
        return b"\xbe" + struct.pack("<I", source) + b"\xbf" + struct.pack("<I", target)  # mov esi, …; mov edi, …

    counted = b"\x31\xc9\xba" + struct.pack("<I", _WORDS)  # xor ecx, ecx; mov edx, …
    turn = begin(_ONE, _OTHER) + counted + MAP + begin(_OTHER, _ONE) + counted + MAP
    turn += bytes.fromhex("41ffcc")  # dec r12d
    code = begin(0, _ONE) + counted + _COUNT + b"\x41\xbc" + struct.pack("<I", _TURNS)  # mov r12d, …
    code += turn + b"\x0f\x85" + struct.pack("<i", -(len(turn) + 6))
    code += begin(_ONE + 4 * _WORDS, _ONE) + b"\x31\xc0" + SUM
    code += b"\x48\x89\x04\x25" + struct.pack("<I", _SUM_AT)  # mov [SUM], rax
    code += begin(_SUM_AT, 1) + bytes.fromhex("b801000000ba080000000f05")  # write(1, SUM, 8)
    code += bytes.fromhex("b83c00000031ff0f05")  # exit(0)
    size = 0x78 + len(code)
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + 0x78, 0x40, 0, 0, 0x40, 0x38, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, size, _SUM_AT + 8 - _BASE, 0x1000) + code


def wanted() -> bytes:
    """What it prints, by numpy."""
    words = np.arange(_WORDS, dtype=np.uint64)
    for _ in range(2 * _TURNS):
        words = words * np.uint64(7) & np.uint64(0xFFFFFFFF) ^ np.uint64(0x55)
    with np.errstate(over="ignore"):
        total = words.astype(np.uint32).view(np.uint64).sum(dtype=np.uint64)
    return struct.pack("<Q", int(total)).hex(" ").encode()


def printed(machine: Machine) -> list[bytes]:
    return _PRINTED.findall(machine.console.read_since(0)[1])


def until_printed(machine: Machine, count: int) -> None:
    deadline = monotonic() + _LONG_S
    while len(printed(machine)) < count:
        assert monotonic() < deadline, machine.console.read_since(0)[1][-500:]
        sleep(0.05)


def test_a_programs_loops_are_taken_over_and_it_prints_the_same(
    demo: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in program())
    for first in range(0, len(octal), 400):  # a terminal's line has an end
        demo.console.write(f"printf '{octal[first : first + 400]}' >> /tmp/loops\n".encode())
    demo.console.write(b"chmod +x /tmp/loops\n")
    demo.console.write(b"while :; do echo it is $(/tmp/loops | od -A n -t x1); done &\n")
    until_printed(demo, 1)
    for _ in range(20):  # on a busy host a while may be too short
        assert main(["pixel", "run", demo.name, "--for", "5s", "--json"]) == ExitCode.DONE
        document = json.loads(capsys.readouterr().out)
        by_code = {one["code"]: one for one in document["loops"]}
        if by_code.get(MAP.hex(), {}).get("rounds") and document["settled"]:
            break
    for one in document["loops"]:
        assert one["state"] in ("live", "tested", "QEMU only")
        assert bool(one["reason"]) == (one["state"] == "QEMU only")
        assert one["symbol"] or one["address"] < 1 << 63  # the kernel's have names
    assert by_code[MAP.hex()]["state"] == "live"
    assert by_code[MAP.hex()]["rounds"] > 0
    assert document["taken_over"] > 0
    until_printed(demo, len(printed(demo)) + 2)
    assert set(printed(demo)) == {wanted()}
    assert demo.trace is not None
    assert not int(demo.trace.plugin["parts"])
    assert not demo.trace.kernels["id"].any()
