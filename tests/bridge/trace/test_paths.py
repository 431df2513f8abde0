"""Hot paths are the sequences that are followed most; clusters are of blocks that do the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace.clusters import abstract, clusters
from bridge.trace.instructions import decode
from bridge.trace.paths import MOST_BLOCKS, hot_paths
from tests.bridge.trace.programs import JUMP, TEXT, program_of, walked

NOP = b"\x90"


def test_the_hottest_path_is_the_loop_and_what_it_leaves_is_another() -> None:
    # 1 → (2 → 3 → 4)* → 5; now and then 3 → 6 → 4.
    run = [1, *[2, 3, 4] * 50, 2, 3, 6, 4, 5]
    counter = walked([run], 7)
    starts = [TEXT + 16 * n for n in range(6)]
    program = program_of(starts, [JUMP] * 6, [run.count(n) for n in range(1, 7)], counter)
    values = program.entered / program.entered.sum()
    first, *rest = hot_paths(program, values, 10)
    assert first.blocks == (2, 3, 4)
    assert first.loops
    assert first.count == 50
    assert first.share == pytest.approx(sum(run.count(n) for n in (2, 3, 4)) / len(run))
    # 6 is in the loop as well, but is hardly ever met; and out of a loop no path leads.
    assert sorted(path.blocks for path in rest) == [(1,), (5,), (6,)]
    assert hot_paths(program, values, 1) == (first,)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_block_is_in_two_paths_and_each_step_was_taken(run: list[int]) -> None:
    program = program_of(
        [TEXT + 16 * n for n in range(12)], [JUMP] * 12, [run.count(n) for n in range(1, 13)], walked([run], 13)
    )
    values = program.entered / program.entered.sum()
    paths = hot_paths(program, values, 50)
    members = [block for path in paths for block in path.blocks]
    assert sorted(members) == sorted(set(run))
    assert sum(path.share for path in paths) == pytest.approx(1)
    taken = set(itertools.pairwise(run))
    for path in paths:
        assert set(itertools.pairwise(path.blocks)) <= taken
        assert path.loops == ((path.blocks[-1], path.blocks[0]) in taken)
    assert [path.share for path in paths] == sorted((path.share for path in paths), reverse=True)


def test_a_path_is_bounded() -> None:
    count = 3 * MOST_BLOCKS
    program = program_of(
        [TEXT + 16 * n for n in range(count)],
        [JUMP] * count,
        [1] * count,
        walked([list(range(1, count + 1))], count + 1),
    )
    values = np.array([0, *[1 / count] * count])
    assert len(hot_paths(program, values, 1)[0].blocks) == MOST_BLOCKS


def test_paths_by_code_alone_count_by_entries() -> None:
    program = program_of([TEXT, TEXT + 1], [NOP, b"\xeb\xfd"], [7, 6])
    (path,) = hot_paths(program, np.array([0, 0.5, 0.5]), 5)
    assert (path.blocks, path.count, path.loops) == ((1, 2), 6, True)


def form_of(code: str) -> tuple[str, ...]:
    return abstract(insn.text for insn in decode(bytes.fromhex(code), TEXT).instructions)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("488b4308 4801c8", "488b5610 4801fa"),  # mov rax,[rbx+8]; add rax,rcx / mov rdx,[rsi+16]; add rdx,rdi
        ("4c8b4708 4d01d0", "488b4308 4801c8"),  # r8, rdi, r10
        ("0fb6c0 84c0 7405", "0fb6d2 84d2 7510"),  # movzx eax,al; test al,al; je / the same with dl; jne
        ("660fefc1", "660fefd3"),  # pxor xmm
        ("e800010000", "e800020000"),  # call
    ],
)
def test_forms_are_alike_whatever_registers_and_constants(one: str, other: str) -> None:
    assert form_of(one) == form_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("488b4308 4801c8", "488b4308 4801d8"),  # adds another one / the one that was the base
        ("4801c8", "01c8"),  # 64 and 32 bits
        ("488b4308", "488b442408"),  # by a pointer / from the stack
        ("488b4308", "65488b4308"),  # a processor's own
        ("488b0433", "488b04b3"),  # scaled
    ],
)
def test_forms_differ_where_something_else_is_done(one: str, other: str) -> None:
    assert form_of(one) != form_of(other)


def test_forms_read_well() -> None:
    assert form_of("488b4308 65488b0c2528000000 01c8 c5fdefc1 f0480fb10a 7405") == (
        "mov r1, [r2 + n]",
        "mov r3, gs:[n]",
        "add r1.32, r3.32",
        "vpxor v1, v1, v2",
        "lock cmpxchg [r4], r3",
        "jcc",
    )


def test_clusters_are_by_their_whole_share() -> None:
    codes = [bytes.fromhex(text) for text in ("4801c8", "4829c8", "4801d3", "06")]  # add, sub, add; no instruction
    program = program_of([TEXT + 16 * n for n in range(4)], codes, [10, 30, 20, 5])
    first, second = clusters(program, np.array([0, 0.3, 0.4, 0.2, 0.1]), 10)
    assert (first.form, first.blocks, first.entered) == (("add r1, r2",), (1, 3), 30)
    assert first.share == pytest.approx(0.5)
    assert second.blocks == (2,)
    assert len(clusters(program, np.array([0, 0.3, 0.4, 0.2, 0.1]), 1)) == 1
