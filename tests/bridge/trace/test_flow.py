"""Loops are those of the definitions: dominance by taking a block away, a loop by what reaches its back edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace.flow import Flow, flow_from_edges, flow_of, loop_depths, loops_of

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


def loops_by_definition(edges: list[list[int]]) -> tuple[dict[int, set[int]], list[bool]]:
    """Bodies of loops by their heads, and which edges are back edges."""
    roots = roots_of(edges)
    loops: dict[int, set[int]] = {}
    backs: list[bool] = []
    for tail, targets in enumerate(edges):
        for head in targets:
            # Where there is a way to the tail that does not lead by the head it is no back edge.
            backs.append(tail == head or tail not in reached(edges, roots, without=head))
            if not backs[-1]:
                continue
            back = [[source for source, there in enumerate(edges) if block in there] for block in range(len(edges))]
            body = {head} | (reached(back, [tail], without=head) if tail != head else set())
            loops.setdefault(head, set()).update(body)
    return loops, backs


@given(GRAPHS)
@settings(max_examples=600, deadline=None)
def test_loop_depths_are_those_of_the_definition(edges: list[list[int]]) -> None:
    starts = [100 + 10 * n for n in range(len(edges))]
    flow = flow_of(starts, [[100 + 10 * target for target in targets] for targets in edges])
    bodies, backs = loops_by_definition(edges)
    assert loop_depths(flow).tolist() == [sum(block in body for body in bodies.values()) for block in range(len(edges))]
    loops = loops_of(flow)
    assert loops.back.tolist() == backs
    heads = loops.heads.tolist()
    assert sorted(heads) == sorted(bodies)
    for block, loop in enumerate(loops.innermost.tolist()):
        around = [head for head, body in bodies.items() if block in body]
        assert (loop >= 0) == bool(around)
        if around:
            assert heads[loop] == min(around, key=lambda head: len(bodies[head]))
    for loop, outer in enumerate(loops.parents.tolist()):
        around = [head for head, body in bodies.items() if heads[loop] in body and head != heads[loop]]
        assert (None if outer < 0 else heads[outer]) == min(around, key=lambda head: len(bodies[head]), default=None)


@given(GRAPHS)
@settings(max_examples=100, deadline=None)
def test_a_graph_that_is_turned_around_twice_is_the_same(edges: list[list[int]]) -> None:
    flow = flow_of(range(len(edges)), [sorted(targets) for targets in edges])
    twice = flow.reversed().reversed()
    assert twice.targets.tolist() == flow.targets.tolist()
    assert twice.first.tolist() == flow.first.tolist()
    assert flow.reversed().sources.tolist() == sorted(flow.targets.tolist())


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


def hostile(kind: str, count: int) -> Flow:
    """Graphs that simple algorithms take quadratic time for."""
    n = np.arange(count)
    sources, targets = {
        "nest": ([n[:-1], n[count // 2 :]], [n[1:], n[: count - count // 2][::-1]]),
        "ladder": ([n[:-1], n[1:], 0 * n], [n[1:], n[:-1], n]),
        "star": ([0 * n, n], [n, 0 * n]),
        "random": ([n, n], [np.random.default_rng(5).integers(0, count, count) for _ in range(2)]),
    }[kind]
    return flow_from_edges(count, np.concatenate(sources), np.concatenate(targets))


@pytest.mark.parametrize(("kind", "loops", "deepest"), [("nest", 50_000, 50_000), ("ladder", 1, 1), ("star", 1, 1)])
def test_large_graphs_of_any_form_are_no_matter(kind: str, loops: int, deepest: int) -> None:
    found = loops_of(hostile(kind, 100_000))
    assert (len(found.heads), found.depths.max()) == (loops, deepest)


def test_a_large_graph_without_order_is_no_matter() -> None:
    found = loops_of(hostile("random", 100_000))
    assert (found.depths[found.heads] > 0).all()
