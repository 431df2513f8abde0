"""Symbols: every function and variable of the kernel by name, found as one types, and a click from its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons
from numpy.typing import NDArray

from app.chosen import Key
from app.kernel_symbols import KernelSymbols
from app.kernel_ui import SYMBOLS, Fetched
from app.panels.kernel_list import KernelList, go_entry, light
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent
from bridge.kernel.records import SymbolRow

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

KINDS = {
    "t": "Code", "d": "Data", "r": "Constant", "b": "Zeroed data", "a": "Absolute", "w": "Weak", "v": "Weak data",
    "u": "Undefined", "i": "Indirect", "c": "Common", "g": "Small data", "s": "Small zeroed data", "n": "Debug",
}  # fmt: skip
"""What nm's letters mean; lower case: local to its file."""
_TONES: dict[str, Tone] = {"t": "accent", "w": "accent", "d": "text", "b": "text", "r": "dim", "a": "faint"}


def kind_of(symbol: SymbolRow) -> str:
    """Return what a symbol is, in words."""
    return KINDS.get(symbol.type_letter.lower(), symbol.type_letter)


def _addresses(rows: Sequence[SymbolRow]) -> NDArray[np.uint64]:
    assert isinstance(rows, KernelSymbols)
    return rows.symbols.addresses


def _ranks(rows: Sequence[SymbolRow]) -> NDArray[np.intp]:
    assert isinstance(rows, KernelSymbols)
    return rows.name_ranks


def _types(rows: Sequence[SymbolRow]) -> NDArray[np.uint8]:
    assert isinstance(rows, KernelSymbols)
    return rows.symbols.types


def _haystacks(rows: Sequence[SymbolRow]) -> Sequence[str]:
    return rows.haystacks if isinstance(rows, KernelSymbols) else ()


COLUMNS = (
    Column[SymbolRow]("Name", lambda s: s.name, mono=True, values=_ranks),
    Column[SymbolRow](
        "Kind",
        lambda s: s.type_letter,
        kind_of,
        22,
        tone=lambda s: _TONES.get(s.type_letter.lower(), "dim"),
        values=_types,
    ),
    Column[SymbolRow](
        "Scope",
        lambda s: s.type_letter.islower(),
        lambda s: "Local" if s.type_letter.islower() else "Global",
        15,
        tone="dim",
        values=lambda rows: _types(rows) >= ord("a"),
    ),
    Column[SymbolRow](
        "Address", lambda s: s.address, lambda s: f"{s.address:#018x}", 44, mono=True, tone="dim", values=_addresses
    ),
)


def _make() -> RecordTable[SymbolRow]:
    model = RecordModel(COLUMNS, lambda symbol: (symbol.address, symbol.name), sort=3, haystacks=_haystacks)
    return RecordTable("symbols", model)


def _fetch(state: AppState, machine: str) -> Fetched:
    shelf = state.kernel.shelf
    rows = shelf.of(state.kernels, machine, state.now_s)
    return Fetched(rows, shelf.problems.get(machine, "") if rows is None else "")


def _do(ui: Ui, machine: str, event: TableEvent[SymbolRow]) -> None:
    if event.kind == "open":
        ui.run("kernel.go_to", where=f"{event.row.address:#x}", machine=machine)
    else:
        _light(ui, machine, event.row)


def _light(ui: Ui, machine: str, symbol: SymbolRow) -> None:
    symbols = ui.state.kernel.shelf.of(ui.state.kernels, machine, ui.state.now_s)
    size = 0 if symbols is None else symbols.size_of(symbol.address)
    light(ui, machine, "symbol", f"{symbol.address:#x},{max(size, 1):#x}", symbol.name)


def _menu(ui: Ui, machine: str, symbol: SymbolRow) -> Sequence[MenuEntry]:
    return (
        MenuEntry("Light up its pages", icons.ICON_FA_HIGHLIGHTER, lambda: _light(ui, machine, symbol)),
        go_entry(ui, machine, "Go to its first byte", symbol.address),
    )


def _find(rows: Sequence[SymbolRow], key: Key) -> tuple[int, str] | None:
    """The symbol that begins where a chosen one does, by the name that people know it by."""
    if not isinstance(rows, KernelSymbols) or not isinstance(key, tuple):
        return None
    place = rows.place(key[0])
    return None if place is None or place.offset else (key[0], place.name)


LIST = KernelList(
    SYMBOLS,
    icons.ICON_FA_TAGS,
    ("symbol", "symbols"),
    _make,
    _fetch,
    _do,
    _menu,
    "This kernel names no symbols",
    holds="symbol",
    find=_find,
)
