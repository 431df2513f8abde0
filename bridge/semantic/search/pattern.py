"""What is looked for in RAM: bytes with wildcards, a text, a regular expression, or YARA rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bridge.semantic.search.needles import Needle

MAX_NEEDLE_BYTES = 1 << 14
"""Of bytes and texts: 4,096 characters take up to 16 KiB of UTF-8."""
MAX_ALTERNATIVES = 64
MAX_EXPRESSION_CHARS = 4096
MAX_RULES_CHARS = 1 << 16

_NUMBER = re.compile(r"0[xX]([0-9a-fA-F]{1,16})")
_DIGITS = re.compile(r"(?:[0-9a-fA-F?]{2})+")


class PatternKind(StrEnum):
    """How a pattern is written."""

    BYTES = "bytes"
    TEXT = "text"
    REGEX = "regex"
    YARA = "yara"


class Encoding(StrEnum):
    """How characters lie in memory."""

    UTF_8 = "utf-8"
    UTF_16_LE = "utf-16le"


class BadPattern(ValueError):
    """A pattern that cannot be looked for; the message says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is looked for. Raises BadPattern for what makes no sense.

    `value`: bytes as `78 5? ?? 12`, a half byte being a digit or `?` · a text · a regular expression of Python's `re`,
    matched against bytes · YARA rules.
    """

    kind: PatternKind
    value: str
    ignore_case: bool = False
    """ASCII letters only. Not of bytes or rules."""
    encodings: tuple[Encoding, ...] = (Encoding.UTF_8, Encoding.UTF_16_LE)
    """Of a text: each is looked for. Expressions are matched against UTF-8."""
    alternatives: tuple[str, ...] = ()
    """More bytes or texts, each of which will do as well as `value`; all are found in one pass."""

    def __post_init__(self) -> None:
        if self.kind in (PatternKind.BYTES, PatternKind.TEXT):
            if len(self.alternatives) >= MAX_ALTERNATIVES:
                raise BadPattern(f"At most {MAX_ALTERNATIVES} alternatives can be looked for at once.")
            if self.kind is PatternKind.BYTES:
                object.__setattr__(self, "value", _normalised(self.value))
                object.__setattr__(self, "alternatives", tuple(map(_normalised, self.alternatives)))
            self.needles()
        elif self.alternatives:
            raise BadPattern(f"Alternatives of a {self.kind} are written in it.")
        if self.ignore_case and self.kind in (PatternKind.BYTES, PatternKind.YARA):
            raise BadPattern(f"Upper and lower case mean nothing to {self.kind}.")
        limit = MAX_RULES_CHARS if self.kind is PatternKind.YARA else MAX_EXPRESSION_CHARS
        if not self.value:
            raise BadPattern("There is nothing to look for.")
        if self.kind in (PatternKind.REGEX, PatternKind.YARA) and len(self.value) > limit:
            raise BadPattern(f"{len(self.value):,} characters are too many; {limit:,} are the most.")

    def needles(self) -> tuple[Needle, ...]:
        """What bytes and texts come to in memory, each once. Raises BadPattern."""
        needles: dict[tuple[bytes, bytes], Needle] = {}
        for value in (self.value, *self.alternatives):
            for needle in _of_bytes(value) if self.kind is PatternKind.BYTES else self._of_text(value):
                if len(needle.value) > MAX_NEEDLE_BYTES:
                    raise BadPattern(
                        f"{len(needle.value):,} bytes are too many to look for; {MAX_NEEDLE_BYTES:,} are the most."
                    )
                needles.setdefault((needle.value, needle.mask), needle)
        return tuple(needles.values())

    def _of_text(self, text: str) -> list[Needle]:
        if not text:
            raise BadPattern("There is nothing to look for.")
        if not self.encodings:
            raise BadPattern("A text is looked for in at least one encoding.")
        found = []
        for encoding in dict.fromkeys(self.encodings):
            # Bytes of a guest that are no UTF-8 came as lone surrogates (PEP 383); UTF-16 has none of those.
            errors = "surrogateescape" if encoding is Encoding.UTF_8 else "strict"
            try:
                pieces = [character.encode(encoding, errors) for character in text]
            except UnicodeEncodeError:
                continue
            masks = [_folding(piece) if self.ignore_case else b"\xff" * len(piece) for piece in pieces]
            name = text if encoding is Encoding.UTF_8 else f"{text} ({encoding.upper()})"
            found.append(Needle(b"".join(pieces), b"".join(masks), name))
        if not found:
            raise BadPattern("The text has characters that cannot be written in " + " or ".join(self.encodings) + ".")
        return found

    def __str__(self) -> str:
        return " | ".join((self.value, *self.alternatives))


def parse_pattern(text: str) -> Pattern:
    """Bytes as people write them: `78 56 34 12`, `78563412`, `78 ?? 34 1?`, or a number, `0x12345678`.

    A number is looked for as the machine keeps it, its lowest byte first: in four bytes if it has up to eight digits,
    else in eight (`0x0000000012345678`). Alternatives are separated by `|`. Raises BadPattern.
    """
    if len(text) > 3 * MAX_NEEDLE_BYTES:
        raise BadPattern(f"{len(text):,} characters are too many for bytes.")
    first, *others = (_number_bytes(part.strip()) for part in text.split("|"))
    return Pattern(PatternKind.BYTES, first, alternatives=tuple(others))


def _number_bytes(text: str) -> str:
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    digits = number[1]
    return int(digits, 16).to_bytes(4 if len(digits) <= 8 else 8, "little").hex(" ")


def _normalised(text: str) -> str:
    """Bytes in lower case, in pairs of digits. Raises BadPattern."""
    if len(text) > 4 * MAX_NEEDLE_BYTES:
        raise BadPattern(f"{len(text):,} characters are too many for bytes.")
    words = text.split()
    if not words or not all(map(_DIGITS.fullmatch, words)):
        raise BadPattern("Bytes are written as 78 56 34 12; a ? stands for any half byte.")
    digits = "".join(words).lower()
    if not digits.strip("?"):
        raise BadPattern("Bytes of which none is known would be everywhere.")
    return " ".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _of_bytes(text: str) -> list[Needle]:
    digits = text.replace(" ", "")
    mask = "".join("0" if digit == "?" else "f" for digit in digits)
    return [Needle(bytes.fromhex(digits.replace("?", "0")), bytes.fromhex(mask), text)]


def _folding(piece: bytes) -> bytes:
    """Which bits of a character count where upper and lower case are the same: 0x20 tells them apart in ASCII."""
    is_letter = piece[:1].isalpha() and not any(piece[1:])
    return bytes([0xDF if is_letter else 0xFF]) + b"\xff" * (len(piece) - 1)
