"""Reaching: what is told of a reach, over a program's flow or over the kernel's pointers: places, a way, the memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.kernel.page_sets import NothingThere
from bridge.kernel.snapshot import SemanticSnapshot
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.trace.follows import Edges
from bridge.trace.layout import layout
from bridge.trace.pointers import Kind, PointerGraph
from bridge.trace.program import Program
from bridge.trace.reach import Reached, page_ranges, reach

BLOCK = "block"
"""What a place of code is of; those of memory are of a Kind."""
_PAGES = list(Kind).index(Kind.PAGE)
Names = Callable[[Sequence[int]], Mapping[int, tuple[str, str]]]
"""Of blocks by number: symbol and process, empty where not known."""


@dataclass(frozen=True, slots=True)
class Step:
    """A place on a way."""

    kind: str
    number: int
    """Of the block in the program, or of the node in the graph of pointers."""
    address: int
    """Virtual; of a page physical."""
    physical: int | None
    """Where it lies, where that is known."""
    name: str
    """Guest text, to be made printable."""
    process: str = ""
    count: int | None = None
    """How often it was gone to from the step before; None where that was not measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """What can be reached, taken together: the blocks of a function in a process, or a record of the kernel."""

    kind: str
    number: int
    """Of what is nearest of it."""
    address: int
    name: str
    process: str
    steps: int
    """To what is nearest of it."""
    blocks: int = 0
    entered: int = 0
    pages: int = 0
    """That hang on it."""


@dataclass(frozen=True, slots=True)
class Reaching:
    """What can be reached from somewhere, or leads there."""

    back: bool
    counts: Mapping[str, int]
    """How many of each kind."""
    rows: tuple[Row, ...]
    """The nearest first."""
    path: tuple[Step, ...]
    """A shortest way to the other end, in the direction in which it is gone; empty where there is none."""
    ranges: NDArray[np.int64]
    """(n, 2): the physical memory of all of it, start and length of whole pages."""
    path_ranges: NDArray[np.int64]
    """(n, 2): that of the way alone."""

    @property
    def reached(self) -> int:
        """How many places, of all kinds."""
        return sum(self.counts.values())

    @property
    def size_bytes(self) -> int:
        """Of all its memory."""
        return int(self.ranges[:, 1].sum())


def reach_code(
    program: Program,
    names: Names,
    starts: Sequence[int],
    targets: Sequence[int],
    *,
    back: bool = False,
    returns: bool = False,
) -> tuple[Reaching, Reached]:
    """What blocks lead to, or what leads to them; `returns`: over returns and interrupts, too."""
    flow = program.flow if returns else program.flow_within_functions
    found = reach(flow.reversed() if back else flow, starts)
    way = _way(found, targets, back=back)
    named = names([*way, *found.found.tolist()])
    taken = _taken(program.edges if returns else program.within_functions)
    path = tuple(
        Step(
            BLOCK,
            number,
            int(program.starts[number]),
            program.physical_of(number),
            *named.get(number, ("", "")),
            taken.get((before, number)),
        )
        for before, number in zip([-1, *way], way, strict=False)
    )
    rows = _functions(program, found, named)
    counts = {BLOCK: len(found.found)}
    told = Reaching(back, counts, rows, path, _memory_of(program, found.found), _memory_of(program, np.array(way, int)))
    return told, found


def _way(found: Reached, targets: Iterable[int], *, back: bool) -> list[int]:
    nearest = found.nearest(targets)
    path = () if nearest is None else found.path(nearest)
    return list(path[::-1] if back else path)


def _taken(edges: Edges) -> dict[tuple[int, int], int]:
    if not edges.measured:
        return {}
    pairs = zip(edges.sources.tolist(), edges.targets.tolist(), strict=True)
    return dict(zip(pairs, edges.counts.tolist(), strict=True))


def _functions(program: Program, found: Reached, named: Mapping[int, tuple[str, str]]) -> tuple[Row, ...]:
    """By function and process; blocks without a name are one row."""
    blocks: dict[tuple[str, str], list[int]] = {}
    for number in found.found.tolist():
        symbol, process = named.get(number, ("", ""))
        blocks.setdefault((symbol.partition(" + ")[0], process), []).append(number)
    return tuple(
        Row(
            BLOCK,
            numbers[0],
            int(program.starts[numbers[0]]),
            name,
            process,
            int(found.steps[numbers[0]]),
            len(numbers),
            int(program.entered[numbers].sum()),
        )
        for (name, process), numbers in blocks.items()
    )


def _memory_of(program: Program, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    physical, sizes = program.physical[numbers], program.sizes[numbers]
    in_ram = physical != np.uint64(layout().constants["NONE"])
    return page_ranges(physical[in_ram], sizes[in_ram])


@dataclass(frozen=True, slots=True)
class PointerView:
    """A part of the graph of pointers that can be drawn: places and edges between them, by their order here."""

    steps: tuple[Step, ...]
    pages: tuple[int, ...]
    """How many pages hang on each …"""
    parts: tuple[str, ...]
    """… and what the first of them is, empty where there are none."""
    edges: tuple[tuple[int, int], ...]
    left_out: int


def reach_memory(
    snapshot: SemanticSnapshot,
    physical_map: PhysicalMap,
    origin: tuple[Kind, int],
    target: tuple[Kind, int] | None,
    *,
    back: bool = False,
    most: int = 0,
) -> tuple[Reaching, PointerView]:
    """What a task, mm, VMA or page leads to, or what leads to it, with at most so many places to be drawn.

    Raises NothingThere.
    """
    offsets = np.arange(len(snapshot.page_map.classes), dtype=np.uint64) * np.uint64(PAGE_BYTES)
    graph = PointerGraph(snapshot, physical_map.paddr_from_offset(offsets).astype(np.uint64))
    found = reach(graph.flow.reversed() if back else graph.flow, _nodes(graph, origin))
    way = [] if target is None else _way(found, _nodes(graph, target), back=back)
    numbers = found.found
    kinds = graph.kinds(numbers)
    rows = tuple(_row(graph, number, found) for number in numbers[kinds < _PAGES].tolist())
    told = Counter(kinds.tolist())
    counts = {str(kind): told[n] for n, kind in enumerate(Kind) if told[n]}
    memory = [_memory_at(graph, part) for part in (numbers, np.array(way, np.int64))]
    path = tuple(_step(graph, number) for number in way)
    return Reaching(back, counts, rows, path, *memory), _view(graph, numbers, way, most)


def _nodes(graph: PointerGraph, place: tuple[Kind, int]) -> list[int]:
    found = graph.find(*place)
    if not found:
        kind, value = place
        shown = f"{value}" if kind is Kind.TASK and value < 1 << 22 else f"{value:#x}"
        where = "is mapped by no process" if kind is Kind.PAGE else "is not there"
        raise NothingThere(f"{kind}:{shown} {where}.")
    return found


def _step(graph: PointerGraph, number: int) -> Step:
    node = graph.node(number)
    physical = node.address if node.kind is Kind.PAGE else None
    return Step(str(node.kind), number, node.address, physical, node.label, node.process)


def _pages_under(graph: PointerGraph, number: int) -> int:
    return int((graph.kinds(graph.flow.successors(number)) == _PAGES).sum())


def _part_under(graph: PointerGraph, number: int) -> str:
    under = graph.flow.successors(number)
    pages = under[graph.kinds(under) == _PAGES]
    return graph.node(int(pages[0])).label if len(pages) else ""


def _row(graph: PointerGraph, number: int, found: Reached) -> Row:
    node = graph.node(number)
    pages = _pages_under(graph, number)
    steps = int(found.steps[number])
    return Row(str(node.kind), number, node.address, node.label, node.process, steps, pages=pages)


def _memory_at(graph: PointerGraph, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    addresses = graph.physical_of(nodes)
    return page_ranges(addresses[addresses != np.uint64((1 << 64) - 1)], np.ones(1, np.int64))


def _view(graph: PointerGraph, numbers: NDArray[np.int64], way: Sequence[int], most: int) -> PointerView:
    """The way, then what has most pages; pages themselves only where they are on the way, or nothing else is."""
    pages = {number: _pages_under(graph, number) for number in numbers[graph.kinds(numbers) < _PAGES].tolist()}
    kinds = dict(zip(numbers.tolist(), graph.kinds(numbers).tolist(), strict=True))
    # Tasks and mms are few, and nothing hangs together without them.
    order = sorted(pages, key=lambda number: (kinds[number] == _PAGES - 1, -pages[number]))
    first = numbers[:1].tolist()  # where it begins: a page, too
    shown = list(dict.fromkeys([*way, *first, *order]))[:most]
    place = {number: at for at, number in enumerate(shown)}
    edges = [
        (place[one], place[other]) for one in shown for other in graph.flow.successors(one).tolist() if other in place
    ]
    left_out = len(set(order) - set(shown))
    return PointerView(
        tuple(_step(graph, number) for number in shown),
        tuple(pages.get(number, 0) for number in shown),
        tuple(_part_under(graph, number) for number in shown),
        tuple(edges),
        left_out,
    )
