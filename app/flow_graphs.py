"""Flow graphs of the window: blocks and how they follow one another, or the kernel's pointers, laid out to be drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.flow_layout import Placed, Spacing, place, place_rightwards
from bridge.trace.instructions import BlockClass
from bridge.trace.program import Program

if TYPE_CHECKING:
    from bridge.trace.session import Counts

REACH_BYTES = 1 << 16
"""Code farther away from the chosen block is of another function, or might as well be."""
MOST_NEAR = 4_000
"""Blocks that edges are looked for between; those nearest to the chosen one."""
MOST_SHOWN = 80
MOST_LINES, LINE_CHARACTERS = 10, 46
HEAD_LINES = 1.6
"""Of a block's card, above its instructions, in lines."""
SPACING = Spacing(beside=6.0, below=2.2, bend=3.0)
"""Sideways in characters, downwards in lines."""
RIGHTWARDS = Spacing(beside=1.6, below=7.0, bend=1.2)
"""The same of a graph from left to right: downwards in lines, sideways in characters."""
Spot = tuple[int | None, int]
Names = Callable[[tuple[Spot, ...]], Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class FlowCard:
    """A block of the graph, or a record of the kernel."""

    number: int
    """In the plugin's table; of a record of the kernel below 0."""
    start: int
    physical: int | None
    title: str
    process: str
    lines: tuple[str, ...]
    """Its instructions; more than MOST_LINES are told by their number."""
    loop_depth: int = 0
    kind: BlockClass | None = None
    lights: tuple[str, str] | None = None
    """What of the guest it is, as `choose.pages_of` takes it."""


@dataclass(frozen=True, slots=True)
class FlowArrow:
    """From one card to another, by their places in `FlowGraph.cards`."""

    source: int
    target: int
    loops: bool
    """It leads back to the beginning of a loop."""
    count: int = 0
    """How often it was taken, where that was measured."""


@dataclass(frozen=True, slots=True)
class FlowLoop:
    """The cards of a natural loop, by their places: with those of the loops in it."""

    head: int
    """Where it begins; -1: that is not shown."""
    depth: int
    """1: in no other one."""
    cards: frozenset[int]


@dataclass(frozen=True, slots=True)
class FlowGraph:
    """What is drawn: sideways in characters, downwards in lines."""

    chosen: int
    cards: tuple[FlowCard, ...]
    arrows: tuple[FlowArrow, ...]
    sizes: tuple[tuple[float, float], ...]
    placed: Placed
    placed_rightwards: Placed
    """The same from left to right."""
    left_out: int
    """Blocks that are near, too, and were too many."""
    loops: tuple[FlowLoop, ...] = ()
    """Outer ones first."""
    way: tuple[int, ...] = ()
    """The cards of a way, in its order, by their places."""
    beside: frozenset[int] = frozenset()
    """Cards that are shown although nothing leads there."""
    rightwards: bool = False
    """Whether `placed` is from left to right."""

    def turned(self) -> FlowGraph:
        """The same graph, as it is drawn where room is wide and low."""
        return replace(self, placed=self.placed_rightwards, rightwards=True)

    def card_of(self, number: int) -> int | None:
        """The place of a block among the cards."""
        return next((at for at, card in enumerate(self.cards) if card.number == number), None)


def flow_graph(counts: Counts, code_of: Callable[[NDArray[Any]], bytes], number: int, names: Names) -> FlowGraph | None:
    """The graph around a block, by what the code says of those that ran; None where the block is not known.

    `names`: symbol (or part) and process of code at a physical and a virtual address.
    """
    if not 0 < number < len(counts.blocks):
        return None
    numbers = _near(counts, number)
    blocks = counts.blocks[numbers]
    entered = counts.total[numbers].astype(np.int64)
    own = int(np.flatnonzero(numbers == number)[0])
    entered[own] = max(1, int(entered[own]))
    program = Program(blocks, entered, lambda at: code_of(blocks[at]))
    shown, left_out = _around(program, own)
    return code_graph(program, shown, own, names, left_out=left_out, numbers=numbers)


def code_graph(
    program: Program,
    shown: Sequence[int],
    chosen: int,
    names: Names,
    *,
    left_out: int = 0,
    numbers: NDArray[np.int64] | None = None,
    way: Sequence[int] = (),
    beside: Iterable[int] = (),
) -> FlowGraph:
    """These blocks of a program and the edges between them; `numbers`: (n,) of its blocks in the plugin's table."""
    spots = tuple((program.physical_of(at), int(program.starts[at])) for at in shown)
    named = dict(zip(shown, names(spots), strict=False))
    place_of = {at: place for place, at in enumerate(shown)}
    depths, back = program.loops.depths, program.loops.back
    cards = []
    for at in shown:
        symbol, process = named.get(at, ("", ""))
        decoded = program.decoded(at)
        texts = [insn.text for insn in decoded.instructions]
        cut = len(texts) > MOST_LINES
        lines = [*texts[: MOST_LINES - cut], *([f"… {len(texts) - MOST_LINES + 1} more"] if cut else [])]
        cards.append(
            FlowCard(
                number=at if numbers is None else int(numbers[at]),
                start=int(program.starts[at]),
                physical=program.physical_of(at),
                title=symbol or f"{int(program.starts[at]):#x}",
                process=process,
                lines=tuple(_cut(line) for line in lines),
                loop_depth=int(depths[at]),
                kind=decoded.kind,
            )
        )
    edges = program.within_functions
    known = np.isin(edges.sources, shown) & np.isin(edges.targets, shown)
    columns = (part[known].tolist() for part in (edges.sources, edges.targets, back, edges.counts))
    arrows = tuple(
        FlowArrow(place_of[source], place_of[target], closes, count)
        for source, target, closes, count in zip(*columns, strict=True)
    )
    number = chosen if numbers is None else int(numbers[chosen])
    places = (tuple(place_of[at] for at in way), frozenset(place_of[at] for at in beside))
    return laid_out(number, tuple(cards), arrows, left_out, _loops(program, place_of), *places)


def laid_out(
    chosen: int,
    cards: tuple[FlowCard, ...],
    arrows: tuple[FlowArrow, ...],
    left_out: int,
    loops: tuple[FlowLoop, ...] = (),
    way: tuple[int, ...] = (),
    beside: frozenset[int] = frozenset(),
) -> FlowGraph:
    """Cards and arrows as a graph that can be drawn."""
    sizes = tuple(_size(card) for card in cards)
    steps = frozenset(pairwise(way))
    edges = [(arrow.source, arrow.target) for arrow in arrows]
    placed = place(sizes, edges, SPACING, steps), place_rightwards(sizes, edges, RIGHTWARDS, steps)
    return FlowGraph(chosen, cards, arrows, sizes, *placed, left_out, loops, way, beside)


def _loops(program: Program, place_of: Mapping[int, int]) -> tuple[FlowLoop, ...]:
    """The loops that the shown blocks are in, each with those of the loops in it."""
    heads, around = program.loops.heads, program.loops.around
    held: dict[int, set[int]] = {}
    for at, place_ in place_of.items():
        head = int(heads[at])
        while head >= 0:
            held.setdefault(head, set()).add(place_)
            head = int(around[head])
    depths = program.loops.depths
    found = [FlowLoop(place_of.get(head, -1), int(depths[head]), frozenset(inside)) for head, inside in held.items()]
    return tuple(sorted(found, key=lambda loop: (loop.depth, min(loop.cards))))


def _near(counts: Counts, number: int) -> NDArray[np.int64]:
    """The numbers of the blocks that ran near one, it among them, and 0, which none is; ascending."""
    starts = counts.blocks["virtual_first"].astype(np.uint64)
    away = np.minimum(starts - starts[number], starts[number] - starts)  # they wrap
    ran = (counts.total > 0) & (away < REACH_BYTES)
    ran[number], ran[0] = True, False
    near = np.flatnonzero(ran)
    if len(near) > MOST_NEAR:
        near = near[np.argsort(away[near], kind="stable")[:MOST_NEAR]]
    return np.sort(np.append(near, 0))


def _around(program: Program, own: int) -> tuple[list[int], int]:
    """The blocks that are fewest edges away from one, either way, by address; how many were too many."""
    forward, back = program.flow_within_functions, program.flow_within_functions.reversed()
    found = {own: 0}
    queue = deque([own])
    while queue:
        block = queue.popleft()
        for graph in (forward, back):
            for other in graph.successors(block).tolist():
                if other not in found:
                    found[other] = found[block] + 1
                    queue.append(other)
    shown = sorted(found, key=found.__getitem__)[:MOST_SHOWN]
    return sorted(shown, key=lambda at: int(program.starts[at])), len(found) - len(shown)


def _cut(text: str) -> str:
    return text if len(text) <= LINE_CHARACTERS else f"{text[: LINE_CHARACTERS - 1]}…"


def _size(card: FlowCard) -> tuple[float, float]:
    """In characters and lines, with its margins; the title has a count beside it."""
    title = min(len(card.title), LINE_CHARACTERS - 12) + 12
    return max(title, 20, *(len(line) for line in card.lines)) + 3.0, HEAD_LINES + len(card.lines) + 0.8
