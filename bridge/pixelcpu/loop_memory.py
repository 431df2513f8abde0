"""The memory that a loop's rounds touch, as streams: addresses that advance by the same number of bytes each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.guarded_stores import guard_of
from bridge.pixelcpu.loop_terms import change_of, is_proved, replaced, symbols, value_of
from bridge.pixelcpu.vex import Meaning

Term = Any
MEMORY = "memory"
"""The name that `vex` gives memory."""
MOST_BYTES = 256
"""That one round touches."""
_TABLE_BITS = 12
"""Of the distance from a table's beginning: no table is larger than a page."""
_ALL = 1 << 64
_KEPT = z3.BitVec("kept", 8)
"""A byte that is not stored after all: what is there, whatever that is."""


@dataclass(frozen=True, slots=True)
class Counting:
    """What is known of the registers."""

    steps: Mapping[str, int]
    """Of those that count, by how much a round."""
    narrow: AbstractSet[str]
    """Those of them that count within 32 bits."""
    fixed: AbstractSet[str]
    """Those that no round changes."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes that follow each other, loaded or stored in each round, and where they are in the next."""

    base: Term
    """The address without its constant part, over the registers before the first round."""
    first: int
    """The constant part: of the lowest byte."""
    size: int
    """Of a table: from its first byte that a round may touch to the last."""
    stride: int
    """Bytes from one round to the next; 0: the same bytes every time."""
    is_store: bool
    bytes_: tuple[Term, ...] = ()
    """What is stored, by byte, over the registers and the memory before the round; `kept` where nothing is."""
    is_table: bool = False
    """A round touches some of the bytes, wherever an index says; only of an ordered loop."""

    @property
    def value(self) -> Term:
        """What is stored, as one word."""
        return z3.Concat(*reversed(self.bytes_)) if len(self.bytes_) > 1 else self.bytes_[0]

    def loaded(self) -> list[Term]:
        """The bytes that it loads, as terms."""
        memory = z3.Array(MEMORY, z3.BitVecSort(64), z3.BitVecSort(8))
        return [z3.simplify(z3.Select(memory, self.base + (self.first + at))) for at in range(self.size)]

    def address(self, words: Mapping[str, int]) -> int:
        """Of the lowest byte in the first round."""
        return (value_of(self.base, words) + self.first) % _ALL

    def rounds_apart(self, other: Stream, words: Mapping[str, int], most: int) -> int:
        """In how many rounds, at most `most`, no byte of this stream is one of the other."""
        lows = [stream.address(words) for stream in (self, other)]
        # Both as intervals that grow with the rounds; addresses that wrap around are left alone.
        while most:
            spans = []
            for stream, low in zip((self, other), lows, strict=True):
                moved = stream.stride * (most - 1)
                start, end = (low + moved, low + stream.size) if moved < 0 else (low, low + moved + stream.size)
                spans.append((start, end))
            (a, b), (c, d) = spans
            if min(a, c) >= 0 and max(b, d) <= _ALL and (b <= c or d <= a):
                return most
            most //= 2
        return 0


@dataclass(frozen=True, slots=True)
class Streams:
    """All of a round."""

    streams: tuple[Stream, ...]
    apart: tuple[tuple[int, int], ...]
    """Those of which it is to be looked at each time that they do not meet."""
    terms: Mapping[str, Term]
    """What they need, by a name each: addresses and what is stored."""


def streams_in_order(one_round: Meaning, counting: Counting) -> tuple[Stream, ...]:
    """The streams of a round; rounds that are done in their order may meet. Raises Unsupported."""
    return tuple(_all_streams(one_round, counting, forwarded=True))


def streams_of(one_round: Meaning, counting: Counting) -> Streams:
    """The streams of a round, and of which to look whether they meet. Raises Unsupported."""
    streams = _all_streams(one_round, counting, forwarded=False)
    for stream in streams:
        if stream.is_store and abs(stream.stride) < stream.size:
            raise Unsupported("A round stores where the round before it stored")
    apart = []
    for (n, one), (m, other) in combinations(enumerate(streams), 2):
        if not (one.is_store or other.is_store):
            continue
        if one.base.eq(other.base) and one.stride == other.stride:
            _never_meet(one, other)
        else:
            apart.append((n, m))
    terms = {f"address {n}": stream.base for n, stream in enumerate(streams)}
    terms |= {f"value {n}": z3.simplify(stream.value) for n, stream in enumerate(streams) if stream.is_store}
    return Streams(tuple(streams), tuple(apart), terms)


def _all_streams(one_round: Meaning, counting: Counting, *, forwarded: bool) -> list[Stream]:
    """`forwarded`: a round may load what it stored."""
    stores = _stores(one_round.after.memory, one_round.before.memory)
    outcomes = [*one_round.after.words.values(), *one_round.after.flags.values(), one_round.after.next]
    values = [value for _, value in stores]
    loads = _loads([*outcomes, *values, *(address for address, _ in stores)], forwarded)
    if len(loads) + len(stores) > MOST_BYTES:
        raise Unsupported(f"A round touches more than {MOST_BYTES} bytes")
    return [
        *_grouped([(address, None) for address in loads], counting, forwarded),
        *_grouped(stores, counting, forwarded),
    ]


def _never_meet(one: Stream, other: Stream) -> None:
    """That no round's bytes of one are another round's of the other, which lie at a constant distance."""
    low, high = min(one.first, other.first), max(one.first + one.size, other.first + other.size)
    if high - low > abs(one.stride):
        raise Unsupported("A round touches what another one stores")


def _stores(after: Term, before: Term) -> list[tuple[Term, Term]]:
    """Address and byte of each store, in order."""
    found = []
    while not after.eq(before):
        if not z3.is_store(after):
            raise Unsupported("Whether it stores depends on what it finds")
        only_if, byte = guard_of(after)
        found.append((after.arg(1), z3.simplify(z3.If(only_if, byte, _KEPT))))
        after = after.arg(0)
    return found[::-1]


def _loads(terms: Sequence[Term], forwarded: bool) -> list[Term]:
    """The addresses of all bytes that are loaded."""
    found: dict[str, Term] = {}
    seen: set[int] = set()
    waiting = [z3.simplify(term) for term in terms]
    while waiting:
        one = waiting.pop()
        if one.get_id() in seen:
            continue
        seen.add(one.get_id())
        if z3.is_select(one):
            if not forwarded and not z3.is_const(one.arg(0)):
                raise Unsupported("It loads what it may have stored in the same round")
            found[one.arg(1).sexpr()] = one.arg(1)
        waiting += one.children()
    return list(found.values())


def _grouped(accesses: Sequence[tuple[Term, Term | None]], counting: Counting, tables: bool) -> list[Stream]:
    """Streams of bytes whose addresses differ by constants and follow each other. `tables`: or are in one."""
    bases: dict[str, tuple[Term, dict[int, Term | None]]] = {}
    for address, value in accesses:
        base, offset = _split(address)
        at = bases.setdefault(base.sexpr(), (base, {}))[1]
        before = at.get(offset)
        # Who stores on one way alone leaves what another one stored.
        at[offset] = value if value is None or before is None else replaced(value, {_KEPT: before})
    streams = []
    for base, at in bases.values():
        reach = 0
        try:
            stride = _stride(base, counting)
        except Unsupported:
            if not tables:
                raise
            base, reach = _table(base, counting)
            stride = _stride(base, counting)
        offsets = sorted(at)
        start = 0
        for place in range(1, len(offsets) + 1):
            if place < len(offsets) and offsets[place] == offsets[place - 1] + 1:
                continue
            run = offsets[start:place]
            values = tuple(at[offset] for offset in run)
            is_store = values[0] is not None
            size = len(run) + reach
            streams.append(Stream(base, run[0], size, stride, is_store, values if is_store else (), is_table=reach > 0))
            start = place
    return streams


def _split(address: Term) -> tuple[Term, int]:
    """An address as a term and a signed constant."""
    address = z3.simplify(address)
    if z3.is_bv_value(address):
        return z3.BitVecVal(0, 64), address.as_signed_long()
    if address.decl().kind() == z3.Z3_OP_BADD:
        parts = address.children()
        constants = [part for part in parts if z3.is_bv_value(part)]
        rest = [part for part in parts if not z3.is_bv_value(part)]
        if constants and rest:
            return z3.simplify(z3.Sum(*rest)) if len(rest) > 1 else rest[0], z3.simplify(
                z3.Sum(*constants)
            ).as_signed_long()
    return address, 0


def _table(address: Term, counting: Counting) -> tuple[Term, int]:
    """An address as the beginning of a table, which counts or stays, and how far from there it is at most, shown.

    Raises Unsupported, as `_stride` does of the address, where what is added is not known to be small.
    """
    parts = address.children() if address.decl().kind() == z3.Z3_OP_BADD else [address]
    known = counting.steps.keys() | counting.fixed
    begins = [part for part in parts if symbols(part) <= known]
    index = [part for part in parts if not symbols(part) <= known]
    if begins and index:
        away = z3.simplify(z3.Sum(*index)) if len(index) > 1 else index[0]
        for bits in range(1, _TABLE_BITS + 1):
            if is_proved(z3.Extract(63, bits, away) == 0):
                even = next(n for n in range(bits, -1, -1) if n == 0 or is_proved(z3.Extract(n - 1, 0, away) == 0))
                return z3.simplify(z3.Sum(*begins)) if len(begins) > 1 else begins[0], (1 << bits) - (1 << even)
    _stride(address, counting)
    raise Unsupported("How far an address goes could not be shown")


def _stride(base: Term, counting: Counting) -> int:
    needed = symbols(base)
    if MEMORY in needed:
        raise Unsupported("It loads addresses from memory")
    others = needed - counting.steps.keys() - counting.fixed
    if others:
        raise Unsupported(f"An address depends on {', '.join(sorted(others))}, which does not count")
    stride = change_of(base, counting.steps, counting.narrow)
    if stride is None:
        raise Unsupported("An address does not advance by a constant")
    return stride
