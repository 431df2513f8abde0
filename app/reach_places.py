"""Places of a reach, as people write them: of memory by their kind, all others are of code."""

from __future__ import annotations

from app.numbers import BadNumber, parse_address
from bridge.trace.pointers import Kind

POINTER_HINT = "task:PID, mm:ADDRESS, vma:ADDRESS or page:ADDRESS"
_LONGEST_TEXT = 200


class BadPlace(ValueError):
    """A text that names no place; the message says why."""


def pointer_of(text: str) -> tuple[Kind, int] | None:
    """What a place of memory is; None for one of code. Raises BadPlace."""
    kind, colon, rest = text.strip().partition(":")
    if not colon or kind not in list(Kind):
        return None
    try:
        return Kind(kind), parse_address(rest)
    except BadNumber as error:
        raise BadPlace(f"{text[:_LONGEST_TEXT]!r}: {error}") from None
