"""Reach is what the definition says, by a shortest way; pages are joined; the kernel's pointers lead as it has them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace.flow import flow_from_edges, flow_of
from bridge.trace.reach import page_ranges, reach
from tests.bridge.trace.test_flow import GRAPHS, reached


@given(GRAPHS, st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_reached_and_by_a_shortest_way(edges: list[list[int]], data: st.DataObject) -> None:
    flow = flow_of(range(len(edges)), edges)
    starts = data.draw(st.lists(st.integers(0, len(edges) - 1), max_size=2))
    found = reach(flow, starts)
    assert set(found.found.tolist()) == reached(edges, starts)
    assert found.steps[found.found].tolist() == sorted(found.steps[found.found].tolist())
    for target in range(len(edges)):
        path = found.path(target)
        assert bool(path) == (found.steps[target] >= 0)
        if path:
            assert path[0] in starts
            assert path[-1] == target
            assert all(other in edges[one] for one, other in itertools.pairwise(path))
            assert len(path) - 1 == found.steps[target]
            # No start reaches it in fewer steps: what is nearer does not lead to it.
            nearer = [n for n in range(len(edges)) if 0 <= found.steps[n] < found.steps[target] - 1]
            assert not any(target in edges[n] for n in nearer)
    back = reach(flow.reversed(), starts)
    assert set(back.found.tolist()) == {n for n in range(len(edges)) if set(starts) & reached(edges, [n])}


def test_a_large_graph_with_a_cycle() -> None:
    n = np.arange(100_000)
    found = reach(flow_from_edges(len(n), np.tile(n, 2), np.concatenate([n // 2, (n + 1) % len(n)])), [0])
    assert (found.steps >= 0).all()
    assert found.nearest([50, 7, 99]) == 7
    assert reach(flow_of([1, 2], [[], []]), [0]).nearest([1]) is None


def test_pages_are_joined() -> None:
    addresses = np.array([0x1FF0, 0x1000, 0x5000, 0x3010], np.uint64)
    ranges = page_ranges(addresses, np.array([0x20, 1, 0, 0x10]))
    assert ranges.tolist() == [[0x1000, 0x3000], [0x5000, 0x1000]]
    assert page_ranges(addresses[:0], np.zeros(0, np.int64)).tolist() == []
    assert page_ranges(np.array([0], np.uint64), np.array([1])).tolist() == [[0, 4096]]


@pytest.mark.parametrize("start", [0, 1])
def test_several_starts_and_none(start: int) -> None:
    flow = flow_of([0, 1], [[1], [0]])
    assert reach(flow, [start]).steps.tolist() == ([0, 1] if start == 0 else [1, 0])
    assert reach(flow, []).steps.tolist() == [-1, -1]
