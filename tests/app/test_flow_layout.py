"""Flow layout: blocks never overlap, edges go down but for those that close a cycle, for any graph."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.flow_layout import Placed, Spacing, _apart, place, place_rightwards

SPACING = Spacing(10, 20, 4)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    number = st.integers(0, count - 1)
    sizes = draw(st.lists(st.tuples(st.floats(5, 90), st.floats(5, 90)), min_size=count, max_size=count))
    return sizes, draw(st.lists(st.tuples(number, number), max_size=30))


@given(graphs())
def test_no_block_covers_another_and_edges_end_at_their_blocks(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    placed = place(sizes, edges, SPACING)
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(placed.corners, sizes, strict=True)]
    assert min(box[0] for box in boxes) >= -1e-6
    assert max(box[2] for box in boxes) <= placed.width + 1e-6
    assert max(box[3] for box in boxes) <= placed.height + 1e-6
    for one, other in combinations(boxes, 2):
        beside = one[2] + SPACING.beside <= other[0] + 1e-6 or other[2] + SPACING.beside <= one[0] + 1e-6
        assert beside or one[3] + SPACING.below <= other[1] + 1e-6 or other[3] + SPACING.below <= one[1] + 1e-6
    for (source, target), path, back in zip(edges, placed.paths, placed.backwards, strict=True):
        if source == target:
            assert (path, back) == ((), True)
            continue
        upper, lower = (target, source) if back else (source, target)
        points = path[::-1] if back else path
        assert abs(points[0][0] - (boxes[upper][0] + boxes[upper][2]) / 2) < 1e-6
        assert points[0][1] == boxes[upper][3]
        assert abs(points[-1][0] - (boxes[lower][0] + boxes[lower][2]) / 2) < 1e-6
        assert points[-1][1] == boxes[lower][1]
        assert all(before[1] <= after[1] for before, after in pairwise(points))
    assert _without_cycle(len(sizes), edges, placed)


def _without_cycle(count: int, edges: list[tuple[int, int]], placed: Placed) -> bool:
    """Whether the edges that lead down, alone, close no cycle."""
    waiting, onwards = [0] * count, [[] for _ in range(count)]  # type: ignore[var-annotated]
    for (source, target), back in zip(edges, placed.backwards, strict=True):
        if not back:
            onwards[source].append(target)
            waiting[target] += 1
    ready, seen = [n for n in range(count) if not waiting[n]], 0
    while ready:
        seen += 1
        for target in onwards[ready.pop()]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return seen == count


def test_a_loop_stands_below_what_enters_it_and_its_edge_leads_back() -> None:
    # 0 -> 1 -> 2 -> 1, 2 -> 3, and straight from 0 to 3: past the loop.
    placed = place([(40, 10)] * 4, [(0, 1), (1, 2), (2, 1), (2, 3), (0, 3)], SPACING)
    assert [y for _, y in placed.corners] == [0, 30, 60, 90]
    assert placed.backwards == (False, False, True, False, False)
    long = placed.paths[4]
    assert len(long) == 6, "it bends in each of the two layers that it passes"
    inside = [
        corner[0] <= x <= corner[0] + 40 for corner in placed.corners[1:3] for x, y in long[1:-1] if y == corner[1]
    ]
    assert not any(inside), "and passes beside their blocks"


def test_nothing_is_an_empty_picture() -> None:
    assert place([], []) == Placed((), (), (), 0.0, 0.0)
    assert place([(10, 20)], []).corners == ((0.0, 0.0),)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0, 30))
def test_places_apart_are_the_nearest_there_are(wanted: list[float], gap: float) -> None:
    found = _apart(wanted, [gap] * (len(wanted) - 1))
    assert all(after - before >= gap - 1e-6 for before, after in pairwise(found))
    cost = sum((a - b) ** 2 for a, b in zip(found, wanted, strict=True))
    # No block of neighbours that touch can be moved to a better place.
    for first in range(len(found)):
        for end in range(first + 1, len(found) + 1):
            for step in (-0.01, 0.01):
                moved = [x + step if first <= at < end else x for at, x in enumerate(found)]
                if all(after - before >= gap for before, after in pairwise(moved)):
                    assert sum((a - b) ** 2 for a, b in zip(moved, wanted, strict=True)) >= cost - 1e-6


def test_crossings_are_undone_where_they_can_be() -> None:
    placed = place([(10, 10)] * 5, [(0, 1), (0, 2), (1, 4), (2, 3)], SPACING)
    x = [corner[0] for corner in placed.corners]
    assert (x[1] < x[2]) == (x[4] < x[3])


@given(graphs())
def test_from_left_to_right_is_the_same_lying_down(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    placed = place_rightwards(sizes, edges, SPACING)
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(placed.corners, sizes, strict=True)]
    assert max(box[2] for box in boxes) <= placed.width + 1e-6
    assert max(box[3] for box in boxes) <= placed.height + 1e-6
    for one, other in combinations(boxes, 2):
        above = one[3] + SPACING.beside <= other[1] + 1e-6 or other[3] + SPACING.beside <= one[1] + 1e-6
        assert above or one[2] + SPACING.below <= other[0] + 1e-6 or other[2] + SPACING.below <= one[0] + 1e-6
    for (source, target), path, back in zip(edges, placed.paths, placed.backwards, strict=True):
        if source == target:
            continue
        left, right = (target, source) if back else (source, target)
        points = path[::-1] if back else path
        assert points[0][0] == boxes[left][2]
        assert points[-1][0] == boxes[right][0]
        assert all(before[0] <= after[0] for before, after in pairwise(points))
