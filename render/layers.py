"""A layer: one volume in a view, its quick and its sharp picture, and which tiles of the sharp one are out of date."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from render.backdrop import Background
from render.bricks import BrickStore
from render.camera import CLEAR_FRACTION, Basis, Box, OrbitCamera
from render.channels import BY_VOXEL
from render.curves import BRICK_SIDE
from render.cut import WHOLE, Cut
from render.cut_frame import CutFrame
from render.eye import Eye
from render.frame import VolumeFrame
from render.look import Look
from render.march import Marcher
from render.page_boxes import boxes_of_pages
from render.tiles import TileMap
from render.volume import MarchedImage, MemoryVolume, MemoryVolumeMaterial

FLASH_S = 0.45
"""A written page cools to 1/e in this time."""
FADE_FRAMES = 5
"""In so many frames the quick picture turns into the sharp one: quick enough for a person in a hurry, and no pop."""
_FLASH_SHOWN_S = 4 * FLASH_S
_FLASH_STEP_S = 0.06
"""How often cooling pages are drawn anew, at most."""
_COLD = 0.009
"""Writes that are less than half of the first step of heat's scale."""
_COOL_STEP = 0.1
"""The share of a half-life in which heat falls by a few steps of its scale."""
_SHADE_REACH = 20
"""Voxels around a write whose shading may change with it."""
_MANY_BRICKS = 8192
"""With more written bricks than this it is quicker to march every tile than to find out which."""


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
        """Made when it is first needed, as large as the sharp one; only a part of it is marched and shown."""
        self.tiles = TileMap(size)
        self.thing = MemoryVolume(MemoryVolumeMaterial(self.full, store.shape_voxels), key)
        self.thing.local.position = frame.local.position = origin
        self.cut = WHOLE
        self.stale = True
        """Another picture is needed now: the camera moved or the way of looking changed."""
        self.restart = True
        """The sharp picture shows something else by now."""
        self._shown_revision = store.revision
        self._shown_lit = store.highlight.index, store.highlight.colours
        self._hot = np.zeros(0, np.int64)
        # When each brick was written, as far as its flash may still be seen to cool; most never are.
        self._written_s = np.full(store.shape_bricks, -math.inf, np.float32)
        self._last_written_s = -math.inf
        self._cooled_s = -math.inf
        self._cooling_drawn_s = -math.inf

    @property
    def box(self) -> Box:
        """Where the volume stands in the world."""
        low, shape = self.origin, self.store.shape_voxels
        return low, (low[0] + shape[0], low[1] + shape[1], low[2] + shape[2])

    def byte_box(self, address: int) -> Box:
        """The voxel of a RAM offset, in the world. Raises AddressOutOfCurve."""
        return self._cube(self._voxel(address), 1)

    def page_box(self, address: int) -> Box:
        """The brick of a RAM offset's page, in the world. Raises AddressOutOfCurve."""
        return self._cube(self._voxel(address) // BRICK_SIDE * BRICK_SIDE, BRICK_SIDE)

    def page_boxes(self, pages: NDArray[np.uint32]) -> list[Box]:
        """Few boxes in the world that hold pages (n,)."""
        boxes = boxes_of_pages(self.store, pages) + np.array(self.origin)
        return [((low[0], low[1], low[2]), (high[0], high[1], high[2])) for low, high in boxes.tolist()]

    def _voxel(self, address: int) -> NDArray[np.uint32]:
        store = self.store
        voxel: NDArray[np.uint32] = store.curve.voxel_from_address(np.array([address], np.uint64), store.order)[0]
        return voxel

    def _cube(self, corner: NDArray[np.uint32], side: int) -> Box:
        x, y, z = (self.origin[axis] + float(corner[axis]) for axis in range(3))
        return (x, y, z), (x + side, y + side, z + side)

    def eye(self, camera: OrbitCamera) -> Eye:
        """A camera as it stands in this volume's own voxels."""
        basis, state = camera.basis, camera.state
        own = Basis(basis.position - np.array(self.origin), basis.right, basis.up, basis.forward)
        opening: Box | None = None
        if state.opening is not None:
            low, high = (tuple(np.subtract(corner, self.origin)) for corner in state.opening)
            opening = (low[0], low[1], low[2]), (high[0], high[1], high[2])
        clear_depth = state.distance * CLEAR_FRACTION
        return Eye(own, camera.half_extent(), clear_depth, opening, self.cut.clip, self.cut.planes)

    def show_cut(self, cut: Cut) -> None:
        """Be cut so, with lines around what is cut."""
        self.cut = cut
        self.cut_frame.show(cut)
        self.stale = True

    def set_colors(self, background: Background) -> None:
        """Draw edges and names in the colours of a theme."""
        self.frame.set_colors(background.line, background.text)
        self.cut_frame.set_colors(background.planes, background.text)

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw edges and names for a screen with this many pixels to the unit."""
        self.frame.set_scale(pixel_ratio)
        self.cut_frame.set_scale(pixel_ratio)

    def move(self, origin: tuple[float, float, float]) -> None:
        """Stand elsewhere in the world."""
        self.origin = origin
        self.thing.local.position = self.frame.local.position = origin
        self.stale = True

    @property
    def shows_full(self) -> bool:
        """Whether the sharp picture is the one that is shown."""
        return self.thing.material.image is self.full

    def show_quick(self, size: tuple[int, int]) -> None:
        """Show the quick picture, of which only `size` pixels were marched."""
        assert self.quick is not None
        self.thing.material.show(self.quick, size)

    def show_full(self) -> None:
        """Show the sharp picture, at first mixed with the quick one that was shown before."""
        old = None if self.shows_full else self.quick
        self.thing.material.show(self.full, self.full.size, old)

    def fade(self) -> bool:
        """Go on mixing from the quick to the sharp picture; False if there is nothing to mix."""
        return bool(self.thing.material.fade(1 / FADE_FRAMES))

    def resize(self, size: tuple[int, int]) -> None:
        """Have pictures of another size."""
        self.destroy()
        self.full, self.quick, self.tiles = MarchedImage(size), None, TileMap(size)
        self.thing.material.show(self.full, size)

    def note_changes(self, now_s: float, eye: Eye, look: Look) -> None:
        """Make the tiles stale that show what was written, or what is still cooling down."""
        shown = self._shown_revision
        changes = self.store.changes_since(shown)
        self._shown_revision = self.store.revision
        if changes is None:
            self.stale = True
            return
        corners = [change.corners for change in changes]
        corners += self._lit_changes()
        if self.store.revision - shown > len(changes) and look.channel not in BY_VOXEL:
            # Not bytes but something else changed: an attribute, or how fast heat cools.
            self.tiles.forget(np.ones_like(self.tiles.samples, np.bool_))
        for change in changes:
            x, y, z = (change.corners // BRICK_SIDE).T
            self._written_s[x, y, z] = np.maximum(self._written_s[x, y, z], change.flashed_s)
            self._last_written_s = max(self._last_written_s, change.flashed_s)
        step_s = max(_FLASH_STEP_S, _COOL_STEP * self.store.half_life_s) if look.channel == "heat" else _FLASH_STEP_S
        if now_s - self._cooling_drawn_s >= step_s and self.tiles.lowest >= 1:
            cooling = self._hot_bricks() if look.channel == "heat" else self._flashing_bricks(now_s)
            if len(cooling):
                self._cooling_drawn_s = now_s
                corners.append(cooling)
        if not any(map(len, corners)) or self.stale or self.restart:
            return
        if sum(map(len, corners)) > _MANY_BRICKS:
            self.tiles.forget(np.ones_like(self.tiles.samples, np.bool_))
            return
        reach = _SHADE_REACH if look.mode == "solid" else 0
        bricks = np.concatenate(corners).astype(np.float64)
        self.tiles.forget(self.tiles.tiles_of_boxes(bricks - reach, bricks + BRICK_SIDE + reach, eye))

    def _lit_changes(self) -> list[NDArray[np.uint32]]:
        """Corners (n, 3) of bricks that are lit up now and were not, or the other way round, or otherwise.

        Where that begins or ends every pixel changes, and with another colour many: the picture is stale.
        """
        (before, colours), highlight = self._shown_lit, self.store.highlight
        self._shown_lit = now, _ = highlight.index, highlight.colours
        if before is now and colours is highlight.colours:
            return []
        if before is None or now is None or colours is not highlight.colours:
            self.stale = True
            return []
        # Outlines on the bricks beside those change with them.
        changed = self._bricks[before != now].astype(np.int64)
        beside = np.concatenate([changed + step for step in np.ndindex(3, 3, 3)]) - 1 if len(changed) else changed
        shape = self.store.shape_bricks
        numbers = np.ravel_multi_index(tuple(np.clip(beside, 0, np.array(shape) - 1).T), shape)
        bricks = np.stack(np.unravel_index(np.unique(numbers), shape), axis=1)
        return [(bricks * BRICK_SIDE).astype(np.uint32)]

    def _flashing_bricks(self, now_s: float) -> NDArray[np.uint32]:
        """Corners (n, 3) of bricks whose flash can be seen, and for one last look those where it just could."""
        since_s, self._cooled_s = self._cooled_s - _FLASH_SHOWN_S, now_s
        if self._last_written_s <= since_s:
            return np.zeros((0, 3), np.uint32)
        return np.argwhere(self._written_s > since_s).astype(np.uint32) * BRICK_SIDE

    def _hot_bricks(self) -> NDArray[np.uint32]:
        """Corners (n, 3) of bricks that have heat to lose, and for one last look those that just had."""
        before, self._hot = self._hot, np.flatnonzero(self.store.heat_now() > _COLD)
        pages = np.union1d(before, self._hot)
        return self._bricks[pages] * np.uint32(BRICK_SIDE)

    @cached_property
    def _bricks(self) -> NDArray[np.uint32]:
        """Where each page lies, in bricks, (n_pages, 3)."""
        return self.store.curve.bricks_from_pages(self.store.n_pages, self.store.order)[0]

    def destroy(self) -> None:
        """Give the pictures' video memory back."""
        self.full.destroy()
        if self.quick is not None:
            self.quick.destroy()
