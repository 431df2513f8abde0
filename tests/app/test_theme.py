"""The theme: readable contrast in both designs, exact colour packing, fonts that hold what the panels write."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.theme import (
    PALETTES,
    Palette,
    Rgba,
    Theme,
    ThemeName,
    apply_theme,
    find_font,
    load_fonts,
    make_theme,
    rgb,
    u32,
)


def _luminance(colour: Rgba) -> float:
    """Relative luminance by WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: Rgba, b: Rgba) -> float:
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def context() -> Iterator[None]:
    made = imgui.create_context()
    imgui.set_current_context(made)
    yield
    imgui.destroy_context(made)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda p: p.name)
def test_text_can_be_read_on_every_ground(palette: Palette) -> None:
    for ground in (palette.bg, palette.surface, palette.raised, palette.overlay):
        assert _contrast(palette.text, ground) >= 7
        assert _contrast(palette.text_dim, ground) >= 4.5
        assert _contrast(palette.text_faint, ground) >= 3
        for signal in (palette.accent, palette.good, palette.warn, palette.bad):
            assert _contrast(signal, ground) >= 4.0
    assert _contrast(palette.accent_text, palette.accent) >= 4.5
    for colour in palette.ansi[1:]:
        if colour is not palette.ansi[0]:
            assert _contrast(colour, palette.surface) >= 2.5
    assert len(palette.ansi) == 16


def test_the_dark_ground_is_a_near_black_blue() -> None:
    bg = PALETTES["dark"].bg
    assert max(bg[:3]) < 0.1
    assert bg.b > bg.r


@given(st.integers(0, 0xFFFFFF), st.integers(0, 255))
def test_packing_keeps_every_component(colour: int, alpha: int) -> None:
    packed = u32(rgb(colour, alpha / 255))
    assert packed & 255 == colour >> 16
    assert packed >> 8 & 255 == colour >> 8 & 255
    assert packed >> 16 & 255 == colour & 255
    assert packed >> 24 == alpha


def test_mix_meets_both_ends() -> None:
    a, b = rgb(0x112233), rgb(0xFFEEDD, 0.5)
    assert a.mix(b, 0) == a
    assert a.mix(b, 1) == pytest.approx(b)
    assert u32(Rgba(2, -1, 0)) == 0xFF0000FF


@pytest.mark.parametrize("name", ["dark", "light"])
def test_theme_reaches_the_style(context: None, name: ThemeName) -> None:
    theme = make_theme(name, 1.5, load_fonts())
    apply_theme(theme)
    style = imgui.get_style()
    assert style.font_size_base == pytest.approx(16 * 1.5)
    assert tuple(style.color_(imgui.Col_.window_bg)) == pytest.approx(theme.surface, abs=1e-6)
    assert theme.px(2) == 12
    assert theme.is_dark == (name == "dark")
    assert {theme.name} == {name}


def test_fonts_hold_what_panels_write(context: None) -> None:
    fonts = load_fonts()
    for glyph in (icons.ICON_FA_PLAY, icons.ICON_FA_MICROCHIP, icons.ICON_FA_TERMINAL, "…", "·", "\u00d7", "µ"):
        assert fonts.ui.is_glyph_in_font(ord(glyph))
        assert fonts.bold.is_glyph_in_font(ord(glyph))
    for glyph in map(chr, range(0x20, 0x7F)):
        assert fonts.mono.is_glyph_in_font(ord(glyph))


def test_scale_is_bounded_and_missing_fonts_are_none(context: None) -> None:
    fonts = load_fonts()
    assert make_theme("dark", 99, fonts).scale == 2.5
    assert make_theme("dark", 0.01, fonts).scale == 0.75
    assert find_font("No-Such-Face.ttf") is None


def test_every_token_of_the_palette_is_on_the_theme(context: None) -> None:
    theme = make_theme("light", 1.0, load_fonts())
    for token in Palette.__dataclass_fields__:
        if token not in ("name", "shadow"):
            assert getattr(theme, token) == getattr(theme.palette, token)
    assert isinstance(theme, Theme)
    assert theme.small_size < theme.ui_size < theme.title_size
    assert theme.mono_size < theme.ui_size
    assert {theme.ui_font, theme.bold_font, theme.mono_font} == {theme.fonts.ui, theme.fonts.bold, theme.fonts.mono}
