"""Actions on watched pages: whose writers are told from then on, and who they were."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, ActionError, BadArguments, Param
from app.jobs import Job
from app.session import Session
from app.watching import MOST_PAGES, Told, Watching
from app.writer_rows import writer_rows
from bridge.trace.modes import Mode

CATEGORY = "Execution"
PAGE_BYTES = 4096
MOST_BYTES = 1 << 30
LIMIT_S = 10.0
_POLL_S = 0.02


class NotWatched(ActionError):
    """Nothing is watched; the message says why."""


def watching_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def names() -> Sequence[str]:
        return [m.name for m in state.manager.machines()]

    def why_not(machine: str | None = None) -> str | None:
        watching = state.watchings.of(machine or state.current)
        if watching is None:
            return "No machine runs here" if state.machine(machine) is None else "Nothing runs in a dump"
        return watching.tracer.why_not or None

    def of(machine: str | None) -> Watching:
        name = state.require_machine(machine).name
        if (reason := why_not(name)) is not None:
            raise NotWatched(reason)
        found = state.watchings.of(name)
        assert found is not None
        return found

    def bytes_of(address: int | None, watching: Watching) -> int:
        """A physical address, or the selected one."""
        if address is not None:
            return address
        place = state.selection
        found = None if place is None else state.stage.paddr(place)
        if place is None or found is None or place.machine != watching.tracer.machine.name:
            raise BadArguments("no byte is selected; name an address")
        return found

    def page_at(watching: Watching, address: int) -> int:
        ram = watching.tracer.machine.ram
        if ram is None:
            raise NotWatched("Its memory is not shown.")
        return ram.physical_map.offset_from_paddr(address) // PAGE_BYTES

    def page(
        address: int | None = None, length: int = 1, machine: str | None = None, loads: bool = False, more: bool = False
    ) -> dict[str, Any]:
        watching = of(machine)
        first = bytes_of(address, watching)
        if not 1 <= length <= MOST_PAGES * PAGE_BYTES:
            raise BadArguments(f"length: it lies between 1 and {MOST_PAGES * PAGE_BYTES:,}")
        pages = {page_at(watching, at) for at in range(first // PAGE_BYTES * PAGE_BYTES, first + length, PAGE_BYTES)}
        if more and watching.watches:
            pages |= set(watching.pages.tolist())
        watching.watch(pages, loads=loads)
        return {"machine": watching.tracer.machine.name, "pages": len(watching.pages)}

    def chosen(machine: str | None = None) -> dict[str, Any]:
        watching, lit = of(machine), state.chosen
        if lit is None or lit.machine != watching.tracer.machine.name or lit.pages is None or not len(lit.pages):
            raise BadArguments("nothing of it is lit up; choose something first")
        if len(lit.pages) > MOST_PAGES:
            raise BadArguments(f"{lit.title} has {len(lit.pages):,} pages; {MOST_PAGES:,} can be watched")
        watching.watch(lit.pages.tolist())
        return {"machine": watching.tracer.machine.name, "pages": len(watching.pages)}

    def stop(machine: str | None = None) -> None:
        of(machine).watch(())

    def writers(address: int | None = None, length: int = 1, machine: str | None = None) -> Job:
        watching = of(machine)
        first = bytes_of(address, watching)
        if not 1 <= length <= MOST_BYTES:
            raise BadArguments(f"length: it lies between 1 and {MOST_BYTES:,}")
        if watching.tracer.mode is not Mode.TRACE and not watching.holds(page_at(watching, first)):
            raise NotWatched("That page is not watched (watch.page), and no trace is recorded.")
        name, began_ns = watching.tracer.machine.name, time.monotonic_ns()

        def ask(_job: Job) -> list[dict[str, Any]]:
            told: Told | None = None
            deadline = time.monotonic() + LIMIT_S
            while told is None or told.at_ns < began_ns:
                if time.monotonic() > deadline:
                    raise NotWatched("The plugin did not answer in time.")
                told = watching.ask(first, first + length)
                time.sleep(_POLL_S)
            spots = tuple(dict.fromkeys((one.code, one.pc) for one in told.accesses))
            known = state.kernels.sighting(name)
            places = () if known is None or known.problem else state.kernels.inquire(name, "code_places", spots)
            named = dict(zip(spots, places, strict=False))
            rows = writer_rows(told, named, watching.tracer.tasks, time.monotonic_ns())
            return [row.document() for row in rows]

        return state.jobs.start("Who wrote this", ask)

    machine_param = Param("machine", choices=names, help="the current one")
    address_param = Param("address", "address", help="physical, such as 0x7c00; the selected byte's")
    return [
        Action(
            id="watch.page",
            title="Watch who writes this page",
            category=CATEGORY,
            run=page,
            icon=icons.ICON_FA_EYE,
            params=(
                address_param,
                Param("length", "integer", help="bytes; all their pages are watched"),
                machine_param,
                Param("loads", "flag", help="who reads it, too"),
                Param("more", "flag", help="beside the pages that are watched already"),
            ),
            help="From then on each write shows its instruction, function, process and age",
            keywords="who wrote store writer watchpoint memory",
            why_not=why_not,
        ),
        Action(
            id="watch.chosen",
            title="Watch who writes what is lit up",
            category=CATEGORY,
            run=chosen,
            icon=icons.ICON_FA_EYE,
            params=(machine_param,),
            keywords="who wrote range heap stack pages",
            why_not=lambda: why_not() or ("Nothing is lit up" if state.chosen is None else None),
        ),
        Action(
            id="watch.stop",
            title="Watch no page any more",
            category=CATEGORY,
            run=stop,
            icon=icons.ICON_FA_EYE_SLASH,
            params=(machine_param,),
            why_not=why_not,
        ),
        Action(
            id="watch.writers",
            title="Who wrote this",
            category=CATEGORY,
            run=writers,
            icon=icons.ICON_FA_PEN,
            params=(address_param, Param("length", "integer", help="bytes"), machine_param),
            help="The last writes to it: of a watched page, or as far back as a trace reaches",
            why_not=why_not,
        ),
    ]
