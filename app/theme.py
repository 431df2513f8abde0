"""Theme: the colours, fonts and spacing that every panel and widget draws with, in a dark and a light design.

A theme is a frozen value. Colours are sRGB `Rgba` tuples in 0..1; `u32(colour)` packs one for a draw list. Lengths are
logical pixels: ImGui multiplies by the window's pixel ratio, so only the user's own interface scale appears here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import imgui_bundle
from imgui_bundle import imgui

ThemeName = Literal["dark", "light"]

UNIT_PX = 4.0  # everything sits on a 4-pixel grid
UI_SIZE_PX = 16.0
SMALL_SIZE_PX = 14.0
TITLE_SIZE_PX = 22.0
MONO_SIZE_PX = 15.0
MIN_SCALE, MAX_SCALE = 0.75, 2.5

BUNDLED_FONTS = Path(imgui_bundle.__file__).parent / "assets" / "fonts"
MONO_FONTS = ("DejaVuSansMono.ttf", "JetBrainsMono-Regular.ttf")
"""In order of preference: what set-up installs, so that Glassbox looks the same everywhere, then what may be there."""
SYSTEM_FONTS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))


class Rgba(NamedTuple):
    """An sRGB colour with straight alpha; each component lies in 0..1."""

    r: float
    g: float
    b: float
    a: float = 1.0

    def alpha(self, a: float) -> Rgba:
        """Return the same colour with opacity `a`."""
        return Rgba(self.r, self.g, self.b, a)

    def mix(self, other: Rgba, share: float) -> Rgba:
        """Return the colour `share` of the way (0..1) to `other`."""
        return Rgba(*(x + (y - x) * share for x, y in zip(self, other, strict=True)))


def rgb(hex_rgb: int, a: float = 1.0) -> Rgba:
    """Return the colour written 0xRRGGBB."""
    return Rgba((hex_rgb >> 16 & 255) / 255, (hex_rgb >> 8 & 255) / 255, (hex_rgb & 255) / 255, a)


@lru_cache(maxsize=4096)
def u32(colour: Rgba) -> int:
    """Pack a colour for `ImDrawList` calls: 0xAABBGGRR."""
    r, g, b, a = (min(max(round(c * 255), 0), 255) for c in colour)
    return a << 24 | b << 16 | g << 8 | r


def vec4(colour: Rgba) -> imgui.ImVec4:
    """Return a colour as ImGui's own vector."""
    return imgui.ImVec4(*colour)


@dataclass(frozen=True, slots=True)
class Fonts:
    """The faces in the current ImGui context; icons (Font Awesome 6) are merged into `ui` and `bold`."""

    ui: imgui.ImFont
    bold: imgui.ImFont
    mono: imgui.ImFont


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colour tokens of one design."""

    name: ThemeName
    bg: Rgba  # behind everything; the volume's ground
    surface: Rgba  # panels
    raised: Rgba  # cards, input fields
    hover: Rgba  # a card or button under the pointer
    active: Rgba  # pressed, selected row
    overlay: Rgba  # popups, palette, toasts
    border: Rgba
    border_strong: Rgba
    text: Rgba
    text_dim: Rgba
    text_faint: Rgba
    accent: Rgba
    accent_text: Rgba  # text on an accent ground
    good: Rgba
    warn: Rgba
    bad: Rgba
    changed: Rgba  # a byte that was just written, fading to `text`
    shadow: Rgba
    ansi: tuple[Rgba, ...]  # the terminal's 16 colours


DARK = Palette(
    name="dark",
    bg=rgb(0x05070D),
    surface=rgb(0x0A0E16),
    raised=rgb(0x111724),
    hover=rgb(0x1A2335),
    active=rgb(0x22304A),
    overlay=rgb(0x0E141F),
    border=rgb(0x1B2333),
    border_strong=rgb(0x2D3A54),
    text=rgb(0xDEE6F2),
    text_dim=rgb(0x98A5BD),
    text_faint=rgb(0x6B7891),
    accent=rgb(0x4CB8FF),
    accent_text=rgb(0x04101C),
    good=rgb(0x45D69A),
    warn=rgb(0xF2B24C),
    bad=rgb(0xFF6B72),
    changed=rgb(0xFFC857),
    shadow=rgb(0x000000, 0.5),
    ansi=tuple(
        rgb(c)
        for c in (
            *(0x1B2333, 0xFF6B72, 0x45D69A, 0xF2B24C, 0x5AA9FF, 0xC792EA, 0x4FD1D9, 0xC6D0E0),
            *(0x5C6983, 0xFF9095, 0x7BE8B8, 0xFFD180, 0x8CC6FF, 0xDDB6F7, 0x86E5EA, 0xF5F8FC),
        )
    ),
)

LIGHT = Palette(
    name="light",
    bg=rgb(0xE4E9F1),
    surface=rgb(0xF5F7FB),
    raised=rgb(0xFFFFFF),
    hover=rgb(0xE6EDF7),
    active=rgb(0xD3E2F5),
    overlay=rgb(0xFFFFFF),
    border=rgb(0xD6DDE8),
    border_strong=rgb(0xB3BFD1),
    text=rgb(0x18202F),
    text_dim=rgb(0x4A566C),
    text_faint=rgb(0x6F7B91),
    accent=rgb(0x0A66C9),
    accent_text=rgb(0xFFFFFF),
    good=rgb(0x0B7D4F),
    warn=rgb(0x945600),
    bad=rgb(0xC32B36),
    changed=rgb(0xB85C00),
    shadow=rgb(0x1B2A44, 0.22),
    ansi=tuple(
        rgb(c)
        for c in (
            *(0x18202F, 0xC32B36, 0x0B7D4F, 0x945600, 0x0A66C9, 0x8A3FB5, 0x0B7285, 0x566278),
            *(0x6F7B91, 0xD94A54, 0x1F9A66, 0xB06F0F, 0x2F86E6, 0xA45FCC, 0x1F8CA0, 0x3A4558),
        )
    ),
)

PALETTES: dict[ThemeName, Palette] = {"dark": DARK, "light": LIGHT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """One design at one interface scale, with the faces of the current context."""

    palette: Palette
    fonts: Fonts
    scale: float  # the user's interface scale; the window's pixel ratio is not in it

    @property
    def name(self) -> ThemeName:
        return self.palette.name

    @property
    def is_dark(self) -> bool:
        return self.palette.name == "dark"

    # Colours, so that a widget writes `theme.text_dim`.
    @property
    def bg(self) -> Rgba:
        return self.palette.bg

    @property
    def surface(self) -> Rgba:
        return self.palette.surface

    @property
    def raised(self) -> Rgba:
        return self.palette.raised

    @property
    def hover(self) -> Rgba:
        return self.palette.hover

    @property
    def active(self) -> Rgba:
        return self.palette.active

    @property
    def overlay(self) -> Rgba:
        return self.palette.overlay

    @property
    def border(self) -> Rgba:
        return self.palette.border

    @property
    def border_strong(self) -> Rgba:
        return self.palette.border_strong

    @property
    def text(self) -> Rgba:
        return self.palette.text

    @property
    def text_dim(self) -> Rgba:
        return self.palette.text_dim

    @property
    def text_faint(self) -> Rgba:
        return self.palette.text_faint

    @property
    def accent(self) -> Rgba:
        return self.palette.accent

    @property
    def accent_text(self) -> Rgba:
        return self.palette.accent_text

    @property
    def good(self) -> Rgba:
        return self.palette.good

    @property
    def warn(self) -> Rgba:
        return self.palette.warn

    @property
    def bad(self) -> Rgba:
        return self.palette.bad

    @property
    def changed(self) -> Rgba:
        return self.palette.changed

    @property
    def ansi(self) -> tuple[Rgba, ...]:
        return self.palette.ansi

    # Faces and sizes: `imgui.push_font(theme.mono_font, theme.mono_size)`.
    @property
    def ui_font(self) -> imgui.ImFont:
        return self.fonts.ui

    @property
    def bold_font(self) -> imgui.ImFont:
        return self.fonts.bold

    @property
    def mono_font(self) -> imgui.ImFont:
        return self.fonts.mono

    @property
    def ui_size(self) -> float:
        return UI_SIZE_PX * self.scale

    @property
    def small_size(self) -> float:
        return SMALL_SIZE_PX * self.scale

    @property
    def title_size(self) -> float:
        return TITLE_SIZE_PX * self.scale

    @property
    def mono_size(self) -> float:
        return MONO_SIZE_PX * self.scale

    @property
    def unit(self) -> float:
        """One step of the grid, in logical pixels."""
        return UNIT_PX * self.scale

    def px(self, units: float) -> float:
        """Return `units` steps of the grid in logical pixels."""
        return round(units * self.unit)


def make_theme(name: ThemeName, scale: float, fonts: Fonts) -> Theme:
    """Return the theme called `name`; a scale out of range is brought into it."""
    return Theme(palette=PALETTES[name], fonts=fonts, scale=min(max(scale, MIN_SCALE), MAX_SCALE))


def find_font(*names: str) -> Path | None:
    """Return the first installed system font file with one of `names`, in that order."""
    for name in names:
        for folder in SYSTEM_FONTS:
            if found := next(folder.rglob(name), None):
                return found
    return None


def load_fonts() -> Fonts:
    """Load the faces into the current ImGui context, whose atlas owns them from then on."""
    atlas = imgui.get_io().fonts
    icons = str(BUNDLED_FONTS / "Font_Awesome_6_Free-Solid-900.otf")

    def with_icons(face: str, adjust: Callable[[imgui.ImFontConfig], None] | None = None) -> imgui.ImFont:
        config = imgui.ImFontConfig()
        if adjust is not None:
            adjust(config)
        font = atlas.add_font_from_file_ttf(str(BUNDLED_FONTS / face), UI_SIZE_PX, config)
        merged = imgui.ImFontConfig()
        merged.merge_mode = True
        merged.glyph_offset = imgui.ImVec2(0, 1)  # Font Awesome sits a pixel high beside Roboto
        atlas.add_font_from_file_ttf(icons, UI_SIZE_PX - 2, merged)
        return font

    ui = with_icons("Roboto/Roboto-Regular.ttf")
    bold = with_icons("Roboto/Roboto-Bold.ttf")
    mono_file = find_font(*MONO_FONTS) or BUNDLED_FONTS / "Inconsolata-Medium.ttf"
    # DejaVu's letters are large for their size; at 0.9 they match Roboto's x-height.
    shrink = 0.9 if mono_file.name.startswith("DejaVu") else 1.0
    mono_config = imgui.ImFontConfig()
    mono_config.extra_size_scale = shrink
    mono = atlas.add_font_from_file_ttf(str(mono_file), MONO_SIZE_PX, mono_config)
    return Fonts(ui=ui, bold=bold, mono=mono)


def apply_theme(theme: Theme) -> None:
    """Make the current ImGui context draw with `theme`."""
    style = imgui.get_style()
    p = theme.palette
    px = theme.px
    style.font_size_base = theme.ui_size
    style.window_padding = imgui.ImVec2(px(3), px(3))
    style.frame_padding = imgui.ImVec2(px(2), px(1.5))
    style.cell_padding = imgui.ImVec2(px(2), px(1))
    style.item_spacing = imgui.ImVec2(px(2), px(2))
    style.item_inner_spacing = imgui.ImVec2(px(1.5), px(1))
    style.indent_spacing = px(4)
    style.scrollbar_size = px(2.5)
    style.grab_min_size = px(3)
    style.window_border_size = style.child_border_size = style.popup_border_size = 1.0
    style.frame_border_size = 1.0
    style.tab_border_size = style.tab_bar_border_size = 0.0
    style.tab_bar_overline_size = 2.0
    style.docking_separator_size = 1.0
    style.window_rounding = px(1.5)
    style.child_rounding = px(1.5)
    style.frame_rounding = px(1.5)
    style.popup_rounding = px(2)
    style.scrollbar_rounding = px(2)
    style.grab_rounding = px(1)
    style.tab_rounding = 0.0
    style.window_menu_button_position = imgui.Dir.none
    style.window_title_align = imgui.ImVec2(0.0, 0.5)
    style.hover_delay_normal = 0.35
    style.hover_stationary_delay = 0.12

    clear = Rgba(0, 0, 0, 0)
    colours: dict[imgui.Col_, Rgba] = {
        imgui.Col_.text: p.text,
        imgui.Col_.text_disabled: p.text_faint,
        imgui.Col_.text_link: p.accent,
        imgui.Col_.text_selected_bg: p.accent.alpha(0.35),
        imgui.Col_.input_text_cursor: p.accent,
        imgui.Col_.window_bg: p.surface,
        imgui.Col_.child_bg: clear,
        imgui.Col_.popup_bg: p.overlay,
        imgui.Col_.border: p.border,
        imgui.Col_.border_shadow: clear,
        imgui.Col_.frame_bg: p.raised,
        imgui.Col_.frame_bg_hovered: p.hover,
        imgui.Col_.frame_bg_active: p.active,
        imgui.Col_.title_bg: p.surface,
        imgui.Col_.title_bg_active: p.surface,
        imgui.Col_.title_bg_collapsed: p.surface,
        imgui.Col_.menu_bar_bg: p.surface,
        imgui.Col_.scrollbar_bg: clear,
        imgui.Col_.scrollbar_grab: p.border_strong,
        imgui.Col_.scrollbar_grab_hovered: p.text_faint,
        imgui.Col_.scrollbar_grab_active: p.text_dim,
        imgui.Col_.check_mark: p.accent,
        imgui.Col_.slider_grab: p.accent,
        imgui.Col_.slider_grab_active: p.accent,
        imgui.Col_.button: p.raised,
        imgui.Col_.button_hovered: p.hover,
        imgui.Col_.button_active: p.active,
        imgui.Col_.header: p.hover,
        imgui.Col_.header_hovered: p.hover,
        imgui.Col_.header_active: p.active,
        imgui.Col_.separator: p.border,
        imgui.Col_.separator_hovered: p.accent.alpha(0.6),
        imgui.Col_.separator_active: p.accent,
        imgui.Col_.resize_grip: clear,
        imgui.Col_.resize_grip_hovered: p.accent.alpha(0.5),
        imgui.Col_.resize_grip_active: p.accent,
        imgui.Col_.tab: p.surface,
        imgui.Col_.tab_hovered: p.hover,
        imgui.Col_.tab_selected: p.surface,
        imgui.Col_.tab_selected_overline: p.accent,
        imgui.Col_.tab_dimmed: p.surface,
        imgui.Col_.tab_dimmed_selected: p.surface,
        imgui.Col_.tab_dimmed_selected_overline: p.border_strong,
        imgui.Col_.docking_preview: p.accent.alpha(0.35),
        imgui.Col_.docking_empty_bg: p.bg,
        imgui.Col_.plot_lines: p.accent,
        imgui.Col_.plot_lines_hovered: p.text,
        imgui.Col_.plot_histogram: p.accent,
        imgui.Col_.plot_histogram_hovered: p.accent,
        imgui.Col_.table_header_bg: p.surface,
        imgui.Col_.table_border_strong: p.border,
        imgui.Col_.table_border_light: p.border.alpha(0.6),
        imgui.Col_.table_row_bg: clear,
        imgui.Col_.table_row_bg_alt: p.raised.alpha(0.4),
        imgui.Col_.drag_drop_target: p.accent,
        imgui.Col_.nav_cursor: p.accent,
        imgui.Col_.nav_windowing_highlight: p.accent,
        imgui.Col_.nav_windowing_dim_bg: p.shadow,
        imgui.Col_.modal_window_dim_bg: p.shadow,
    }
    for slot, colour in colours.items():
        style.set_color_(slot, vec4(colour))
