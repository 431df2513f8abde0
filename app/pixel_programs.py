"""What the command line says a microcode program or x86 code is: files and text, bounded, with plain errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.failures import UsageError
from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.errors import BadMicrocode, BadPicture
from bridge.pixelcpu.isa import N_REGISTERS, PIXEL_BYTES
from bridge.pixelcpu.microcode import Program, decode
from bridge.pixelcpu.picture import MOST_NAME, Picture, load
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.x86_state import REGISTERS

_MOST_BYTES = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_DIGITS = frozenset("0123456789abcdefABCDEF")


def code_of(file: Path | None, text: Sequence[str] | None) -> bytes:
    """x86 code: a file's bytes, or bytes as hex, with or without spaces. Raises UsageError."""
    if (file is None) == (text is None):
        raise UsageError("give code: a file of machine code, or --hex BYTES as in --hex 48 01 d8; not both")
    if text is not None:
        digits = "".join(" ".join(text).split())
        if len(digits) % 2 or not _DIGITS.issuperset(digits):
            raise UsageError(f"{' '.join(text)[:40]!r} are no bytes in hex, such as 48 01 d8")
        return bytes.fromhex(digits)
    assert file is not None
    return _content(file)


def program_of(said: str) -> Program:
    """A program: pixels in hex, or a file of them, a PNG, assembly text, or what `pixel prove --json` printed.

    Raises UsageError, which says what is wrong with it.
    """
    try:
        if len(said) >= 2 * PIXEL_BYTES and _DIGITS.issuperset("".join(said.split())):
            return pixels_in(said)
    except BadMicrocode as error:
        raise UsageError(f"{said[:60]} is no microcode: {error}") from error
    if why_not := why_no_file(Path(said)):
        raise UsageError(why_not)
    return picture_of(Path(said)).program


def why_no_file(path: Path) -> str:
    """Why nothing can be read from a path, in words; empty where a file lies there."""
    try:
        if path.is_dir():
            return f"{path} is a folder, no file"
        if path.is_file():
            return ""
        return f"{path} is a device or a pipe, no file" if path.exists() else f"there is no file {str(path)[:200]}"
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        return f"{str(path)[:60]}{'…' if len(str(path)) > 60 else ''} cannot be read: {error.strerror}"


def picture_of(file: Path) -> Picture:
    """A program with the names that it has: a PNG, or whatever else `program_of` reads. Raises UsageError."""
    try:
        with file.open("rb") as stream:
            if stream.read(len(_PNG)) == _PNG:
                return load(file)
    except BadPicture as error:
        raise UsageError(f"{file}: {error}") from error
    except BadMicrocode as error:
        raise UsageError(f"{file} is no microcode: {error}") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    try:
        return Picture(_from_text(file), file.stem if file.stem.isprintable() and len(file.stem) <= MOST_NAME else "")
    except BadMicrocode as error:
        raise UsageError(f"{file} is no microcode: {error}") from error


def pixels_in(text: str) -> Program:
    """The program whose pixels are written in hex, eight digits each. Raises BadMicrocode."""
    digits = "".join(text.split())
    if len(digits) % (2 * PIXEL_BYTES) or not _DIGITS.issuperset(digits):
        raise BadMicrocode("pixels are written as eight hex digits each")
    return decode(np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, PIXEL_BYTES))


def pixel_words(program: Program) -> list[str]:
    """A program's pixels, eight hex digits each: red, green, blue, alpha."""
    return [bytes(pixel).hex() for pixel in program.pixels]


def names_of(translation: Translation) -> list[str]:
    """What the first registers are called in a listing: as x86 calls them."""
    names = [*REGISTERS, *(f"r{number}" for number in range(len(REGISTERS), N_REGISTERS))]
    for half, number in translation.halves.items():
        names[number] = half
    if translation.taken is not None:
        names[translation.taken] = "taken"
    if translation.elsewhere is not None:
        names[translation.elsewhere] = "elsewhere"
    return names


def _from_text(file: Path) -> Program:
    content = _content(file)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"{file} is no text; give assembly, pixels in hex, or what `pixel prove --json` printed"
        ) from None
    if not text.lstrip().startswith("{"):
        return pixels_in(text) if _DIGITS.issuperset("".join(text.split())) and text.strip() else assemble(text)
    try:
        pixels = json.loads(text)["pixel_ops"]
        return pixels_in("".join(pixels))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{file} is JSON without the pixels of a program in “pixel_ops”") from None


def _content(file: Path) -> bytes:
    if why_not := why_no_file(file):
        raise UsageError(why_not)
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{file} has more than {_MOST_BYTES:,} bytes: no code of one block, and no program")
    return content
