"""Sides of the Learning panel: the chosen loop's x86 code beside its microcode, the proof in words, and the log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.learning_ui import CODE, LOG, Listing, place_of
from app.proof_words import passages_of
from app.theme import rgb, u32
from app.ui import fit_text
from app.widgets.plain_text import plain
from bridge.pixelcpu.learned import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.learning import Event, MachineLearner
    from app.state import AppState
    from app.theme import Rgba, Theme
    from app.ui import Ui
    from bridge.pixelcpu.learning import Entry

ROW_UNITS = 5.0
STEPS = (State.TRACED, State.LIFTED, State.SYNTHESISED, State.PROVED, State.TESTED, State.LIVE)
WHERE_UNITS = 34.0
"""Of the log's column that says which loop it was."""


def draw_side(
    state: AppState, ui: Ui, learner: MachineLearner, one: Entry, side: str, width: float, *, headed: bool = True
) -> None:
    """Draw one side, `width` logical pixels wide; `headed`: with the loop's name and how far it has come."""
    if side == LOG:
        _log(state, ui, learner.events)
        return
    if headed:
        _head(ui, one, width)
    if side == CODE:
        _code(state, ui, one, width)
    else:
        _proof(ui, one)


# The head: the loop's name, and how far it has come


def reached_of(one: Entry) -> int:
    """How many of STEPS a loop has come to."""
    if one.state is not State.QEMU_ONLY:
        return STEPS.index(one.state) + 1
    return STEPS.index(one.learned.reached) + 1 if one.learned is not None else 1


def _head(ui: Ui, one: Entry, width: float) -> None:
    theme = ui.theme
    with ui.small():
        steps = sum(imgui.calc_text_size(str(step)).x + 2 * _radius(theme) + theme.px(3.5) for step in STEPS)
        fits = width > steps + theme.px(26)
        ui.elided(plain(place_of(one), 200), max(theme.px(10), width - (steps if fits else 0.0)), theme.text)
        if one.candidate.process:
            ui.tooltip(plain(one.candidate.process, 200), note=f"Its hash is {one.candidate.x86_hash[:16]}…")
        if fits:
            ui.right(steps - theme.px(2.5))
            _steps(ui, one)
    ui.gap(0.5)


def _radius(theme: Theme) -> float:
    return theme.unit * 0.8


def _steps(ui: Ui, one: Entry) -> None:
    theme, draw = ui.theme, imgui.get_window_draw_list()
    reached, refused = reached_of(one), one.state is State.QEMU_ONLY
    at = imgui.get_cursor_screen_pos()
    middle, radius = at.y + imgui.get_text_line_height() / 2, _radius(theme)
    x = at.x
    for number, step in enumerate(STEPS):
        is_end = number == reached
        colour = theme.good if number < reached else theme.bad if refused and is_end else theme.text_faint
        spot = imgui.ImVec2(x + radius, middle)
        if number < reached:
            draw.add_circle_filled(spot, radius, u32(colour))
        else:
            draw.add_circle(spot, radius - 0.5, u32(colour), 0, 1.2)
        ink = theme.text_dim if number < reached else theme.bad if refused and is_end else theme.text_faint
        x += 2 * radius + theme.px(1)
        draw.add_text(imgui.ImVec2(x, at.y), u32(ink), str(step))
        x += imgui.calc_text_size(str(step)).x + theme.px(2.5)
    imgui.dummy(imgui.ImVec2(max(1.0, x - at.x), imgui.get_text_line_height()))
    if one.reason:
        ui.tooltip("Left to QEMU", note=one.reason)


# x86 beside microcode


def _code(state: AppState, ui: Ui, one: Entry, width: float) -> None:
    theme = ui.theme
    listing = () if one.learned is None else state.learning.listing(one.learned)
    gap = theme.px(4)
    left = round((width - gap) * 0.46)
    learned = one.learned
    kernel = learned.loop if learned is not None and learned.rounds is not None else None
    in_order = kernel is not None and kernel.ordered and not kernel.closed
    each = "one round" if kernel is None else "round after round" if in_order else "a round a lane"
    n_pixels = sum(len(pixels) for _, pixels in listing)
    title = f"Microcode, {n_pixels} pixels  ·  {each}"
    corner = imgui.get_cursor_pos()
    with ui.style(window_padding=(0.0, 0.0), item_spacing=(0.0, theme.px(0.5))):
        if imgui.begin_child("##x86", imgui.ImVec2(left, 0)):
            with ui.small():
                ui.elided(f"x86, {len(one.candidate.code)} bytes", left, theme.text_faint)
            ui.gap(0.5)
            _x86(ui, one.candidate.disassembly, imgui.get_content_region_avail().x)
        imgui.end_child()
        imgui.set_cursor_pos(imgui.ImVec2(corner.x + left + gap, corner.y))
        if imgui.begin_child("##microcode", imgui.ImVec2(0, 0)):
            room = imgui.get_content_region_avail().x
            with ui.small():
                ui.elided(title if listing else "Microcode", room, theme.text_faint)
            ui.gap(0.5)
            if not listing:
                with ui.small():
                    ui.wrapped(one.reason or _why_no_listing(one), theme.text_dim)
            else:
                _microcode(ui, listing, room)
        imgui.end_child()


def _why_no_listing(one: Entry) -> str:
    return "Not lifted yet" if one.state is State.TRACED else "It is shown when all that can be tried was tried"


def _x86(ui: Ui, lines: tuple[str, ...], width: float) -> None:
    theme = ui.theme
    with ui.mono(theme.mono_size * 0.9):
        step = imgui.calc_text_size("0" * 8).x
        for line in lines:
            mnemonic, _, operands = line.partition(" ")
            at = imgui.get_cursor_screen_pos()
            at.y += (theme.px(ROW_UNITS) - imgui.get_text_line_height()) / 2  # beside the microcode's lines
            draw = imgui.get_window_draw_list()
            draw.add_text(at, u32(theme.text), fit_text(mnemonic, width))
            rest = max(step, imgui.calc_text_size(f"{mnemonic} ").x)
            if rest < width - theme.px(4):
                draw.add_text(imgui.ImVec2(at.x + rest, at.y), u32(theme.text_dim), fit_text(operands, width - rest))
            imgui.dummy(imgui.ImVec2(width, theme.px(ROW_UNITS)))
            _whole(ui, line, width)


def _microcode(ui: Ui, listing: Listing, width: float) -> None:
    theme = ui.theme
    most = max(len(pixels) for _, pixels in listing)
    with ui.mono(theme.mono_size * 0.9):
        for text, pixels in listing:
            at, height = imgui.get_cursor_screen_pos(), theme.px(ROW_UNITS)
            indent = draw_pixels(ui, at, height, pixels, most)
            top = at.y + (height - imgui.get_text_line_height()) / 2
            shown = fit_text(text, max(1.0, width - indent))
            imgui.get_window_draw_list().add_text(imgui.ImVec2(at.x + indent, top), u32(theme.text), shown)
            imgui.dummy(imgui.ImVec2(width, height))
            words = " ".join("".join(f"{part:02x}" for part in pixel) for pixel in pixels)
            with ui.font(theme.ui_font, theme.ui_size):
                ui.tooltip(text, note=f"As pixels, RGBA: {words}")


def draw_pixels(ui: Ui, at: imgui.ImVec2, height: float, pixels: Sequence[tuple[int, ...]], most: int) -> float:
    """Draw an instruction's pixels in a line of that height; returns how far right of them its text begins.

    `most`: so many has the longest of the program, for which there is room in each line.
    """
    theme, draw = ui.theme, imgui.get_window_draw_list()
    side = theme.px(3)
    top = at.y + (height - side) / 2
    for number, (red, green, blue, _alpha) in enumerate(pixels):
        low = imgui.ImVec2(at.x + number * side, top)
        high = imgui.ImVec2(low.x + side - 1, top + side - 1)
        draw.add_rect_filled(low, high, u32(rgb(red << 16 | green << 8 | blue)))
        draw.add_rect(low, high, u32(theme.border_strong))
    return most * side + theme.px(2)


def _whole(ui: Ui, line: str, width: float) -> None:
    if imgui.calc_text_size(line).x > width:
        with ui.font(ui.theme.ui_font, ui.theme.ui_size):
            ui.tooltip(line)


# The proof in words


def _proof(ui: Ui, one: Entry) -> None:
    theme = ui.theme
    if imgui.begin_child("##proof", imgui.ImVec2(0, 0)):
        for number, passage in enumerate(passages_of(one)):
            if number:
                ui.gap(1.5)
            refused = passage.title == "Left to QEMU"
            with ui.bold(theme.small_size):
                ui.text(passage.title, theme.warn if refused else theme.text_dim)
            for line in passage.lines:
                if passage.is_listing:
                    with ui.mono(theme.mono_size * 0.88):
                        ui.elided(plain(line, 400), imgui.get_content_region_avail().x, theme.text)
                else:
                    with ui.small():
                        ui.wrapped(plain(line, 1000), theme.text)
    imgui.end_child()


# The log


def _log(state: AppState, ui: Ui, events: tuple[Event, ...]) -> None:
    theme = ui.theme
    if imgui.begin_child("##log", imgui.ImVec2(0, 0)):
        with ui.small(), ui.style(item_spacing=(theme.px(2), theme.px(0.5))):
            clipper = imgui.ListClipper()
            clipper.begin(len(events))
            while clipper.step():
                for event in events[clipper.display_start : clipper.display_end]:
                    _event(ui, event)
        if len(events) != state.learning.seen:
            state.learning.seen = len(events)
            imgui.set_scroll_here_y(1.0)
    imgui.end_child()


def _event(ui: Ui, event: Event) -> None:
    theme = ui.theme
    clock = time.strftime("%H:%M:%S", time.localtime(event.at_s))
    ui.faint(clock)
    imgui.same_line()
    if event.where:
        left = imgui.get_cursor_pos_x()
        ui.elided(plain(event.where, 100), theme.px(WHERE_UNITS), theme.text_dim)
        imgui.same_line(left + theme.px(WHERE_UNITS + 2))
    colours: dict[State | None, Rgba] = {State.LIVE: theme.good, State.QEMU_ONLY: theme.text_faint, None: theme.text}
    ui.elided(plain(event.text, 400), imgui.get_content_region_avail().x, colours.get(event.state, theme.text))
