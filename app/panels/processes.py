"""Processes panel: the current machine's processes as a tree or a list; a click lights their pages up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app import people
from app.layout import PROCESSES
from app.output import format_bytes
from app.panels.highlights import rgba_of
from app.panels.kernel_notes import no_kernel
from app.process_list import STATE_WORDS, Line, ProcessRow, SortColumn
from app.theme import Rgba, u32
from app.ui import fit_text
from app.widgets.plain_text import plain

if TYPE_CHECKING:
    from app.people import OfMachine
    from app.state import AppState
    from app.ui import Ui

ROW_UNITS = 6.0
INDENT_UNITS = 3.5
_OWN_KEYS = frozenset({"Up", "Down", "Left", "Right", "Enter"})
"""Chords that the list takes while its panel has the keyboard."""
_MOST_INDENTS = 12  # deeper ones stand no further in: their names have to be read
_COLUMNS: tuple[tuple[SortColumn, str, float, bool, str], ...] = (
    # what it sorts by, title, width in units (0: the rest), hidden at first, explanation
    ("name", "Name", 0.0, False, "What the kernel calls it: 15 letters at most"),
    ("pid", "PID", 11.0, False, "Process number"),
    ("state", "State", 17.0, True, "What it is doing"),
    ("user", "User", 11.0, True, "User number, as the kernel knows no names"),
    ("threads", "Threads", 14.0, True, "How many threads it has"),
    ("memory", "Memory", 17.0, False, "Pages of RAM that it maps: shared ones count for each process"),
)


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(PROCESSES, flags=imgui.WindowFlags_.no_scrollbar) as visible:
        if not visible:
            return
        machine = state.current
        if machine is None or no_kernel(state, ui, machine, icons.ICON_FA_USERS):
            return
        found = people.refresh(state, machine)
        state.people.drawn = found.lines
        _tools(state, ui)
        _keys(state, ui, machine, found)
        foot = ui.theme.px(7)
        _table(state, ui, machine, found, imgui.get_content_region_avail().y - foot)
        _foot(state, ui, machine, found)


def _tools(state: AppState, ui: Ui) -> None:
    theme, shown = ui.theme, state.people
    side = theme.px(7)
    imgui.set_next_item_width(imgui.get_content_region_avail().x - side - theme.px(1))
    flags = imgui.InputTextFlags_.escape_clears_all
    _, shown.needle = imgui.input_text_with_hint("##filter", f"{icons.ICON_FA_FILTER}  Filter", shown.needle, flags)
    ui.tooltip("By name, number, user or command line", note="All words must occur")
    imgui.same_line(0, theme.px(1))
    ui.action_icon("process.tree", {}, colour=theme.accent if shown.tree else None)


def _keys(state: AppState, ui: Ui, machine: str, found: OfMachine) -> None:
    """Walk the list by keys: what they come to lights up where the camera stands; Enter flies there."""
    if not imgui.is_window_focused(imgui.FocusedFlags_.child_windows) or imgui.get_io().want_text_input:
        return
    state.own_keys |= _OWN_KEYS
    lines = found.lines
    at = next((i for i, line in enumerate(lines) if line.row.pid == found.pid), None)
    step = imgui.is_key_pressed(imgui.Key.down_arrow) - imgui.is_key_pressed(imgui.Key.up_arrow)
    if step and lines:
        goal = lines[min(max(at + step, 0), len(lines) - 1)] if at is not None else lines[0 if step > 0 else -1]
        ui.run("process.choose", pid=goal.row.pid, machine=machine, fly=False)
    if at is None:
        return
    line = lines[at]
    left, right = imgui.is_key_pressed(imgui.Key.left_arrow), imgui.is_key_pressed(imgui.Key.right_arrow)
    if line.n_below and ((left and not line.folded) or (right and line.folded)):
        ui.run("process.fold", pid=line.row.pid, machine=machine)
    elif left and any(other.row.pid == line.row.ppid for other in lines):
        ui.run("process.choose", pid=line.row.ppid, machine=machine, fly=False)
    if imgui.is_key_pressed(imgui.Key.enter, False):
        ui.run("process.choose", pid=line.row.pid, machine=machine)


def _table(state: AppState, ui: Ui, machine: str, found: OfMachine, height: float) -> None:
    theme = ui.theme
    flags = (
        imgui.TableFlags_.resizable
        | imgui.TableFlags_.hideable
        | imgui.TableFlags_.scroll_y
        | imgui.TableFlags_.no_borders_in_body
        | imgui.TableFlags_.borders_inner_h
    )
    with ui.style(cell_padding=(theme.px(1), theme.px(0.5))):
        if not imgui.begin_table("processes", len(_COLUMNS), flags, imgui.ImVec2(0, max(height, theme.px(12)))):
            return
        for _, title, width, hidden, _ in _COLUMNS:
            how = imgui.TableColumnFlags_.width_fixed if width else imgui.TableColumnFlags_.width_stretch
            how |= imgui.TableColumnFlags_.default_hide if hidden else 0
            how |= 0 if width else imgui.TableColumnFlags_.no_hide
            imgui.table_setup_column(title, how, theme.px(width) if width else 1.0)
        imgui.table_setup_scroll_freeze(0, 1)
        _headers(state, ui)
        _rows(state, ui, machine, found)
        imgui.end_table()


def _headers(state: AppState, ui: Ui) -> None:
    theme, shown = ui.theme, state.people
    imgui.table_next_row(imgui.TableRowFlags_.headers)
    for index, (column, title, _, _, tip) in enumerate(_COLUMNS):
        if not imgui.table_set_column_index(index):
            continue
        with ui.small(), ui.colours(header_hovered=theme.hover, header_active=theme.active):
            at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
            imgui.table_header(f"##{title}")
            clicked = imgui.is_item_hovered() and imgui.is_mouse_released(0) and not imgui.is_mouse_dragging(0)
            ui.tooltip(tip, note="Click to sort; right click for more columns")
            ours = shown.sort == column
            text = (
                f"{title} {icons.ICON_FA_CARET_DOWN if shown.descending else icons.ICON_FA_CARET_UP}" if ours else title
            )
            width = imgui.calc_text_size(text).x
            left = at.x if column in ("name", "state", "user") else at.x + max(0.0, room - width)
            imgui.get_window_draw_list().add_text(
                imgui.ImVec2(left, at.y), u32(theme.text if ours else theme.text_faint), text
            )
        if clicked:
            ui.run("process.sort", column=column)


def _rows(state: AppState, ui: Ui, machine: str, found: OfMachine) -> None:
    theme, shown = ui.theme, state.people
    height = theme.px(ROW_UNITS)
    target = None
    if shown.scroll_to is not None and machine == state.current:
        target = next((i for i, line in enumerate(found.lines) if line.row.pid == shown.scroll_to), None)
        if target is not None or found.rows:
            shown.scroll_to = None
    most = max((line.row.rss_bytes for line in found.lines), default=0)
    clipper = imgui.ListClipper()
    clipper.begin(len(found.lines), height + theme.px(1))
    if target is not None:
        clipper.include_item_by_index(target)
    with ui.colours(
        header=theme.accent.alpha(0.16), header_hovered=theme.text.alpha(0.06), header_active=theme.text.alpha(0.1)
    ):
        while clipper.step():
            for index in range(clipper.display_start, clipper.display_end):
                imgui.push_id(index)
                _row(state, ui, machine, found, found.lines[index], height, most)
                imgui.pop_id()
                if index == target and not _in_view(height):
                    imgui.set_scroll_here_y(0.5)


def _in_view(height: float) -> bool:
    """Whether the row just drawn can be seen whole: then nothing should move under the pointer."""
    top = imgui.get_item_rect_min().y - imgui.get_window_pos().y
    return height <= top and top + 2 * height <= imgui.get_window_height()


def _row(state: AppState, ui: Ui, machine: str, found: OfMachine, line: Line, height: float, most: int) -> None:
    theme, row = ui.theme, line.row
    imgui.table_next_row(0, height)
    imgui.table_set_column_index(0)
    chosen = row.pid == found.pid
    corner = imgui.get_cursor_screen_pos()
    flags = (
        imgui.SelectableFlags_.span_all_columns
        | imgui.SelectableFlags_.allow_double_click
        | imgui.SelectableFlags_.allow_overlap
    )
    pressed = imgui.selectable("##row", chosen, flags, imgui.ImVec2(0, height))[0]
    double = pressed and imgui.is_mouse_double_clicked(0)
    _details(ui, row)
    if imgui.is_item_hovered() and imgui.is_mouse_released(1):
        imgui.open_popup("menu")
    _menu(state, ui, machine, row)
    if chosen:
        left = imgui.get_window_pos().x
        lower = imgui.ImVec2(left + 2, corner.y + height)
        imgui.get_window_draw_list().add_rect_filled(imgui.ImVec2(left, corner.y), lower, u32(theme.accent))
    folding = _name(ui, line, corner, height)
    if pressed and not folding:
        ui.run("process.choose", pid=row.pid, machine=machine)
    elif folding and (pressed or double):
        ui.run("process.fold", pid=row.pid, machine=machine)
    ink = theme.text_dim if line.matches else theme.text_faint
    cells = (f"{row.pid}", STATE_WORDS.get(row.state, row.state), row.user, f"{row.threads:,}")
    for index, (text, right) in enumerate(zip(cells, (True, False, False, True), strict=True), start=1):
        if imgui.table_set_column_index(index):
            _cell(ui, text, height, ink, right=right)
    if imgui.table_set_column_index(len(_COLUMNS) - 1) and row.rss_bytes:
        _memory(ui, row, height, most, ink)


def _name(ui: Ui, line: Line, corner: imgui.ImVec2, height: float) -> bool:
    """Draw arrow, state and name; returns whether the pointer is on the arrow."""
    theme, row = ui.theme, line.row
    draw = imgui.get_window_draw_list()
    x = corner.x + theme.px(INDENT_UNITS) * min(line.depth, _MOST_INDENTS)
    middle = corner.y + height / 2
    on_arrow = False
    if ui.state.people.tree:
        if line.n_below:
            mouse = imgui.get_mouse_pos()
            on_arrow = imgui.is_item_hovered() and x - theme.px(0.5) <= mouse.x < x + theme.px(3.5)
            _arrow(ui, imgui.ImVec2(x + theme.px(1.5), middle), folded=line.folded, lit=on_arrow)
        x += theme.px(3.5)
    colour = state_colour(ui, row)
    draw.add_circle_filled(imgui.ImVec2(x + theme.px(0.75), middle), theme.unit * 0.75, u32(colour))
    x += theme.px(3)
    own = ui.state.kernels.process_colour(ui.state.current or "", row.pid)
    if own is not None:  # the one that it has in the volume
        upper = imgui.ImVec2(round(x), round(middle - theme.px(1.25)))
        lower = imgui.ImVec2(upper.x + theme.px(2.5), upper.y + theme.px(2.5))
        draw.add_rect_filled(upper, lower, u32(rgba_of(own)), theme.px(0.5))
        x += theme.px(4)
    note = f"+{line.n_below}" if line.folded else ""
    with ui.small():
        room = corner.x + imgui.get_content_region_avail().x - x
        wide = imgui.calc_text_size(note).x + theme.px(1.5) if note else 0.0
        name = fit_text(plain(row.name), max(room - wide, theme.px(4)))
        ink = theme.text_faint if not line.matches else theme.text_dim if row.is_kernel else theme.text
        top = corner.y + (height - imgui.get_text_line_height()) // 2
        draw.add_text(imgui.ImVec2(x, top), u32(ink), name)
        if note:
            draw.add_text(
                imgui.ImVec2(x + imgui.calc_text_size(name).x + theme.px(1.5), top), u32(theme.text_faint), note
            )
    return on_arrow


def _arrow(ui: Ui, middle: imgui.ImVec2, *, folded: bool, lit: bool) -> None:
    side = ui.theme.unit * 0.9
    colour = u32(ui.theme.text if lit else ui.theme.text_faint)
    x, y = middle.x, middle.y
    ends = ((x - side * 0.5, y - side), (x + side * 0.7, y), (x - side * 0.5, y + side))
    if not folded:
        ends = ((x - side, y - side * 0.5), (x, y + side * 0.7), (x + side, y - side * 0.5))
    imgui.get_window_draw_list().add_polyline([imgui.ImVec2(*end) for end in ends], colour, 1.5, 0)


def _cell(ui: Ui, text: str, height: float, ink: Rgba, *, right: bool) -> None:
    with ui.small():
        at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
        shown = fit_text(text, room)
        x = at.x + max(0.0, room - imgui.calc_text_size(shown).x) if right else at.x
        top = at.y + (height - imgui.get_text_line_height()) // 2
        imgui.get_window_draw_list().add_text(imgui.ImVec2(x, top), u32(ink), shown)


def _memory(ui: Ui, row: ProcessRow, height: float, most: int, ink: Rgba) -> None:
    """How much, before a bar that compares it with the largest."""
    theme = ui.theme
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    width = room * row.rss_bytes / max(most, 1)
    top, bottom = at.y + theme.px(0.75), at.y + height - theme.px(0.75)
    imgui.get_window_draw_list().add_rect_filled(
        imgui.ImVec2(at.x + room - width, top),
        imgui.ImVec2(at.x + room, bottom),
        u32(theme.accent.alpha(0.18)),
        theme.px(0.5),
    )
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x - theme.px(1), at.y))
    _cell(ui, format_bytes(row.rss_bytes), height, ink, right=True)


def state_colour(ui: Ui, row: ProcessRow) -> Rgba:
    """The colour of what a process is doing."""
    theme = ui.theme
    return {
        "R": theme.good,
        "D": theme.warn,
        "T": theme.warn,
        "t": theme.warn,
        "Z": theme.bad,
        "X": theme.bad,
    }.get(row.state, theme.text_faint.alpha(0.55))


def _details(ui: Ui, row: ProcessRow) -> None:
    if not imgui.is_item_hovered(imgui.HoveredFlags_.for_tooltip) or imgui.is_popup_open("menu"):
        return
    theme = ui.theme
    with ui.style(window_padding=(theme.px(3), theme.px(2.5)), item_spacing=(theme.px(2), theme.px(0.5))):
        if not imgui.begin_tooltip():
            return
        with ui.bold():
            ui.text(plain(row.name))
        imgui.same_line(0, theme.px(1.5))
        ui.dim(f"{row.pid}")
        with ui.small():
            if row.command:
                ui.wrapped(plain(row.command, 400), theme.text_dim, theme.px(90))
            ui.gap(1)
            facts = [
                ("State", STATE_WORDS.get(row.state, row.state)),
                ("Parent", f"{row.ppid}"),
                ("User", row.user),
                ("Threads", f"{row.threads:,}"),
                ("Memory", format_bytes(row.rss_bytes) if row.root else "The kernel's own: none"),
                ("Started", f"{row.started_s:,.1f} s after boot"),
            ]
            for label, value in facts:
                ui.row(label, theme.px(22))
                ui.text(value)
            addresses = [("Task", row.task)] + ([("Page table", row.root)] if row.root else [])
            for label, address in addresses:
                ui.row(label, theme.px(22))
                with ui.mono(theme.mono_size * 0.9):
                    ui.text(f"{address:#x}")
        imgui.end_tooltip()


def _menu(state: AppState, ui: Ui, machine: str, row: ProcessRow) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup("menu"):
            return
        with ui.small():
            ui.faint(plain(row.label))
        args = {"pid": row.pid, "machine": machine}
        actions = state.actions
        ui.menu_item(actions.get("process.choose"), args, "Light up its pages and go there")
        imgui.separator()
        if row.root:
            ui.menu_item(actions.get("process.memory_map"), args, "Memory map")
        ui.menu_item(actions.get("process.files"), args, "Open files")
        ui.menu_item(actions.get("process.stack"), args, "Kernel stack")
        if row.root:
            place = {"from": f"task:{row.pid}", "machine": machine}
            ui.menu_item(actions.get("flow.reach"), place, "What its memory leads to")
        imgui.separator()
        if imgui.internal.menu_item_ex("Copy number", icons.ICON_FA_COPY):
            imgui.set_clipboard_text(str(row.pid))
        if imgui.internal.menu_item_ex("Copy name", ""):
            imgui.set_clipboard_text(plain(row.name))
        if row.command and imgui.internal.menu_item_ex("Copy command line", ""):
            imgui.set_clipboard_text(plain(row.command))
        if imgui.internal.menu_item_ex("Copy address of its task", ""):
            imgui.set_clipboard_text(f"{row.task:#x}")
        imgui.end_popup()


def _foot(state: AppState, ui: Ui, machine: str, found: OfMachine) -> None:
    rows = found.rows
    user = sum(not row.is_kernel for row in rows)
    threads = sum(row.threads for row in rows)
    shown = sum(line.matches for line in found.lines) if state.people.needle.strip() else 0
    with ui.small():
        if state.people.needle.strip():
            text = f"{shown:,} of {len(rows):,} match"
        else:
            text = f"{user:,} of users, {len(rows) - user:,} of the kernel"
        ui.gap(0.5)
        ui.faint(fit_text(text, imgui.get_content_region_avail().x))
        sighting = state.kernels.sighting(machine)
        consistency = sighting.processes.consistency if sighting is not None and sighting.processes is not None else ""
        ui.tooltip(f"{len(rows):,} processes, {threads:,} threads", note=f"Seen {consistency}" if consistency else "")
