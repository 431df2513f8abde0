"""Rows that name processes and addresses: what a click on one does, and its menu; the same for all tables of others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons

from app.panels.kernel_list import light_entry
from app.volatility_rows import Address, Named
from app.widgets.plain_text import plain
from app.widgets.record_table import MenuEntry

if TYPE_CHECKING:
    from app.ui import Ui

MOST_PLACES = 6
"""Addresses in a row's menu."""


def act_on_row(ui: Ui, machine: str, named: Named, *, opened: bool) -> None:
    """Light up what a row names, as in all other tables; opened, or where it names nothing else, go to its address."""
    things = _things(ui, machine, named)
    if named.addresses and (opened or not things):
        go_to(ui, machine, named, named.addresses[0])
    elif things:
        things[0].run()


def row_menu(ui: Ui, machine: str, named: Named) -> Sequence[MenuEntry]:
    """What can be done with what a row names."""
    places = [
        MenuEntry(
            f"Go to {plain(address.column)} {address.value:#x}",
            icons.ICON_FA_LOCATION_CROSSHAIRS,
            partial(go_to, ui, machine, named, address),
        )
        for address in named.addresses[:MOST_PLACES]
    ]
    return (*_things(ui, machine, named), *places)


def _things(ui: Ui, machine: str, named: Named) -> list[MenuEntry]:
    """What can be lit up of a row, the narrowest first."""
    found = []
    if named.region is not None:
        start, end = named.region
        found.append(
            light_entry(ui, machine, "region", f"{named.pid},{start:#x},{end:#x}", "Light up this part of its memory")
        )
    if named.pid is not None:
        found.append(light_entry(ui, machine, "process", str(named.pid), f"Light up process {named.pid}"))
    if named.tid is not None:
        found.append(light_entry(ui, machine, "stack", str(named.tid), f"Light up the kernel stack of {named.tid}"))
    return found


def go_to(ui: Ui, machine: str, named: Named, address: Address) -> None:
    """Fly to an address that a row names."""
    if address.space == "physical":
        ui.run("view.go_to", address=address.value, machine=machine)
    elif address.space == "process":
        ui.run("kernel.go_to", where=f"{address.value:#x}", pid=named.pid, machine=machine)
    else:
        ui.run("kernel.go_to", where=f"{address.value:#x}", machine=machine)
