"""Results panel: what was asked, how it was understood, and a table of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.answers import shown_title
from app.found_rows import NOWHERE, FoundRow, FoundRows, dull_columns
from app.layout import RESULTS
from app.output import format_bytes, format_duration
from app.panels import consult_band
from app.panels.kernel_notes import note
from app.theme import Rgba, u32
from app.widgets.record_table import OWN_KEYS, MenuEntry
from bridge.semantic.query.model import Verb

if TYPE_CHECKING:
    from app.queries import Asked
    from app.state import AppState
    from app.ui import Ui
    from bridge.semantic.query.results import Comparison, Result

EXAMPLES = (
    "every process",
    "kernel stacks",
    "page tables of the kernel",
    "how much memory is free",
    "what was written in the last 5 s",
    'text "root:"',
)
"""For whom has not asked yet: they mean something in any guest."""
FILTER_UNITS, NARROW_UNITS = 34.0, 150.0
LEAST_TABLE_UNITS = 22.0
"""The head of the table and two rows: where there is less room, the panel scrolls."""
_ACTIONS = ("query.again", "query.light", "query.keep", "bookmark.add", "query.copy")
ICON_LEAST_UNITS = 38.0
"""A panel of less height has no room for an icon above what it says."""
MOST_RECENT, MOST_LISTED = 12, 30
_BOOKMARK_WORDS = {
    "bookmark.go": "Go there",
    "bookmark.copy": "Copy as text",
    "bookmark.remove": "Remove",
}


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(RESULTS) as visible:
        if not visible:
            return
        asked = state.queries.shown
        consult_band.draw(state, ui)
        if asked is None:
            _unasked(state, ui)
        elif asked.running:
            _running(ui, asked)
        elif asked.result is None:
            _unanswered(state, ui, asked)
        else:
            _answer(state, ui, asked, asked.result)


# Without an answer


def _unasked(state: AppState, ui: Ui) -> None:
    why_not = state.actions.get("query.ask").why_not()
    _middle(ui, 34 if why_not is None else 20)
    _say(ui, icons.ICON_FA_CIRCLE_QUESTION, "Ask, and what is meant lights up", why_not or "Ctrl+K, or begin with one")
    if why_not is None:
        ui.gap(4)
        _chips(ui, EXAMPLES)


def _running(ui: Ui, asked: Asked) -> None:
    theme = ui.theme
    _middle(ui, 24)
    ui.centred(asked.title[:200], theme.text_dim)
    ui.gap(3)
    width = min(theme.px(60), imgui.get_content_region_avail().x)
    _centre(width)
    ui.progress(None, width, theme.px(0.75))
    ui.gap(3)
    _centre(theme.px(24))
    if ui.button(f"{icons.ICON_FA_STOP}  Stop", width=theme.px(24)):
        ui.run("query.cancel")


def _unanswered(state: AppState, ui: Ui, asked: Asked) -> None:
    theme = ui.theme
    _line(state, ui, asked)
    understood = asked.query is not None
    icon = icons.ICON_FA_TRIANGLE_EXCLAMATION if understood else icons.ICON_FA_CIRCLE_QUESTION
    _middle(ui, 34 if asked.nearest else 22)
    _say(ui, icon, asked.problem, "" if understood or not asked.nearest else "Nearest to it", theme.warn)
    if asked.nearest:
        ui.gap(3)
        _chips(ui, [one.removeprefix(f"{Verb.SHOW} ") for one in asked.nearest])


def _say(ui: Ui, icon: str, title: str, detail: str, colour: Rgba | None = None) -> None:
    if imgui.get_content_region_avail().y > ui.theme.px(ICON_LEAST_UNITS):
        with ui.font(None, ui.theme.title_size * 1.1):
            ui.centred(icon, colour or ui.theme.text_faint)
        ui.gap(2)
    for line in _broken(title, min(imgui.get_content_region_avail().x, ui.theme.px(150))):
        ui.centred(line, ui.theme.text_dim)
    if detail:
        with ui.small():
            ui.centred(detail, ui.theme.text_faint)


def _broken(text: str, width: float) -> list[str]:
    from app.panels.kernel_notes import broken

    return broken(text, width, lambda part: imgui.calc_text_size(part).x)


def _chips(ui: Ui, questions: Sequence[str]) -> None:
    """Draw questions as buttons in centred lines; a click asks one."""
    theme = ui.theme
    gap, room = theme.px(2), imgui.get_content_region_avail().x
    lines: list[list[tuple[str, float]]] = [[]]
    for question in questions:
        width = min(imgui.calc_text_size(question).x + theme.px(5), room)
        if lines[-1] and sum(w + gap for _, w in lines[-1]) + width > min(room, theme.px(200)):
            lines.append([])
        lines[-1].append((question, width))
    with ui.style(item_spacing=(gap, theme.px(1.5)), frame_rounding=theme.px(3.5)):
        for line in lines:
            _centre(sum(width for _, width in line) + gap * (len(line) - 1))
            for index, (question, width) in enumerate(line):
                if index:
                    imgui.same_line(0, gap)
                if ui.button(question, width=width, small=True):
                    ui.run("query.ask", text=question)


def _middle(ui: Ui, units: float) -> None:
    """Leave room above so that something of a height stands a little over the middle."""
    imgui.dummy(imgui.ImVec2(0, max(0.0, (imgui.get_content_region_avail().y - ui.theme.px(units)) * 0.4)))


def _centre(width: float) -> None:
    room = imgui.get_content_region_avail().x - width
    imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, round(room / 2)))


# With one


def _answer(state: AppState, ui: Ui, asked: Asked, result: Result) -> None:
    _line(state, ui, asked)
    _notes(ui, asked, result, _n_filtered(state, asked))
    if result.comparison is not None:
        _comparison(ui, result.comparison)
    if not asked.rows:
        title = "Nothing of the kind was found" if result.complete else "Nothing was found before it was stopped"
        note(ui, icons.ICON_FA_CIRCLE_CHECK, title)
        return
    _table(state, ui, asked, asked.rows)


def told(result: Result) -> str:
    """How much was found, in a line: `12 matches · 3.2 MiB, 812 pages · 14 ms`."""
    count = f"{result.count:,} {'match' if result.count == 1 else 'matches'}"
    pages = f"{len(result.pages):,} {'page' if len(result.pages) == 1 else 'pages'}"
    took = f"{max(result.elapsed_s * 1e3, 1):.0f} ms" if result.elapsed_s < 1 else format_duration(result.elapsed_s)
    both = "" if result.comparison is None else f", {result.comparison.both_pages:,} of both"
    return f"{count}  ·  {format_bytes(len(result.pages) * 4096)}, {pages}{both}  ·  {took}"


def _line(state: AppState, ui: Ui, asked: Asked) -> None:
    """Draw what was asked, and what can be done with the answer."""
    theme = ui.theme
    room = imgui.get_content_region_avail().x
    filtering = FILTER_UNITS if asked.rows and room > theme.px(NARROW_UNITS) else 0.0
    shown = [action for action in _ACTIONS if action in state.actions]
    tools = theme.px((len(shown) + 2) * 8 + filtering)
    result = asked.result
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        imgui.align_text_to_frame_padding()
        if result is not None and result.query.verb is Verb.COUNT:
            with ui.bold():
                ui.text(f"{result.count:,}", theme.accent)
            imgui.same_line(0, theme.px(3))
        with ui.bold():
            ui.elided(shown_title(asked), max(theme.px(16), imgui.get_content_region_avail().x - tools - theme.px(3)))
        ui.right(tools)
        if filtering:
            state.results.table.filter_box(theme.px(filtering))
            imgui.same_line(0, theme.px(1))
        for action in shown:
            ui.action_icon(action, {})
            imgui.same_line(0, theme.px(1))
        _bookmarks(state, ui)
        imgui.same_line(0, theme.px(1))
        _history(state, ui)


def _bookmarks(state: AppState, ui: Ui) -> None:
    """Draw the button whose menu lists what is bookmarked, and what can be done with each."""
    theme, shown = ui.theme, state.results
    if ui.icon_button(icons.ICON_FA_BOOK_BOOKMARK, "Bookmarks", enabled=bool(state.bookmarks)):
        imgui.open_popup("bookmarks")
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup("bookmarks"):
            return
        for one in state.bookmarks[-MOST_LISTED:]:
            imgui.push_id(one.name)
            if imgui.internal.begin_menu_ex(f"{one.name}###bookmark", icons.ICON_FA_BOOKMARK):
                if imgui.is_window_appearing():
                    shown.renamed = one.name
                for action in ("bookmark.go", "bookmark.copy", "bookmark.remove"):
                    ui.menu_item(state.actions.get(action), {"name": one.name}, _BOOKMARK_WORDS[action])
                flags = imgui.InputTextFlags_.enter_returns_true
                imgui.set_next_item_width(theme.px(50))
                entered, shown.renamed = imgui.input_text("##rename", shown.renamed, flags)
                ui.tooltip("Another name; Enter gives it")
                if entered and shown.renamed.strip():
                    ui.run("bookmark.rename", name=one.name, to=shown.renamed)
                    imgui.close_current_popup()
                imgui.end_menu()
            imgui.pop_id()
        imgui.end_popup()


def _history(state: AppState, ui: Ui) -> None:
    theme, queries = ui.theme, state.queries
    if ui.icon_button(icons.ICON_FA_CLOCK_ROTATE_LEFT, "Earlier questions", enabled=len(queries.history) > 1):
        imgui.open_popup("earlier questions")
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if imgui.begin_popup("earlier questions"):
            for one in list(reversed(queries.history))[:MOST_RECENT]:
                count = "" if one.result is None else f"{one.result.count:,}"
                label = f"{shown_title(one)[:80]}##{one.number}"
                icon = icons.ICON_FA_CIRCLE_QUESTION if one.result is None else icons.ICON_FA_CHECK
                if imgui.internal.menu_item_ex(label, icon, count, one is queries.latest):
                    ui.run("query.show", number=one.number)
            imgui.end_popup()


def _n_filtered(state: AppState, asked: Asked) -> int | None:
    """How many rows a filter leaves; None where there is none."""
    model = state.results.table.model
    return len(model.view(asked.rows)) if model.needle.strip() and state.results.number == asked.number else None


def _notes(ui: Ui, asked: Asked, result: Result, n_filtered: int | None) -> None:
    """Draw how much was found, what was taken for what, and what else should be known."""
    theme = ui.theme
    of = "" if n_filtered is None else f"{n_filtered:,} of "
    said = [(of + told(result), theme.text_dim), *((one, theme.text_faint) for one in asked.assumed)]
    said += [(one, theme.text_dim if result.complete else theme.warn) for one in result.notes]
    if not result.complete and not result.notes:
        said.append(("There is more than this.", theme.warn))
    with ui.small(), ui.style(item_spacing=(theme.px(3), theme.px(0.5))):
        for index, (sentence, colour) in enumerate(said[:4]):
            room = imgui.get_content_region_avail().x
            if index:
                after = imgui.get_item_rect_max().x + theme.px(4) + imgui.calc_text_size(sentence).x
                if after < imgui.get_cursor_screen_pos().x + room:
                    imgui.same_line(0, theme.px(4))
            ui.elided(sentence, imgui.get_content_region_avail().x, colour)
    ui.gap(1.5)


def _comparison(ui: Ui, compared: Comparison) -> None:
    """Draw the two sides as bars of one scale; what both hold is drawn stronger, from the left."""
    theme = ui.theme
    sides = ((compared.left, compared.left_pages), (compared.right, compared.right_pages))
    most = max(1, *(pages for _, pages in sides))
    room = imgui.get_content_region_avail().x
    names = min(max(imgui.calc_text_size(name).x for name, _ in sides) + theme.px(4), room * 0.4)
    figures = max(imgui.calc_text_size(_figure(pages)).x for _, pages in sides) + theme.px(4)
    bar = max(theme.px(10), min(room - names - figures, theme.px(220)))
    draw, height = imgui.get_window_draw_list(), theme.px(3)
    for name, pages in sides:
        at = imgui.get_cursor_screen_pos()
        line = imgui.get_text_line_height()
        ui.elided(name, names - theme.px(3))
        left, top = at.x + names, at.y + (line - height) / 2
        full, both = bar * pages / most, bar * compared.both_pages / most
        draw.add_rect_filled((left, top), (left + bar, top + height), u32(theme.border), theme.px(1))
        draw.add_rect_filled((left, top), (left + full, top + height), u32(theme.accent.alpha(0.45)), theme.px(1))
        draw.add_rect_filled((left, top), (left + both, top + height), u32(theme.accent), theme.px(1))
        draw.add_text((left + bar + theme.px(3), at.y), u32(theme.text_dim), _figure(pages))
    ui.gap(1)


def _figure(pages: int) -> str:
    return f"{format_bytes(pages * 4096)}, {pages:,} pages"


def _table(state: AppState, ui: Ui, asked: Asked, rows: FoundRows) -> None:
    table, shown = state.results.table, state.results
    if shown.number != asked.number:
        shown.number, table.selected = asked.number, None
        table.set_filter("")
    if state.selection != shown.followed:
        shown.followed = place = state.selection
        if place is not None and place.machine == asked.machine:
            row = rows.holding(place.offset // 4096)
            if row is not None and row.index != table.selected:
                table.show(row.index)

    def menu(row: FoundRow) -> list[MenuEntry]:
        nowhere = "" if row.first != NOWHERE else "It is not in memory"
        return [
            MenuEntry(
                *("Light it up and fly there", icons.ICON_FA_HIGHLIGHTER),
                lambda: ui.run("query.light", index=row.index),
            ),
            MenuEntry(
                *("Go to its first byte", icons.ICON_FA_LOCATION_CROSSHAIRS),
                lambda: ui.run("query.go", index=row.index),
                nowhere,
            ),
            MenuEntry(*("Keep it lit", icons.ICON_FA_THUMBTACK), lambda: ui.run("query.keep", index=row.index)),
            MenuEntry(*("Light all of it up again", icons.ICON_FA_LAYER_GROUP), lambda: ui.run("query.light")),
            MenuEntry(
                *("Copy its ranges of addresses", icons.ICON_FA_COPY),
                lambda: ui.run("query.copy", index=row.index),
                nowhere,
            ),
        ]

    room = imgui.get_content_region_avail()
    dull = dull_columns(rows) if room.x < ui.theme.px(NARROW_UNITS + FILTER_UNITS) else frozenset()
    height = max(room.y, ui.theme.px(LEAST_TABLE_UNITS))
    event = table.draw(ui.theme, rows, size=(0.0, height), menu=menu, hidden=dull)
    if table.focused:
        state.own_keys |= OWN_KEYS
    if event is None:
        return
    if event.kind == "open" and event.row.first != NOWHERE:
        ui.run("query.go", index=event.row.index)
    else:
        ui.run("query.light", index=event.row.index)
