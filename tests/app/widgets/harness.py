"""A real ImGui context without a window: synthetic events in, frames out, and a picture by wgpu where one is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import wgpu
from imgui_bundle import imgui
from PIL import Image
from wgpu.utils.imgui.imgui_backend import ImguiWgpuBackend

from app.theme import Theme, ThemeName, apply_theme, load_fonts, make_theme


class _Gpu:
    """Draws what ImGui built into a texture and reads it back."""

    def __init__(self) -> None:
        self._device = wgpu.gpu.request_adapter_sync().request_device_sync()
        self._backend = ImguiWgpuBackend(self._device, "rgba8unorm")

    def draw(self, width: int, height: int) -> np.ndarray:
        target = self._device.create_texture(
            size=(width, height, 1),
            format="rgba8unorm",
            usage=wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC,
        )
        encoder = self._device.create_command_encoder()
        render_pass = encoder.begin_render_pass(
            color_attachments=[
                {"view": target.create_view(), "clear_value": (0, 0, 0, 1), "load_op": "clear", "store_op": "store"}
            ]
        )
        self._backend.render(imgui.get_draw_data(), render_pass)
        render_pass.end()
        self._device.queue.submit([encoder.finish()])
        data = self._device.queue.read_texture(
            {"texture": target, "mip_level": 0, "origin": (0, 0, 0)},
            {"offset": 0, "bytes_per_row": width * 4, "rows_per_image": height},
            (width, height, 1),
        )
        return np.frombuffer(data, np.uint8).reshape(height, width, 4)


class Harness:
    """One window that fills the display and holds what `draw` draws; each `frame` is 1/60 s unless told otherwise."""

    def __init__(
        self,
        draw: Callable[[Harness], None],
        *,
        width: int = 900,
        height: int = 500,
        name: ThemeName = "dark",
        gpu: bool = False,
    ) -> None:
        self.width, self.height = width, height
        self._draw = draw
        self.context = imgui.create_context()
        imgui.set_current_context(self.context)
        self.io = imgui.get_io()
        self.io.set_ini_filename("")
        self.io.display_size = imgui.ImVec2(width, height)
        self.io.config_flags |= imgui.ConfigFlags_.nav_enable_keyboard | imgui.ConfigFlags_.docking_enable
        self.io.backend_flags |= imgui.BackendFlags_.renderer_has_textures
        self.clipboard = ""
        platform = imgui.get_platform_io()
        platform.platform_set_clipboard_text_fn = lambda _context, text: setattr(self, "clipboard", text)
        platform.platform_get_clipboard_text_fn = lambda _context: self.clipboard
        self.theme: Theme = make_theme(name, 1.0, load_fonts())
        apply_theme(self.theme)
        self.now_s = 0.0
        self._gpu = _Gpu() if gpu else None

    def close(self) -> None:
        imgui.set_current_context(self.context)
        imgui.destroy_context(self.context)

    def _build(self, dt_s: float) -> None:
        imgui.set_current_context(self.context)
        self.io.delta_time = dt_s
        self.now_s += dt_s
        imgui.new_frame()
        imgui.set_next_window_pos(imgui.ImVec2(0, 0))
        imgui.set_next_window_size(imgui.ImVec2(self.width, self.height))
        imgui.begin("stage", None, imgui.WindowFlags_.no_decoration | imgui.WindowFlags_.no_saved_settings)
        try:
            self._draw(self)
        finally:
            imgui.end()
            imgui.render()

    def frame(self, count: int = 1, *, dt_s: float = 1 / 60) -> None:
        """Run whole frames; without a GPU textures are taken as uploaded and nothing is drawn."""
        for _ in range(count):
            self._build(dt_s)
            if self._gpu is not None:
                self._gpu.draw(self.width, self.height)
                continue
            for texture in imgui.get_draw_data().textures or ():
                if texture.status == imgui.ImTextureStatus.want_create:
                    texture.set_tex_id(1)
                texture.set_status(imgui.ImTextureStatus.ok)

    def shoot(self, path: Path) -> np.ndarray:
        """Run one frame, write it as PNG and return it, (h, w, 4) uint8; needs `gpu=True`."""
        assert self._gpu is not None
        self._build(1 / 60)
        picture = self._gpu.draw(self.width, self.height)
        Image.fromarray(picture).save(path)
        return picture

    # Events, as a window would send them; each is followed by a frame.

    def move(self, x: float, y: float) -> None:
        self.io.add_mouse_pos_event(x, y)
        self.frame()

    def press(self, button: int = 0) -> None:
        self.io.add_mouse_button_event(button, True)
        self.frame()

    def release(self, button: int = 0) -> None:
        self.io.add_mouse_button_event(button, False)
        self.frame()

    def click(self, x: float, y: float, button: int = 0, *, times: int = 1) -> None:
        self.move(x, y)
        for _ in range(times):
            self.press(button)
            self.release(button)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.move(*start)
        self.press()
        self.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self.move(*end)
        self.release()

    def wheel(self, notches: float) -> None:
        self.io.add_mouse_wheel_event(0, notches)
        self.frame()

    def key(
        self, key: imgui.Key, *, ctrl: bool = False, shift: bool = False, alt: bool = False, text: str = ""
    ) -> None:
        mods = [
            m for m, on in ((imgui.Key.mod_ctrl, ctrl), (imgui.Key.mod_shift, shift), (imgui.Key.mod_alt, alt)) if on
        ]
        for mod in mods:
            self.io.add_key_event(mod, True)
        self.io.add_key_event(key, True)
        if text:
            self.io.add_input_characters_utf8(text)
        self.frame(2)
        self.io.add_key_event(key, False)
        for mod in mods:
            self.io.add_key_event(mod, False)
        self.frame(2)

    def type(self, text: str) -> None:
        self.io.add_input_characters_utf8(text)
        self.frame(2)
