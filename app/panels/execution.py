"""Execution panel: what is watched of the running guest and at what cost, and where its time goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.execution_ui import BLOCKS, CODE, FLAME, LINES, SPANS_S, VIEWS, look_of, tracer_of, why_nothing_runs
from app.layout import EXECUTION
from app.panels import execution_blocks, execution_code, execution_flame, execution_lines
from app.theme import u32
from app.trace_costs import SOURCE, told_cost
from app.tracing import TracerState
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.state import AppState
    from app.trace_looks import Look
    from app.tracing import Tracer
    from app.ui import Ui

TITLES = {
    Mode.OFF: "Off",
    Mode.COUNTERS: "Counters",
    Mode.TIME: "Time",
    Mode.HEAT: "Heat",
    Mode.WATCH: "Watch",
    Mode.TRACE: "Trace",
}
TIPS = {
    Mode.OFF: "Nothing is watched: the guest runs as fast as it can",
    Mode.COUNTERS: "How often each block of code is entered: shares are of the instructions run",
    Mode.TIME: "That, and a thousand times a second which block and task run: shares are of the time",
    Mode.HEAT: "Counters, and the loads and stores of each page",
    Mode.WATCH: "Counters, time, and who reads and writes the pages that are chosen in the inspector",
    Mode.TRACE: "Counters, time, and each block, load and store: the last 131,072 of each processor are kept",
}
VIEW_UNITS, VIEW_ROW_UNITS = 104.0, 44.0
"""The least room for a view beside, and above, another."""
VIEW_TIPS = {
    BLOCKS: "The blocks of code in which the time went",
    FLAME: "The time by process, symbol and block",
    CODE: "The instructions of the chosen block, with how often each was run",
    LINES: "What the guest did each second",
}
MODE_UNITS, MODE_LEAST_UNITS, VIEW_CHOOSER_UNITS = 36.0, 28.0, 30.0
"""Of the choosers, where there is no room for one button beside the other."""
TOOLS_UNITS = 27.0
"""Of the chooser of seconds, the button that holds, and what is before each."""


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(EXECUTION, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        state.execution.visible = visible
        if not visible:
            return
        tracer = tracer_of(state)
        if tracer is None or tracer.why_not:
            ui.absence(icons.ICON_FA_GAUGE_HIGH, why_nothing_runs(state))
            return
        look = look_of(state)
        columns, rows = arrangement(ui, look)
        _bar(state, ui, tracer, look, alone=columns * rows < len(VIEWS))
        if tracer.mode is Mode.OFF:
            _off(ui, tracer)
        elif tracer.state is TracerState.ELSEWHERE:
            ui.absence(icons.ICON_FA_USER_LOCK, f"{tracer.problem} It is watched here as soon as that ends.")
        elif look is None:
            ui.absence(icons.ICON_FA_GAUGE_HIGH, "Changing what the guest's code is translated to")
        elif look.pending:
            ui.absence(icons.ICON_FA_PAUSE, "The machine is paused. It is watched from when it runs.")
        else:
            _views(state, ui, look, columns, rows)


def arrangement(ui: Ui, look: Look | None) -> tuple[int, int]:
    """How many views stand beside each other, and how many above: as many as there is room for."""
    room = imgui.get_content_region_avail()
    if look is None:
        return 1, 1
    columns = int(min(max(room.x // ui.theme.px(VIEW_UNITS), 1), len(VIEWS)))
    rows = 2 if room.y >= 2 * ui.theme.px(VIEW_ROW_UNITS) + ui.theme.px(12) and columns < len(VIEWS) else 1
    return (2, 2) if rows == 2 and columns >= 2 else (columns, rows)


def shown_views(chosen: str, places: int) -> list[str]:
    """The views that are seen where there is room for so many: the chosen one among them, in their own order."""
    first = [chosen, *(view for view in VIEWS if view != chosen)][:places]
    return [view for view in VIEWS if view in first]


# The bar above


def _bar(state: AppState, ui: Ui, tracer: Tracer, look: Look | None, *, alone: bool) -> None:
    theme = ui.theme
    room = imgui.get_content_region_avail().x
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        chosen_here = alone and look is not None
        segments = sum(imgui.calc_text_size(view).x + theme.px(4) for view in VIEWS) if chosen_here else 0.0
        tools = theme.px(TOOLS_UNITS) if look is not None else 0.0
        modes = _modes_width(ui)
        if modes + segments + tools + theme.px(4) <= room:
            views = segments
            _modes(ui, tracer)
        else:
            fits = theme.px(MODE_UNITS + 4) + segments + tools <= room
            views = segments if fits or not segments else theme.px(VIEW_CHOOSER_UNITS)
            if theme.px(MODE_LEAST_UNITS) + views + tools > room:
                tools = 0.0  # how long ago still counts can be said by its action
            modes = max(min(theme.px(MODE_UNITS), room - views - tools), min(theme.px(MODE_LEAST_UNITS), room))
            _mode_chooser(ui, tracer, modes)
        _mark(ui, tracer, look, room - modes - views - tools)
        if look is None or modes + views + tools > room:
            imgui.new_line()
        else:
            ui.right(views + tools)
            line = imgui.get_cursor_pos_y()
            if segments and views == segments:
                _segments(state, ui, line)
            elif segments:
                _view_chooser(state, ui)
            if tools:
                _tools(state, ui, line)
            else:
                imgui.new_line()
    ui.gap(0.5)


def _modes_width(ui: Ui) -> float:
    with ui.small():
        costs = sum(imgui.calc_text_size(told_cost(mode)).x for mode in Mode)
    return costs + sum(imgui.calc_text_size(TITLES[mode]).x + ui.theme.px(6.5) for mode in Mode)


def _modes(ui: Ui, tracer: Tracer) -> None:
    """One beside the other, each with its cost beside its name."""
    theme = ui.theme
    line, height = imgui.get_cursor_pos_y(), imgui.get_frame_height()
    for mode in Mode:
        imgui.set_cursor_pos_y(line)
        title, cost = TITLES[mode], told_cost(mode)
        name = imgui.calc_text_size(title)
        with ui.small():
            beside = imgui.calc_text_size(cost)
        width = name.x + beside.x + theme.px(6)
        chosen, why_not = tracer.mode is mode, why_not_mode(tracer, mode)
        at = imgui.get_cursor_screen_pos()
        clicked = ui.button(f"##{mode}", kind="plain" if chosen else "quiet", width=width, enabled=not why_not)
        _mode_tip(ui, mode, why_not)
        draw_list = imgui.get_window_draw_list()
        ink = theme.text_faint if why_not else theme.text if chosen else theme.text_dim
        left = at.x + theme.px(2)
        middle = at.y + height / 2
        draw_list.add_text(imgui.ImVec2(left, middle - name.y / 2), u32(ink), title)
        with ui.small():
            lower = imgui.ImVec2(left + name.x + theme.px(1.5), middle + name.y / 2 - beside.y - 0.5)
            draw_list.add_text(lower, u32(theme.accent if chosen and mode is not Mode.OFF else theme.text_faint), cost)
        if clicked and not chosen:
            ui.run("trace.mode", mode=str(mode))
        imgui.same_line(0, theme.px(0.5))


def why_not_mode(tracer: Tracer, mode: Mode) -> str:
    """Why a mode cannot be chosen here; empty where it can."""
    if mode is Mode.WATCH and tracer.mode is not Mode.WATCH:
        return "Choose what to watch in the inspector"
    return ""


def _mode_tip(ui: Ui, mode: Mode, why_not: str = "") -> None:
    cost = f"The same work takes the guest about {told_cost(mode)} as long ({SOURCE})"
    ui.tooltip(TIPS[mode], note=f"{why_not}\n{cost}" if why_not else cost)


def _mode_chooser(ui: Ui, tracer: Tracer, width: float) -> None:
    imgui.set_next_item_width(width)
    opened = imgui.begin_combo("##mode", f"{TITLES[tracer.mode]}  {told_cost(tracer.mode)}")
    if opened:
        for mode in Mode:
            why_not = why_not_mode(tracer, mode)
            flags = imgui.SelectableFlags_.disabled if why_not else 0
            if imgui.selectable(f"{TITLES[mode]}##{mode}", mode is tracer.mode, flags)[0]:
                ui.run("trace.mode", mode=str(mode))
            _mode_tip(ui, mode, why_not)
            with ui.small():
                ui.right(imgui.calc_text_size(told_cost(mode)).x)
                ui.faint(told_cost(mode))
        imgui.end_combo()
    else:
        _mode_tip(ui, tracer.mode)
    imgui.same_line(0, 0)


def _mark(ui: Ui, tracer: Tracer, look: Look | None, room: float) -> None:
    """How the last change of mode went, and what was lost, where there is room to say it."""
    theme = ui.theme
    said = "" if tracer.switched is None or tracer.mode is Mode.OFF else f"in {tracer.switched.took_s * 1000:,.0f} ms"
    losses = [] if look is None or not look.lost else [f"{look.lost:,} samples lost"]
    losses += [] if look is None or not look.refused_blocks else [f"{look.refused_blocks:,} blocks not counted"]
    with ui.small():
        for text, colour, tip in (
            (said, theme.text_faint, "How long the last change of mode took, until the guest ran on in the new one"),
            (", ".join(losses), theme.warn, "What had no room in the memory that the plugin shares with this window"),
        ):
            width = imgui.calc_text_size(text).x
            if not text or width + theme.px(4) > room:
                continue
            room -= width + theme.px(4)
            imgui.same_line(0, theme.px(2))
            imgui.align_text_to_frame_padding()
            ui.text(text, colour)
            ui.tooltip(tip)


def _segments(state: AppState, ui: Ui, line: float) -> None:
    for view in VIEWS:
        imgui.set_cursor_pos_y(line)
        chosen = view == state.execution.view
        width = imgui.calc_text_size(view).x + ui.theme.px(4)
        if ui.button(f"{view}##view", kind="plain" if chosen else "quiet", width=width):
            state.execution.view = view
        ui.tooltip(VIEW_TIPS[view])
        imgui.same_line(0, ui.theme.px(1) if view == VIEWS[-1] else 0)


def _view_chooser(state: AppState, ui: Ui) -> None:
    imgui.set_next_item_width(ui.theme.px(29))
    if imgui.begin_combo("##view", state.execution.view):
        for view in VIEWS:
            if imgui.selectable(view, view == state.execution.view)[0]:
                state.execution.view = view
            ui.tooltip(VIEW_TIPS[view])
        imgui.end_combo()
    imgui.same_line(0, ui.theme.px(1))


def _tools(state: AppState, ui: Ui, line: float) -> None:
    theme, held = ui.theme, state.execution.held is not None
    imgui.set_cursor_pos_y(line)
    imgui.set_next_item_width(theme.px(18))
    if imgui.begin_combo("##span", f"{state.execution.span_s} s"):
        for seconds in SPANS_S:
            if imgui.selectable(f"{seconds} s", seconds == state.execution.span_s)[0]:
                ui.run("trace.span", seconds=str(seconds))
        imgui.end_combo()
    ui.tooltip("How long ago what ran still counts")
    imgui.same_line(0, theme.px(1))
    imgui.set_cursor_pos_y(line)
    ui.action_icon(
        "trace.hold",
        {},
        icon=icons.ICON_FA_PLAY if held else icons.ICON_FA_PAUSE,
        colour=theme.accent if held else None,
    )


# Nothing to show


def _off(ui: Ui, tracer: Tracer) -> None:
    """What could be seen, and the one button that most will want."""
    failed = tracer.state is TracerState.FAILED and bool(tracer.problem)
    title = "It could not be watched" if failed else "Where does the time go?"
    note = (
        tracer.problem
        if failed
        else "Looking which block of code runs tells which process, function and loop takes the guest's time. "
        f"Nothing is watched until you say so; this makes the guest's work take about {told_cost(Mode.TIME)} as "
        "long."
    )
    if ui.invitation(title, note, f"{icons.ICON_FA_PLAY}  Watch the time", failed=failed):
        ui.run("trace.mode", mode=str(Mode.TIME))
    _mode_tip(ui, Mode.TIME)


# The views

View = Callable[["AppState", "Ui", "Look", tuple[float, float]], None]
DRAWS: dict[str, View] = {
    BLOCKS: execution_blocks.draw,
    FLAME: execution_flame.draw,
    CODE: execution_code.draw,
    LINES: execution_lines.draw,
}


def _views(state: AppState, ui: Ui, look: Look, columns: int, rows: int) -> None:
    theme, gap = ui.theme, ui.theme.px(4)
    room = imgui.get_content_region_avail()
    views = shown_views(state.execution.view, columns * rows)
    corner = imgui.get_cursor_pos()
    width = (room.x - gap * (columns - 1)) / columns
    height = (room.y - gap * (rows - 1)) / rows
    # The table needs more room than a picture does.
    lead = theme.px(24) if columns > 1 and views[0] == BLOCKS else 0.0
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    for index, view in enumerate(views):
        column, row = index % columns, index // columns
        wide = width + lead if column == 0 else width - lead / (columns - 1)
        left = corner.x if column == 0 else corner.x + (width + lead + gap) + (column - 1) * (wide + gap)
        imgui.set_cursor_pos(imgui.ImVec2(round(left), round(corner.y + row * (height + gap))))
        with ui.style(window_padding=(0.0, 0.0)):
            shown = imgui.begin_child(f"##{view}", imgui.ImVec2(round(wide), round(height)), 0, flags)
        if shown:
            DRAWS[view](state, ui, look, (round(wide), round(height)))
        imgui.end_child()
