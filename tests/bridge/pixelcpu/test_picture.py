"""Pictures: what is saved is opened again, and a file that is anything else is refused with a typed error."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.errors import BadMicrocode, BadPicture
from bridge.pixelcpu.microcode import Program, make
from bridge.pixelcpu.picture import MOST_BYTES, Picture, load, of_png, save, to_png
from tests.bridge.pixelcpu.strategies import programs

_GOOD = Picture(assemble("mov.64 r1, 0x123456789\nadd.64! r1, r1, r2\n" * 9), "Größe", ("rax", "rcx"))


@given(programs(), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20))
def test_a_program_is_opened_as_it_was_saved(program: Program, title: str) -> None:
    picture = Picture(program, title, ("rax", title))
    assert of_png(to_png(picture)) == picture


def test_a_file_is_a_picture_of_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "kernel.png"
    save(_GOOD, path)
    assert load(path) == _GOOD
    assert [child.name for child in tmp_path.iterdir()] == ["kernel.png"]
    with Image.open(path) as image:
        shown = np.asarray(image)
    assert shown.shape == (3, 16, 4)
    np.testing.assert_array_equal(shown.reshape(-1, 4)[:36], _GOOD.program.pixels)
    assert not shown.reshape(-1, 4)[36:].any()
    assert of_png(to_png(Picture(Program.of([])))).program == Program.of([])
    longest = Program.of([make("mov.64", 1, immediate=1 << 40)] * 4096)
    assert of_png(to_png(Picture(longest))).program == longest


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_damaged_file_is_refused_or_is_a_program(at: int, junk: bytes, cut: bool) -> None:
    good = to_png(_GOOD)
    at %= len(good)
    damaged = good[:at] + junk + (b"" if cut else good[at + len(junk) :])
    try:
        assert isinstance(of_png(damaged), Picture)
    except BadMicrocode as bad:
        assert str(bad)  # noqa: PT017 - either is well


def _png(pixels: Any, **text: str) -> bytes:
    said = PngImagePlugin.PngInfo()
    for key, value in text.items():
        said.add_text(key.replace("_", " "), value)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG", pnginfo=said)
    return made.getvalue()


def _pixels(height: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros((height, 16, 4), np.uint8)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no PNG"),
        (b"\x00" * (MOST_BYTES + 1), "are the most"),
        (_png(np.zeros((1, 16, 3), np.uint8), Pixel_CPU="1", Pixels="0"), "RGBA"),
        (_png(np.zeros((1, 15, 4), np.uint8), Pixel_CPU="1", Pixels="0"), "16 pixels wide"),
        (_png(_pixels(769), Pixel_CPU="1", Pixels="0"), "16x769"),
        (_png(_pixels(), Pixels="0"), "does not say that it is a program"),
        (_png(_pixels(), Pixel_CPU="2", Pixels="0"), "does not say that it is a program"),
        (_png(_pixels(), Pixel_CPU="1"), "how many pixels"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="-1"), "how many pixels"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="99999999999"), "how many pixels"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="17"), "does not look like this"),
        (_png(_pixels(2), Pixel_CPU="1", Pixels="16"), "does not look like this"),
        (_png(_pixels() + np.uint8(4), Pixel_CPU="1", Pixels="0"), "does not look like this"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="1"), "opcode 0x00"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Registers="{"), "cannot be read"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Registers="[" * 5000), "cannot be read"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Registers="[1]"), "no list of names"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Registers=" " * 60_000), "too long"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Registers=json.dumps(["a"] * 33)), "33 names"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Title="\x1b[2J"), "printable"),
        (_png(_pixels(), Pixel_CPU="1", Pixels="0", Title="a" * 201), "201 characters"),
    ],
)
def test_a_file_that_is_no_program_is_refused_with_the_reason(content: bytes, problem: str) -> None:
    with pytest.raises(BadMicrocode, match=problem):
        of_png(content)


def test_an_animation_and_a_bomb_are_refused() -> None:
    made = io.BytesIO()
    frames = [Image.fromarray(_pixels()), Image.fromarray(_pixels() + np.uint8(1))]
    said = PngImagePlugin.PngInfo()
    said.add_text("Pixel CPU", "1")
    frames[0].save(made, "PNG", save_all=True, append_images=frames[1:], pnginfo=said)
    with pytest.raises(BadPicture, match="animation"):
        of_png(made.getvalue())
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 6, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    with pytest.raises(BadPicture):
        of_png(bomb + to_png(_GOOD)[33:])
