"""The story of the selected byte: page, class, object or region or file, process, symbol; each line leads somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.kernel_channels import CLASS_CHANNEL, CLASS_LABELS, CLASS_PALETTE
from app.story_facts import Fact
from app.telling import Told, tell
from app.theme import Rgba, u32
from app.ui import fit_text
from render.palettes import is_palette, palette_table, srgb_from_linear

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

LABEL_UNITS = 20
TAKEN_WORDS = {
    "live": "Read while the guest ran on",
    "retried": "Read while the guest ran on, a second time where a list was just being changed",
    "frozen": "Read while the guest stood still",
}
FRESH_S = 3.0
"""Older than that, the age is told."""


def draw(state: AppState, ui: Ui, machine: str, address: int) -> Told | None:
    """Draw what the kernel's records say of a byte; returns it, or None while it is not known."""
    told, kept = tell(state, machine, address), state.kernel.story
    if told is None:
        # The room that the last story took is kept for the next, which is a few hundredths of a second away.
        line = imgui.get_text_line_height() + ui.theme.px(1)
        imgui.dummy(imgui.ImVec2(0, kept.rows * line))
        return None
    kept.told = told
    if told.problem:
        kept.rows = 0
        return told
    kept.rows = len(told.facts)
    for fact in told.facts:
        _line(state, ui, told, fact)
    return told


def freshness(state: AppState, ui: Ui, told: Told | None) -> None:
    """Draw how the story was taken, and when, at the right of the line."""
    if told is None or not told.consistency:
        return
    theme = ui.theme
    age_s = max(0.0, state.now_s - told.taken_s)
    machine = state.machine(told.machine)
    dump = machine is not None and bool(machine.info.dump)
    paused = machine is not None and machine.info.state.value == "paused"
    word = "dump" if dump else "paused" if paused else told.consistency
    text = word if dump or paused or age_s < FRESH_S else f"{word}, {age_s:,.0f} s ago"
    colour = {"live": theme.good, "retried": theme.warn}.get(word, theme.accent)
    ui.right(imgui.calc_text_size(text).x + theme.px(4.5))
    ui.dot(colour)
    imgui.same_line(0, theme.px(1))
    ui.faint(text)
    note = "The whole file is of one moment" if dump else f"{age_s:.1f} s ago"
    ui.tooltip("Read from a file" if dump else TAKEN_WORDS[told.consistency], note=note)


def class_colour(state: AppState, label: str) -> Rgba:
    """Return the colour that pages called `label` have in the volume."""
    chosen = state.settings.palettes.get(CLASS_CHANNEL, CLASS_PALETTE)
    table = palette_table(chosen if is_palette(chosen) else CLASS_PALETTE)
    r, g, b = srgb_from_linear(table[0, CLASS_LABELS.index(label)].astype(float)).tolist()
    return Rgba(min(r, 1.0), min(g, 1.0), min(b, 1.0))


def _line(state: AppState, ui: Ui, told: Told, fact: Fact) -> None:
    theme = ui.theme
    ui.dim(fact.label)
    imgui.same_line(theme.px(LABEL_UNITS))
    if fact.swatch:
        at, line = imgui.get_cursor_screen_pos(), imgui.get_text_line_height()
        side = theme.px(2.5)
        top = at.y + (line - side) / 2
        colour = u32(class_colour(state, fact.swatch))
        imgui.get_window_draw_list().add_rect_filled((at.x, top), (at.x + side, top + side), colour, theme.px(0.5))
        imgui.dummy(imgui.ImVec2(side, line))
        imgui.same_line(0, theme.px(1.5))
    room = imgui.get_content_region_avail().x
    with ui.mono() if fact.mono else ui.font():
        note_width = imgui.calc_text_size(fact.note).x + theme.px(3) if fact.note else 0.0
        _value(ui, told, fact, max(room - min(note_width, room * 0.45), theme.px(16)))
    if fact.note:
        imgui.same_line(0, theme.px(3))
        ui.elided(fact.note, imgui.get_content_region_avail().x, theme.text_faint)
        if fact.others:
            if imgui.is_item_hovered():
                imgui.set_mouse_cursor(imgui.MouseCursor_.hand)
            if imgui.is_item_clicked():
                imgui.open_popup(f"others {fact.label}")
            ui.tooltip("Who else maps this page")
            _others(ui, told, fact)


def _value(ui: Ui, told: Told, fact: Fact, room: float) -> None:
    theme = ui.theme
    leads = bool(fact.kind) or fact.goes is not None
    shown = fit_text(fact.value, room)
    at = imgui.get_cursor_screen_pos()
    ui.text(shown, theme.accent if leads else theme.text)
    hovered = imgui.is_item_hovered()
    size = imgui.get_item_rect_size()
    if hovered and leads:
        imgui.set_mouse_cursor(imgui.MouseCursor_.hand)
        below = at.y + size.y - 1
        imgui.get_window_draw_list().add_line((at.x, below), (at.x + size.x, below), u32(theme.accent))
    clicked = imgui.is_item_clicked()
    menu = f"menu {fact.label}"
    if imgui.is_item_clicked(imgui.MouseButton_.right):
        imgui.open_popup(menu)
    whole = f"{fact.value}\n" if shown != fact.value else ""
    with ui.font(theme.ui_font, theme.ui_size):
        ui.tooltip(f"{whole}{_hint(fact)}")
    if clicked:
        _follow(ui, told, fact)
    with ui.font(theme.ui_font, theme.ui_size):
        _menu(ui, told, fact, menu)


def _hint(fact: Fact) -> str:
    if fact.kind:
        return "Click to light up its pages"
    return "Click to copy" if fact.goes is None else "Click to go to its first byte"


def _follow(ui: Ui, told: Told, fact: Fact, *, fly: bool = False) -> None:
    if fact.kind:
        ui.run("choose.pages_of", kind=fact.kind, key=fact.key, machine=told.machine, title=_title(fact), fly=fly)
    elif fact.goes is not None:
        ui.run("kernel.go_to", where=f"{fact.goes:#x}", machine=told.machine)
    else:
        imgui.set_clipboard_text(fact.value)


def _title(fact: Fact) -> str:
    """What the chosen thing is called: what stands in the line, where that says it without the line."""
    return (
        f"Kernel stack of {fact.value}"
        if fact.kind == "stack"
        else (f"Page tables of {fact.value}" if fact.kind == "tables" else fact.value)
    )


def _menu(ui: Ui, told: Told, fact: Fact, name: str) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup(name):
            return
        if fact.kind:
            if imgui.internal.menu_item_ex("Light up its pages", icons.ICON_FA_HIGHLIGHTER):
                _follow(ui, told, fact)
            if imgui.internal.menu_item_ex("Light up, and fly there", icons.ICON_FA_PAPER_PLANE):
                _follow(ui, told, fact, fly=True)
        if fact.goes is not None and imgui.internal.menu_item_ex("Go there", icons.ICON_FA_LOCATION_CROSSHAIRS):
            _follow(ui, told, fact)
        if fact.label == "Symbol" and imgui.internal.menu_item_ex("Show in the list of symbols", icons.ICON_FA_TAGS):
            ui.run("kernel.filter", text=fact.value.partition(" ")[0], section="Symbols")
            ui.run("kernel.show", section="Symbols")
        if imgui.internal.menu_item_ex(f"Copy {fact.label.lower()}", icons.ICON_FA_COPY):
            imgui.set_clipboard_text(fact.value)
        imgui.end_popup()


def _others(ui: Ui, told: Told, fact: Fact) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup(f"others {fact.label}"):
            return
        for index, (name, pid) in enumerate(fact.others):
            if imgui.selectable(f"##{index}", False)[0]:
                ui.run("choose.pages_of", kind="process", key=pid, machine=told.machine, title=name, fly=False)
            imgui.same_line(0, 0)
            ui.text(name)
        imgui.end_popup()
