"""The SQL panel: what is seen is written down; queries are run, ended, kept; clicks lead to what rows name."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.jobs import Job, JobState
from app.panels import sql as panel
from app.sql_ui import Answer, answer_of, machine_of, named_by, pages_named_by
from app.volatility_rows import Address
from app.widgets.record_table import TableEvent
from bridge.semantic.store.examples import EXAMPLES
from bridge.semantic.store.reader import ReadOnly, Table
from bridge.semantic.store.sessions import sessions
from tests.app.conftest import Person, dump_window

SIZE = (1280, 720)
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture(scope="module")
def shown(demo_dump: Path) -> Iterator[Person]:
    """A window that shows a dump, all of which is written down."""
    with dump_window(demo_dump, SIZE) as someone:
        someone.until(lambda: someone.state.sql.path is not None, "it should be written down")
        someone.frame(30)  # a first layout puts the console in front when it has settled
        someone.run("sql.show")
        someone.frame(4)
        yield someone


def done(person: Person, job: object) -> Job:
    assert isinstance(job, Job)
    person.until(lambda: job.wait(0), "the query should end")
    person.frame(2)
    return job


def answer(person: Person) -> Answer:
    found = person.state.sql.answer
    assert found is not None
    return found


def test_a_query_is_run_and_its_table_kept(shown: Person, tmp_path: Path) -> None:
    sql = "SELECT pid, name, task_vaddr FROM now_processes WHERE pid IN (1, 2) ORDER BY pid"
    job = done(shown, shown.run("sql.run", sql))
    assert [one["name"] for one in job.result["rows"]] == ["init", "kthreadd"]
    assert shown.state.settings.show_sql
    assert answer(shown).table.columns == ("pid", "name", "task_vaddr")
    model = answer(shown).shown.model
    shown.frame(4)
    answer(shown).shown.sort_by("pid", descending=True)
    shown.until(lambda: model.sort == 0, "it should be sorted")
    lines = list(csv.DictReader(io.StringIO(str(shown.run("sql.copy")))))
    assert [line["pid"] for line in lines] == ["2", "1"]
    assert lines[0]["task_vaddr"].startswith("0xffff")
    assert imgui.get_clipboard_text().startswith("pid,name")
    answer(shown).shown.set_filter("kthr")
    shown.frame(2)
    assert len(str(shown.run("sql.copy")).splitlines()) == 2
    told: Any = shown.run("sql.rows", 1)
    assert (told["total"], len(told["rows"]), told["failure"], told["running"]) == (2, 1, "", False)
    assert Path(told["path"]).is_file()
    for ending in ("csv", "json"):
        shown.run("sql.export", str(tmp_path / f"answer.{ending}"))
    assert len((tmp_path / "answer.csv").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "answer.json").read_text())["rows"][0]["name"] == "init"
    with pytest.raises(BadArguments, match=r"\.csv or \.json"):
        shown.run("sql.export", str(tmp_path / "answer.txt"))


def test_every_example_is_answered(shown: Person) -> None:
    for example in EXAMPLES:
        deadline_s = time.monotonic() + 120
        while True:
            shown.run("sql.example", example.title)
            assert shown.state.sql.text == example.sql
            shown.until(lambda: shown.state.sql.job is None, "it should be answered")
            shown.frame(2)
            assert shown.state.sql.failure == ""
            assert answer(shown).sql == example.sql
            # Symbols and pages are written a slice at a time: a person who sees nothing yet asks once more.
            if answer(shown).rows:
                break
            assert time.monotonic() < deadline_s, f"{example.title}: never a row"


def test_what_cannot_be_answered_is_said_and_the_last_table_stays(shown: Person) -> None:
    done(shown, shown.run("sql.run", "SELECT 1 AS one"))
    job = done(shown, shown.run("sql.run", "SELEC"))
    assert job.state is JobState.FAILED
    assert shown.state.sql.failure == 'Near "SELEC": syntax error.'
    assert answer(shown).table.columns == ("one",)
    done(shown, shown.run("sql.run", "SELECT 2 AS two WHERE 0"))
    assert shown.state.sql.failure == ""
    assert answer(shown).rows == ()


def test_a_query_is_ended_by_hand_and_by_the_next(shown: Person) -> None:
    with pytest.raises(ActionDisabled, match="No query is under way"):
        shown.run("sql.cancel")
    first = shown.run("sql.run", ENDLESS)
    assert isinstance(first, Job)
    shown.frame(4)
    told: Any = shown.run("sql.rows")
    assert told["running"]
    second = shown.run("sql.run", "SELECT 3 AS three")
    done(shown, second)
    shown.until(lambda: first.wait(0), "the first should end")
    assert first.state is JobState.CANCELLED
    assert answer(shown).table.columns == ("three",)
    third = shown.run("sql.run", ENDLESS)
    shown.run("sql.cancel")
    assert done(shown, third).state is JobState.CANCELLED
    assert answer(shown).table.columns == ("three",)


def test_keys_run_what_is_typed(shown: Person) -> None:
    done(shown, shown.run("sql.run", "SELECT 4 AS four"))
    window = imgui.internal.find_window_by_name("SQL")
    x, y = window.pos.x + 60, window.pos.y + 120
    shown.click(x, y)
    shown.frame(3)
    shown.key("a", "Control")
    shown.type("SELECT 5 AS five")
    shown.frame(3)
    assert shown.state.sql.text == "SELECT 5 AS five"
    shown.key("Enter", "Control")
    shown.until(lambda: answer(shown).table.columns == ("five",), "Ctrl+Enter should run it")
    shown.frame(3)
    shown.key("Enter")  # the typing goes on
    shown.type("-- six")
    shown.frame(3)
    assert "\n" in shown.state.sql.text
    assert "-- six" in shown.state.sql.text


def test_examples_and_the_file_to_save_to_are_chosen_by_hand(shown: Person, tmp_path: Path) -> None:
    done(shown, shown.run("sql.run", "SELECT 7 AS seven"))
    window = imgui.internal.find_window_by_name("SQL")
    shown.click(window.pos.x + 176, window.pos.y + 50)
    shown.frame(3)
    choices = imgui.internal.find_window_by_name("##Combo_00")
    assert choices.active
    shown.click(choices.pos.x + 30, choices.pos.y + 20)
    shown.until(lambda: shown.state.sql.text == EXAMPLES[0].sql, "the first should be chosen")
    shown.until(lambda: answer(shown).sql == EXAMPLES[0].sql, "and asked")
    shown.frame(3)
    shown.state.sql.export_path = str(tmp_path / "by hand.csv")
    shown.click(window.pos.x + window.size.x - 32, window.pos.y + 50)
    shown.frame(4)
    assert shown.popup_open()
    shown.key("Enter")
    shown.until((tmp_path / "by hand.csv").is_file, "it should be saved")
    shown.frame(2)
    assert not shown.popup_open()
    # A click on a row of the table itself.
    shown.click(window.pos.x + window.size.x - 250, window.pos.y + 115)
    shown.until(lambda: shown.state.chosen is not None, "its process should be lit up")
    chosen = shown.state.chosen
    assert chosen is not None
    assert chosen.kind == "process"
    shown.run("choose.clear")


def act(person: Person, columns: tuple[str, ...], cells: tuple[Any, ...], column: int = -1) -> list[tuple[str, Any]]:
    """What a click on a cell of a row runs."""
    ran: list[tuple[str, Any]] = []

    class Hands:
        """Only what a click needs of the user interface."""

        def run(self, action: str, **args: Any) -> None:
            ran.append((action, args))

    made = answer_of("", Table(columns, (cells,), False, 0.0))
    panel._act(person.state, Hands(), made, TableEvent("choose", made.rows[0], column))  # type: ignore[arg-type]
    menu = panel._menu(person.state, Hands(), made, made.rows[0])  # type: ignore[arg-type]
    return [*ran, *(("menu", entry.label) for entry in menu)]


def test_a_click_on_an_address_goes_there_and_a_row_lights_up(shown: Person) -> None:
    name = shown.state.current
    region = ("machine", "pid", "start_uaddr", "end_uaddr", "path")
    cells = (name, 7, 0x1000, 0x3000, "/bin/a")
    assert act(shown, region, cells, 2)[0] == ("kernel.go_to", {"where": "0x1000", "pid": 7, "machine": name})
    lit = act(shown, region, cells, 4)
    assert lit[0][0] == "choose.pages_of"
    assert (lit[0][1]["kind"], lit[0][1]["key"]) == ("region", "7,0x1000,0x3000")
    assert [label for what, label in lit if what == "menu"] == [
        "Light up its pages",
        "Light up this part of its memory",
        "Light up process 7",
        "Go to start_uaddr 0x1000",
        "Go to end_uaddr 0x3000",
    ]
    kernel = ("pid", "task_vaddr", "task_paddr")
    assert act(shown, kernel, (1, -4096, 8192), 1)[0][1] == {"where": "0xfffffffffffff000", "machine": name}
    assert act(shown, kernel, (1, -4096, 8192), 2)[0] == ("view.go_to", {"address": 8192, "machine": name})
    assert act(shown, kernel, (1, -4096, 8192), 0)[0][1]["kind"] == "process"
    assert act(shown, ("task_paddr",), (8192,))[0][0] == "view.go_to"
    assert act(shown, ("path",), ("/bin/a",))[0][1]["key"] == "/bin/a"
    assert act(shown, ("class",), ("Slab",)) == []
    assert act(shown, ("machine", "pid"), ("gone", 1)) == []


def test_what_rows_name() -> None:
    named = named_by(("pid", "tid", "start_uaddr", "vaddr", "name"), (5, 6, 4096, None, "x"))
    assert (named.pid, named.tid, named.region) == (5, 6, None)
    assert named.addresses == (Address("start_uaddr", 4096, "process"),)
    assert named_by(("start_uaddr",), (4096,)).addresses == ()  # nobody says whose
    assert pages_named_by(("subject_kind", "subject"), ("slab cache", "dentry")) == ("slab", "dentry")
    assert pages_named_by(("subject_kind", "subject"), ("page table", "kernel")) == ("tables", "0")
    assert pages_named_by(("subject_kind", "subject"), (None, None)) is None
    assert pages_named_by(("path",), ("pipe:[1]",)) is None
    assert machine_of(("machine",), ("demo",)) == "demo"
    assert machine_of(("machine",), (1,)) is None


def test_columns_of_any_kind_can_be_sorted(shown: Person) -> None:
    done(shown, shown.run("sql.run", "VALUES ('b'), (2), (NULL), (x'00'), (1.5), ('A'), (-1)"))
    table = answer(shown).shown
    shown.frame(4)
    table.sort_by("column1", descending=False)
    shown.until(lambda: table.model.sort == 0, "it should be sorted")
    view = table.model.view(answer(shown).rows)
    assert [answer(shown).rows[at][1][0] for at in view.tolist()] == [None, -1, 1.5, 2, "A", "b", b"\x00"]


def test_every_state_of_the_panel_is_drawn(person: Person) -> None:
    """Of a window without a machine: nothing is known, nothing can be asked."""
    ui = person.state.sql
    person.run("sql.show")
    person.frame(3)
    with pytest.raises(ActionDisabled, match="Nothing is known of any kernel yet"):
        person.run("sql.run")
    with pytest.raises(ActionDisabled, match="no table yet"):
        person.run("sql.copy")
    assert person.run("sql.rows") == {"path": "", "failure": "", "running": False}
    person.run("sql.example", EXAMPLES[2].title)
    assert ui.text == EXAMPLES[2].sql
    ui.failure = "It cannot be answered."
    person.frame(2)
    wide = Table(tuple(f"column {at}" for at in range(40)), ((*range(40),),), True, 2.0)
    for table in (wide, Table(("a",), (), False, 0.0)):
        for failure in ("", "It cannot be answered."):
            ui.answer, ui.failure = answer_of("", table), failure
            person.frame(2)
    assert panel._said("", running=True, answer=answer_of("", wide)) == "Asking…"
    assert panel._said("", running=False, answer=answer_of("", wide)) == "The first 1 row in 2.0 s"
    person.run("window.toggle_theme")
    person.frame(2)
    assert sessions() == ()


def test_a_window_that_writes_nothing_down_says_so(homes: Path) -> None:
    from app.offscreen import OffscreenWindow
    from app.window_options import WindowOptions

    folder = homes / "config" / "glassbox"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"store": False}))
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        someone = Person(offscreen)
        someone.frame(3)
        assert offscreen.window.session.recorder.path is None
        with pytest.raises(ActionDisabled, match="setting “store” is off"):
            someone.run("sql.run")


def test_how_much_is_written_down_can_be_set(person: Person) -> None:
    told: Any = person.run("sql.limits", store_mib=512, sessions_kept=3)
    assert told == {
        "store": True,
        "store_mib": 512,
        "store_minutes": 60,
        "sessions_kept": 3,
        "sessions_mib": 1024,
    }
    assert person.state.settings.store_mib == 512
    for wrong in ({"store_mib": 1}, {"sessions_kept": 0}, {"store_minutes": 10**9}, {"sessions_mib": -1}):
        with pytest.raises(BadArguments, match=next(iter(wrong))):
            person.run("sql.limits", **wrong)
    assert person.run("sql.limits", store=False)["store"] is False  # type: ignore[index]


def test_trouble_is_told_once(person: Person) -> None:
    recorder = person.window.session.recorder
    assert recorder._feeder is not None
    recorder._feeder.problem = "The disk is full."
    person.until(lambda: "What is seen is not written down now" in person.toasts(), "it should be told")
    person.frame(4)
    assert person.toasts().count("What is seen is not written down now") == 1
    with pytest.raises(ActionDisabled, match="The disk is full"):
        person.run("sql.run")
    recorder._feeder.problem = ""
    person.frame(2)
    assert person.state.sql.problem == ""


def _complete(path: Path) -> bool:
    sql = "SELECT count(*) FROM now_processes WHERE command_line LIKE 'dropbear%'"
    with ReadOnly(path) as store:
        return store.query(sql).rows == ((1,),)


def test_the_database_outlives_the_window(demo_dump: Path) -> None:
    with dump_window(demo_dump, SIZE) as someone:
        someone.until(lambda: someone.state.sql.path is not None, "it should be written down")
        path = someone.state.sql.path
        assert path is not None

        def has_symbols() -> bool:
            with ReadOnly(path) as store:
                return bool(store.query("SELECT n_symbols FROM kernels").rows[0][0])

        someone.until(has_symbols, "its symbols should be written down")
        someone.until(lambda: not someone.state.sql.problem and _complete(path), "its names too")
        someone.window.session.recorder.close()
        someone.window.session.recorder.close()
        assert not sessions()[0].is_open
        with ReadOnly(path) as store:
            assert store.query("SELECT count(*) > 20 FROM now_processes").rows == ((1,),)
            assert store.query("SELECT count(*) > 50000 FROM now_symbols").rows == ((1,),)
