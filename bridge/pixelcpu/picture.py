"""Programs as PNG files that can be looked at: a pixel an instruction or part of an immediate, row by row.

What the program is called and what its registers are named lies in the file's text chunks. A file may come from
anywhere: it is read only if it is small, of exactly this form, and a program.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from bridge.pixelcpu.errors import BadMicrocode, BadPicture
from bridge.pixelcpu.isa import N_REGISTERS, PIXEL_BYTES
from bridge.pixelcpu.microcode import MOST_PIXELS, Program, decode

WIDTH = 16
"""Pixels of a row; the last row is filled up with transparent black, which is no instruction."""
FORMAT = "1"
MOST_BYTES = 256 << 10
"""Of a file: four times what the largest program takes uncompressed."""
MOST_NAME = 200
"""Characters of a name."""

_SOFTWARE, _FORMAT, _N_PIXELS, _TITLE, _NAMES = "Software", "Pixel CPU", "Pixels", "Title", "Registers"


@dataclass(frozen=True, slots=True)
class Picture:
    """A program and what people call it."""

    program: Program
    title: str = ""
    names: tuple[str, ...] = ()
    """Of the first registers."""

    def __post_init__(self) -> None:
        if len(self.names) > N_REGISTERS:
            raise BadPicture(f"{len(self.names)} names for {N_REGISTERS} registers")
        for name in (self.title, *self.names):
            if len(name) > MOST_NAME or not (name.isprintable()):
                raise BadPicture(f"a name of {len(name)} characters that is not short and printable")


def to_png(picture: Picture) -> bytes:
    """The file's content."""
    pixels = picture.program.pixels
    height = max(1, -(-len(pixels) // WIDTH))
    image = np.zeros((height * WIDTH, PIXEL_BYTES), np.uint8)
    image[: len(pixels)] = pixels
    said = PngImagePlugin.PngInfo()
    for key, text in (
        (_SOFTWARE, "Glassbox"),
        (_FORMAT, FORMAT),
        (_N_PIXELS, str(len(pixels))),
        (_TITLE, picture.title),
        (_NAMES, json.dumps(picture.names)),
    ):
        said.add_itxt(key, text)
    made = io.BytesIO()
    Image.fromarray(image.reshape(height, WIDTH, PIXEL_BYTES)).save(made, "PNG", pnginfo=said, optimize=True)
    return made.getvalue()


def of_png(content: bytes) -> Picture:
    """The program that a file's content shows. Raises BadPicture, and BadMicrocode with the pixel that is wrong."""
    if len(content) > MOST_BYTES:
        raise BadPicture(f"the file has {len(content):,} bytes, and {MOST_BYTES:,} are the most")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pillow's warning of bombs, and of anything else that is odd
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                return _read(image)
    except BadMicrocode:
        raise
    except Exception as error:
        raise BadPicture(f"the file is no PNG that can be read ({type(error).__name__})") from error


def _read(image: Image.Image) -> Picture:
    width, height = image.size
    if image.mode != "RGBA" or width != WIDTH or height > -(-MOST_PIXELS // WIDTH):
        raise BadPicture(
            f"a program is {WIDTH} pixels wide, RGBA, and not this high: it is {width}x{height} {image.mode}"
        )
    # Text chunks may come after the pixels: everything is read before anything is believed.
    pixels = np.asarray(image).reshape(-1, PIXEL_BYTES)
    if getattr(image, "n_frames", 1) != 1:
        raise BadPicture("the file is an animation")
    said = {str(key): str(text) for key, text in getattr(image, "text", {}).items()}
    if said.get(_FORMAT) != FORMAT:
        raise BadPicture(f"the file does not say that it is a program of format {FORMAT}")
    count = said.get(_N_PIXELS, "")
    if not (count.isascii() and count.isdigit() and len(count) <= 6):
        raise BadPicture("the file does not say how many pixels the program has")
    n = int(count)
    if n > len(pixels) or max(1, -(-n // WIDTH)) != height or pixels[n:].any():
        raise BadPicture(f"a program of {n:,} pixels does not look like this")
    return Picture(decode(pixels[:n].copy()), said.get(_TITLE, ""), _names(said.get(_NAMES, "[]")))


def _names(text: str) -> tuple[str, ...]:
    if len(text) > 8 * MOST_NAME * N_REGISTERS:
        raise BadPicture("the registers' names are too long")
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadPicture("the registers' names cannot be read") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadPicture("the registers' names are no list of names")
    return tuple(names)


def save(picture: Picture, path: Path) -> None:
    """Write a file, whole or not at all. Raises OSError."""
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_bytes(to_png(picture))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: Path) -> Picture:
    """Read a file. Raises OSError, BadPicture and BadMicrocode."""
    with path.open("rb") as file:
        return of_png(file.read(MOST_BYTES + 1))
