"""The shape of a loop's code, one block or several: whether it is one, where its first block ends for QEMU, and how
many instructions a round takes at least. Nothing is said of what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bridge.trace.instructions import ending, plain

MOST_BYTES = 512
"""Of a loop's code, as `decode` takes it."""


@dataclass(frozen=True, slots=True)
class RoundShape:
    """Of code whose last instruction may go back to its first, and in which nothing else goes back but to there."""

    first_bytes: int
    """Of its first block: up to its first jump, where QEMU's translation of it ends."""
    first_instructions: int
    least_instructions: int
    """Of a round that goes back, by the shortest way."""


@lru_cache(1 << 12)
def shape_of(code: bytes) -> RoundShape | None:
    """None where it is no such loop: code with calls, with another loop within, or that never goes back."""
    if not 0 < len(code) <= MOST_BYTES:
        return None
    places = [(address, size, name) for address, size, name, _ in plain(code, 0)]
    if not places or places[-1][0] + places[-1][1] != len(code):
        return None
    begins = {address for address, _, _ in places}
    least = {0: 0}
    """How many instructions lead at least to each place that is reached."""
    back: dict[int, int] = {}
    first: tuple[int, int] | None = None
    for number, (address, size, name) in enumerate(places, 1):
        end = ending(code[address : address + size], address)
        targets = {address + offset for offset in end.successors}
        if end.calls or end.returns or end.is_open or any(_is_within(to, address, begins, len(code)) for to in targets):
            return None
        if first is None and name.startswith(("j", "loop")):
            first = address + size, number
        if address in least:
            for target in targets:
                least[target] = min(least.get(target, MOST_BYTES), least[address] + 1)
            if 0 in targets:
                back[address] = least[address] + 1
    if first is None or places[-1][0] not in back:
        return None
    return RoundShape(*first, min(back.values()))


def _is_within(target: int, address: int, begins: set[int], end: int) -> bool:
    """Whether a jump makes another loop, or goes into the middle of an instruction."""
    return 0 < target <= address or (0 <= target < end and target not in begins)
