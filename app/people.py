"""People: which process, region and thread of each machine the panels are about, and what they know of them.

Panels of processes share it, and it follows what is chosen and selected elsewhere: a byte in the volume selects the
process and the region that hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from app.people_tables import Call, files_table, memory_map_table, stack_table
from app.process_list import MAX_ROWS, SORT_COLUMNS, Line, ProcessRow, SortColumn, arrange, process_rows
from app.region_list import seen_regions

if TYPE_CHECKING:
    from app.place import Place
    from app.state import AppState
    from app.widgets.record_table import RecordTable
    from bridge.kernel.desk import Answer
    from bridge.kernel.records import MapEntry, OpenFile
    from bridge.kernel.where import Story
    from bridge.kernel.worker import Sighting

_MAX_ASKED_AT_ONCE = 256
"""Command lines in one question: the rest is asked for in the next."""
STORY_EVERY_S = 1.0


@dataclass(slots=True)
class OfMachine:
    """What the panels know of one machine's processes."""

    pid: int | None = None
    """The process that memory map, files and stack are about."""
    region: int | None = None
    """Where the selected region of it begins."""
    thread: int | None = None
    """The thread whose stack is shown; None: the first."""
    toggled: set[int] = field(default_factory=set)
    """Processes in the tree that were folded or unfolded by hand."""
    rows: tuple[ProcessRow, ...] = ()
    lines: tuple[Line, ...] = ()
    commands: dict[tuple[int, str], str] = field(default_factory=dict)
    seen: Sighting | None = None
    """What `rows` were made from."""
    made_from: object = None
    """What `lines` were made from."""
    known_of: object = None
    """The rows all of whose command lines are known."""
    asked: tuple[tuple[int, str], ...] = ()
    """Whose command lines are being asked for."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of a process."""

    tid: int
    name: str
    state: str


@dataclass(slots=True)
class People:
    """The panels' own state. Belongs to the main thread."""

    maps: RecordTable[MapEntry] = field(default_factory=memory_map_table)
    files: RecordTable[OpenFile] = field(default_factory=files_table)
    stacks: RecordTable[Call] = field(default_factory=stack_table)
    frames: object = None
    """What `calls` were made from."""
    calls: tuple[Call, ...] = ()
    needle: str = ""
    tree: bool = True
    sort: SortColumn = "pid"
    descending: bool = False
    machines: dict[str, OfMachine] = field(default_factory=dict)
    scroll_to: int | None = None
    """Bring this process into view in the next frame."""
    scroll_to_region: int | None = None
    drawn: tuple[Line, ...] = ()
    """The list as it was drawn last."""
    followed: Place | None = None
    """The selected byte whose story was taken up, or is waited for."""
    told: bool = True
    """Whether it was."""
    chosen: object = None
    """What was chosen when that was last looked at."""

    def of(self, machine: str) -> OfMachine:
        """What is known of a machine, made at first use."""
        return self.machines.setdefault(machine, OfMachine())

    def forget(self, names: Sequence[str]) -> None:
        """Keep only what belongs to these machines."""
        for name in [name for name in self.machines if name not in names]:
            del self.machines[name]


def refresh(state: AppState, machine: str) -> OfMachine:
    """Bring rows and lines of a machine up to date. Costs nothing while nothing changed."""
    people, found = state.people, state.people.of(machine)
    sighting = state.kernels.sighting(machine)
    if sighting is None or sighting.processes is None:
        found.rows, found.lines, found.seen, found.made_from = (), (), sighting, None
        return found
    news = _take_commands(state, machine, found)
    if sighting is not found.seen or news:
        found.seen = sighting
        found.rows = process_rows(sighting.processes, sighting.threads, found.commands)
    wanted = (found.rows, people.needle, people.tree, people.sort, people.descending, frozenset(found.toggled))
    if found.made_from != wanted:
        found.made_from = wanted
        found.lines = arrange(
            found.rows,
            needle=people.needle,
            tree=people.tree,
            sort=people.sort,
            descending=people.descending,
            toggled=found.toggled,
        )
    return found


def changed(state: AppState) -> bool:
    """Whether the list of processes is shown, and would be drawn otherwise than it was: then a frame is worth it."""
    if not state.settings.show_processes or state.current is None:
        return False
    return refresh(state, state.current).lines != state.people.drawn


def _take_commands(state: AppState, machine: str, found: OfMachine) -> bool:
    """Ask for command lines that are not known yet; whether any came. A name that changes is another program."""
    if not found.asked:
        if found.known_of is found.rows:
            return False
        unknown = [(r.pid, r.name) for r in found.rows if r.root and (r.pid, r.name) not in found.commands]
        if not unknown:
            found.known_of = found.rows
            return False
        alive = {(r.pid, r.name) for r in found.rows}
        found.commands = {key: text for key, text in found.commands.items() if key in alive}
        found.asked = tuple(unknown[:_MAX_ASKED_AT_ONCE])
    pids = tuple(sorted(pid for pid, _ in found.asked))
    answer = state.kernels.ask(machine, "command_lines", pids, now_s=state.now_s, every_s=1e9)
    if answer is None:
        return False
    told: dict[int, str] = answer.value if isinstance(answer.value, dict) else {}
    found.commands |= {(pid, name): told.get(pid, "") for pid, name in found.asked}
    found.asked = ()
    return True


def row_of(state: AppState, machine: str, pid: int | None) -> ProcessRow | None:
    """The row of a process; None where it is gone."""
    return next((row for row in refresh(state, machine).rows if row.pid == pid), None)


def ask(state: AppState, machine: str, question: str, *arguments: Any, every_s: float = 2.0) -> Answer | None:
    """Ask for the panel that is being drawn. A dump is asked once: it does not change."""
    found = state.machine(machine)
    if found is not None and found.info.dump:
        every_s = 1e9
    return state.kernels.ask(machine, question, *arguments, now_s=state.now_s, every_s=every_s)


def sorted_by(people: People, column: str, descending: bool | None) -> tuple[SortColumn, bool]:
    """How the list is sorted after a column was asked for: the same one again turns it around."""
    found: SortColumn = next(known for known in SORT_COLUMNS if known == column)
    if descending is None:
        descending = not people.descending if found == people.sort else found in ("memory", "threads")
    return found, descending


def regions_of(state: AppState, machine: str, pid: int) -> tuple[tuple[MapEntry, ...], str]:
    """The regions of a process, and why not all is known of them; names come with the first answer."""
    answer = ask(state, machine, "maps", pid)
    if answer is not None and not answer.problem:
        return tuple(answer.value), ""
    return seen_regions(state.kernels.sighting(machine), pid), "" if answer is None else answer.problem


def threads_of(state: AppState, machine: str, pid: int) -> tuple[Thread, ...]:
    """The threads of a process, MAX_ROWS at most; itself where nothing is known of threads."""
    sighting = state.kernels.sighting(machine)
    if sighting is None or sighting.threads is None:
        return ()
    threads = sighting.threads
    own = np.flatnonzero(threads.tgids == pid)[:MAX_ROWS].tolist()
    return tuple(Thread(int(threads.pids[i]), threads.names[i], threads.states[i]) for i in own)


def thread_of(state: AppState, machine: str, pid: int) -> int:
    """The thread of a process whose stack is shown: its first one, unless another was chosen that is still there."""
    wanted = state.people.of(machine).thread
    return wanted if wanted is not None and any(one.tid == wanted for one in threads_of(state, machine, pid)) else pid


def describe_process(state: AppState) -> dict[str, Any] | None:
    """The current machine's process and region that the panels are about, as JSON values; None where there is none."""
    machine = state.current
    found = None if machine is None else state.people.machines.get(machine)
    if found is None or found.pid is None:
        return None
    return {"machine": machine, "pid": found.pid, "region": found.region, "thread": found.thread}


def choose(state: AppState, machine: str, kind: str, key: str, title: str, *, fly: bool) -> None:
    """Light the pages of something up."""
    state.run("choose.pages_of", {"kind": kind, "key": key, "machine": machine, "title": title, "fly": fly})


def set_process(state: AppState, machine: str, pid: int, *, region: int | None = None) -> None:
    """Make a process the one that the panels are about, and bring it into view."""
    people, found = state.people, state.people.of(machine)
    if found.pid != pid:
        found.pid, found.thread = pid, None
        found.region = None
    if region is not None:
        found.region = people.scroll_to_region = region
    people.scroll_to = pid
    reveal(found, pid)


def reveal(found: OfMachine, pid: int) -> None:
    """Unfold whatever hides a process in the tree. A second call changes nothing."""
    by_pid = {row.pid: row for row in reversed(found.rows)}
    row = by_pid.get(pid)
    for _ in range(len(by_pid)):  # parents may go round in a circle
        row = None if row is None else by_pid.get(row.ppid)
        if row is None:
            return
        (found.toggled.add if row.is_kernel else found.toggled.discard)(row.pid)


def follow(state: AppState) -> None:
    """Take up what was selected or chosen elsewhere: its process and region become the panels'."""
    people = state.people
    people.forget([machine.name for machine in state.manager.machines()])
    _follow_chosen(state)
    place = state.selection
    if place != people.followed:
        people.followed, people.told = place, False
    if place is None or people.told:
        return
    address = state.stage.paddr(place)
    if address is None:
        people.told = True
        return
    answer = state.kernels.ask(place.machine, "where", address, now_s=state.now_s, every_s=STORY_EVERY_S)
    if answer is None:
        return
    people.told = True
    if not answer.problem:
        _take_story(state, place.machine, answer.value)


def _take_story(state: AppState, machine: str, story: Story) -> None:
    """A page of many processes stays with the one that the panels are about, where it is one of them."""
    if not story.mappings:
        owner = story.stack_task or story.table_owner
        if story.stack_task is not None:
            set_thread(state, machine, story.stack_task[0])
        elif owner is not None and owner[0]:
            set_process(state, machine, owner[0])
        return
    now = state.people.of(machine).pid
    mapping = next((one for one in story.mappings if one.pid == now), story.mappings[0])
    set_process(state, machine, mapping.pid, region=mapping.vma_start or None)


def _follow_chosen(state: AppState) -> None:
    chosen = state.chosen
    if chosen == state.people.chosen:
        return
    state.people.chosen = chosen
    if chosen is None:
        return
    key = chosen.key
    if chosen.kind == "region" and isinstance(key, tuple) and len(key) == 3:
        set_process(state, chosen.machine, key[0], region=key[1])
    elif chosen.kind in ("process", "tables") and isinstance(key, int):
        set_process(state, chosen.machine, key)
    elif chosen.kind == "stack" and isinstance(key, int):
        set_thread(state, chosen.machine, key)


def set_thread(state: AppState, machine: str, tid: int) -> None:
    """Make a thread, and its process, what the panels are about."""
    sighting = state.kernels.sighting(machine)
    if sighting is None or sighting.threads is None:
        return
    threads = sighting.threads
    found = (threads.pids == tid).nonzero()[0]
    if len(found):
        set_process(state, machine, int(threads.tgids[found[0]]))
        state.people.of(machine).thread = tid
