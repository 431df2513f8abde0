"""One slice plane as a flat picture, pixel for pixel: zoomed in a byte is a square, zoomed out a pixel is a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import wgpu

from render import wgsl
from render.camera import Box
from render.cut import Plane
from render.device import gpu_work
from render.layers import FLASH_S
from render.look_table import LookTable
from render.march import Flat, Marcher, Shine
from render.palettes import linear_from_hex
from render.pipelines import render_pipeline
from render.planes import Frame, Point, Shape, frame_of
from render.timing import pass_clock

ZOOMS: tuple[float, ...] = (
    *(1 / 64, 1 / 48, 1 / 32, 1 / 24, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2),
    *(1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
)
"""Pixels a voxel: whole ones, or one pixel for a whole number of voxels, so that no byte is wider than another."""
_DIM = 0.8
_FLASH_SHOWN_S = 4 * FLASH_S
_TARGET = "rgba8unorm"
_LAYOUT: list[dict[str, object]] = [
    {"binding": 0, "visibility": wgpu.ShaderStage.FRAGMENT, "buffer": {"type": "uniform"}}
]
_UNIFORM = np.dtype(
    [
        ("corner", "i4", 2), ("zoom", "i4"), ("span", "i4"),
        ("right", "f4", 3), ("level", "i4"),
        ("up", "f4", 3), ("is_oblique", "i4"),
        ("whole", "i4", 3), ("pad0", "i4"),
        ("part", "f4", 3), ("dim", "f4"),
        ("ground", "f4", 3), ("outline", "i4"),
    ]
)  # fmt: skip
"""`Slice` in `shaders/slice.wgsl`."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Which pixel of a flat picture shows which voxel. Pixels count from the upper left corner."""

    plane: Plane
    shape: Shape
    size_px: tuple[int, int]
    left: int
    """u of column 0, in pixels."""
    top: int
    """v of the upper edge of row 0, in pixels."""
    zoom: int
    """Pixels a voxel, or 1."""
    span: int
    """Voxels a pixel, or 1."""

    @property
    def scale(self) -> float:
        """Pixels a voxel."""
        return self.zoom / self.span

    @property
    def frame(self) -> Frame:
        """The plane's place in the volume."""
        return frame_of(self.plane, self.shape)

    def pixel_of(self, shown: Point) -> tuple[float, float]:
        """Where u and v lie in the picture, x and y in pixels."""
        return shown[0] * self.scale - self.left, self.top - shown[1] * self.scale

    def shown_at(self, x: float, y: float) -> Point:
        """u and v at a point of the picture."""
        return (x + self.left) / self.scale, (self.top - y) / self.scale

    def voxel_at(self, x: float, y: float) -> tuple[int, int, int] | None:
        """The voxel that the pixel at a point shows, the first one of many; None outside of picture or volume."""
        column, row = math.floor(x), math.floor(y)
        if not (0 <= column < self.size_px[0] and 0 <= row < self.size_px[1]):
            return None
        a, b = column + self.left, self.top - row - 1
        frame = self.frame
        if self.plane.axis == "oblique":
            at = frame.point((a + 0.5) / self.scale, (b + 0.5) / self.scale)
        else:
            at = frame.point(a // self.zoom * self.span, b // self.zoom * self.span)
        voxel = np.floor(at).astype(int)
        if (voxel < 0).any() or (voxel >= self.shape).any():
            return None
        return int(voxel[0]), int(voxel[1]), int(voxel[2])


def raster_of(plane: Plane, shape: Shape, size_px: tuple[int, int], centre: Point, zoom: float) -> Raster:
    """The raster whose middle shows `centre` (u, v), at the zoom of ZOOMS that is nearest."""
    nearest = min(ZOOMS, key=lambda one: abs(math.log(one) - math.log(max(zoom, 1e-9))))
    pixels, voxels = (int(nearest), 1) if nearest >= 1 else (1, round(1 / nearest))
    limit = 2**24  # far beyond every volume, and exact as float32
    left = math.floor(max(-limit, min(limit, centre[0] * nearest)) - size_px[0] / 2 + 0.5)
    top = math.floor(max(-limit, min(limit, centre[1] * nearest)) + size_px[1] / 2 + 0.5)
    return Raster(plane, shape, size_px, left, top, pixels, voxels)


def zoom_beside(zoom: float, steps: int) -> float:
    """The zoom that is some steps nearer (positive) or farther."""
    index = min(range(len(ZOOMS)), key=lambda i: abs(math.log(ZOOMS[i]) - math.log(max(zoom, 1e-9))))
    return ZOOMS[max(0, min(len(ZOOMS) - 1, index + steps))]


def zoom_to_fit(width: float, height: float, size_px: tuple[int, int]) -> float:
    """The largest zoom at which `width` x `height` voxels fit a picture."""
    fitting = min(size_px[0] / max(width, 1.0), size_px[1] / max(height, 1.0))
    return max((zoom for zoom in ZOOMS if zoom <= fitting), default=ZOOMS[0])


class SliceView:
    """A texture with one plane's flat picture. Not thread-safe: one thread draws it."""

    def __init__(self, device: wgpu.GPUDevice, size_px: tuple[int, int]) -> None:
        self.device = device
        self._shown: object = None
        self._flash_until_s = -math.inf
        self._revision = -1
        self._pipelines: dict[tuple[object, ...], wgpu.GPURenderPipeline] = {}
        self.raster: Raster | None = None
        """What the last `draw` showed where."""
        with gpu_work("set up the flat view"):
            self._uniform = device.create_buffer(
                size=_UNIFORM.itemsize, usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
            )
            layout = device.create_bind_group_layout(entries=_LAYOUT)
            whole = {"buffer": self._uniform, "offset": 0, "size": _UNIFORM.itemsize}
            self._bindings = device.create_bind_group(layout=layout, entries=[{"binding": 0, "resource": whole}])
            self._make_texture(size_px)

    @property
    def texture(self) -> wgpu.GPUTexture:
        """The picture, rgba8unorm with sRGB's encoding, transparent outside of the volume; another after a resize."""
        return self._texture

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self._size

    def _make_texture(self, size_px: tuple[int, int]) -> None:
        usage = wgpu.TextureUsage
        self._size = (max(1, size_px[0]), max(1, size_px[1]))
        self._texture: wgpu.GPUTexture = self.device.create_texture(
            size=(*self._size, 1),
            format=_TARGET,
            usage=usage.TEXTURE_BINDING | usage.COPY_SRC | usage.RENDER_ATTACHMENT,
        )

    def resize(self, size_px: tuple[int, int]) -> None:
        """Draw pictures of another size from now on."""
        if (max(1, size_px[0]), max(1, size_px[1])) != self._size:
            self._texture.destroy()
            with gpu_work("resize the flat view"):
                self._make_texture(size_px)
            self._shown = None

    def draw(
        self,
        marcher: Marcher,
        table: LookTable,
        shine: Shine,
        plane: Plane,
        centre: Point,
        zoom: float,
        now_s: float,
        *,
        ground: str,
        clip: Box | None = None,
        outline_px: int = 1,
    ) -> bool:
        """Show a plane of a marcher's volume in a look, with `centre` (u, v) in the middle; False if nothing changed.

        Zero bytes have the colour of the ground ("#rrggbb"); what lies outside of the clip box is dimmed. What is lit
        up has an outline of so many pixels. Raises DeviceLost.
        """
        store = marcher.store
        store.clock_s = now_s
        if store.revision != self._revision:
            self._revision, self._flash_until_s = store.revision, now_s + _FLASH_SHOWN_S
        raster = raster_of(plane, store.shape_voxels, self._size, centre, zoom)
        wanted = (marcher, table.revision, shine, raster, ground, clip, outline_px, store.revision, self._texture)
        flashing = now_s < self._flash_until_s
        if wanted == self._shown and not flashing:
            return False
        # One picture more when the flashes have cooled.
        self._shown = None if flashing else wanted
        self.raster = raster
        with gpu_work("draw the flat view"):
            store.settle()
            source = marcher.prepare_flat(table, shine, clip)
            self.device.queue.write_buffer(self._uniform, 0, _uniform(raster, ground, outline_px))
            encoder = self.device.create_command_encoder()
            render = encoder.begin_render_pass(
                color_attachments=[
                    {
                        "view": self._texture.create_view(),
                        "load_op": "clear",
                        "store_op": "store",
                        "clear_value": (0, 0, 0, 0),
                        "resolve_target": None,
                    }
                ],
                timestamp_writes=pass_clock(self.device).writes("slices"),
            )
            render.set_pipeline(self._pipeline(source))
            render.set_bind_group(0, source.bindings)
            render.set_bind_group(1, self._bindings)
            render.draw(3)
            render.end()
            self.device.queue.submit([encoder.finish()])
        return True

    def voxel_at(self, px: float, py: float) -> tuple[int, int, int] | None:
        """The voxel that a pixel of the last drawn picture shows; None outside of the volume."""
        return None if self.raster is None else self.raster.voxel_at(px, py)

    def destroy(self) -> None:
        """Give the video memory back."""
        self._texture.destroy()
        self._uniform.destroy()

    def _pipeline(self, source: Flat) -> wgpu.GPURenderPipeline:
        key = tuple(source.variables.values())
        if key not in self._pipelines:
            code = slice_code(source.variables)
            self._pipelines[key] = render_pipeline(self.device, code, [source.layout, _LAYOUT], [{"format": _TARGET}])
        return self._pipelines[key]


def slice_code(variables: dict[str, object]) -> str:
    """The flat view's WGSL for a marcher's template variables."""
    return wgsl.compose("slice.wgsl", **variables)


def _uniform(raster: Raster, ground: str, outline_px: int) -> np.ndarray[tuple[int, ...], np.dtype[np.void]]:
    frame = raster.frame
    whole = np.floor(frame.origin)
    data = np.zeros(1, _UNIFORM)
    data["corner"] = raster.left, raster.top - 1
    data["zoom"], data["span"] = raster.zoom, raster.span
    data["level"] = max(level for level in (1, 4, 16) if raster.span % level == 0)
    data["right"], data["up"] = frame.right, frame.up
    data["is_oblique"] = raster.plane.axis == "oblique"
    data["whole"], data["part"] = whole, frame.origin - whole
    data["dim"] = _DIM
    data["ground"] = linear_from_hex(ground)
    data["outline"] = outline_px
    return data
