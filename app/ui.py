"""Ui: the theme at hand and the small widgets that all panels share, so that they look and behave alike."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgui_bundle import imgui

from app.actions import Action
from app.layout import bring_to_front, home_of, lies_in_dock_space
from app.theme import Rgba, Theme, u32, vec4

if TYPE_CHECKING:
    from app.state import AppState


@dataclass(slots=True)
class Ui:
    """What a panel draws with. Made anew when the theme changes."""

    theme: Theme
    state: AppState

    def run(self, action: str, **args: object) -> Any:
        """Run an action; an error becomes a toast."""
        return self.state.run(action, args)

    # Style

    @contextlib.contextmanager
    def font(self, font: imgui.ImFont | None = None, size: float = 0.0) -> Iterator[None]:
        """Draw with another face or size."""
        imgui.push_font(font, size)
        try:
            yield
        finally:
            imgui.pop_font()

    def mono(self, size: float | None = None) -> contextlib.AbstractContextManager[None]:
        """Draw with the monospaced face."""
        return self.font(self.theme.mono_font, self.theme.mono_size if size is None else size)

    def bold(self, size: float = 0.0) -> contextlib.AbstractContextManager[None]:
        """Draw with the bold face."""
        return self.font(self.theme.bold_font, size)

    def small(self) -> contextlib.AbstractContextManager[None]:
        """Draw smaller."""
        return self.font(None, self.theme.small_size)

    @contextlib.contextmanager
    def colours(self, **slots: Rgba) -> Iterator[None]:
        """Draw with style colours set: `ui.colours(text=theme.bad)`."""
        for slot, colour in slots.items():
            imgui.push_style_color(getattr(imgui.Col_, slot), vec4(colour))
        try:
            yield
        finally:
            imgui.pop_style_color(len(slots))

    @contextlib.contextmanager
    def style(self, **variables: float | tuple[float, float]) -> Iterator[None]:
        """Draw with style variables set: `ui.style(item_spacing=(0, 0))`."""
        for name, value in variables.items():
            slot = getattr(imgui.StyleVar_, name)
            if isinstance(value, tuple):
                imgui.push_style_var(slot, imgui.ImVec2(*value))
            else:
                imgui.push_style_var(slot, value)
        try:
            yield
        finally:
            imgui.pop_style_var(len(variables))

    @contextlib.contextmanager
    def disabled(self, disabled: bool) -> Iterator[None]:
        """Draw greyed out and deaf."""
        imgui.begin_disabled(disabled)
        try:
            yield
        finally:
            imgui.end_disabled()

    @contextlib.contextmanager
    def panel(self, name: str, *, flags: int = 0, padding: tuple[float, float] | None = None) -> Iterator[bool]:
        """Open a docked panel; yields whether its inside is visible."""
        state = self.state
        if state.focus_panel == name:
            imgui.set_next_window_focus()
            state.focus_panel = None
        if name in state.docked:  # the frame is cleared to the panels' colour: painting it again costs a third of it
            flags |= imgui.WindowFlags_.no_background
        elif home := home_of(name):
            imgui.set_next_window_dock_id(home, imgui.Cond_.first_use_ever)
        inner = padding if padding is not None else (self.theme.px(3), self.theme.px(3))
        with self.style(window_padding=inner):
            flags |= imgui.WindowFlags_.no_collapse | imgui.WindowFlags_.no_focus_on_appearing
            visible, _ = imgui.begin(name, None, flags)
        if state.front_panel == name and bring_to_front():
            state.front_panel = None
        (state.docked.add if lies_in_dock_space() else state.docked.discard)(name)
        try:
            yield visible
        finally:
            imgui.end()

    # Text

    def text(self, text: str, colour: Rgba | None = None) -> None:
        """Draw a line as it is (no format marks are interpreted)."""
        with self.colours(text=colour or self.theme.text):
            imgui.text_unformatted(text)

    def dim(self, text: str) -> None:
        """Draw a line of lesser weight."""
        self.text(text, self.theme.text_dim)

    def faint(self, text: str) -> None:
        """Draw a line that only explains."""
        self.text(text, self.theme.text_faint)

    def wrapped(self, text: str, colour: Rgba | None = None, width: float = 0.0) -> None:
        """Draw text broken into lines; `width` 0: to the end of the panel."""
        imgui.push_text_wrap_pos(imgui.get_cursor_pos_x() + width if width else 0.0)
        self.text(text, colour)
        imgui.pop_text_wrap_pos()

    def elided(self, text: str, width: float, colour: Rgba | None = None) -> None:
        """Draw a line cut to `width` with an ellipsis; hovering shows the whole."""
        shown = fit_text(text, width)
        self.text(shown, colour)
        if shown != text:
            self.tooltip(text)

    def centred(self, text: str, colour: Rgba | None = None) -> None:
        """Draw a line in the middle of the panel."""
        room = imgui.get_content_region_avail().x - imgui.calc_text_size(text).x
        imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, round(room / 2)))
        self.text(text, colour)

    def absence(self, icon: str, text: str) -> None:
        """Say in the middle of the panel why there is nothing else in it."""
        avail = imgui.get_content_region_avail()
        width = min(avail.x, self.theme.px(120))
        lines = imgui.calc_text_size(text, wrap_width=width)
        imgui.dummy(imgui.ImVec2(0, max(0.0, (avail.y - lines.y - self.theme.px(14)) * 0.42)))
        with self.font(None, self.theme.title_size):
            self.centred(icon, self.theme.text_faint)
        self.gap(2)
        imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, round((avail.x - lines.x) / 2)))
        self.wrapped(text, self.theme.text_dim, width)

    def invitation(self, title: str, note: str, button: str, *, failed: bool = False) -> bool:
        """Say in the middle of the panel what could be done, with the one button that does it; whether it was pressed.

        `failed`: it was tried, and the note says why it did not go. Where it is too low, the note is the title's tip.
        """
        theme, room = self.theme, imgui.get_content_region_avail()
        width = min(room.x, theme.px(130))
        with self.small():
            lines = imgui.calc_text_size(note, wrap_width=width)
        whole = imgui.get_text_line_height() + lines.y + imgui.get_frame_height() + theme.px(7)
        fits = room.y >= whole
        imgui.dummy(imgui.ImVec2(0, max(0.0, (room.y - whole if fits else 0.0) * 0.42)))
        self.centred(title, theme.bad if failed else theme.text)
        if fits:
            self.gap(1)
            with self.small():
                imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, round((room.x - lines.x) / 2)))
                self.wrapped(note, theme.text_dim, width)
            self.gap(2.5)
        else:
            self.tooltip(note)
        wide = imgui.calc_text_size(button).x + theme.px(6)
        imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, round((room.x - wide) / 2)))
        return self.button(button, kind="primary", width=wide)

    def save_popup(self, name: str, path: str, suggested: str) -> tuple[str, bool]:
        """Draw the popup `name`, where it is open, that asks where a table goes; its path, and whether to save now."""
        theme = self.theme
        with self.style(window_padding=(theme.px(3), theme.px(3)), item_spacing=(theme.px(2), theme.px(2))):
            if not imgui.begin_popup(name):
                return path, False
            self.dim("Save the table as CSV or JSON")
            if imgui.is_window_appearing():
                imgui.set_keyboard_focus_here()
                path = path or suggested
            imgui.set_next_item_width(theme.px(90))
            entered, path = imgui.input_text(f"##{name}", path, imgui.InputTextFlags_.enter_returns_true)
            imgui.same_line()
            save = self.button("Save", kind="primary", enabled=bool(path.strip())) or entered
            if save:
                imgui.close_current_popup()
            imgui.end_popup()
        return path, save

    def tooltip(self, text: str, *, shortcut: str = "", note: str = "") -> None:
        """Explain the last item while the pointer rests on it."""
        if not imgui.is_item_hovered(imgui.HoveredFlags_.for_tooltip | imgui.HoveredFlags_.allow_when_disabled):
            return
        with self.style(window_padding=(self.theme.px(2.5), self.theme.px(2))):
            if imgui.begin_tooltip():
                imgui.push_text_wrap_pos(self.theme.px(90))
                self.text(text)
                if shortcut:
                    imgui.same_line(0, self.theme.px(3))
                    self.key_cap(shortcut)
                if note:
                    with self.small():
                        self.dim(note)
                imgui.pop_text_wrap_pos()
                imgui.end_tooltip()

    def key_cap(self, shortcut: str) -> None:
        """Draw a key chord as a small cap."""
        theme = self.theme
        with self.font(None, theme.small_size * 0.92):
            size = imgui.calc_text_size(shortcut)
            pad = theme.px(1.25)
            at = imgui.get_cursor_screen_pos()
            line = imgui.get_text_line_height()
            height = size.y + theme.px(0.5)
            top = at.y + (theme.ui_size * 1.17 - height) / 2
            draw = imgui.get_window_draw_list()
            lower = imgui.ImVec2(at.x + size.x + 2 * pad, top + height)
            draw.add_rect_filled(imgui.ImVec2(at.x, top), lower, u32(theme.raised), theme.px(1))
            draw.add_rect(imgui.ImVec2(at.x, top), lower, u32(theme.border_strong), theme.px(1))
            draw.add_text(imgui.ImVec2(at.x + pad, top + theme.px(0.25)), u32(theme.text_dim), shortcut)
            imgui.dummy(imgui.ImVec2(size.x + 2 * pad, line))

    # Buttons

    def button(
        self, label: str, *, width: float = 0.0, kind: str = "plain", enabled: bool = True, small: bool = False
    ) -> bool:
        """Draw a button; `kind` is plain, primary (accent ground), quiet (no ground) or danger."""
        theme = self.theme
        clear = theme.raised.alpha(0)
        colours: dict[str, Rgba] = {
            "plain": {
                "button": theme.raised,
                "button_hovered": theme.hover,
                "button_active": theme.active,
                "text": theme.text,
            },
            "primary": {
                "button": theme.accent,
                "button_hovered": theme.accent.mix(theme.text, 0.18),
                "button_active": theme.accent.mix(theme.bg, 0.15),
                "text": theme.accent_text,
            },
            "quiet": {
                "button": clear,
                "button_hovered": theme.hover,
                "button_active": theme.active,
                "text": theme.text_dim,
            },
            "danger": {
                "button": clear,
                "button_hovered": theme.bad.alpha(0.18),
                "button_active": theme.bad.alpha(0.3),
                "text": theme.bad,
            },
        }[kind]
        border = 1.0 if kind == "plain" else 0.0
        across = 0.0 if width else theme.px(2.5 if small else 3.0)  # within a given width its text stands in the middle
        padding = (across, theme.px(1 if small else 1.5))
        with (
            self.colours(**colours, border=theme.border_strong),
            self.style(frame_border_size=border, frame_padding=padding),
            self.disabled(not enabled),
        ):
            return imgui.button(label, imgui.ImVec2(width, 0))

    def icon_button(
        self,
        icon: str,
        tip: str,
        *,
        id_: str = "",
        enabled: bool = True,
        colour: Rgba | None = None,
        note: str = "",
        shortcut: str = "",
    ) -> bool:
        """Draw a square button that holds one icon, with an explanation on hover."""
        theme = self.theme
        side = theme.px(7)
        clear = theme.raised.alpha(0)
        with (
            self.colours(
                button=clear, button_hovered=theme.hover, button_active=theme.active, text=colour or theme.text_dim
            ),
            self.style(frame_padding=(0.0, 0.0), button_text_align=(0.5, 0.5), frame_border_size=0.0),
            self.disabled(not enabled),
        ):
            clicked = imgui.button(f"{icon}##{id_ or tip}", imgui.ImVec2(side, side))
        self.tooltip(tip, note=note, shortcut=shortcut)
        return clicked

    def action_icon(
        self, action_id: str, args: Mapping[str, object], *, id_: str = "", icon: str = "", colour: Rgba | None = None
    ) -> bool:
        """Draw an action as an icon button; greyed out with its reason where it cannot be run."""
        action = self.state.actions.get(action_id)
        reason = action.why_not()
        title = action.title.removesuffix("…")
        shortcut = action.shortcuts[0] if action.shortcuts else ""
        clicked = self.icon_button(
            icon or action.icon,
            title,
            id_=f"{action_id}{id_}",
            enabled=reason is None,
            colour=colour,
            note=reason or action.help,
            shortcut=shortcut,
        )
        if clicked:
            self.state.run(action_id, args)
        return clicked

    def action_button(
        self,
        action_id: str,
        args: Mapping[str, object] | None = None,
        *,
        label: str,
        kind: str = "plain",
        width: float = 0.0,
    ) -> bool:
        """Draw an action as a button with its icon and title."""
        action = self.state.actions.get(action_id)
        reason = action.why_not()
        text = f"{action.icon}  {label}" if label else action.icon
        clicked = self.button(f"{text}##{action_id}", kind=kind, width=width, enabled=reason is None)
        self.tooltip(
            action.help or action.title, note=reason or "", shortcut=action.shortcuts[0] if action.shortcuts else ""
        )
        if clicked:
            self.state.run(action_id, args or {})
        return clicked

    def menu_item(self, action: Action, args: Mapping[str, object] | Sequence[object] = (), label: str = "") -> None:
        """Draw an action as a line of a menu."""
        shortcut = action.shortcuts[0] if action.shortcuts else ""
        reason = action.why_not()
        text = f"{label or action.title}##{action.id}{args}"
        if imgui.internal.menu_item_ex(text, action.icon, shortcut, False, reason is None):
            self.state.run(action.id, args)
        if reason:
            self.tooltip(reason)

    # Lines and values

    def dot(self, colour: Rgba, *, hollow: bool = False) -> None:
        """Draw a state dot on the text line."""
        theme = self.theme
        at = imgui.get_cursor_screen_pos()
        radius = theme.unit * 1.0
        middle = imgui.ImVec2(at.x + theme.unit * 1.5, at.y + imgui.get_text_line_height() / 2)
        draw = imgui.get_window_draw_list()
        if hollow:
            draw.add_circle(middle, radius - 0.5, u32(colour), 0, 1.5)
        else:
            draw.add_circle_filled(middle, radius + theme.unit * 0.75, u32(colour.alpha(0.18)))
            draw.add_circle_filled(middle, radius, u32(colour))
        imgui.dummy(imgui.ImVec2(theme.px(3), imgui.get_text_line_height()))

    def pill(self, text: str, colour: Rgba) -> None:
        """Draw a short word on a tinted ground."""
        theme = self.theme
        with self.font(theme.bold_font, theme.small_size * 0.85):
            size = imgui.calc_text_size(text)
            at = imgui.get_cursor_screen_pos()
            pad = theme.px(1.25)
            height = size.y + theme.px(0.5)
            top = at.y + (theme.ui_size * 1.17 - height) / 2
            lower = imgui.ImVec2(at.x + size.x + 2 * pad, top + height)
            draw = imgui.get_window_draw_list()
            draw.add_rect_filled(imgui.ImVec2(at.x, top), lower, u32(colour.alpha(0.16)), theme.px(1))
            draw.add_text(imgui.ImVec2(at.x + pad, top + theme.px(0.25)), u32(colour), text)
            imgui.dummy(imgui.ImVec2(size.x + 2 * pad, height))

    def sparkline(self, values: Sequence[float], size: tuple[float, float], top: float) -> None:
        """Draw the last values as a filled line, scaled to `top`."""
        theme = self.theme
        at = imgui.get_cursor_screen_pos()
        width, height = size
        draw = imgui.get_window_draw_list()
        base = at.y + height
        draw.add_line(imgui.ImVec2(at.x, base), imgui.ImVec2(at.x + width, base), u32(theme.border_strong))
        if len(values) > 1 and top > 0:
            step = width / 59
            points = [
                imgui.ImVec2(at.x + width - (len(values) - 1 - i) * step, base - min(v / top, 1.0) * (height - 1))
                for i, v in enumerate(values)
            ]
            for a, b in itertools.pairwise(points):
                draw.add_quad_filled(
                    a, b, imgui.ImVec2(b.x, base), imgui.ImVec2(a.x, base), u32(theme.accent.alpha(0.14))
                )
            draw.add_polyline(list(points), u32(theme.accent), 1.5, 0)
        imgui.dummy(imgui.ImVec2(width, height))

    def row(self, label: str, width: float) -> None:
        """Begin a labelled row: the label, then the cursor at `width`."""
        imgui.align_text_to_frame_padding()
        self.dim(label)
        imgui.same_line(width)

    def gap(self, units: float = 2) -> None:
        """Leave vertical room."""
        imgui.dummy(imgui.ImVec2(0, max(0.0, self.theme.px(units) - imgui.get_style().item_spacing.y)))

    def right(self, width: float) -> None:
        """Put the cursor so that `width` is left to the end of the line."""
        imgui.same_line()
        room = imgui.get_content_region_avail().x
        imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + max(0.0, room - width))

    def progress(self, fraction: float | None, width: float, height: float) -> None:
        """Draw a thin bar; an unknown fraction sweeps."""
        theme = self.theme
        at = imgui.get_cursor_screen_pos()
        draw = imgui.get_window_draw_list()
        radius = height / 2
        draw.add_rect_filled(at, imgui.ImVec2(at.x + width, at.y + height), u32(theme.border_strong), radius)
        if fraction is None:
            phase = self.state.now_s * 0.6 % 1.0
            left, right = max(0.0, phase * 1.4 - 0.4) * width, min(1.0, phase * 1.4) * width
        else:
            left, right = 0.0, fraction * width
        if right > left:
            draw.add_rect_filled(
                imgui.ImVec2(at.x + left, at.y), imgui.ImVec2(at.x + right, at.y + height), u32(theme.accent), radius
            )
        imgui.dummy(imgui.ImVec2(width, height))


def fit_text(text: str, width: float) -> str:
    """Return `text`, cut and ended by an ellipsis where it is wider than `width` in the current font."""
    if imgui.calc_text_size(text).x <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if imgui.calc_text_size(text[:middle].rstrip() + "…").x <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"
