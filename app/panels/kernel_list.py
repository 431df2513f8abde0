"""One list of the kernel panel: what is asked, how its rows look, and what clicking them does."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from imgui_bundle import icons_fontawesome_6 as icons

from app.chosen import Key
from app.kernel_ui import Fetched
from app.widgets.record_model import R
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui


def _no_tools(_state: AppState, _ui: Ui, _table: RecordTable[Any]) -> None:
    return


def _no_row(_rows: Sequence[Any], _key: Key) -> None:
    return


@dataclass(frozen=True)
class KernelList(Generic[R]):
    """A section of the panel. All its functions are told the machine's name."""

    title: str
    icon: str
    nouns: tuple[str, str]
    """What one row is, and what several are: ("module", "modules")."""
    make: Callable[[], RecordTable[R]]
    fetch: Callable[[AppState, str], Fetched]
    """The rows as they are known now; for each frame."""
    do: Callable[[Ui, str, TableEvent[R]], None]
    """What a click, a double click or the keys do with a row."""
    menu: Callable[[Ui, str, R], Sequence[MenuEntry]]
    empty: str
    """What is said where the kernel's list is empty."""
    holds: str = ""
    """The kind of things, as `choose.pages_of` takes it, that its rows are: what is chosen elsewhere is selected."""
    find: Callable[[Sequence[R], Key], Hashable | None] = _no_row
    """Which row a chosen thing of that kind is, as its table tells rows apart; None: none."""
    tools: Callable[[AppState, Ui, RecordTable[Any]], None] = _no_tools
    """Further tools beside the filter."""
    tools_units: float = 0.0
    """How wide they are."""


def ask_desk(state: AppState, machine: str, question: str, *arguments: Any, every_s: float) -> Fetched:
    """Ask the kernel's worker for rows, again and again while they are shown: those of a dump never change."""
    found = state.machine(machine)
    again_s = math.inf if found is not None and found.info.dump else every_s
    answer = state.kernels.ask(machine, question, *arguments, now_s=state.now_s, every_s=again_s)
    if answer is None:
        return Fetched()
    return Fetched(None if answer.problem else answer.value, answer.problem, answer.taken_s, answer.took_s)


def go_entry(ui: Ui, machine: str, label: str, vaddr: int) -> MenuEntry:
    """A menu line that selects the byte at one of the kernel's virtual addresses."""
    return MenuEntry(
        label,
        icons.ICON_FA_LOCATION_CROSSHAIRS,
        lambda: ui.run("kernel.go_to", where=f"{vaddr:#x}", machine=machine),
        "" if vaddr else "Its address is not known",
    )


def light(ui: Ui, machine: str, kind: str, key: str, title: str = "") -> None:
    """Light up the pages of something, and fly there."""
    ui.run("choose.pages_of", kind=kind, key=key, machine=machine, **({"title": title} if title else {}))


def light_entry(ui: Ui, machine: str, kind: str, key: str, label: str = "Light up its pages") -> MenuEntry:
    """A menu line that lights pages up."""
    return MenuEntry(label, icons.ICON_FA_HIGHLIGHTER, lambda: light(ui, machine, kind, key))
