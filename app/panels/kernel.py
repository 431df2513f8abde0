"""Kernel panel: the running kernel's lists — modules, slabs, sockets, mounts, messages, symbols — one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.chosen import Key, parse_key
from app.kernel_ui import Fetched
from app.layout import KERNEL
from app.panels import kernel_log, modules, mounts, slabs, sockets, symbols
from app.panels.kernel_list import KernelList
from app.widgets.record_table import OWN_KEYS, RecordTable

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

LISTS: dict[str, KernelList[Any]] = {
    one.title: one for one in (modules.LIST, slabs.LIST, sockets.LIST, mounts.LIST, kernel_log.LIST, symbols.LIST)
}
FILTER_UNITS, NARROW_FILTER_UNITS = 44.0, 23.0


def table_of(state: AppState, section: str) -> RecordTable[Any]:
    """Return the table of a section. Raises KeyError."""
    made = LISTS[section].make
    if section not in state.kernel.tables:
        state.kernel.tables[section] = made()
    return state.kernel.tables[section]


def fetch(state: AppState, section: str) -> Fetched:
    """Return what is known of a section of the current machine, and why there is nothing, if so."""
    machine = state.machine()
    if machine is None:
        return Fetched(problem="No machine runs here.")
    if machine.name not in state.stage.feeds:
        return Fetched(problem="" if not machine.info.state.ended else "The machine has ended.")
    sighting = state.kernels.sighting(machine.name)
    if sighting is not None and sighting.problem:
        return Fetched(problem=sighting.problem)
    return LISTS[section].fetch(state, machine.name)


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(KERNEL, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        if not visible:
            return
        kernel = state.kernel
        if kernel.machine != (state.current or ""):
            kernel.machine = state.current or ""
            kernel.fetched.clear()
            for table in kernel.tables.values():
                table.selected = None
        section = LISTS[kernel.section]
        table = table_of(state, kernel.section)
        fetched = kernel.fetched[kernel.section] = fetch(state, kernel.section)
        _bar(state, ui, section, table, fetched)
        if fetched.rows is None:
            _absent(state, ui, section, fetched)
            return
        if not len(fetched.rows):
            ui.absence(section.icon, section.empty)
            return
        _table(state, ui, section, table, fetched)


def _table(state: AppState, ui: Ui, section: KernelList[Any], table: RecordTable[Any], fetched: Fetched) -> None:
    assert fetched.rows is not None
    machine = state.kernel.machine
    _follow(state, section, table, fetched)
    event = table.draw(ui.theme, fetched.rows, menu=lambda row: section.menu(ui, machine, row))
    if not len(table.model.view(fetched.rows)):
        imgui.set_cursor_pos_y(imgui.get_cursor_pos_y() - imgui.get_item_rect_size().y * 0.6)
        ui.centred("Nothing matches the filter", ui.theme.text_faint)
    if table.focused:
        state.own_keys |= OWN_KEYS
    if event is not None:
        section.do(ui, machine, event)


def _follow(state: AppState, section: KernelList[Any], table: RecordTable[Any], fetched: Fetched) -> None:
    """Select the row of what was chosen elsewhere, or of what holds the selected byte: whichever came last."""
    kernel = state.kernel
    assert fetched.rows is not None
    for source, subject in (("chosen", _chosen(state)), ("byte", _held(state, section.holds))):
        place = (section.title, source)
        if kernel.followed.get(place) == subject:
            continue
        kernel.followed[place] = subject
        if subject is None or subject[0] != section.holds:
            continue
        found = section.find(fetched.rows, subject[1])
        if found is not None and found != table.selected:
            table.show(found)


def _chosen(state: AppState) -> tuple[str, Key] | None:
    chosen = state.chosen
    return None if chosen is None or chosen.machine != state.kernel.machine else (chosen.kind, chosen.key)


def _held(state: AppState, kind: str) -> tuple[str, Key] | None:
    """What of a kind holds the selected byte."""
    told = state.kernel.story.told
    if not kind or told is None or told.machine != state.kernel.machine or state.selection is None:
        return None
    key = next((fact.key for fact in told.facts if fact.kind == kind), None)
    return None if key is None else (kind, parse_key(kind, key))


# The bar above


def _bar(state: AppState, ui: Ui, section: KernelList[Any], table: RecordTable[Any], fetched: Fetched) -> None:
    theme = ui.theme
    room = imgui.get_content_region_avail().x
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        tools = theme.px(section.tools_units) + theme.px(9)
        names = sum(imgui.calc_text_size(name).x + theme.px(4) for name in LISTS)
        wide = names + tools + theme.px(NARROW_FILTER_UNITS) + theme.px(4) <= room
        if wide:
            _segments(state, ui)
        else:
            _chooser(state, ui)
        count = _count(section, table, fetched)
        left = room - (names if wide else theme.px(34)) - tools - theme.px(4)
        filter_width = min(theme.px(FILTER_UNITS), max(theme.px(NARROW_FILTER_UNITS), left))
        count_width = imgui.calc_text_size(count).x + theme.px(2)
        shows_count = left - filter_width > count_width
        ui.right(filter_width + tools + (count_width if shows_count else 0.0))
        if shows_count:
            imgui.align_text_to_frame_padding()
            ui.faint(count)
            _freshness(state, ui, fetched)
            imgui.same_line(0, theme.px(2))
        if section.tools_units:
            section.tools(state, ui, table)
            imgui.same_line(0, theme.px(1))
        table.filter_box(filter_width, "Filter" if shows_count or not fetched.rows else f"Filter {len(fetched.rows):,}")
        if not shows_count:
            ui.tooltip(count)
        imgui.same_line(0, theme.px(1))
        if ui.icon_button(
            icons.ICON_FA_COPY,
            "Copy as CSV",
            id_="copy list",
            enabled=bool(fetched.rows),
            note="What is shown, in this order",
        ):
            ui.run("kernel.copy")
    ui.gap(0.5)


def _segments(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    line = imgui.get_cursor_pos_y()
    for name in LISTS:
        imgui.set_cursor_pos_y(line)
        chosen = name == state.kernel.section
        width = imgui.calc_text_size(name).x + theme.px(4)
        if ui.button(f"{name}##section", kind="plain" if chosen else "quiet", width=width):
            ui.run("kernel.show", section=name)
        imgui.same_line(0, 0)


def _chooser(state: AppState, ui: Ui) -> None:
    imgui.set_next_item_width(ui.theme.px(34))
    if imgui.begin_combo("##section", state.kernel.section):
        for name, one in LISTS.items():
            if imgui.selectable(f"{one.icon}  {name}", name == state.kernel.section)[0]:
                ui.run("kernel.show", section=name)
        imgui.end_combo()


def _count(section: KernelList[Any], table: RecordTable[Any], fetched: Fetched) -> str:
    if fetched.rows is None:
        return ""
    total, shown = len(fetched.rows), len(table.model.view(fetched.rows))
    noun = section.nouns[0] if total == 1 else section.nouns[1]
    return f"{total:,} {noun}" if shown == total else f"{shown:,} of {total:,}"


def _freshness(state: AppState, ui: Ui, fetched: Fetched) -> None:
    if fetched.taken_s:
        age_s = max(0.0, state.now_s - fetched.taken_s)
        ui.tooltip(f"Read {age_s:.1f} s ago", note=f"in {fetched.took_s * 1000:,.1f} ms, from the guest's memory alone")


# Nothing to show


def _absent(state: AppState, ui: Ui, section: KernelList[Any], fetched: Fetched) -> None:
    if fetched.problem:
        ui.absence(icons.ICON_FA_CIRCLE_EXCLAMATION, fetched.problem)
    elif state.kernels.sighting(state.kernel.machine) is None:
        ui.absence(icons.ICON_FA_MAGNIFYING_GLASS, "Looking for the kernel in the guest's memory")
    else:
        ui.absence(section.icon, f"Reading the {section.nouns[1]}")
