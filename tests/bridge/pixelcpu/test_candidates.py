"""Candidates: which blocks are loops by themselves, which come first, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.pixelcpu.candidates import Candidate, CodeAt, candidates_of, is_loop
from bridge.pixelcpu.learning import Nameless
from bridge.pixelcpu.round_shape import shape_of
from bridge.trace.hot import Naming, Weights
from bridge.trace.instructions import plain
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


COUNT = bytes.fromhex(
    "403837750348ffc048ffc748ffc975f0"
)  # cmp [rdi],sil; jne over; inc rax; over: inc rdi; dec rcx; jnz
CUTS = {0: 5, 5: 16, 8: 16}
"""Where blocks of it begin, and end: who falls through goes on to the end, who jumps has a block of its own."""


def in_pieces(pieces: dict[int, tuple[bytes, int]], at: int = AT) -> Program:
    """Blocks at these places: bytes, and how often they were entered. Number 0 is none."""
    blocks = np.zeros(1 + len(pieces), layout()["block"])
    blocks["physical"][0] = layout()["block"]["physical"].type(-1 & (1 << 64) - 1)
    codes, entered = [b""], [0]
    for number, (place, (code, times)) in enumerate(pieces.items(), 1):
        blocks[number]["virtual_first"] = at + place
        blocks[number]["physical"] = 0x7000 + (at + place) % 4096
        blocks[number]["bytes"] = len(code)
        blocks[number]["instructions"] = len(list(plain(code, 0)))
        codes.append(code)
        entered.append(times)
    return Program(blocks, np.array(entered, np.int64), lambda number: codes[number])


def loops_in(shown: Program, code_at: CodeAt = lambda *_: b"") -> tuple[Candidate, ...]:
    return candidates_of(shown, Weights.of(shown, NO_SAMPLES), Naming(shown, Nameless()), 10, code_at)


def test_a_loop_of_several_blocks_is_put_together_from_them() -> None:
    times = {0: 1000, 5: 100, 8: 900}
    pieces = {start: (COUNT[start:end], times[start]) for start, end in CUTS.items()}
    (found,) = loops_in(in_pieces(pieces))
    assert found.code == COUNT
    assert (found.address, found.blocks, found.entered) == (AT, (1,), 1000)
    assert (found.n_instructions, found.n_counted) == (5, 2)
    assert found.share == pytest.approx(1.0)
    assert found.time_share == pytest.approx(1.0)
    assert len(found.disassembly) == 6
    # What lies before it is none of its, and what was entered from above is another block.
    more = in_pieces({-3: (b"\x48\x31\xc0" + COUNT[:5], 1), **pieces, 16: (b"\xc3", 7)})
    (found,) = loops_in(more)
    assert found.code == COUNT
    assert found.blocks == (2,)
    assert found.share < 1


def test_what_never_ran_is_read_from_ram() -> None:
    pieces = {0: (COUNT[:5], 10), 8: (COUNT[8:], 10)}
    asked = []

    def code_at(physical: int, size: int) -> bytes:
        asked.append((physical, size))
        return COUNT[physical - 0x7000 :][:size]

    (found,) = loops_in(in_pieces(pieces), code_at)
    assert found.code == COUNT
    assert (found.blocks, found.entered, found.n_instructions) == ((1,), 10, 5)
    assert asked == [(0x7005, 3)]
    assert loops_in(in_pieces(pieces), lambda _, size: bytes([0x06]) * size) == (), "no code"
    assert loops_in(in_pieces(pieces), lambda _, size: b"\xc3" + b"\x90" * (size - 1)) == (), "a return"
    assert loops_in(in_pieces(pieces), lambda *_: COUNT[5:7]) == (), "not all of it is RAM"
    assert len(loops_in(in_pieces({0: (COUNT[:5], 10), 5: (COUNT[5:8], 0), 8: pieces[8]}))) == 1


def test_what_is_no_loop_of_several_blocks() -> None:
    pieces = {start: (COUNT[start:end], 10) for start, end in CUTS.items()}
    without = {place: piece for place, piece in pieces.items() if place}
    assert loops_in(in_pieces(without)) == (), "nothing is known of its first block"
    assert loops_in(in_pieces({0: pieces[0], 8: pieces[8]})) == (), "… or of what it never came to"
    assert len(loops_in(in_pieces({**pieces, 5: (COUNT[5:], 0)}))) == 1, "in this while it did not"
    assert loops_in(in_pieces(pieces, at=AT + 4096 - 9)) == (), "across the end of a page"
    assert loops_in(in_pieces(pieces, at=0x8000)) == (), "16-bit code"
    called = COUNT[:5] + b"\xff\xd0\x90" + COUNT[8:]
    assert loops_in(in_pieces({0: (called[:5], 9), 5: (called[5:7], 9), 7: (called[7:], 9)})) == ()


def test_blocks_of_another_code_at_the_same_place_do_not_count() -> None:
    """A page that holds other code by now: what was entered most in this while is what is there."""
    pieces = {start: (COUNT[start:end], 10) for start, end in CUTS.items()}
    shown = in_pieces(pieces)
    old = in_pieces({0: (b"\x90" * 5, 0)})
    blocks = np.zeros(5, layout()["block"])
    for name in ("virtual_first", "physical", "bytes", "instructions"):
        source = {
            "virtual_first": (old.starts, shown.starts),
            "physical": (old.physical, shown.physical),
            "bytes": (old.sizes, shown.sizes),
            "instructions": (old.instructions, shown.instructions),
        }[name]
        blocks[name][1] = source[0][1]
        blocks[name][2:] = source[1][1:]
    both = Program(
        blocks,
        np.array([0, 0, 10, 10, 10], np.int64),
        lambda number: old.code_of(1) if number == 1 else shown.code_of(number - 1) if number else b"",
    )
    (found,) = loops_in(both)
    assert found.code == COUNT


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (COUNT.hex(), (5, 2, 5)),
        (SUM.hex(), (12, 4, 4)),
        ("4839d67307880648ffc6ebf4", (5, 2, 5)),  # cmp; jae out; mov; inc; jmp
        ("4839d674fc48ffc875f6", None),  # je into the middle of itself
        ("39c875fc48ffc875f7", (4, 2, 2)),  # each of two jumps goes back to the first
        ("4831c048ffc875fb48ffc975f3", None),  # another loop within
        ("39c87401e8ffd048ffc975f4", None),  # a call
        ("39c87503c39090ffc975f5", None),  # a return
        ("39c87402ffe0ffc975f6", None),  # a jump to who knows where
        ("39c87402ffc0ebf8", (4, 2, 3)),
        ("39c87402ffc0", None),
        ("39c87500ffc975f8", (4, 2, 4)),  # a jump to what is behind it ends a block, too
        ("", None),
        ("06", None),
    ],
)
def test_the_shape_of_a_round(code: str, expected: tuple[int, int, int] | None) -> None:
    shape = shape_of(bytes.fromhex(code))
    assert (None if shape is None else tuple(getattr(shape, name) for name in _SHAPE)) == expected


_SHAPE = ("first_bytes", "first_instructions", "least_instructions")
