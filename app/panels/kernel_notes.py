"""What panels about the guest's kernel show while nothing is known of it: being looked for, or why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.theme import Rgba

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui


def no_kernel(state: AppState, ui: Ui, machine: str, icon: str) -> bool:
    """Say why a machine's kernel tells nothing; False where it does, and nothing is drawn."""
    sighting = state.kernels.sighting(machine)
    if sighting is None:
        note(ui, icon, "Looking for the kernel", "" if machine in state.stage.feeds else "Its memory is not shown yet")
        return True
    if sighting.problem:
        note(ui, icon, "No kernel to ask", sighting.problem)
        return True
    return False


def note(ui: Ui, icon: str, title: str, detail: str = "", colour: Rgba | None = None) -> None:
    """Draw an icon, a line and what explains it in the middle of a panel."""
    theme = ui.theme
    room = imgui.get_content_region_avail()
    height = theme.px(26)
    imgui.dummy(imgui.ImVec2(0, max(0.0, (room.y - height) * 0.4)))
    with ui.font(None, theme.title_size * 1.1):
        ui.centred(icon, colour or theme.text_faint)
    ui.gap(2)
    ui.centred(title, theme.text_dim)
    if detail:
        with ui.small(), ui.style(item_spacing=(0.0, theme.px(0.5))):
            for line in broken(detail, min(room.x, theme.px(96)), lambda text: imgui.calc_text_size(text).x):
                ui.centred(line, theme.text_faint)


def broken(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """Break a text into lines no wider than `width`, where a word is not wider by itself."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
