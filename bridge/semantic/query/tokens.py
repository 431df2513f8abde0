"""Tokens: a question taken apart into words, quoted texts, numbers, addresses, paths and regular expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from bridge.semantic.query.texts import unquote

_QUOTES = {'"': '"', "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}", "«": "»", "`": "`"}
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}"
_PLAIN = re.compile(rf"""[^\s"{"".join(_QUOTES)[1:]}{_APOSTROPHES}]+""")
_NUMBER = re.compile(r"\d[\d,]*")
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F_]{1,40}|[0-9a-fA-F]{12,16}|\d[0-9a-fA-F]{2,15}[hH]")
_RANGE = re.compile(r"(0[xX][0-9a-fA-F_]{1,40})(\.\.|-|\+)(0[xX][0-9a-fA-F_]{1,40}|\d{1,20})")
_ASKED_REGEX = re.compile(r"/((?:[^/\\]|\\.)+)/", re.DOTALL)
_FREE_REGEX = re.compile(r"/((?:[^/\\]|\\.){1,400})/(?=i?(?:\s|$))", re.DOTALL)
"""By itself it is one only where it looks like one; the bound keeps a text of many slashes from taking long."""
_WILD_BYTE = re.compile(r"[0-9a-fA-F]\?|\?[0-9a-fA-F?]")
_BYTE = re.compile(r"[0-9a-fA-F?]{2}")
_FLAG = re.compile(r"i?(?!\w)")
_TRAILING = ",;?!"
_REGEX_AFTER = frozenset({"regex", "regexp", "matching", "matches", "match", "pattern", "expression"})
_NO_PATH = re.compile(r"[^\w./+@:~-]")


class Type(Enum):
    """What a token is."""

    WORD = auto()
    STRING = auto()
    """Between double quotes."""
    NUMBER = auto()
    ADDRESS = auto()
    """Written as one: `0x1f`, `ffff888000001000`; `span` bytes long."""
    PATH = auto()
    REGEX = auto()
    POSSESSIVE = auto()
    """'s."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a question."""

    type: Type
    text: str
    """As it was written, without quotes or slashes."""
    start: int
    end: int
    """Where it stands."""
    number: int = 0
    span: int = 1
    ignore_case: bool = False

    @property
    def word(self) -> str:
        """The word in lower case; empty for what is no word."""
        return self.text.casefold() if self.type is Type.WORD else ""


class Unclosed(ValueError):
    """A quote or a slash that nothing closes."""

    def __init__(self, opened: str, at: int) -> None:
        super().__init__(f"The {opened} at character {at + 1} is not closed.")
        self.opened = opened
        self.at = at


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, in one pass. Raises Unclosed."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        character = text[at]
        before = text[at - 1] if at else " "
        if character.isspace():
            at += 1
        elif character in _QUOTES:
            at = _string(text, at, _QUOTES[character], found)
        elif character in _APOSTROPHES:
            at = _apostrophe(text, at, before, found)
        elif character == "/" and (end := _regex_end(text, at, found)):
            flags = _FLAG.match(text, end)
            stop = end if flags is None else flags.end()
            found.append(Token(Type.REGEX, text[at + 1 : end - 1], at, stop, ignore_case=stop > end))
            at = stop
        else:
            at = _plain(text, at, found)
    return found


def _string(text: str, at: int, closing: str, found: list[Token]) -> int:
    end = at + 1
    while end < len(text) and text[end] != closing:
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise Unclosed(f"quote {text[at]}", at)
    found.append(Token(Type.STRING, unquote(text[at + 1 : end]), at, end + 1))
    return end + 1


def _apostrophe(text: str, at: int, before: str, found: list[Token]) -> int:
    """A possessive behind a word, else a quote, if something closes it; by itself it means nothing."""
    if not before.isspace():
        owns = text[at + 1 : at + 2] in ("s", "S") and not text[at + 2 : at + 3].isalnum()
        if owns or before in "sS\"'":
            found.append(Token(Type.POSSESSIVE, "'s", at, at + 1 + owns))
        return at + 1 + owns
    closed = next((i for i in range(at + 1, len(text)) if text[i] in _APOSTROPHES), None)
    if closed is None:
        return at + 1
    found.append(Token(Type.STRING, unquote(text[at + 1 : closed]), at, closed + 1))
    return closed + 1


def _regex_end(text: str, at: int, found: list[Token]) -> int:
    """Behind the slash that closes a regular expression which begins here; 0 where it is a path. Raises Unclosed."""
    if found and found[-1].word in _REGEX_AFTER:
        match = _ASKED_REGEX.match(text, at)
        if match is None:
            raise Unclosed("slash", at)
        return match.end()
    match = _FREE_REGEX.match(text, at)
    return match.end() if match is not None and _NO_PATH.search(match[1]) else 0


def _plain(text: str, at: int, found: list[Token]) -> int:
    match = _PLAIN.match(text, at)
    assert match is not None  # neither a space, nor a quote, nor an apostrophe stands here
    end = match.end()
    piece = match[0] if _is_byte(match[0], found) else match[0].rstrip(_TRAILING)
    if len(piece) > 1 and piece.endswith(".") and not piece.endswith(".."):
        piece = piece[:-1]
    if piece.startswith(("(", "[")) and len(piece) > 1:
        at, piece = at + 1, piece[1:]
    piece = piece.rstrip(")]") if not any(c in piece for c in "([") else piece
    if piece.strip(_TRAILING + ".:()[]-") or piece == "??":
        found.append(_token(piece, at))
    return end


def _is_byte(text: str, found: list[Token]) -> bool:
    """Whether a question mark stands for a half byte here, and does not end a question: among bytes."""
    if _WILD_BYTE.fullmatch(text) is None:
        return False
    return text == "??" or (
        bool(found) and (found[-1].word in ("bytes", "hex") or bool(_BYTE.fullmatch(found[-1].text)))
    )


def _token(piece: str, at: int) -> Token:
    end = at + len(piece)
    if (span := _RANGE.fullmatch(piece)) is not None:
        start, last = _hex(span[1]), _hex(span[3]) if span[3][:2] in ("0x", "0X") else int(span[3])
        length = last if span[2] == "+" else last - start + (span[2] == "..")
        return Token(Type.ADDRESS, piece, at, end, start, length)
    if _NUMBER.fullmatch(piece):
        digits = piece.replace(",", "")
        return Token(Type.NUMBER, piece, at, end, int(digits) if len(digits) < 40 else 10**40)
    if _ADDRESS.fullmatch(piece):
        return Token(Type.ADDRESS, piece, at, end, _hex(piece))
    if piece.startswith("/") and len(piece) > 1:
        return Token(Type.PATH, piece, at, end)
    return Token(Type.WORD, piece, at, end)


def _hex(text: str) -> int:
    digits = text.replace("_", "").lower().removeprefix("0x").rstrip("h")
    return int(digits, 16) if 0 < len(digits) < 40 else 1 << 64
