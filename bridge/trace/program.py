"""Program: the blocks that ran, how often, which went on to which, and the loops that they make together.

Edges are those that were seen where records of blocks tell; otherwise those that the blocks' last instructions name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.trace.flow import Flow, Loops, flow_from_edges, loops_of
from bridge.trace.follows import Edges, FollowCounter
from bridge.trace.instructions import Decoded, Ending, bits_at, decode, ending
from bridge.trace.layout import layout
from bridge.trace.session import Counts

_NOTHING = np.empty(0, np.int64)
_NO_EDGES = Edges(_NOTHING, _NOTHING, _NOTHING, False)
_PAGE = np.uint64(12)


_BLOCK, _DISCONTINUITY = 0, 5
"""Kinds of a recording's rows, by `record_columns.KINDS`, whose module loads a compiler."""
_ROWS = 1 << 20


class Recorded(Protocol):
    """What is needed of a `recorded.Recording`, which loads Parquet's library."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def blocks(self) -> NDArray[Any]: ...
    @property
    def entered(self) -> NDArray[np.int64]: ...
    def code_of(self, number: int) -> bytes: ...
    def batches(self, columns: Sequence[str], most_rows: int) -> Iterator[dict[str, NDArray[Any]]]: ...


@dataclass(frozen=True, slots=True)
class BlockLoops:
    """The loops of a program, by its blocks."""

    depths: NDArray[np.int64]
    """(n,): in how many each is."""
    heads: NDArray[np.int64]
    """(n,): the block that begins the innermost loop of each; -1: none."""
    around: NDArray[np.int64]
    """(n,): of a block that begins a loop the one that begins the loop around that; -1: none."""
    back: NDArray[np.bool_]
    """(m,): which of `Program.within_functions` lead back to a loop's beginning."""


class Program:
    """Of n blocks, by the numbers of the plugin's table; number 0 is none. What never ran is there, too."""

    starts: NDArray[np.uint64]
    """(n,) virtual, where each was seen first."""
    physical: NDArray[np.uint64]
    """(n,); all ones where it is not in RAM."""
    sizes: NDArray[np.int64]
    instructions: NDArray[np.int64]
    entered: NDArray[np.int64]
    seconds: NDArray[np.float64]
    """(n,): that each took by records; zeros where there are none, and where it waited for an interrupt."""
    tasks: Mapping[int, Counter[int]]
    """By block: the words of the tasks that entered it, by records; empty where there are none."""

    def __init__(
        self,
        blocks: NDArray[Any],
        entered: NDArray[np.int64],
        code_of: Callable[[int], bytes],
        follows: FollowCounter | None = None,
    ) -> None:
        """`blocks`: (n,) with the fields of `block`. Without `follows` the edges are what the code says."""
        count = len(blocks)
        self.starts = np.array(blocks["virtual_first"], np.uint64)
        self.physical = np.array(blocks["physical"], np.uint64)
        self.sizes = np.array(blocks["bytes"], np.int64)
        self.instructions = np.array(blocks["instructions"], np.int64)
        self.entered = entered
        self.code_of = code_of
        self._measured: Edges | None = None
        self.seconds = np.zeros(count)
        self.tasks = {} if follows is None else follows.tasks()
        self._decoded: dict[int, Decoded] = {}
        measured = _NO_EDGES if follows is None else follows.edges()
        if follows is not None and len(measured):
            known = (measured.sources < count) & (measured.targets < count)
            self._measured = replace(
                measured,
                sources=measured.sources[known],
                targets=measured.targets[known],
                counts=measured.counts[known],
            )
            self.seconds = follows.seconds[:count].copy()
            self.seconds[[n for n, end in self._endings.items() if end.waits]] = 0.0

    @classmethod
    def from_counts(
        cls,
        counts: Counts,
        code_of: Callable[[NDArray[Any]], bytes],
        before: Counts | None = None,
        follows: FollowCounter | None = None,
    ) -> Program:
        """Of what was counted, since `before` where that is given. `code_of` is `TraceSession.code_of`."""
        entered = counts.total.astype(np.int64)
        if before is not None:
            entered[: len(before.blocks)] -= before.total.astype(np.int64)
        blocks = counts.blocks
        return cls(blocks, entered, lambda number: code_of(blocks[number]), follows)

    @classmethod
    def from_recording(cls, recording: Recorded) -> Program:
        """Of what was recorded. Raises BadRecording."""
        follows: FollowCounter | None = None
        # Of some blocks alone nothing says who followed whom.
        if recording.metadata.get("one_of", 1) == 1:
            follows = FollowCounter(len(recording.blocks))
            for batch in recording.batches(("vcpu", "kind", "block", "ts", "value"), _ROWS):
                kinds = batch["kind"]
                columns = (batch["vcpu"], kinds == _BLOCK, batch["block"], batch["ts"], kinds == _DISCONTINUITY)
                follows.feed_columns(*columns, batch["value"])
        return cls(recording.blocks, recording.entered, recording.code_of, follows)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def ends(self) -> NDArray[np.uint64]:
        """(n,): the first address behind each."""
        return self.starts + self.sizes.astype(np.uint64)

    def physical_of(self, number: int) -> int | None:
        """Where a block lies in RAM, if it does."""
        address = int(self.physical[number])
        return None if address == layout().constants["NONE"] else address

    def decoded(self, number: int) -> Decoded:
        """A block's instructions."""
        found = self._decoded.get(number)
        if found is None:
            start = int(self.starts[number])
            found = self._decoded[number] = decode(self.code_of(number), start, bits_at(start))
        return found

    def within(self, first: int, size: int) -> NDArray[np.int64]:
        """The blocks that ran and begin within [first, first + size), virtual."""
        starts = self.starts[self.ran]
        return self.ran[(starts >= np.uint64(first)) & (starts - np.uint64(first) < np.uint64(size))]

    def holding(self, pc: int) -> NDArray[np.int64]:
        """The blocks that ran and hold a virtual address."""
        starts, sizes = self.starts[self.ran], self.sizes[self.ran].astype(np.uint64)
        return self.ran[(starts <= np.uint64(pc)) & (np.uint64(pc) - starts < sizes)]

    @cached_property
    def edges(self) -> Edges:
        """Between its blocks. What was not measured is read off the code of all that ran, when it is first wanted."""
        return self._by_code() if self._measured is None else self._measured

    @cached_property
    def ran(self) -> NDArray[np.int64]:
        """The numbers of the blocks that ran, ascending."""
        did = self.entered > 0
        if self._measured is not None:
            did[self._measured.sources] = did[self._measured.targets] = True
        did[:1] = False
        return np.flatnonzero(did)

    @cached_property
    def flow(self) -> Flow:
        """All blocks, and the edges in their order."""
        return flow_from_edges(len(self), self.edges.sources, self.edges.targets)

    @cached_property
    def flow_within_functions(self) -> Flow:
        """All blocks, and `within_functions` in their order."""
        edges = self.within_functions
        return flow_from_edges(len(self), edges.sources, edges.targets)

    @cached_property
    def within_functions(self) -> Edges:
        """The edges without returns and interrupts, but from each call to behind it: as often as was called from there.

        A function that is called from many places returns to all of them, which is no loop of theirs.
        """
        edges = self.edges
        if not edges.measured:
            return edges
        returns, is_open = np.zeros(len(self), bool), np.zeros(len(self), bool)
        calls: list[int] = []
        behind: list[int] = []
        for number, end in self._endings.items():
            returns[number], is_open[number] = end.returns, end.is_open
            if end.calls:
                calls.append(number)
                behind.append((int(self.starts[number]) + end.size) % (1 << 64))
        # What the code does not lead to is an interrupt's beginning. Of programs the addresses are not enough to tell:
        # what they share was seen first in any of them.
        told = self._by_code()
        user = self.starts < np.uint64(_KERNEL)
        by_code = np.isin(_packed(edges.sources, edges.targets), _packed(told.sources, told.targets))
        by_code |= user[edges.sources] & user[edges.targets]
        kept = np.flatnonzero(~returns[edges.sources] & (is_open[edges.sources] | by_code))
        over = self._between(np.array(calls, np.int64), np.array(behind, np.uint64))
        times = np.bincount(edges.sources, edges.counts, len(self)).astype(np.int64)
        sources = np.concatenate([over[0], edges.sources[kept]])
        targets = np.concatenate([over[1], edges.targets[kept]])
        counts = np.concatenate([times[over[0]], edges.counts[kept]])
        _, first = np.unique(_packed(sources, targets), return_index=True)
        return Edges(sources[first], targets[first], counts[first], True)

    @cached_property
    def loops(self) -> BlockLoops:
        """What loops there are, within functions.

        Blocks that begin at the same place, of several lengths, are taken for one: QEMU cuts some anew, and a loop
        with two beginnings would be none. Where edges were only read off the code, the place is the virtual one.
        """
        ran, edges = self.ran, self.within_functions
        depths, heads = np.zeros(len(self), np.int64), np.full(len(self), -1, np.int64)
        nodes, representatives = self._places(ran)
        node_of = np.full(len(self), -1, np.int64)
        node_of[ran] = nodes
        count = len(representatives)
        keys, edge_of = np.unique(node_of[edges.sources] * max(count, 1) + node_of[edges.targets], return_inverse=True)
        found = loops_of(flow_from_edges(count, keys // max(count, 1), keys % max(count, 1)))
        depths[ran] = found.depths[nodes]
        heads[ran] = self._heads(found, representatives)[nodes]
        around, around_node = np.full(len(self), -1, np.int64), np.full(count, -1, np.int64)
        held = np.flatnonzero(found.parents >= 0)
        around_node[found.heads[held]] = representatives[found.heads[found.parents[held]]]
        around[ran] = around_node[nodes]
        return BlockLoops(depths, heads, around, found.back[edge_of] if len(keys) else np.zeros(0, bool))

    def _heads(self, found: Loops, representatives: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(found.heads):
            return np.full(len(found.innermost), -1, np.int64)
        return np.where(found.innermost >= 0, representatives[found.heads[found.innermost]], -1)

    def _places(self, ran: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which place each of these blocks begins at, and of each place the block that was entered most."""
        _, virtual = np.unique(self.starts[ran], return_inverse=True)
        place = virtual
        if self.edges.measured:
            physical = self.physical[ran]
            in_ram = physical != np.uint64(layout().constants["NONE"])
            _, lying = np.unique(physical, return_inverse=True)
            place = np.where(in_ram, lying, lying.max(initial=0) + 1 + virtual)
        order = np.lexsort((-self.entered[ran], place))
        _, first, place = np.unique(place, return_index=True, return_inverse=True)
        _, first = np.unique(place[order], return_index=True)
        return place, ran[order[first]]

    @cached_property
    def _endings(self) -> dict[int, Ending]:
        """Of the blocks that ran."""
        starts = self.starts.tolist()
        return {n: ending(self.code_of(n), starts[n], bits_at(starts[n])) for n in self.ran.tolist()}

    def _by_code(self) -> Edges:
        """Edges between blocks that ran, by their last instructions."""
        sources: list[int] = []
        targets: list[int] = []
        for number, end in self._endings.items():
            for offset in end.successors:
                sources.append(number)
                targets.append((int(self.starts[number]) + offset) % (1 << 64))
        from_, to = self._between(np.array(sources, np.int64), np.array(targets, np.uint64))
        return Edges(from_, to, np.zeros(len(from_), np.int64), False)

    def _between(
        self, sources: NDArray[np.int64], addresses: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Edges from blocks to those that ran and begin at these addresses, by source, then target.

        A process's code goes on in that process's: within a page it is the same page of RAM that it goes on in.
        """
        by_start = self.ran[np.argsort(self.starts[self.ran], kind="stable")]
        starts = self.starts[by_start]
        first = np.searchsorted(starts, addresses, side="left")
        counts = np.minimum(np.searchsorted(starts, addresses, side="right") - first, _MOST_ALIKE)
        edge = np.repeat(np.arange(len(sources)), counts)
        place = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        from_, to = sources[edge], by_start[place]
        near = (self.starts[from_] >> _PAGE) == (self.starts[to] >> _PAGE)
        wrong = near & ((self.physical[from_] >> _PAGE) != (self.physical[to] >> _PAGE))
        keys = np.unique(_packed(from_[~wrong], to[~wrong]))
        return (keys >> np.uint64(32)).astype(np.int64), (keys & _LOW).astype(np.int64)


def _packed(sources: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.uint64]:
    return (sources.astype(np.uint64) << np.uint64(32)) | targets.astype(np.uint64)


_LOW = np.uint64(0xFFFFFFFF)
_KERNEL = 1 << 63
_MOST_ALIKE = 16
"""Blocks at one virtual address, of as many processes, that another one is taken to go on to."""
