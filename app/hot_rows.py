"""Hot rows: what panels show of a traced machine's blocks — a table by time, a flame graph's leaves, a listing."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.trace_history import NO_PROCESS, NO_TASK, History, Span
from bridge.trace.flow import flow_of, loops_of
from bridge.trace.hot import HotBlock
from bridge.trace.instructions import Decoded, bits_at, decode
from bridge.trace.layout import layout

MOST_ROWS = 200
MOST_LEAVES = 600
MOST_NEIGHBOURS = 1500
"""Blocks that loops are looked for in."""
MOST_KEPT = 20_000
NOBODY = "Process not known"
BRIEF = "Short-lived processes"
"""Of user code whose task was in none of the kernel's lists: it came and went between two looks at them."""
_LISTED_EACH_WAY = 40
_GAP_BYTES = 64
"""A listing goes on over so many bytes that were not run."""
_PAGE = 4096
_USER_END = 1 << 47

Places = Mapping[int, tuple[str, str]]
"""Of blocks by number: the symbol or part, and whose it is; empty where not known."""


@dataclass(frozen=True, slots=True)
class HotRow(HotBlock):
    """A hot block in the window."""

    number: int
    physical: int | None
    spark: tuple[float, ...]
    """Its share over the last minute, the newest last."""
    heads_loop: bool = False
    """Whether a loop begins with it."""

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"block": self.number, "physical": self.physical, **HotBlock.document(self)}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A block as one process ran it: what a flame graph is made of."""

    process: str
    symbol: str
    block: int
    """0: those that are too many to be told one by one."""
    label: str
    weight: float


@dataclass(frozen=True, slots=True)
class ListedLine:
    """An instruction of a listing."""

    block: int
    physical: int
    address: int
    text: str
    count: int
    gap: int = 0
    """Bytes before it that were not run."""
    loop_depth: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The selected block, with those around it that ran as well."""

    block: int
    lines: tuple[ListedLine, ...]


class Decoder:
    """Decodes blocks, each once. For one thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Decoded] = OrderedDict()

    def decoded(self, number: int, block: NDArray[Any], code_of: Callable[[NDArray[Any]], bytes]) -> Decoded:
        """The instructions of a block: its number stands for the same bytes as long as the machine runs."""
        found = self._kept.get(number)
        if found is None:
            start = int(block["virtual_first"])
            found = self._kept[number] = decode(code_of(block), start, bits_at(start))
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return found


def physical_of(block: NDArray[Any]) -> int | None:
    """Where a block lies; None where that is not in RAM."""
    address = int(block["physical"])
    return None if address == layout().constants["NONE"] else address


def hottest_numbers(span: Span, most: int = MOST_ROWS) -> NDArray[np.int64]:
    """The blocks that took the most time, the hottest first."""
    weight = span.weights()
    order = np.argsort(-weight, kind="stable")[: most + 1]
    found: NDArray[np.int64] = order[(weight[order] > 0) & (order != 0)][:most].astype(np.int64)
    return found


def hot_rows(
    history: History,
    span: Span,
    numbers: NDArray[np.int64],
    decoded: Callable[[int], Decoded],
    loops: LoopsOf,
    places: Places,
) -> tuple[HotRow, ...]:
    """These blocks as rows."""
    weight = span.weights()
    total = float(weight.sum()) or 1.0
    sparks = history.sparks(numbers, by_samples=span.by_samples)
    running = _running(span, numbers)
    rows = []
    for number, spark in zip(numbers.tolist(), sparks, strict=True):
        block = span.blocks[number]
        symbol, owner = places.get(number, ("", ""))
        rows.append(
            HotRow(
                number=number,
                pc=int(block["virtual_first"]),
                end=int(block["virtual_first"]) + int(block["bytes"]),
                physical=physical_of(block),
                count=int(span.entered[number]),
                share=float(weight[number] / total),
                symbol=symbol,
                process=running.get(number, "") or owner,
                loop_depth=loops.depths.get(number, 0),
                kind=decoded(number).kind,
                disassembly=tuple(insn.text for insn in decoded(number).instructions),
                spark=tuple(spark.tolist()),
                heads_loop=number in loops.heads,
            )
        )
    return tuple(rows)


def _running(span: Span, numbers: NDArray[np.int64]) -> dict[int, str]:
    """By block the process whose task ran in most of its samples, of those that are known; empty for no task at all."""
    wanted = np.isin(span.busy, numbers)
    counted: dict[int, Counter[int]] = {}
    for number, whose in zip(span.busy[wanted].tolist(), span.whose[wanted].tolist(), strict=True):
        counted.setdefault(number, Counter())[whose] += 1
    found = {}
    for number, each in counted.items():
        names = (process_in(span, number, whose) for whose, _ in each.most_common())
        found[number] = next((name for name in names if name), "")
    return found


def process_in(span: Span, number: int, whose: int) -> str:
    """The process that a sample found in a block; empty where that is not known."""
    if whose not in (NO_TASK, NO_PROCESS):
        return span.processes[whose]
    return BRIEF if whose == NO_PROCESS and int(span.blocks[number]["virtual_first"]) < _USER_END else ""


def leaves_of(span: Span, places: Places, most: int = MOST_LEAVES) -> tuple[Leaf, ...]:
    """A flame graph's leaves, the heaviest first: by process that ran, symbol and block."""
    if span.by_samples:
        pairs, weights = np.unique(span.whose.astype(np.int64) * len(span.blocks) + span.busy, return_counts=True)
        whose = (pairs // len(span.blocks)).tolist()
        numbers, amounts = (pairs % len(span.blocks)).tolist(), weights.astype(np.float64)
    else:
        weight = span.weights()
        ran = np.flatnonzero(weight > 0)
        whose, numbers, amounts = [NO_TASK] * len(ran), ran.tolist(), weight[ran]
    order = np.argsort(-amounts, kind="stable").tolist()
    found: list[Leaf] = []
    others: Counter[str] = Counter()
    for at in order:
        number = numbers[at]
        symbol, owner = places.get(number, ("", ""))
        process = process_in(span, number, whose[at]) or owner or NOBODY
        if len(found) >= most:
            others[process] += float(amounts[at])  # type: ignore[assignment]
            continue
        block = span.blocks[number]
        found.append(Leaf(process, group_of(symbol, block), number, label_of(symbol, block), float(amounts[at])))
    found += [Leaf(process, "Other code", 0, "", float(weight)) for process, weight in others.items()]
    return tuple(found)


def group_of(symbol: str, block: NDArray[Any]) -> str:
    """What a block is a part of: its symbol, or its page where it has none."""
    name = symbol.rpartition(" + ")[0] or symbol
    return name or f"Page {int(block['virtual_first']) & ~(_PAGE - 1):#x}"


def label_of(symbol: str, block: NDArray[Any]) -> str:
    """What a block is called within that."""
    name, _, offset = symbol.rpartition(" + ")
    if name:
        return f"+{offset}"
    start = int(block["virtual_first"])
    return "+0x0" if symbol and start >= _USER_END else f"{start:#x}"


def neighbours(span: Span, numbers: NDArray[np.int64], most: int = MOST_NEIGHBOURS) -> list[int]:
    """The blocks that ran in the pages of these: where their loops are looked for."""
    pages = span.blocks["physical"] >> np.uint64(12)
    ran = np.flatnonzero(span.entered > 0)
    near = ran[np.isin(pages[ran], pages[numbers])]
    return [number for number in near.tolist() if number][:most]


@dataclass(frozen=True, slots=True)
class LoopsOf:
    """The natural loops of some blocks, by number."""

    depths: Mapping[int, int] = field(default_factory=dict)
    """In how many each is."""
    heads: frozenset[int] = frozenset()
    """Those with which one begins."""


def loops_among(span: Span, numbers: Sequence[int], decoded: Callable[[int], Decoded]) -> LoopsOf:
    """The loops that these blocks' own jumps make; see `bridge.trace.hot`."""
    begins = {number: int(span.blocks[number]["virtual_first"]) for number in numbers}
    going: dict[int, set[int]] = {}
    for number, start in begins.items():
        going.setdefault(start, set()).update(start + offset for offset in decoded(number).successors)
    starts = sorted(going)
    found = loops_of(flow_of(starts, [sorted(going[start]) for start in starts]))
    depth_of = dict(zip(starts, found.depths.tolist(), strict=True))
    heads = {starts[at] for at in found.heads.tolist()}
    depths = {number: depth_of[start] for number, start in begins.items()}
    return LoopsOf(depths, frozenset(number for number, start in begins.items() if start in heads))


def listing_of(
    span: Span, number: int, decoded: Callable[[int], Decoded], depths: Mapping[int, int] | None = None
) -> Listing | None:
    """The instructions of a block and of those around it that ran, by address, each with how often it was run."""
    if not 0 < number < len(span.blocks) or (physical := physical_of(span.blocks[number])) is None:
        return None
    shift = int(span.blocks[number]["virtual_first"]) - physical
    starts = span.blocks["physical"]
    low, high = np.uint64(max(0, physical - _PAGE)), np.uint64(physical + _PAGE)
    near = np.flatnonzero((starts >= low) & (starts < high) & (span.entered > 0))
    near = np.union1d(near[near != 0], [number])
    near = near[np.argsort(starts[near], kind="stable")]
    chosen = _without_gaps(span, near.tolist(), number)
    counts: Counter[int] = Counter()
    lines: dict[int, tuple[int, str, int]] = {}
    for one in chosen:
        start = int(starts[one])
        for insn in decoded(one).instructions:
            counts[start + insn.offset] += int(span.entered[one])
            if one == number or start + insn.offset not in lines:
                lines[start + insn.offset] = (one, insn.text, insn.size)
    listed: list[ListedLine] = []
    end = None
    for at in sorted(lines):
        one, text, size = lines[at]
        gap = 0 if end is None else max(0, at - end)
        depth = 0 if depths is None else depths.get(one, 0)
        listed.append(ListedLine(one, at, at + shift, text, counts[at], gap, depth))
        end = max(end or 0, at + size)
    return Listing(number, tuple(listed))


def _without_gaps(span: Span, near: list[int], number: int) -> list[int]:
    """Those that go on from one to the next, before and behind a block, as far as that is; not all too many."""
    starts, sizes = span.blocks["physical"], span.blocks["bytes"]
    at = near.index(number)
    first = last = at
    begin = int(starts[number])
    while first > 0 and at - first < _LISTED_EACH_WAY:
        before = near[first - 1]
        if int(starts[before]) + int(sizes[before]) + _GAP_BYTES < begin:
            break
        first, begin = first - 1, int(starts[before])
    end = begin = int(starts[number]) + int(sizes[number])
    while last + 1 < len(near) and last - at < _LISTED_EACH_WAY:
        behind = near[last + 1]
        if int(starts[behind]) > end + _GAP_BYTES:
            break
        last, end = last + 1, max(end, int(starts[behind]) + int(sizes[behind]))
    return near[first : last + 1]
