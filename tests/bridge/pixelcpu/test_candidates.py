"""Candidates: which blocks are loops by themselves, which come first, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.pixelcpu.candidates import candidates_of, is_loop
from bridge.pixelcpu.learning import Nameless
from bridge.trace.hot import Naming, Weights
from bridge.trace.layout import layout
from bridge.trace.program import Program

AT = 0x400000
SUM = bytes.fromhex("4803074883c7084839f775f4")  # add rax,[rdi]; add rdi,8; cmp rdi,rsi; jne
HASH = bytes.fromhex("0fb6176bc01f01d048ffc748ffc975f0")
NO_SAMPLES = np.empty(0, layout()["sample"])


@pytest.mark.parametrize(
    ("code", "at", "expected"),
    [
        (SUM, AT, True),
        (HASH, 1 << 47, True),
        (SUM, 0x8000, False),  # 16-bit code, where that lies
        (b"\x31\xc0" + SUM, AT, False),  # entered from above: it goes back behind its first byte
        (bytes.fromhex("4801d8ebfb"), AT, False),  # jmp: it never ends by itself
        (bytes.fromhex("4801d87502"), AT, False),  # forwards
        (bytes.fromhex("e8fbffffff"), AT, False),  # a call of itself
        (bytes.fromhex("4801d8c3"), AT, False),
        (bytes.fromhex("4801d8"), AT, False),
        (b"\x06", AT, False),
        (b"", AT, False),
    ],
)
def test_a_loop_goes_back_to_its_first_byte(code: bytes, at: int, expected: bool) -> None:
    assert is_loop(code, at) is expected


def program(codes: list[bytes], entered: list[int]) -> Program:
    """Blocks at distances of a page; number 0 is none."""
    blocks = np.zeros(1 + len(codes), layout()["block"])
    for number, code in enumerate(codes, 1):
        blocks[number]["virtual_first"] = AT + 4096 * number
        blocks[number]["physical"] = 4096 * number
        blocks[number]["bytes"] = len(code)
        blocks[number]["instructions"] = 4 if code == SUM else 5
    return Program(blocks, np.array([0, *entered], np.int64), lambda number: ([b"", *codes])[number])


def test_the_same_code_in_two_places_is_one_candidate() -> None:
    shown = program([SUM, HASH, bytes.fromhex("4801d8c3"), SUM], [100, 90, 500, 80])
    weights = Weights.of(shown, NO_SAMPLES)
    found = candidates_of(shown, weights, Naming(shown, Nameless()), 10)
    assert [one.code for one in found] == [SUM, HASH]
    total = 4 * 180 + 5 * 90 + 5 * 500
    first = found[0]
    assert (first.entered, first.blocks, first.address) == (180, (1, 4), AT + 4096)
    assert first.share == pytest.approx(4 * 180 / total)
    assert first.time_share == pytest.approx(first.share)  # there are no samples
    assert first.disassembly[0] == "add rax, qword ptr [rdi]"
    assert first.n_instructions == 4
    assert candidates_of(shown, weights, Naming(shown, Nameless()), 1) == found[:1]


def test_time_goes_before_instructions() -> None:
    shown = program([SUM, HASH], [1000, 10])
    samples = np.zeros(200, layout()["sample"])
    samples["block"] = [2] * 150 + [1] * 50
    weights = Weights.of(shown, samples)
    found = candidates_of(shown, weights, Naming(shown, Nameless()), 10)
    assert [one.code for one in found] == [HASH, SUM]
    assert found[0].time_share == pytest.approx(0.75)
    assert found[0].share == pytest.approx(50 / 4050)
