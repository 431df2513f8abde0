"""Operations on the parts of a word, as SSE has them, by plain ones on the whole: for algebras without parts.

Parts are of 8, 16 or 32 bits, side by side; nothing is carried from one to the next (Warren, Hacker's Delight, 2-18).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from bridge.pixelcpu.algebra import Algebra

V = TypeVar("V")
B = TypeVar("B")


def by_whole_words(algebra: Algebra[V, B], operation: str, part: int, left: V, right: V) -> V:
    """What `Algebra.packed` does."""
    width = algebra.width(left)
    tops = sum(1 << place for place in range(part - 1, width, part))
    parts = _Parts(algebra, part, algebra.const(width, tops), algebra.const(width, ~tops))
    if operation == "add":
        return parts.add(left, right)
    if operation == "sub":
        return parts.sub(left, right)
    if operation == "eq":
        return parts.equal(left, right)
    if operation == "gt":
        return parts.less(right, left, signed=True)
    smaller, signed = operation.startswith("min"), operation.endswith("s")
    chosen = parts.less(left, right, signed=signed)
    one, other = (left, right) if smaller else (right, left)
    return algebra.xor(other, algebra.and_(algebra.xor(one, other), chosen))


@dataclass(frozen=True, slots=True)
class _Parts(Generic[V, B]):
    """How words are parted."""

    algebra: Algebra[V, B]
    part: int
    tops: V
    """The top bit of each part …"""
    rest: V
    """… and all others."""

    def add(self, left: V, right: V) -> V:
        g = self.algebra
        low = g.add(g.and_(left, self.rest), g.and_(right, self.rest))
        return g.xor(low, g.and_(g.xor(left, right), self.tops))

    def sub(self, left: V, right: V) -> V:
        g = self.algebra
        low = g.sub(g.or_(left, self.tops), g.and_(right, self.rest))
        return g.xor(low, g.and_(g.not_(g.xor(left, right)), self.tops))

    def equal(self, left: V, right: V) -> V:
        """All bits of the parts that are the same."""
        g = self.algebra
        change = g.xor(left, right)
        some = g.or_(g.add(g.and_(change, self.rest), self.rest), change)  # its top bit: whether any of the part is set
        return self._whole(g.and_(g.not_(some), self.tops))

    def less(self, left: V, right: V, *, signed: bool) -> V:
        """All bits of the parts in which `left` is less: those that borrow (2-13)."""
        g = self.algebra
        if signed:
            left, right = g.xor(left, self.tops), g.xor(right, self.tops)
        not_left = g.not_(left)
        borrows = g.or_(g.and_(not_left, right), g.and_(g.or_(not_left, right), self.sub(left, right)))
        return self._whole(g.and_(borrows, self.tops))

    def _whole(self, tops: V) -> V:
        """All bits of the parts whose top bits these are."""
        g = self.algebra
        return g.or_(tops, g.sub(tops, g.lshr(tops, g.const(g.width(tops), self.part - 1))))
