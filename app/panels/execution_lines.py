"""Time lines in the Execution panel: what the guest did each second, as small plots above each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import imgui, implot
from numpy.typing import NDArray

from app.execution_ui import told
from app.theme import Rgba, Theme, u32, vec4
from app.trace_history import LINES
from app.ui import fit_text
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.state import AppState
    from app.trace_looks import Look
    from app.ui import Ui

SHOWN_S = 60.0
LEAST_PLOT_UNITS = 13.0
COLUMN_UNITS = 32.0


@dataclass(frozen=True, slots=True)
class Line:
    """A time line."""

    name: str
    title: str
    unit: str
    tip: str
    modes: frozenset[Mode] = frozenset(Mode)


SHOWN = (
    Line("instructions", "Instructions", "/s", "That the guest's processors ran"),
    Line("blocks", "Blocks", "/s", "Runs of instructions that were entered"),
    Line("code_pages", "Pages run", "", "Distinct pages whose code ran within about a second: what a TLB has to hold"),
    Line("loads", "Loads", "/s", "From memory", frozenset({Mode.HEAT})),
    Line("stores", "Stores", "/s", "To memory", frozenset({Mode.HEAT})),
    Line(
        "touched_pages",
        "Pages touched",
        "",
        "Distinct pages read or written within about a second: what a TLB has to hold",
        frozenset({Mode.HEAT}),
    ),
    Line("records", "Records", "/s", "Of blocks, loads and stores", frozenset({Mode.TRACE})),
)


def line_colours(theme: Theme) -> dict[str, Rgba]:
    """The colour of each line."""
    accents = (theme.accent, theme.ansi[6], theme.ansi[5], theme.good, theme.warn, theme.ansi[13], theme.bad)
    return dict(zip(LINES, accents, strict=True))


def draw(_state: AppState, ui: Ui, look: Look, size: tuple[float, float]) -> None:
    """Draw those that the mode tells of."""
    theme = ui.theme
    lines = [line for line in SHOWN if look.mode in line.modes]
    gap, below = theme.px(4), theme.px(1.5)
    with ui.small():
        head = imgui.get_text_line_height() + theme.px(0.5)
    above = max(1, int((size[1] + below) // (theme.px(LEAST_PLOT_UNITS) + below)))
    columns = max(1, min(int((size[0] + gap) // (theme.px(COLUMN_UNITS) + gap)), -(-len(lines) // above)))
    rows = -(-len(lines) // columns)
    height = max(theme.px(LEAST_PLOT_UNITS), (size[1] - (rows - 1) * below) / rows)
    width = (size[0] - gap * (columns - 1)) / columns
    corner = imgui.get_cursor_pos()
    colours = line_colours(theme)
    for index, line in enumerate(lines):
        column, row = index // rows, index % rows
        imgui.set_cursor_pos(
            imgui.ImVec2(round(corner.x + column * (width + gap)), round(corner.y + row * (height + below)))
        )
        values = look.lines[:, LINES.index(line.name)]
        _line(ui, line, look.times_s, values, colours[line.name], (width, height), head)


def _line(
    ui: Ui,
    line: Line,
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    colour: Rgba,
    size: tuple[float, float],
    head: float,
) -> None:
    theme = ui.theme
    left = imgui.get_cursor_pos_x()
    recent = values[times_s >= -SHOWN_S]
    with ui.small(), ui.style(item_spacing=(theme.px(2), theme.px(0.5))):
        at, draw_list = imgui.get_cursor_screen_pos(), imgui.get_window_draw_list()
        side, tall = theme.px(1.5), imgui.get_text_line_height()
        top = at.y + round((tall - side) / 2)
        draw_list.add_rect_filled(
            imgui.ImVec2(at.x, top), imgui.ImVec2(at.x + side, top + side), u32(colour), theme.px(0.5)
        )
        value = f"{told(float(values[-1]))}{line.unit}" if len(values) else ""
        wide = imgui.calc_text_size(value).x
        title = fit_text(line.title, size[0] - wide - theme.px(5))
        draw_list.add_text(imgui.ImVec2(at.x + theme.px(2.5), at.y), u32(theme.text_dim), title)
        draw_list.add_text(imgui.ImVec2(at.x + size[0] - wide, at.y), u32(theme.text), value)
        imgui.dummy(imgui.ImVec2(size[0], tall))
        ui.tooltip(line.tip)
        imgui.set_cursor_pos_x(left)
        _plot(ui, line, times_s, values, colour, (size[0], max(theme.px(4), size[1] - head)), recent)


def _plot(
    ui: Ui,
    line: Line,
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    colour: Rgba,
    size: tuple[float, float],
    recent: NDArray[np.float64],
) -> None:
    theme = ui.theme
    most = float(recent.max()) if len(recent) else 0.0
    flags = implot.Flags_.canvas_only | implot.Flags_.no_inputs | implot.Flags_.no_frame
    style = implot.get_style()
    style.plot_padding, style.plot_border_size = imgui.ImVec2(0, 0), 0.0
    slots = {"frame_bg": theme.surface, "plot_bg": theme.raised, "plot_border": theme.border}
    for slot, ground in slots.items():
        implot.push_style_color(getattr(implot.Col_, slot), vec4(ground))
    if implot.begin_plot(f"##{line.name}", imgui.ImVec2(*size), flags):
        bare = implot.AxisFlags_.no_decorations | implot.AxisFlags_.lock
        implot.setup_axes("", "", bare, bare)
        implot.setup_axes_limits(-SHOWN_S, 0.0, 0.0, max(most * 1.15, 1.0), implot.Cond_.always)
        implot.setup_finish()
        if len(values) > 1:
            xs, ys = np.ascontiguousarray(times_s), np.ascontiguousarray(values)
            fill = implot.Spec()
            fill.fill_color, fill.line_color = vec4(colour.alpha(0.16)), vec4(colour.alpha(0.0))
            implot.plot_shaded(f"##fill {line.name}", xs, ys, 0.0, fill)
            stroke = implot.Spec()
            stroke.line_color, stroke.line_weight = vec4(colour), 1.5
            implot.plot_line(f"##{line.name}", xs, ys, stroke)
        _hover(ui, line, times_s, values)
        implot.end_plot()
    implot.pop_style_color(len(slots))


def _hover(ui: Ui, line: Line, times_s: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """The value at the pointer, with a line through it."""
    corner, size = implot.get_plot_pos(), implot.get_plot_size()
    # A plot that takes no input is never "hovered" by itself.
    within = imgui.is_mouse_hovering_rect(corner, imgui.ImVec2(corner.x + size.x, corner.y + size.y))
    if not (within and imgui.is_window_hovered()) or not len(values):
        return
    theme, mouse = ui.theme, implot.get_plot_mouse_pos()
    at = int(np.argmin(np.abs(times_s - mouse.x)))
    x = corner.x + size.x * (1 + float(times_s[at]) / SHOWN_S)
    if x < corner.x:
        return
    ink = u32(theme.text_dim.alpha(0.6))
    imgui.get_window_draw_list().add_line(imgui.ImVec2(x, corner.y), imgui.ImVec2(x, corner.y + size.y), ink)
    with ui.style(window_padding=(theme.px(2), theme.px(1.5))):
        if imgui.begin_tooltip():
            ui.text(f"{told(float(values[at]))}{line.unit}")
            imgui.same_line(0, theme.px(2))
            ui.dim(f"{-float(times_s[at]):.1f} s ago")
            imgui.end_tooltip()
