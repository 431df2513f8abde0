"""What to march next: quick pictures while the camera moves, sharp ones tile by tile when it is still.

Each volume in a view is a layer with two pictures. The quick one is marched whole, at whatever resolution fits a
frame's budget. The sharp one is marched in tiles, then gathers more samples for smooth edges; writes into the volume
make only the tiles stale that show them, and a cooling flash is followed no faster than the whole picture can be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.camera import Box
from render.curves import BRICK_SIDE
from render.cut import WHOLE
from render.cut_frame import CutFrame
from render.frame import VolumeFrame
from render.look_table import LookTable
from render.march import Eye, Marcher, Shine
from render.tiles import TILE, TileMap
from render.volume import MarchedImage, MemoryVolume, MemoryVolumeMaterial

FLASH_S = 0.45
"""A written page cools to 1/e in this time."""
_FLASH_SHOWN_S = 4 * FLASH_S
_FLASH_STEP_S = 0.06
"""How often cooling pages are drawn anew, at most."""
_SHADE_REACH = 20
"""Voxels around a write whose shading may change with it."""
_MANY_BRICKS = 8192
"""With more written bricks than this it is quicker to march every tile than to find out which."""
_SMALLEST_SCALE = 0.2


class Layer:
    """One volume in a view, and how far its picture has come."""

    def __init__(
        self,
        key: str,
        store: BrickStore,
        origin: tuple[float, float, float],
        frame: VolumeFrame,
        size: tuple[int, int],
    ) -> None:
        self.key = key
        self.store = store
        self.origin = origin
        self.marcher = Marcher(store)
        self.marcher.timed_as = f"march/{key}"
        self.frame = frame
        self.cut_frame = CutFrame(store.shape_voxels)
        frame.add(self.cut_frame)
        self.full = MarchedImage(size)
        self.quick: MarchedImage | None = None
        self.tiles = TileMap(size)
        self.thing = MemoryVolume(MemoryVolumeMaterial(self.full, store.shape_voxels), key)
        self.thing.local.position = frame.local.position = origin
        self.cut = WHOLE
        self.stale = True
        """Another picture is needed now: the camera moved or the way of looking changed."""
        self.restart = True
        """The sharp picture shows something else by now."""
        self._shown_revision = store.revision
        self._flashes: list[tuple[float, NDArray[np.uint32]]] = []
        self._flash_drawn_s = -math.inf

    @property
    def box(self) -> Box:
        """Where the volume stands in the world."""
        low, shape = self.origin, self.store.shape_voxels
        return low, (low[0] + shape[0], low[1] + shape[1], low[2] + shape[2])

    def move(self, origin: tuple[float, float, float]) -> None:
        """Stand elsewhere in the world."""
        self.origin = origin
        self.thing.local.position = self.frame.local.position = origin
        self.stale = True

    @property
    def shows_full(self) -> bool:
        """Whether the sharp picture is the one that is shown."""
        return self.thing.material.image is self.full

    def show(self, image: MarchedImage) -> None:
        """Show one of the two pictures."""
        self.thing.material.image = image
        self.thing.material.sharp = image is self.full

    def resize(self, size: tuple[int, int]) -> None:
        """Have pictures of another size."""
        self.destroy()
        self.full, self.quick, self.tiles = MarchedImage(size), None, TileMap(size)
        self.show(self.full)

    def note_writes(self, now_s: float, eye: Eye, reach: int) -> None:
        """Make the tiles stale that show what was written, or what is still cooling down."""
        changes = self.store.changes_since(self._shown_revision)
        self._shown_revision = self.store.revision
        if changes is None:
            self.stale = True
            return
        corners = [change.corners for change in changes]
        self._flashes += [(change.flashed_s, change.corners) for change in changes if now_s - change.flashed_s < 3600]
        if self._flashes and now_s - self._flash_drawn_s >= _FLASH_STEP_S and self.tiles.lowest >= 1:
            self._flash_drawn_s = now_s
            corners += [bricks for _, bricks in self._flashes]
            # One last look at a page that has cooled, then it is forgotten.
            self._flashes = [flash for flash in self._flashes if now_s - flash[0] < _FLASH_SHOWN_S]
        if not corners or self.stale or self.restart:
            return
        if sum(map(len, corners)) > _MANY_BRICKS:
            self.tiles.forget(np.ones_like(self.tiles.samples, np.bool_))
            return
        bricks = np.concatenate(corners).astype(np.float64)
        self.tiles.forget(self.tiles.tiles_of_boxes(bricks - reach, bricks + BRICK_SIDE + reach, eye))

    def destroy(self) -> None:
        """Give the pictures' video memory back."""
        self.full.destroy()
        if self.quick is not None:
            self.quick.destroy()


@dataclass(slots=True)
class Budget:
    """How long marching may take, and what it takes here."""

    frame_s: float
    """A frame while the camera moves."""
    still_s: float
    """The march's share of a frame while the camera is still and the picture is refined."""
    samples: int
    """How many samples a pixel of a still picture gathers."""
    compose_s: float = 0.0
    """Measured: putting a frame together after the march."""
    pixel_s: float = 1e-7
    """Measured: marching one pixel."""
    quick_scale: float = 0.5

    def scale_for(self, pixels: int) -> float:
        """The resolution, as a share of the full one, at which `pixels` fit what is left of a frame."""
        left_s = max(0.25 * self.frame_s, 0.9 * self.frame_s - self.compose_s)
        scale = math.sqrt(left_s / (pixels * self.pixel_s))
        # Gently, and in steps: textures are not made anew every frame.
        self.quick_scale = max(_SMALLEST_SCALE, min(1.0, 0.5 * self.quick_scale + 0.5 * scale))
        return max(_SMALLEST_SCALE, round(self.quick_scale * 10) / 10)

    def learn_march(self, pixels: int, took_s: float) -> None:
        """Remember what a march cost."""
        self.pixel_s = 0.6 * self.pixel_s + 0.4 * took_s / max(1, pixels)

    def learn_compose(self, took_s: float) -> None:
        """Remember what putting a frame together cost."""
        self.compose_s = 0.6 * self.compose_s + 0.4 * took_s


class Pictures:
    """Marches the layers of one view within a budget."""

    def __init__(self, device: wgpu.GPUDevice, budget: Budget) -> None:
        self.device = device
        self.budget = budget
        self._fence = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST)

    def march(
        self, layers: Sequence[Layer], eye_of: Callable[[Layer], Eye], table: LookTable, shine: Shine, now_s: float
    ) -> bool:
        """Bring the layers' pictures nearer to what they should be; False if they are there already."""
        for layer in layers:
            layer.store.clock_s = now_s
            layer.store.focus(eye_of(layer).basis.position)
            layer.store.settle()
            layer.note_writes(now_s, eye_of(layer), _SHADE_REACH if table.look.mode == "solid" else 0)
        if any(layer.stale for layer in layers):
            if self._too_slow(layers):
                self._march_quick(layers, eye_of, table, shine)
                return True
            for layer in layers:
                layer.restart |= layer.stale
                layer.stale = False
                self._refine(layer, eye_of(layer), table, shine, math.inf)
            return True
        share_s = self.budget.still_s / max(1, len(layers))
        marched = [self._refine(layer, eye_of(layer), table, shine, share_s) for layer in layers]
        return any(marched)

    def wait(self) -> None:
        """Return when the GPU has done all that it was given."""
        self.device.queue.read_buffer(self._fence)

    def destroy(self) -> None:
        """Give the video memory back."""
        self._fence.destroy()

    def _too_slow(self, layers: Iterable[Layer]) -> bool:
        """Whether whole sharp pictures would not fit a frame, so that quick ones are needed first."""
        return sum(layer.tiles.shown_pixels for layer in layers) * self.budget.pixel_s > self.budget.frame_s

    def _march_quick(
        self, layers: Sequence[Layer], eye_of: Callable[[Layer], Eye], table: LookTable, shine: Shine
    ) -> None:
        """Whole pictures now, at the resolution that fits the budget."""
        width, height = layers[0].full.size
        scale = self.budget.scale_for(width * height * len(layers))
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        started = time.perf_counter()
        for layer in layers:
            if layer.quick is None or layer.quick.size != size:
                if layer.quick is not None:
                    layer.quick.destroy()
                layer.quick = MarchedImage(size)
            layer.show(layer.quick)
            layer.marcher.march(
                layer.quick.targets(),
                eye_of(layer),
                table,
                shine,
                [(0, 0, *size)],
                sample=0,
                jitter=(0.0, 0.0),
                pixel_height=height,
            )
            layer.stale, layer.restart = False, True
        self.wait()
        self.budget.learn_march(size[0] * size[1] * len(layers), time.perf_counter() - started)

    def _refine(self, layer: Layer, eye: Eye, table: LookTable, shine: Shine, budget_s: float) -> bool:
        """March what is stale of the sharp picture, or gather samples, for about `budget_s`."""
        tiles = layer.tiles
        if layer.restart:
            layer.restart = False
            whole = np.array([layer.store.shape_voxels], np.float64)
            tiles.restart(tiles.tiles_of_boxes(np.zeros((1, 3)), whole, eye))
            self._clear(layer.full)
        if not layer.shows_full:  # a blurred picture is worth more haste
            budget_s = max(budget_s, self.budget.frame_s)
        work = tiles.next_work(budget_s / (self.budget.pixel_s * TILE * TILE), self.budget.samples)
        if work is not None:
            started = time.perf_counter()
            layer.marcher.march(
                layer.full.targets(),
                eye,
                table,
                shine,
                work.rects,
                sample=work.sample,
                jitter=jitter(work.sample),
                pixel_height=layer.full.size[1],
            )
            self.wait()
            self.budget.learn_march(sum(rect[2] * rect[3] for rect in work.rects), time.perf_counter() - started)
        if not layer.shows_full and tiles.complete:
            layer.show(layer.full)
            return True
        return work is not None

    def _clear(self, image: MarchedImage) -> None:
        targets = image.targets()
        nothing = {"load_op": "clear", "store_op": "store", "clear_value": (0, 0, 0, 0), "resolve_target": None}
        encoder = self.device.create_command_encoder()
        render = encoder.begin_render_pass(
            color_attachments=[{"view": view, **nothing} for view in (targets.color, targets.depth)]
        )
        render.end()
        self.device.queue.submit([encoder.finish()])


def jitter(sample: int) -> tuple[float, float]:
    """Where in the pixel a sample lies, as an offset from its middle: the R2 sequence (Roberts, 2018)."""
    if sample == 0:
        return (0.0, 0.0)
    return ((0.5 + 0.7548776662466927 * sample) % 1 - 0.5, (0.5 + 0.5698402909980532 * sample) % 1 - 0.5)
