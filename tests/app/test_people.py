"""Panels of processes over a real guest's dump: chosen by click, key and action, and selected everywhere."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from imgui_bundle import imgui

from app import people
from app.actions import ActionDisabled, BadArguments
from app.layout import FILES, MEMORY_MAP, PROCESSES, STACK
from app.people import OfMachine
from app.process_list import ProcessRow
from app.settings import Settings
from bridge.kernel.records import MapEntry, OpenFile
from tests.app.conftest import Person, dump_window

SIZE = (1280, 720)
NAME = "guest"


@pytest.fixture(scope="module")
def _shared(demo_dump: Path) -> Iterator[Person]:
    with dump_window(demo_dump, SIZE) as someone:
        yield someone


@pytest.fixture
def guest(_shared: Person) -> Person:
    """A window that shows a dump of the demo guest, put back in order."""
    state = _shared.state
    _shared.window.host.make_current()
    _shared.window.reset_layout()
    _shared.window.session.kept.change(**dataclasses.asdict(Settings()))
    _shared.window.session.navigation.choose(None)
    _shared.window.session.navigation.select(None)
    people_before = state.people
    state.people = people.People(machines={NAME: OfMachine(commands=state.people.of(NAME).commands)})
    state.people.followed = people_before.followed
    state.overlay = None
    _shared.move(640, 200)
    _shared.frame(8)
    state.toasts.dismiss()
    return _shared


def rows(person: Person) -> dict[str, ProcessRow]:
    return {row.name: row for row in people.refresh(person.state, NAME).rows}


def table_of(panel: str) -> imgui.internal.Window:
    """The part of a panel that scrolls its table."""
    found = [w for w in imgui.get_current_context().windows if w.name.startswith(f"{panel}/") and w.was_active]
    assert found, [w.name for w in imgui.get_current_context().windows if w.was_active]
    return found[-1]


def top_of(person: Person, panel: str) -> imgui.internal.Window:
    """The same, scrolled up: where it was scrolled to outlives a test."""
    person.window.host.build(lambda: imgui.internal.set_scroll_y(table_of(panel), 0.0))
    person.frame(3)
    window = table_of(panel)
    assert window.scroll.y == 0
    return window


def line_middle(person: Person, name: str) -> tuple[float, float]:
    """Where a process is drawn."""
    window = table_of(PROCESSES)
    lines = people.refresh(person.state, NAME).lines
    index = next(i for i, line in enumerate(lines) if line.row.name == name)
    header, line = 26.0, 28.0
    return window.pos.x + 60, window.pos.y + header + line * index + line / 2 - window.scroll.y


def pid_of(person: Person) -> int | None:
    return person.state.people.of(NAME).pid


def test_a_click_lights_a_processs_pages_up(guest: Person) -> None:
    guest.click(*line_middle(guest, "allocator"))
    allocator = rows(guest)["allocator"]
    assert pid_of(guest) == allocator.pid
    guest.until(lambda: guest.state.chosen is not None and guest.state.chosen.pages is not None, "they should be known")
    chosen = guest.state.chosen
    assert chosen is not None
    assert (chosen.kind, chosen.key, chosen.title) == ("process", allocator.pid, allocator.label)
    assert chosen.pages is not None
    assert len(chosen.pages) > 10
    assert not guest.toasts()
    # Undo of the choice leaves the panels where they are.
    guest.run("choose.clear")
    assert pid_of(guest) == allocator.pid


def test_a_thread_of_the_kernel_has_a_stack_to_light_up(guest: Person) -> None:
    kthreadd = rows(guest)["kthreadd"]
    assert guest.run("process.choose", kthreadd.pid) == kthreadd.label
    chosen = guest.state.chosen
    assert chosen is not None
    assert (chosen.kind, chosen.key) == ("stack", kthreadd.pid)
    guest.run("process.memory_map")
    guest.frame(4)


def test_the_tree_folds_at_its_arrow(guest: Person) -> None:
    before = people.refresh(guest.state, NAME).lines
    x, y = line_middle(guest, "init")
    guest.click(table_of(PROCESSES).pos.x + 8, y)
    after = people.refresh(guest.state, NAME).lines
    assert len(after) < len(before)
    assert after[0].folded
    assert pid_of(guest) is None, "folding is not choosing"
    guest.run("process.fold", 1)
    assert people.refresh(guest.state, NAME).lines == before
    assert x > 0


def test_what_is_chosen_is_brought_out_of_a_folded_tree(guest: Person) -> None:
    hidden = next(row for row in rows(guest).values() if row.ppid == rows(guest)["kthreadd"].pid)
    assert hidden.pid not in [line.row.pid for line in people.refresh(guest.state, NAME).lines]
    guest.run("process.choose", hidden.pid)
    guest.frame(3)
    assert hidden.pid in [line.row.pid for line in people.refresh(guest.state, NAME).lines]
    assert guest.state.people.scroll_to is None, "it was scrolled to"
    assert table_of(PROCESSES).scroll.y > 0


def test_filter_order_and_list_are_actions(guest: Person) -> None:
    guest.run("process.filter", "counter")
    listing = guest.window.state.actions.run("process.list")
    assert [(one["name"], one["depth"]) for one in listing] == [("init", 0), ("counter", 1)]
    guest.run("process.filter", "")
    assert guest.run("process.tree") is False
    guest.run("process.sort", "memory")
    listing = guest.window.state.actions.run("process.list")
    sizes = [one["rss_bytes"] for one in listing]
    assert sizes == sorted(sizes, reverse=True)
    guest.run("process.sort", "memory")
    assert guest.state.people.descending is False
    guest.run("process.sort", "name")
    assert (guest.state.people.sort, guest.state.people.descending) == ("name", False)
    assert guest.run("process.tree", True) is True


def test_headers_sort_by_a_click(guest: Person) -> None:
    window = table_of(PROCESSES)
    guest.click(window.pos.x + window.size.x - 20, window.pos.y + 8)
    assert (guest.state.people.sort, guest.state.people.descending) == ("memory", True)
    guest.click(window.pos.x + 30, window.pos.y + 8)
    assert guest.state.people.sort == "name"


def test_the_filter_is_typed(guest: Person) -> None:
    window = table_of(PROCESSES)
    guest.click(window.pos.x + 60, window.pos.y - 24)
    guest.type("alloc")
    assert guest.state.people.needle == "alloc"
    names = [line.row.name for line in people.refresh(guest.state, NAME).lines]
    assert names == ["init", "allocator"]
    guest.key("Escape")
    guest.frame(3)


def test_command_lines_come_and_are_asked_once(guest: Person) -> None:
    guest.until(lambda: bool(rows(guest)["counter"].command), "command lines should come")
    assert "counter" in rows(guest)["counter"].command
    found = guest.state.people.of(NAME)
    assert found.asked == ()
    users = [row for row in found.rows if row.root]
    assert {(row.pid, row.name) for row in users} <= set(found.commands)


def test_hovering_tells_and_a_right_click_offers(guest: Person) -> None:
    x, y = line_middle(guest, "counter")
    guest.move(x, y)
    guest.until(lambda: any("##Tooltip" in w.name for w in imgui.get_current_context().windows if w.active), "a tip")
    guest.click(x, y, button=2)
    guest.frame(3)
    assert guest.popup_open()
    popup = [w for w in imgui.get_current_context().windows if w.name.startswith("##Popup") and w.active][-1]
    counter = rows(guest)["counter"]
    # The second action: its memory map.
    guest.click(popup.pos.x + 60, popup.pos.y + 71)
    guest.frame(4)
    assert guest.state.settings.show_memory_map
    assert pid_of(guest) == counter.pid


def regions(person: Person, pid: int) -> tuple[MapEntry, ...]:
    return people.regions_of(person.state, NAME, pid)[0]


def test_the_memory_map_has_names_and_a_click_lights_a_region_up(guest: Person) -> None:
    allocator = rows(guest)["allocator"]
    guest.run("process.memory_map", allocator.pid)
    assert regions(guest, allocator.pid), "known at once, without names"
    guest.until(lambda: any(e.path for e in regions(guest, allocator.pid)), "names should come")
    entries = regions(guest, allocator.pid)
    assert any(e.path == "[stack]" for e in entries)
    guest.frame(4)
    window = top_of(guest, MEMORY_MAP)
    guest.click(window.pos.x + 100, window.pos.y + 26 + 14)
    guest.until(lambda: guest.state.chosen is not None and guest.state.chosen.pages is not None, "its pages known")
    chosen = guest.state.chosen
    assert chosen is not None
    assert chosen.kind == "region"
    assert chosen.key == (allocator.pid, entries[0].start, entries[0].end)
    assert guest.state.people.of(NAME).region == entries[0].start
    # The band above tells of what all is made.
    guest.move(window.pos.x + 20, window.pos.y - 12)
    guest.frame(40)
    # A region by an address within it.
    stack = next(e for e in entries if e.path == "[stack]")
    guest.run("process.region", start=stack.end - 8, pid=allocator.pid, fly=False)
    assert guest.state.people.of(NAME).region == stack.start
    with pytest.raises(BadArguments, match="no region at 0x10"):
        guest.run("process.region", start=16, pid=allocator.pid)


def test_a_selected_byte_selects_its_process_and_region(guest: Person) -> None:
    allocator = rows(guest)["allocator"]
    guest.run("process.memory_map", allocator.pid)
    guest.run("choose.pages_of", "process", str(allocator.pid))
    guest.until(lambda: guest.state.chosen is not None and guest.state.chosen.pages is not None, "its pages known")
    chosen = guest.state.chosen
    assert chosen is not None
    assert chosen.pages is not None
    own = guest.state.kernels.sighting(NAME)
    assert own is not None
    assert own.first_owner is not None
    assert own.processes is not None
    index = own.processes.names.index("allocator")
    page = next(int(page) for page in chosen.pages if own.first_owner[page] == index and own.parts is not None)
    guest.run("process.memory_map", rows(guest)["counter"].pid)
    guest.run("view.go_to", f"{page * 4096 + 12:#x}")
    guest.until(lambda: guest.state.people.told, "its story should come")
    assert pid_of(guest) == allocator.pid
    region = guest.state.people.of(NAME).region
    assert region is not None
    assert region in [entry.start for entry in regions(guest, allocator.pid)]
    guest.frame(4)
    assert guest.state.people.maps.selected == region
    assert guest.state.people.scroll_to_region is None


def test_a_byte_of_a_kernel_stack_selects_its_thread(guest: Person) -> None:
    counter = rows(guest)["counter"]
    guest.run("choose.pages_of", "stack", str(counter.pid))
    assert pid_of(guest) == counter.pid
    guest.until(lambda: guest.state.chosen is not None and guest.state.chosen.pages is not None, "its pages known")
    chosen = guest.state.chosen
    assert chosen is not None
    assert chosen.pages is not None
    guest.run("process.choose", 1)
    guest.run("view.go_to", f"{int(chosen.pages[0]) * 4096:#x}")
    guest.until(lambda: guest.state.people.told, "its story should come")
    assert pid_of(guest) == counter.pid
    assert guest.state.people.of(NAME).thread == counter.pid


@contextlib.contextmanager
def a_file_open(person: Person, pid: int) -> Iterator[OpenFile]:
    """What the process holds open, and its own program as well: what a guest at work has open changes."""
    person.until(lambda: people.ask(person.state, NAME, "files", pid) is not None, "its files should come")
    program = next(e.path for e in regions(person, pid) if e.path.startswith("/"))
    opened = OpenFile(pid, 99, program, "file", "r", 1275, 284, 4096, 0xFFFF_8880_0000_1000)
    asked = person.state.kernels._watched[NAME].asked["files", pid]
    before = asked.answer
    assert before is not None
    assert not before.problem
    assert before.value, "it has standard input and output at least"
    asked.answer = dataclasses.replace(before, value=(opened, *before.value))
    try:
        yield opened
    finally:
        asked.answer = before


def test_open_files_are_listed_and_lit_up(guest: Person) -> None:
    counter = rows(guest)["counter"]
    guest.run("process.files", counter.pid)
    guest.until(lambda: any(e.path for e in regions(guest, counter.pid)), "its program should be known")
    with a_file_open(guest, counter.pid) as opened:
        guest.frame(4)
        guest.state.people.files.sort_by("No", descending=True)
        guest.frame(3)
        window = top_of(guest, FILES)
        guest.click(window.pos.x + 100, window.pos.y + 26 + 14)
        assert lit(guest) == ("file", opened.path)
        guest.run("choose.clear")
        guest.click(window.pos.x + 100, window.pos.y + 26 + 28 + 14)  # a device has no pages
        assert lit(guest) is None


def test_a_sleeping_thread_has_a_stack(guest: Person) -> None:
    counter = rows(guest)["counter"]
    guest.run("process.stack", counter.pid)
    guest.until(lambda: bool(guest.state.people.calls), "its calls should come")
    symbols = [frame.symbol for _, frame in guest.state.people.calls]
    assert any(symbol.startswith("schedule") for symbol in symbols)
    guest.frame(3)
    window = top_of(guest, STACK)
    guest.click(window.pos.x + 100, window.pos.y + 26 + 14)
    guest.until(lambda: guest.selected() is not None, "the call's place should be selected")
    guest.until(
        lambda: people.ask(guest.state, NAME, "places", (guest.state.people.calls[0][1].address,)) is not None, ""
    )
    answer = people.ask(guest.state, NAME, "places", (guest.state.people.calls[0][1].address,))
    assert answer is not None
    assert answer.value == (symbols[0],)
    assert pid_of(guest) == counter.pid, "a byte of the kernel's code is nobody's"
    guest.run("process.stack", tid=counter.pid)
    assert guest.state.people.of(NAME).thread == counter.pid


def test_what_is_not_known_of_regions_is_said(guest: Person) -> None:
    counter = rows(guest)["counter"]
    guest.run("process.memory_map", counter.pid)
    guest.until(lambda: any(e.path for e in regions(guest, counter.pid)), "names should come")
    asked = guest.state.kernels._watched[NAME].asked["maps", counter.pid]
    before = asked.answer
    assert before is not None
    asked.answer = dataclasses.replace(before, value=None, problem="The records are torn.")
    try:
        entries, problem = people.regions_of(guest.state, NAME, counter.pid)
        assert problem == "The records are torn."
        assert len(entries) == len(before.value), "what the look saw is shown all the same"
        assert not any(entry.path for entry in entries)
        guest.frame(3)
    finally:
        asked.answer = before


def test_nothing_chosen_gone_or_wrong_is_said(guest: Person) -> None:
    guest.window.session.kept.change(show_memory_map=True, show_files=True, show_stack=True)
    for panel in (MEMORY_MAP, FILES, STACK):
        guest.run("window.show", panel)
        guest.frame(4)
    with pytest.raises(BadArguments, match="no process is chosen"):
        guest.run("process.files")
    with pytest.raises(BadArguments, match="has no process 99999"):
        guest.run("process.choose", 99999)
    guest.state.people.of(NAME).pid = 99999
    for panel in (MEMORY_MAP, FILES, STACK):
        guest.run("window.show", panel)
        guest.frame(4)
    assert not guest.toasts()


def test_scripts_are_told(guest: Person) -> None:
    assert people.describe_process(guest.state) is None
    guest.run("process.choose", 1)
    described = guest.window.state.actions.run("window.state")["process"]
    assert described == {"machine": NAME, "pid": 1, "region": None, "thread": None}


def test_only_what_would_look_different_wakes_the_window(guest: Person) -> None:
    guest.frame(2)
    assert not people.changed(guest.state)
    guest.state.people.needle = "init"
    assert people.changed(guest.state)
    guest.window.session.kept.change(show_processes=False)
    assert not people.changed(guest.state)


def test_without_a_kernel_there_are_no_processes(person: Person, tmp_path: Path) -> None:
    for panel in (PROCESSES, MEMORY_MAP, FILES, STACK):
        person.run("window.show", panel)
        person.frame(3)
    with pytest.raises(ActionDisabled, match="no machine"):
        person.run("process.choose", 1)
    (tmp_path / "zeros.raw").write_bytes(bytes(1 << 20))
    person.run("machine.open_dump", str(tmp_path / "zeros.raw"))
    person.until(lambda: person.state.kernels.sighting("zeros") is not None, "the kernel should be looked for")
    person.frame(4)
    with pytest.raises(ActionDisabled, match="No running Linux kernel"):
        person.run("process.choose", 1)
    assert not people.changed(person.state)


def test_the_list_is_walked_by_keys(guest: Person) -> None:
    guest.click(*line_middle(guest, "counter"))
    lines = people.refresh(guest.state, NAME).lines
    at = next(i for i, line in enumerate(lines) if line.row.name == "counter")
    guest.key("ArrowDown")
    assert pid_of(guest) == lines[at + 1].row.pid
    guest.key("ArrowUp")
    guest.key("ArrowUp")
    assert pid_of(guest) == 1
    guest.key("ArrowLeft")
    assert people.refresh(guest.state, NAME).lines[0].folded
    guest.key("ArrowRight")
    assert people.refresh(guest.state, NAME).lines == lines
    guest.key("ArrowDown")
    guest.key("ArrowLeft")
    assert pid_of(guest) == 1, "to the parent"
    camera = guest.state.stage.camera
    guest.key("ArrowDown")
    guest.frame(3)
    assert guest.state.stage.camera == camera, "the keys look where one stands"
    guest.run("view.fit")
    guest.state.stage.view.camera.skip()
    whole = guest.state.stage.camera
    guest.key("Enter")
    guest.until(lambda: guest.state.stage.camera != whole, "Enter should fly there")
    guest.state.stage.view.camera.skip()


def test_one_of_several_threads_is_looked_at(guest: Person) -> None:
    rows_before = rows(guest)
    counter, journal = rows_before["counter"], rows_before["journal"]
    watched = guest.state.kernels._watched[NAME]
    before = watched.sighting
    assert before is not None
    assert before.threads is not None
    # The guest's own processes have one thread each: here one takes in another's.
    tgids = np.where(before.threads.tgids == journal.pid, counter.pid, before.threads.tgids)
    watched.sighting = dataclasses.replace(before, threads=dataclasses.replace(before.threads, tgids=tgids))
    try:
        assert rows(guest)["counter"].threads == 2
        guest.run("process.stack", counter.pid)
        guest.frame(4)
        assert people.thread_of(guest.state, NAME, counter.pid) == counter.pid
        panel = imgui.internal.find_window_by_name(STACK)
        guest.click(panel.pos.x + panel.size.x - 60, panel.pos.y + 54)
        guest.frame(3)
        assert guest.popup_open(), "the threads should be offered"
        popup = [w for w in imgui.get_current_context().windows if w.name.startswith("##Combo") and w.active][-1]
        guest.click(popup.pos.x + 40, popup.pos.y + popup.size.y - 14)
        assert guest.state.people.of(NAME).thread == journal.pid
        guest.until(lambda: people.ask(guest.state, NAME, "stack", journal.pid) is not None, "its stack should come")
        guest.frame(2)
        # A running thread has no stack that holds still: that is said.
        answers = guest.state.kernels._watched[NAME].asked
        asked = answers["stack", journal.pid]
        assert asked.answer is not None
        asked.answer = dataclasses.replace(asked.answer, value=(), problem="")
        guest.frame(2)
        # What was chosen may be gone when it is looked at again.
        people.set_thread(guest.state, NAME, 99999)
        assert guest.state.people.of(NAME).thread == journal.pid
    finally:
        watched.sighting = before


def test_right_clicks_offer_what_can_be_done_with_regions_files_and_calls(guest: Person) -> None:
    counter = rows(guest)["counter"]
    guest.run("process.memory_map", counter.pid)
    guest.until(lambda: any(e.path for e in regions(guest, counter.pid)), "names should come")
    first = regions(guest, counter.pid)[0]
    assert first.path.startswith("/")
    guest.frame(3)
    _choose_from_menu(guest, MEMORY_MAP, line=0, entry=2)
    assert lit(guest) == ("file", first.path)
    _choose_from_menu(guest, MEMORY_MAP, line=0, entry=1)
    guest.until(lambda: guest.selected() is not None, "its first byte should be selected")
    guest.until(lambda: guest.state.people.told, "its story should come")
    assert guest.state.people.of(NAME).region == first.start
    guest.run("process.files", counter.pid)
    with a_file_open(guest, counter.pid) as opened:
        guest.state.people.files.sort_by("No", descending=True)
        guest.run("choose.clear")
        guest.frame(3)
        _choose_from_menu(guest, FILES, line=0, entry=0)
        assert lit(guest) == ("file", opened.path)
    guest.run("process.stack", counter.pid)
    guest.until(lambda: bool(guest.state.people.calls), "its calls should come")
    guest.frame(3)
    _choose_from_menu(guest, STACK, line=1, entry=1)
    assert lit(guest) == ("stack", counter.pid)


def lit(person: Person) -> tuple[str, object] | None:
    """Kind and key of what is chosen now."""
    chosen = person.state.chosen
    return None if chosen is None else (chosen.kind, chosen.key)


def _choose_from_menu(person: Person, panel: str, *, line: int, entry: int) -> None:
    window = top_of(person, panel)
    person.click(window.pos.x + 100, window.pos.y + 26 + 28 * line + 14, button=2)
    person.frame(3)
    popup = [w for w in imgui.get_current_context().windows if w.name.startswith("##Popup") and w.active][-1]
    person.click(popup.pos.x + 60, popup.pos.y + 16 + 20 * entry)
    person.frame(3)
