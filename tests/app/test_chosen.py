"""What is chosen in a guest: how it is named, whose pages are lit, and what undo, Escape and other curves do to it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.actions import ActionDisabled, BadArguments
from app.chosen import (
    KINDS,
    MAX_TITLE,
    BadKey,
    Chosen,
    key_text,
    parse_key,
    printable,
    seen_pages,
    title_of,
)
from app.history import History
from app.kernel_channels import CLASS_LABELS, shown_classes
from app.settings import Settings
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part
from bridge.kernel.worker import Sighting
from tests.app.conftest import SIZE, Person, dump_window


@pytest.fixture(scope="module")
def _dump_window(demo_dump: Path) -> Iterator[Person]:
    with dump_window(demo_dump, SIZE) as someone:
        yield someone


@pytest.fixture
def looker(_dump_window: Person) -> Person:
    """A window that shows the dump of a demo guest, put in order for each test."""
    someone, state = _dump_window, _dump_window.state
    someone.window.host.make_current()
    someone.window.session.kept.change(**dataclasses.asdict(Settings()))
    someone.window.session.navigation.choose(None)
    someone.window.session.navigation.select(None)
    state.stage.view.camera.skip()
    state.stage.view.camera.fit()
    state.history = History()
    state.toasts.dismiss()
    someone.frame(4)
    return someone


@pytest.fixture
def sighting(looker: Person) -> Sighting:
    seen = looker.state.kernels.sighting("guest")
    assert seen is not None
    assert not seen.problem
    return seen


def chosen(person: Person) -> Chosen | None:
    return person.state.chosen


def known(person: Person) -> Chosen:
    """What is chosen, as soon as its pages are known."""
    person.until(lambda: person.state.chosen is not None and person.state.chosen.pages is not None, "its pages")
    assert person.state.chosen is not None
    return person.state.chosen


def lit(person: Person) -> list[int]:
    """The pages that the volume shows lit up."""
    index = person.state.stage.feeds["guest"].store.highlight.index
    return [] if index is None else np.flatnonzero(index).tolist()


def pid_of(sighting: Sighting, name: str) -> int:
    assert sighting.processes is not None
    return int(sighting.processes.pids[sighting.processes.names.index(name)])


# Keys and titles


@pytest.mark.parametrize(
    ("kind", "text", "key"),
    [
        ("process", "412", 412),
        ("process", "0x10", 16),
        ("region", "412,0x7f0000,0x7f1000", (412, 0x7F0000, 0x7F1000)),
        ("symbol", " 0xffffffff81000000, 64 ", (0xFFFF_FFFF_8100_0000, 64)),
        ("class", "slab", int(PageClass.SLAB)),
        ("class", "Page tables", int(PageClass.PAGE_TABLE)),
        ("class", "kernel-text", int(PageClass.KERNEL_TEXT)),
        ("class", "11", 11),
        ("part", "heap", int(Part.HEAP)),
        ("category", "heaps", "Heaps"),
        ("category", "Kernel's own pages", "Kernel's own pages"),
        ("category", "HEAPS of 81", "Heaps of 81"),
        ("slab", "dentry", "dentry"),
        ("file", "/bin/with, commas", "/bin/with, commas"),
        ("tables", "0", 0),
    ],
)
def test_keys_are_read_and_written_back(kind: str, text: str, key: object) -> None:
    found = parse_key(kind, text)
    assert found == key
    assert parse_key(kind, key_text(found)) == found


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("processes", "1", "is none of process, region"),
        ("process", "sshd", "it is PID"),
        ("process", "1,2", "it is PID"),
        ("process", "-1", "it is PID"),
        ("region", "1,2", "PID,START,END"),
        ("symbol", f"{1 << 64},1", "ADDRESS,SIZE"),
        ("class", "slabs and more", "none of unknown, hole"),
        ("part", "12", "none of none, code"),
        ("category", "Heap", "none of Unknown, Program code"),
        ("category", "Heaps of sshd", "no process's number"),
        ("category", "Heaps of ²", "no process's number"),
        ("slab", "  ", "a slab cache's name"),
    ],
)
def test_a_key_that_means_nothing_says_what_would(kind: str, text: str, said: str) -> None:
    with pytest.raises(BadKey, match=said):
        parse_key(kind, text)


def test_titles_are_what_people_say(sighting: Sighting) -> None:
    init = pid_of(sighting, "init")
    assert title_of("process", init, sighting) == f"init ({init})"
    assert title_of("process", init, None) == f"process {init}"
    assert title_of("process", 99999, sighting) == "process 99999"
    assert title_of("region", (init, 0x1000, 0x2000), sighting) == f"init ({init}) 0x1000 to 0x2000"
    assert title_of("class", int(PageClass.SLAB), sighting) == "Slab"
    assert title_of("part", int(Part.HEAP), sighting) == "Heap of every process"
    assert title_of("category", f"Heaps of {init}", sighting) == f"Heaps of init ({init})"
    assert title_of("category", "Heaps", sighting) == "Heaps"
    assert title_of("symbol", (0xFFFF_FFFF_8100_0000, 8192), sighting) == "0xffffffff81000000, 8 KiB"
    assert title_of("stack", init, sighting) == f"Kernel stack of init ({init})"
    assert title_of("tables", init, sighting) == f"Page tables of init ({init})"
    assert title_of("tables", 0, sighting) == "The kernel's own page tables"
    assert title_of("file", "/bin/busybox", sighting) == "/bin/busybox"


def test_a_guests_strings_are_made_harmless() -> None:
    assert printable("a\x1b[31mb\n\u202ec") == "a\ufffd[31mb\ufffd\ufffdc"
    long = printable("x" * 5000)
    assert len(long) == MAX_TITLE
    assert long.endswith("…")
    assert printable("x" * MAX_TITLE) == "x" * MAX_TITLE


def test_it_tells_itself_in_a_line() -> None:
    one = Chosen("m", "process", 412, "sshd (412)")
    assert one.told == "sshd (412): looking for its pages"
    assert dataclasses.replace(one, problem="It has ended.").told == "sshd (412): It has ended."
    assert dataclasses.replace(one, pages=np.zeros(0, np.uint32)).told == "sshd (412): no pages in memory"
    assert dataclasses.replace(one, pages=np.arange(1, dtype=np.uint32)).told == "sshd (412): 4 KiB, 1 page"
    many = dataclasses.replace(one, pages=np.arange(3170, dtype=np.uint32))
    assert many.told == "sshd (412): 12.4 MiB, 3,170 pages"
    assert many == one, "the same is meant"
    assert many.describe() == {
        "machine": "m",
        "kind": "process",
        "key": "412",
        "title": "sshd (412)",
        "pages": 3170,
        "bytes": 3170 * 4096,
        "problem": "",
    }


def test_what_a_look_says_needs_no_question(sighting: Sighting) -> None:
    assert sighting.classes is not None
    assert sighting.parts is not None
    assert sighting.first_owner is not None
    assert sighting.processes is not None
    slab = seen_pages(sighting, "class", int(PageClass.SLAB))
    np.testing.assert_array_equal(slab, np.flatnonzero(sighting.classes == PageClass.SLAB))
    heap = seen_pages(sighting, "part", int(Part.HEAP))
    np.testing.assert_array_equal(heap, np.flatnonzero(sighting.parts == Part.HEAP))
    pid = pid_of(sighting, "allocator")
    index = sighting.processes.pids.tolist().index(pid)
    whole, own = seen_pages(sighting, "category", "Heaps"), seen_pages(sighting, "category", f"Heaps of {pid}")
    assert whole is not None
    assert own is not None
    heaps = shown_classes(sighting) == CLASS_LABELS.index("Heaps")
    np.testing.assert_array_equal(whole, np.flatnonzero(heaps))
    np.testing.assert_array_equal(own, np.flatnonzero(heaps & (sighting.first_owner == index)))
    assert 0 < len(own) <= len(whole)
    assert seen_pages(sighting, "process", pid) is None, "the worker knows more"
    assert seen_pages(None, "class", 1) is None
    assert seen_pages(Sighting(0.0, 0.0, "gone"), "class", 1) is None


# In the window


def test_a_process_is_lit_and_flown_to(looker: Person, sighting: Sighting) -> None:
    state, pid = looker.state, pid_of(sighting, "allocator")
    far = state.stage.camera.distance
    told = looker.run("choose.pages_of", "process", str(pid))
    assert isinstance(told, dict)
    assert told["title"] == f"allocator ({pid})"
    one = known(looker)
    assert one.pages is not None
    assert len(one.pages) > 20
    assert lit(looker) == one.pages.tolist()
    assert sighting.processes is not None
    assert sighting.first_owner is not None
    index = sighting.processes.pids.tolist().index(pid)
    assert set(np.flatnonzero(sighting.first_owner == index).tolist()) <= set(lit(looker))
    looker.until(lambda: not state.stage.view.camera.flying, "the flight should end")
    boxes = np.array(state.stage.view.page_boxes("guest", one.pages))
    middle = (boxes[:, 0].min(axis=0) + boxes[:, 1].max(axis=0)) / 2
    np.testing.assert_allclose(state.stage.camera.target, middle)
    assert state.stage.camera.distance != far
    looker.frame(3)
    assert [callout.key for callout in state.stage.view.names.placed] == ["chosen"]
    looker.frame(3)
    described = looker.run("window.state")
    assert isinstance(described, dict)
    assert described["chosen"]["pages"] == len(one.pages)
    assert looker.run("choose.describe") == described["chosen"]


def test_undo_redo_and_escape(looker: Person) -> None:
    looker.run("choose.pages_of", "class", "slab", "guest", None, False)
    slabs = known(looker)
    looker.run("choose.pages_of", "class", "page_table", "guest", "Tables", False)
    tables = known(looker)
    assert tables.title == "Tables"
    assert lit(looker) == tables.pages.tolist()  # type: ignore[union-attr]
    looker.key("z", "Control")
    assert chosen(looker) == slabs
    assert lit(looker) == known(looker).pages.tolist()  # type: ignore[union-attr]
    looker.key("z", "Control")
    assert chosen(looker) is None
    assert lit(looker) == []
    looker.key("Z", "Control", "Shift")
    looker.key("Z", "Control", "Shift")
    assert chosen(looker) == tables
    looker.run("view.select", "0x100000")
    looker.key("Escape")
    assert chosen(looker) is None, "what dims all else is left first"
    assert looker.selected() is not None
    assert lit(looker) == []
    assert not looker.state.stage.view.names.placed
    looker.key("Escape")
    assert looker.selected() is None
    assert looker.run("choose.describe") is None


def test_it_can_be_chosen_without_a_flight_and_flown_to_later(looker: Person) -> None:
    before = looker.state.stage.camera
    looker.run("choose.pages_of", kind="class", key="kernel_stack", fly=False)
    known(looker)
    looker.frame(5)
    assert looker.state.stage.camera == before
    looker.run("choose.fly")
    looker.until(lambda: not looker.state.stage.view.camera.flying, "the flight should end")
    assert looker.state.stage.camera != before
    looker.run("choose.clear")
    assert chosen(looker) is None
    for action in ("choose.clear", "choose.fly"):
        with pytest.raises(ActionDisabled, match="Nothing is chosen"):
            looker.run(action)


def test_what_is_not_there_says_so_and_lights_nothing(looker: Person) -> None:
    looker.run("choose.pages_of", "slab", "no such cache")
    looker.until(lambda: looker.state.chosen is not None and bool(looker.state.chosen.problem), "the answer")
    one = chosen(looker)
    assert one is not None
    assert "There is no slab cache 'no such cache'" in one.problem
    assert lit(looker) == []
    looker.frame(3)
    looker.run("choose.pages_of", "part", "none")  # pages that nobody maps: far too many to be few boxes
    assert known(looker).size_bytes > 1 << 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("process", "sshd"), "it is PID"),
        (("nothing", "1"), "'nothing' is none of"),
        (("process", "1", "elsewhere"), "'elsewhere' is none of guest"),
        (("process",), "needs “key”"),
    ],
)
def test_bad_arguments_are_told(looker: Person, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadArguments, match=said):
        looker.run("choose.pages_of", *arguments)
    assert chosen(looker) is None


def test_every_kind_gives_an_answer(looker: Person, sighting: Sighting) -> None:
    """Of all kinds something is there in the demo guest; the worker knows each of them."""
    assert sighting.details is not None
    pid = pid_of(sighting, "allocator")
    assert sighting.vmas is not None
    assert sighting.processes is not None
    own = np.flatnonzero(sighting.vmas.owners == sighting.processes.pids.tolist().index(pid))
    start, end = int(sighting.vmas.starts[own[0]]), int(sighting.vmas.ends[own[0]])
    keys = {
        "process": str(pid),
        "region": f"{pid},{start},{end}",
        "class": "free",
        "part": "code",
        "category": "Program code",
        "slab": "dentry",
        "file": sighting.details.files[0].path,
        "symbol": "0xffffffff81000000,4096",
        "stack": str(pid),
        "tables": "0",
    }
    if sighting.details.modules:  # those that an initramfs may load
        keys["module"] = sighting.details.modules[0]
    assert set(KINDS) - {"module"} <= set(keys)
    for kind, key in keys.items():
        looker.run("choose.pages_of", kind, key, "guest", None, False)
        one = known(looker)
        assert not one.problem, kind
        assert one.pages is not None
        assert len(one.pages) > 0, kind
        assert lit(looker) == one.pages.tolist(), kind


def test_it_stays_lit_along_another_curve_and_in_a_second_view(looker: Person) -> None:
    state = looker.state
    looker.run("choose.pages_of", "class", "page_table", "guest", None, False)
    pages = known(looker).pages
    assert pages is not None
    old = state.stage.feeds["guest"].store
    looker.run("view.curve", "linear")
    looker.until(lambda: state.stage.feeds["guest"].store is not old, "it should be laid anew")
    looker.frame(3)
    assert lit(looker) == pages.tolist()
    looker.run("view.split")
    looker.frame(4)
    assert all(pane.view.names.placed for pane in state.stage.panes)
    looker.run("view.close")
    looker.run("choose.clear")
    assert lit(looker) == []


def test_how_far_the_rest_dims_is_a_choice(looker: Person) -> None:
    assert looker.run("view.dim", "0.4") == 0.4
    assert looker.state.stage.view.look.dim == 0.4
    assert looker.state.settings.dim == 0.4
    assert looker.run("view.dim", 7) == 1.0
    assert looker.run("view.dim", -3, False) == 0.0
    looker.key("z", "Control")
    assert looker.state.stage.view.look.dim == 0.4


def test_it_leaves_with_its_machine(looker: Person, demo_dump: Path, tmp_path: Path) -> None:
    other = tmp_path / "again.raw"
    shutil.copyfile(demo_dump, other)
    looker.run("machine.open_dump", str(other), "again")
    looker.until(lambda: "again" in looker.state.stage.feeds, "it should be shown")
    looker.run("choose.pages_of", "class", "slab", "again", None, False)
    known(looker)
    assert looker.state.current == "again"
    assert lit(looker) == [], "another machine's pages stay as they are"
    looker.run("machine.stop", "again")
    looker.until(lambda: "again" not in looker.state.stage.feeds, "it should be gone")
    looker.frame(2)
    assert chosen(looker) is None


def test_it_is_lit_again_on_another_device(looker: Person) -> None:
    """The last test of this window: another device begins with nothing."""
    looker.run("choose.pages_of", "class", "page_table", "guest", None, False)
    pages = known(looker).pages
    assert pages is not None
    looker.window._lose_device(RuntimeError("for a test"))
    looker.frame(3)
    looker.until(lambda: "guest" in looker.state.stage.feeds, "it should be shown again")
    looker.frame(6)
    assert lit(looker) == pages.tolist()
    assert looker.state.stage.view.names.placed
