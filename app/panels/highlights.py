"""Highlights: what is lit up, on a card in the upper left corner of views: colours, names, sizes, eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.highlights import COLOURS, MAX_NAME, Highlight
from app.output import format_bytes
from app.theme import Rgba, u32
from app.ui import fit_text

if TYPE_CHECKING:
    from app.chosen import Chosen
    from app.pane import Pane, Rect
    from app.state import AppState
    from app.ui import Ui

CARD_UNITS = 54
MARGIN_UNITS = 3
PAD_UNITS = 2
HEAD_UNITS = 6.5
ROW_UNITS = 6.5
MOST_ROWS = 10
LEAST_ROWS = 2
LARGEST_WIDTH, LARGEST_HEIGHT = 0.5, 0.46  # of the picture: the memory is what matters
_CARD = "highlights card"
_FOLD = "fold"
_POPUP = "highlight colours"
_MENU = "highlight menu"


def draw(state: AppState, ui: Ui, pane: Pane, legend: Rect | None = None) -> Rect | None:
    """Draw the card over a view's picture, for within its panel, and return where it lies, in logical pixels.

    Where nothing is lit there is none. What is lit is the same in all views, so one card is open to begin with, and a
    button stands for it in the others, and wherever there is no room between the upper edge and `legend`.
    """
    n = len(state.highlights) + (state.chosen is not None)
    if not n or not pane.view.volumes:
        return None
    rows = _room(ui, pane, legend)
    if rows < LEAST_ROWS or _folded(state, pane):
        _small_button(state, ui, pane, n, room=rows >= LEAST_ROWS)
        return None
    theme, rows = ui.theme, min(n, rows, MOST_ROWS)
    width, height = theme.px(CARD_UNITS), round(theme.px(HEAD_UNITS + 2 * PAD_UNITS) + rows * theme.px(ROW_UNITS))
    left, top = (round(pane.rect[axis] + theme.px(MARGIN_UNITS)) for axis in (0, 1))
    imgui.set_cursor_screen_pos(imgui.ImVec2(left, top))
    with (
        ui.colours(child_bg=theme.overlay.alpha(0.82), border=theme.border),
        ui.style(window_padding=(theme.px(PAD_UNITS), theme.px(PAD_UNITS)), child_rounding=theme.px(2)),
    ):
        flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
        child = imgui.ChildFlags_.borders | imgui.ChildFlags_.always_use_window_padding
        imgui.begin_child("highlights", imgui.ImVec2(width, height), child, flags)
    _list(state, ui, pane, n, rows, folds=True)
    imgui.end_child()
    return float(left), float(top), float(left + width), float(top + height)


def _room(ui: Ui, pane: Pane, legend: Rect | None) -> int:
    """How many rows a card over a view's picture could have; none where it would be too wide."""
    theme, (_, y, width, height) = ui.theme, pane.rect
    if theme.px(CARD_UNITS) > width * LARGEST_WIDTH:
        return 0
    lowest = height if legend is None else legend[1] - y - theme.px(MARGIN_UNITS)
    inner = min(height * LARGEST_HEIGHT, lowest - theme.px(MARGIN_UNITS)) - theme.px(HEAD_UNITS + 2 * PAD_UNITS)
    return int(inner // theme.px(ROW_UNITS))


def _folded(state: AppState, pane: Pane) -> bool:
    first = next((one for one in state.stage.panes if one.visible), pane)
    return state.highlights_ui.folded.get(pane.name, pane is not first)


def _small_button(state: AppState, ui: Ui, pane: Pane, n: int, *, room: bool) -> None:
    """Draw what the card folds into. Where the picture is too small for the card, it opens as a menu."""
    theme = ui.theme
    x, y, width, height = pane.rect
    side = theme.px(7)
    if height < 4 * side or width < 4 * side:
        return
    margin = theme.px(MARGIN_UNITS)
    imgui.set_cursor_screen_pos(imgui.ImVec2(round(x + margin), round(y + margin)))
    with ui.colours(child_bg=theme.overlay.alpha(0.7)), ui.style(window_padding=(0.0, 0.0), child_rounding=side / 4):
        imgui.begin_child("highlights", imgui.ImVec2(side, side), 0, imgui.WindowFlags_.no_scrollbar)
    if ui.icon_button(icons.ICON_FA_LIGHTBULB, f"What is lit up: {n:,}", id_="unfold highlights"):
        if room:
            state.highlights_ui.folded[pane.name] = False
        else:
            imgui.open_popup(_CARD)
    with ui.style(window_padding=(theme.px(PAD_UNITS), theme.px(PAD_UNITS))):
        if imgui.begin_popup(_CARD):
            imgui.dummy(imgui.ImVec2(theme.px(CARD_UNITS - 2 * PAD_UNITS), 0))
            _list(state, ui, pane, n, min(n, MOST_ROWS), folds=False)
            imgui.end_popup()
    imgui.end_child()


def _list(state: AppState, ui: Ui, pane: Pane, n: int, rows: int, *, folds: bool) -> None:
    """What the card says: a head, and so many rows high a list."""
    theme = ui.theme
    with ui.style(item_spacing=(theme.px(1), 0.0)):
        _head(state, ui, pane, n, folds=folds)
        with ui.colours(child_bg=theme.overlay.alpha(0)), ui.style(scrollbar_size=theme.px(2)):
            imgui.begin_child("rows", imgui.ImVec2(0, rows * theme.px(ROW_UNITS)))
        if state.chosen is not None:
            _chosen_row(ui, state.chosen)
        for highlight in state.highlights:
            _row(state, ui, pane, highlight)
        imgui.end_child()


def _head(state: AppState, ui: Ui, pane: Pane, n: int, *, folds: bool) -> None:
    theme = ui.theme
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    with ui.bold(theme.small_size):
        ui.text("Lit up")
        shift = imgui.calc_text_size("Lit up").x
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x + shift + theme.px(2), at.y))
    with ui.small():
        ui.faint(f"{n:,}")
    right = at.x + room + theme.px(0.5)
    buttons = [(_FOLD, icons.ICON_FA_CHEVRON_UP)] if folds else []
    if state.highlights:
        buttons += [("highlight.clear", icons.ICON_FA_BROOM), ("highlight.export", icons.ICON_FA_FILE_EXPORT)]
    for index, (name, icon) in enumerate(buttons):
        corner = imgui.ImVec2(right - (index + 1) * theme.px(6.5), at.y - theme.px(1.5))
        imgui.set_cursor_screen_pos(corner)
        with ui.font(None, theme.small_size):
            if name != _FOLD:
                ui.action_icon(name, {}, icon=icon)
            elif ui.icon_button(icon, "Fold the list", id_="fold highlights"):
                state.highlights_ui.folded[pane.name] = True
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x, at.y + theme.px(HEAD_UNITS)))
    imgui.dummy(imgui.ImVec2(room, 0))


def _chosen_row(ui: Ui, chosen: Chosen) -> None:
    """What is chosen: it comes and goes, unless it is kept."""
    theme = ui.theme
    line = _Line(ui, "chosen")
    line.swatch(theme.accent, hollow=True)
    size = "" if chosen.pages is None else format_bytes(chosen.size_bytes)
    line.name(chosen.title, theme.text)
    if line.hovered:
        buttons = line.buttons(2)
        if buttons(icons.ICON_FA_THUMBTACK, "Keep it lit", "H"):
            ui.run("highlight.keep")
        if buttons(icons.ICON_FA_XMARK, "Light it no longer", "Esc"):
            ui.run("choose.clear")
    else:
        line.note(size if chosen.pages is not None or not chosen.problem else icons.ICON_FA_TRIANGLE_EXCLAMATION)
    if line.clicked:
        ui.run("choose.fly")
    line.explain(chosen.told, "Chosen: it goes when something else is chosen. Click: fly there")
    line.end()


def _row(state: AppState, ui: Ui, pane: Pane, highlight: Highlight) -> None:
    theme, memory = ui.theme, state.highlights_ui
    imgui.push_id(f"{highlight.machine}/{highlight.name}")
    line = _Line(ui, "row")
    args = {"name": highlight.name, "machine": highlight.machine}
    known = highlight.machine in state.stage.feeds
    if not known:
        del args["machine"]
    if line.swatch(rgba_of(highlight.colour), hollow=not highlight.visible, button=True):
        memory.picked = rgba_of(highlight.colour)[:3]
        imgui.open_popup(_POPUP)
    if memory.renaming == (pane.name, *highlight.identity):
        _rename(state, ui, line, args)
    else:
        ink = theme.text if highlight.visible and known else theme.text_faint
        line.name(highlight.name, ink)
        if line.hovered:
            buttons = line.buttons(2)
            eye = icons.ICON_FA_EYE if highlight.visible else icons.ICON_FA_EYE_SLASH
            if buttons(eye, "Hide it" if highlight.visible else "Show it", ""):
                ui.run("highlight.toggle", **args)
            if buttons(icons.ICON_FA_XMARK, "Remove it", ""):
                ui.run("highlight.remove", **args)
        else:
            unknown = highlight.pages is None and bool(highlight.problem)
            size = "" if highlight.pages is None else format_bytes(highlight.size_bytes)
            line.note(icons.ICON_FA_TRIANGLE_EXCLAMATION if unknown else size)
        if line.double_clicked:
            _begin_rename(state, pane, highlight)
        elif line.clicked and known:
            ui.run("highlight.fly", **args)
        line.explain(highlight.told, "Click: fly there. Double click: another name")
        if line.right_clicked:
            imgui.open_popup(_MENU)
    _colours(state, ui, args)
    _menu(state, ui, pane, highlight, args)
    line.end()
    imgui.pop_id()


class _Line:
    """One row of the list: a button as wide as the card, and what is drawn on it."""

    def __init__(self, ui: Ui, name: str) -> None:
        theme = ui.theme
        self._ui = ui
        self._at, self._room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
        self._height = theme.px(ROW_UNITS)
        self._right = self._at.x + self._room
        imgui.set_next_item_allow_overlap()
        self.clicked = imgui.invisible_button(f"##{name}", imgui.ImVec2(max(self._room, 1.0), self._height))
        self.right_clicked = imgui.is_item_clicked(imgui.MouseButton_.right)
        self.double_clicked = imgui.is_item_hovered() and imgui.is_mouse_double_clicked(imgui.MouseButton_.left)
        lower = imgui.ImVec2(self._right, self._at.y + self._height)
        # Also while one of its own buttons is held down.
        over = imgui.is_window_hovered(imgui.HoveredFlags_.allow_when_blocked_by_active_item)
        self.hovered = over and imgui.is_mouse_hovering_rect(self._at, lower)
        self._explained = imgui.is_item_hovered(imgui.HoveredFlags_.for_tooltip)
        self._draw = imgui.get_window_draw_list()
        if self.hovered:
            self._draw.add_rect_filled(self._at, lower, u32(theme.hover.alpha(0.6)), theme.px(1))

    def swatch(self, colour: Rgba, *, hollow: bool, button: bool = False) -> bool:
        """Draw the colour; whether it was clicked."""
        theme = self._ui.theme
        side = theme.px(3)
        upper = imgui.ImVec2(round(self._at.x + theme.px(1)), round(self._at.y + (self._height - side) / 2))
        lower = imgui.ImVec2(upper.x + side, upper.y + side)
        if hollow:
            self._draw.add_rect(upper, lower, u32(colour), theme.px(0.75), thickness=1.5)
        else:
            self._draw.add_rect_filled(upper, lower, u32(colour), theme.px(0.75))
        if not button:
            return False
        imgui.set_cursor_screen_pos(self._at)
        clicked = imgui.invisible_button("##swatch", imgui.ImVec2(theme.px(5.5), self._height))
        self.clicked &= not clicked
        self._ui.tooltip("Another colour")
        return clicked

    @property
    def text_left(self) -> float:
        """Where names begin."""
        return self._at.x + self._ui.theme.px(6)

    def name(self, text: str, ink: Rgba) -> None:
        """Draw the name, as much of it as there is room for."""
        with self._ui.small():
            shown = fit_text(text, self._right - self.text_left - self._ui.theme.px(15))
            top = self._at.y + round((self._height - imgui.get_text_line_height()) / 2)
            self._draw.add_text(imgui.ImVec2(self.text_left, top), u32(ink), shown)

    def note(self, text: str) -> None:
        """Draw a few letters at the right."""
        with self._ui.small():
            width = imgui.calc_text_size(text).x
            top = self._at.y + round((self._height - imgui.get_text_line_height()) / 2)
            left = self._right - width - self._ui.theme.px(1)
            self._draw.add_text(imgui.ImVec2(left, top), u32(self._ui.theme.text_dim), text)

    def buttons(self, n: int) -> _Buttons:
        """Room for small buttons at the right."""
        side = self._ui.theme.px(6)
        return _Buttons(self._ui, self._right - n * side, self._at.y + (self._height - side) / 2, side)

    def field(self) -> None:
        """Put what comes next where the name would stand."""
        imgui.set_cursor_screen_pos(imgui.ImVec2(self.text_left - self._ui.theme.px(1), self._at.y))
        imgui.set_next_item_width(self._right - self.text_left)

    def explain(self, text: str, note: str) -> None:
        """Explain the row while the pointer rests on it."""
        theme = self._ui.theme
        if self._explained:
            with self._ui.style(window_padding=(theme.px(2.5), theme.px(2))):
                if imgui.begin_tooltip():
                    imgui.push_text_wrap_pos(theme.px(90))
                    self._ui.text(text)
                    with self._ui.small():
                        self._ui.dim(note)
                    imgui.pop_text_wrap_pos()
                    imgui.end_tooltip()

    def end(self) -> None:
        """Go on below it."""
        imgui.set_cursor_screen_pos(imgui.ImVec2(self._at.x, self._at.y + self._height))
        imgui.dummy(imgui.ImVec2(0, 0))


class _Buttons:
    """Small icons from left to right."""

    def __init__(self, ui: Ui, left: float, top: float, side: float) -> None:
        self._ui, self._left, self._top, self._side = ui, left, top, side

    def __call__(self, icon: str, tip: str, shortcut: str) -> bool:
        """Draw the next one; whether it was clicked."""
        theme = self._ui.theme
        imgui.set_cursor_screen_pos(imgui.ImVec2(self._left, self._top))
        self._left += self._side
        with (
            self._ui.colours(button=theme.raised.alpha(0), button_hovered=theme.active, text=theme.text_dim),
            self._ui.style(frame_padding=(0.0, 0.0), button_text_align=(0.5, 0.5), frame_border_size=0.0),
            self._ui.font(None, theme.small_size),
        ):
            clicked = imgui.button(f"{icon}##{tip}", imgui.ImVec2(self._side, self._side))
        self._ui.tooltip(tip, shortcut=shortcut)
        return clicked


def _begin_rename(state: AppState, pane: Pane, highlight: Highlight) -> None:
    memory = state.highlights_ui
    memory.renaming, memory.text, memory.focus = (pane.name, *highlight.identity), highlight.name, True


def _rename(state: AppState, ui: Ui, line: _Line, args: dict[str, str]) -> None:
    """The name as a field: Enter takes it, Escape and a click elsewhere leave it."""
    memory, theme = state.highlights_ui, ui.theme
    line.field()
    if memory.focus:
        imgui.set_keyboard_focus_here()
    flags = imgui.InputTextFlags_.enter_returns_true | imgui.InputTextFlags_.auto_select_all
    with ui.small(), ui.style(frame_padding=(theme.px(1), theme.px(0.75))):
        entered, memory.text = imgui.input_text("##name", memory.text, flags)
    memory.text = memory.text[:MAX_NAME]
    if entered:
        ui.run("highlight.rename", **args, to=memory.text)
    if entered or (not memory.focus and imgui.is_item_deactivated()):
        memory.renaming = None
    memory.focus = False


def _colours(state: AppState, ui: Ui, args: dict[str, str]) -> None:
    """The colours that one can have: a few that go together, and any other."""
    theme, memory = ui.theme, state.highlights_ui
    with ui.style(window_padding=(theme.px(3), theme.px(3)), item_spacing=(theme.px(1.5), theme.px(1.5))):
        if not imgui.begin_popup(_POPUP):
            return
        side = theme.px(6.5)
        flags = imgui.ColorEditFlags_.no_tooltip | imgui.ColorEditFlags_.no_drag_drop
        for index, colour in enumerate(COLOURS):
            if index % 6:
                imgui.same_line()
            shown = imgui.ImVec4(*rgba_of(colour))
            if imgui.color_button(f"##{colour}", shown, flags, imgui.ImVec2(side, side)):
                ui.run("highlight.recolour", **args, colour=colour)
                imgui.close_current_popup()
        imgui.set_next_item_width(6 * side + 5 * theme.px(1.5))
        any_flags = imgui.ColorEditFlags_.no_side_preview | imgui.ColorEditFlags_.no_small_preview
        _, picked = imgui.color_picker3("##any", list(memory.picked), any_flags | imgui.ColorEditFlags_.display_hex)
        memory.picked = (picked[0], picked[1], picked[2])
        if imgui.is_item_deactivated_after_edit():  # one step of undo, however long it was dragged
            ui.run("highlight.recolour", **args, colour=hex_of(memory.picked))
        imgui.end_popup()


def _menu(state: AppState, ui: Ui, pane: Pane, highlight: Highlight, args: dict[str, str]) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2.5))):
        if not imgui.begin_popup(_MENU):
            return
        ui.menu_item(state.actions.get("highlight.fly"), args, "Fly there")
        ui.menu_item(state.actions.get("highlight.toggle"), args, "Hide" if highlight.visible else "Show")
        if imgui.internal.menu_item_ex("Rename…", icons.ICON_FA_PEN):
            _begin_rename(state, pane, highlight)
        ui.menu_item(state.actions.get("highlight.export"), {"name": highlight.name}, "Write its addresses to a file")
        imgui.separator()
        ui.menu_item(state.actions.get("highlight.remove"), args, "Remove")
        imgui.end_popup()


def rgba_of(colour: str) -> Rgba:
    """What `#rrggbb` looks like."""
    return Rgba(*(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)))


def hex_of(rgb: tuple[float, float, float]) -> str:
    """sRGB as `#rrggbb`."""
    return "#" + "".join(f"{round(min(max(part, 0.0), 1.0) * 255):02x}" for part in rgb)
