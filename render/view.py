"""The view: volumes, camera and overlays in one scene, drawn into a texture that the window shows.

While the camera moves, the march runs at whatever resolution keeps a frame within its budget. When it is still, the
picture is marched tile by tile at full resolution and then gathers more samples for smooth edges; writes into the
volume make only the tiles stale that show them. A view that has nothing to do costs nothing.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import pygfx as gfx
import wgpu
from numpy.typing import NDArray

from render import hilbert
from render.backdrop import Backdrop, BackdropMaterial
from render.bricks import BRICK_SIDE, BrickStore
from render.camera import CLEAR_FRACTION, Basis, Box, OrbitCamera
from render.device import adapter_summary, gpu_work
from render.frame import BoxMarker, VolumeFrame
from render.halo import Halo
from render.march import MODES, Eye, Look, Marcher, Mode, palette_texture
from render.palettes import PALETTES, linear_from_hex, palette_table
from render.tiles import TILE, TileMap
from render.volume import MarchedImage, MatchedCamera, MemoryVolume, MemoryVolumeMaterial

_FLASH_S = 0.45
"""A written page cools to 1/e in this time."""
_FLASH_SHOWN_S = 4 * _FLASH_S
_FLASH_STEP_S = 0.06
"""How often cooling pages are drawn anew."""
_SHADE_REACH = 20
"""Voxels around a write whose shading may change with it."""
_SMALLEST_SCALE = 0.2


@dataclass(frozen=True, slots=True)
class Background:
    """The colours around the volume; "#rrggbb" each."""

    top: str
    bottom: str
    middle: str
    line: str
    text: str
    selection: str
    hover: str
    flash: str
    light: float
    """How much of the volume's light falls on the ground."""
    shadow: float
    """How much it dims the ground around it."""


DARK = Background("#0b101d", "#04060b", "#101a2e", "#51607e", "#8b98b4", "#ffd166", "#cdd7ee", "#ffe2a8", 0.22, 0.0)
LIGHT = Background("#f4f6fa", "#dfe4ec", "#ffffff", "#8a95aa", "#56617a", "#b4460a", "#33405c", "#ffffff", 0.06, 0.22)
BACKGROUNDS = {"dark": DARK, "light": LIGHT}


@dataclass(frozen=True, slots=True)
class Hit:
    """A byte that was pointed at: whose, which voxel of its volume, its RAM offset, and where in the world."""

    key: str
    voxel: tuple[int, int, int]
    address: int
    position: tuple[float, float, float]


@dataclass(slots=True)
class _Layer:
    """One volume in the view, and how far its picture has come."""

    key: str
    store: BrickStore
    origin: tuple[float, float, float]
    marcher: Marcher
    thing: MemoryVolume
    frame: VolumeFrame
    full: MarchedImage
    quick: MarchedImage | None
    tiles: TileMap
    shown_revision: int
    flashes: list[tuple[float, NDArray[np.uint32]]]
    stale: bool = True
    """Another picture is needed now: the camera moved or the way of looking changed."""
    restart: bool = True
    """The sharp picture shows something else by now."""

    @property
    def box(self) -> Box:
        low, shape = self.origin, self.store.shape_voxels
        return low, (low[0] + shape[0], low[1] + shape[1], low[2] + shape[2])


class VolumeView:
    """See the module. Not thread-safe: one thread draws, picks and changes it."""

    def __init__(
        self, device: wgpu.GPUDevice, size_px: tuple[int, int] = (1280, 720), *, background: str = "dark"
    ) -> None:
        self.device = device
        self.is_software = adapter_summary(device).is_software
        self.frame_budget_s = 0.033 if self.is_software else 0.016
        """A frame may take this long while the camera moves."""
        self.still_budget_s = 0.020 if self.is_software else 0.012
        """And this long while it is still and the picture is refined."""
        self.samples = 6 if self.is_software else 12
        """How many samples a pixel of a still picture gathers."""
        self.camera = OrbitCamera(size_px[0] / size_px[1])
        self.scene = gfx.Scene()
        self._layers: dict[str, _Layer] = {}
        self._mode: Mode = "first hit"
        self._palette = "content"
        self._opacity = 0.08
        self._background = BACKGROUNDS[background]
        self._size = (max(1, size_px[0]), max(1, size_px[1]))
        self._dirty = True
        self._renderer: gfx.WgpuRenderer | None = None
        self._seconds_per_pixel = 1e-7
        self._compose_s = 0.0
        self._pixel_ratio = 1.0
        self._quick_scale = 0.5 if self.is_software else 1.0
        self._last_state: object = None
        self._flash_drawn_s = -1e9
        self._now_s = 0.0
        with gpu_work("set up the view"):
            self._lut = palette_texture(device, palette_table(self._palette))
            self._fence = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST)
            self._pygfx_camera = MatchedCamera()
            self._halo = Halo(device, self._size)
            self._backdrop = BackdropMaterial(self._halo.view)
            self.scene.add(Backdrop(None, self._backdrop))
            self._selection_mark = BoxMarker(self._background.selection, 2.0, through=0.4)
            self._page_mark = BoxMarker(self._background.selection, 1.0, through=0.15)
            self._hover_mark = BoxMarker(self._background.hover, 1.5, through=0.1)
            self.scene.add(self._selection_mark, self._page_mark, self._hover_mark)
            self._make_targets()
        self.set_background(background)

    # ----- what it shows

    @property
    def texture(self) -> wgpu.GPUTexture:
        """The picture, rgba8unorm with sRGB's encoding; another one after every resize."""
        return self._texture

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self._size

    @property
    def volumes(self) -> tuple[str, ...]:
        """The keys of the volumes that are shown."""
        return tuple(self._layers)

    @property
    def mode(self) -> Mode:
        """How the bytes are shown: one of MODES."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in MODES:
            raise ValueError(f"Mode {mode!r} is not one of {', '.join(MODES)}.")
        if mode != self._mode:
            self._mode = mode
            self._forget_pictures()

    @property
    def palette(self) -> str:
        """The colours of the bytes: one of PALETTES."""
        return self._palette

    @palette.setter
    def palette(self, name: str) -> None:
        if name not in PALETTES:
            raise ValueError(f"Palette {name!r} is not one of {', '.join(PALETTES)}.")
        if name == self._palette:
            return
        self._palette = name
        with gpu_work("change the palette"):
            old, self._lut = self._lut, palette_texture(self.device, palette_table(name))
            for layer in self._layers.values():
                layer.marcher.set_palette(self._lut)
            old.destroy()
        self._forget_pictures()

    @property
    def opacity(self) -> float:
        """How much a voxel of the highest bytes hides in translucent mode, 0 to 1."""
        return self._opacity

    @opacity.setter
    def opacity(self, opacity: float) -> None:
        if not 0.0 < opacity <= 1.0:
            raise ValueError(f"An opacity of {opacity} makes no sense; it lies above 0 and at most at 1.")
        if opacity != self._opacity:
            self._opacity = opacity
            self._forget_pictures()

    def set_background(self, background: str | Background) -> None:
        """Change the colours around the volume: "dark", "light", or one's own."""
        colors = BACKGROUNDS[background] if isinstance(background, str) else background
        self._background = colors
        self._backdrop.set_colors(colors.top, colors.bottom, colors.middle, colors.light, colors.shadow)
        self._selection_mark.set_color(colors.selection)
        self._page_mark.set_color(colors.selection)
        self._hover_mark.set_color(colors.hover)
        for layer in self._layers.values():
            layer.frame.set_colors(colors.line, colors.text)
        self._forget_pictures()

    @property
    def pixel_ratio(self) -> float:
        """Pixels to the unit of the screen: lines and labels grow with it."""
        return self._pixel_ratio

    @pixel_ratio.setter
    def pixel_ratio(self, ratio: float) -> None:
        if ratio != self._pixel_ratio:
            self._pixel_ratio = ratio
            for mark in (self._selection_mark, self._page_mark, self._hover_mark):
                mark.set_scale(ratio)
            for layer in self._layers.values():
                layer.frame.set_scale(ratio)
            self._dirty = True

    def add_volume(
        self, key: str, store: BrickStore, label: str = "", origin: tuple[float, float, float] | None = None
    ) -> None:
        """Show a store. Without an origin it stands beside the others. The first one is brought into view."""
        if key in self._layers:
            raise ValueError(f"A volume {key!r} is already shown; remove it first.")
        place = origin if origin is not None else self._free_place()
        with gpu_work("show a volume"):
            full = MarchedImage(self._size)
            thing = MemoryVolume(MemoryVolumeMaterial(full, store.shape_voxels), key)
            frame = VolumeFrame(store.shape_voxels, label, self._background.line, self._background.text)
            frame.set_scale(self._pixel_ratio)
            thing.local.position = frame.local.position = place
            marcher = Marcher(store, self._lut)
        self._layers[key] = _Layer(
            key, store, place, marcher, thing, frame, full, None, TileMap(self._size), store.revision, []
        )
        self.scene.add(thing, frame)
        self._world_changed()
        if len(self._layers) == 1:
            self.camera.fit()

    def remove_volume(self, key: str) -> None:
        """Stop showing a store; the store itself lives on. Raises KeyError."""
        layer = self._layers.pop(key)
        self.scene.remove(layer.thing, layer.frame)
        layer.full.destroy()
        if layer.quick is not None:
            layer.quick.destroy()
        if self._selection is not None and self._selection[0] == key:
            self.set_selection(None, None)
        self.set_hover(None)
        self._world_changed()

    def volume_box(self, key: str) -> Box:
        """Where a volume stands in the world. Raises KeyError."""
        return self._layers[key].box

    _selection: tuple[str, int] | None = None

    def set_selection(self, key: str | None, address: int | None) -> None:
        """Mark a byte (RAM offset) and its page; None for nothing. Raises KeyError, AddressOutOfCurve."""
        if key is None or address is None:
            self._selection = None
            self._selection_mark.mark(None)
            self._page_mark.mark(None)
        else:
            self._selection = (key, address)
            self._selection_mark.mark(self.byte_box(key, address))
            self._page_mark.mark(self.page_box(key, address))
        self._dirty = True

    def set_hover(self, hit: Hit | None) -> None:
        """Mark the byte under the pointer, or nothing."""
        box = None if hit is None or hit.key not in self._layers else self.byte_box(hit.key, hit.address)
        if box != self._hover_mark.box:
            self._hover_mark.mark(box)
            self._dirty = True

    def byte_box(self, key: str, address: int) -> Box:
        """The voxel of a RAM offset, in the world. Raises KeyError, AddressOutOfCurve."""
        layer = self._layers[key]
        voxel = hilbert.voxel_from_address(np.array([address], np.uint64), layer.store.order)[0]
        return _cube(layer.origin, voxel, 1)

    def page_box(self, key: str, address: int) -> Box:
        """The brick of a RAM offset's page, in the world. Raises KeyError, AddressOutOfCurve."""
        layer = self._layers[key]
        voxel = hilbert.voxel_from_address(np.array([address], np.uint64), layer.store.order)[0]
        return _cube(layer.origin, voxel // BRICK_SIDE * BRICK_SIDE, BRICK_SIDE)

    # ----- drawing

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of another size from now on."""
        size = (max(1, width), max(1, height))
        if size == self._size:
            return
        self._size = size
        self.camera.aspect = size[0] / size[1]
        with gpu_work("resize the view"):
            self._texture.destroy()
            self._make_targets()
            self._halo.destroy()
            self._halo = Halo(self.device, size)
            self._backdrop.halo = self._halo.view
            for layer in self._layers.values():
                layer.full.destroy()
                if layer.quick is not None:
                    layer.quick.destroy()
                layer.full, layer.quick, layer.tiles = MarchedImage(size), None, TileMap(size)
                layer.thing.material.image = layer.full
        self._forget_pictures()

    def draw(self, now_s: float) -> bool:
        """Bring the picture up to date with everything at `now_s`; False if there was nothing to do. Raises
        DeviceLost.
        """
        self._now_s = now_s
        self.camera.update(now_s)
        state = (self.camera.state, self._size)
        camera_moved = state != self._last_state
        self._last_state = state
        if camera_moved:
            for layer in self._layers.values():
                layer.stale = True
        with gpu_work("draw"):
            stale = any(layer.stale for layer in self._layers.values())
            marched = self._march_layers()
            if not (marched or self._dirty or camera_moved):
                return False
            if marched or self._dirty:
                images = [layer.thing.material.image for layer in self._layers.values()]
                self._halo.update([image.targets().color for image in images])
            started = time.perf_counter()
            self._compose()
            if stale:  # what is left of a frame's budget for the next quick march
                self.device.queue.read_buffer(self._fence)
                self._compose_s = 0.6 * self._compose_s + 0.4 * (time.perf_counter() - started)
        self._dirty = False
        return True

    def finish(self, now_s: float) -> None:
        """Draw until the picture is as good as it gets: for pictures that nobody waits for."""
        self.draw(now_s)
        while self.draw(now_s):
            pass

    def screenshot(self) -> NDArray[np.uint8]:
        """The picture as it is, (height, width, 4) uint8."""
        width, height = self._size
        with gpu_work("read the picture"):
            raw = self.device.queue.read_texture(
                {"texture": self._texture}, {"bytes_per_row": 4 * width, "rows_per_image": height}, (width, height, 1)
            )
        return np.frombuffer(raw, np.uint8).reshape(height, width, 4)

    def pick(self, x: float, y: float) -> Hit | None:
        """The byte that is shown at a pixel position (from the top left), or None. Exact; waits for the GPU."""
        best: tuple[float, Hit] | None = None
        with gpu_work("pick"):
            for layer in self._layers.values():
                eye = self._eye(layer)
                picked = layer.marcher.pick(eye, self._look(), (x, y), self._size)
                if picked is None or (best is not None and picked.depth >= best[0]):
                    continue
                address = int(hilbert.address_from_voxel(np.array([picked.voxel], np.uint32), layer.store.order)[0])
                best = (picked.depth, Hit(layer.key, picked.voxel, address, self._world_at(x, y, picked.depth)))
        return None if best is None else best[1]

    def destroy(self) -> None:
        """Give the video memory back. The stores live on."""
        for key in tuple(self._layers):
            self.remove_volume(key)
        self._texture.destroy()
        self._lut.destroy()
        self._fence.destroy()
        self._halo.destroy()
        self.scene.clear()

    # ----- inside

    def _make_targets(self) -> None:
        usage = wgpu.TextureUsage
        self._texture: wgpu.GPUTexture = self.device.create_texture(
            size=(*self._size, 1),
            format="rgba8unorm",
            usage=usage.TEXTURE_BINDING | usage.COPY_DST | usage.COPY_SRC | usage.RENDER_ATTACHMENT,
        )
        # pygfx asks its target only for its size here: what it draws is copied out before its output pass, which would
        # resample and re-encode.
        target = gfx.Texture(dim=2, size=(*self._size, 1), format="rgba8unorm")
        if self._renderer is None:
            self._renderer = gfx.WgpuRenderer(target, pixel_scale=1, ppaa="none")
        else:  # another renderer would compile every pipeline again
            self._renderer._target = target

    def _world_changed(self) -> None:
        boxes = [layer.box for layer in self._layers.values()]
        if boxes:
            low = [min(box[0][axis] for box in boxes) for axis in range(3)]
            high = [max(box[1][axis] for box in boxes) for axis in range(3)]
            self.camera.set_world(((low[0], low[1], low[2]), (high[0], high[1], high[2])))
        self._forget_pictures()

    def _free_place(self) -> tuple[float, float, float]:
        if not self._layers:
            return (0.0, 0.0, 0.0)
        boxes = [layer.box for layer in self._layers.values()]
        right = max(box[1][0] for box in boxes)
        widest = max(box[1][0] - box[0][0] for box in boxes)
        return (right + 0.35 * widest, 0.0, 0.0)

    def _forget_pictures(self) -> None:
        self._dirty = True
        for layer in self._layers.values():
            layer.stale = True

    def _look(self) -> Look:
        return Look(
            self._mode,
            opacity=-math.log1p(-min(self._opacity, 0.999)),
            glow=1.0,
            flash_s=_FLASH_S,
            flash_color=linear_from_hex(self._background.flash),
        )

    def _eye(self, layer: _Layer) -> Eye:
        basis = self.camera.basis
        own = Basis(basis.position - np.array(layer.origin), basis.right, basis.up, basis.forward)
        state = self.camera.state
        opening: Box | None = None
        if state.opening is not None:
            low, high = (tuple(np.subtract(corner, layer.origin)) for corner in state.opening)
            opening = (low[0], low[1], low[2]), (high[0], high[1], high[2])
        return Eye(own, self.camera.half_extent(), state.distance * CLEAR_FRACTION, opening)

    def _world_at(self, x: float, y: float, depth: float) -> tuple[float, float, float]:
        basis, (half_width, half_height) = self.camera.basis, self.camera.half_extent()
        direction = (
            basis.forward
            + (2 * x / self._size[0] - 1) * half_width * basis.right
            - (2 * y / self._size[1] - 1) * half_height * basis.up
        )
        point = basis.position + direction * depth
        return float(point[0]), float(point[1]), float(point[2])

    def _march_layers(self) -> bool:
        for layer in self._layers.values():
            layer.store.clock_s = self._now_s
            layer.store.settle()
            self._note_writes(layer)
        if any(layer.stale for layer in self._layers.values()):
            if self._too_slow():
                return self._march_quick()
            for layer in self._layers.values():
                layer.restart |= layer.stale
                layer.stale = False
                self._refine(layer, math.inf)
            return True
        budget = self.still_budget_s / max(1, len(self._layers))
        marched = [self._refine(layer, budget) for layer in self._layers.values()]
        return any(marched)

    def _too_slow(self) -> bool:
        """Whether a whole sharp picture would not fit a frame, so that a quick one is needed first."""
        pixels = sum(layer.tiles.shown_pixels for layer in self._layers.values())
        return pixels * self._seconds_per_pixel > self.frame_budget_s

    def _march_quick(self) -> bool:
        """The whole picture now, at the resolution that fits the budget."""
        pixels = self._size[0] * self._size[1] * max(1, len(self._layers))
        budget_s = max(0.25 * self.frame_budget_s, 0.9 * self.frame_budget_s - self._compose_s)
        scale = float(np.sqrt(budget_s / (pixels * self._seconds_per_pixel)))
        # Steps keep textures and pipelines from being made anew every frame.
        self._quick_scale = max(_SMALLEST_SCALE, min(1.0, 0.5 * self._quick_scale + 0.5 * scale))
        scale = max(_SMALLEST_SCALE, round(self._quick_scale * 10) / 10)
        size = (max(1, int(self._size[0] * scale)), max(1, int(self._size[1] * scale)))
        started = time.perf_counter()
        total = 0
        for layer in self._layers.values():
            if layer.quick is None or layer.quick.size != size:
                if layer.quick is not None:
                    layer.quick.destroy()
                layer.quick = MarchedImage(size)
            layer.thing.material.image = layer.quick
            layer.thing.material.sharp = False
            layer.marcher.march(
                layer.quick.targets(),
                self._eye(layer),
                self._look(),
                [(0, 0, *size)],
                sample=0,
                jitter=(0.0, 0.0),
                pixel_height=self._size[1],
            )
            layer.stale, layer.restart = False, True
            total += size[0] * size[1]
        self._learn(total, started)
        return True

    def _learn(self, pixels: int, started: float) -> None:
        """Wait for the march, and remember what a pixel costs."""
        self.device.queue.read_buffer(self._fence)
        if pixels:
            cost = (time.perf_counter() - started) / pixels
            self._seconds_per_pixel = 0.6 * self._seconds_per_pixel + 0.4 * cost

    def _note_writes(self, layer: _Layer) -> None:
        """Make the tiles stale that show what was written, or what is still cooling down."""
        changes = layer.store.changes_since(layer.shown_revision)
        layer.shown_revision = layer.store.revision
        if changes is None:
            layer.stale = True
            return
        layer.flashes += [(change.flashed_s, change.corners) for change in changes]
        corners = [change.corners for change in changes]
        if self._now_s - self._flash_drawn_s >= _FLASH_STEP_S and layer.flashes:
            self._flash_drawn_s = self._now_s
            corners = [bricks for _, bricks in layer.flashes]
            # One last look at a page that has cooled, then it is forgotten.
            layer.flashes = [flash for flash in layer.flashes if self._now_s - flash[0] < _FLASH_SHOWN_S]
        if corners and not (layer.stale or layer.restart):
            bricks = np.unique(np.concatenate(corners), axis=0).astype(np.float64)
            reach = _SHADE_REACH if self._mode == "first hit" else 0
            layer.tiles.forget(
                layer.tiles.tiles_of_boxes(bricks - reach, bricks + BRICK_SIDE + reach, self._eye(layer))
            )

    def _refine(self, layer: _Layer, budget_s: float) -> bool:
        """March what is stale of the sharp picture, or gather samples, for about `budget_s`."""
        tiles, eye = layer.tiles, self._eye(layer)
        if layer.restart:
            layer.restart = False
            tiles.forget_all()
            tiles.show_only(tiles.tiles_of_boxes(np.zeros((1, 3)), np.array([layer.store.shape_voxels], float), eye))
            self._clear(layer.full)
        shown = layer.thing.material.image is layer.full
        if not shown:  # a blurred picture is worth more haste
            budget_s = max(budget_s, self.frame_budget_s)
        work = tiles.next_work(budget_s / (self._seconds_per_pixel * TILE * TILE), self.samples)
        if work is not None:
            started = time.perf_counter()
            layer.marcher.march(
                layer.full.targets(),
                eye,
                self._look(),
                work.rects,
                sample=work.sample,
                jitter=_jitter(work.sample),
                pixel_height=self._size[1],
            )
            self._learn(sum(rect[2] * rect[3] for rect in work.rects), started)
        if not shown and tiles.lowest >= 1:
            layer.thing.material.image = layer.full
            layer.thing.material.sharp = True
            return True
        return work is not None

    def _clear(self, image: MarchedImage) -> None:
        encoder = self.device.create_command_encoder()
        targets = image.targets()
        render = encoder.begin_render_pass(
            color_attachments=[
                {
                    "view": view,
                    "load_op": "clear",
                    "store_op": "store",
                    "clear_value": (0, 0, 0, 0),
                    "resolve_target": None,
                }
                for view in (targets.color, targets.depth, targets.voxel)
            ]
        )
        render.end()
        self.device.queue.submit([encoder.finish()])

    def _compose(self) -> None:
        """pygfx draws the scene; its picture is copied as it is."""
        self._pygfx_camera.follow(self.camera)
        assert self._renderer is not None
        self._renderer.render(self.scene, self._pygfx_camera, flush=False)
        self._renderer._renders_since_last_flush = 0
        encoder = self.device.create_command_encoder()
        color = self._renderer._blender.get_texture("color")
        encoder.copy_texture_to_texture({"texture": color}, {"texture": self._texture}, (*self._size, 1))
        self.device.queue.submit([encoder.finish()])


def _jitter(sample: int) -> tuple[float, float]:
    """Where in the pixel a sample lies, as an offset from its middle: the R2 sequence (Roberts, 2018)."""
    if sample == 0:
        return (0.0, 0.0)
    return ((0.5 + 0.7548776662466927 * sample) % 1 - 0.5, (0.5 + 0.5698402909980532 * sample) % 1 - 0.5)


def _cube(origin: tuple[float, float, float], corner: NDArray[np.uint32], side: int) -> Box:
    low = tuple(origin[axis] + float(corner[axis]) for axis in range(3))
    return (low[0], low[1], low[2]), (low[0] + side, low[1] + side, low[2] + side)
