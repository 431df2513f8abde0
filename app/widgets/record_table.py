"""The table that all lists of records share: sorted by a click, filtered as one types, walked by keys, copied.

Only rows in view are drawn: a list may have hundreds of thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui
from numpy.typing import NDArray

from app.theme import Rgba, Theme, u32, vec4
from app.widgets.plain_text import plain
from app.widgets.presence import Presence
from app.widgets.record_model import Column, R, RecordModel, Tone
from app.widgets.spark import draw_spark

ROW_UNITS = 6.0
OWN_KEYS = frozenset({"Up", "Down", "Home", "PageUp", "PageDown", "Enter", "Ctrl+C", "Ctrl+F"})
"""Chords that the table takes while it has the keyboard."""
_SORT = {True: imgui.SortDirection.descending, False: imgui.SortDirection.ascending}


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make a slotted generic by `TableEvent[Row](…)`
class TableEvent(Generic[R]):
    """What the user did with a row: `choose` (a click, or the keys), `open` (a double click, or Enter)."""

    kind: Literal["choose", "open"]
    row: R
    column: int = -1
    """The one that was clicked; -1 after a key."""


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A line of a row's own menu, above those for copying."""

    label: str
    icon: str
    run: Callable[[], object]
    why_not: str = ""


class RecordTable(Generic[R]):
    """A table in one panel. `name` tells tables of one window apart."""

    def __init__(self, name: str, model: RecordModel[R]) -> None:
        self.name = name
        self.model = model
        self.selected: Hashable | None = None
        self.focused = False
        """Whether it takes OWN_KEYS."""
        self._follow = False
        self._position = -1
        self._scroll_to: Hashable | None = None
        self._focus_filter = False
        self._presence = Presence()
        self._menu: tuple[R, int] | None = None
        self._sort_asked: tuple[int, bool] | None = None
        self._generation = 0
        self._at_end = True
        # What ImGui is told of a column must stay the same: the order that its clicks go through depends on it.
        self._first_sort, self._first_descends = model.sort, model.descending

    @property
    def follow(self) -> bool:
        """Whether the last row is kept in view while rows are added, as long as the user stays at the end."""
        return self._follow

    @follow.setter
    def follow(self, follow: bool) -> None:
        self._at_end |= follow and not self._follow
        self._follow = follow

    def show(self, key: Hashable) -> None:
        """Select a row and bring it into view in the next frame."""
        self.selected = self._scroll_to = key

    def sort_by(self, title: str, *, descending: bool | None = None) -> None:
        """Order by the column called `title`. Raises KeyError."""
        titles = [column.title for column in self.model.columns]
        if title not in titles:
            raise KeyError(title)
        at = titles.index(title)
        self._sort_asked = (at, self.model.columns[at].descends if descending is None else descending)

    def set_filter(self, text: str) -> None:
        """Filter by `text`, as if it had been typed."""
        self.model.needle = text
        self._generation += 1  # a field that is being typed in keeps its own copy

    # Drawing

    def filter_box(self, width: float, hint: str = "Filter") -> None:
        """Draw the field that filters; Escape empties it."""
        if self._focus_filter:
            imgui.set_keyboard_focus_here()
            self._focus_filter = False
        imgui.set_next_item_width(width)
        flags = imgui.InputTextFlags_.escape_clears_all
        _, self.model.needle = imgui.input_text_with_hint(
            f"##filter {self.name}{self._generation}", f"{icons.ICON_FA_FILTER}  {hint}", self.model.needle, flags
        )

    def draw(
        self,
        theme: Theme,
        rows: Sequence[R],
        *,
        size: tuple[float, float] = (0.0, 0.0),
        menu: Callable[[R], Sequence[MenuEntry]] | None = None,
        hidden: Collection[str] = (),
    ) -> TableEvent[R] | None:
        """Draw the rows that match; return what the user did. `hidden`: titles of columns left out, never the first."""
        model = self.model
        flags = (
            imgui.TableFlags_.sortable
            | imgui.TableFlags_.resizable
            | imgui.TableFlags_.scroll_y
            | imgui.TableFlags_.no_saved_settings
            | imgui.TableFlags_.borders_inner_h
            | imgui.TableFlags_.no_borders_in_body
            | imgui.TableFlags_.pad_outer_x
        )
        if self._first_sort is None:  # a third click brings back the order in which rows came
            flags |= imgui.TableFlags_.sort_tristate
        imgui.push_style_var(imgui.StyleVar_.cell_padding, imgui.ImVec2(theme.px(1.5), theme.px(0.5)))
        # A selectable takes half the spacing above and below: with this it fills its row and no more.
        imgui.push_style_var(imgui.StyleVar_.item_spacing, imgui.ImVec2(theme.px(2), theme.px(1)))
        shown = imgui.begin_table(f"##{self.name}", len(model.columns), flags, imgui.ImVec2(*size))
        event: TableEvent[R] | None = None
        if shown:
            self._presence.mark()
            self._columns(theme, hidden)
            self._take_sort()
            view = model.view(rows)
            self._headers(theme)
            event = self._keyboard() if self._has_keys() else None
            event = self._body(theme, rows, view) or event
            self._popup(theme, menu)
            self._scroll(theme)
            imgui.end_table()
        imgui.pop_style_var(2)
        return event

    def _columns(self, theme: Theme, hidden: Collection[str]) -> None:
        model = self.model
        stretch, fixed = imgui.TableColumnFlags_.width_stretch, imgui.TableColumnFlags_.width_fixed
        for index, column in enumerate(model.columns):
            flags = fixed if column.width else stretch
            if column.title in hidden and index != model.sort:
                flags |= imgui.TableColumnFlags_.disabled
            if index == self._first_sort:
                flags |= imgui.TableColumnFlags_.default_sort
            if column.descends or (index == self._first_sort and self._first_descends):
                flags |= imgui.TableColumnFlags_.prefer_sort_descending
            imgui.table_setup_column(column.title, flags, theme.px(column.width) if column.width else 1.0)
        imgui.table_setup_scroll_freeze(0, 1)

    def _take_sort(self) -> None:
        if self._sort_asked is not None:
            index, descending = self._sort_asked
            self._sort_asked = None
            imgui.internal.table_set_column_sort_direction(index, _SORT[descending], False)
            self.model.sort, self.model.descending = index, descending
            return
        specs = imgui.table_get_sort_specs()
        if specs is None or not specs.specs_dirty:
            return
        specs.specs_dirty = False
        if specs.specs_count:
            spec = specs.get_specs(0)
            self.model.sort = int(spec.column_index)
            self.model.descending = spec.get_sort_direction() == imgui.SortDirection.descending
        else:
            self.model.sort = None

    def _headers(self, theme: Theme) -> None:
        imgui.push_font(theme.ui_font, theme.small_size)
        imgui.push_style_color(imgui.Col_.header_hovered, vec4(theme.hover))
        imgui.push_style_color(imgui.Col_.header_active, vec4(theme.active))
        imgui.table_next_row(imgui.TableRowFlags_.headers)
        draw_list = imgui.get_window_draw_list()
        for index, column in enumerate(self.model.columns):
            if not imgui.table_set_column_index(index):
                continue
            at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
            imgui.table_header(f"##{column.title}")
            sorted_by = index == self.model.sort
            ink = u32(theme.text if sorted_by else theme.text_faint)
            arrow = theme.px(4) if sorted_by else 0.0
            width = imgui.calc_text_size(column.title).x
            x = at.x + max(0.0, room - width - arrow) if column.right else at.x
            draw_list.add_text(imgui.ImVec2(x, at.y), ink, column.title)
            if column.tip:
                imgui.set_item_tooltip(column.tip)
        imgui.pop_style_color(2)
        imgui.pop_font()

    def _body(self, theme: Theme, rows: Sequence[R], view: NDArray[np.intp]) -> TableEvent[R] | None:
        event: TableEvent[R] | None = None
        clipper = imgui.ListClipper()
        height = theme.px(ROW_UNITS)
        clipper.begin(len(view), height + theme.px(1))
        if (target := self._target()) is not None:
            clipper.include_item_by_index(target)
        hovered_column = imgui.table_get_hovered_column()
        clear = Rgba(0, 0, 0, 0)
        imgui.push_style_color(imgui.Col_.header, vec4(theme.accent.alpha(0.16)))
        imgui.push_style_color(imgui.Col_.header_hovered, vec4(theme.text.alpha(0.06)))
        imgui.push_style_color(imgui.Col_.header_active, vec4(theme.text.alpha(0.1)))
        imgui.push_style_color(imgui.Col_.nav_cursor, vec4(clear))
        while clipper.step():
            for at in range(clipper.display_start, clipper.display_end):
                row = rows[view[at]]
                key = self.model.identity(row)
                imgui.table_next_row(0, height)
                selected = key == self.selected
                if self._row(theme, row, at, height, hovered_column, selected=selected):
                    double = imgui.is_mouse_double_clicked(0)
                    self.selected, self._position = key, at
                    event = TableEvent("open" if double else "choose", row, hovered_column)
                if at == target:
                    imgui.set_scroll_here_y(0.5)
        imgui.pop_style_color(4)
        return event

    def _target(self) -> int | None:
        """Return the place of the row that is to be brought into view."""
        if self._scroll_to is None:
            return None
        target = self.model.position(self._scroll_to, self._position)
        self._scroll_to = None
        if target is not None:
            self._position = target
        return target

    def _row(self, theme: Theme, row: R, at: int, height: float, hovered_column: int, *, selected: bool) -> bool:
        """Draw a row; returns whether it was pressed."""
        pressed = False
        for index, column in enumerate(self.model.columns):
            if not imgui.table_set_column_index(index):
                continue
            if index == 0:
                flags = imgui.SelectableFlags_.span_all_columns | imgui.SelectableFlags_.allow_double_click
                corner = imgui.get_cursor_screen_pos()
                pressed = imgui.selectable(f"##row{at}", selected, flags, imgui.ImVec2(0, height))[0]
                if imgui.is_item_hovered() and imgui.is_mouse_released(1):
                    self.selected, self._position = self.model.identity(row), at
                    self._menu = (row, max(hovered_column, 0))
                    imgui.open_popup(f"##menu {self.name}")
                hovered = imgui.is_item_hovered()
                if selected:
                    left = imgui.ImVec2(imgui.get_window_pos().x, corner.y - theme.px(0.5))
                    lower = imgui.ImVec2(left.x + 2, corner.y + height + theme.px(0.5))
                    imgui.get_window_draw_list().add_rect_filled(left, lower, u32(theme.accent))
                imgui.same_line(0, 0)
                imgui.set_cursor_screen_pos(corner)
            self._cell(theme, column, row, height, explain=hovered and index == hovered_column)
        return pressed

    def _cell(self, theme: Theme, column: Column[R], row: R, height: float, *, explain: bool) -> None:
        if column.spark is not None:
            at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
            draw_spark(theme, column.spark(row), (at.x, at.y + theme.px(1)), (room, height - theme.px(2)))
        text = column.shown(row)
        if not text:
            return
        if column.mono:
            imgui.push_font(theme.mono_font, theme.mono_size * 0.9)
        else:
            imgui.push_font(theme.ui_font, theme.small_size)
        at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
        indent = theme.px(4) * min(column.indent(row), 24) if column.indent is not None else 0.0
        width = imgui.calc_text_size(text).x
        x = at.x + (max(0.0, room - width) if column.right else indent)
        y = at.y + (height - imgui.get_text_line_height()) // 2
        imgui.push_style_color(imgui.Col_.text, vec4(colour_of(theme, column.tone_of(row))))
        end = at.x + room
        imgui.internal.render_text_ellipsis(
            imgui.get_window_draw_list(),
            imgui.ImVec2(x, y),
            imgui.ImVec2(end, at.y + height),
            end,
            text,
            imgui.ImVec2(width, imgui.get_text_line_height()),
        )
        imgui.pop_style_color()
        imgui.pop_font()
        if column.share is not None:
            self._bar(theme, at, room, height, column.share(row))
        said = [text] if explain and width > room - indent else []
        if explain and column.note is not None and (note := plain(column.note(row), 1000)):
            said.append(note)
        if said and imgui.begin_tooltip():
            imgui.push_text_wrap_pos(theme.px(120))
            imgui.text_unformatted("\n".join(said))
            imgui.pop_text_wrap_pos()
            imgui.end_tooltip()

    @staticmethod
    def _bar(theme: Theme, at: imgui.ImVec2, room: float, height: float, share: float) -> None:
        """A line along the foot of a cell, as long as its share."""
        draw_list, top = imgui.get_window_draw_list(), at.y + height - 1
        full = min(max(share, 0.0), 1.0) * room
        draw_list.add_rect_filled((at.x, top), (at.x + room, top + 2), u32(theme.border_strong.alpha(0.6)), 1.0)
        draw_list.add_rect_filled((at.x, top), (at.x + full, top + 2), u32(theme.accent.alpha(0.75)), 1.0)

    def _scroll(self, theme: Theme) -> None:
        """Stay at the end where that is wanted."""
        top, most = imgui.get_scroll_y(), imgui.get_scroll_max_y()
        if self._follow and self._at_end and top < most and not imgui.get_io().mouse_wheel:
            imgui.set_scroll_y(most)
            return
        self._at_end = top >= most - theme.px(ROW_UNITS)

    # Menu and keys

    def _popup(self, theme: Theme, menu: Callable[[R], Sequence[MenuEntry]] | None) -> None:
        imgui.push_style_var(imgui.StyleVar_.window_padding, imgui.ImVec2(theme.px(2), theme.px(2)))
        imgui.push_style_var(imgui.StyleVar_.item_spacing, imgui.ImVec2(theme.px(2), theme.px(2)))
        opened = imgui.begin_popup(f"##menu {self.name}")
        imgui.pop_style_var(2)
        if not opened:
            return
        if self._menu is not None:
            row, index = self._menu
            entries = menu(row) if menu is not None else ()
            for entry in entries:
                if imgui.internal.menu_item_ex(entry.label, entry.icon, "", False, not entry.why_not):
                    entry.run()
                if entry.why_not:
                    imgui.set_item_tooltip(entry.why_not)
            if entries:
                imgui.separator()
            column = self.model.columns[min(index, len(self.model.columns) - 1)]
            if imgui.internal.menu_item_ex(f"Copy {column.title.lower()}", icons.ICON_FA_COPY):
                imgui.set_clipboard_text(str(column.copied(row)))
            if imgui.internal.menu_item_ex("Copy row", "", "Ctrl+C"):
                imgui.set_clipboard_text(self.model.row_text(row))
            if imgui.internal.menu_item_ex("Copy all as CSV", icons.ICON_FA_TABLE):
                imgui.set_clipboard_text(self.model.csv())
        imgui.end_popup()

    def _has_keys(self) -> bool:
        self.focused = (
            imgui.is_window_focused(imgui.FocusedFlags_.child_windows)
            and not imgui.get_io().want_text_input
            and not imgui.is_popup_open(f"##menu {self.name}")
        )
        return self.focused

    def _keyboard(self) -> TableEvent[R] | None:
        model = self.model
        view = model.view(model.rows)
        io = imgui.get_io()
        if io.key_ctrl and imgui.is_key_pressed(imgui.Key.f, False):
            self._focus_filter = True
        if not len(view):
            return None
        now = None if self.selected is None else model.position(self.selected, self._position)
        page = max(1, int(imgui.get_window_height() / (imgui.get_text_line_height() * 1.6)) - 2)
        last = len(view) - 1
        moves = {
            imgui.Key.up_arrow: last if now is None else now - 1,
            imgui.Key.down_arrow: 0 if now is None else now + 1,
            imgui.Key.page_up: 0 if now is None else now - page,
            imgui.Key.page_down: last if now is None else now + page,
            imgui.Key.home: 0,
            imgui.Key.end: last,
        }
        for key, target in moves.items():
            if imgui.is_key_pressed(key):
                at = min(max(target, 0), last)
                row = model.rows[view[at]]
                self.show(model.identity(row))
                self._position = at
                return TableEvent("choose", row)
        if now is not None and imgui.is_key_pressed(imgui.Key.enter, False):
            return TableEvent("open", model.rows[view[now]])
        if now is not None and io.key_ctrl and imgui.is_key_pressed(imgui.Key.c, False):
            imgui.set_clipboard_text(model.row_text(model.rows[view[now]]))
        return None


def colour_of(theme: Theme, tone: Tone) -> Rgba:
    """Return the colour of a tone."""
    return {
        "text": theme.text,
        "dim": theme.text_dim,
        "faint": theme.text_faint,
        "accent": theme.accent,
        "good": theme.good,
        "warn": theme.warn,
        "bad": theme.bad,
    }[tone]
