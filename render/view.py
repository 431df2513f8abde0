"""The view: volumes, camera and overlays in one scene, drawn into a texture that the window shows.

What is marched when is decided in `render/pictures.py`, what is marked in `render/marks.py`, where names stand in
`render/names.py`; here they are put together. A view that has nothing to do costs nothing.
"""

from __future__ import annotations

import time

import numpy as np
import wgpu
from numpy.typing import NDArray
from pygfx.renderers.wgpu.engine.update import ensure_wgpu_object

from render.arrangement import free_place
from render.backdrop import BACKGROUNDS, Background
from render.bricks import BrickStore
from render.budget import Budget
from render.camera import Box, OrbitCamera
from render.channels import CHANNELS, ChannelInfo, Legend, colors_of, info_of_attribute, legend_of
from render.composition import Composition
from render.cut import Axis, Cut, Plane
from render.device import adapter_summary, gpu_work
from render.errors import BadLook
from render.eye import Shine
from render.frame import VolumeFrame
from render.halo import Lit
from render.layers import FLASH_S, Layer
from render.look import Look
from render.look_table import LookTable
from render.marks import Marks
from render.named_pages import PageNames
from render.names import lay_volume_names
from render.palettes import is_palette, linear_from_hex, palette_names
from render.picking import Hit, pick
from render.pictures import Pictures
from render.projection import Projection, entry_into
from render.resource_size import resource_bytes
from render.slice_view import SliceView
from render.timing import Timings, pass_clock

_OUTLINE_PX = 1.4
"""How wide outlines of what is lit up are, in pixels of a screen with one to the unit."""


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
        self.marks = Marks(self._composition, self._layers)
        self.names = PageNames(self._composition.callouts, self._layers)
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
            layer.show_cut(cut)
            self._dirty = True

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
            layer.marcher,
            self._table,
            self._shine(),
            plane,
            centre,
            zoom,
            now_s,
            ground=ground,
            clip=layer.cut.clip,
            outline_px=max(1, round(_OUTLINE_PX * self._pixel_ratio)),
        )

    def set_background(self, background: str | Background) -> None:
        """Change the colours around the volume: "dark", "light", or one's own."""
        colors = BACKGROUNDS[background] if isinstance(background, str) else background
        self._background = colors
        self._composition.set_background(colors)
        for layer in self._layers.values():
            layer.set_colors(colors)
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
                layer.set_scale(ratio)
            self._dirty = True

    def add_volume(
        self, key: str, store: BrickStore, label: str = "", origin: tuple[float, float, float] | None = None
    ) -> None:
        """Show a store. Without an origin it stands beside the others. The first one is brought into view."""
        if key in self._layers:
            raise ValueError(f"A volume {key!r} is already shown; remove it first.")
        place = (
            origin if origin is not None else free_place(store.shape_voxels, [one.box for one in self._layers.values()])
        )
        self._show(self._layer(key, store, label, place))
        if len(self._layers) == 1:
            self.camera.fit()

    def _layer(self, key: str, store: BrickStore, label: str, origin: tuple[float, float, float]) -> Layer:
        with gpu_work("show a volume"):
            frame = VolumeFrame(store.shape_voxels, label, self._background.line, self._background.text)
            layer = Layer(key, store, origin, frame, self._size)
            layer.set_colors(self._background)
            layer.set_scale(self._pixel_ratio)
        return layer

    def _show(self, layer: Layer) -> None:
        self._layers[layer.key] = layer
        self.scene.add(layer.thing, layer.frame)
        self.marks.follow(layer.key)
        self.names.follow()
        self._world_changed()

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
        self._hide(self._layers.pop(key))
        self.marks.follow(key)
        self.names.follow()
        self._world_changed()

    def _hide(self, layer: Layer) -> None:
        self.scene.remove(layer.thing, layer.frame)
        layer.destroy()

    def replace_volume(self, key: str, store: BrickStore) -> None:
        """Show another store in a volume's place, with its label and its cut. Raises KeyError."""
        old = self._layers[key]
        layer = self._layer(key, store, old.frame.label, old.origin)
        layer.show_cut(old.cut)
        self._hide(old)
        self._show(layer)

    def volume_box(self, key: str) -> Box:
        """Where a volume stands in the world. Raises KeyError."""
        return self._layers[key].box

    def move_volume(self, key: str, origin: tuple[float, float, float]) -> None:
        """Let a volume stand elsewhere in the world; `origin` is its low corner. Raises KeyError."""
        layer = self._layers[key]
        if origin == layer.origin:
            return
        layer.move(origin)
        self.marks.follow(key)
        self.names.follow()
        self._world_changed()

    def emphasise(self, key: str | None) -> None:
        """Draw one volume's edges strongly, or none's."""
        for layer in self._layers.values():
            self._dirty |= layer.frame.set_emphasis(layer.key == key)

    def volume_at(self, x: float, y: float) -> str | None:
        """Return the volume whose box is nearest under a pixel position, also where it is empty; waits for nothing."""
        position, direction = self.projection.ray(x, y)
        entries = ((entry_into(layer.box, position, direction), key) for key, layer in self._layers.items())
        met = [(entry, key) for entry, key in entries if entry is not None]
        return min(met)[1] if met else None

    @property
    def projection(self) -> Projection:
        """From points of the world to pixels of the picture and back, as the camera stands now."""
        return Projection.of(self.camera, self._size)

    def byte_box(self, key: str, address: int) -> Box:
        """The voxel of a RAM offset, in the world. Raises KeyError, AddressOutOfCurve."""
        return self._layers[key].byte_box(address)

    def page_box(self, key: str, address: int) -> Box:
        """The brick of a RAM offset's page, in the world. Raises KeyError, AddressOutOfCurve."""
        return self._layers[key].page_box(address)

    def page_boxes(self, key: str, pages: NDArray[np.uint32]) -> list[Box]:
        """Few boxes in the world that hold pages (n,) of a volume. Raises KeyError."""
        return self._layers[key].page_boxes(pages)

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
        self._dirty |= self.marks.stale or self.names.stale
        self.marks.stale = self.names.stale = False
        with gpu_work("draw"):
            stale = any(layer.stale for layer in self._layers.values())
            worked, changed = self._pictures.march(
                tuple(self._layers.values()), self.camera, self._table, self._shine(), now_s
            )
            if not (changed or self._dirty or camera_moved):
                return worked
            if changed or self._dirty:
                shown = [layer.thing.material for layer in self._layers.values()]
                self._composition.light_ground([Lit(one.image.targets().color, one.used) for one in shown])
            started = time.perf_counter()
            lay_volume_names(self._layers.values(), self.projection, self._pixel_ratio)
            self.names.lay(self.projection, self._pixel_ratio)
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
        with gpu_work("pick"):
            return pick(self._layers.values(), self.camera, self._table, self._shine(), (x, y), self._size)

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
            outline=_OUTLINE_PX * self._pixel_ratio / self._size[1],
        )
