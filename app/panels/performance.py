"""Performance panel: where a frame's time goes, what the GPU's memory holds, and how memory is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import imgui, implot

from app.layout import PERFORMANCE
from app.output import format_bytes
from app.pass_times import GROUPS, PassRow
from app.settings import MIN_FRAME_MS, MIN_MEMORY_MIB
from app.theme import Rgba, Theme, u32, vec4
from app.video_memory_use import TITLES
from render.timing import pass_clock

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

GROUP_TITLES = {
    "march": "March",
    "compose": "Compose",
    "upload": "Upload",
    "slices": "Slice views",
    "interface": "Interface",
}
GROUP_TIPS = {
    "march": "Rays through the bricks, one a pixel",
    "compose": "Overlays, labels, the ground and its light",
    "upload": "Changed pages into bricks, with their summaries; in software by the processor's clock",
    "slices": "Flat pictures of slice planes",
    "interface": "These panels",
}
BAR_PX = 2.0
NAME_UNITS = 31
FIGURE_UNITS = 13
NARROW_UNITS = 56


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(PERFORMANCE) as visible:
        if not visible:
            return
        _frames(state, ui)
        ui.gap(3)
        _memory(state, ui)
        for machine in state.manager.machines():
            if machine.name in state.stage.feeds:
                ui.gap(3)
                _machine(state, ui, machine.name)
        ui.gap(2)


def group_colours(theme: Theme) -> dict[str, Rgba]:
    """Return the colours in which groups of passes are drawn everywhere."""
    return {
        "march": theme.accent,
        "compose": theme.ansi[5],
        "upload": theme.good,
        "slices": theme.warn,
        "interface": theme.text_faint,
    }


def _heading(ui: Ui, title: str, value: str = "", tip: str = "") -> None:
    with ui.bold():
        ui.text(title, ui.theme.text_dim)
    if tip:
        ui.tooltip(tip)
    if value:
        ui.right(imgui.calc_text_size(value).x)
        ui.text(value)


# Frames


def _frames(state: AppState, ui: Ui) -> None:
    theme, stats = ui.theme, state.frame_stats
    budget_s = state.stage.frame_budget_s
    figures = state.pass_figures
    _heading(ui, "Frames", f"{stats.fps:.0f} per second" if stats.fps else "at rest")
    ui.gap(1)
    width = imgui.get_content_region_avail().x
    if not pass_clock(state.stage.device).available:
        with ui.small():
            ui.wrapped("This GPU's driver has no timestamps: what each pass takes is not known.", theme.text_dim)
        recent = [s * 1000 for s in state.frames.recent_work(60)]
        ui.sparkline(recent, (width, theme.px(16)), max([budget_s * 1000, *recent]))
    else:
        _graph(state, ui, width, budget_s * 1000, 1000 * figures.total.p95_s if figures.total else 0.0)
    ui.gap(1)
    _table_head(ui, width)
    if (total := figures.total) is not None:
        times = total.now_s, total.p50_s, total.p95_s
        _line(ui, width, None, "GPU", times, tip="All passes of a frame, by the GPU's own clock")
        colours = group_colours(theme)
        for row in figures.rows:
            _pass(ui, width, row, colours[row.name])
    recent_s = state.frames.recent_work(1)
    _line(
        ui,
        width,
        None,
        "Whole frame",
        (recent_s[-1] if recent_s else 0.0, stats.work_p50_s, stats.work_p95_s),
        tip="From the first thing that is done for a frame to the last, by the processor's clock",
    )
    ui.gap(1)
    _budget_of_frames(state, ui, width)


def _budget_of_frames(state: AppState, ui: Ui, width: float) -> None:
    """The slider of a frame's budget. A double click brings back what suits the adapter."""
    shown_ms = state.stage.frame_budget_s * 1000
    slid = _slider(
        ui,
        width,
        "##frame budget",
        shown_ms,
        (MIN_FRAME_MS, 100.0),
        f"{shown_ms:.0f} ms",
        automatic=not state.settings.frame_budget_ms,
        tip="How long a frame may take while anything moves",
        note="Less is smoother and coarser, more is sharper. Double click: what suits the adapter",
    )
    if slid.reset:
        ui.run("view.frame_budget", ms=0)
    elif slid.changed:
        ui.run("view.frame_budget", ms=round(slid.value))


@dataclass(frozen=True, slots=True)
class _Slid:
    """What was done to a slider in this frame."""

    value: float
    changed: bool
    released: bool
    reset: bool  # by a double click


def _slider(
    ui: Ui,
    width: float,
    id_: str,
    value: float,
    limits: tuple[float, float],
    text: str,
    *,
    automatic: bool,
    tip: str,
    note: str,
    flags: int = 0,
) -> _Slid:
    """Draw a slider with its value beside it: dim where it is not the user's own."""
    theme = ui.theme
    left, reserved = imgui.get_cursor_pos_x(), theme.px(15)
    with ui.style(
        frame_padding=(theme.px(1.5), theme.px(0.25)), grab_rounding=theme.px(1), grab_min_size=theme.px(2.5)
    ):
        ui.row("Budget", left + theme.px(16))
        imgui.set_next_item_width(max(theme.px(8), left + width - imgui.get_cursor_pos_x() - reserved))
        changed, new = imgui.slider_float(id_, value, *limits, "", flags)
        # When it is let go: while it is held it would follow the pointer again.
        reset = imgui.is_item_deactivated() and imgui.get_io().mouse_clicked_last_count[0] >= 2
        slid = _Slid(new, changed, imgui.is_item_deactivated_after_edit(), reset)
        ui.tooltip(tip, note=note)
        imgui.same_line(left + width - imgui.calc_text_size(text).x)
        ui.text(text, theme.text_dim if automatic else theme.text)
    return slid


def _graph(state: AppState, ui: Ui, width: float, budget_ms: float, p95_ms: float) -> None:
    theme = ui.theme
    height = theme.px(24)
    shown = max(8, int(width / BAR_PX))
    stacked = state.pass_times.stacked_ms(shown)
    top = max(budget_ms * 1.25, min(p95_ms * 1.3, 20 * budget_ms))
    colours = group_colours(theme)
    flags = implot.Flags_.canvas_only | implot.Flags_.no_inputs | implot.Flags_.no_frame
    plot_style = implot.get_style()
    plot_style.plot_padding = imgui.ImVec2(0, 0)
    plot_style.plot_border_size = 0.0
    slots = {"frame_bg": theme.surface, "plot_bg": theme.raised, "plot_border": theme.border}
    for slot, colour in slots.items():
        implot.push_style_color(getattr(implot.Col_, slot), vec4(colour))
    if implot.begin_plot("##frames", imgui.ImVec2(width, height), flags):
        bare = implot.AxisFlags_.no_decorations | implot.AxisFlags_.lock
        implot.setup_axes("", "", bare, bare)
        implot.setup_axes_limits(-0.5, shown - 0.5, 0.0, top, implot.Cond_.always)
        implot.setup_finish()
        count = stacked.shape[1]
        if count:
            xs = np.arange(shown - count, shown, dtype=np.float32)
            for index in range(len(GROUPS) - 1, -1, -1):
                spec = implot.Spec()
                spec.fill_color = vec4(colours[GROUPS[index]])
                spec.line_color = vec4(colours[GROUPS[index]].alpha(0.0))
                implot.plot_bars(f"##{GROUPS[index]}", xs, stacked[index], 0.8, spec)
        at = implot.get_plot_pos()
        size = implot.get_plot_size()
        y = round(at.y + size.y * (1 - budget_ms / top)) + 0.5
        lines = imgui.get_window_draw_list()
        lines.add_line(imgui.ImVec2(at.x, y), imgui.ImVec2(at.x + size.x, y), u32(theme.text_dim.alpha(0.55)))
        with ui.small():
            label, left, top = f"{budget_ms:.0f} ms", at.x + theme.px(1.5), y - theme.small_size * 1.3
            room = imgui.calc_text_size(label)
            ground = u32(theme.raised.alpha(0.75))
            lower = imgui.ImVec2(left + room.x + theme.px(1), top + room.y)
            lines.add_rect_filled(imgui.ImVec2(left - theme.px(1), top), lower, ground, theme.px(0.5))
            lines.add_text(imgui.ImVec2(left, top), u32(theme.text_dim), label)
        implot.end_plot()
    implot.pop_style_color(len(slots))
    ui.tooltip("Each bar is a frame; the line is the time that a frame may take while anything moves")


def _columns(ui: Ui, width: float) -> list[float]:
    """The right edges of the columns of figures, from the left of the panel: three, or two where it is narrow."""
    step = ui.theme.px(FIGURE_UNITS)
    return [width - 2 * step, width - step, width] if width >= ui.theme.px(NARROW_UNITS) else [width - step, width]


def _table_head(ui: Ui, width: float) -> None:
    with ui.small():
        left = imgui.get_cursor_pos_x()
        ui.faint("ms")
        edges = _columns(ui, width)
        for edge, text in zip(edges, ("now", "p50", "p95")[-len(edges) :], strict=True):
            imgui.same_line(left + edge - imgui.calc_text_size(text).x)
            ui.faint(text)


def _pass(ui: Ui, width: float, row: PassRow, colour: Rgba) -> None:
    times = (row.now_s, row.p50_s, row.p95_s)
    if row.part:
        _line(ui, width, None, f"    {row.part}", times, dim=True)
    else:
        _line(ui, width, colour, GROUP_TITLES[row.name], times, tip=GROUP_TIPS[row.name])


def _line(
    ui: Ui,
    width: float,
    colour: Rgba | None,
    name: str,
    times_s: tuple[float, float, float],
    *,
    tip: str = "",
    dim: bool = False,
) -> None:
    theme = ui.theme
    left = imgui.get_cursor_pos_x()
    if colour is not None:
        at, height = imgui.get_cursor_screen_pos(), imgui.get_text_line_height()
        side = theme.px(2)
        top = at.y + round((height - side) / 2)
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(at.x, top), imgui.ImVec2(at.x + side, top + side), u32(colour), theme.px(0.5)
        )
        imgui.set_cursor_pos_x(left + theme.px(3.5))
    edges = _columns(ui, width)
    room = edges[0] - theme.px(FIGURE_UNITS) * 0.8 - (imgui.get_cursor_pos_x() - left)
    ui.elided(name, max(room, theme.px(12)), theme.text_faint if dim else theme.text_dim)
    if tip:
        ui.tooltip(tip)
    for edge, seconds in zip(edges, times_s[-len(edges) :], strict=True):
        text = format_ms(seconds)
        imgui.same_line(left + edge - imgui.calc_text_size(text).x)
        ui.text(text, theme.text_dim if dim else theme.text)


def format_ms(seconds: float) -> str:
    """Return milliseconds with about three digits that mean something."""
    ms = seconds * 1000
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"


# Memory


def _memory(state: AppState, ui: Ui) -> None:
    theme, use = ui.theme, state.memory_use
    of = f"{format_bytes(use.total)} of {format_bytes(use.budget)}"
    if imgui.get_content_region_avail().x < theme.px(NARROW_UNITS):
        of = format_bytes(use.total)
    _heading(ui, "GPU memory", of, "What Glassbox itself holds, all textures and buffers counted")
    ui.gap(1)
    width = imgui.get_content_region_avail().x
    kinds = use.by_kind()
    colours = dict(zip(kinds, (theme.accent, theme.ansi[6], theme.ansi[5], theme.text_faint, theme.good), strict=True))
    _bar(ui, width, [(kinds[kind], colours[kind]) for kind in kinds], max(use.budget, use.total, 1))
    ui.gap(1)
    for kind, held in kinds.items():
        if held:
            _held(ui, width, colours[kind], TITLES[kind], held)
    ui.gap(1)
    _budget_of_memory(state, ui, width)
    if len(use.machines) > 1:
        for name, parts in use.machines.items():
            _held(ui, width, None, name, sum(parts.values()))


def _budget_of_memory(state: AppState, ui: Ui, width: float) -> None:
    """The slider of the memory budget. It is taken when let go: volumes may have to be laid anew."""
    own = state.settings.memory_budget_mib
    usual = state.stage.feeds.usual_budget_bytes >> 20
    shown = state.dragged_budget_mib or own or usual
    slid = _slider(
        ui,
        width,
        "##memory budget",
        float(shown),
        (float(MIN_MEMORY_MIB), float(max(2 * usual, own, 2 * MIN_MEMORY_MIB))),
        format_bytes(round(shown) << 20),
        automatic=not (own or state.dragged_budget_mib),
        tip="What all volumes together may hold on the GPU",
        note="Where it is short, pages far from view are kept coarse. Double click: half of what there is",
        flags=imgui.SliderFlags_.logarithmic,
    )
    if slid.reset:
        state.dragged_budget_mib = 0.0
        ui.run("view.memory_budget", size=0)
    elif slid.released and state.dragged_budget_mib:
        ui.run("view.memory_budget", size=round(state.dragged_budget_mib) << 20)
        state.dragged_budget_mib = 0.0
    elif slid.changed:
        state.dragged_budget_mib = slid.value


def _bar(ui: Ui, width: float, parts: list[tuple[int, Rgba]], whole: int) -> None:
    theme = ui.theme
    at, height = imgui.get_cursor_screen_pos(), theme.px(2)
    draw_list = imgui.get_window_draw_list()
    draw_list.add_rect_filled(at, imgui.ImVec2(at.x + width, at.y + height), u32(theme.border_strong), theme.px(0.5))
    left = at.x
    for held, colour in parts:
        right = left + width * held / whole
        if right > left:
            draw_list.add_rect_filled(imgui.ImVec2(left, at.y), imgui.ImVec2(right, at.y + height), u32(colour))
        left = right
    imgui.dummy(imgui.ImVec2(width, height))


def _held(ui: Ui, width: float, colour: Rgba | None, name: str, held: int) -> None:
    theme = ui.theme
    left = imgui.get_cursor_pos_x()
    if colour is not None:
        at, height, side = imgui.get_cursor_screen_pos(), imgui.get_text_line_height(), theme.px(2)
        top = at.y + round((height - side) / 2)
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(at.x, top), imgui.ImVec2(at.x + side, top + side), u32(colour), theme.px(0.5)
        )
    imgui.set_cursor_pos_x(left + theme.px(3.5))
    text = format_bytes(held)
    ui.elided(name, width - theme.px(6) - imgui.calc_text_size(text).x, theme.text_dim)
    imgui.same_line(left + width - imgui.calc_text_size(text).x)
    ui.text(text)


# Machines


def _machine(state: AppState, ui: Ui, name: str) -> None:
    _heading(ui, name)
    ui.gap(1)
    figures, rate = state.stage.feeds[name].stats, state.upload_rates.get(name)
    label = ui.theme.px(NAME_UNITS)
    for title, value, tip in (
        ("Written", f"{figures.scan.dirty_pages_per_s:,.0f} pages/s", "Pages whose content changed"),
        (
            "To the GPU",
            f"{format_bytes(rate.bytes_per_s if rate else 0)}/s",
            f"{figures.uploaded_pages:,} pages so far; while it lasts an upload runs at "
            f"{format_bytes(figures.upload_bytes_per_s)}/s",
        ),
        ("Compared", f"{format_bytes(figures.scan.bytes_per_s)}/s", "RAM compared with a copy to find what changed"),
        ("Seen within", f"{figures.scan.worst_age_s * 1000:,.0f} ms", "The longest that a change can go unnoticed"),
        ("Waiting", f"{figures.scan.pending_pages:,} pages", "Changed pages that are not on the GPU yet"),
    ):
        ui.dim(title)
        imgui.same_line(label)
        ui.text(value)
        ui.tooltip(tip)
