"""Whether a widget is on the screen: what a widget said in its last frame means nothing once its panel is hidden."""

from __future__ import annotations

from imgui_bundle import imgui


class Presence:
    """Marked in each frame that draws the widget."""

    def __init__(self) -> None:
        self._frame = -2

    def mark(self) -> None:
        self._frame = imgui.get_frame_count()

    @property
    def here(self) -> bool:
        """True in the frame that drew the widget and in the one after it."""
        return imgui.get_frame_count() - self._frame <= 1
