"""Splits a hostile byte stream into text, control characters and escape sequences, in bounded memory.

The states are those of Paul Williams, "A parser for DEC's ANSI-compatible video terminals" (vt100.net), with two
differences: the stream is UTF-8, so that the eight-bit controls U+0080..U+009F are dropped, and `:` separates
sub-parameters (ECMA-48 section 5.4.2). Time is linear in the bytes and nothing longer than the limits below is kept.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum
from functools import lru_cache
from typing import Protocol

MAX_PARAMETERS = 32  # xterm keeps 30; the rest of a longer list is dropped
MAX_PARAMETER = 65_535
MAX_SEQUENCE_CHARS = 256  # a longer CSI is swallowed whole
MAX_OSC_CHARS = 4_096  # a longer operating system command is swallowed whole
MAX_STRING_CHARS = 1 << 20  # a string without an end is given up after this

Parameters = tuple[tuple[int, ...], ...]
"""One tuple a parameter; its members are the sub-parameters; -1 stands for one left out."""

_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f]+")
_WHOLE_CSI = re.compile(f"\x1b\\[([<-?]?)([0-9:;]{{0,{MAX_SEQUENCE_CHARS - 8}}})([ -/]{{0,2}})([@-~])")
_CSI_BODY = re.compile("([<-?]?)([0-9:;]*)([ -/]*)")
_CSI_RUN = re.compile("[ -?]+")
_STRING_END = re.compile("[\x07\x18\x1a\x1b]")


class VtHandler(Protocol):
    """What a terminal does with the pieces."""

    def print_text(self, text: str) -> None: ...
    def control(self, char: str) -> None: ...
    def escape(self, intermediates: str, final: str) -> None: ...
    def csi(self, prefix: str, params: Parameters, intermediates: str, final: str) -> None: ...
    def osc(self, text: str) -> None: ...


class _State(Enum):
    GROUND = 0
    ESCAPE = 1
    CSI = 2
    OSC = 3
    STRING = 4  # DCS, SOS, PM, APC: swallowed


@lru_cache(maxsize=2048)  # programs repeat a few sequences: twice the speed of coloured output
def parse_parameters(text: str) -> Parameters:
    """Return the parameters of a CSI: numbers are clipped, surplus ones dropped."""
    if not text:
        return ()
    fields = text.split(";", MAX_PARAMETERS)[:MAX_PARAMETERS]
    return tuple(tuple(_number(part) for part in field.split(":", 7)[:7]) for field in fields)


def _number(digits: str) -> int:
    if not digits:
        return -1
    return min(int(digits), MAX_PARAMETER) if len(digits) <= 6 else _long_number(digits)


def _long_number(digits: str) -> int:
    significant = digits.lstrip("0")
    return min(int(significant or 0), MAX_PARAMETER) if len(significant) <= 6 else MAX_PARAMETER


class VtParser:
    """An incremental parser: `feed` may be called with pieces cut anywhere, even inside a UTF-8 character."""

    def __init__(self, handler: VtHandler) -> None:
        self._handler = handler
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _State.GROUND
        self._buffer: list[str] = []
        self._size_chars = 0

    def reset(self) -> None:
        """Forget a half-received sequence or character."""
        self._decoder.reset()
        self._enter(_State.GROUND)

    def feed(self, data: bytes) -> None:
        """Parse `data` and call the handler for each piece."""
        text = self._decoder.decode(data)
        position, end = 0, len(text)
        handler = self._handler
        while position < end:
            if self._state is _State.GROUND:
                if found := _TEXT.match(text, position):
                    handler.print_text(found.group())
                    position = found.end()
                    continue
                char = text[position]
                if char != "\x1b":
                    self._control(char)
                elif found := _WHOLE_CSI.match(text, position):
                    prefix, params, intermediates, final = found.groups()
                    handler.csi(prefix, parse_parameters(params), intermediates, final)
                    position = found.end()
                    continue
                else:
                    self._enter(_State.ESCAPE)
                position += 1
            elif self._state in (_State.OSC, _State.STRING):
                position = self._string(text, position)
            elif self._state is _State.CSI and (found := _CSI_RUN.match(text, position)):
                self._size_chars += found.end() - position
                if self._size_chars <= MAX_SEQUENCE_CHARS:
                    self._buffer.append(found.group())
                position = found.end()
            else:
                self._step(text[position])
                position += 1

    def _enter(self, state: _State) -> None:
        self._state = state
        self._buffer.clear()
        self._size_chars = 0

    def _control(self, char: str) -> None:
        if char < "\x20":
            self._handler.control(char)

    def _string(self, text: str, position: int) -> int:
        """Collect (OSC) or swallow a string up to its terminator; return where to go on."""
        found = _STRING_END.search(text, position)
        stop = found.start() if found else len(text)
        piece = text[position:stop]
        self._size_chars += len(piece)
        if self._state is _State.OSC and self._size_chars <= MAX_OSC_CHARS:
            self._buffer.append(piece)
        if found is None:
            if self._size_chars > MAX_STRING_CHARS:
                self._enter(_State.GROUND)
            return stop
        ended = found.group()
        if ended in "\x07\x1b" and self._state is _State.OSC and self._size_chars <= MAX_OSC_CHARS:
            command = "".join(self._buffer)
            self._enter(_State.GROUND)
            self._handler.osc(command)
        # An escape ends the string whatever follows; the `\` of the usual ESC \ then does nothing.
        self._enter(_State.ESCAPE if ended == "\x1b" else _State.GROUND)
        return stop + 1

    def _step(self, char: str) -> None:
        """Take one character inside an escape or control sequence."""
        if char == "\x1b":
            self._enter(_State.ESCAPE)
        elif char in "\x18\x1a":
            self._enter(_State.GROUND)
        elif char < "\x20":
            self._handler.control(char)  # controls act at once, even inside a sequence
        elif char == "\x7f":
            pass
        elif char > "\x7f":
            self._enter(_State.GROUND)
            if char > "\x9f":
                self._handler.print_text(char)
        elif self._state is _State.ESCAPE:
            self._escape_step(char)
        else:
            self._finish_csi(char)

    def _escape_step(self, char: str) -> None:
        if char < "0":
            if len(self._buffer) < 4:
                self._buffer.append(char)
        elif self._buffer or char not in "[]PX^_":
            intermediates = "".join(self._buffer)
            self._enter(_State.GROUND)
            self._handler.escape(intermediates, char)
        else:
            self._enter({"[": _State.CSI, "]": _State.OSC}.get(char, _State.STRING))

    def _finish_csi(self, final: str) -> None:
        body = "".join(self._buffer)
        fits = self._size_chars <= MAX_SEQUENCE_CHARS
        self._enter(_State.GROUND)
        if fits and (found := _CSI_BODY.fullmatch(body)):
            prefix, params, intermediates = found.groups()
            self._handler.csi(prefix, parse_parameters(params), intermediates, final)
