"""Status bar: what runs in the background, what the pointer is over, how the memory changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.jobs import Job, JobState
from app.layout import PERFORMANCE
from app.output import format_bytes
from app.panels.machines import state_colour
from app.panels.topbar import BAR_FLAGS
from app.theme import u32
from app.trace_costs import SOURCE, told_cost
from app.tracing import TracerState
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

HEIGHT_UNITS = 7
CHOSEN_SHARE = 0.34
"""Of the window's width, for what is chosen."""


def draw(state: AppState, ui: Ui) -> None:
    """Draw the bar along the bottom."""
    theme = ui.theme
    size = imgui.get_io().display_size
    height = theme.px(HEIGHT_UNITS)
    imgui.set_next_window_pos(imgui.ImVec2(0, size.y - height))
    imgui.set_next_window_size(imgui.ImVec2(size.x, height))
    with ui.style(
        window_padding=(theme.px(3), theme.px(1)),
        window_rounding=0.0,
        window_border_size=0.0,
        window_min_size=(1.0, 1.0),
    ):
        imgui.begin("##status", None, BAR_FLAGS)
    imgui.get_window_draw_list().add_line(
        imgui.ImVec2(0, size.y - height), imgui.ImVec2(size.x, size.y - height), u32(theme.border)
    )
    with ui.small(), ui.style(item_spacing=(theme.px(2), 0.0), frame_padding=(theme.px(1), 0.0)):
        _left(state, ui)
        _chosen(state, ui)
        _right(state, ui)
    imgui.end()


def _left(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    jobs = state.jobs.shown()
    for job in jobs[:3]:
        _job(ui, job)
        imgui.same_line(0, theme.px(5))
    if len(jobs) > 3:
        ui.dim(f"and {len(jobs) - 3} more")
        imgui.same_line(0, theme.px(5))
    if jobs:
        return
    machine = state.machine()
    if machine is None:
        ui.faint("No machine")
        return
    info = machine.info
    ui.dot(state_colour(ui, info.state))
    imgui.same_line(0, theme.px(1))
    how = (f"{info.dump} dump",) if info.dump else (info.state.value, info.accelerator.upper())
    ui.dim("  ·  ".join((info.name, *how, format_bytes(info.ram_bytes))))
    tracer = state.tracers.of(info.name)
    if tracer is not None and tracer.state is TracerState.ON and tracer.mode is not Mode.OFF:
        imgui.same_line(0, theme.px(3))
        ui.text(f"{tracer.mode} {told_cost(tracer.mode)}", theme.accent)
        ui.tooltip("What is watched of its execution, and about how much longer its work takes", note=SOURCE)
    if info.dump:
        return
    scan = state.stage.scan_stats(info.name)
    if scan is not None:
        imgui.same_line(0, theme.px(4))
        ui.faint(f"{scan.dirty_pages_per_s:,.0f} pages/s written")
        ui.tooltip(
            "Pages whose content changed, found by comparing all of RAM with a copy",
            note=f"{format_bytes(scan.bytes_per_s)}/s compared\n"
            f"A change is seen within {scan.worst_age_s * 1000:,.0f} ms",
        )


def _chosen(state: AppState, ui: Ui) -> None:
    """Draw what is chosen and how much it is: a click flies there, the cross leaves it."""
    theme, chosen = ui.theme, state.chosen
    if chosen is None:
        return
    imgui.same_line(0, theme.px(4))
    ui.text(icons.ICON_FA_HIGHLIGHTER, theme.accent)
    imgui.same_line(0, theme.px(1.5))
    room = max(theme.px(40), imgui.get_io().display_size.x * CHOSEN_SHARE)
    ui.elided(chosen.told, room, theme.warn if chosen.problem else theme.text)
    if imgui.is_item_clicked():
        ui.run("choose.fly")
    if not chosen.problem:
        ui.tooltip("What is lit up", note="A click flies there; Escape leaves it")
    imgui.same_line(0, theme.px(1))
    with ui.colours(button=theme.surface, text=theme.text_faint):
        if imgui.small_button(f"{icons.ICON_FA_XMARK}##chosen"):
            ui.run("choose.clear")
    ui.tooltip("Light nothing up", shortcut="Escape")


def _job(ui: Ui, job: Job) -> None:
    theme = ui.theme
    colour = {JobState.FAILED: theme.bad, JobState.DONE: theme.good}.get(job.state, theme.text_dim)
    icon = {
        JobState.DONE: icons.ICON_FA_CHECK,
        JobState.FAILED: icons.ICON_FA_XMARK,
        JobState.CANCELLED: icons.ICON_FA_BAN,
    }.get(job.state, "")
    if icon:
        ui.text(icon, colour)
        imgui.same_line(0, theme.px(1.5))
    else:
        imgui.begin_group()
        imgui.dummy(imgui.ImVec2(0, (imgui.get_text_line_height() - theme.px(0.75)) / 2))
        ui.progress(job.fraction, theme.px(16), theme.px(0.75))
        imgui.end_group()
        imgui.same_line(0, theme.px(2))
    note = f"  ·  {job.note}" if job.note and job.state is JobState.RUNNING else ""
    ui.elided(f"{job.title}{note}", theme.px(80), colour)
    if job.state is JobState.RUNNING and job.can_cancel:
        imgui.same_line(0, theme.px(1))
        with ui.colours(button=theme.surface, text=theme.text_faint):
            if imgui.small_button(f"{icons.ICON_FA_XMARK}##job{job.number}"):
                ui.run("job.cancel", job=job.number)
        ui.tooltip("Cancel")


def _right(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    parts: list[tuple[str, bool]] = []
    if state.keyboard_taken:
        parts.append((f"Keys go to {state.current}, Shift+Escape takes them back", False))
    if state.hover is not None and (address := state.stage.paddr(state.hover)) is not None:
        parts.append((f"{address:#x}", True))
    elif state.selection is not None and (address := state.stage.paddr(state.selection)) is not None:
        parts.append((f"selected {address:#x}", True))
    if state.stage.feeds:
        parts.append((_memory(state), False))
    width = 0.0
    for text, mono in parts:
        with ui.font(theme.mono_font if mono else None, theme.small_size):
            width += imgui.calc_text_size(text).x + theme.px(3)
    if not parts:
        return
    ui.right(width)
    for index, (text, mono) in enumerate(parts):
        if index:
            imgui.same_line(0, theme.px(3))
        with ui.font(theme.mono_font if mono else None, theme.small_size):
            ui.dim(text)
        if index == len(parts) - 1 and state.stage.feeds:
            ui.tooltip("Memory that Glassbox holds on the GPU", note="The performance panel says for what")
            if imgui.is_item_clicked():
                ui.run("window.show", panel=PERFORMANCE)


def _memory(state: AppState) -> str:
    use = state.memory_use
    held = format_bytes(use.total)
    return f"GPU {held} of {format_bytes(use.budget)}" if use.budget else f"GPU {held}"
