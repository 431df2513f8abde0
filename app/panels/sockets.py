"""Sockets: what the guest's processes talk through, from which address to which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons

from app.kernel_ui import SOCKETS, Fetched
from app.panels.kernel_list import KernelList, ask_desk, go_entry, light, light_entry
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent
from bridge.kernel.records import Socket

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

EVERY_S = 2.0


def _tone(socket: Socket) -> Tone:
    state = socket.state.upper()
    return "good" if state == "ESTABLISHED" else "accent" if state == "LISTEN" else "dim"


def spoken(socket: Socket) -> str:
    """Return how a socket speaks: `tcp`, `udp6`, `unix stream`."""
    return socket.protocol or f"{socket.family} {socket.kind}"


COLUMNS = (
    Column[Socket]("Process", lambda s: s.process, lambda s: f"{s.process} ({s.pid})", tip="Who holds it open"),
    Column[Socket](
        "fd", lambda s: s.descriptor, lambda s: str(s.descriptor), 9, right=True, tone="dim", tip="Descriptor"
    ),
    Column[Socket]("Family", lambda s: s.family, width=16, tone="dim"),
    Column[Socket]("Protocol", spoken, width=22),
    Column[Socket]("State", lambda s: s.state, width=25, tone=_tone),
    Column[Socket]("Local", lambda s: s.local, mono=True),
    Column[Socket]("Remote", lambda s: s.remote, mono=True),
)


def _make() -> RecordTable[Socket]:
    return RecordTable("sockets", RecordModel(COLUMNS, lambda s: (s.pid, s.descriptor, s.address), sort=0))


def _fetch(state: AppState, machine: str) -> Fetched:
    return ask_desk(state, machine, "sockets", every_s=EVERY_S)


def _do(ui: Ui, machine: str, event: TableEvent[Socket]) -> None:
    if event.kind == "open":
        ui.run("kernel.go_to", where=f"{event.row.address:#x}", machine=machine)
    else:
        light(ui, machine, "process", str(event.row.pid))


def _menu(ui: Ui, machine: str, socket: Socket) -> Sequence[MenuEntry]:
    return (
        light_entry(ui, machine, "process", str(socket.pid), "Light up its process"),
        go_entry(ui, machine, "Go to its struct sock", socket.address),
    )


LIST = KernelList(
    SOCKETS, icons.ICON_FA_PLUG, ("socket", "sockets"), _make, _fetch, _do, _menu, "No process holds a socket open"
)
