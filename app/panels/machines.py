"""Machines panel: every machine as a card with its state, load and controls; launches under way; orphans found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import MACHINES
from app.output import format_bytes
from app.state import Vital
from app.theme import Rgba, u32
from bridge.machine.opened_dump import OpenedDump
from bridge.machine.states import MachineState

if TYPE_CHECKING:
    from app.jobs import Job
    from app.state import AppState
    from app.ui import Ui
    from bridge.machine.manager import AnyMachine
    from bridge.machine.records import MachineRecord


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(MACHINES) as visible:
        if not visible:
            return
        _buttons(ui)
        ui.gap(3)
        machines = state.manager.machines()
        launches = state.launch_jobs()
        for machine in machines:
            if not (launches and machine.info.state is MachineState.STARTING):  # its launch has a card already
                _card(state, ui, machine)
        for job in launches:
            _launching(ui, job)
        if not machines and not launches:
            _empty(ui)
        if state.orphans:
            _orphans(state, ui)


def state_colour(ui: Ui, state: MachineState) -> Rgba:
    """Return the colour that means a machine's state everywhere."""
    theme = ui.theme
    return {
        MachineState.STARTING: theme.accent,
        MachineState.RUNNING: theme.good,
        MachineState.PAUSED: theme.warn,
        MachineState.STOPPED: theme.text_faint,
        MachineState.CRASHED: theme.bad,
    }[state]


def format_uptime(seconds: float) -> str:
    """Return a machine's age: 0:42, 12:05, 3:02:11, 4 d 03 h."""
    whole = int(max(0.0, seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24:02d} h"
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"


def _buttons(ui: Ui) -> None:
    room = imgui.get_content_region_avail().x
    gap = ui.theme.px(2)
    side = ui.theme.px(9)
    launch = round((room - 2 * gap - side) * 0.54)
    narrow = room < ui.theme.px(52)
    ui.action_button("machine.launch_dialog", label="Launch" if narrow else "Launch…", kind="primary", width=launch)
    imgui.same_line(0, gap)
    ui.action_button("machine.attach_dialog", label="" if narrow else "Attach…", width=room - 2 * gap - launch - side)
    imgui.same_line(0, gap)
    ui.action_button("machine.open_dump_dialog", label="", width=side)


def _card(state: AppState, ui: Ui, machine: AnyMachine) -> None:
    theme, info = ui.theme, machine.info
    vital = state.vitals.get(machine.name, Vital())
    chosen = state.current == machine.name
    with _framed(ui, f"card {machine.name}", chosen=chosen):
        ui.dot(state_colour(ui, info.state), hollow=info.state in (MachineState.STOPPED, MachineState.CRASHED))
        imgui.same_line(0, theme.px(1))
        room = imgui.get_content_region_avail().x
        with ui.bold():
            ui.elided(info.name, room - theme.px(13))
        ui.right(theme.px(9))
        imgui.begin_group()
        if info.dump:
            ui.pill("DUMP", theme.accent)
            imgui.end_group()
            ui.tooltip("A memory dump", note="It stands still like a paused machine.")
        else:
            ui.pill(info.accelerator.upper(), theme.text_dim if info.accelerator == "tcg" else theme.good)
            imgui.end_group()
            ui.tooltip(f"Accelerator: {info.accelerator.upper()}", note=info.accelerator_reason)

        with ui.small(), ui.style(item_spacing=(theme.px(2), theme.px(1))):
            imgui.dummy(imgui.ImVec2(theme.px(3), 0))
            imgui.same_line(0, theme.px(1))
            words = [info.guest, info.state.value]
            if isinstance(machine, OpenedDump):
                words = [info.dump, format_bytes(info.ram_bytes), str(machine.path.parent)]
            if info.attached:
                words.append("attached")
            if info.warm:
                words.append("warm start")
            ui.elided(" · ".join(words), imgui.get_content_region_avail().x, theme.text_dim)
        ui.gap(1)
        if not info.dump:
            _figures(ui, machine, vital)
        elif info.message:
            with ui.small():
                ui.wrapped(info.message, theme.warn)
        if info.message and info.state in (MachineState.CRASHED, MachineState.STARTING):
            with ui.small():
                ui.wrapped(info.message, theme.bad if info.state is MachineState.CRASHED else theme.text_dim)
        _controls(ui, machine)
    if imgui.is_item_clicked():
        ui.run("machine.select", machine=machine.name)


def _figures(ui: Ui, machine: AnyMachine, vital: Vital) -> None:
    theme, info, usage = ui.theme, machine.info, vital.usage
    cells = [
        ("CPU", f"{usage.cpu_percent:.0f} %" if usage else "…"),
        ("Memory", format_bytes(info.ram_bytes)),
        ("Up", format_uptime(usage.uptime_s) if usage else "…"),
    ]
    left = imgui.get_cursor_pos_x()
    room = imgui.get_content_region_avail().x
    starts = (0.0, 0.30, 0.68)
    for (label, value), start in zip(cells, starts, strict=True):
        if start:
            imgui.same_line(left + round(room * start))
        imgui.begin_group()
        with ui.style(item_spacing=(0.0, 0.0)):
            with ui.small():
                ui.faint(label)
            ui.text(value)
        imgui.end_group()
        if label == "Memory" and usage:
            ui.tooltip(
                f"{format_bytes(info.ram_bytes)} of guest RAM",
                note=f"The QEMU process holds {format_bytes(usage.rss_bytes)}.",
            )
    ui.gap(1)
    top = max(100.0, *vital.cpu) if vital.cpu else 100.0
    ui.sparkline(list(vital.cpu), (room, theme.px(6)), top)
    ui.tooltip("CPU use over the last minute")
    ui.gap(1)


def _controls(ui: Ui, machine: AnyMachine) -> None:
    name, state = machine.name, machine.info.state
    args = {"machine": name}
    alive = not state.ended
    theme = ui.theme
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        if machine.info.dump:
            _dump_controls(ui, name)
            return
        if state is MachineState.PAUSED:
            ui.action_icon("machine.resume", args, id_=name, colour=theme.good)
        else:
            if ui.icon_button(
                icons.ICON_FA_PAUSE,
                "Pause",
                id_=f"pause{name}",
                enabled=state is MachineState.RUNNING,
                shortcut="Space",
            ):
                ui.run("machine.pause", machine=name)
        imgui.same_line()
        if ui.icon_button(
            icons.ICON_FA_ROTATE_LEFT, "Reset", id_=f"reset{name}", enabled=alive, note="Like the button on the case"
        ):
            ui.run("machine.reset", machine=name)
        imgui.same_line()
        if ui.icon_button(icons.ICON_FA_TERMINAL, "Show its console", id_=f"console{name}"):
            ui.run("console.show", machine=name)
        imgui.same_line()
        _fit_button(ui, name)
        ui.right(theme.px(7))
        if machine.info.attached:
            if ui.icon_button(icons.ICON_FA_LINK_SLASH, "Detach", id_=f"stop{name}", note="The machine itself runs on"):
                ui.run("machine.detach", machine=name)
        elif ui.icon_button(
            icons.ICON_FA_STOP if alive else icons.ICON_FA_XMARK,
            "Stop" if alive else "Remove from the list",
            id_=f"stop{name}",
            colour=theme.bad,
        ):
            ui.run("machine.stop", machine=name)


def _dump_controls(ui: Ui, name: str) -> None:
    _fit_button(ui, name)
    ui.right(ui.theme.px(7))
    if ui.icon_button(icons.ICON_FA_XMARK, "Close the dump", id_=f"stop{name}", note="The file stays as it is"):
        ui.run("machine.stop", machine=name)


def _fit_button(ui: Ui, name: str) -> None:
    note = "Double click: all volumes"
    if ui.icon_button(icons.ICON_FA_EXPAND, "Fit its volume to the view", id_=f"fit{name}", note=note):
        # The second click of two comes as another one.
        everything = imgui.get_io().mouse_clicked_last_count[0] >= 2
        ui.run("view.fit", **({} if everything else {"machine": name}))


def _launching(ui: Ui, job: Job) -> None:
    theme = ui.theme
    with _framed(ui, f"job {job.number}", chosen=False):
        ui.dot(theme.accent, hollow=True)
        imgui.same_line(0, theme.px(1))
        with ui.bold():
            ui.elided(job.title, imgui.get_content_region_avail().x - theme.px(9))
        ui.right(theme.px(7))
        if job.can_cancel and ui.icon_button(icons.ICON_FA_XMARK, "Cancel", id_=f"cancel{job.number}"):
            ui.run("job.cancel", job=job.number)
        with ui.small():
            ui.elided(job.note or "Starting", imgui.get_content_region_avail().x, theme.text_dim)
        ui.progress(job.fraction, imgui.get_content_region_avail().x, theme.px(0.75))


def _empty(ui: Ui) -> None:
    theme = ui.theme
    ui.gap(6)
    with ui.font(None, theme.title_size * 1.3):
        ui.centred(icons.ICON_FA_MICROCHIP, theme.text_faint)
    ui.gap(2)
    ui.centred("No machine", theme.text_dim)
    with ui.small():
        ui.wrapped(
            "Launch a guest to see its memory, or attach to a QEMU that runs with shared memory.", theme.text_faint
        )


def _orphans(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    ui.gap(2)
    with ui.small():
        ui.faint("FOUND RUNNING")
    for record in state.orphans:
        with _framed(ui, f"orphan {record.name}", chosen=False):
            ui.dot(theme.warn)
            imgui.same_line(0, theme.px(1))
            with ui.bold():
                ui.elided(record.name, imgui.get_content_region_avail().x)
            with ui.small():
                ui.wrapped(_why(record), theme.text_dim)
            if ui.button(f"Adopt##{record.name}", kind="plain", small=True):
                ui.run("machine.adopt", machine=record.name)
            ui.tooltip("Take it over into this window")
            imgui.same_line()
            if ui.button(f"Stop##{record.name}", kind="danger", small=True):
                ui.run("machine.stop_orphan", machine=record.name)


def _why(record: MachineRecord) -> str:
    return "Started to run by itself." if record.detached else "Its window ended without stopping it."


class _framed:  # noqa: N801 - reads as a statement: with _framed(…)
    """A card: a raised, rounded ground as high as what is drawn in it."""

    def __init__(self, ui: Ui, id_: str, *, chosen: bool) -> None:
        self._ui = ui
        self._id = id_
        self._chosen = chosen

    def __enter__(self) -> None:
        theme = self._ui.theme
        imgui.push_style_color(imgui.Col_.child_bg, u32(theme.raised))
        imgui.push_style_color(imgui.Col_.border, u32(theme.accent.alpha(0.55) if self._chosen else theme.border))
        imgui.push_style_var(imgui.StyleVar_.window_padding, imgui.ImVec2(theme.px(3), theme.px(2.5)))
        imgui.push_style_var(imgui.StyleVar_.item_spacing, imgui.ImVec2(theme.px(2), theme.px(1)))
        flags = (
            imgui.ChildFlags_.auto_resize_y | imgui.ChildFlags_.borders | imgui.ChildFlags_.always_use_window_padding
        )
        imgui.begin_child(self._id, imgui.ImVec2(0, 0), flags, imgui.WindowFlags_.no_scrollbar)

    def __exit__(self, *_exception: object) -> None:
        imgui.end_child()
        imgui.pop_style_var(2)
        imgui.pop_style_color(2)
