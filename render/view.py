"""The view: volumes, camera and overlays in one scene, drawn into a texture that the window shows.

What is marched when is decided in `render/pictures.py`; here its pictures and the overlays are put together. A view
that has nothing to do costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import wgpu
from numpy.typing import NDArray
from pygfx.renderers.wgpu.engine.update import ensure_wgpu_object

from render.arrangement import free_place
from render.backdrop import BACKGROUNDS, Background
from render.bricks import BrickStore
from render.budget import Budget
from render.camera import CLEAR_FRACTION, Basis, Box, OrbitCamera
from render.channels import CHANNELS, ChannelInfo, Legend, colors_of, info_of_attribute, legend_of
from render.composition import Composition
from render.curves import BRICK_SIDE
from render.cut import Axis, Cut, Plane
from render.device import adapter_summary, gpu_work
from render.errors import BadLook
from render.frame import VolumeFrame
from render.halo import Lit
from render.labels import Named, place_labels
from render.layers import FLASH_S, Layer
from render.look import Look
from render.look_table import LookTable
from render.march import Eye, Shine
from render.page_boxes import boxes_of_pages
from render.palettes import is_palette, linear_from_hex, palette_names
from render.pictures import Pictures
from render.resource_size import resource_bytes
from render.slice_view import SliceView
from render.timing import Timings, pass_clock

_AXES_FROM_PX = 150
"""The letters of a volume's axes are shown from this size on: nearer together they cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A byte that was pointed at: whose, which voxel of its volume, its RAM offset, and where in the world."""

    key: str
    voxel: tuple[int, int, int]
    address: int
    position: tuple[float, float, float]
    sheet: Axis | None = None
    """The slice plane on which it was seen; None for the volume itself."""


class VolumeView:
    """See the module. Not thread-safe: one thread draws, picks and changes it."""

    def __init__(
        self, device: wgpu.GPUDevice, size_px: tuple[int, int] = (1280, 720), *, background: str = "dark"
    ) -> None:
        self.device = device
        self.is_software = adapter_summary(device).is_software
        self.budget = Budget(0.033, 0.020, 6, quick_scale=0.5) if self.is_software else Budget(0.016, 0.012, 12)
        self.camera = OrbitCamera(size_px[0] / size_px[1])
        self._layers: dict[str, Layer] = {}
        self._look = Look()
        self._background = BACKGROUNDS[background]
        self._size = (max(1, size_px[0]), max(1, size_px[1]))
        self.closes_batch = True
        """Whether a drawn picture ends a batch of timed passes; not where a frame is more than one picture."""
        self._dirty = True
        self._pixel_ratio = 1.0
        self._last_state: object = None
        with gpu_work("set up the view"):
            self._table = LookTable(device)
            self._pictures = Pictures(device, self.budget)
            self._composition = Composition(device, self._size, self._background)
        self.scene = self._composition.scene
        self.set_background(background)
        self._write_table()

    # ----- what it shows

    @property
    def texture(self) -> wgpu.GPUTexture:
        """The picture, rgba8unorm with sRGB's encoding; another one after every resize."""
        return self._composition.texture

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self._size

    @property
    def volumes(self) -> tuple[str, ...]:
        """The keys of the volumes that are shown."""
        return tuple(self._layers)

    @property
    def look(self) -> Look:
        """How the bytes are shown."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        if look == self._look:
            return
        if look.channel not in self.channels():
            raise BadLook(f"Channel {look.channel!r} is not one of {', '.join(self.channels())}.")
        if look.palette and not is_palette(look.palette):
            raise BadLook(f"Palette {look.palette!r} is not one of {', '.join(palette_names())}.")
        self._look = look
        with gpu_work("change the look"):
            self._write_table()
        self.budget.forget()
        self._forget_pictures()

    def _write_table(self) -> None:
        self._table.write(self._look, colors_of(self._look, self._shown_info()))

    def _shown_info(self) -> ChannelInfo:
        """Of the channel that is looked at; an attribute may have gone with its volume, then nothing is known of it."""
        name = self._look.channel
        return self.channel_info(name) if name in self.channels() else ChannelInfo(name)

    def channels(self) -> tuple[str, ...]:
        """The names of the channels that can be looked at: those of every volume, and attributes that any has."""
        attributes = dict.fromkeys(name for layer in self._layers.values() for name in layer.store.attributes)
        return (*CHANNELS, *attributes)

    def channel_info(self, name: str) -> ChannelInfo:
        """What a channel's scalars mean. Raises KeyError."""
        if name in CHANNELS:
            return CHANNELS[name]
        for layer in self._layers.values():
            if name in layer.store.attributes:
                return info_of_attribute(layer.store.attribute(name))
        raise KeyError(name)

    def legend(self) -> Legend:
        """What the colours mean."""
        return legend_of(self._look, self._shown_info())

    def cut(self, key: str) -> Cut:
        """How a volume is cut. Raises KeyError."""
        return self._layers[key].cut

    def set_cut(self, key: str, cut: Cut) -> None:
        """Cut a volume. Raises KeyError."""
        layer = self._layers[key]
        if cut != layer.cut:
            layer.cut = cut
            layer.cut_frame.show(cut)
            layer.stale = self._dirty = True

    def emphasise_plane(self, key: str | None, axis: Axis | None) -> None:
        """Draw one slice plane's edges strongly, or none's."""
        for layer in self._layers.values():
            self._dirty |= layer.cut_frame.emphasise(axis if layer.key == key else None)

    def draw_slice(
        self, flat: SliceView, key: str, plane: Plane, centre: tuple[float, float], zoom: float, now_s: float
    ) -> bool:
        """Bring a flat picture of one plane of a volume up to date, as this view shows its bytes and clips them.

        Returns whether anything changed. Raises KeyError, DeviceLost.
        """
        layer, ground = self._layers[key], self._background.sheet
        return flat.draw(
            layer.marcher, self._table, self._shine(), plane, centre, zoom, now_s, ground=ground, clip=layer.cut.clip
        )

    def set_background(self, background: str | Background) -> None:
        """Change the colours around the volume: "dark", "light", or one's own."""
        colors = BACKGROUNDS[background] if isinstance(background, str) else background
        self._background = colors
        self._composition.set_background(colors)
        for layer in self._layers.values():
            layer.frame.set_colors(colors.line, colors.text)
            layer.cut_frame.set_colors(colors.planes, colors.text)
        self._forget_pictures()

    @property
    def frame_budget_s(self) -> float:
        """How long a frame may take while anything moves; the resolution follows it."""
        return self.budget.frame_s

    @frame_budget_s.setter
    def frame_budget_s(self, seconds: float) -> None:
        if not 0.001 <= seconds <= 10.0:
            raise ValueError(f"A frame of {seconds} s makes no sense; it is a time from 0.001 to 10 s.")
        self.budget.still_s *= seconds / self.budget.frame_s
        self.budget.frame_s = seconds

    @property
    def scale(self) -> float:
        """The share of full resolution, across and down, at which the volumes are shown now."""
        sharp = all(layer.shows_full for layer in self._layers.values())
        return 1.0 if sharp else self.budget.quick_scale

    @property
    def pixel_ratio(self) -> float:
        """Pixels to the unit of the screen: lines and labels grow with it."""
        return self._pixel_ratio

    @pixel_ratio.setter
    def pixel_ratio(self, ratio: float) -> None:
        if ratio != self._pixel_ratio:
            self._pixel_ratio = ratio
            self._composition.set_scale(ratio)
            for layer in self._layers.values():
                layer.frame.set_scale(ratio)
                layer.cut_frame.set_scale(ratio)
            self._dirty = True

    def add_volume(
        self, key: str, store: BrickStore, label: str = "", origin: tuple[float, float, float] | None = None
    ) -> None:
        """Show a store. Without an origin it stands beside the others. The first one is brought into view."""
        if key in self._layers:
            raise ValueError(f"A volume {key!r} is already shown; remove it first.")
        place = origin if origin is not None else self._free_place(store.shape_voxels)
        with gpu_work("show a volume"):
            frame = VolumeFrame(store.shape_voxels, label, self._background.line, self._background.text)
            frame.set_scale(self._pixel_ratio)
            layer = Layer(key, store, place, frame, self._size)
            layer.cut_frame.set_colors(self._background.planes, self._background.text)
            layer.cut_frame.set_scale(self._pixel_ratio)
        self._layers[key] = layer
        self.scene.add(layer.thing, frame)
        self._world_changed()
        if len(self._layers) == 1:
            self.camera.fit()

    def show_like(self, other: VolumeView) -> None:
        """Show everything that another view shows, where and as it does. For a view without volumes."""
        self.set_background(other._background)
        for layer in other._layers.values():
            self.add_volume(layer.key, layer.store, label=layer.frame.label, origin=layer.origin)
            self.set_cut(layer.key, layer.cut)
        self.look = other.look
        self.camera.state = other.camera.state

    def remove_volume(self, key: str) -> None:
        """Stop showing a store; the store itself lives on. Raises KeyError."""
        layer = self._layers.pop(key)
        self.scene.remove(layer.thing, layer.frame)
        layer.destroy()
        if self._selection is not None and self._selection[0] == key:
            self.set_selection(None, None)
        if self._outlined is not None and self._outlined[0] == key:
            self.set_outline(None)
        self.set_hover(None)
        self._world_changed()

    def replace_volume(self, key: str, store: BrickStore) -> None:
        """Show another store in a volume's place, with its label and its cut. Raises KeyError."""
        old = self._layers[key]
        with gpu_work("show a volume"):
            frame = VolumeFrame(store.shape_voxels, old.frame.label, self._background.line, self._background.text)
            frame.set_scale(self._pixel_ratio)
            layer = Layer(key, store, old.origin, frame, self._size)
        layer.cut = old.cut
        self._layers[key] = layer
        self.scene.remove(old.thing, old.frame)
        self.scene.add(layer.thing, frame)
        old.destroy()
        if self._selection is not None and self._selection[0] == key:
            self.set_selection(*self._selection)
        if self._outlined is not None and self._outlined[0] == key:
            self.set_outline(*self._outlined)
        self.set_hover(None)
        self._world_changed()

    def volume_box(self, key: str) -> Box:
        """Where a volume stands in the world. Raises KeyError."""
        return self._layers[key].box

    def move_volume(self, key: str, origin: tuple[float, float, float]) -> None:
        """Let a volume stand elsewhere in the world; `origin` is its low corner. Raises KeyError."""
        layer = self._layers[key]
        if origin == layer.origin:
            return
        layer.move(origin)
        if self._selection is not None and self._selection[0] == key:
            self.set_selection(*self._selection)
        if self._outlined is not None and self._outlined[0] == key:
            self.set_outline(*self._outlined)
        self.set_hover(None)
        self._world_changed()

    def emphasise(self, key: str | None) -> None:
        """Draw one volume's edges strongly, or none's."""
        for layer in self._layers.values():
            self._dirty |= layer.frame.set_emphasis(layer.key == key)

    def volume_at(self, x: float, y: float) -> str | None:
        """Return the volume whose box is nearest under a pixel position, also where it is empty; waits for nothing."""
        position, direction = self.ray_in_world(x, y)
        best: tuple[float, str] | None = None
        for layer in self._layers.values():
            entry = _box_entry(layer.box, position, direction)
            if entry is not None and (best is None or entry < best[0]):
                best = entry, layer.key
        return None if best is None else best[1]

    def ray_in_world(self, x: float, y: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The ray through a pixel position: from where it comes, (3,), and its direction, (3,), of depth one."""
        basis, (half_width, half_height) = self.camera.basis, self.camera.half_extent()
        direction = (
            basis.forward
            + (2 * x / self._size[0] - 1) * half_width * basis.right
            - (2 * y / self._size[1] - 1) * half_height * basis.up
        )
        return basis.position, direction

    def pixel_of(self, point: NDArray[np.float64]) -> tuple[float, float] | None:
        """The pixel position at which a point of the world is seen, (3,); None for one that is not before the eye."""
        basis, (half_width, half_height) = self.camera.basis, self.camera.half_extent()
        seen = point - basis.position
        depth = float(seen @ basis.forward)
        if depth < 1e-3:
            return None
        x = (float(seen @ basis.right) / depth / half_width * 0.5 + 0.5) * self._size[0]
        y = (0.5 - float(seen @ basis.up) / depth / half_height * 0.5) * self._size[1]
        return x, y

    _selection: tuple[str, int] | None = None

    def set_selection(self, key: str | None, address: int | None) -> None:
        """Mark a byte (RAM offset) and its page; None for nothing. Raises KeyError, AddressOutOfCurve."""
        if key is None or address is None:
            self._selection = None
            self._composition.selection_mark.mark(None)
            self._composition.page_mark.mark(None)
        else:
            self._selection = (key, address)
            self._composition.selection_mark.mark(self.byte_box(key, address))
            self._composition.page_mark.mark(self.page_box(key, address))
        self._dirty = True

    def set_hover(self, hit: Hit | None) -> None:
        """Mark the byte under the pointer, or nothing."""
        box = None if hit is None or hit.key not in self._layers else self.byte_box(hit.key, hit.address)
        if box != self._composition.hover_mark.box:
            self._composition.hover_mark.mark(box)
            self._dirty = True

    def byte_box(self, key: str, address: int) -> Box:
        """The voxel of a RAM offset, in the world. Raises KeyError, AddressOutOfCurve."""
        layer = self._layers[key]
        voxel = layer.store.curve.voxel_from_address(np.array([address], np.uint64), layer.store.order)[0]
        return _cube(layer.origin, voxel, 1)

    def page_box(self, key: str, address: int) -> Box:
        """The brick of a RAM offset's page, in the world. Raises KeyError, AddressOutOfCurve."""
        layer = self._layers[key]
        voxel = layer.store.curve.voxel_from_address(np.array([address], np.uint64), layer.store.order)[0]
        return _cube(layer.origin, voxel // BRICK_SIDE * BRICK_SIDE, BRICK_SIDE)

    def page_boxes(self, key: str, pages: NDArray[np.uint32]) -> list[Box]:
        """Few boxes in the world that hold pages (n,) of a volume. Raises KeyError."""
        layer = self._layers[key]
        boxes = boxes_of_pages(layer.store, pages) + np.array(layer.origin)
        return [_box(low, high) for low, high in boxes.tolist()]

    _outlined: tuple[str, NDArray[np.uint32], str] | None = None

    def set_outline(self, key: str | None, pages: NDArray[np.uint32] | None = None, label: str = "") -> None:
        """Draw thin boxes around pages (n,) of a volume, with a name; None: around nothing. Raises KeyError."""
        if key is None or pages is None:
            self._outlined, boxes = None, []
        else:
            self._outlined = (key, pages, label)
            whole = self.volume_box(key)
            boxes = [box for box in self.page_boxes(key, pages) if box != whole]  # it has its frame
        self._dirty |= self._composition.outline.show(boxes, label if boxes else "")

    # ----- drawing

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of another size from now on."""
        size = (max(1, width), max(1, height))
        if size == self._size:
            return
        self._size = size
        self.camera.aspect = size[0] / size[1]
        with gpu_work("resize the view"):
            self._composition.resize(size)
            for layer in self._layers.values():
                layer.resize(size)
        self._forget_pictures()

    def draw(self, now_s: float) -> bool:
        """Bring the picture up to date with everything at `now_s`; False if there was nothing to do.

        Raises DeviceLost.
        """
        self.camera.update(now_s)
        state = (self.camera.state, self._size)
        camera_moved = state != self._last_state
        self._last_state = state
        if camera_moved:
            for layer in self._layers.values():
                layer.stale = True
        with gpu_work("draw"):
            stale = any(layer.stale for layer in self._layers.values())
            worked, changed = self._pictures.march(
                tuple(self._layers.values()), self._eye, self._table, self._shine(), now_s
            )
            if not (changed or self._dirty or camera_moved):
                return worked
            if changed or self._dirty:
                shown = [layer.thing.material for layer in self._layers.values()]
                self._composition.light_ground([Lit(one.image.targets().color, one.used) for one in shown])
            started = time.perf_counter()
            self._lay_labels()
            self._composition.draw(self.camera)
            if stale:  # what is left of a frame's budget for the next quick march
                self._pictures.wait()
                self.budget.learn_compose(time.perf_counter() - started)
        self._dirty = False
        if self.closes_batch:
            pass_clock(self.device).close_batch()
        return True

    def timings(self) -> Timings:
        """Seconds on the GPU by pass, of the last picture whose figures came back: see `render/timing.py`.

        Empty where the adapter cannot tell, and before the first.
        """
        return dict(pass_clock(self.device).latest)

    @property
    def vram_bytes(self) -> int:
        """All pictures of this view on the GPU: marched, blurred, composed. The stores are not its own."""
        marched = [image for layer in self._layers.values() for image in (layer.full, layer.quick) if image is not None]
        native = [ensure_wgpu_object(texture) for image in marched for texture in image.textures.values()]
        return int(sum(map(resource_bytes, native)) + self._composition.vram_bytes)

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
                {"texture": self.texture}, {"bytes_per_row": 4 * width, "rows_per_image": height}, (width, height, 1)
            )
        return np.frombuffer(raw, np.uint8).reshape(height, width, 4)

    def pick(self, x: float, y: float) -> Hit | None:
        """The byte that is shown at a pixel position (from the top left), or None. Exact; waits for the GPU."""
        best: tuple[float, Hit] | None = None
        with gpu_work("pick"):
            for layer in self._layers.values():
                eye = self._eye(layer)
                picked = layer.marcher.pick(eye, self._table, self._shine(), (x, y), self._size)
                if picked is None or (best is not None and picked.depth >= best[0]):
                    continue
                address = int(
                    layer.store.curve.address_from_voxel(np.array([picked.voxel], np.uint32), layer.store.order)[0]
                )
                if address >= layer.store.size_bytes:
                    continue  # a slice plane where the box is larger than what it holds
                place = self._world_at(x, y, picked.depth)
                best = (picked.depth, Hit(layer.key, picked.voxel, address, place, picked.sheet))
        return None if best is None else best[1]

    def destroy(self) -> None:
        """Give the video memory back. The stores live on."""
        for key in tuple(self._layers):
            self.remove_volume(key)
        self._table.destroy()
        self._pictures.destroy()
        self._composition.destroy()

    # ----- inside

    def _world_changed(self) -> None:
        boxes = [layer.box for layer in self._layers.values()]
        if boxes:
            low = [min(box[0][axis] for box in boxes) for axis in range(3)]
            high = [max(box[1][axis] for box in boxes) for axis in range(3)]
            self.camera.set_world(((low[0], low[1], low[2]), (high[0], high[1], high[2])))
        self._forget_pictures()

    def _free_place(self, shape: tuple[int, int, int]) -> tuple[float, float, float]:
        return free_place(shape, [layer.box for layer in self._layers.values()])

    def _forget_pictures(self) -> None:
        self._dirty = True
        for layer in self._layers.values():
            layer.stale = True

    def _shine(self) -> Shine:
        return Shine(
            glow=1.0,
            flash_s=FLASH_S,
            flash_color=linear_from_hex(self._background.flash),
            sheet_ground=linear_from_hex(self._background.sheet),
            accent=linear_from_hex(self._background.accent),
        )

    def _eye(self, layer: Layer) -> Eye:
        basis = self.camera.basis
        own = Basis(basis.position - np.array(layer.origin), basis.right, basis.up, basis.forward)
        state = self.camera.state
        opening: Box | None = None
        if state.opening is not None:
            low, high = (tuple(np.subtract(corner, layer.origin)) for corner in state.opening)
            opening = (low[0], low[1], low[2]), (high[0], high[1], high[2])
        return Eye(
            own, self.camera.half_extent(), state.distance * CLEAR_FRACTION, opening, layer.cut.clip, layer.cut.planes
        )

    def _world_at(self, x: float, y: float, depth: float) -> tuple[float, float, float]:
        position, direction = self.ray_in_world(x, y)
        point = position + direction * depth
        return float(point[0]), float(point[1]), float(point[2])

    def _lay_labels(self) -> None:
        """Put each volume's name above it in the picture, clear of the others; small volumes have no axis letters."""
        basis, (half_width, half_height) = self.camera.basis, self.camera.half_extent()
        width, height = self._size
        seen: list[tuple[float, Layer, Named]] = []
        for layer in self._layers.values():
            corners = _corners(layer.box) - basis.position
            depth = corners @ basis.forward
            if float(depth.min()) <= 1e-3:  # the camera is inside, or it is behind: there is no outline to name
                layer.frame.lay_labels(axes=True, name_at=None)
                continue
            x = (corners @ basis.right / depth / half_width + 1) / 2 * width
            y = (1 - corners @ basis.up / depth / half_height) / 2 * height
            outline = float(x.min()), float(y.min()), float(x.max()), float(y.max())
            upper = y.argsort()[:4]
            named = Named(outline, float(x[upper].mean()), *layer.frame.name_size_px)
            seen.append((float(depth.min()), layer, named))
        seen.sort(key=lambda entry: entry[0])
        places = place_labels([named for _, _, named in seen], (float(width), float(height)))
        self._lay_outline_name()
        for (depth_min, layer, named), place in zip(seen, places, strict=True):
            left, top, right, bottom = named.outline
            at = None if place is None else np.subtract(self._world_at(*place, depth_min), layer.origin)
            layer.frame.lay_labels(
                axes=max(right - left, bottom - top) >= _AXES_FROM_PX * self._pixel_ratio,
                name_at=None if at is None else (float(at[0]), float(at[1]), float(at[2])),
            )

    def _lay_outline_name(self) -> None:
        """Put the outline's name above the first of its boxes that is wholly before the eye."""
        basis = self.camera.basis
        for box in self._composition.outline.boxes:
            corners = _corners(box)
            pixels = [pixel for corner in corners if (pixel := self.pixel_of(corner)) is not None]
            if len(pixels) == len(corners):
                x, y = sum(pixel[0] for pixel in pixels) / len(pixels), min(pixel[1] for pixel in pixels)
                depth = float(((corners - basis.position) @ basis.forward).min())
                self._composition.outline.lay_name(self._world_at(x, y, depth))
                return
        self._composition.outline.lay_name(None)


def _corners(box: Box) -> NDArray[np.float64]:
    """The corners of a box, (8, 3)."""
    return np.array([[box[corner >> axis & 1][axis] for axis in range(3)] for corner in range(8)])


def _box_entry(box: Box, position: NDArray[np.float64], direction: NDArray[np.float64]) -> float | None:
    """How far along a ray a box begins, at least 0; None where the ray misses it. By slabs."""
    with np.errstate(divide="ignore", invalid="ignore"):
        at = (np.array(box) - position) / direction  # (2, 3)
    first, last = np.fmin(at[0], at[1]).max(), np.fmax(at[0], at[1]).min()
    return max(float(first), 0.0) if last >= max(first, 0.0) else None


def _box(low: Sequence[float], high: Sequence[float]) -> Box:
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _cube(origin: tuple[float, float, float], corner: NDArray[np.uint32], side: int) -> Box:
    low = tuple(origin[axis] + float(corner[axis]) for axis in range(3))
    return (low[0], low[1], low[2]), (low[0] + side, low[1] + side, low[2] + side)
