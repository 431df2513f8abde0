"""Mounts: the file systems that the guest's first process sees, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons

from app.kernel_ui import MOUNTS, Fetched
from app.panels.kernel_list import KernelList, ask_desk, go_entry
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent
from bridge.kernel.records import Mount

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

EVERY_S = 2.0

COLUMNS = (
    Column[Mount]("Path", lambda m: m.path),
    Column[Mount]("File system", lambda m: m.file_system, width=24),
    Column[Mount]("Source", lambda m: m.source, width=30, tone="dim", tip="What is mounted there"),
    Column[Mount]("Device", lambda m: m.device, width=16, tone="dim", tip="Major and minor number"),
    Column[Mount]("Options", lambda m: m.options, tone="dim"),
)


def _make() -> RecordTable[Mount]:
    return RecordTable("mounts", RecordModel(COLUMNS, lambda mount: mount.mount_id, sort=0))


def _fetch(state: AppState, machine: str) -> Fetched:
    return ask_desk(state, machine, "mounts", every_s=EVERY_S)


def _do(ui: Ui, machine: str, event: TableEvent[Mount]) -> None:
    if event.kind == "open":
        ui.run("kernel.go_to", where=f"{event.row.address:#x}", machine=machine)


def _menu(ui: Ui, machine: str, mount: Mount) -> Sequence[MenuEntry]:
    return (go_entry(ui, machine, "Go to its struct mount", mount.address),)


LIST = KernelList(
    MOUNTS, icons.ICON_FA_HARD_DRIVE, ("mount", "mounts"), _make, _fetch, _do, _menu, "Nothing is mounted yet"
)
