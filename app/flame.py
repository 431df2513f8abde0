"""Flame graph: boxes of process, symbol and block, each as wide as its share of the time, as the part zoomed into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.hot_rows import Leaf

DEPTH = 4
"""Everything, a process, a symbol, a block."""
OTHERS = "…"
Path = tuple[str, ...]
"""From everything (empty) to a process, its symbol, and the block in that."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the picture. Start and width are parts of the whole width, 0 to 1."""

    path: Path
    start: float
    width: float
    weight: float
    block: int = 0
    """Where it is one; 0 where it is more."""
    hidden: int = 0
    """It stands for so many that are too narrow to be drawn."""

    @property
    def depth(self) -> int:
        return len(self.path)

    @property
    def title(self) -> str:
        return self.path[-1] if self.path else ""


@dataclass(slots=True)
class _Node:
    weight: float = 0.0
    block: int = 0
    below: dict[str, _Node] = field(default_factory=dict)


def boxes(leaves: Iterable[Leaf], zoom: Path = (), least: float = 0.001) -> tuple[Box, ...]:
    """The boxes, level by level, each level from left to right, by name: so they keep their order as time goes on.

    `zoom`: what takes the whole width; where it is gone, what it was a part of. Those narrower than `least` are put
    together at the end of what they are in.
    """
    root = _Node()
    for leaf in leaves:
        node = root
        node.weight += leaf.weight
        for name in (leaf.process, leaf.symbol, leaf.label) if leaf.block else (leaf.process, leaf.symbol):
            node = node.below.setdefault(name, _Node())
            node.weight += leaf.weight
        node.block = leaf.block
    if root.weight <= 0:
        return ()
    node, found = root, [Box((), 0.0, 1.0, root.weight)]
    for name in zoom_within(root, zoom):
        node = node.below[name]
        found.append(Box((*found[-1].path, name), 0.0, 1.0, node.weight, node.block))
    _place(node, found[-1].path, 0.0, 1.0, least, found)
    return tuple(sorted(found, key=lambda box: (box.depth, box.start)))


def zoom_within(root: _Node, zoom: Path) -> Path:
    """As much of a way as there still is."""
    node, kept = root, 0
    for name in zoom:
        if name not in node.below:
            break
        node, kept = node.below[name], kept + 1
    return zoom[:kept]


def _place(node: _Node, path: Path, start: float, width: float, least: float, found: list[Box]) -> None:
    at, narrow, hidden = start, 0.0, 0
    for name, below in sorted(node.below.items()):
        wide = width * below.weight / node.weight
        if wide < least:
            narrow, hidden = narrow + below.weight, hidden + 1
            continue
        found.append(Box((*path, name), at, wide, below.weight, below.block))
        _place(below, (*path, name), at, wide, least, found)
        at += wide
    if hidden and width * narrow / node.weight >= least:
        found.append(Box((*path, OTHERS), at, width * narrow / node.weight, narrow, 0, hidden))


def under(drawn: Sequence[Box], depth: int, at: float) -> Box | None:
    """The box at a level and a part of the width."""
    return next((box for box in drawn if box.depth == depth and box.start <= at < box.start + box.width), None)
