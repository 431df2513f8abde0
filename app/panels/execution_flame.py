"""Flame graph in the Execution panel: the time by process, symbol and block; a click goes closer, a path leads back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.flame import DEPTH, OTHERS, Box, boxes, under
from app.panels.highlights import rgba_of
from app.panels.statistics import text_on
from app.process_colours import process_palette, wishes
from app.theme import Rgba, u32
from app.ui import fit_text
from app.widgets.plain_text import plain

if TYPE_CHECKING:
    from app.state import AppState
    from app.theme import Theme
    from app.trace_looks import Look
    from app.ui import Ui

LEVEL_UNITS, TALLEST_UNITS = 2.0, 12.0
LEAST_PX = 2.0
_NAMED = re.compile(r"(.*) \((\d{1,10})\)", re.DOTALL)
"""`name (pid)`"""


def draw(state: AppState, ui: Ui, look: Look, _size: tuple[float, float]) -> None:
    """Draw the way back, and the picture."""
    theme, shown = ui.theme, state.execution
    _way(state, ui)
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail()
    if not look.leaves:
        ui.absence(icons.ICON_FA_FIRE, f"No code ran in the last {look.span.seconds:.0f} s")
        return
    width = max(room.x, 1.0)
    made_of = (look.number, shown.zoom, width)
    if shown.drawn_of != made_of:
        shown.drawn = boxes(look.leaves, shown.zoom, LEAST_PX / width)
        shown.drawn_of = made_of
    level = min(max(theme.px(LEVEL_UNITS), room.y / DEPTH), theme.px(TALLEST_UNITS))
    shown.drawn_at = (at.x, at.y, width, level)
    imgui.invisible_button("##flame", imgui.ImVec2(width, max(1.0, min(room.y, DEPTH * level))))
    found = None
    if imgui.is_item_hovered():
        mouse = imgui.get_mouse_pos()
        found = under(shown.drawn, int((mouse.y - at.y) // level), (mouse.x - at.x) / width)
    _paint(ui, shown.drawn, found, at, width, level, shown.chosen)
    if found is None:
        return
    _tip(ui, look, found)
    if imgui.is_mouse_released(imgui.MouseButton_.left):
        _click(ui, state, found)
    elif imgui.is_mouse_released(imgui.MouseButton_.right) and shown.zoom:
        shown.zoom = shown.zoom[:-1]


def _click(ui: Ui, state: AppState, box: Box) -> None:
    """Go closer to what is more than a block, or to what leads there; select a block."""
    if box.block:
        ui.run("trace.choose", block=box.block)
    elif box.title != OTHERS:
        state.execution.zoom = box.path


def _way(state: AppState, ui: Ui) -> None:
    """Everything, and what was gone closer to: each a way back."""
    theme, zoom = ui.theme, state.execution.zoom
    with ui.small(), ui.style(frame_padding=(theme.px(1), theme.px(0.25)), item_spacing=(theme.px(0.5), theme.px(1))):
        for depth in range(len(zoom) + 1):
            title = "All processes" if not depth else plain(zoom[depth - 1], 80)
            last = depth == len(zoom)
            room = imgui.get_content_region_avail().x / max(1, len(zoom) + 1 - depth) - theme.px(3)
            text = fit_text(title, max(room, theme.px(8)))
            clear = theme.raised.alpha(0)
            colours = {"button": clear, "button_hovered": theme.hover, "button_active": theme.active}
            with ui.colours(**colours, text=theme.text_dim if last else theme.accent), ui.style(frame_border_size=0.0):
                imgui.push_id(depth)
                # What a guest wrote is drawn, never part of a widget's name.
                wide = imgui.calc_text_size(text)
                at = imgui.get_cursor_screen_pos()
                pressed = imgui.button("##way", imgui.ImVec2(wide.x + theme.px(2), wide.y + theme.px(0.5)))
                imgui.get_window_draw_list().add_text(
                    imgui.ImVec2(at.x + theme.px(1), at.y + theme.px(0.25)),
                    u32(theme.text_dim if last else theme.accent),
                    text,
                )
                imgui.pop_id()
            if pressed and not last:
                state.execution.zoom = zoom[:depth]
            if not last:
                imgui.same_line()
                ui.faint(icons.ICON_FA_ANGLE_RIGHT)
                imgui.same_line()


def own_colour(state: AppState, process: str) -> Rgba | None:
    """The colour that a process has wherever it is shown; None for what is no one process."""
    named = _NAMED.fullmatch(process)
    if named is None:
        return None
    kept = state.kernels.process_colour(state.execution.machine, int(named[2]))
    return rgba_of(kept) if kept is not None else Rgba(*process_palette()[wishes(named[1])[0]].tolist())


def colour_of(state: AppState, theme: Theme, box: Box) -> Rgba:
    """A box's ground: by its process, a little lighter or darker from one to the next."""
    if not box.path or box.title == OTHERS:
        return theme.raised
    own = own_colour(state, box.path[0]) or theme.text_faint
    ground = own.mix(theme.surface, (0.22, 0.34, 0.5)[box.depth - 1])
    turn = (sum(map(ord, box.title)) % 7 - 3) / 3
    return ground.mix(theme.text if turn > 0 else theme.bg, abs(turn) * 0.08)


def _paint(
    ui: Ui, drawn: tuple[Box, ...], found: Box | None, at: imgui.ImVec2, width: float, level: float, chosen: int
) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    rounding, pad = theme.px(0.5), theme.px(1.25)
    with ui.small():
        line = imgui.get_text_line_height()
        for box in drawn:
            left, right = at.x + box.start * width, at.x + (box.start + box.width) * width
            low = imgui.ImVec2(left, at.y + box.depth * level)
            high = imgui.ImVec2(max(left + 1, right - 1), at.y + (box.depth + 1) * level - 1)
            ground = colour_of(ui.state, theme, box)
            if box is found:
                ground = ground.mix(theme.text, 0.16)
            draw_list.add_rect_filled(low, high, u32(ground), rounding)
            if box.block and box.block == chosen:
                draw_list.add_rect(low, high, u32(theme.accent), rounding, thickness=2.0)
            room = high.x - low.x - 2 * pad
            if room < theme.px(5) or level < line:
                continue
            share = f"{box.weight / drawn[0].weight:.0%}"
            text = fit_text(plain(box.title, 120) if box.path else "Time in which the guest ran", room)
            ink = theme.text_dim if not box.path else text_on(ground)
            middle = low.y + (high.y - low.y - line) / 2
            if text not in ("…", "") or box.title == OTHERS:
                draw_list.add_text(imgui.ImVec2(low.x + pad, middle), u32(ink), text)
            wide = imgui.calc_text_size(share).x
            if box.path and imgui.calc_text_size(text).x + wide + theme.px(3) < room:
                draw_list.add_text(imgui.ImVec2(high.x - pad - wide, middle), u32(ink.alpha(0.7)), share)


def _tip(ui: Ui, look: Look, box: Box) -> None:
    theme = ui.theme
    whole = sum(leaf.weight for leaf in look.leaves) or 1.0
    unit = "samples" if look.span.by_samples else "instructions"
    with ui.style(window_padding=(theme.px(2.5), theme.px(2)), item_spacing=(theme.px(2), theme.px(0.5))):
        if not imgui.begin_tooltip():
            return
        title = f"{box.hidden:,} too narrow to be drawn" if box.hidden else plain(box.title, 200) or "All processes"
        ui.text(title)
        with ui.small():
            if box.depth > 1:
                ui.dim(" / ".join(plain(name, 80) for name in box.path[:-1]))
            ui.dim(f"{box.weight / whole:.1%} of the time  ·  {box.weight:,.0f} {unit}")
            if not box.hidden:
                ui.faint("Click selects its bytes" if box.block else "Click to go closer" if box.path else "")
        imgui.end_tooltip()
