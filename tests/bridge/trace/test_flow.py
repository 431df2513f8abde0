"""Loops are those of the definitions: dominance by taking a block away, a loop by what reaches its back edge."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace.flow import flow_of, loop_depths

GRAPHS = st.integers(1, 9).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=3, unique=True), min_size=n, max_size=n)
)


def reached(edges: list[list[int]], roots: list[int], without: int = -1) -> set[int]:
    found: set[int] = set()
    stack = [root for root in roots if root != without]
    while stack:
        block = stack.pop()
        if block not in found:
            found.add(block)
            stack.extend(target for target in edges[block] if target != without)
    return found


def roots_of(edges: list[list[int]]) -> list[int]:
    """Blocks that nothing else leads to; then, of what they do not reach, the first, and so on."""
    entered = {target for block, targets in enumerate(edges) for target in targets if target != block}
    roots = [block for block in range(len(edges)) if block not in entered]
    while len(seen := reached(edges, roots)) < len(edges):
        roots.append(min(set(range(len(edges))) - seen))
    return roots


def by_definition(edges: list[list[int]]) -> list[int]:
    roots = roots_of(edges)
    loops: dict[int, set[int]] = {}
    for tail, targets in enumerate(edges):
        for head in targets:
            if tail in reached(edges, roots, without=head) and tail != head:
                continue  # there is a way to the tail that does not lead by the head: no back edge
            back = [[source for source, there in enumerate(edges) if block in there] for block in range(len(edges))]
            body = {head} | (reached(back, [tail], without=head) if tail != head else set())
            loops.setdefault(head, set()).update(body)
    return [sum(block in body for body in loops.values()) for block in range(len(edges))]


@given(GRAPHS)
@settings(max_examples=600, deadline=None)
def test_loop_depths_are_those_of_the_definition(edges: list[list[int]]) -> None:
    starts = [100 + 10 * n for n in range(len(edges))]
    flow = flow_of(starts, [[100 + 10 * target for target in targets] for targets in edges])
    assert loop_depths(flow).tolist() == by_definition(edges)


def test_a_nest_of_loops() -> None:
    edges = [[1], [2], [3], [2, 4], [1, 5], []]  # 2-3 within 1-4
    assert loop_depths(flow_of(range(6), edges)).tolist() == [0, 1, 2, 2, 1, 0]


def test_jumps_to_no_known_block_are_left_out() -> None:
    flow = flow_of([10, 20], [[20, 99], [10]])
    assert [flow.successors(block).tolist() for block in (0, 1)] == [[1], [0]]


def test_a_very_long_chain_is_no_matter_of_the_stack() -> None:
    count = 50_000
    edges = [[n + 1] for n in range(count - 1)] + [[0]]
    assert set(loop_depths(flow_of(range(count), edges)).tolist()) == {1}
