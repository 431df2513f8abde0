"""Times in a question: `in the last 5 s`, `since 14:05`, `10 minutes ago`; taken out of it wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.semantic.query.model import BadQuery, Changing, When
from bridge.semantic.query.tokens import Token, Type
from bridge.semantic.query.vocabulary import WRITING, phrases_of

_UNITS_S = {
    "ms": 0.001,
    "msec": 0.001,
    "millisecond": 0.001,
    "milliseconds": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "mins": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
}
_COUNTS = {
    word: float(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
} | {"a": 1.0, "an": 1.0, "half": 0.5, "few": 5.0, "couple": 2.0, "fifteen": 15.0, "twenty": 20.0, "thirty": 30.0}
_TOGETHER = re.compile(r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})([a-z]+)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?([ap]m)?")
_LEADING = frozenset({"in", "within", "during", "over", "for", "the", "last", "past", "previous", "since"})
_WRITING = frozenset(phrases_of(WRITING))
_RECENTLY = frozenset({"recently", "lately"})
ASSUMED_S = 5.0
"""What "recently" is, and what is meant where something is written and no time is said."""


def take_time(tokens: Sequence[Token]) -> tuple[When | None, list[Token], str]:
    """The time that is spoken of, the tokens without it, and what was assumed (empty: nothing).

    Raises BadQuery for a time that cannot be.
    """
    rest = list(tokens)
    when, assumed = None, ""
    for at in range(len(rest)):
        found = _span(rest, at) or _clock(rest, at)
        if found is not None:
            when, first, last = found
            del rest[first:last]
            break
    written = [at for at, token in enumerate(rest) if token.word in _WRITING]
    if when is None and (written or any(token.word in _RECENTLY for token in rest)):
        when = When(Changing.WRITTEN, ASSUMED_S)
        assumed = f"No time was said: the last {ASSUMED_S:g} s are meant."
    gone = set(written)
    # What is written to is what is asked about.
    gone |= {at + 1 for at in written if at + 1 < len(rest) and rest[at + 1].word in ("to", "into")}
    rest = [token for at, token in enumerate(rest) if at not in gone and token.word not in _RECENTLY]
    return when, rest, assumed


def _span(tokens: Sequence[Token], at: int) -> tuple[When, int, int] | None:
    """`[within the last] 5 s [ago]` where its number stands at `at`, or a unit behind `last`: `the last minute`."""
    token = tokens[at]
    before = tokens[at - 1].word if at else ""
    following = tokens[at + 1].word if at + 1 < len(tokens) else ""
    first = at
    while first and tokens[first - 1].word in _LEADING | {"about", "around", "of"}:
        first -= 1
    led = any(tokens[i].word in _LEADING - {"the", "for"} for i in range(first, at))
    count, unit, end = _count(token), _UNITS_S.get(following), at + 2
    if count is not None and unit is None and following in ("a", "an", "of", "dozen"):
        after = tokens[at + 2].word if at + 2 < len(tokens) else ""
        unit, end = _UNITS_S.get(after), at + 3
    together = _TOGETHER.fullmatch(token.word)
    if together is not None and together[2] in _UNITS_S:
        count, unit, end = float(together[1]), _UNITS_S[together[2]], at + 1
    elif token.word in _UNITS_S and len(token.word) > 2 and before in ("last", "past", "previous"):
        count, unit, end = 1.0, _UNITS_S[token.word], at + 1
    if count is None or unit is None:
        return None
    ago = end < len(tokens) and tokens[end].word in ("ago", "back")
    if not (led or ago):
        return None
    return When(Changing.WRITTEN, count * unit), _with_writing(tokens, first), end + ago


def _clock(tokens: Sequence[Token], at: int) -> tuple[When, int, int] | None:
    """`changed since 14:05`."""
    clock = _CLOCK.fullmatch(tokens[at].word)
    if clock is None or not at or tokens[at - 1].word not in ("since", "after"):
        return None
    hour, half, end = int(clock[1]), clock[4], at + 1
    if half is None and end < len(tokens) and tokens[end].word in ("am", "pm"):
        half, end = tokens[end].word, end + 1
    if half is not None:
        if not 1 <= hour <= 12:
            raise BadQuery("Changed since takes a time of day, such as 14:05:00 or 2:05 pm.")
        hour = hour % 12 + 12 * (half == "pm")
    time = f"{hour:02d}:{clock[2]}:{clock[3] or '00'}"
    return When(Changing.CHANGED, since=time), _with_writing(tokens, at - 1), end


def _with_writing(tokens: Sequence[Token], first: int) -> int:
    """Where a clause begins: with the word before it, if that speaks of writing."""
    return first - 1 if first and tokens[first - 1].word in _WRITING else first


def _count(token: Token) -> float | None:
    if token.type is Type.NUMBER:
        return float(token.number)
    if token.word in _COUNTS:
        return _COUNTS[token.word]
    return float(token.word) if re.fullmatch(r"\d{0,9}\.\d{1,9}", token.word) else None
