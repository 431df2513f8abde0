"""ImGui host: one ImGui context on a canvas, on screen or off: events in, frames out, textures, clipboard, cursor.

wgpu's own `ImguiRenderer` lacks docking, an ini text that we keep, the system clipboard, cursor shapes, punctuation and
keypad keys, a second device after the first one is lost, and reading a frame back. Its draw-list backend is used as is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import wgpu
from imgui_bundle import imgui, implot
from numpy.typing import NDArray
from wgpu.utils.imgui import imgui_backend
from wgpu.utils.imgui.imgui_backend import ImguiWgpuBackend

from app.theme import Rgba
from render.timing import pass_clock

EVENT_TYPES = ("pointer_move", "pointer_down", "pointer_up", "pointer_leave", "wheel", "key_down", "key_up", "char")
_KEY_TYPES = ("key_down", "key_up")
MAX_STEP_S = 0.1  # after a rest, animations go on instead of jumping to their end

_NAMED_KEYS: dict[str, imgui.Key] = {
    "ArrowDown": imgui.Key.down_arrow,
    "ArrowUp": imgui.Key.up_arrow,
    "ArrowLeft": imgui.Key.left_arrow,
    "ArrowRight": imgui.Key.right_arrow,
    "Backspace": imgui.Key.backspace,
    "CapsLock": imgui.Key.caps_lock,
    "Delete": imgui.Key.delete,
    "End": imgui.Key.end,
    "Enter": imgui.Key.enter,
    "Escape": imgui.Key.escape,
    "Home": imgui.Key.home,
    "Insert": imgui.Key.insert,
    "NumLock": imgui.Key.num_lock,
    "PageDown": imgui.Key.page_down,
    "PageUp": imgui.Key.page_up,
    "Pause": imgui.Key.pause,
    "PrintScreen": imgui.Key.print_screen,
    "ScrollLock": imgui.Key.scroll_lock,
    "Tab": imgui.Key.tab,
    # rendercanvas does not say left or right.
    "Alt": imgui.Key.left_alt,
    "Control": imgui.Key.left_ctrl,
    "Shift": imgui.Key.left_shift,
    "Meta": imgui.Key.left_super,
    " ": imgui.Key.space,
    "'": imgui.Key.apostrophe,
    ",": imgui.Key.comma,
    "-": imgui.Key.minus,
    ".": imgui.Key.period,
    "/": imgui.Key.slash,
    ";": imgui.Key.semicolon,
    "=": imgui.Key.equal,
    "[": imgui.Key.left_bracket,
    "\\": imgui.Key.backslash,
    "]": imgui.Key.right_bracket,
    "`": imgui.Key.grave_accent,
    **{f"F{n}": getattr(imgui.Key, f"f{n}") for n in range(1, 13)},
    **{f"Keypad{n}": getattr(imgui.Key, f"keypad{n}") for n in range(10)},
    "KeypadDecimal": imgui.Key.keypad_decimal,
    "KeypadDivide": imgui.Key.keypad_divide,
    "KeypadMultiply": imgui.Key.keypad_multiply,
    "KeypadSubtract": imgui.Key.keypad_subtract,
    "KeypadAdd": imgui.Key.keypad_add,
    "KeypadEnter": imgui.Key.keypad_enter,
    "KeypadEqual": imgui.Key.keypad_equal,
}
_MODIFIERS: dict[str, imgui.Key] = {
    "Shift": imgui.Key.mod_shift,
    "Control": imgui.Key.mod_ctrl,
    "Alt": imgui.Key.mod_alt,
    "Meta": imgui.Key.mod_super,
}
_CURSORS: dict[int, str] = {
    imgui.MouseCursor_.none.value: "none",
    imgui.MouseCursor_.text_input.value: "text",
    imgui.MouseCursor_.resize_ns.value: "ns-resize",
    imgui.MouseCursor_.resize_ew.value: "ew-resize",
    imgui.MouseCursor_.resize_nesw.value: "nesw-resize",
    imgui.MouseCursor_.resize_nwse.value: "nwse-resize",
    imgui.MouseCursor_.hand.value: "pointer",
    imgui.MouseCursor_.not_allowed.value: "not-allowed",
}
# rendercanvas counts 1 left, 2 right, 3 middle; ImGui 0 left, 1 right, 2 middle.
_BUTTONS = range(1, 6)


def imgui_key(name: str) -> imgui.Key | None:
    """Return ImGui's key for a rendercanvas key name, or None for a key that ImGui does not know."""
    if (key := _NAMED_KEYS.get(name)) is not None:
        return key
    if len(name) == 1 and name.isascii():
        if name.isdigit():
            return imgui.Key(imgui.Key._0.value + int(name))
        if name.isalpha():
            return imgui.Key(imgui.Key.a.value + ord(name.lower()) - ord("a"))
    return None


def without_gamma(shader: str) -> str:
    """Return the backend's fragment shader without its power, which our targets, never sRGB-encoded, do not need."""
    return shader.replace("pow(color.rgb, vec3<f32>(uniforms.gamma))", "color.rgb")


class Backend(ImguiWgpuBackend):  # type: ignore[misc]
    """wgpu's ImGui backend, with whole uploads of new textures.

    As it comes, a texture that is created takes only the rectangle that changed last, so that the glyphs of an atlas
    that had to grow are lost. And it raises every pixel to a power that is 1 for our targets, which takes software
    Vulkan as long as all the rest.
    """

    def _create_device_objects(self) -> None:
        shader = imgui_backend.FRAGMENT_SHADER_SRC
        imgui_backend.FRAGMENT_SHADER_SRC = without_gamma(shader)
        try:
            super()._create_device_objects()
        finally:
            imgui_backend.FRAGMENT_SHADER_SRC = shader

    def _update_texture(self, tex: imgui.ImTextureData) -> None:
        if tex.status == imgui.ImTextureStatus.want_create:
            texture = self._device.create_texture(
                label="ImGui",
                size=(tex.width, tex.height, 1),
                format=wgpu.TextureFormat.rgba8unorm,
                usage=wgpu.TextureUsage.COPY_DST | wgpu.TextureUsage.TEXTURE_BINDING,
            )
            self._device.queue.write_texture(
                {"texture": texture, "mip_level": 0, "origin": (0, 0, 0)},
                tex.get_pixels_array(),
                {"offset": 0, "bytes_per_row": tex.width * tex.bytes_per_pixel},
                (tex.width, tex.height, 1),
            )
            tex.set_tex_id(self.register_texture(texture.create_view()).get_tex_id())
            self._textures[tex.tex_id] = texture
            tex.set_status(imgui.ImTextureStatus.ok)
        else:
            super()._update_texture(tex)


class Clipboard(Protocol):
    """Where copied text goes."""

    def get(self) -> str: ...
    def set(self, text: str) -> None: ...


class MemoryClipboard:
    """A clipboard of our own, where there is no screen."""

    def __init__(self) -> None:
        self._text = ""

    def get(self) -> str:
        return self._text

    def set(self, text: str) -> None:
        self._text = text


class ImguiHost:
    """One ImGui context that draws on a rendercanvas canvas. Belongs to the main thread."""

    def __init__(self, device: wgpu.GPUDevice, canvas: Any, *, clipboard: Clipboard | None = None) -> None:
        self._canvas = canvas
        self._surface = canvas.get_wgpu_context()
        self.clipboard: Clipboard = clipboard or MemoryClipboard()
        self._context = imgui.create_context()
        self._plots = implot.create_context()
        self.make_current()
        self.io = imgui.get_io()
        self.io.config_flags |= imgui.ConfigFlags_.docking_enable
        self.io.config_windows_move_from_title_bar_only = True
        self.io.config_docking_always_tab_bar = True
        self.io.config_error_recovery_enable_assert = False  # a panel's slip is reported, never an abort
        self.io.backend_flags |= imgui.BackendFlags_.has_mouse_cursors
        platform = imgui.get_platform_io()
        platform.platform_set_clipboard_text_fn = lambda _context, text: self.clipboard.set(text)
        platform.platform_get_clipboard_text_fn = lambda _context: self.clipboard.get()
        self._cursor = "default"
        self._last_s: float | None = None
        self._views: dict[int, tuple[wgpu.GPUTextureView, imgui.ImTextureRef]] = {}
        self._draw_data: imgui.ImDrawData | None = None
        self._waiting: deque[Mapping[str, Any]] = deque()
        self.hold_keys = False
        """Whether what is typed waits, since the field that it is for is only just coming."""
        self._use(device)

    def _use(self, device: wgpu.GPUDevice) -> None:
        # ImGui's colours are sRGB values already: a target that encodes once more would wash them out.
        preferred = self._surface.get_preferred_format(device.adapter)
        self._format = preferred.removesuffix("-srgb")
        self._surface.configure(device=device, format=self._format)
        self._device = device
        self._backend = Backend(device, self._format)

    def use_device(self, device: wgpu.GPUDevice) -> None:
        """Go on with another device: the old one was lost, and all textures with it."""
        self.make_current()
        self._views.clear()
        self._draw_data = None
        for texture in imgui.get_platform_io().textures:
            if texture.status != imgui.ImTextureStatus.destroyed:
                texture.set_tex_id(0)
                texture.set_status(imgui.ImTextureStatus.want_create)
        self._use(device)

    def make_current(self) -> None:
        """Make ImGui's functions mean this context."""
        imgui.set_current_context(self._context)
        implot.set_current_context(self._plots)

    def close(self) -> None:
        """Destroy the context. Nothing of ImGui's that was got from it may be used afterwards."""
        self.make_current()
        imgui.get_platform_io().platform_set_clipboard_text_fn = None
        imgui.get_platform_io().platform_get_clipboard_text_fn = None
        self._views.clear()
        implot.destroy_context(self._plots)
        imgui.destroy_context(self._context)

    # Events

    def handle(self, event: Mapping[str, Any]) -> None:
        """Take a rendercanvas event (one of EVENT_TYPES), for one of the next frames."""
        self._waiting.append(event)

    def focus(self, focused: bool) -> None:
        """Say that the window gained or lost the keyboard: keys that are held are let go."""
        self._waiting.append({"event_type": "focus", "focused": focused})

    def _feed(self) -> None:
        """Give ImGui the events that the coming frame may hold together; the others wait for the next one.

        ImGui tells a frame which keys went down in it and which modifiers are held at its end. Where a frame is longer
        than a key stroke, Ctrl would be let go in the frame in which K went down, and Ctrl+K be K: what changes the
        modifiers waits until all before it has had its frame. And what one key does can decide whom the next one is
        for: only one goes down in a frame.
        """
        others, pressed = self._context.input_events_queue.size() > 0, False
        while self._waiting:
            event = self._waiting[0]
            kind = event["event_type"]
            if kind == "focus" or event.get("key") in _MODIFIERS:
                if others:
                    return
            else:
                if (kind in _KEY_TYPES and pressed) or (self.hold_keys and (kind in _KEY_TYPES or kind == "char")):
                    return
                others = True
                pressed = pressed or kind == "key_down"
            self._give(self._waiting.popleft())

    def _give(self, event: Mapping[str, Any]) -> None:
        io = self.io
        match event["event_type"]:
            case "pointer_move":
                io.add_mouse_pos_event(event["x"], event["y"])
            case "pointer_leave":
                if not any(imgui.is_mouse_down(b) for b in range(3)):  # a drag goes on outside
                    io.add_mouse_pos_event(-3.4e38, -3.4e38)
            case "pointer_down" | "pointer_up" as kind:
                if event["button"] in _BUTTONS:
                    io.add_mouse_pos_event(event["x"], event["y"])
                    io.add_mouse_button_event(event["button"] - 1, kind == "pointer_down")
            case "wheel":
                io.add_mouse_wheel_event(event["dx"] / 100, -event["dy"] / 100)
            case "key_down" | "key_up" as kind:
                self._key(event["key"], kind == "key_down")
            case "char":
                io.add_input_characters_utf8(event.get("data") or "")
            case "focus":
                io.add_focus_event(event["focused"])

    def _key(self, name: str, down: bool) -> None:
        if (modifier := _MODIFIERS.get(name)) is not None:
            self.io.add_key_event(modifier, down)
        if (key := imgui_key(name)) is not None:
            self.io.add_key_event(key, down)

    # Textures

    def texture(self, view: wgpu.GPUTextureView) -> imgui.ImTextureRef:
        """Return what `imgui.image` draws `view` by; the same object for the same view."""
        known = self._views.get(id(view))
        if known is None:
            known = self._views[id(view)] = (view, self._backend.register_texture(view))
        return known[1]

    def forget_texture(self, view: wgpu.GPUTextureView) -> None:
        """Drop a view that will not be drawn again."""
        if (known := self._views.pop(id(view), None)) is not None:
            self._backend.unregister_texture(known[1])

    # Frames

    @property
    def pixel_ratio(self) -> float:
        """Physical pixels a logical one."""
        return float(self._canvas.get_pixel_ratio())

    def has_pending_input(self) -> bool:
        """Whether events wait for the next frames."""
        return bool(self._waiting) or bool(self._context.input_events_queue.size() > 0)

    def build(self, gui: Callable[[], None]) -> None:
        """Run `gui` as one ImGui frame; the draw list is kept, nothing is drawn."""
        self.make_current()
        ratio = self.pixel_ratio
        across, down = self._canvas.get_physical_size()
        self.io.display_size = imgui.ImVec2(across / ratio, down / ratio)
        # The backend cuts size times scale to whole pixels: a product that is a hair too small would lose one, and
        # squeeze everything by it.
        scale = ratio * (1 + 1e-5)
        self.io.display_framebuffer_scale = imgui.ImVec2(scale, scale)
        now = time.perf_counter()
        elapsed = 1 / 60 if self._last_s is None else now - self._last_s
        self.io.delta_time = min(max(elapsed, 1e-4), MAX_STEP_S)
        self._last_s = now
        self._feed()
        imgui.new_frame()
        try:
            gui()
        finally:
            imgui.render()
        self._draw_data = imgui.get_draw_data()
        cursor = _CURSORS.get(int(imgui.get_mouse_cursor()), "default")
        if cursor != self._cursor:
            self._cursor = cursor
            self._canvas.set_cursor(cursor)

    def present(self, ground: Rgba) -> None:
        """Draw the frame that was built on the canvas, over `ground`. For the canvas's draw function."""
        self._draw_on(self._surface.get_current_texture().create_view(), ground)

    def _draw_on(self, target: wgpu.GPUTextureView, ground: Rgba) -> None:
        encoder = self._device.create_command_encoder()
        render_pass = encoder.begin_render_pass(
            color_attachments=[
                {
                    "view": target,
                    "resolve_target": None,
                    "clear_value": (*ground[:3], 1.0),
                    "load_op": wgpu.LoadOp.clear,
                    "store_op": wgpu.StoreOp.store,
                }
            ],
            timestamp_writes=pass_clock(self._device).writes("interface"),
        )
        self._backend.render(self._draw_data, render_pass)
        render_pass.end()
        self._device.queue.submit([encoder.finish()])

    def capture(self, ground: Rgba) -> NDArray[np.uint8]:
        """Return the last frame as a picture, (height, width, 4) uint8, RGBA."""
        width, height = self._canvas.get_physical_size()
        target = self._device.create_texture(
            size=(width, height, 1),
            format=self._format,
            usage=wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC,
        )
        self._draw_on(target.create_view(), ground)
        data = self._device.queue.read_texture(
            {"texture": target, "mip_level": 0, "origin": (0, 0, 0)},
            {"offset": 0, "bytes_per_row": width * 4, "rows_per_image": height},
            (width, height, 1),
        )
        picture = np.frombuffer(data, np.uint8).reshape(height, width, 4).copy()
        if self._format.startswith("bgra"):
            picture = picture[..., [2, 1, 0, 3]]
        picture[..., 3] = 255
        return picture
