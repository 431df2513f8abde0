"""A scroll bar over rows counted as integers: exact for 2**60 rows, where a bar of float pixels breaks at 2**24."""

from __future__ import annotations

from imgui_bundle import imgui

from app.theme import Theme, u32


def scrollbar_width(theme: Theme) -> float:
    return theme.px(2.5)


class RowScrollbar:
    """Turns drags and clicks on a thin bar into the first visible row."""

    def __init__(self) -> None:
        self._grab_px: float | None = None  # where in the thumb it was taken
        self.held = False

    def draw(self, theme: Theme, top_left: imgui.ImVec2, height: float, total: int, visible: int, first: int) -> int:
        """Draw the bar at `top_left` and return the first row that it asks for (`first` when untouched)."""
        last_first = max(total - visible, 0)
        if last_first == 0 or height < 1:
            self._grab_px, self.held = None, False
            return first
        width = scrollbar_width(theme)
        imgui.set_cursor_screen_pos(top_left)
        imgui.invisible_button("##rows", imgui.ImVec2(width, height))
        hovered, self.held = imgui.is_item_hovered(), imgui.is_item_active()
        thumb = max(height * visible / total, min(theme.px(6), height))
        room = height - thumb
        thumb_y = room * first / last_first
        mouse_y = imgui.get_io().mouse_pos.y - top_left.y
        if not self.held:
            self._grab_px = None
        else:
            if self._grab_px is None:  # taken: inside the thumb it keeps its place, beside it the thumb jumps there
                inside = thumb_y <= mouse_y <= thumb_y + thumb
                self._grab_px = mouse_y - thumb_y if inside else thumb / 2
                if inside:
                    mouse_y = thumb_y + self._grab_px
            wanted_y = min(max(mouse_y - self._grab_px, 0.0), room)
            if room > 0 and abs(wanted_y - thumb_y) > 1e-3:
                # The fraction is a float, but scaling is done in integers: ends are reached exactly.
                first = min(last_first * int(wanted_y / room * (1 << 30)) >> 30, last_first)
                if wanted_y >= room:
                    first = last_first
                thumb_y = wanted_y
        colour = theme.text_dim if self.held else theme.text_faint if hovered else theme.border_strong
        inset = theme.px(0.5) if hovered or self.held else theme.px(0.75)
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(top_left.x + inset, top_left.y + thumb_y),
            imgui.ImVec2(top_left.x + width - inset, top_left.y + thumb_y + thumb),
            u32(colour),
            theme.px(1),
        )
        return first
