"""The ImGui host: exact pixels at every pixel ratio, glyphs that survive a growing atlas, keys with their own names."""

import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import wgpu
from hypothesis import given, settings
from hypothesis import strategies as st
from imgui_bundle import imgui
from rendercanvas.offscreen import OffscreenRenderCanvas
from wgpu.utils.imgui import imgui_backend

from app import imgui_host
from app.imgui_host import ImguiHost, imgui_key, without_gamma
from app.shortcuts import KEYS, pressed_shortcuts
from app.theme import load_fonts, rgb
from render.device import request_device

GROUND = rgb(0x102030)
Make = Callable[..., ImguiHost]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[ImguiHost, OffscreenRenderCanvas]] = []

    def build(width: int = 240, height: int = 160, ratio: float = 1.0) -> ImguiHost:
        canvas = OffscreenRenderCanvas(size=(width / ratio, height / ratio), pixel_ratio=ratio)
        host = ImguiHost(request_device()[0], canvas)
        load_fonts()
        made.append((host, canvas))
        return host

    yield build
    for host, canvas in made:
        host.close()
        canvas.close()


@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.5, 2.0])
def test_a_texture_is_shown_texel_by_texel(make: Make, ratio: float) -> None:
    host = make(240, 160, ratio)
    rng = np.random.default_rng(1)
    texels = rng.integers(0, 256, (64, 96, 4), np.uint8)
    texels[..., 3] = 255
    device = request_device()[0]
    texture = device.create_texture(
        size=(96, 64, 1), format="rgba8unorm", usage=wgpu.TextureUsage.COPY_DST | wgpu.TextureUsage.TEXTURE_BINDING
    )
    device.queue.write_texture({"texture": texture}, texels, {"bytes_per_row": 96 * 4}, (96, 64, 1))
    view = texture.create_view()

    def gui() -> None:
        draw_list = imgui.get_background_draw_list()
        low, high = imgui.ImVec2(20 / ratio, 40 / ratio), imgui.ImVec2(116 / ratio, 104 / ratio)
        draw_list.add_image(host.texture(view), low, high)

    host.build(gui)
    picture = host.capture(GROUND)
    assert picture.shape == (160, 240, 4)
    # Positions are 32-bit floats: where the ratio is no power of two they err by a hundredth of a texel.
    assert np.abs(picture[40:104, 20:116].astype(int) - texels).max() <= (0 if ratio in (1.0, 2.0) else 4)
    assert (picture[0, 0, :3] == (0x10, 0x20, 0x30)).all()
    assert host.texture(view) is host.texture(view)
    host.forget_texture(view)
    host.forget_texture(view)  # twice does no harm


def test_glyphs_survive_an_atlas_that_grows(make: Make) -> None:
    def text(size: float) -> Callable[[], None]:
        def gui() -> None:
            imgui.push_font(None, size)
            imgui.get_background_draw_list().add_text(imgui.ImVec2(4, 4), 0xFFFFFFFF, "Growing atlas")
            imgui.pop_font()

        return gui

    fresh = make()
    fresh.build(text(17))
    expected = fresh.capture(GROUND)
    host = make()
    host.build(text(17))
    host.capture(GROUND)
    sizes = set()
    for size in range(18, 120, 3):  # ever larger letters until the atlas has been made anew
        host.build(text(size))
        host.capture(GROUND)
        sizes.update(host._backend._textures)
    assert len(sizes) > 1
    host.build(text(17))
    assert np.abs(host.capture(GROUND).astype(int) - expected).max() <= 2


def test_our_shader_drops_only_the_power() -> None:
    ours = without_gamma(imgui_backend.FRAGMENT_SHADER_SRC)
    assert "pow(" in imgui_backend.FRAGMENT_SHADER_SRC
    assert "pow(" not in ours
    assert ours.count("color") == imgui_backend.FRAGMENT_SHADER_SRC.count("color")


def test_every_named_key_is_its_own() -> None:
    keys = [imgui_key(name) for name in imgui_host._NAMED_KEYS]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    for letter in "abcxyzABCXYZ":
        assert imgui_key(letter) == KEYS[letter.upper()]
    for digit in "0123456789":
        assert imgui_key(digit) == KEYS[digit]


@given(st.text(max_size=3))
def test_any_key_name_is_known_or_not(name: str) -> None:
    key = imgui_key(name)
    assert key is None or key in [*imgui_host._NAMED_KEYS.values(), *KEYS.values()]


def test_chords_and_signs_reach_the_shortcuts(make: Make) -> None:
    host = make()
    seen: list[str] = []

    def gui() -> None:
        seen.extend(pressed_shortcuts())

    def press(*names: str, text: str = "") -> list[str]:
        seen.clear()
        for name in names:
            host.handle({"event_type": "key_down", "key": name})
        if text:
            host.handle({"event_type": "char", "data": text})
        while host.has_pending_input():
            host.build(gui)
        for name in names:
            host.handle({"event_type": "key_up", "key": name})
        while host.has_pending_input():
            host.build(gui)
        return list(seen)

    host.build(gui)
    assert press("Control", "k") == ["Ctrl+K"]
    assert press("Control", "Shift", "z") == ["Ctrl+Shift+Z"]
    assert press("F11") == ["F11"]
    assert press(text="/") == ["/"]
    assert press(text="=") == ["+"]
    assert press("Unidentified") == []
    host.handle({"event_type": "key_down", "key": "a"})
    host.build(gui)
    host.focus(False)  # the release goes to another window
    host.build(gui)
    assert not imgui.is_key_down(imgui.Key.a)
    host.focus(True)


CHORDS = st.tuples(
    st.lists(st.sampled_from(["Control", "Shift", "Alt"]), unique=True), st.sampled_from("akvz"), st.booleans()
)


@given(chords=st.lists(CHORDS, min_size=1, max_size=6), frames=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_no_chord_changes_however_long_a_frame_lasts(
    chords: list[tuple[list[str], str, bool]], frames: random.Random
) -> None:
    canvas = OffscreenRenderCanvas(size=(32, 32))
    host = ImguiHost(request_device()[0], canvas)
    load_fonts()
    seen: list[str] = []

    def gui() -> None:
        seen.extend(pressed_shortcuts())

    host.build(gui)
    try:
        for modifiers, key, modifiers_first in chords:
            ups = [("key_up", name) for name in modifiers]
            key_up = [("key_up", key)]
            strokes = [("key_down", name) for name in [*modifiers, key]]
            strokes += ups + key_up if modifiers_first else key_up + ups  # people let go in either order
            for kind, name in strokes:
                host.handle({"event_type": kind, "key": name})
                if frames.random() < 0.2:
                    host.build(gui)
        for _ in range(100 * len(chords)):
            if not host.has_pending_input():
                break
            host.build(gui)
        assert not host.has_pending_input()
    finally:
        host.close()
        canvas.close()
    names = {"Control": "Ctrl", "Shift": "Shift", "Alt": "Alt"}
    expected = [
        "+".join([*(name for wire, name in names.items() if wire in modifiers), key.upper()])
        for modifiers, key, _ in chords
    ]
    assert seen == expected


def test_a_click_keeps_the_modifiers_that_were_held_for_it(make: Make) -> None:
    host = make()
    host.build(lambda: None)
    clicks: list[bool] = []
    for event in (
        {"event_type": "key_down", "key": "Control"},
        {"event_type": "pointer_down", "x": 7, "y": 9, "button": 1},
        {"event_type": "pointer_up", "x": 7, "y": 9, "button": 1},
        {"event_type": "key_up", "key": "Control"},
    ):
        host.handle(event)
    while host.has_pending_input():
        host.build(lambda: clicks.append(host.io.key_ctrl) if imgui.is_mouse_clicked(0) else None)
    assert clicks == [True]


def test_pointer_events_move_press_and_leave(make: Make) -> None:
    host = make()
    host.build(lambda: None)
    host.handle({"event_type": "pointer_down", "x": 7, "y": 9, "button": 1})
    while host.has_pending_input():
        host.build(lambda: None)
    assert (host.io.mouse_pos.x, host.io.mouse_pos.y) == (7, 9)
    assert imgui.is_mouse_down(0)
    host.handle({"event_type": "pointer_leave"})  # a drag goes on outside
    host.build(lambda: None)
    assert host.io.mouse_pos.x == 7
    host.handle({"event_type": "pointer_up", "x": 7, "y": 9, "button": 1})
    host.handle({"event_type": "pointer_down", "x": 7, "y": 9, "button": 8})  # a button that ImGui does not know
    while host.has_pending_input():
        host.build(lambda: None)
    host.handle({"event_type": "pointer_leave"})
    host.build(lambda: None)
    assert not imgui.is_mouse_pos_valid()
    wheels: list[tuple[float, float]] = []
    host.handle({"event_type": "wheel", "dx": 100.0, "dy": -200.0})
    host.build(lambda: wheels.append((host.io.mouse_wheel_h, host.io.mouse_wheel)))
    assert wheels == [(1.0, 2.0)]


def test_copied_text_goes_to_the_clipboard_and_back(make: Make) -> None:
    host = make()
    host.make_current()
    imgui.set_clipboard_text("0x7c00 …")
    assert host.clipboard.get() == "0x7c00 …"
    host.clipboard.set("other")
    assert imgui.get_clipboard_text() == "other"


def test_what_is_typed_waits_for_the_field_that_comes_and_keeps_its_order(make: Make) -> None:
    host = make()
    typed: list[str] = []

    def gui() -> None:
        typed.extend(map(chr, host.io.input_queue_characters))
        typed.extend(chord for chord in pressed_shortcuts() if chord == "Enter")

    host.build(gui)
    for letter in "a0":
        host.handle({"event_type": "key_down", "key": letter})
        host.handle({"event_type": "char", "data": letter})
        host.handle({"event_type": "key_up", "key": letter})
    host.handle({"event_type": "key_down", "key": "Enter"})
    host.hold_keys = True
    host.handle({"event_type": "pointer_move", "x": 5, "y": 6})
    for _ in range(5):
        host.build(gui)
    assert typed == []
    assert host.has_pending_input()
    host.hold_keys = False
    for _ in range(8):
        host.build(gui)
    assert typed == ["a", "0", "Enter"]
    assert (host.io.mouse_pos.x, host.io.mouse_pos.y) == (5, 6)
