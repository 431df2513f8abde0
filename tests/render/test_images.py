"""Pictures of tiny volumes against references; each docstring says what you should see.

They run on the software adapter only, at a frozen time. On failure, the picture and its amplified difference are left
in `build/image-diffs/`. After a change that is meant, look at those, then run with GLASSBOX_NEW_IMAGES=1 and commit
the result.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray
from PIL import Image

from render.camera import CameraState
from render.curves import HILBERT
from render.cut import Cut, Plane
from render.device import adapter_summary
from render.look import Look
from render.named_pages import NamedPages
from render.palettes import linear_from_hex
from render.view import VolumeView
from tests.render.conftest import MakeStore, MakeView, content_of

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCES = ROOT / "tests" / "images"
DIFFERENCES = ROOT / "build" / "image-diffs"
SIZE = (320, 200)
TOLERANCE = 2.0
"""Mean difference a channel, in steps of 255.

Other versions of the driver round differently; another look is far more.
"""


@pytest.fixture(autouse=True)
def _software_only(device: wgpu.GPUDevice) -> None:
    if not adapter_summary(device).is_software:
        pytest.skip("references were made on the software adapter")


def check(view: VolumeView, name: str) -> NDArray[np.uint8]:
    """Finish the picture and compare it with `tests/images/NAME.png`."""
    view.finish(100.0)
    picture = view.screenshot()[..., :3]
    path = REFERENCES / f"{name}.png"
    if os.environ.get("GLASSBOX_NEW_IMAGES"):
        Image.fromarray(picture).save(path, optimize=True)
    reference = np.asarray(Image.open(path))[..., :3]
    difference = np.abs(picture.astype(int) - reference.astype(int))
    if difference.mean() > TOLERANCE or (difference > 60).mean() > 0.01:
        DIFFERENCES.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(DIFFERENCES / f"{name}.png")
        Image.fromarray(np.clip(difference * 8, 0, 255).astype(np.uint8)).save(DIFFERENCES / f"{name}-difference.png")
        pytest.fail(f"{name} differs by {difference.mean():.2f} steps; see {DIFFERENCES}")
    return picture


def stairs() -> NDArray[np.uint8]:
    """Eight steps of four voxels each along x, in a cube of 64^3, each of another byte."""
    volume = np.zeros((64, 64, 64), np.uint8)
    for step in range(8):
        volume[step * 8 : step * 8 + 8, :, : (step + 1) * 8] = 30 + step * 30
    return content_of(volume, 64 * 4096, 10)


def kinds() -> NDArray[np.uint8]:
    """64 pages: text, machine code, random bytes and pointers, 16 of each."""
    rng = np.random.default_rng(6)
    pages = np.zeros((64, 4096), np.uint8)
    pages[:16] = np.frombuffer((b"Glassbox shows what a machine remembers. " * 101)[:4096], np.uint8)
    code = bytes.fromhex("554889e54883ec10488b45f8e80000000089c7488d45f0c9c3")
    pages[16:32] = np.frombuffer((code * 200)[:4096], np.uint8)
    pages[32:48] = rng.integers(0, 256, (16, 4096))
    pages[48:] = (0xFFFF888000000000 + 64 * np.arange(512, dtype=np.uint64)).view(np.uint8)
    return pages.ravel()


def test_stairs_lit(make_view: MakeView, make_store: MakeStore) -> None:
    """Stairs that rise to the right, from dark to light blue, on near-black blue with a soft halo.

    The third and fourth step are amber: their bytes could be text. Upper faces are the lightest, the walls to the left
    of the edge are lighter than those to its right, and a thin frame with a label at its upper left corner surrounds
    the cube.
    """
    view = make_view(SIZE)
    view.add_volume("m", make_store(stairs()), label="stairs")
    picture = check(view, "stairs-lit").astype(int)
    assert picture[:8, :8].max() < 40, "the ground is dark"
    assert picture[90:110, 150:170].sum(axis=-1).mean() > 150, "the middle is lit"


def test_stairs_on_light_ground(make_view: MakeView, make_store: MakeStore) -> None:
    """The same stairs on nearly white ground, with a faint shadow around them and darker lines."""
    view = make_view(SIZE, background="light")
    view.add_volume("m", make_store(stairs()), label="stairs")
    picture = check(view, "stairs-light").astype(int)
    assert picture[:8, :8].min() > 220


def test_stairs_translucent(make_view: MakeView, make_store: MakeStore) -> None:
    """The stairs as coloured glass: low steps nearly clear, high steps dense; the frame's far edges show through."""
    view = make_view(SIZE)
    view.add_volume("m", make_store(stairs()))
    view.look = Look(mode="translucent")
    check(view, "stairs-translucent")


def test_stairs_by_their_maximum(make_view: MakeView, make_store: MakeStore) -> None:
    """The stairs without what stands before them: each pixel in the colour of the highest step on its ray.

    The highest steps, light blue, are dense; the low ones, dark, are a veil; what is farther away is darker.
    """
    view = make_view(SIZE)
    view.add_volume("m", make_store(stairs()))
    view.look = Look(mode="mip", channel="value", palette="ice")
    picture = check(view, "stairs-mip").astype(int)
    assert picture.max() > 200, "the highest is bright"


def test_entropy_of_kinds(make_view: MakeView, make_store: MakeStore) -> None:
    """The cube of kinds by entropy: random pages yellow, text green-blue, machine code and pointers bluer."""
    view = make_view(SIZE)
    view.add_volume("m", make_store(kinds()))
    view.look = Look(channel="entropy")
    picture = check(view, "kinds-entropy").astype(int)
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    assert ((red > 150) & (green > 140) & (blue < 120)).sum() > 300, "yellow"


def test_kinds_have_their_colours(make_view: MakeView, make_store: MakeStore) -> None:
    """A cube in parts: amber (text), violet (machine code), red (random), and blue-green (pointers) if in sight."""
    view = make_view(SIZE)
    view.add_volume("m", make_store(kinds()))
    picture = check(view, "kinds").astype(int)
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    assert ((red > 150) & (green > 100) & (blue < 110)).sum() > 1000, "amber"
    assert ((blue > 110) & (green < 90) & (red < blue)).sum() > 1000, "violet"


def test_single_voxels_from_near(make_view: MakeView, make_store: MakeStore) -> None:
    """A 3-by-3 lattice of separate cubes, large, with crisp edges; the middle one is selected by an amber frame."""
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[30:36:2, 30:36:2, 30:36:2] = 120
    view = make_view(SIZE)
    view.add_volume("m", make_store(content_of(volume, 64 * 4096, 10)))
    address = int(HILBERT.address_from_voxel(np.array([[32, 32, 32]], np.uint32), 10)[0])
    view.marks.select("m", address)
    view.camera.state = CameraState((32.5, 32.5, 32.5), 13.0, -52, 24)
    check(view, "voxels-near")


def test_opened_at_a_page(make_view: MakeView, make_store: MakeStore) -> None:
    """A red brick with an amber frame in a corner of three walls: what stood before it is cut away along planes."""
    rng = np.random.default_rng(7)
    store = make_store(rng.integers(0, 256, 64 * 4096).astype(np.uint8))
    view = make_view(SIZE)
    view.add_volume("m", store)
    address = int(HILBERT.address_from_voxel(np.array([[24, 40, 24]], np.uint32), 10)[0])
    view.marks.select("m", address)
    view.camera.fly_to(view.page_box("m", address), 0.0)
    view.camera.skip()
    check(view, "opened-at-page")


def test_flash(make_view: MakeView, make_store: MakeStore) -> None:
    """The stairs, with the bricks that were just written shining in warm white."""
    store = make_store(stairs())
    view = make_view(SIZE)
    view.add_volume("m", store)
    view.draw(100.0)
    pages = np.arange(0, 64, 5, dtype=np.uint32)
    store.upload(pages, stairs().reshape(-1, 4096)[pages])
    check(view, "flash")


def test_three_slices(make_view: MakeView, make_store: MakeStore) -> None:
    """Three crossing sheets with bright edges, nothing else: red (x), green (y) and blue (z).

    The upright ones show the stairs from the side and from the front, in the bytes' own flat colours on dark ground;
    the level one, at a quarter of the height, shows six of eight steps as stripes.
    """
    view = make_view(SIZE)
    view.add_volume("m", make_store(stairs()))
    view.look = Look(mode="slice")
    view.set_cut("m", Cut((Plane("x", 40.0), Plane("y", 32.0), Plane("z", 16.0))))
    view.camera.state = replace(view.camera.state, distance=view.camera.state.distance * 0.95)
    picture = check(view, "slices-three").astype(int)
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    assert ((red > 180) & (green < 140) & (blue < 140)).sum() > 60, "the x plane's edges"
    assert ((green > 160) & (red < 110)).sum() > 60, "the y plane's edges"
    assert ((blue > 200) & (red < 110)).sum() > 60, "the z plane's edges"


def test_oblique_slice_in_a_clipped_glass(make_view: MakeView, make_store: MakeStore) -> None:
    """The left half of the stairs as clear glass in its own thin box, and in it an amber-edged slanted sheet."""
    view = make_view(SIZE)
    view.add_volume("m", make_store(stairs()))
    view.look = Look(mode="translucent", opacity=0.02)
    view.set_cut("m", Cut((Plane("oblique", -4.0, -70.0, 30.0),), ((0.0, 0.0, 0.0), (40.0, 64.0, 48.0))))
    picture = check(view, "slice-oblique").astype(int)
    assert ((picture[..., 0] > 190) & (picture[..., 2] < 120)).sum() > 60, "the oblique plane's edges"


def test_lit_pages(make_view: MakeView, make_store: MakeStore) -> None:
    """The stairs as dark glass; in them, bright and blue, each with thin light blue lines along its edges, a bar deep
    inside at the left and a cube under the highest step at the right; a line leads from the bar to its name.
    """
    store = make_store(stairs())
    bricks = store.bricks_of_pages(np.arange(64, dtype=np.uint32))
    mask = (bricks == (3, 2, 2)).all(axis=1) | ((bricks[:, 0] == 1) & (bricks[:, 2] == 0) & (bricks[:, 1] > 1))
    view = make_view(SIZE)
    view.add_volume("m", store)
    store.set_highlights(mask.astype(np.uint8), np.array([linear_from_hex("#7cc4ff")]))
    view.names.show([NamedPages("1", "m", np.flatnonzero(mask).astype(np.uint32), "sshd (412)", "#7cc4ff")])
    picture = check(view, "lit-pages").astype(int)
    assert (picture.max(axis=2) > 200).mean() > 0.005
