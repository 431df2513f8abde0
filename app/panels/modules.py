"""Modules: what is loaded into the kernel, how large it is, and what uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons

from app.kernel_ui import MODULES, Fetched
from app.output import format_bytes
from app.panels.kernel_list import KernelList, ask_desk, go_entry, light, light_entry
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent
from bridge.kernel.records import Module

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

EVERY_S = 2.0


def _tone(module: Module) -> Tone:
    return "dim" if module.state == "Live" else "warn"


COLUMNS = (
    Column[Module]("Module", lambda m: m.name),
    Column[Module](
        "Size", lambda m: m.size_bytes, lambda m: format_bytes(m.size_bytes), 20, right=True, descends=True, exact=True
    ),
    Column[Module]("State", lambda m: m.state, width=18, tone=_tone),
    Column[Module](
        "Uses", lambda m: m.references, width=14, right=True, descends=True, tone="dim", tip="How often it is in use"
    ),
    Column[Module]("Used by", lambda m: ", ".join(m.used_by), tone="dim"),
    Column[Module]("Code at", lambda m: m.base, lambda m: f"{m.base:#x}", 42, mono=True, tone="dim"),
)


def _make() -> RecordTable[Module]:
    return RecordTable("modules", RecordModel(COLUMNS, lambda module: module.name, sort=0))


def _fetch(state: AppState, machine: str) -> Fetched:
    return ask_desk(state, machine, "modules", every_s=EVERY_S)


def _do(ui: Ui, machine: str, event: TableEvent[Module]) -> None:
    if event.kind == "open":
        ui.run("kernel.go_to", where=f"{event.row.base:#x}", machine=machine)
    else:
        light(ui, machine, "module", event.row.name)


def _menu(ui: Ui, machine: str, module: Module) -> Sequence[MenuEntry]:
    return (
        light_entry(ui, machine, "module", module.name),
        go_entry(ui, machine, "Go to its code", module.base),
        go_entry(ui, machine, "Go to its struct module", module.address),
    )


LIST = KernelList(
    MODULES,
    icons.ICON_FA_PUZZLE_PIECE,
    ("module", "modules"),
    _make,
    _fetch,
    _do,
    _menu,
    "This kernel has no modules loaded",
    holds="module",
    find=lambda _rows, name: name,
)
