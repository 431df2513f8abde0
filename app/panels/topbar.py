"""Top bar: menu, the search box that is always there, how the volume is drawn, frame time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.command_palette import Entry, entries_for
from app.layout import VOLUME
from app.panels import look
from app.question_entries import (
    comes_first,
    ghost_of,
    in_order,
    paste_entry,
    problem_of,
    question_entries,
    recent_entries,
    with_model,
)
from app.session_file import SCHEME
from app.theme import u32
from app.ui import fit_text

if TYPE_CHECKING:
    from app.state import AppState, SearchBox
    from app.ui import Ui

HEIGHT_UNITS = 12
HINT = "Search, ask, or go to an address"
WAIT_S = 1.5
"""Enter waits at most so long for what was typed to be understood."""
MENU_CATEGORIES = (
    *(
        "Machine",
        "View",
        "Look",
        "Selection",
        "Highlights",
        "Questions",
        "Bookmarks",
        "Kernel",
        "Execution",
        "Console",
        "Window",
        "Help",
    ),
)
VISIBLE_ENTRIES = 9
COMING_FRAMES = 3
"""How many frames the box may take to get the keyboard: what is typed meanwhile is for it."""
BAR_FLAGS = (
    imgui.WindowFlags_.no_decoration
    | imgui.WindowFlags_.no_docking
    | imgui.WindowFlags_.no_saved_settings
    | imgui.WindowFlags_.no_move
    | imgui.WindowFlags_.no_bring_to_front_on_focus
    | imgui.WindowFlags_.no_background  # the frame is cleared to its colour
)


def draw(state: AppState, ui: Ui) -> None:
    """Draw the bar over the whole width, and the search results below the box while it is open."""
    theme = ui.theme
    width = imgui.get_io().display_size.x
    height = theme.px(HEIGHT_UNITS)
    imgui.set_next_window_pos(imgui.ImVec2(0, 0))
    imgui.set_next_window_size(imgui.ImVec2(width, height))
    with ui.style(window_padding=(theme.px(3), theme.px(2)), window_rounding=0.0, window_border_size=0.0):
        imgui.begin("##top bar", None, BAR_FLAGS)
    draw_list = imgui.get_window_draw_list()
    draw_list.add_line(imgui.ImVec2(0, height - 1), imgui.ImVec2(width, height - 1), u32(theme.border))
    _menu(state, ui)
    left = imgui.get_item_rect_max().x + theme.px(4)
    right = width - theme.px(3) - _right_width(state, ui, width) - theme.px(4)
    box_width = max(theme.px(30), min(theme.px(120), right - left))
    imgui.same_line(round(max(left, min((width - box_width) / 2, right - box_width))))
    box_left = imgui.get_cursor_screen_pos().x
    entered = _search_box(state, ui, box_width)
    _right_side(state, ui, width)
    imgui.end()
    if state.search.open:
        _results(state, ui, box_left, height, box_width, entered)


def _menu(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    if ui.icon_button(icons.ICON_FA_BARS, "Menu", id_="menu"):
        imgui.open_popup("menu")
    imgui.same_line(0, theme.px(2))
    with ui.bold(theme.ui_size * 1.06):
        imgui.align_text_to_frame_padding()
        ui.text("Glassbox")
    if (label := _subject(state)) and imgui.get_io().display_size.x > theme.px(250):
        imgui.same_line(0, theme.px(2))
        imgui.align_text_to_frame_padding()
        ui.elided(label, theme.px(36), theme.text_faint)
    imgui.set_next_window_pos(imgui.ImVec2(theme.px(2), theme.px(HEIGHT_UNITS)))
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2.5))):
        if imgui.begin_popup("menu"):
            for category in MENU_CATEGORIES:
                if imgui.begin_menu(category):
                    _category(state, ui, category)
                    imgui.end_menu()
            imgui.separator()
            ui.menu_item(state.actions.get("window.quit"))
            imgui.end_popup()


def _category(state: AppState, ui: Ui, category: str) -> None:
    """Draw a category's actions: those that choose one of a few things as sub-menus of these."""
    for action in state.actions:
        if action.category != category or not action.in_palette:
            continue
        required = [p for p in action.params if p.required]
        if not required:
            ui.menu_item(action)
            continue
        choices = required[0].choices if len(required) == 1 else None
        if choices and imgui.internal.begin_menu_ex(action.title.removesuffix("…"), action.icon, action.enabled):
            for value in choices():
                ui.menu_item(action, {required[0].name: value}, value)
            imgui.end_menu()


def _subject(state: AppState) -> str:
    return state.current or ""


def _search_box(state: AppState, ui: Ui, width: float) -> bool:
    """Draw the box; returns whether Enter was pressed in it."""
    theme, search = ui.theme, state.search
    if search.leave:
        search.leave = search.open = False
        search.text = ""
        search.chosen = 0
        # A field that was active writes its own copy of the text back when it ends, unless it is another one by then.
        search.generation += 1
        imgui.internal.clear_active_id()
        if not search.focus:  # it was asked for again before it had left
            imgui.set_window_focus(VOLUME)
    search.coming = max(0, search.coming - 1)
    if search.focus:
        imgui.set_keyboard_focus_here()
        search.focus = False
        search.open = True
        search.coming = COMING_FRAMES
        search.chosen = 0
    at = imgui.get_cursor_screen_pos()
    pad = theme.px(8)
    with (
        ui.style(frame_padding=(pad, theme.px(1.75)), frame_rounding=theme.px(2), frame_border_size=1.0),
        ui.colours(border=theme.accent.alpha(0.7) if search.open else theme.border_strong),
    ):
        imgui.set_next_item_width(width)
        flags = imgui.InputTextFlags_.enter_returns_true | imgui.InputTextFlags_.escape_clears_all
        flags |= imgui.InputTextFlags_.callback_completion | imgui.InputTextFlags_.callback_always
        before = search.text
        entered, search.text = imgui.input_text_with_hint(
            f"##search{search.generation}", HINT, search.text, flags, lambda data: _edited(search, data)
        )
    if search.text != before:
        search.chosen, search.asked = 0, None
    if imgui.is_item_activated():
        search.open = True
    active = imgui.is_item_active()
    if active:
        search.coming = 0
    if active and search.open:
        _ghost(ui, search, at, width, pad)
    box_height = imgui.get_item_rect_size().y
    lines = imgui.get_window_draw_list()
    middle = at.y + (box_height - imgui.get_text_line_height()) / 2
    lines.add_text(
        imgui.ImVec2(at.x + theme.px(2.5), middle),
        u32(theme.accent if search.open else theme.text_faint),
        icons.ICON_FA_MAGNIFYING_GLASS,
    )
    if not search.text and not active:
        with ui.font(None, theme.small_size * 0.92):
            cap = "Ctrl+K"
            size = imgui.calc_text_size(cap)
            right = at.x + width - theme.px(2.5)
            lines.add_text(imgui.ImVec2(right - size.x, at.y + (box_height - size.y) / 2), u32(theme.text_faint), cap)
    if not search.open:
        search.hovered = False
    if search.open and imgui.is_key_pressed(imgui.Key.escape, False):
        search.leave = True
    elif search.open and not (active or entered or search.coming or imgui.is_item_deactivated()):
        search.open = search.hovered  # the keyboard went elsewhere; but a click on a result takes two frames
    return entered


def _edited(search: SearchBox, data: imgui.InputTextCallbackData) -> int:
    """Change the text in the field itself: Tab takes what is offered, and other parts put what they like."""
    if data.event_flag == imgui.InputTextFlags_.callback_completion:
        offered = [entry for entry in search.entries if entry.completes]
        at = search.chosen
        if 0 < at < len(search.entries) and search.entries[at].fills:
            search.put = search.entries[at].fills
        elif offered:
            search.put = offered[0].fills
    if search.put is not None:
        data.delete_chars(0, data.buf_text_len)
        data.insert_chars(0, search.put)
        data.cursor_pos = data.selection_start = data.selection_end = data.buf_text_len
        search.put = None
    return 0


def _ghost(ui: Ui, search: SearchBox, at: imgui.ImVec2, width: float, pad: float) -> None:
    """Draw faintly what Tab would add behind what was typed."""
    ghost = ghost_of(search.text, search.entries)
    left = at.x + pad + imgui.calc_text_size(search.text).x
    room = at.x + width - ui.theme.px(3) - left
    if ghost and room > ui.theme.px(6):
        top = at.y + (imgui.get_item_rect_size().y - imgui.get_text_line_height()) / 2
        imgui.get_window_draw_list().add_text(
            imgui.ImVec2(left, top), u32(ui.theme.text_faint.alpha(0.75)), fit_text(ghost, room)
        )


def _entries(state: AppState) -> tuple[list[Entry], str]:
    """What the text could mean now, the likeliest first; and why it is no question, where that should be said."""
    text, machine = state.search.text, state.current
    others = entries_for(text, state.actions, can_go=state.actions.get("view.go_to").why_not())
    if text.strip().startswith(SCHEME):
        return [paste_entry(text.strip())], ""
    if machine is None or not _can_ask(state):
        return others, ""
    if not text.strip():
        return [*recent_entries(one.text for one in reversed(state.queries.history)), *others], ""
    reading = state.readings.of(text, machine)
    found = in_order(text, question_entries(text, reading), others, reading)
    if state.settings.llm_url:
        found = with_model(found, text, state.settings.llm_model)
    weak = all(not entry.matched for entry in others) and all(entry.fills for entry in found)
    return found, problem_of(text, reading) if weak else ""


def _can_ask(state: AppState) -> bool:
    """Whether the current machine's kernel can be asked at all."""
    sighting = None if state.current is None else state.kernels.sighting(state.current)
    return sighting is not None and not sighting.problem


def _is_read(state: AppState) -> bool:
    """Whether what was typed is known to be a question or none, or that makes no difference."""
    search, machine = state.search, state.current
    if machine is None or not _can_ask(state) or not search.text.strip():
        return True
    if comes_first(search.text, [entry for entry in search.entries if entry.action != "query.ask"]):
        return True
    reading = state.readings.of(search.text, machine)
    return (reading is not None and reading.text == search.text) or state.now_s - search.asked_s > WAIT_S


def _recall(state: AppState) -> bool:
    """Fill in earlier questions by Up in an empty field, as a shell does; whether a key was taken for it."""
    search = state.search
    texts = list(dict.fromkeys(one.text for one in reversed(state.queries.history)))
    is_recalled = 0 < search.recalled <= len(texts) and search.text == texts[search.recalled - 1]
    if not is_recalled:
        search.recalled = 0
    if not texts or (search.text.strip() and not is_recalled) or search.chosen:
        return False
    step = imgui.is_key_pressed(imgui.Key.up_arrow) - (imgui.is_key_pressed(imgui.Key.down_arrow) and is_recalled)
    if step:
        search.recalled = min(max(search.recalled + step, 0), len(texts))
        search.put = search.text = texts[search.recalled - 1] if search.recalled else ""
    return bool(step)


def _results(state: AppState, ui: Ui, left: float, top: float, width: float, entered: bool) -> None:
    theme, search = ui.theme, state.search
    recalled = _recall(state)
    search.entries, problem = _entries(state)
    entries = search.entries
    if entered and search.asked is None:
        search.asked, search.asked_s = search.text, state.now_s
    entered = search.asked is not None and (search.chosen > 0 or _is_read(state))
    if entered:
        search.asked = None
    if entries and not recalled:
        step = imgui.is_key_pressed(imgui.Key.down_arrow) - imgui.is_key_pressed(imgui.Key.up_arrow)
        search.chosen = (search.chosen + step) % len(entries)
    line = theme.px(9)
    shown = min(len(entries), VISIBLE_ENTRIES)
    height = max(1, shown) * line + theme.px(4) + theme.px(7)
    panel = min(theme.px(150), imgui.get_io().display_size.x - theme.px(8))
    imgui.set_next_window_pos(imgui.ImVec2(round(left + (width - panel) / 2), top + theme.px(1)))
    imgui.set_next_window_size(imgui.ImVec2(panel, height))
    unwanted = imgui.WindowFlags_.no_bring_to_front_on_focus | imgui.WindowFlags_.no_background
    flags = BAR_FLAGS & ~unwanted | imgui.WindowFlags_.no_focus_on_appearing
    with (
        ui.style(window_padding=(theme.px(2), theme.px(2)), window_rounding=theme.px(2), item_spacing=(0.0, 0.0)),
        ui.colours(window_bg=theme.overlay, border=theme.border_strong),
    ):
        imgui.begin("##results", None, flags)
        imgui.internal.bring_window_to_display_front(imgui.internal.get_current_window())
        imgui.begin_child("lines", imgui.ImVec2(0, max(1, shown) * line))
        run: Callable[[], None] | None = None
        if not entries:
            imgui.set_cursor_pos_y(theme.px(2))
            nothing = f"  Nothing is called “{search.text.strip()[:40]}”. Addresses look like 0x7c00, 31744 or 16M."
            ui.elided(problem or nothing, imgui.get_content_region_avail().x - theme.px(2), theme.text_faint)
        for index, entry in enumerate(entries):
            if _line(ui, entry, index, line, chosen=index == search.chosen, scroll=entered or _moved()):
                run = lambda entry=entry: _choose(state, entry)  # noqa: E731
        if entered and entries:
            run = lambda: _choose(state, entries[search.chosen])  # noqa: E731
        imgui.end_child()
        _footer(ui, problem, tab=any(entry.completes for entry in entries))
        held = imgui.HoveredFlags_.allow_when_blocked_by_active_item
        search.hovered = imgui.is_window_hovered(imgui.HoveredFlags_.root_and_child_windows | held)
        imgui.end()
    if run is not None:
        run()


def _moved() -> bool:
    return bool(imgui.is_key_pressed(imgui.Key.down_arrow) or imgui.is_key_pressed(imgui.Key.up_arrow))


def _choose(state: AppState, entry: Entry) -> None:
    search = state.search
    if entry.fills:
        search.text = search.put = entry.fills
        search.focus = True
        return
    state.search.leave = True
    state.run(entry.action, entry.args)


def _line(ui: Ui, entry: Entry, index: int, height: float, *, chosen: bool, scroll: bool) -> bool:
    theme = ui.theme
    at = imgui.get_cursor_screen_pos()
    width = imgui.get_content_region_avail().x
    with ui.style(selectable_text_align=(0.0, 0.5)), ui.colours(header=theme.active):
        clicked, _ = imgui.selectable(f"##entry{index}", chosen, 0, imgui.ImVec2(width, height))
    if chosen and scroll:
        imgui.set_scroll_here_y(0.5)
    draw_list = imgui.get_window_draw_list()
    middle = at.y + (height - imgui.get_text_line_height()) / 2
    usable = entry.disabled is None
    colour = theme.text if usable else theme.text_faint
    if entry.icon:
        draw_list.add_text(
            imgui.ImVec2(at.x + theme.px(2.5), middle), u32(theme.accent if usable else theme.text_faint), entry.icon
        )
    x = at.x + theme.px(9)
    matched = set(entry.matched)
    for position, letter in enumerate(entry.title):
        ink = theme.accent if position in matched and usable else colour
        draw_list.add_text(imgui.ImVec2(x, middle), u32(ink), letter)
        x += imgui.calc_text_size(letter).x
    right = at.x + width - theme.px(2.5)
    with ui.small():
        lower = at.y + (height - imgui.get_text_line_height()) / 2
        if entry.shortcut:
            size = imgui.calc_text_size(entry.shortcut)
            draw_list.add_text(imgui.ImVec2(right - size.x, lower), u32(theme.text_dim), entry.shortcut)
            right -= size.x + theme.px(3)
        note = entry.disabled or entry.detail
        size = imgui.calc_text_size(note)
        if right - size.x > x + theme.px(3):
            draw_list.add_text(imgui.ImVec2(right - size.x, lower), u32(theme.text_faint), note)
    return bool(clicked)


def _footer(ui: Ui, problem: str, *, tab: bool) -> None:
    theme = ui.theme
    at = imgui.get_cursor_screen_pos()
    room = imgui.get_content_region_avail().x
    imgui.get_window_draw_list().add_line(
        imgui.ImVec2(at.x, at.y + theme.px(1)), imgui.ImVec2(at.x + room, at.y + theme.px(1)), u32(theme.border)
    )
    imgui.set_cursor_pos(imgui.ImVec2(imgui.get_cursor_pos_x() + theme.px(2), imgui.get_cursor_pos_y() + theme.px(2.5)))
    with ui.small():
        if problem:
            ui.elided(problem, room - theme.px(4), theme.warn)
        else:
            ui.faint(f"{'Tab completes  ·  ' if tab else ''}Up, Down choose  ·  Enter runs  ·  Escape leaves")


def _right_width(state: AppState, ui: Ui, width: float) -> float:
    theme = ui.theme
    with ui.small():
        label = imgui.calc_text_size(_frame_time(state)).x
    return look.width_of(state, ui, width) + label + 3 * theme.px(7) + theme.px(2) * 4


def _frame_time(state: AppState) -> str:
    # A fixed number of digits, so that nothing beside it moves.
    label = f"{min(state.frame_stats.work_p50_s * 1000, 999.9):5.1f} ms"
    return f"{label}  ·  software" if state.is_software else label


def _right_side(state: AppState, ui: Ui, width: float) -> None:
    theme = ui.theme
    gap = theme.px(2)
    stats = state.frame_stats
    imgui.same_line(width - theme.px(3) - _right_width(state, ui, width))
    look.draw(state, ui, width)
    imgui.same_line(0, gap)
    with ui.small():
        # Drawn by hand: on a line of taller items ImGui would put small text on their baseline.
        label = _frame_time(state)
        size, at = imgui.calc_text_size(label), imgui.get_cursor_screen_pos()
        above = round((theme.px(7) - size.y) / 2)
        imgui.get_window_draw_list().add_text(imgui.ImVec2(at.x, at.y + above), u32(theme.text_dim), label)
        imgui.dummy(imgui.ImVec2(size.x, theme.px(7)))
    ui.tooltip(
        "Time to draw a frame (median)",
        note=f"p99 {stats.work_p99_s * 1000:.1f} ms\nFrom frame to frame p99 {stats.interval_p99_s * 1000:.1f} ms"
        f"\n{state.device_label}",
    )
    imgui.same_line(0, gap)
    ui.action_icon("view.fit", {})
    imgui.same_line(0, gap)
    ui.action_icon("window.toggle_theme", {}, icon=icons.ICON_FA_SUN if theme.is_dark else icons.ICON_FA_MOON)
    imgui.same_line(0, gap)
    ui.action_icon("help.keys", {})
