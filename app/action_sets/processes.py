"""Actions on a guest's processes: choose one, see its memory map, files and stacks, sort and filter the list."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app import people
from app.action_sets.windows import show_panel
from app.actions import Action, BadArguments, Param
from app.layout import FILES, MEMORY_MAP, PROCESSES, STACK
from app.process_list import SORT_COLUMNS, STATE_WORDS, ProcessRow
from app.region_list import region_at, title_of
from app.session import Session

CATEGORY = "Process"


def process_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def names() -> Sequence[str]:
        return [m.name for m in state.manager.machines()]

    def no_kernel() -> str | None:
        if state.current is None:
            return "There is no machine"
        sighting = state.kernels.sighting(state.current)
        if sighting is None:
            return "Its kernel is being looked for"
        return sighting.problem or None

    def row_of(pid: int | None, machine: str | None) -> tuple[str, ProcessRow]:
        name = session.state.require_machine(machine).name
        wanted = state.people.of(name).pid if pid is None else pid
        if wanted is None:
            raise BadArguments("no process is chosen; name one by its pid")
        row = people.row_of(state, name, wanted)
        if row is None:
            raise BadArguments(f"{name} has no process {wanted}")
        return name, row

    def choose(pid: int, machine: str | None = None, fly: bool = True) -> str:
        name, row = row_of(pid, machine)
        people.set_process(state, name, row.pid)
        state.current = name
        if row.root:
            people.choose(state, name, "process", str(row.pid), row.label, fly=fly)
        else:
            people.choose(state, name, "stack", str(row.pid), f"Kernel stack of {row.label}", fly=fly)
        return row.label

    def see(panel: str, pid: int | None = None, machine: str | None = None) -> str:
        name, row = row_of(pid, machine)
        people.set_process(state, name, row.pid)
        state.current = name
        show_panel(session, panel)
        return row.label

    def stack(pid: int | None = None, machine: str | None = None, tid: int | None = None) -> str:
        shown = see(STACK, pid, machine)
        if tid is not None:
            people.set_thread(state, session.state.require_machine(machine).name, tid)
        return shown

    def region(start: int, pid: int | None = None, machine: str | None = None, fly: bool = True) -> None:
        name, row = row_of(pid, machine)
        found = region_at(people.regions_of(state, name, row.pid)[0], start)
        if found is None:
            raise BadArguments(f"{row.label} has no region at {start:#x}")
        people.set_process(state, name, row.pid, region=found.start)
        key = f"{row.pid},{found.start:#x},{found.end:#x}"
        people.choose(state, name, "region", key, f"{row.label} {title_of(found)}", fly=fly)

    def listing(machine: str | None = None) -> list[dict[str, Any]]:
        lines = people.refresh(state, session.state.require_machine(machine).name).lines
        return [
            {
                "pid": line.row.pid,
                "ppid": line.row.ppid,
                "name": line.row.name,
                "state": STATE_WORDS.get(line.row.state, line.row.state),
                "uid": line.row.uid,
                "threads": line.row.threads,
                "rss_bytes": line.row.rss_bytes,
                "cmdline": line.row.command,
                "depth": line.depth,
                "folded": line.folded,
            }
            for line in lines
        ]

    def filter_by(text: str = "") -> None:
        state.people.needle = text

    def tree(on: bool | None = None) -> bool:
        state.people.tree = not state.people.tree if on is None else on
        return state.people.tree

    def sort(column: str, descending: bool | None = None) -> None:
        ui = state.people
        ui.sort, ui.descending = people.sorted_by(ui, column, descending)

    def fold(pid: int, machine: str | None = None) -> None:
        name, row = row_of(pid, machine)
        state.people.of(name).toggled ^= {row.pid}

    which, pid = Param("machine", "choice", choices=names), Param("pid", "integer")
    fly = Param("fly", "flag", help="fly there; on unless it is said")
    action = partial(Action, category=CATEGORY)
    of_kernel = partial(action, why_not=no_kernel)
    return [
        of_kernel(
            id="process.choose",
            title="Choose the process…",
            run=choose,
            params=(Param("pid", "integer", required=True), which, fly),
            icon=icons.ICON_FA_USER_GEAR,
            help="Its pages light up, and the panels of processes are about it",
            keywords="pid task select highlight",
        ),
        of_kernel(
            id="process.memory_map",
            title="Memory map of a process",
            run=partial(see, MEMORY_MAP),
            params=(pid, which),
            icon=icons.ICON_FA_MAP,
            help="Its regions: what they are, and how much of each is in memory",
            keywords="vma maps regions address space",
        ),
        of_kernel(
            id="process.files",
            title="Open files of a process",
            run=partial(see, FILES),
            params=(pid, which),
            icon=icons.ICON_FA_FOLDER_TREE,
            help="Its descriptors: files, pipes, sockets",
            keywords="fd descriptors lsof",
        ),
        of_kernel(
            id="process.stack",
            title="Kernel stack of a process",
            run=stack,
            params=(pid, which, Param("tid", "integer", help="one of its threads; the first when left out")),
            icon=icons.ICON_FA_LAYER_GROUP,
            help="Where in the kernel its threads wait",
            keywords="backtrace trace thread",
        ),
        of_kernel(
            id="process.region",
            title="Choose the region…",
            run=region,
            params=(Param("start", "address", required=True), pid, which, fly),
            icon=icons.ICON_FA_MAP_PIN,
            in_palette=False,
        ),
        action(
            id="process.filter",
            title="Filter the processes…",
            run=filter_by,
            params=(Param("text"),),
            icon=icons.ICON_FA_FILTER,
        ),
        action(
            id="process.tree",
            title="Processes as a tree or a list",
            run=tree,
            params=(Param("on", "flag"),),
            icon=icons.ICON_FA_SITEMAP,
            help="A tree says who started whom",
        ),
        action(
            id="process.sort",
            title="Sort the processes by…",
            run=sort,
            params=(
                Param("column", "choice", required=True, choices=lambda: SORT_COLUMNS),
                Param("descending", "flag"),
            ),
            icon=icons.ICON_FA_ARROW_DOWN_WIDE_SHORT,
        ),
        of_kernel(
            id="process.fold",
            title="Fold or unfold what a process started…",
            run=fold,
            params=(Param("pid", "integer", required=True), which),
            in_palette=False,
        ),
        of_kernel(
            id="process.list",
            title="List the processes as they are shown",
            run=listing,
            params=(which,),
            in_palette=False,
        ),
        action(
            id="process.show",
            title="Show the processes",
            run=lambda: show_panel(session, PROCESSES),
            icon=icons.ICON_FA_USERS,
            in_palette=False,
        ),
    ]
