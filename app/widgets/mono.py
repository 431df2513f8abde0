"""The monospaced grid that terminal, hex view and disassembly share: cell size, and text that stays on the grid."""

from __future__ import annotations

from dataclasses import dataclass

from imgui_bundle import imgui

from app.theme import Theme

_SAMPLE = "0" * 64


@dataclass(frozen=True, slots=True)
class MonoGrid:
    """A cell of the monospaced face in logical pixels: `row` the distance between lines, `inset` the text's drop."""

    font: imgui.ImFont
    size: float
    cell: float
    row: float
    inset: float

    def text(self, draw_list: imgui.ImDrawList, x: float, y: float, colour: int, text: str) -> None:
        """Draw `text` in the row whose top is `y`."""
        draw_list.add_text(self.font, self.size, imgui.ImVec2(x, y + self.inset), colour, text)


def mono_grid(theme: Theme, *, row_units: float) -> MonoGrid:
    """Return the grid with rows of `row_units` steps, or of the face's own height where that is more."""
    imgui.push_font(theme.mono_font, theme.mono_size)
    cell = imgui.calc_text_size(_SAMPLE).x / len(_SAMPLE)
    height = imgui.get_text_line_height()
    imgui.pop_font()
    row = max(theme.px(row_units), float(round(height)))
    return MonoGrid(theme.mono_font, theme.mono_size, cell, row, float((row - height) // 2))
