"""Questions in the window: asked in the search box, lit up, listed, kept, bookmarked; and what programs ask of it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from imgui_bundle import imgui
from PIL import Image

from app.actions import ActionDisabled, BadArguments
from app.control import SOCKET_NAME, ControlServer
from app.failures import CommandFailed, UsageError
from app.found_rows import NOWHERE, dull_columns
from app.history import History
from app.place import Place
from app.queries import Asked, rules_in_file
from app.serving.window_scene import WindowScene
from app.settings import Settings
from bridge.machine.directories import runtime_dir
from bridge.semantic.audit import records
from bridge.semantic.query.model import BadQuery, Understood
from bridge.semantic.query.names import ProcessName
from bridge.semantic.scene import NoSuchHighlight, SceneError
from tests.app.conftest import SIZE, Person, dump_window
from tests.app.spots import Spots
from tests.bridge.semantic.llm.test_consulting import Model, _calls, _words

T = TypeVar("T")
LIMIT_S = 300.0


@pytest.fixture(scope="module")
def _dump_window(demo_dump: Path) -> Iterator[Person]:
    with dump_window(demo_dump, SIZE) as someone:
        yield someone


@pytest.fixture
def asker(_dump_window: Person) -> Person:
    """A window that shows the dump of a demo guest, put in order for each test."""
    someone, state, session = _dump_window, _dump_window.state, _dump_window.window.session
    someone.window.host.make_current()
    state.search.leave, state.overlay = True, None
    session.kept.change(**dataclasses.asdict(Settings()))
    session.navigation.choose(None)
    session.navigation.select(None)
    session.highlights.restore(())
    state.bookmarks = ()
    state.queries.history.clear()
    state.queries.latest = None
    state.stage.view.camera.skip()
    state.stage.view.camera.fit()
    state.history = History()
    state.toasts.dismiss()
    someone.frame(4)
    return someone


@pytest.fixture
def spots(asker: Person, monkeypatch: pytest.MonkeyPatch) -> Spots:
    asker.run("window.show", "Results")
    return Spots(asker, monkeypatch)


def ask(person: Person, text: str) -> Asked:
    """Ask by the action, and wait for what comes of it."""
    person.run("query.ask", text)
    return answered(person)


def answered(person: Person) -> Asked:
    queries = person.state.queries
    person.until(lambda: queries.latest is not None and not queries.latest.running, "an answer")
    assert queries.latest is not None
    person.frame()
    return queries.latest


def lit(person: Person) -> list[int]:
    index = person.state.stage.feeds["guest"].store.highlight.index
    return [] if index is None else np.flatnonzero(index).tolist()


def read(person: Person) -> None:
    """Wait until what is typed was understood."""
    text, readings = person.state.search.text, person.state.readings

    def known() -> bool:
        reading = readings.of(text, "guest")
        return reading is not None and reading.text == text

    person.until(known, "a reading")
    person.frame()


def bookmarked(person: Person) -> list[str]:
    return [one.name for one in person.state.bookmarks]


def shown_results(person: Person) -> bool:
    window = imgui.internal.find_window_by_name("Results")
    return window is not None and not window.hidden


# Asking


def test_a_question_for_a_picture_waits_for_its_answer_and_says_why_there_is_none(asker: Person) -> None:
    offscreen, camera = asker.offscreen, asker.state.stage.view.camera
    with pytest.raises(UsageError, match="Nothing here is called"):
        offscreen.ask("nobodyknowsthis", LIMIT_S, fly=False)
    with pytest.raises(CommandFailed, match=r"has no pages in memory\. There is no process 99999 now"):
        offscreen.ask("process 99999", LIMIT_S, fly=False)
    with pytest.raises(CommandFailed, match="What was written is known"):
        offscreen.ask("what was written in the last 10 hours", LIMIT_S, fly=False)
    assert not lit(asker)
    before = camera.state
    offscreen.ask("heap of dropbear", LIMIT_S, fly=False)
    assert asker.state.queries.latest is not None
    assert asker.state.queries.latest.result is not None
    assert lit(asker) == asker.state.queries.latest.result.pages.tolist() != []
    assert camera.state == before
    offscreen.ask("heap of init", LIMIT_S, fly=True)
    camera.skip()
    assert camera.state != before


def test_a_question_typed_in_the_search_box_is_answered_lit_and_listed(asker: Person) -> None:
    asker.key("k", "Control")
    asker.type("the ssh daemon's hea")
    read(asker)
    asker.key("Tab")
    assert asker.searched() == "the ssh daemon's heap"
    read(asker)
    first = asker.state.search.entries[0]
    assert first.title == 'Ask: heap of process "dropbear"'
    assert "taken for the process dropbear" in first.detail
    asker.key("Enter")
    asked = answered(asker)
    assert not asker.searching()
    assert asked.result is not None
    assert lit(asker) == asked.result.pages.tolist() != []
    asker.frame(6)
    assert shown_results(asker)
    assert not asker.state.keyboard_taken


def test_enter_before_it_is_understood_waits_and_asks(asker: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.panels.topbar.WAIT_S", LIMIT_S)  # understanding takes seconds where much else is done
    asker.key("k", "Control")
    asker.type("kernel stacks")
    asker.key("Enter")
    assert answered(asker).title == "show kernel stack of every process"


def test_what_is_not_understood_offers_what_is_near_and_fills_it_in(asker: Person) -> None:
    asker.key("k", "Control")
    asker.type("heap of dropbaer")
    read(asker)
    nearest = [entry for entry in asker.state.search.entries if entry.detail == "nearest"]
    asks = [entry for entry in asker.state.search.entries if entry.title.startswith("Ask: ")]
    assert any("dropbear" in entry.title for entry in (*nearest, *asks))
    asked = ask(asker, "heap of nobodyhasthisname")
    assert asked.result is None
    assert "nobodyhasthisname" in asked.problem
    assert asked.nearest


def test_up_in_an_empty_field_brings_back_what_was_asked(asker: Person) -> None:
    ask(asker, "kernel stacks")
    ask(asker, "every process")
    asker.key("k", "Control")
    texts = [entry.args["text"] for entry in asker.state.search.entries if entry.action == "query.ask"]
    assert texts[:2] == ["every process", "kernel stacks"]
    for key, expected in (
        ("ArrowUp", "every process"),
        ("ArrowUp", "kernel stacks"),
        ("ArrowUp", "kernel stacks"),
        ("ArrowDown", "every process"),
        ("ArrowDown", ""),
    ):
        asker.key(key)
        assert asker.searched() == expected
    asker.key("Escape")


def test_bytes_in_groups_are_looked_for_and_a_number_is_gone_to(asker: Person) -> None:
    asker.key("k", "Control")
    asker.type("7f 45 4c 46")
    read(asker)
    assert asker.state.search.entries[0].title == "Ask: bytes 7f 45 4c 46"
    asker.key("Enter")
    found = answered(asker).result
    assert found is not None
    assert found.count > 3
    memory = asker.state.stage.feeds["guest"].ram
    for match in found.matches[:20]:
        start = int(match.ranges[0, 0])
        place = asker.state.stage.place("guest", start)
        assert bytes(memory.bytes[place.offset : place.offset + 4]) == b"\x7fELF"
    asker.key("k", "Control")
    asker.type("0x100000")
    asker.key("Enter")
    asker.frame(4)
    assert asker.selected() == Place("guest", 0x100000)


def test_what_starts_while_one_types_is_understood(asker: Person) -> None:
    asker.key("k", "Control")
    asker.type("memory of nobodyruns")
    read(asker)
    queries, text = asker.state.queries, asker.searched()
    reading = asker.state.readings.of(text, "guest")
    assert reading is not None
    assert not isinstance(reading.meant, Understood)
    names = queries.names("guest")
    assert names is not None
    asker.until(lambda: queries._naming is None, "the look for names to end: what it found would take their place")
    grown = dataclasses.replace(names, processes=(*names.processes, ProcessName(4242, "nobodyruns")))
    queries._names["guest"] = time.monotonic() + 1000, grown

    def understood() -> bool:
        now = asker.state.readings.of(text, "guest")
        return now is not None and isinstance(now.meant, Understood)

    try:
        asker.until(understood, "the text to be read again")
    finally:
        del queries._names["guest"]
        asker.key("Escape")


# What is done with an answer


def test_the_results_are_used_by_mouse(asker: Person, spots: Spots) -> None:
    spots.press("kernel stacks")  # one of the questions to begin with
    first = answered(asker)
    assert first.title == "show kernel stack of every process"
    spots.press("##row1")
    assert asker.state.results.table.selected == 1
    assert lit(asker) == first.rows[1].match.pages.tolist()
    for label, action in (
        ("Light it up and fly there", lambda: lit(asker) == first.rows[1].match.pages.tolist()),
        ("Keep it lit", lambda: [one.name for one in asker.state.highlights] == [first.rows[1].match.label]),
        ("Copy its ranges of addresses", lambda: imgui.get_clipboard_text().startswith(f"{first.rows[1].first:#x}+")),
        ("Go to its first byte", lambda: asker.selected() is not None),
        ("Light all of it up again", lambda: set(first.result.pages.tolist()) <= set(lit(asker))),  # type: ignore[union-attr]
    ):
        spots.press("##row1", button=2)
        spots.choose(label)
        assert action(), label
    spots.press("Keep the answer lit")
    assert [one.name for one in asker.state.highlights][-1] == "kernel stack of every process"
    asker.state.results.table.set_filter("kthreadd")
    assert spots.hears(f"1 of {len(first.rows)} matches")
    ask(asker, "every process")
    assert asker.state.results.table.model.needle == ""
    spots.choose("Earlier questions", "kernel stack of every process")
    assert asker.state.queries.shown == first
    spots.press("Ask again")
    assert answered(asker).title == first.title


def test_bookmarks_are_used_by_mouse(asker: Person, spots: Spots) -> None:
    ask(asker, "page tables of the kernel")
    spots.press("Bookmark this answer and view")
    (made,) = asker.state.bookmarks
    spots.choose("Bookmarks", made.name, "Copy as text")
    assert imgui.get_clipboard_text().startswith("glassbox://bookmark/")


def test_an_empty_answer_lights_nothing_and_offers_nothing_to_be_done_with_it(asker: Person, spots: Spots) -> None:
    ask(asker, "kernel stacks")
    assert lit(asker) != []
    none = ask(asker, "bytes 13 37 13 37 be ef be ef de ad 00 42")
    assert none.result is not None
    assert lit(asker) == []
    assert spots.hears("Nothing of the kind was found")
    for action in ("query.light", "query.keep", "query.copy"):
        with pytest.raises(ActionDisabled, match="Nothing was found"):
            asker.run(action)
    asker.run("edit.undo")
    assert lit(asker) != []
    wrong = ask(asker, "heap of nobodyhasthisname")
    assert lit(asker) != []  # what is not understood takes nothing away
    assert spots.hears("nobodyhasthisname")
    chip = wrong.nearest[0].removeprefix("show ")
    spots.press(chip)
    assert answered(asker).text == chip


def test_a_long_search_is_stopped_by_its_button(asker: Person, spots: Spots) -> None:
    asker.run("query.ask", "regex /(a+)+$/")
    spots.press("Stop")
    left = answered(asker)
    assert left.result is None or not left.result.complete


def test_a_narrow_table_leaves_out_what_says_nothing(asker: Person) -> None:
    one_process = ask(asker, "regions of dropbear")
    assert dull_columns(one_process.rows) == {"Kind", "PID", "Pages"}
    assert dull_columns(ask(asker, "kernel stacks").rows) == {"Kind", "Pages"}
    table = asker.state.results.table
    shown = [column.title for column in table.model.columns]
    assert {"Kind", "PID", "Pages"} < set(shown)  # copies have them all
    assert str(asker.run("query.copy")).splitlines()[0].split(",") == shown


def test_a_match_is_lit_gone_to_kept_and_copied(asker: Person) -> None:
    asked = ask(asker, "kernel stacks")
    assert asked.result is not None
    row = asked.rows[3]
    asker.run("query.light", 3)
    assert lit(asker) == row.match.pages.tolist()
    asker.run("edit.undo")
    assert lit(asker) == asked.result.pages.tolist()
    asker.run("edit.redo")
    assert lit(asker) == row.match.pages.tolist()
    asker.run("query.go", 3)
    place = asker.selected()
    assert place is not None
    assert asker.state.stage.paddr(place) == row.first
    asker.frame(4)
    assert asker.state.results.table.selected == 3
    asker.run("query.keep", 3)
    asker.run("query.keep")
    assert [one.name for one in asker.state.highlights] == [row.match.label, "kernel stack of every process"]
    assert asker.run("query.copy", 3) == "\n".join(f"{a:#x}+{b:#x}" for a, b in row.match.ranges.tolist())
    copied = asker.run("query.copy")
    assert isinstance(copied, str)
    table = list(csv.DictReader(io.StringIO(copied)))
    assert [line["What"] for line in table] == [one.match.label for one in asked.rows]
    assert sum(int(line["Pages"]) for line in table) == sum(len(one.match.pages) for one in asked.rows)
    with pytest.raises(BadArguments, match="none of the"):
        asker.run("query.light", len(asked.rows))


def test_a_process_that_was_found_is_chosen_as_such(asker: Person) -> None:
    asked = ask(asker, "every process")
    row = next(row for row in asked.rows if row.match.label.startswith("dropbear"))
    asker.run("query.light", row.index)
    chosen = asker.state.chosen
    assert chosen is not None
    assert (chosen.kind, chosen.key) == ("process", row.match.pid)
    asker.frame(4)
    assert asker.state.people.of("guest").pid == row.match.pid


def test_verbs_hide_count_and_keep(asker: Person) -> None:
    everything = asker.state.stage.feeds["guest"].store.n_pages
    counted = ask(asker, "how many kernel stacks are there")
    assert counted.result is not None
    assert lit(asker) == []
    hidden = ask(asker, "hide kernel stacks")
    assert hidden.result is not None
    assert len(lit(asker)) == everything - len(hidden.result.pages)
    ask(asker, "highlight kernel stacks")
    assert [one.name for one in asker.state.highlights] == ["kernel stack of every process"]
    assert asker.state.highlights[0].pages is not None
    compared = ask(asker, "compare page tables of init with page tables of dropbear")
    assert compared.result is not None
    assert compared.result.comparison is not None
    asker.frame(3)
    none = ask(asker, "bytes 13 37 13 37 be ef be ef de ad 00 42")
    assert not none.rows
    asker.frame(3)


def test_earlier_answers_come_back_and_wrong_ones_do_not(asker: Person) -> None:
    with pytest.raises(ActionDisabled, match="Nothing was asked"):
        asker.run("query.again")
    first = ask(asker, "kernel stacks")
    ask(asker, "every process")
    history = asker.run("query.history")
    assert isinstance(history, list)
    assert [one["query"] for one in history] == ["show kernel stack of every process", "show every process"]
    asker.run("query.show", first.number)
    assert asker.state.queries.shown == first
    asker.run("query.again")
    assert answered(asker).title == first.title
    assert asker.run("query.describe") == asker.state.queries.latest.describe()  # type: ignore[union-attr]
    with pytest.raises(BadArguments, match="remembered"):
        asker.run("query.show", 10_000)
    with pytest.raises(BadArguments, match="not shown"):
        asker.window.session.answers.ask("kernel stacks", "nobody")
    elsewhere = ask(asker, 'kernel stacks on "other"')
    assert "other" in elsewhere.problem


def test_a_question_can_be_left_and_a_new_one_takes_its_place(asker: Person) -> None:
    asker.run("query.ask", "regex /(a+)+$/")
    assert asker.state.queries.latest is not None
    asker.run("query.cancel")
    left = answered(asker)
    assert left.result is None or not left.result.complete


def test_rules_come_from_the_users_files_only(asker: Person, tmp_path: Path) -> None:
    rules = tmp_path / "elf.yar"
    rules.write_text('rule elf { strings: $a = "root:" condition: $a }')
    assert rules_in_file(str(rules)).startswith("rule elf")
    with pytest.raises(BadQuery, match="cannot be read"):
        rules_in_file(str(tmp_path / "none.yar"))
    os.mkfifo(tmp_path / "pipe.yar")  # opening it would wait for ever
    with pytest.raises(BadQuery, match="no plain file"):
        rules_in_file(str(tmp_path / "pipe.yar"))
    with pytest.raises(BadQuery, match="cannot be read"):
        rules_in_file("~nobody-of-that-name/rules.yar")
    (tmp_path / "long.yar").write_text("x" * (1 << 17))
    with pytest.raises(BadQuery, match="more than"):
        rules_in_file(str(tmp_path / "long.yar"))
    job: Any = asker.run("query.highlight", f'yara "{rules}"')
    asker.until(lambda: job.wait(0), "a refusal")
    assert "given themselves" in str(job.error)
    assert asker.state.queries.latest is None


# Programs


def in_thread(person: Person, work: Callable[[], T]) -> T:
    """Run what talks to the window while the window goes on."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append((True, work()))
        except Exception as error:
            result.append((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    person.until(lambda: not thread.is_alive(), "the program to end")
    good, value = result[0]
    if not good:
        raise value
    return value  # type: ignore[no-any-return]


@pytest.fixture
def scene(asker: Person) -> Iterator[WindowScene]:
    """The window as REST and MCP reach it."""
    window = asker.window
    window.control = ControlServer(runtime_dir() / SOCKET_NAME)
    yield WindowScene()
    window.control.close()
    window.control = None


def test_interfaces_light_up_look_and_see_what_the_window_shows(asker: Person, scene: WindowScene) -> None:
    made = in_thread(asker, lambda: scene.add("guest", "kernel stacks", name="stacks", colour="#ff0000"))
    assert (made.name, made.colour, made.visible) == ("stacks", "#ff0000", True)
    assert made.query == "show kernel stack of every process"
    assert made.pages == len(lit(asker)) > 0
    assert asker.state.queries.latest is None  # the user asked nothing
    with pytest.raises(SceneError, match="called"):
        in_thread(asker, lambda: scene.add("guest", "heap of nobodyhasthis", name=None, colour=None))
    changed = in_thread(asker, lambda: scene.change("stacks", visible=False, colour="#00ff00", new_name="s"))
    assert (changed.name, changed.colour, changed.visible) == ("s", "#00ff00", False)
    camera = in_thread(asker, lambda: scene.look_from({"target": (10.0, 20.0, 30.0), "azimuth_degrees": 33.0}))
    assert (camera.target, camera.azimuth_degrees) == ((10.0, 20.0, 30.0), 33.0)
    assert in_thread(asker, scene.camera) == camera
    asker.run("view.fit")
    asker.until(lambda: not asker.state.stage.view.camera.flying, "the flight to end")
    dark = np.asarray(Image.open(io.BytesIO(in_thread(asker, lambda: scene.shot("guest", (320, 200))))))
    assert dark.shape == (200, 320, 3)
    assert dark.std() > 5
    in_thread(asker, lambda: scene.change("s", visible=True, colour="#ff0000", new_name=None))
    red = np.asarray(Image.open(io.BytesIO(in_thread(asker, lambda: scene.shot(None, (320, 200))))))
    assert np.abs(red.astype(int) - dark).mean() > 1
    in_thread(asker, lambda: scene.remove("s"))
    assert in_thread(asker, scene.highlights) == ()
    with pytest.raises(NoSuchHighlight):
        in_thread(asker, lambda: scene.remove("s"))


def test_cameras_and_pictures_that_make_no_sense_are_refused(asker: Person, tmp_path: Path) -> None:
    for wrong in ({"x": 1e9}, {"distance": 1e300}):
        with pytest.raises(BadArguments, match="greater"):
            asker.run("view.camera", **wrong)
    for path, size, said in (
        ("a.jpg", 64, "png"),
        (str(tmp_path / "no" / "a.png"), 64, "no directory"),
        (str(tmp_path / "a.png"), 5000, "between"),
    ):
        with pytest.raises(BadArguments, match=said):
            asker.run("view.picture", path=path, width=size, height=size)
    assert list(tmp_path.iterdir()) == []


def test_a_script_is_told_how_a_text_is_understood(asker: Person) -> None:
    job: Any = asker.run("query.complete", "the ssh daemon's hea")
    asker.until(lambda: job.wait(0), "a reading")
    assert "the ssh daemon's heap" in [one["text"] for one in job.result["completions"]]
    job = asker.run("query.complete", "kernel stacks")
    asker.until(lambda: job.wait(0), "a reading")
    assert job.result["query"] == "show kernel stack of every process"


# Bookmarks and sessions


def test_a_bookmark_brings_question_camera_look_and_highlights_back(asker: Person) -> None:
    ask(asker, "page tables of the kernel")
    asker.run("query.keep")
    asker.run("view.mode", "translucent")
    asker.run("view.camera", azimuth=71.0, x=100.0)
    asker.run("bookmark.add", "tables")
    before = asker.state.stage.camera
    text = asker.run("bookmark.copy", "tables")
    assert isinstance(text, str)
    assert text.startswith("glassbox://bookmark/")
    asker.run("highlight.clear")
    asker.run("choose.clear")
    asker.run("view.fit")
    asker.run("view.mode", "solid")
    asker.until(lambda: not asker.state.stage.view.camera.flying, "the flight to end")
    asker.run("bookmark.remove", "tables")
    asker.run("bookmark.paste", text)
    asker.run("bookmark.rename", "tables", "  of the kernel ")
    asker.run("bookmark.go", "of the kernel")
    asked = answered(asker)
    assert asked.title == "show page tables of kernel"
    assert asker.state.stage.camera == before
    assert asker.state.stage.view.look.mode == "translucent"
    asker.until(lambda: all(one.pages is not None for one in asker.state.highlights), "its highlights' pages")
    assert asked.result is not None
    assert [one.pages.tolist() for one in asker.state.highlights if one.pages is not None] == [
        asked.result.pages.tolist()
    ]
    for wrong in ("glassbox://bookmark/AAAA", "no bookmark", "{}"):
        with pytest.raises(BadArguments):
            asker.run("bookmark.paste", wrong)
    with pytest.raises(BadArguments):
        asker.run("bookmark.go", "none of them")


def test_bookmarks_outlive_the_window_and_a_broken_file_is_set_aside(asker: Person) -> None:
    session = asker.window.session
    asker.run("bookmark.add", "a")
    asker.run("bookmark.add", "a")
    asker.state.bookmarks = ()
    session.bookmarks.load()
    assert bookmarked(asker) == ["a", "a 2"]
    path = session.kept.folder / "bookmarks.json"
    path.write_text("[" * 100_000)
    asker.state.bookmarks = ()
    session.bookmarks.load()
    assert bookmarked(asker) == []
    assert "Your bookmarks were set aside" in asker.toasts()
    assert not path.exists()


def test_a_session_is_saved_and_opened_where_a_machine_is_missing(asker: Person, tmp_path: Path) -> None:
    ask(asker, "kernel stacks")
    asker.run("query.keep")
    asker.run("bookmark.add", "here")
    path = tmp_path / "work.json"
    asker.run("session.save", str(path))
    document = json.loads(path.read_text())
    assert [one["name"] for one in document["machines"]] == ["guest"]
    asker.run("highlight.clear")
    asker.state.bookmarks = ()
    opened: Any = asker.run("session.open", str(path))
    assert opened["missing"] == ""
    assert bookmarked(asker) == ["here"]
    asker.until(lambda: asker.state.highlights[0].pages is not None, "its highlight's pages")
    text = path.read_text().replace('"guest"', '"elsewhere"', 1).replace('"machine": "guest"', '"machine": "elsewhere"')
    document = json.loads(text)
    document["machines"] = [{"name": "elsewhere", "guest": "demo", "dump": ""}]
    path.write_text(json.dumps(document))
    opened = asker.run("session.open", str(path))
    assert "elsewhere (the guest demo) is not shown" in opened["missing"]
    assert asker.state.machine("elsewhere") is None
    asker.frame(4)
    assert asker.state.highlights[0].pages is None
    with pytest.raises(BadArguments, match="launch it"):
        asker.run("bookmark.go", "here")
    for wrong, said in (("relative.json", "begins with"), (str(tmp_path / "none.json"), "cannot be read")):
        with pytest.raises(BadArguments, match=said):
            asker.run("session.open", wrong)
    (tmp_path / "bad.json").write_text('{"kind": "glassbox-session", "version": 2}')
    with pytest.raises(BadArguments, match="lacks machines"):
        asker.run("session.open", str(tmp_path / "bad.json"))


def test_what_is_not_in_memory_has_no_first_address(asker: Person) -> None:
    asked = ask(asker, "every module")
    for row in asked.rows:
        assert (row.first == NOWHERE) == (len(row.match.ranges) == 0)


# Language models


@pytest.fixture
def model() -> Iterator[Model]:
    """A server on this machine that speaks a model's protocol, and says what a test wants said."""
    model = Model()
    yield model
    model.server.shutdown()
    model.server.server_close()


def consulted(person: Person, question: str) -> Any:
    job: Any = person.run("query.consult", question)
    person.until(lambda: job.wait(0), "the model's answer")
    person.frame(3)
    return person.run("query.consulted")


def test_a_language_model_answers_by_queries_that_are_shown_and_told(
    asker: Person, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ActionDisabled, match="No language model"):
        asker.run("query.consult", "what does SSH use?")
    asker.key("k", "Control")
    asker.type("what does ssh use")
    read(asker)
    assert all(entry.action != "query.consult" for entry in asker.state.search.entries)
    asker.key("Escape")
    monkeypatch.setenv("GLASSBOX_LLM_KEY", "secret")
    asker.run("llm.use", model.endpoint.url, "tiny")
    model.says = [_calls("heap of nobodyhasthis", "heap of dropbear", "stop the machine"), _words("It uses little.")]
    told = consulted(asker, "what does SSH use?")
    assert told["queries"] == ['show heap of process "dropbear"']
    assert told["not_understood"] == ["heap of nobodyhasthis", "stop the machine"]
    assert told["said"] == "It uses little."
    assert answered(asker).title == 'show heap of process "dropbear"'
    assert model.headers[0]["authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(dataclasses.asdict(asker.state.settings))
    asker.key("k", "Control")
    asker.type("what does ssh use")
    read(asker)
    assert any(entry.action == "query.consult" for entry in asker.state.search.entries)
    asker.key("Escape")
    asker.run("query.edit", "heap of dropbear")
    asker.frame(3)
    assert asker.searched() == "heap of dropbear"
    asker.key("Escape")

    def recorded() -> list[tuple[str, str]]:
        return [(one.who, one.what) for one in records()]

    asker.until(lambda: ("llm", "query.consult") in recorded(), "the audit log to tell of it")
    assert recorded().count(("llm", "query.ask")) == 3


def test_a_model_that_is_not_there_or_talks_nonsense_is_said_so(asker: Person, model: Model) -> None:
    asker.run("llm.use", model.endpoint.url, "tiny")
    model.says = [b"no json"]
    with_nonsense = consulted(asker, "what?")
    assert "not that of an OpenAI-compatible endpoint" in with_nonsense["problem"]
    asker.run("llm.use", "http://127.0.0.1:1/v1", "tiny")
    assert "No model can be reached" in consulted(asker, "what?")["problem"]
    for url, name in (("file:///etc/passwd", "m"), ("http://a:b@host/v1", "m"), ("http://h:99999/", "m"), ("", "m")):
        with pytest.raises(BadArguments, match="url"):
            asker.run("llm.use", url, name)
    with pytest.raises(BadArguments, match="model"):
        asker.run("llm.use", "http://localhost/v1", " ")
    asker.run("llm.set_up")
    asker.frame(3)
    assert asker.overlay() == "model"
    asker.key("Escape")
    asker.run("llm.off")
    with pytest.raises(ActionDisabled, match="No language model"):
        asker.run("query.consult", "what?")


def test_a_model_is_set_up_by_keys_and_mouse(asker: Person, spots: Spots) -> None:
    form = asker.state.model_form
    asker.run("llm.set_up")
    asker.frame(4)
    asker.type("tiny")  # the field for its name has the keyboard: an address is there already
    assert form.model == "tiny"
    form.url = "ftp://somewhere"
    assert spots.hears("is no address of an endpoint")
    spots.press("Use it")
    assert asker.overlay() == "model"
    form.url = "http://127.0.0.1:1/v1"
    asker.key("Enter")
    assert asker.overlay() is None
    assert (asker.state.settings.llm_url, asker.state.settings.llm_model) == ("http://127.0.0.1:1/v1", "tiny")
    consulted(asker, "what?")
    assert spots.hears("No model can be reached")
    spots.press("Set up a language model")
    assert asker.overlay() == "model"
    spots.press("Use it")
    assert asker.overlay() is None
    asker.run("llm.set_up")
    spots.press("Use none")
    assert asker.overlay() is None
    assert asker.state.settings.llm_url == ""
    spots.press("Close")
    assert asker.state.consulting is None


def test_a_model_that_never_answers_is_left_at_once(asker: Person, model: Model, spots: Spots) -> None:
    ended = threading.Event()
    model.says = [lambda _handler: ended.wait(120)]
    asker.run("llm.use", model.endpoint.url, "tiny")
    job: Any = asker.run("query.consult", "what?")
    asker.until(lambda: bool(model.sent), "the question to arrive")
    spots.press("Stop")
    asker.until(lambda: job.wait(0), "it to be left")
    assert asker.run("query.consulted")["problem"] == "It was cancelled."  # type: ignore[index]
    ended.set()


def test_what_a_model_asked_is_asked_again_or_changed(asker: Person, model: Model, spots: Spots) -> None:
    asker.run("llm.use", model.endpoint.url, "tiny")
    model.says = [_calls("page tables of init", "kernel stacks"), _words("They are small.")]
    consulted(asker, "how big are they?")
    assert answered(asker).title == "show kernel stack of every process"
    assert spots.hears("They are small.")
    spots.press('page tables of process "init"')
    assert answered(asker).title == 'show page tables of process "init"'
    spots.press("Change it in the search box")
    assert asker.searched() == "kernel stack of every process"
    asker.key("Escape")
