"""Statistics panel: how much of memory is of which kind and whose, as a treemap and a table; a click lights it up."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.chosen import key_text
from app.kernel_channels import CLASS_CHANNEL, CLASS_LABELS, CLASS_PALETTE
from app.layout import STATISTICS
from app.memory_shares import Share, shares_of
from app.output import format_bytes
from app.statistics_ui import Cell
from app.theme import Rgba, rgb, u32
from app.ui import fit_text
from app.widgets.treemap import Rect, squarify
from render.palettes import is_palette, palette_table, srgb_from_linear

if TYPE_CHECKING:
    from app.state import AppState
    from app.theme import Theme
    from app.ui import Ui

COUNT_EVERY_S = 1.0
SIDE_BY_SIDE = 1.5
"""From this ratio of width to height on, the table stands beside the picture."""
TABLE_UNITS, NARROW_UNITS = 92, 84
HEAD_UNITS = 4.5
LEAST_AREA = 12.0
"""Smaller rectangles than this many square pixels are not drawn: nobody could point at them."""
MOST_PART_ROWS = 40
RECEDING = frozenset({"Free", "No memory", "Reserved", "Unknown"})
FREE = "Free"
DARK_TEXT, LIGHT_TEXT = rgb(0x0A0E16), rgb(0xF4F7FC)


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(STATISTICS) as visible:
        if not visible:
            return
        machine = state.current
        if machine is None or machine not in state.stage.feeds:
            _empty(ui, "No machine's memory is shown", "Launch a guest, or open a dump")
            return
        sighting = state.kernels.sighting(machine)
        if sighting is None:
            _empty(ui, "Looking for a kernel", "What memory is used for is known once the guest's kernel is found")
            return
        if sighting.classes is None:
            _empty(ui, "No kernel is known", sighting.problem)
            return
        _count(state, machine)
        _head(state, ui, sighting.release, sighting.definite)
        room = imgui.get_content_region_avail()
        if room.x > SIDE_BY_SIDE * room.y:
            table = min(ui.theme.px(TABLE_UNITS), room.x * 0.48)
            _map(state, ui, machine, room.x - table - ui.theme.px(3), room.y)
            imgui.same_line(0, ui.theme.px(3))
            _table(state, ui, machine, table, room.y)
        else:
            height = min(room.y * 0.55, room.x)
            _map(state, ui, machine, room.x, height)
            ui.gap(2)
            _table(state, ui, machine, room.x, imgui.get_content_region_avail().y)
        _menu(state, ui, machine)


def _empty(ui: Ui, title: str, note: str) -> None:
    room = imgui.get_content_region_avail()
    imgui.dummy(imgui.ImVec2(0, max(0.0, room.y * 0.36 - ui.theme.px(8))))
    with ui.font(None, ui.theme.title_size):
        ui.centred(icons.ICON_FA_CHART_PIE, ui.theme.text_faint)
    ui.gap(2)
    ui.centred(title, ui.theme.text)
    with ui.small():
        width = min(room.x, ui.theme.px(110))
        imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, (room.x - width) / 2))
        if imgui.calc_text_size(note).x <= room.x:
            imgui.set_cursor_pos_x(imgui.get_style().window_padding.x)
            ui.centred(note, ui.theme.text_dim)
        else:
            ui.wrapped(note, ui.theme.text_dim, width)


def _count(state: AppState, machine: str) -> None:
    """Divide memory anew where that was done for another machine, or a while ago."""
    kept = state.statistics
    if kept.machine == machine and state.now_s - kept.taken_s < COUNT_EVERY_S:
        return
    sighting = state.kernels.sighting(machine)
    assert sighting is not None
    kept.machine, kept.taken_s = machine, state.now_s
    shares = shares_of(sighting)
    if shares != kept.shares:
        kept.shares = shares


def _head(state: AppState, ui: Ui, release: str, definite: float) -> None:
    kept = state.statistics
    total = sum(share.size_bytes for share in kept.shares)
    imgui.align_text_to_frame_padding()
    ui.text(format_bytes(total))
    imgui.same_line(0, ui.theme.px(3))
    ui.dim(f"{definite:.1%} known for certain")
    ui.tooltip("The share of pages that the guest's own kernel says the use of", note=f"Linux {release}")
    label = f"{icons.ICON_FA_EYE if kept.with_free else icons.ICON_FA_EYE_SLASH}  Free memory"
    with ui.small():
        ui.right(imgui.calc_text_size(label).x + ui.theme.px(5))
        clicked = ui.button(f"{label}##free", kind="plain" if kept.with_free else "quiet", small=True)
    if clicked:
        ui.run("statistics.free", shown=not kept.with_free)
    ui.tooltip("Let free memory take its share of the picture, or leave it out")


# Colours


def category_colours(state: AppState) -> list[Rgba]:
    """The categories' colours as the volume's channel of page classes shows them, sRGB."""
    name = state.settings.palettes.get(CLASS_CHANNEL, "")
    table = palette_table(name if is_palette(name) else CLASS_PALETTE)[0, : len(CLASS_LABELS)]
    return [Rgba(*colour) for colour in np.clip(srgb_from_linear(table.astype(np.float64)), 0.0, 1.0).tolist()]


def fill_of(theme: Theme, colour: Rgba, share: Share, number: int) -> Rgba:
    """The ground of a rectangle: parts beside each other differ a little, what nobody uses recedes."""
    if CLASS_LABELS[share.category] in RECEDING:
        return theme.raised.mix(colour, 0.35)
    return colour.mix(theme.surface, 0.08 + 0.14 * (number % 2))


def text_on(ground: Rgba) -> Rgba:
    """Dark or light text, whichever is read better on a ground."""
    light = 0.2126 * ground.r**2.2 + 0.7152 * ground.g**2.2 + 0.0722 * ground.b**2.2
    return DARK_TEXT if light > 0.18 else LIGHT_TEXT


# Picture


def lay(shares: tuple[Share, ...], area: Rect, head: float, gap: float) -> tuple[Cell, ...]:
    """Where categories and their parts are drawn: each category's cell, then those of its parts."""
    cells: list[Cell] = []
    for share, rect in zip(shares, squarify([share.n_pages for share in shares], area), strict=True):
        inside = rect.inset(gap)
        if inside.width * inside.height < LEAST_AREA:
            continue
        has_head = inside.height > 2.2 * head and inside.width > 4 * head
        cells.append(Cell(inside, share, None, head if has_head else 0.0))
        if len(share.parts) > 1:
            room = inside.inset(gap, head if has_head else 0.0)
            for part, place in zip(share.parts, squarify([p.n_pages for p in share.parts], room), strict=True):
                shown = place.inset(gap / 2)
                if shown.width * shown.height >= LEAST_AREA:
                    cells.append(Cell(shown, part, share))
    return tuple(cells)


def _map(state: AppState, ui: Ui, machine: str, width: float, height: float) -> None:
    theme, kept = ui.theme, state.statistics
    at = imgui.get_cursor_screen_pos()
    if width < theme.px(4) or height < theme.px(4):
        return
    kept.drawn_at = (at.x, at.y)
    imgui.invisible_button("treemap", imgui.ImVec2(width, height))
    shares = tuple(share for share in kept.shares if kept.with_free or share.title != FREE)
    wanted = (kept.shares, kept.with_free, width, height, theme.scale)
    if wanted != kept.cells_of:
        kept.cells = lay(shares, Rect(0.0, 0.0, width, height), theme.px(HEAD_UNITS), theme.px(0.5))
        kept.cells_of = wanted
    mouse = imgui.get_io().mouse_pos
    hovered = imgui.is_item_hovered()
    under = _under(kept.cells, mouse.x - at.x, mouse.y - at.y) if hovered else None
    _paint(state, ui, machine, under)
    if under is None:
        return
    _tip(state, ui, under)
    if imgui.is_mouse_released(imgui.MouseButton_.left):
        choose(ui, machine, under.share)
    if imgui.is_mouse_released(imgui.MouseButton_.right):
        kept.menu, kept.menu_asked = under.share, True


def _under(cells: tuple[Cell, ...], x: float, y: float) -> Cell | None:
    """The innermost cell at a point."""
    return next((cell for cell in reversed(cells) if cell.rect.holds(x, y)), None)


def _paint(state: AppState, ui: Ui, machine: str, under: Cell | None) -> None:
    theme, kept, draw_list = ui.theme, state.statistics, imgui.get_window_draw_list()
    colours, rounding, at = category_colours(state), theme.px(0.5), kept.drawn_at
    chosen = state.chosen if state.chosen is not None and state.chosen.machine == machine else None
    number = 0
    with ui.small():
        line, pad = imgui.get_text_line_height(), theme.px(1)
        for cell in kept.cells:
            rect, share = cell.rect, cell.share
            low = imgui.ImVec2(at[0] + rect.x, at[1] + rect.y)
            high = imgui.ImVec2(low.x + rect.width, low.y + rect.height)
            number = 0 if cell.parent is None else number + 1
            fill = fill_of(theme, colours[share.category], share, number)
            if cell is under:
                fill = fill.mix(theme.text, 0.14)
            draw_list.add_rect_filled(low, high, u32(fill), rounding)
            is_chosen = chosen is not None and (share.kind, share.key) == (chosen.kind, chosen.key)
            if is_chosen or cell is under:
                edge = theme.accent if is_chosen else theme.text
                draw_list.add_rect(low, high, u32(edge), rounding, thickness=2.0 if is_chosen else 1.0)
            room = rect.width - 2 * pad
            top = (cell.head - line) / 2 if cell.head else pad * 0.6
            is_covered = len(share.parts) > 1 and not cell.head
            if is_covered or room < theme.px(7) or rect.height < line + pad:
                continue
            text = fit_text(share.title, room)
            if text not in ("…", ""):
                ink = text_on(fill) if cell.parent is None else text_on(fill).alpha(0.86)
                draw_list.add_text(imgui.ImVec2(low.x + pad, low.y + top), u32(ink), text)
                size = format_bytes(share.size_bytes)
                if cell.head and imgui.calc_text_size(f"{share.title}   {size}").x < room:
                    left = high.x - pad - imgui.calc_text_size(size).x
                    draw_list.add_text(imgui.ImVec2(left, low.y + top), u32(ink.alpha(0.75)), size)


def _tip(state: AppState, ui: Ui, cell: Cell) -> None:
    share, total = cell.share, max(1, sum(one.n_pages for one in state.statistics.shares))
    with ui.style(window_padding=(ui.theme.px(2.5), ui.theme.px(2))):
        if imgui.begin_tooltip():
            ui.text(share.title)
            if cell.parent is not None:
                with ui.small():
                    ui.dim(cell.parent.title)
            with ui.small():
                ui.dim(told(share, total))
            imgui.end_tooltip()


def told(share: Share, total: int) -> str:
    """How much it is, in a line."""
    pages = f"{share.n_pages:,} page{'s' if share.n_pages != 1 else ''}"
    return f"{format_bytes(share.size_bytes)}  ·  {pages}  ·  {share.n_pages / total:.1%} of memory"


def choose(ui: Ui, machine: str, share: Share) -> None:
    """Light up a share's pages."""
    if share.kind:
        ui.run("choose.pages_of", kind=share.kind, key=key_text(share.key), machine=machine)


# Table


def _table(state: AppState, ui: Ui, machine: str, width: float, height: float) -> None:
    theme, kept = ui.theme, state.statistics
    total = max(1, sum(share.n_pages for share in kept.shares))
    flags = (
        imgui.TableFlags_.scroll_y
        | imgui.TableFlags_.sortable
        | imgui.TableFlags_.pad_outer_x
        | imgui.TableFlags_.sizing_fixed_fit
    )
    with (
        ui.colours(table_header_bg=theme.surface),
        ui.style(cell_padding=(theme.px(1), theme.px(0.5)), indent_spacing=theme.px(3)),
    ):
        narrow = width < theme.px(NARROW_UNITS)
        if not imgui.begin_table(
            "narrow shares" if narrow else "shares",
            3 if narrow else 4,
            flags,
            imgui.ImVec2(width, max(height, theme.px(8))),
        ):
            return
        column = imgui.TableColumnFlags_
        imgui.table_setup_scroll_freeze(0, 1)
        imgui.table_setup_column("What", column.width_stretch)
        down = column.prefer_sort_descending
        imgui.table_setup_column("Size", down | column.default_sort)
        if not narrow:
            imgui.table_setup_column("Pages", down)
        imgui.table_setup_column("Share", down)
        imgui.table_headers_row()
        colours = category_colours(state)
        specs = imgui.table_get_sort_specs()
        spec = specs.get_specs(0) if specs is not None and specs.specs_count else None
        by_title = spec is not None and spec.column_index == 0
        rising = spec is not None and spec.get_sort_direction() == imgui.SortDirection.ascending
        for share in ordered(kept.shares, by_title=by_title, descending=not rising):
            opened = _line(state, ui, machine, share, colours[share.category], total, narrow=narrow)
            if not opened:
                continue
            parts = ordered(share.parts, by_title=by_title, descending=not rising)
            for part in parts[:MOST_PART_ROWS]:
                _line(state, ui, machine, part, None, total, narrow=narrow)
            if len(parts) > MOST_PART_ROWS:
                imgui.table_next_row()
                imgui.table_next_column()
                imgui.indent(theme.px(9))
                ui.faint(f"and {len(parts) - MOST_PART_ROWS:,} more")
                imgui.unindent(theme.px(9))
            imgui.tree_pop()
        imgui.end_table()


def ordered(shares: tuple[Share, ...], *, by_title: bool, descending: bool) -> list[Share]:
    """Shares by title or by size; of equal ones the one that comes first by title."""
    by_name = sorted(shares, key=lambda share: share.title.casefold(), reverse=by_title and descending)
    return by_name if by_title else sorted(by_name, key=lambda share: share.n_pages, reverse=descending)


def _line(
    state: AppState, ui: Ui, machine: str, share: Share, colour: Rgba | None, total: int, *, narrow: bool
) -> bool:
    """Draw a row, with the colour of a category or as a part of one; returns whether its parts follow."""
    theme, chosen = ui.theme, state.chosen
    imgui.table_next_row()
    imgui.table_next_column()
    is_chosen = (
        chosen is not None and chosen.machine == machine and (chosen.kind, chosen.key) == (share.kind, share.key)
    )
    node = imgui.TreeNodeFlags_
    flags = node.span_all_columns | node.open_on_arrow | node.span_avail_width
    if is_chosen:
        flags |= node.selected
    if not share.parts:
        flags |= node.leaf | node.no_tree_push_on_open
    with (
        ui.colours(header=theme.active, header_hovered=theme.hover, header_active=theme.active),
        ui.style(frame_padding=(theme.px(0.5), 0.0)),
    ):
        # A guest's own words are drawn, never part of a widget's name.
        name = zlib.crc32(f"{share.kind} {key_text(share.key)} {share.title}".encode("utf-8", "replace"))
        opened = imgui.tree_node_ex(f"##{name:x}", flags)
    if imgui.is_item_clicked() and not imgui.is_item_toggled_open():
        choose(ui, machine, share)
    if imgui.is_item_clicked(imgui.MouseButton_.right):
        state.statistics.menu, state.statistics.menu_asked = share, True
    imgui.same_line(0, theme.px(0.5))
    if colour is not None:
        at, side = imgui.get_cursor_screen_pos(), theme.px(2)
        top = at.y + round((imgui.get_text_line_height() - side) / 2)
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(at.x, top), imgui.ImVec2(at.x + side, top + side), u32(colour), theme.px(0.5)
        )
        imgui.dummy(imgui.ImVec2(side, 0))
        imgui.same_line(0, theme.px(1.5))
    ui.elided(
        share.title,
        max(theme.px(8), imgui.get_content_region_avail().x),
        theme.text if colour is not None else theme.text_dim,
    )
    ink = theme.text_dim if colour is None else theme.text
    pages = () if narrow else (f"{share.n_pages:,}",)
    for text in (format_bytes(share.size_bytes), *pages, f"{share.n_pages / total:.1%}"):
        imgui.table_next_column()
        room = imgui.get_content_region_avail().x - imgui.calc_text_size(text).x
        imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, room))
        ui.text(text, ink)
    return bool(opened) and bool(share.parts)


def _menu(state: AppState, ui: Ui, machine: str) -> None:
    theme, share = ui.theme, state.statistics.menu
    if state.statistics.menu_asked:
        state.statistics.menu_asked = False
        imgui.open_popup("share menu")
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2.5))):
        if not imgui.begin_popup("share menu"):
            return
        if share is not None:
            with ui.small():
                ui.dim(f"  {fit_text(share.title, theme.px(80))}")
            imgui.separator()
            if imgui.internal.menu_item_ex(
                "Light up its pages", icons.ICON_FA_HIGHLIGHTER, "", False, bool(share.kind)
            ):
                choose(ui, machine, share)
            if imgui.internal.menu_item_ex("Copy name and size", icons.ICON_FA_COPY):
                imgui.set_clipboard_text(f"{share.title}\t{share.size_bytes}")
        imgui.end_popup()
