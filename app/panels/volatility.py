"""Volatility panel: choose one of its plugins, say its options, run it on the current machine, and read the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import VOLATILITY
from app.output import format_duration
from app.panels.named_rows import act_on_row, row_menu
from app.volatility_rows import named_by
from app.volatility_ui import Result, VolatilityUi
from app.widgets.plain_text import plain
from app.widgets.record_table import OWN_KEYS
from bridge.kernel.volatility_engine.records import Option, Plugin

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

LIST_UNITS, NARROW_LIST_UNITS = 56.0, 44.0
FILTER_UNITS, NARROW_FILTER_UNITS = 44.0, 26.0
FIELD_UNITS = 22.0
TEXT_UNITS = 34.0
"""What a column of text needs at least."""
NARROW_UNITS = 180.0
"""A panel of less width has no room for the long forms."""
_TYPES = "types for kernels without"


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(VOLATILITY, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        if not visible:
            return
        vol = state.volatility
        vol.worker.start()
        installed = vol.worker.installed
        if installed is None:
            ui.absence(icons.ICON_FA_MICROSCOPE, "Starting Volatility")
            return
        if not installed.plugins:
            ui.absence(icons.ICON_FA_CIRCLE_EXCLAMATION, installed.problem)
            return
        _plugins(vol, ui, installed.plugins, installed.problem)
        imgui.same_line(0, ui.theme.px(4))
        with ui.style(window_padding=(0.0, 0.0)):
            imgui.begin_child("volatility run", imgui.ImVec2(0, 0))
        plugin = vol.chosen()
        if plugin is not None:
            _head(state, ui, plugin)
        _result(state, ui)
        imgui.end_child()


# The list at the left


def _plugins(vol: VolatilityUi, ui: Ui, plugins: tuple[Plugin, ...], problem: str) -> None:
    theme = ui.theme
    narrow = imgui.get_content_region_avail().x < theme.px(NARROW_UNITS)
    width = theme.px(NARROW_LIST_UNITS if narrow else LIST_UNITS)
    with ui.style(window_padding=(0.0, 0.0)):
        imgui.begin_child("volatility plugins", imgui.ImVec2(width, 0))
    imgui.set_next_item_width(width)
    _, vol.needle = imgui.input_text_with_hint(
        "##plugins",
        f"{icons.ICON_FA_FILTER}  {len(plugins)} plugins",
        vol.needle,
        imgui.InputTextFlags_.escape_clears_all,
    )
    words = vol.needle.casefold().split()
    shown = [one for one in plugins if all(word in f"{one.name} {one.description}".casefold() for word in words)]
    with ui.style(item_spacing=(theme.px(1), theme.px(0.5)), window_padding=(0.0, theme.px(0.5))):
        imgui.begin_child("names", imgui.ImVec2(0, 0))
        for one in shown:
            name = one.name.removeprefix("linux.")
            chosen = one.name == vol.plugin
            with ui.colours(text=theme.text if chosen else theme.text_dim):
                if imgui.selectable(f" {name}##{one.name}", chosen)[0]:
                    vol.plugin = one.name
                    if imgui.get_io().mouse_clicked_last_count[0] >= 2:
                        ui.run("volatility.run")
            if chosen and vol.seen != one.name:  # chosen by another way than a click here
                imgui.set_scroll_here_y(0.5)
                vol.seen = one.name
            ui.tooltip(one.name, note=one.description)
        if not shown:
            ui.faint("None is called so")
        if problem and not words:
            ui.gap(1)
            ui.wrapped(problem, theme.text_faint)
        imgui.end_child()
    imgui.end_child()


# Above the table


def _head(state: AppState, ui: Ui, plugin: Plugin) -> None:
    theme, vol = ui.theme, state.volatility
    room = imgui.get_content_region_avail().x
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        running = vol.result is not None and vol.result.run.running
        if running:
            if ui.button(f"{icons.ICON_FA_STOP}  End", width=theme.px(22)):
                ui.run("volatility.cancel")
        else:
            reason = state.actions.get("volatility.run").why_not()
            if ui.button(f"{icons.ICON_FA_PLAY}  Run", kind="primary", width=theme.px(22), enabled=reason is None):
                ui.run("volatility.run")
            ui.tooltip(reason or f"Run {plugin.name} on {state.current}")
        imgui.same_line(0, theme.px(3))
        filter_units = 0.0
        if vol.result is not None and vol.result.table is not None:
            filter_units = NARROW_FILTER_UNITS if room < theme.px(NARROW_UNITS - LIST_UNITS) else FILTER_UNITS
        tools = theme.px(3 * 8 + filter_units)
        left = max(theme.px(10), room - theme.px(22 + 3 + 3) - tools)
        imgui.align_text_to_frame_padding()
        _said(ui, vol.result, plugin, left)
        ui.right(tools)
        _tools(state, ui, theme.px(filter_units))
        if plugin.options:
            _options(vol, ui, plugin, room)
    ui.gap(0.5)


def _said(ui: Ui, result: Result | None, plugin: Plugin, width: float) -> None:
    """What became of the run, or what the chosen plugin shows."""
    theme = ui.theme
    if result is None or not result.rows or result.run.job.plugin != plugin.name:
        ui.elided(plugin.description, width, theme.text_dim)
        return
    finished = result.run.finished
    count = f"{len(result.rows):,} {'row' if len(result.rows) == 1 else 'rows'}"
    if finished is None:
        ui.elided(f"{count}  ·  {_doing(result)}", width, theme.text_dim)
    elif finished.problem:
        text = f"{icons.ICON_FA_TRIANGLE_EXCLAMATION}  {count}. {plain(finished.problem)}"
        ui.elided(text, width, theme.warn)
    else:
        ui.elided(f"{count} in {format_duration(finished.took_s)}", width, theme.text_dim)
        ui.tooltip(
            f"{plugin.name} on {result.machine}", note=" ".join((plugin.description, *map(plain, finished.notes)))
        )


def _tools(state: AppState, ui: Ui, filter_width: float) -> None:
    theme, result = ui.theme, state.volatility.result
    table = None if result is None else result.table
    if table is not None and result is not None:
        table.filter_box(filter_width, f"Filter {len(result.rows):,}" if result.rows else "Filter")
        imgui.same_line(0, theme.px(1))
    ui.action_icon("volatility.copy", {})
    imgui.same_line(0, theme.px(1))
    if ui.icon_button(icons.ICON_FA_FILE_EXPORT, "Save as CSV or JSON…", enabled=table is not None):
        imgui.open_popup("save table")
    imgui.same_line(0, theme.px(1))
    own = state.settings.types_file
    if ui.icon_button(
        icons.ICON_FA_FILE_IMPORT,
        "Types for kernels without…",
        id_=_TYPES,
        colour=theme.accent if own else None,
        note=own or "An ISF or a vmlinux, for kernels that carry no types",
    ):
        state.volatility.types_path = own
        imgui.open_popup(_TYPES)
    _save_popup(state, ui)
    _types_popup(state, ui)


def _save_popup(state: AppState, ui: Ui) -> None:
    vol = state.volatility
    vol.save_path, save = ui.save_popup("save table", vol.save_path, f"~/{vol.plugin}.csv")
    if save:
        ui.run("volatility.export", path=vol.save_path.strip())


def _types_popup(state: AppState, ui: Ui) -> None:
    theme, vol = ui.theme, state.volatility
    with ui.style(window_padding=(theme.px(3), theme.px(3)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup(_TYPES):
            return
        ui.text("Types for kernels that carry none")
        ui.wrapped(
            "Most kernels describe their own types (BTF). For those that do not: an ISF, or the vmlinux of the "
            "kernel's debug package. It is taken only where it fits.",
            theme.text_dim,
            theme.px(110),
        )
        if imgui.is_window_appearing():
            imgui.set_keyboard_focus_here()
        imgui.set_next_item_width(theme.px(110))
        entered, vol.types_path = imgui.input_text_with_hint(
            "##types", "Path of an ISF or vmlinux", vol.types_path, imgui.InputTextFlags_.enter_returns_true
        )
        use = ui.button("Use", kind="primary", width=theme.px(24), enabled=bool(vol.types_path.strip()))
        if use or entered:
            ui.run("kernel.use_types", path=vol.types_path)
            imgui.close_current_popup()
        imgui.same_line()
        if ui.button("Forget", width=theme.px(24), enabled=bool(state.settings.types_file)):
            ui.run("kernel.use_types", path="")
            imgui.close_current_popup()
        imgui.end_popup()


def _options(vol: VolatilityUi, ui: Ui, plugin: Plugin, room: float) -> None:
    theme = ui.theme
    typed = vol.values.setdefault(plugin.name, {})
    used = 0.0
    for option in plugin.options:
        wide = imgui.calc_text_size(option.name).x + theme.px(10 if option.kind == "bool" else FIELD_UNITS + 6)
        if used and used + wide < room:
            imgui.same_line(0, theme.px(4))
        else:
            used = 0.0
        used += wide + theme.px(4)
        _option(ui, option, typed)


def _option(ui: Ui, option: Option, typed: dict[str, object]) -> None:
    theme = ui.theme
    note = option.description + ("" if option.optional else " (needed)")
    if option.kind == "bool":
        before = bool(typed.get(option.name, option.default))
        changed, ticked = imgui.checkbox(f"{option.name}##option", before)
        if changed:
            typed[option.name] = ticked
        ui.tooltip(option.name, note=note)
        return
    imgui.align_text_to_frame_padding()
    ui.dim(option.name)
    ui.tooltip(option.name, note=note)
    imgui.same_line(0, theme.px(1.5))
    imgui.set_next_item_width(theme.px(FIELD_UNITS))
    if option.kind == "choice":
        value = str(typed.get(option.name, option.default) or "")
        if imgui.begin_combo(f"##{option.name}", value):
            for choice in option.choices:
                if imgui.selectable(choice, choice == value)[0]:
                    typed[option.name] = choice
            imgui.end_combo()
        return
    hint = {"int": "number", "ints": "1, 2, …", "texts": "a, b, …"}.get(option.kind, "text")
    if option.default not in (None, (), ""):
        hint = str(option.default)
    changed, value = imgui.input_text_with_hint(f"##{option.name}", hint, str(typed.get(option.name, "")))
    if changed:
        typed[option.name] = value
    ui.tooltip(option.name, note=note)


# The table


def _result(state: AppState, ui: Ui) -> None:
    theme, result = ui.theme, state.volatility.result
    if result is None:
        ui.absence(icons.ICON_FA_MICROSCOPE, "Choose a plugin and run it: it reads the machine's memory as it is now")
        return
    finished = result.run.finished
    if result.table is None or not result.rows:
        if finished is None:
            ui.absence(icons.ICON_FA_MICROSCOPE, _doing(result))
            return
        icon = icons.ICON_FA_CIRCLE_EXCLAMATION if finished.problem else icons.ICON_FA_CIRCLE_CHECK
        notes = " ".join(map(plain, finished.notes))
        ui.absence(icon, finished.problem or notes or f"{result.run.job.plugin} found nothing on {result.machine}")
        return
    # Wide tables are moved sideways as a whole: squeezed, nothing in them could be read.
    avail = imgui.get_content_region_avail()
    wanted = sum(theme.px(column.width or TEXT_UNITS) for column in result.table.model.columns)
    is_wide = wanted > avail.x
    if is_wide:
        imgui.set_next_window_content_size(imgui.ImVec2(wanted, 0))
    with ui.style(window_padding=(0.0, 0.0)):
        flags = imgui.WindowFlags_.horizontal_scrollbar if is_wide else 0
        imgui.begin_child("wide", imgui.ImVec2(0, 0), 0, flags)
    columns, machine = result.run.columns, result.machine
    event = result.table.draw(
        theme,
        result.rows,
        size=(wanted if is_wide else 0.0, 0.0),
        menu=lambda row: row_menu(ui, machine, named_by(columns, row[2])),
    )
    imgui.end_child()
    if event is not None:
        act_on_row(ui, machine, named_by(columns, event.row[2]), opened=event.kind == "open")
    if result.table.focused:
        state.own_keys |= OWN_KEYS


def _doing(result: Result) -> str:
    progress = result.run.progress
    step = plain(progress.step) if progress is not None and progress.step else "Running"
    percent = f", {progress.fraction:.0%}" if progress is not None and progress.fraction else ""
    return f"{step}{percent}"
