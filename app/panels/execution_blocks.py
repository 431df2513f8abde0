"""Hot blocks in the Execution panel: a table by time; a click selects a block's bytes wherever they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.execution_ui import COLUMNS
from app.panels.flow_reach import reach_entries
from app.widgets.record_table import OWN_KEYS, MenuEntry

if TYPE_CHECKING:
    from app.hot_rows import HotRow
    from app.state import AppState
    from app.trace_looks import Look
    from app.ui import Ui

_LEAVING = (("PC", 215.0), ("Class", 172.0), ("Last minute", 142.0), ("Loops", 112.0), ("Process", 104.0))
"""Columns that give way where it is narrower than that, in steps of the grid."""


def draw(state: AppState, ui: Ui, look: Look, size: tuple[float, float]) -> None:
    """Draw the table, and a line below that says what it is made from."""
    theme, table = ui.theme, state.execution.table
    with ui.small():
        foot = imgui.get_text_line_height() + theme.px(1)
    _follow(state, look)
    hidden = [title for title, least in _LEAVING if size[0] < theme.px(least)]
    event = table.draw(theme, look.rows, size=(size[0], size[1] - foot), menu=lambda row: _menu(ui, row), hidden=hidden)
    if table.focused:
        state.own_keys |= OWN_KEYS
    if event is not None:
        ui.run("trace.choose", block=event.row.number, go=event.kind == "open")
    with ui.small():
        ui.elided(told_base(look), size[0], theme.text_faint)


def told_base(look: Look) -> str:
    """What time is told by, in a line."""
    span = look.span
    if not len(look.rows):
        return f"No code ran in the last {span.seconds:.0f} s"
    by, idle = f"By instructions run in {span.seconds:.1f} s", f"  ·  idle {span.idle_share:.0%}"
    if span.by_samples:
        by = f"{len(span.busy):,} samples in {span.seconds:.1f} s"
    elif span.samples:
        by += ": too few samples found the guest at work"
    return f"{by}{idle if span.samples else ''}  ·  {int(span.entered.sum()):,} blocks entered"


def _follow(state: AppState, look: Look) -> None:
    """Select the row of the selected byte, where that came from elsewhere."""
    ui = state.execution
    if state.selection == ui.followed:
        return
    ui.followed = state.selection
    if state.selection is None or state.selection.machine != ui.machine:
        return
    address = state.stage.paddr(state.selection)
    if address is None:
        return
    holds = [
        row
        for row in look.rows
        if row.physical is not None and row.physical <= address < row.physical + row.end - row.pc
    ]
    if holds and ui.chosen not in [row.number for row in holds]:
        ui.chosen = holds[0].number
        ui.table.show(ui.chosen)


def _menu(ui: Ui, row: HotRow) -> Sequence[MenuEntry]:
    unknown = "" if row.physical is not None else "It does not lie in RAM"
    return (
        MenuEntry(
            "Go to its bytes, and show its code",
            icons.ICON_FA_LOCATION_CROSSHAIRS,
            lambda: ui.run("trace.choose", block=row.number, go=True),
            unknown,
        ),
        MenuEntry(
            "Show where it comes from and goes to",
            icons.ICON_FA_DIAGRAM_PROJECT,
            lambda: ui.run("trace.flow", block=row.number),
        ),
        *reach_entries(ui, f"block:{row.number}"),
    )


assert {title for title, _ in _LEAVING} <= {column.title for column in COLUMNS}
