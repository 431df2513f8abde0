"""Actions on the kernel's lists: which is shown, filtered and ordered how; and on places in the kernel by name."""

from __future__ import annotations

import re
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, BadArguments, Param
from app.jobs import Job, JobState
from app.kernel_ui import LOG, SECTIONS
from app.layout import KERNEL
from app.numbers import BadNumber, parse_address
from app.panels.kernel import fetch, table_of
from app.panels.kernel_log import SHOWN_LEVELS
from app.session import Session
from bridge.kernel.errors import KernelError

CATEGORY = "Kernel"
MAX_SCRIPT_ROWS = 100_000
_PLACE = re.compile(r"(?P<name>[A-Za-z_.$][\w.$@]*)(?:\s*\+\s*(?P<offset>\w+))?")


def kernel_list_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def needs_kernel() -> str | None:
        if state.current is None or state.current not in state.stage.feeds:
            return "No machine's memory is shown"
        sighting = state.kernels.sighting(state.current)
        if sighting is None:
            return "The kernel was not found yet"
        return sighting.problem or None

    def show(section: str) -> None:
        state.kernel.section = section
        session.kept.change(show_kernel=True)
        state.focus_panel = KERNEL

    def filter_by(text: str, section: str | None = None) -> None:
        table_of(state, section or state.kernel.section).set_filter(text)

    def sort(column: str, section: str | None = None, descending: bool | None = None) -> None:
        table = table_of(state, section or state.kernel.section)
        titles = [one.title for one in table.model.columns]
        found = next((title for title in titles if title.casefold() == column.casefold()), None)
        if found is None:
            raise BadArguments(f"column: {column[:40]!r} is none of {', '.join(titles)}")
        table.sort_by(found, descending=descending)

    def rows(section: str | None = None, limit: int = 1000) -> dict[str, Any]:
        name = section or state.kernel.section
        table, fetched = table_of(state, name), fetch(state, name)
        if fetched.rows is None:
            return {"section": name, "problem": fetched.problem or "not read yet", "total": 0, "rows": []}
        view = table.model.view(fetched.rows)
        columns = table.model.columns
        return {
            "section": name,
            "problem": "",
            "total": len(fetched.rows),
            "rows": [
                {column.title: column.copied(fetched.rows[at]) for column in columns}
                for at in view[: max(0, min(limit, MAX_SCRIPT_ROWS))].tolist()
            ],
        }

    def copy(section: str | None = None) -> str:
        name = section or state.kernel.section
        fetched = fetch(state, name)
        if fetched.rows is None:
            raise BadArguments(fetched.problem or f"the {name.lower()} were not read yet")
        model = table_of(state, name).model
        model.view(fetched.rows)
        text = model.csv()
        imgui.set_clipboard_text(text)
        return text

    def log_level(level: str) -> None:
        state.kernel.log_level = next(number for number, title in SHOWN_LEVELS if title == level)

    def follow(on: bool) -> None:
        table_of(state, LOG).follow = on

    def go_to(where: str, pid: int | None = None, machine: str | None = None) -> None:
        name = machine or state.current
        if name is None or name not in state.stage.feeds:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        _go_to(session, name, where, pid)

    sections = Param("section", "choice", choices=lambda: SECTIONS)
    machines = Param("machine", "choice", choices=lambda: list(state.stage.feeds))
    return [
        Action(
            id="kernel.show",
            title="Show the kernel's…",
            category=CATEGORY,
            run=show,
            params=(Param("section", "choice", required=True, choices=lambda: SECTIONS),),
            icon=icons.ICON_FA_TABLE_LIST,
            keywords="modules slabs sockets mounts log dmesg messages symbols kallsyms list table",
        ),
        Action(
            id="kernel.go_to",
            title="Go to the symbol or virtual address…",
            category=CATEGORY,
            run=go_to,
            params=(
                Param("where", required=True, help="a symbol, symbol+0x10, or a virtual address"),
                Param("pid", "integer", help="a virtual address of this process; the kernel's own unless it is said"),
                machines,
            ),
            why_not=needs_kernel,
            icon=icons.ICON_FA_LOCATION_CROSSHAIRS,
            help="Selects the byte there and flies to it",
            keywords="jump find function variable",
        ),
        Action(
            id="kernel.filter",
            title="Filter a list of the kernel…",
            category=CATEGORY,
            run=filter_by,
            params=(Param("text", required=True), sections),
            icon=icons.ICON_FA_FILTER,
            in_palette=False,
        ),
        Action(
            id="kernel.sort",
            title="Sort a list of the kernel…",
            category=CATEGORY,
            run=sort,
            params=(Param("column", required=True), sections, Param("descending", "flag")),
            icon=icons.ICON_FA_SORT,
            in_palette=False,
        ),
        Action(
            id="kernel.rows",
            title="Say what a list of the kernel shows",
            category=CATEGORY,
            run=rows,
            params=(sections, Param("limit", "integer")),
            in_palette=False,
        ),
        Action(
            id="kernel.copy",
            title="Copy the kernel panel's list as CSV",
            category=CATEGORY,
            run=copy,
            params=(sections,),
            why_not=needs_kernel,
            icon=icons.ICON_FA_COPY,
        ),
        Action(
            id="kernel.log_level",
            title="Show kernel messages of weight…",
            category=CATEGORY,
            run=log_level,
            params=(Param("level", "choice", required=True, choices=lambda: [title for _, title in SHOWN_LEVELS]),),
            icon=icons.ICON_FA_MESSAGE,
            keywords="dmesg log warnings errors",
        ),
        Action(
            id="kernel.follow",
            title="Follow the kernel's messages",
            category=CATEGORY,
            run=follow,
            params=(Param("on", "flag", required=True),),
            icon=icons.ICON_FA_ARROW_DOWN,
            in_palette=False,
        ),
    ]


def _go_to(session: Session, machine: str, where: str, pid: int | None) -> Job:
    """Find where something lies in RAM, in a job: the kernel's worker answers between two looks. Then go there."""
    state = session.state
    place = _PLACE.fullmatch(where.strip())
    if place is not None and pid is not None:
        raise BadArguments("where: symbols are the kernel's; of a process it must be an address")
    try:
        # Addresses begin with a digit, names do not; what follows a name's plus is an address again.
        number = parse_address((place["offset"] or "0") if place is not None else where)
    except BadNumber as error:
        raise BadArguments(f"where: {error}") from None

    def work(_job: Job) -> int:
        vaddr = number
        if place is not None:
            found = state.kernels.inquire(machine, "find_symbol", place["name"])
            if found is None:
                raise KernelError(f"The kernel of {machine} has no symbol called {place['name'][:80]}.")
            vaddr = (int(found) + number) & (1 << 64) - 1
        return int(state.kernels.inquire(machine, "physical", vaddr, pid))

    def end(job: Job) -> None:
        if job.state is JobState.DONE and machine in state.stage.feeds:
            session.run("view.go_to", {"address": int(job.result), "machine": machine})
        elif job.state is JobState.FAILED and job.error is not None:
            session.notices.report(job.error)

    return state.jobs.start(f"Going to {where[:40]}", work, on_end=end, quiet=True, can_cancel=False)
