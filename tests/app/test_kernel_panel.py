"""The kernel panel and the inspector's story over a real guest's dump: lists, symbols, links, listing, actions."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imgui_bundle import imgui
from numpy.typing import NDArray

from app.actions import ActionDisabled, BadArguments
from app.kernel_ui import DEBUG, LOG, MODULES, MOUNTS, SECTIONS, SLABS, SOCKETS, SYMBOLS, KernelUi
from app.layout import INSPECTOR, KERNEL
from app.panels.kernel import LISTS, table_of
from app.panels.slabs import cache_bytes
from app.place import Place
from app.settings import Settings
from app.story_facts import Fact
from app.telling import Told
from app.widgets.annotations import annotate
from bridge.kernel.page_classes import PageClass
from bridge.kernel.records import SlabCache
from bridge.kernel.snapshot import Part
from bridge.machine.guest import Guest
from tests.app.conftest import Person, dump_window
from tests.bridge.machine.serial_guest import start_guest

SIZE = (1280, 900)
NAME = "guest"
BUSYBOX = 0x400000  # where the linker put it: it is no PIE


@pytest.fixture(scope="module")
def settled(demo_guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw dump of a demo guest whose drivers are in, and whose SSH daemon listens; the machine is gone."""
    folder = tmp_path_factory.mktemp("settled")
    with start_guest(demo_guest, folder) as shell:
        assert demo_guest.ready_marker
        shell.wait_for(demo_guest.ready_marker)
        shell.run("while read -r module; do insmod $module || break; done </etc/network-modules; true")
        shell.run("until pidof dropbear; do sleep 0.2; done; sleep 1")
        with shell.held():
            shutil.copyfile(shell.ram, folder / "guest.raw")
    return folder / "guest.raw"


@pytest.fixture(scope="module")
def _shared(settled: Path) -> Iterator[Person]:
    with dump_window(settled, SIZE) as someone:
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
    state.kernel = KernelUi(shelf=state.kernel.shelf)
    state.overlay = None
    _shared.offscreen.canvas.set_logical_size(*SIZE)
    _shared.move(640, 200)
    _shared.frame(8)
    state.toasts.dismiss()
    return _shared


def listed(person: Person, section: str, limit: int = 100_000) -> list[dict[str, Any]]:
    """The rows of a section, once they were read."""
    person.run("kernel.show", section)
    person.until(lambda: person.state.kernel.fetched.get(section) is not None, f"{section} should be drawn")
    person.until(
        lambda: bool(person.state.kernel.fetched[section].rows or person.state.kernel.fetched[section].problem),
        f"{section} should be read",
    )
    said: Any = person.run("kernel.rows", section, limit)
    assert said["problem"] == ""
    table = table_of(person.state, section)
    assert said["total"] == len(said["rows"]) or len(said["rows"]) == limit or table.model.needle
    rows: list[dict[str, Any]] = said["rows"]
    return rows


def told(person: Person, facts: int = 1) -> Told:
    """The story of the selected byte, once all of it is there."""
    found: list[Told] = []

    def there() -> bool:
        story, place = person.state.kernel.story.told, person.selected()
        if story is None or place is None or story.address != person.state.stage.paddr(place):
            return False
        found[:] = [story]
        return bool(story.problem) or len(story.facts) >= facts

    person.until(there, "its story should be told")
    return found[0]


def fact(story: Told, label: str) -> Fact:
    return next(one for one in story.facts if one.label == label)


def window(name: str) -> imgui.internal.Window:
    """The part of a panel that scrolls its table."""
    return [w for w in imgui.get_current_context().windows if w.name.startswith(f"{name}/") and w.was_active][-1]


def click_row(person: Person, index: int, button: int = 1, times: int = 1) -> None:
    table = window(KERNEL)
    person.click(table.pos.x + 60, table.pos.y + 18 + 28 * index + 14, button=button, times=times)


def at_symbol(person: Person, name: str) -> Told:
    """Go to a symbol by the action, and wait for its story."""
    before = person.selected()
    person.run("kernel.go_to", name)
    person.until(lambda: person.selected() not in (None, before), f"{name} should be gone to")
    return told(person, 3)


def until_other(person: Person, before: Place | None) -> None:
    person.until(lambda: person.selected() != before, "another byte should be selected")


def until_at(person: Person, address: int | None) -> None:
    def there() -> bool:
        place = person.selected()
        return place is not None and person.state.stage.paddr(place) == address

    person.until(there, "it should go there")


def test_every_list_holds_what_the_guest_has(guest: Person) -> None:
    assert {"ext4", "proc"} & {row["File system"] for row in listed(guest, MOUNTS)}
    modules = {row["Module"]: row for row in listed(guest, MODULES)}
    assert "virtio_net" in modules
    assert modules["net_failover"]["Used by"] == "virtio_net"
    assert modules["virtio_net"]["Size"] > 4096
    slabs = {row["Cache"]: row for row in listed(guest, SLABS)}
    assert slabs["task_struct"]["Each"] > 4000
    sockets = listed(guest, SOCKETS)
    assert any(row["Process"].startswith("dropbear (") and row["State"] == "LISTEN" for row in sockets)
    messages = listed(guest, LOG)
    assert messages[0]["Message"].startswith("Linux version ")
    assert float(messages[-1]["Time"]) > 0.1
    symbols = listed(guest, SYMBOLS, 50)
    assert len(symbols) == 50
    assert guest.toasts() == []


def test_modules_light_up_and_their_code_is_gone_to(guest: Person) -> None:
    names = [row["Module"] for row in listed(guest, MODULES)]
    click_row(guest, 1)
    chosen = guest.state.chosen
    assert chosen is not None
    assert (chosen.kind, chosen.key, chosen.machine) == ("module", names[1], NAME)
    guest.until(lambda: guest.state.chosen is not None and guest.state.chosen.pages is not None, "its pages are found")
    assert guest.state.chosen is not None
    assert guest.state.chosen.pages is not None
    assert len(guest.state.chosen.pages) > 0
    guest.frame(60)
    click_row(guest, 1, times=2)
    guest.until(lambda: guest.selected() is not None, "its code should be gone to")
    guest.until(lambda: told(guest, 3).code is not None, "where it runs should be found")
    story = told(guest, 3)
    assert fact(story, "Module").value == names[1]
    row = next(m for m in guest.state.kernel.fetched[MODULES].rows or () if m.name == names[1])
    assert fact(story, "Virtual").value == f"{row.base:#x}"
    assert story.code is not None
    assert story.code.name(row.base + 0x10) == f"{names[1]} + 0x10"


def test_slabs_sockets_and_symbols_light_up(guest: Person) -> None:
    slabs = listed(guest, SLABS)
    assert [row["Memory"] for row in slabs] == sorted((row["Memory"] for row in slabs), reverse=True)
    click_row(guest, 0)
    guest.until(lambda: guest.state.chosen is not None and guest.state.chosen.pages is not None, "its pages are found")
    chosen = guest.state.chosen
    assert chosen is not None
    assert chosen.key == slabs[0]["Cache"]
    assert chosen.size_bytes == slabs[0]["Memory"], "what the table says is what lights up"
    sockets = listed(guest, SOCKETS)
    guest.frame(60)  # not a double click
    click_row(guest, 0)
    assert guest.state.chosen is not None
    assert guest.state.chosen.kind == "process"
    assert f"({guest.state.chosen.key})" in sockets[0]["Process"]
    listed(guest, SYMBOLS, 1)
    guest.run("kernel.filter", "init_task", SYMBOLS)
    guest.run("kernel.sort", "Name", SYMBOLS)
    guest.frame(3)
    names = [row["Name"] for row in listed(guest, SYMBOLS)]
    assert names == sorted(names, key=str.casefold)
    assert all("init_task" in name for name in names)
    address = next(row["Address"] for row in listed(guest, SYMBOLS) if row["Name"] == "init_task")
    guest.run("kernel.filter", address, SYMBOLS)
    guest.frame(3)
    click_row(guest, [row["Name"] for row in listed(guest, SYMBOLS)].index("init_task"))
    chosen = guest.state.chosen
    assert chosen is not None
    assert (chosen.kind, chosen.title) == ("symbol", "init_task")
    listed(guest, MOUNTS)
    click_row(guest, 0)
    assert guest.state.chosen is chosen, "a mount has no pages of its own"
    listed(guest, LOG)
    guest.frame(3)
    click_row(guest, 0)
    assert guest.state.chosen is chosen
    guest.run("kernel.filter", "__x64_sys", SYMBOLS)
    for section in (SLABS, SOCKETS, MOUNTS, SYMBOLS):
        listed(guest, section, 5)
        before = guest.selected()
        guest.frame(60)
        click_row(guest, 0, times=2)
        until_other(guest, before)
    assert guest.toasts() == []


def test_a_rows_menu_goes_and_lights(guest: Person) -> None:
    for section, (kind, n_entries) in {
        MODULES: ("module", 3),
        SLABS: ("slab", 2),
        SOCKETS: ("process", 2),
        SYMBOLS: ("symbol", 2),
        MOUNTS: ("", 1),
        LOG: ("", 0),
    }.items():
        listed(guest, section, 1)
        rows = guest.state.kernel.fetched[section].rows
        assert rows is not None
        row = rows[len(rows) // 2]  # the first symbols are offsets from a CPU's own area
        entries = list(LISTS[section].menu(guest.window._ui, NAME, row))
        assert len(entries) == n_entries
        assert not any(entry.why_not for entry in entries)
        for index, entry in enumerate(entries):
            guest.window.session.navigation.select(None)
            guest.window.session.navigation.choose(None)
            entry.run()
            guest.frame(2)
            if index == 0 and kind:
                assert guest.state.chosen is not None
                assert guest.state.chosen.kind == kind
            else:
                guest.until(lambda: guest.selected() is not None, f"{entry.label} of {section}")


def test_messages_are_filtered_by_weight_and_followed(guest: Person) -> None:
    everything = listed(guest, LOG)
    levels = {row["Level"] for row in everything}
    assert len(levels) > 2
    guest.run("kernel.log_level", "Warnings")
    guest.frame(3)
    warnings = listed(guest, LOG)
    assert 0 < len(warnings) < len(everything)
    assert {row["Level"] for row in warnings} <= {"Emergency", "Alert", "Critical", "Error", "Warning"}
    rows = guest.state.kernel.fetched[LOG].rows
    guest.frame(3)
    assert guest.state.kernel.fetched[LOG].rows is rows, "they are not picked anew in each frame"
    guest.run("kernel.log_level", "All")
    guest.frame(3)
    assert listed(guest, LOG) == everything
    assert table_of(guest.state, LOG).follow
    guest.run("kernel.follow", "off")
    assert not table_of(guest.state, LOG).follow


def test_the_bar_chooses_sections_copies_and_opens_the_level(guest: Person) -> None:
    listed(guest, MODULES)
    for width in (SIZE[0], 1000, 2200):
        guest.run("window.resize", width, SIZE[1])
        guest.frame(6)
        panel = imgui.internal.find_window_by_name(KERNEL)
        guest.click(panel.pos.x + panel.size.x - 26, panel.pos.y + 50)  # the last tool: copy
        table = list(csv.reader(io.StringIO(guest.offscreen.clipboard.get())))
        assert table[0][0] == "Module"
        assert [row[0] for row in table[1:]] == [row["Module"] for row in listed(guest, MODULES)]
        guest.offscreen.clipboard.set("")
    guest.run("window.resize", *SIZE)
    guest.frame(6)
    panel = imgui.internal.find_window_by_name(KERNEL)
    guest.click(panel.pos.x + 105, panel.pos.y + 50)  # the second section
    assert guest.state.kernel.section == SLABS
    guest.run("window.resize", 760, SIZE[1])
    guest.frame(6)
    panel = imgui.internal.find_window_by_name(KERNEL)
    guest.click(panel.pos.x + 40, panel.pos.y + 50)  # now it is a list to choose from
    guest.frame(3)
    assert guest.popup_open()
    guest.key("Escape")
    listed(guest, LOG)
    guest.run("window.resize", *SIZE)
    guest.frame(6)


def test_what_cannot_be_shown_says_why(guest: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(guest, MODULES)
    guest.run("kernel.filter", "no module is called this", MODULES)
    guest.frame(3)
    assert listed(guest, MODULES) == [] or guest.state.kernel.fetched[MODULES].rows
    assert len(table_of(guest.state, MODULES).model.view(guest.state.kernel.fetched[MODULES].rows or ())) == 0
    sighting = guest.state.kernels._watched[NAME].sighting
    assert sighting is not None
    lost = dataclasses.replace(sighting, problem="The kernel was not found: this is a test of a long sentence. " * 3)
    with monkeypatch.context() as patch:
        patch.setattr(guest.state.kernels._watched[NAME], "sighting", lost)
        guest.frame(3)
        assert guest.state.kernel.fetched[MODULES].problem == lost.problem
        said: Any = guest.run("kernel.rows")
        assert said["problem"] == lost.problem
        with pytest.raises(ActionDisabled, match="not found"):
            guest.run("kernel.copy")
        patch.setattr(guest.state.kernels._watched[NAME], "sighting", None)
        guest.frame(3)
        with pytest.raises(ActionDisabled, match="not found yet"):
            guest.run("kernel.go_to", "schedule")
    guest.frame(2)


def test_places_are_gone_to_by_name_and_by_address(guest: Person) -> None:
    story = at_symbol(guest, "schedule")
    assert fact(story, "Symbol").value == "schedule"
    again = at_symbol(guest, "schedule + 0x10")
    assert again.address == story.address + 0x10
    assert fact(again, "Symbol").value == "schedule + 0x10"
    vaddr = fact(story, "Virtual").value
    assert at_symbol(guest, vaddr).address == story.address
    for wrong, why in (("0xzz", "address"), ("schedule + nothing", "address"), ("", "address")):
        with pytest.raises(BadArguments, match=why):
            guest.run("kernel.go_to", wrong)
    with pytest.raises(BadArguments, match="must be an address"):
        guest.run("kernel.go_to", "schedule", 1)
    with pytest.raises(BadArguments, match="none of"):
        guest.run("kernel.sort", "Colour", MODULES)
    guest.run("kernel.go_to", "no_such_symbol")
    guest.until(lambda: bool(guest.toasts()), "that there is none should be said")
    assert "no symbol called no_such_symbol" in guest.toasts()[0]
    guest.state.toasts.dismiss()
    guest.run("kernel.go_to", "0x10")
    guest.until(lambda: bool(guest.toasts()), "that nothing lies there should be said")


def test_the_listing_of_the_kernel_is_named(guest: Person) -> None:
    guest.run("window.resize", 1400, 1300)
    guest.frame(6)
    story = at_symbol(guest, "schedule")
    assert story.code is not None
    assert story.code.name(story.code.virtual(story.address) or 0) == "schedule"
    view = guest.state.disassemblies[NAME]
    call = next(line for line in view.model._lines if line.target is not None)
    note = annotate(call, story.code)
    assert note is not None
    assert note.leads is not None
    symbols = guest.state.kernel.shelf.of(guest.state.kernels, NAME, guest.state.now_s)
    assert symbols is not None
    assert note.name == str(symbols.place(note.leads))
    # A double click on it goes there.
    guest.frame(3)
    listing = next(w for w in imgui.get_current_context().windows if "##disassembly" in w.name and w.was_active)
    row = view.model._lines.index(call)
    guest.click(listing.pos.x + 150, listing.pos.y + 24 + 20 * row + 10, times=2)
    until_at(guest, call.target)


def code_of_init(guest: Person) -> NDArray[np.intp]:
    """The pages of its program: everyone's who runs busybox, and its own first as it came first."""
    sighting = guest.state.kernels.sighting(NAME)
    assert sighting is not None
    if sighting.processes is None or sighting.parts is None or sighting.first_owner is None:
        return np.zeros(0, np.intp)
    ours = (sighting.parts == Part.CODE) & (sighting.first_owner == sighting.processes.names.index("init"))
    if sighting.classes is not None:
        ours &= sighting.classes != PageClass.KERNEL_RODATA  # the vDSO, which the kernel brings
    return np.flatnonzero(ours)


def test_the_story_of_a_program_leads_to_process_region_and_file(guest: Person) -> None:
    guest.until(lambda: len(code_of_init(guest)) > 0, "code of init should be seen")
    guest.run("view.select", int(code_of_init(guest)[0]) * 4096 + 0x345)
    guest.until(lambda: fact(told(guest, 5), "Region").value == "busybox", "its region should be named")
    story = told(guest, 5)
    vaddr = int(fact(story, "Virtual").value, 0)
    assert vaddr % 4096 == 0x345
    assert fact(story, "File").value == "/bin/busybox"
    assert fact(story, "File").note == f"+ {vaddr - BUSYBOX:#x}"
    assert fact(story, "Process").others, "all its workloads are one program"
    assert story.code is not None
    assert story.code.name(vaddr + 5) == f"busybox + {vaddr + 5 - BUSYBOX:#x}"
    pid = int(fact(story, "Process").key)
    guest.run("kernel.go_to", f"{vaddr + 0x10:#x}", pid)
    until_at(guest, story.address + 0x10)
    guest.run("view.select", story.address)
    told(guest, 5)
    # Its lines are links.
    panel = imgui.internal.find_window_by_name(INSPECTOR)
    line = imgui.get_style().font_size_base

    def click_fact(label: str, button: int = 1) -> None:
        index = [one.label for one in story.facts].index(label)
        guest.click(panel.pos.x + 12 + 80 + 14, first_line(guest) + index * 20 + line / 2, button=button)

    for label, kind in (("Process", "process"), ("Region", "region"), ("File", "file"), ("Page of", "class")):
        click_fact(label)
        assert guest.state.chosen is not None
        assert (guest.state.chosen.kind, guest.state.chosen.title) == (kind, fact(story, label).value)
    click_fact("Virtual")
    assert guest.offscreen.clipboard.get() == f"{vaddr:#x}"
    click_fact("Process", button=2)
    guest.frame(3)
    assert guest.popup_open()
    popup = next(w for w in imgui.get_current_context().windows if w.active and w.name.startswith("##Popup"))
    guest.click(popup.pos.x + 40, popup.pos.y + 16)  # light up its pages
    assert guest.state.chosen is not None
    assert guest.state.chosen.kind == "process"


def first_line(person: Person) -> float:
    """Where the story's first line stands: it is drawn below the address and the machine's name."""
    panel = imgui.internal.find_window_by_name(INSPECTOR)
    return panel.pos.y + STORY_TOP


STORY_TOP = 152.0


def test_what_is_chosen_or_selected_elsewhere_is_selected_in_the_lists(guest: Person) -> None:
    listed(guest, SLABS)
    table = table_of(guest.state, SLABS)
    cache = next(c for c in guest.state.kernel.fetched[SLABS].rows or () if c.name == "task_struct")
    guest.run("choose.pages_of", "slab", "task_struct", None, None, False)
    guest.frame(3)
    assert table.selected == cache.address
    guest.run("choose.pages_of", "slab", "there is no such cache", None, None, False)
    guest.frame(3)
    assert table.selected == cache.address
    listed(guest, MODULES)
    guest.run("choose.pages_of", "module", "virtio_net", None, None, False)
    guest.frame(3)
    assert table_of(guest.state, MODULES).selected == "virtio_net"
    listed(guest, SYMBOLS, 5)
    schedule = int(fact(at_symbol(guest, "schedule + 0x10"), "Virtual").value, 0) - 0x10
    guest.frame(3)
    assert table_of(guest.state, SYMBOLS).selected == (schedule, "schedule"), "what holds the byte"
    for section in SECTIONS:  # a byte that nothing of the list holds
        listed(guest, section, 5)
        guest.run("view.select", "0x1000")
        told(guest)
        guest.frame(2)
    assert guest.toasts() == []


def test_the_storys_menus_lead_on(guest: Person) -> None:
    story = at_symbol(guest, "schedule")
    panel = imgui.internal.find_window_by_name(INSPECTOR)
    labels = [one.label for one in story.facts]

    def menu(label: str, item: int, count: int) -> None:
        guest.frame(40)
        y = first_line(guest) + labels.index(label) * 20 + 8
        guest.click(panel.pos.x + 12 + 80 + 14, y, button=2)
        guest.frame(3)
        popup = next(w for w in imgui.get_current_context().windows if w.active and w.name.startswith("##Popup"))
        step = (popup.size.y - 16) / count
        guest.click(popup.pos.x + 40, popup.pos.y + 8 + (item + 0.5) * step)
        guest.frame(2)

    menu("Symbol", 0, 4)
    assert guest.state.chosen is not None
    assert (guest.state.chosen.kind, guest.state.chosen.title) == ("symbol", "schedule")
    guest.window.session.navigation.choose(None)
    guest.run("view.fit")
    guest.state.stage.view.camera.skip()
    whole = guest.state.stage.camera
    menu("Symbol", 1, 4)
    guest.until(lambda: guest.state.stage.camera != whole, "it should fly there")
    menu("Symbol", 2, 4)
    assert guest.state.kernel.section == SYMBOLS
    assert table_of(guest.state, SYMBOLS).model.needle == "schedule"
    menu("Symbol", 3, 4)
    assert guest.offscreen.clipboard.get() == "schedule"
    sighting = guest.state.kernels.sighting(NAME)
    assert sighting is not None
    assert sighting.processes is not None
    address = int(sighting.processes.addresses[sighting.processes.names.index("counter")])
    at_symbol(guest, f"{address + 0x48:#x}")
    guest.until(lambda: any(one.label == "Record of" for one in told(guest).facts), "whose record it is")
    labels = [one.label for one in told(guest).facts]
    before = guest.selected()
    menu("Object", 0, 2)
    until_other(guest, before)
    assert told(guest).address % 4096 == address % 4096


def test_who_else_maps_a_page_can_be_chosen(guest: Person) -> None:
    sighting = guest.state.kernels.sighting(NAME)
    assert sighting is not None
    assert sighting.parts is not None
    assert sighting.classes is not None
    code = (sighting.parts == Part.CODE) & (sighting.classes != PageClass.KERNEL_RODATA)
    for page in np.flatnonzero(code).tolist():
        guest.run("view.select", page * 4096)
        story = told(guest, 4)
        if fact(story, "Process").others:
            break
    process = fact(story, "Process")
    panel = imgui.internal.find_window_by_name(INSPECTOR)
    y = first_line(guest) + [one.label for one in story.facts].index("Process") * 20 + 8
    x = panel.pos.x + 12 + 80 + 8 * len(process.value) + 24  # where it says how many more
    guest.click(x, y)
    guest.frame(3)
    popup = next(w for w in imgui.get_current_context().windows if w.active and w.name.startswith("##Popup"))
    guest.click(popup.pos.x + 30, popup.pos.y + 16)
    assert guest.state.chosen is not None
    assert (guest.state.chosen.title, str(guest.state.chosen.key)) == process.others[0]


def test_the_tools_of_the_messages(guest: Person) -> None:
    listed(guest, LOG)
    guest.frame(3)
    panel = imgui.internal.find_window_by_name(KERNEL)
    y = panel.pos.y + 50
    copy = panel.pos.x + panel.size.x - 26
    row = range(int(panel.pos.x + 300), int(copy - 40), 8)
    for x in row:  # the tools stand left of the filter: find them as one would, by where they are
        if guest.state.kernel.log_level != DEBUG:
            break
        guest.click(x, y)
        guest.frame(2)
        popup = [w for w in imgui.get_current_context().windows if w.active and w.name.startswith("##Popup")]
        if popup and guest.popup_open() and guest.state.kernel.section == LOG:
            guest.click(popup[-1].pos.x + 30, popup[-1].pos.y + popup[-1].size.y - 16)  # the last: errors
        guest.frame(2)
        if guest.state.kernel.section != LOG:
            guest.run("kernel.show", LOG)
            guest.frame(3)
    assert guest.state.kernel.log_level == 3
    guest.run("kernel.log_level", "All")
    following = table_of(guest.state, LOG).follow
    for at in row:
        guest.frame(1)
        guest.click(at, y)
        if table_of(guest.state, LOG).follow != following:
            break
        guest.key("Escape")
        if guest.state.kernel.section != LOG:
            guest.run("kernel.show", LOG)
            guest.frame(3)
    assert table_of(guest.state, LOG).follow != following


def test_a_task_is_told_from_its_record(guest: Person) -> None:
    sighting = guest.state.kernels.sighting(NAME)
    assert sighting is not None
    assert sighting.processes is not None
    index = sighting.processes.names.index("counter")
    address = int(sighting.processes.addresses[index])
    story = at_symbol(guest, f"{address + 0x48:#x}")
    guest.until(lambda: any(one.label == "Record of" for one in told(guest).facts), "whose record it is")
    story = told(guest)
    assert fact(story, "Cache").value == "task_struct"
    assert fact(story, "Object").value == f"{address:#x}"
    assert fact(story, "Object").note == "+ 0x48, in use"
    assert fact(story, "Record of").value == f"counter ({sighting.processes.pids[index]})"
    assert story.consistency in ("live", "frozen")


def test_pages_of_every_class_have_a_story(guest: Person) -> None:
    sighting = guest.state.kernels.sighting(NAME)
    assert sighting is not None
    assert sighting.classes is not None
    for kind in np.unique(sighting.classes).tolist():
        page = int(np.flatnonzero(sighting.classes == kind)[0])
        guest.run("view.select", page * 4096)
        story = told(guest)
        assert story.facts[0].key == PageClass(kind).name.lower()
        guest.frame(2)
    assert guest.toasts() == []


def test_an_older_story_gives_way_without_a_jump(guest: Person) -> None:
    at_symbol(guest, "schedule")
    rows = guest.state.kernel.story.rows
    assert rows >= 3
    guest.run("view.select", "0x1000")
    assert guest.state.kernel.story.rows in (rows, len(told(guest).facts))


@pytest.mark.parametrize(("slot", "per_slab", "slabs", "expected"), [
    (256, 16, 3, 3 * 4096), (192, 21, 1, 4096), (640, 12, 2, 2 * 8192), (8328, 3, 1, 32768), (8, 0, 5, 5 * 4096),
])  # fmt: skip
def test_memory_of_a_cache(slot: int, per_slab: int, slabs: int, expected: int) -> None:
    cache = SlabCache("x", 0, slot, slot, per_slab, slabs, 0, 0, ())
    assert cache_bytes(cache) == expected


def test_sections_are_lists() -> None:
    assert tuple(LISTS) == SECTIONS
    assert KernelUi().log_level == DEBUG


def test_a_window_without_a_machine_says_so(person: Person) -> None:
    # Last in this file: what is copied goes to the window that was opened last.
    person.run("kernel.show", MODULES)
    person.frame(4)
    assert person.state.kernel.fetched[MODULES].problem == "No machine runs here."
    with pytest.raises(ActionDisabled, match="No machine"):
        person.run("kernel.go_to", "schedule")
    assert person.run("kernel.rows", SLABS) == {
        "section": SLABS,
        "problem": "No machine runs here.",
        "total": 0,
        "rows": [],
    }
