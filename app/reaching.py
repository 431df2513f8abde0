"""Reaching in the window: what can be reached from a place, found in a thread, as rows, a way, and a graph to draw."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from app.flow_graphs import FlowArrow, FlowCard, FlowGraph, Spot, code_graph, laid_out
from app.numbers import BadNumber, parse_address
from app.output import format_bytes, plural
from app.reach_places import pointer_of
from bridge.kernel.errors import KernelError
from bridge.machine.errors import MachineError
from bridge.trace.errors import TraceError
from bridge.trace.live import watch_program
from bridge.trace.pointers import Kind
from bridge.trace.program import Program
from bridge.trace.reach import Reached
from bridge.trace.reaching import PointerView, Reaching, Step, reach_code

if TYPE_CHECKING:
    from bridge.trace.session import TraceSession

MOST_NAMED = 3_000
"""Blocks whose names the kernel's records are asked for at once; the nearest ones."""
MOST_CARDS, MOST_RECORDS = 60, 16
"""That are drawn beside a way: of code, and of the kernel's records."""
MOST_STEPS = 150
"""Of a way that is drawn; all are listed."""
MOST_SYMBOL_BYTES = 1 << 20
_BLOCK = re.compile(r"block:(\d{1,9})")
_PID = re.compile(r".*\((\d{1,10})\)", re.DOTALL)
_LONGEST_TEXT = 80


class NothingRan(TraceError):
    """Of what was named, no code ran."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: from where, to where (empty: anywhere), and which way round."""

    machine: str
    origin: str
    target: str = ""
    back: bool = False
    returns: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The answer. Nobody writes to its arrays."""

    asked: Asked
    told: Reaching
    graph: FlowGraph
    origin: str
    """What it begins at, as people call it …"""
    target: str
    """… and what it ends at; empty where that was not asked for."""
    over_code: bool
    measured: bool
    """Edges are those that were seen; otherwise what the code says."""

    @property
    def words(self) -> str:
        """How much it is, in a line."""
        what = ", ".join(plural(count, kind) for kind, count in self.told.counts.items())
        size = format_bytes(float(self.told.size_bytes))
        steps = f"{plural(len(self.told.path) - 1, 'step')}  ·  " if self.told.path else ""
        return f"{steps}{what}  ·  {size}"

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "machine": self.asked.machine,
            "from": self.asked.origin,
            "to": self.asked.target or None,
            "back": self.asked.back,
            "measured": self.measured,
            "counts": dict(self.told.counts),
            "bytes": self.told.size_bytes,
            "path": [
                {"kind": one.kind, "number": one.number, "address": one.address, "physical": one.physical}
                | {"name": one.name, "process": one.process, "count": one.count}
                for one in self.told.path
            ],
            "rows": [
                {"kind": row.kind, "number": row.number, "address": row.address, "name": row.name}
                | {"process": row.process, "steps": row.steps, "blocks": row.blocks, "pages": row.pages}
                for row in self.told.rows[:200]
            ],
        }


Inquire = Callable[..., Any]
"""`Kernels.inquire` of a machine. Raises KernelError."""


@dataclass(slots=True)
class KnownCode:
    """A program with the names of its blocks, kept so that the next question about it is answered at once."""

    program: Program
    inquire: Inquire
    made_s: float = field(default_factory=time.monotonic)
    _names: dict[int, tuple[str, str]] = field(default_factory=dict)

    def names(self, numbers: Sequence[int]) -> Mapping[int, tuple[str, str]]:
        """Symbol and process by number, of at most MOST_NAMED blocks that were not asked for before."""
        wanted = [number for number in dict.fromkeys(numbers) if number not in self._names][:MOST_NAMED]
        if wanted:
            spots = tuple((self.program.physical_of(n), int(self.program.starts[n])) for n in wanted)
            with contextlib.suppress(KernelError):  # without a kernel addresses have to do
                self._names.update(zip(wanted, self.inquire("code_places", spots), strict=False))
        return self._names

    def spots(self, shown: Sequence[int]) -> Callable[[tuple[Spot, ...]], Sequence[tuple[str, str]]]:
        """The same, as graphs ask for it."""
        named = self.names(shown)
        return lambda _spots: [named.get(number, ("", "")) for number in shown]

    def blocks_of(self, text: str) -> list[int]:
        """The blocks of `block:NUMBER`, of an address, virtual or physical, or of a symbol. Raises NothingRan."""
        program, block = self.program, _BLOCK.fullmatch(text.strip())
        if block is not None:
            number = int(block[1])
            found = [number] if number in program.ran else []
        else:
            try:
                address = parse_address(text)
            except BadNumber:
                found = self._of_symbol(text.strip())
            else:
                found = (program.holding(address) if address < 1 << 64 else program.ran[:0]).tolist()
                found = found or self._lying_at(address)
        if not found:
            shown = text[:_LONGEST_TEXT]
            raise NothingRan(f"Nothing of {shown} ran while it was watched: wait until it does, or name another place.")
        return found

    def _of_symbol(self, name: str) -> list[int]:
        where = self.inquire("symbol_range", name)
        if where is None:
            raise NothingRan(f"There is no symbol {name[:_LONGEST_TEXT]!r}, and it is no address either.")
        first, size = where
        found: list[int] = self.program.within(first, min(size, MOST_SYMBOL_BYTES)).tolist()
        return found

    def _lying_at(self, physical: int) -> list[int]:
        ran, starts = self.program.ran, self.program.physical[self.program.ran]
        at = np.uint64(physical & ((1 << 64) - 1))
        found: list[int] = ran[(starts <= at) & (at - starts < self.program.sizes[ran].astype(np.uint64))].tolist()
        return found


def recorded(session: TraceSession, seconds: float) -> Program:
    """What runs in so long, with edges as they were taken; the session's mode is then as it was before."""
    wish = session.wish
    try:
        return watch_program(session, seconds, edges=True)[0]
    finally:
        with contextlib.suppress(TraceError, MachineError):  # it may be gone
            session.set(wish)


# Over code


def over_code(known: KnownCode, asked: Asked) -> Found:
    """What code leads to, or what leads to it. Raises NothingRan, KernelError."""
    program = known.program
    starts = known.blocks_of(asked.origin)
    targets = known.blocks_of(asked.target) if asked.target else []
    told, found = reach_code(program, known.names, starts, targets, back=asked.back, returns=asked.returns)
    way = [step.number for step in told.path][:MOST_STEPS]
    shown, left_out = _shown(program, way, found, back=asked.back)
    beside = [number for number in shown if found.steps[number] < 0]
    first = way[0] if way else starts[0]
    graph = code_graph(program, shown, first, known.spots(shown), left_out=left_out, way=way, beside=beside)
    named = known.names([*starts[:1], *targets[:1]])

    def title(text: str, numbers: list[int]) -> str:
        symbol = named.get(numbers[0], ("", ""))[0] if numbers else ""
        return text if symbol.partition(" + ")[0] == text else symbol or text

    edges = program.edges.measured
    ends = title(asked.origin, starts), title(asked.target, targets) if asked.target else ""
    return Found(asked, told, graph, *ends, True, edges)


def _shown(program: Program, way: Sequence[int], found: Reached, *, back: bool) -> tuple[list[int], int]:
    """A way with what is next to it, or else what is nearest; and how much of that is left out."""
    reached = found.found.tolist()
    if not way:
        shown = reached[:MOST_CARDS]
        return (shown[::-1] if back else shown), len(reached) - len(shown)
    near: dict[int, None] = dict.fromkeys(way)
    for graph in (program.flow_within_functions, program.flow_within_functions.reversed()):
        for number in way:
            near.update(dict.fromkeys(graph.successors(number).tolist()))
    shown = list(near)[: max(MOST_CARDS, len(way))]
    return shown, len(near) - len(shown)


# Over memory


def over_memory(inquire: Inquire, asked: Asked) -> Found:
    """What the kernel's pointers lead to. Raises KernelError, BadPlace."""
    ends = pointer_of(asked.origin), pointer_of(asked.target) if asked.target else None
    origin, target = (None if end is None else (str(end[0]), end[1]) for end in ends)
    told, view = inquire("reach_memory", origin, target, asked.back, MOST_RECORDS)
    graph = memory_graph(view, [step.number for step in told.path])
    first = told.path[-1 if asked.back else 0] if told.path else None
    last = told.path[0 if asked.back else -1] if told.path else None
    titles = [asked.origin if first is None else first.name, asked.target if last is None else last.name]
    if first is None and told.rows and told.rows[0].steps == 0:
        titles[0] = told.rows[0].name
    return Found(asked, told, graph, titles[0], titles[1] if asked.target else "", False, True)


def memory_graph(view: PointerView, way: Sequence[int]) -> FlowGraph:
    """The kernel's records as cards."""
    cards = tuple(_card(*one) for one in zip(view.steps, view.pages, view.parts, strict=True))
    arrows = tuple(FlowArrow(source, target, False) for source, target in view.edges)
    place_of = {step.number: at for at, step in enumerate(view.steps)}
    chosen = cards[place_of[way[0]] if way else 0].number if cards else 0
    return laid_out(chosen, cards, arrows, view.left_out, (), tuple(place_of[number] for number in way))


def _card(step: Step, pages: int, part: str) -> FlowCard:
    lines: list[str] = []
    title, lights = step.name, None
    pid = _PID.fullmatch(step.process or step.name)
    if step.kind == Kind.TASK and pid is not None:
        lines, lights = [f"task_struct {step.address:#x}"], ("process", pid[1])
    elif step.kind == Kind.MM:
        lines = [f"mm_struct {step.address:#x}"]
    elif step.kind == Kind.VMA:
        title = step.name.partition(" of ")[0]
        start, _, end = title.partition("-")
        lines = [f"{part or 'nothing in memory'}", f"of {step.process}"]
        lights = None if pid is None else ("region", f"{pid[1]},{start},{end}")
    elif step.kind == Kind.PAGE:
        title, lines = f"page {step.address:#x}", [step.name]
    if pages:
        lines.append(plural(pages, "page"))
    return FlowCard(-1 - step.number, step.address, step.physical, title, step.process, tuple(lines), lights=lights)
