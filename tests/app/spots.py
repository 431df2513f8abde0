"""Spots: where a window's buttons, menu lines and rows are drawn, so that tests click what a person reads."""

from __future__ import annotations

import time
from typing import Any

import pytest
from imgui_bundle import imgui

from app.ui import Ui
from tests.app.conftest import PATIENCE_S, Person

_DRAWN = (
    (Ui, "button", 1),
    (Ui, "icon_button", 2),
    (imgui, "selectable", 0),
    (imgui, "checkbox", 0),
    (imgui, "begin_combo", 0),
    (imgui, "input_text_with_hint", 0),
    (imgui, "input_text", 0),
    (imgui.internal, "menu_item_ex", 0),
    (imgui.internal, "begin_menu_ex", 0),
)
"""What draws a thing that can be clicked, and which of its arguments is the label."""
_SAID = ("text", "dim", "faint", "elided", "centred", "wrapped")


class Spots:
    """Notes each thing by its label (without what follows `##`; what has none by the whole of it) as it is drawn."""

    def __init__(self, person: Person, patch: pytest.MonkeyPatch) -> None:
        self._person = person
        self.at: dict[str, tuple[float, float]] = {}
        """The middle of each, in this frame or an earlier one since the last click."""
        self.said: list[str] = []
        for owner, name, label in _DRAWN:
            patch.setattr(owner, name, self._noting(getattr(owner, name), label))
        for name in _SAID:
            patch.setattr(Ui, name, self._listening(getattr(Ui, name)))

    def _noting(self, draw: Any, label: int) -> Any:
        def noted(*args: Any, **named: Any) -> Any:
            drawn = draw(*args, **named)
            upper, lower = imgui.get_item_rect_min(), imgui.get_item_rect_max()
            text = str(args[label])
            self.at[text.split("##")[0].strip() or text] = ((upper.x + lower.x) / 2, (upper.y + lower.y) / 2)
            return drawn

        return noted

    def _listening(self, draw: Any) -> Any:
        def heard(*args: Any, **named: Any) -> Any:
            self.said.append(str(args[1]))
            return draw(*args, **named)

        return heard

    def find(self, label: str) -> tuple[float, float]:
        """Wait until a thing whose label ends so is drawn, and lies still."""
        self.at.clear()
        before: tuple[float, float] | None = None
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            self._person.frame(2)
            found = next((at for known, at in self.at.items() if known.endswith(label)), None)
            if found is not None and found == before:
                return found
            assert time.monotonic() < deadline_s, f"{label!r} is not drawn, but {sorted(self.at)}"
            before = found

    def press(self, label: str, button: int = 1) -> None:
        """Click a thing."""
        self._person.click(*self.find(label), button=button)
        self._person.frame(2)

    def choose(self, *labels: str) -> None:
        """Click one after the other, the last of which is a line of a menu that the others opened."""
        for label in labels:
            self.press(label)
        self._person.until(lambda: not self._person.popup_open(), "the menu to close")

    def hears(self, words: str) -> bool:
        """Whether something that holds these words is drawn now."""
        self.said.clear()
        self._person.frame(2)
        return any(words in one for one in self.said)
