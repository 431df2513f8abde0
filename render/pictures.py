"""What to march next: quick pictures while the camera moves, sharp ones tile by tile when it is still.

Each volume in a view is a layer with two pictures. The quick one is marched whole, at whatever resolution fits a
frame's budget. The sharp one is marched in tiles, then gathers more samples for smooth edges; writes into the volume
make only the tiles stale that show them, and a cooling flash is followed no faster than the whole picture can be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import wgpu

from render.budget import Budget
from render.camera import OrbitCamera
from render.eye import Eye, Shine
from render.layers import Layer
from render.look_table import LookTable
from render.tiles import TILE
from render.volume import MarchedImage


class Progress(NamedTuple):
    """What a call brought."""

    worked: bool
    """There was something to do; there may be more."""
    changed: bool
    """What is shown is another picture than before."""


class Pictures:
    """Marches the layers of one view within a budget."""

    def __init__(self, device: wgpu.GPUDevice, budget: Budget) -> None:
        self.device = device
        self.budget = budget
        self._fence = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST)

    def march(
        self, layers: Sequence[Layer], camera: OrbitCamera, table: LookTable, shine: Shine, now_s: float
    ) -> Progress:
        """Bring the layers' pictures nearer to what they should be."""
        for layer in layers:
            eye = layer.eye(camera)
            layer.store.clock_s = now_s
            layer.store.focus(eye.basis.position)
            layer.store.settle()
            layer.note_changes(now_s, eye, table.look)
        if any(layer.stale for layer in layers):
            if self._too_slow(layers):
                self._march_quick(layers, camera, table, shine)
                return Progress(worked=True, changed=True)
            for layer in layers:
                layer.restart |= layer.stale
                layer.stale = False
                self._refine(layer, layer.eye(camera), table, shine, math.inf)
                layer.thing.material.show(layer.full, layer.full.size)
            return Progress(worked=True, changed=True)
        share_s = self.budget.still_s / max(1, len(layers))
        steps = [self._refine(layer, layer.eye(camera), table, shine, share_s) for layer in layers]
        return Progress(any(step.worked for step in steps), any(step.changed for step in steps))

    def wait(self) -> None:
        """Return when the GPU has done all that it was given."""
        self.device.queue.read_buffer(self._fence)

    def destroy(self) -> None:
        """Give the video memory back."""
        self._fence.destroy()

    def _too_slow(self, layers: Iterable[Layer]) -> bool:
        """Whether whole sharp pictures would not fit a frame, so that quick ones are needed first."""
        return sum(layer.tiles.shown_pixels for layer in layers) * self.budget.pixel_s > self.budget.frame_s

    def _march_quick(self, layers: Sequence[Layer], camera: OrbitCamera, table: LookTable, shine: Shine) -> None:
        """Whole pictures now, at the resolution that fits the budget."""
        width, height = layers[0].full.size
        scale = self.budget.scale_for(width * height * len(layers))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        started = time.perf_counter()
        for layer in layers:
            if layer.quick is None:
                layer.quick = MarchedImage(layer.full.size)
            layer.show_quick(size)
            layer.marcher.march(
                replace(layer.quick.targets(), size=size),
                layer.eye(camera),
                table,
                shine,
                [(0, 0, *size)],
                sample=0,
                jitter=(0.0, 0.0),
                pixel_height=size[1],
            )
            layer.stale, layer.restart = False, True
        self.wait()
        self.budget.learn_quick(size[0] * size[1] * len(layers), time.perf_counter() - started)

    def _refine(self, layer: Layer, eye: Eye, table: LookTable, shine: Shine, budget_s: float) -> Progress:
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
            self.budget.learn_sharp(sum(rect[2] * rect[3] for rect in work.rects), time.perf_counter() - started)
        if not layer.shows_full:
            if tiles.complete:
                layer.show_full()
            return Progress(worked=True, changed=tiles.complete)
        faded = layer.fade()
        return Progress(worked=faded or work is not None, changed=faded or work is not None)

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
