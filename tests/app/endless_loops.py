"""A guest that runs three loops for ever: a map, a walk that goes where it reads, and a sum."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks.loop_guest import AREA, PAGE, LoopGuest, loop_guest
from app.failures import CommandFailed

MAP = bytes.fromhex("8b048e6bc00783f05589048f48ffc14839d17cec")
"""mov eax,[rsi+rcx*4]; imul eax,eax,7; xor eax,0x55; mov [rdi+rcx*4],eax; inc rcx; cmp rcx,rdx; jl"""
WALK = bytes.fromhex("0fb6040748ffc975f7")
"""movzx eax,byte [rdi+rax]; dec rcx; jnz"""
SUM = bytes.fromhex("4803074883c7084839f775f4")
"""add rax,[rdi]; add rdi,8; cmp rdi,rsi; jne"""
_AT, _TURNS, _FIRST_FRAME = 0x190000, 0xB000, 512
_PAGES, _STEPS = 256, 100_000
_WORDS = _PAGES * PAGE // 4


@contextlib.contextmanager
def endless_loops(directory: Path) -> Iterator[LoopGuest]:
    """The machine, which runs them until it ends."""
    with loop_guest(directory) as guest:
        begin(guest)
        yield guest


def begin(guest: LoopGuest) -> None:
    """Have it run them."""
    guest.map_pages(0, range(_FIRST_FRAME, _FIRST_FRAME + 2 * _PAGES))
    source = guest.ram[_FIRST_FRAME * PAGE :][: 4 * _WORDS].view(np.uint32)
    source[:] = np.arange(_WORDS, dtype=np.uint32)
    with pytest.raises(CommandFailed):  # it does not come to an end
        guest.run(_code(), _AT, [0] * 16, limit_s=0)


def turns(guest: LoopGuest) -> int:
    """How often it has run all three."""
    return int(guest.ram[_TURNS : _TURNS + 8].view(np.uint64)[0])


def mapped_right(guest: LoopGuest) -> bool:
    """Whether the map's results, which each turn writes over with the same, are what its code says."""
    first = (_FIRST_FRAME + _PAGES) * PAGE
    wanted = (np.arange(_WORDS, dtype=np.uint64) * np.uint64(7)).astype(np.uint32) ^ np.uint32(0x55)
    return bool((guest.ram[first : first + 4 * _WORDS].view(np.uint32) == wanted).all())


def _code() -> bytes:
    source, target = AREA.to_bytes(8, "little"), (AREA + _PAGES * PAGE).to_bytes(8, "little")
    code = b"\x48\xbe" + source + b"\x48\xbf" + target + b"\x31\xc9\xba" + _WORDS.to_bytes(4, "little") + MAP
    code += b"\x48\xbf" + source + b"\xb9" + _STEPS.to_bytes(4, "little") + b"\x31\xc0" + WALK  # xor eax,eax
    code += b"\x48\xbf" + source + b"\x48\xbe" + target + SUM
    code += b"\x48\xff\x04\x25" + _TURNS.to_bytes(4, "little")  # incq TURNS
    return code + b"\xe9" + (-(len(code) + 5) & 0xFFFFFFFF).to_bytes(4, "little")
