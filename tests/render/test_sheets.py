"""Slice planes in the march against numpy, ray by ray: which one is met, what of it, and what is in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from render.bricks import VoxelLayout
from render.camera import Box, CameraState, basis_of
from render.content import Kind
from render.cut import Axis, Plane
from render.eye import Eye, Shine
from render.look import Look, Mode
from render.look_table import LookTable
from render.march import TARGET_FORMATS, Marcher, Targets
from render.palettes import linear_from_hex, palette_table
from tests.render import reference
from tests.render.conftest import MakeStore, clustered_bytes, volume_of
from tests.render.slice_reference import plane_axes
from tests.render.test_slice_view import kinds_of

SIZE = (320, 200)
GROUND = linear_from_hex("#18233c")
SHINE = Shine(1.0, 0.5, (1.0, 1.0, 1.0), GROUND)
PLANES = (Plane("x", 20.0), Plane("y", 50.0), Plane("z", 33.0), Plane("oblique", 4.3, 30.0, 50.0))
VIEWS = (
    CameraState((32, 32, 32), 180, -52, 24),
    CameraState((32, 32, 32), 180, 130, -35),
    CameraState((20, 20, 40), 25, 200, 12),
    CameraState((32, 32, 32), 200, 90, 90),
)
CLIP: Box = ((5.0, 9.5, 17.0), (50.0, 55.2, 60.0))


@dataclass(frozen=True, slots=True)
class Sheet:
    """What of which plane a ray meets."""

    axis: Axis
    voxel: tuple[int, int, int]
    depth: float
    delicate: bool


def eye_at(state: CameraState, **changes: object) -> Eye:
    eye = Eye(basis_of(state), (0.48, 0.3), 0.0, state.opening, None, PLANES)
    return replace(eye, **changes)  # type: ignore[arg-type]


def nearest_sheet(shape: tuple[int, ...], eye: Eye, direction: NDArray[np.float64]) -> Sheet | None:
    """The nearest plane where it is shown; an x, y or z plane is the face of its layer that looks at the eye."""
    position, found = eye.basis.position, []
    for plane in eye.planes:
        if plane.axis == "oblique":
            origin, right, up = plane_axes(plane, shape)
            normal = np.cross(right, up)
        else:
            axis = "xyz".index(plane.axis)
            normal = np.eye(3)[axis]
            layer = min(int(plane.position), shape[axis] - 1)
            origin = normal * (layer + (1 if position[axis] > layer + 0.5 else 0))
        along = float(normal @ direction)
        if abs(along) < 1e-7:
            continue
        depth = float(normal @ (origin - position)) / along
        at = position + direction * depth
        voxel = np.floor(at).astype(int)
        near_border = np.abs(at - np.round(at)) < 2e-3
        if plane.axis != "oblique":
            voxel[axis], near_border[axis] = layer, False
        delicate = bool(near_border.any()) or abs(along) < 1e-2
        inside = (voxel >= 0).all() and (voxel < shape).all()
        met = (int(voxel[0]), int(voxel[1]), int(voxel[2]))
        if depth > 0 and (delicate or (inside and reference.is_shown(eye, met))):
            found.append(Sheet(plane.axis, met, depth, delicate))
    return min(found, key=lambda sheet: sheet.depth, default=None)


def in_front(
    scalars: NDArray[np.integer], eye: Eye, direction: NDArray[np.float64], look: Look, end: float
) -> tuple[float, reference.Step | None]:
    """How much of a ray's light comes through to `end`, and the voxel that a pick would give before it."""
    opacities = np.interp(np.arange(256) / 255, *np.array(look.transfer.points).T)
    steps = [
        replace(step, leave=min(step.leave, end))
        for step in reference.walk(scalars.shape, eye, direction)
        if step.enter < end - 1e-3 and scalars[step.voxel] >= 0 and reference.is_shown(eye, step.voxel)
    ]
    if not steps:
        return 1.0, None
    if look.mode == "solid":
        return 0.0, steps[0]
    if look.mode == "mip":
        best = max(steps, key=lambda step: scalars[step.voxel])
        return 1.0 - float(np.sqrt(opacities[scalars[best.voxel]])), best
    passed, best, weight = 1.0, steps[0], 0.0
    for step in steps:
        length = (step.leave - step.enter) * float(np.linalg.norm(direction))
        kept = float((1 - look.opacity * opacities[scalars[step.voxel]]) ** length)
        if passed * (1 - kept) > weight:
            best, weight = step, passed * (1 - kept)
        passed *= kept
    return passed, best


@pytest.fixture
def table(device: wgpu.GPUDevice) -> Iterator[LookTable]:
    made = LookTable(device)
    yield made
    made.destroy()


@pytest.mark.parametrize("layout", ["linear", "texture"])
@pytest.mark.parametrize("mode", ["slice", "solid", "translucent", "mip"])
@pytest.mark.parametrize("clip", [None, CLIP])
def test_what_a_ray_meets(
    make_store: MakeStore, table: LookTable, layout: VoxelLayout, mode: Mode, clip: Box | None
) -> None:
    content = clustered_bytes(64, seed=31)
    store = make_store(content, layout)
    volume = volume_of(content, store.order, store.shape_voxels)
    look = Look(mode=mode, opacity=0.03)
    table.write(look, palette_table("grey"))
    scalars = reference.scalars_of(volume, look)
    marcher = Marcher(store)
    rng = np.random.default_rng(32)
    met: dict[str, int] = {}
    for view in VIEWS:
        eye = eye_at(view, clip=clip)
        for _ in range(40):
            pixel = (float(rng.random() * SIZE[0]), float(rng.random() * SIZE[1]))
            direction = reference.ray_direction(eye, pixel, SIZE)
            sheet = nearest_sheet(volume.shape, eye, direction)
            if sheet is not None and sheet.delicate:
                continue
            end = 1e9 if sheet is None else sheet.depth
            passed, body = (1.0, None) if mode == "slice" else in_front(scalars, eye, direction, look, end)
            if abs(passed - 0.5) < 0.02 or (body is not None and reference.is_delicate(eye, direction, body)):
                continue
            picked = marcher.pick(eye, table, SHINE, pixel, SIZE)
            if sheet is not None and passed > 0.5:
                assert picked is not None, f"pixel {pixel} missed {sheet}"
                assert (picked.sheet, picked.voxel) == (sheet.axis, sheet.voxel), f"pixel {pixel}"
                assert picked.depth == pytest.approx(sheet.depth, rel=1e-4)
                met[sheet.axis] = met.get(sheet.axis, 0) + 1
            elif body is not None:
                assert picked is not None, f"pixel {pixel} missed {body}"
                assert picked.sheet is None, f"pixel {pixel}"
                assert picked.voxel == body.voxel or mode == "translucent", f"pixel {pixel}"
                met["body"] = met.get("body", 0) + 1
            else:
                assert picked is None, f"pixel {pixel} met {picked}"
                met["nothing"] = met.get("nothing", 0) + 1
    assert met["nothing"] > 3
    assert (met.get("body", 0) > 1) == (mode != "slice")
    assert sum(met.get(axis, 0) for axis in ("x", "y", "z", "oblique")) > (40 if mode == "slice" else 5)


def march(
    device: wgpu.GPUDevice, marcher: Marcher, eye: Eye, table: LookTable
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Colour (h, w, 4), depth (h, w) and voxel (h, w, 4) of a whole picture."""
    width, height = 64, 40
    usage = wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC
    textures = {
        name: device.create_texture(size=(width, height, 1), format=texture_format, usage=usage)
        for name, texture_format in TARGET_FORMATS.items()
    }
    marcher.store.settle()
    marcher.march(
        Targets((width, height), *(texture.create_view() for texture in textures.values())),
        eye,
        table,
        SHINE,
        [(0, 0, width, height)],
        sample=0,
        jitter=(0.0, 0.0),
        pixel_height=4000,  # a pixel never holds more than a voxel
    )
    read = []
    for name, dtype in (("color", "f2"), ("depth", "f4"), ("voxel", "u2")):
        channels = 1 if name == "depth" else 4
        row = width * channels * np.dtype(dtype).itemsize
        raw = device.queue.read_texture(
            {"texture": textures[name]}, {"bytes_per_row": row, "rows_per_image": height}, (width, height, 1)
        )
        read.append(np.frombuffer(raw, dtype).reshape(height, width, channels))
        textures[name].destroy()
    return read[0].astype(np.float32), read[1][..., 0], read[2]


@pytest.mark.parametrize("mode", ["slice", "translucent"])
def test_the_light_of_a_sheet_and_of_what_is_in_front(
    device: wgpu.GPUDevice, make_store: MakeStore, table: LookTable, mode: Mode
) -> None:
    content = clustered_bytes(64, seed=33)
    store = make_store(content)
    volume, kinds = volume_of(content, store.order, store.shape_voxels), kinds_of(store, content)
    look = Look(mode=mode, opacity=0.02)
    colors = palette_table("content")
    table.write(look, colors)
    scalars = reference.scalars_of(volume, look)
    opacities = np.interp(np.arange(256) / 255, *np.array(look.transfer.points).T)
    eye = eye_at(VIEWS[0])
    picture, depths, voxels = march(device, Marcher(store), eye, table)
    seen = zero = 0
    for row in range(40):
        for column in range(64):
            direction = reference.ray_direction(eye, (column + 0.5, row + 0.5), (64, 40))
            sheet = nearest_sheet(volume.shape, eye, direction)
            if sheet is None or sheet.delicate:
                continue
            byte = int(volume[sheet.voxel])
            light = np.array(GROUND)
            if byte:
                light = colors[kinds[tuple(side // 16 for side in sheet.voxel)], byte].astype(float)
            zero += byte == 0
            front, passed = np.zeros(3), 1.0
            for step in reference.walk(volume.shape, eye, direction) if mode == "translucent" else ():
                if step.enter >= sheet.depth - 1e-3 or scalars[step.voxel] < 0:
                    continue
                length = (min(step.leave, sheet.depth) - step.enter) * float(np.linalg.norm(direction))
                kept = float((1 - look.opacity * opacities[scalars[step.voxel]]) ** length)
                kind = kinds[tuple(side // 16 for side in step.voxel)]
                front += passed * (1 - kept) * colors[kind, scalars[step.voxel]]
                passed *= kept
            # Half floats, a hair of length at the sheet, and rays that stop when next to nothing comes through.
            assert picture[row, column, :3] == pytest.approx(front + passed * light, abs=0.025)
            assert picture[row, column, 3] == pytest.approx(1.0, abs=1e-3)
            if passed > 0.52:
                assert depths[row, column] == pytest.approx(sheet.depth, rel=1e-4)
                assert voxels[row, column].tolist() == [*sheet.voxel, 2 + ("x", "y", "z", "oblique").index(sheet.axis)]
            seen += 1
    assert seen > 500
    assert zero > 50, "zero bytes are seen as the ground"


def test_what_the_look_hides_is_ground_on_a_sheet_too(
    device: wgpu.GPUDevice, make_store: MakeStore, table: LookTable
) -> None:
    content = np.tile(np.arange(1, 129, dtype=np.uint8), 64 * 32)
    store = make_store(content)
    kinds = kinds_of(store, content)
    eye = eye_at(VIEWS[0], planes=(Plane("z", 63.0),))
    kind = Kind(int(kinds[0, 0, 0]))
    table.write(Look(mode="slice"), palette_table("content"))
    shown, _, _ = march(device, Marcher(store), eye, table)
    table.write(Look(mode="slice", hidden_kinds=frozenset({kind})), palette_table("content"))
    hidden, _, voxels = march(device, Marcher(store), eye, table)
    on_sheet = voxels[..., 3] == 4
    assert on_sheet.sum() > 120
    assert np.abs(hidden[on_sheet][:, :3] - GROUND).max() < 1e-3
    assert np.abs(shown[on_sheet][:, :3] - GROUND).max(axis=1).min() > 1e-3


def test_sheets_end_where_the_volume_is_laid_open(make_store: MakeStore, table: LookTable) -> None:
    """A box in the middle is laid open: on the eye's side of it neither bytes nor sheets are left."""
    content = np.full(64 * 4096, 9, np.uint8)
    store = make_store(content)
    opening = ((24.0, 24.0, 24.0), (40.0, 40.0, 40.0))
    table.write(Look(mode="slice"), palette_table("grey"))
    marcher = Marcher(store)
    view = replace(VIEWS[0], opening=opening)
    rng = np.random.default_rng(34)
    met = 0
    for planes in ((Plane("x", 60.0),), PLANES):
        eye = eye_at(view, planes=planes)
        for _ in range(150):
            pixel = (float(rng.random() * SIZE[0]), float(rng.random() * SIZE[1]))
            direction = reference.ray_direction(eye, pixel, SIZE)
            sheet = nearest_sheet(store.shape_voxels, eye, direction)
            if sheet is not None and sheet.delicate:
                continue
            picked = marcher.pick(eye, table, SHINE, pixel, SIZE)
            assert (None if picked is None else picked.voxel) == (None if sheet is None else sheet.voxel)
            met += sheet is not None
    assert met > 20


def test_without_planes_the_mode_slice_shows_nothing(make_store: MakeStore, table: LookTable) -> None:
    store = make_store(np.full(64 * 4096, 9, np.uint8))
    table.write(Look(mode="slice"), palette_table("grey"))
    eye = eye_at(VIEWS[0], planes=())
    assert Marcher(store).pick(eye, table, SHINE, (SIZE[0] / 2, SIZE[1] / 2), SIZE) is None
