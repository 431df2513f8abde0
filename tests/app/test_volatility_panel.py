"""The Volatility panel: a plugin is chosen, run, ended, its table sorted, filtered and kept; and what goes wrong."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.volatility_rows import Address, Named, named_by
from app.volatility_ui import Result, VolatilityUi, option_value, parse_options
from bridge.kernel.volatility_engine.records import (
    Column,
    Columns,
    Finished,
    Job,
    Option,
    Plugin,
    PluginList,
    Rows,
    Target,
)
from bridge.kernel.volatility_engine.service import Run
from tests.app.conftest import Person
from tests.app.spots import Spots


def opened(person: Person, dump: Path) -> None:
    person.run("machine.open_dump", str(dump), "held")
    person.until(lambda: "held" in person.state.stage.feeds, "its memory should be shown")
    person.run("window.show", "Volatility")
    person.until(lambda: person.state.volatility.worker.installed is not None, "Volatility should start")


def done(person: Person) -> Result:
    person.until(lambda: not result(person).run.running, "the plugin should end")
    person.frame(2)
    return result(person)


def result(person: Person) -> Result:
    found = person.state.volatility.result
    assert found is not None
    return found


def test_a_plugin_is_run_and_its_table_kept(person: Person, demo_dump: Path, tmp_path: Path) -> None:
    with pytest.raises(ActionDisabled, match="No machine's memory"):
        person.run("volatility.run")
    opened(person, demo_dump)
    for action in ("volatility.copy", "volatility.cancel", "volatility.rows"):
        with pytest.raises(ActionDisabled):
            person.run(action)
    person.run("volatility.run", "linux.pslist", "pid=1,2")
    found = done(person)
    assert found.run.finished is not None
    assert found.run.finished.problem == ""
    assert [row[2][4] for row in found.rows] == ["init", "kthreadd"]
    assert found.table is not None
    found.table.sort_by("PID", descending=True)
    person.frame(2)
    lines = list(csv.DictReader(io.StringIO(str(person.run("volatility.copy")))))
    assert [line["PID"] for line in lines] == ["2", "1"]
    assert imgui.get_clipboard_text().startswith("OFFSET (V),PID")
    found.table.set_filter("kthr")
    person.frame(2)
    assert len(str(person.run("volatility.copy")).splitlines()) == 2
    told: Any = person.run("volatility.rows", 1)
    assert (told["machine"], len(told["rows"]), told["rows"][0]["COMM"]) == ("held", 1, "init")
    person.run("volatility.export", str(tmp_path / "table.csv"))
    person.run("volatility.export", str(tmp_path / "table.json"))
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3
    assert [row["PID"] for row in json.loads((tmp_path / "table.json").read_text())["rows"]] == [1, 2]
    with pytest.raises(BadArguments, match=r"\.csv or \.json"):
        person.run("volatility.export", str(tmp_path / "table.txt"))
    person.run("volatility.run", "linux.kallsyms")
    person.until(lambda: len(result(person).rows) > 0, "rows should come while it runs")
    person.frame(2)
    person.run("volatility.cancel")
    assert done(person).run.finished is not None
    assert not result(person).run.running
    person.run("volatility.run", "linux.pagecache.InodePages")
    assert done(person).rows == ()
    person.state.volatility.values["linux.pslist"] = {"pid": "one"}
    with pytest.raises(BadArguments, match="pid takes numbers"):
        person.run("volatility.run", "linux.pslist")
    with pytest.raises(BadArguments, match="not installed"):
        person.run("volatility.run", "linux.nothing")


def test_types_that_the_user_supplies(person: Person, demo_dump: Path, tmp_path: Path) -> None:
    opened(person, demo_dump)
    person.until(lambda: person.state.kernels.sighting("held") is not None, "the kernel should be looked for")
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(BadArguments, match="no ISF"):
        person.run("kernel.use_types", str(tmp_path / "wrong.json"))
    good: dict[str, Any] = {"base_types": {}, "user_types": {}, "enums": {}, "symbols": {}}
    (tmp_path / "good.json").write_text(json.dumps(good))
    before = person.state.kernels.watcher("held")
    person.run("kernel.use_types", str(tmp_path / "good.json"))
    assert person.window.session.kept.types_file() == tmp_path / "good.json"
    # Kernels are looked at anew; this one has types of its own, which stay.
    person.until(lambda: person.state.kernels.watcher("held") is not before, "it should be looked at anew")
    person.until(lambda: person.state.kernels.sighting("held") is not None, "it should be found again")
    sighting = person.state.kernels.sighting("held")
    assert sighting is not None
    assert sighting.problem == ""
    person.run("kernel.use_types")
    assert person.window.session.kept.types_file() is None


def test_every_state_of_the_panel_is_drawn(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a worker: what is not there yet, what cannot be, what was found, what broke off."""
    spots = Spots(person, monkeypatch)
    ui = person.state.volatility
    person.run("window.show", "Volatility")
    person.frame(2)
    person.until(lambda: ui.worker.installed is not None, "Volatility should start")
    installed = ui.worker.installed
    ui.worker.installed = PluginList("", (), "Volatility 3 cannot be loaded.")
    person.frame(2)
    every = tuple(
        Option(kind, kind, "what it is", default, optional, ("gz", "xz"))
        for kind, default, optional in (
            ("bool", True, True), ("int", 7, True), ("text", None, False), ("choice", "gz", True), ("ints", None, True),
            ("texts", None, True),
        )
    )  # fmt: skip
    ui.worker.installed = PluginList("2", (Plugin("linux.some", "Shows some", every),), "One is left out.")
    ui.plugin = "linux.other"
    spots.press("some")
    assert ui.plugin == "linux.some"
    assert spots.hears("Shows some")
    assert spots.hears("One is left out.")
    spots.press("bool")
    spots.press("##int")
    person.type("12")
    spots.choose("##choice", "xz")
    assert ui.values["linux.some"] == {"bool": False, "int": "12", "choice": "xz"}
    spots.press("Types for kernels without…")
    person.type("/none.json")
    spots.choose("Use")
    assert person.toasts()
    assert person.state.settings.types_file == ""
    ui.needle = "nothing is called so"
    assert spots.hears("None is called so")
    ui.needle = ""
    run = Run(Job(1, Target(Path("x")), "linux.some"))
    ui.result = Result(run, "held")
    person.frame(2)
    run.take(Columns(1, tuple(Column(kind, kind) for kind in ("text", "hex", "int", "bool", "float", "time", "bytes"))))
    run.take(Rows(1, (0, 1), (("a", 255, 1, True, 0.5, "2026", "00"), (None,) * 7)))
    ui.result.follow()
    person.frame(2)
    assert ui.result.table is not None
    for title in ("text", "hex", "bool"):
        ui.result.table.sort_by(title)
        person.frame(2)
    run.take(Finished(1, "It broke off.", truncated=True))
    person.frame(2)
    again = Run(Job(2, Target(Path("x")), "linux.some"))
    again.take(Finished(2, notes=("a note",), took_s=1.0))
    ui.result = Result(again, "held")
    person.frame(2)
    ui.worker.installed = installed


def test_options_as_they_are_typed() -> None:
    plugin = Plugin("linux.some", "", (Option("pid", "ints", ""), Option("on", "bool", ""), Option("name", "text", "")))
    assert parse_options(plugin, 'pid=1,0x10 on name="a b"') == {"pid": (1, 16), "on": True, "name": "a b"}
    assert option_value(Option("n", "int", ""), " 0x10 ") == 16
    assert option_value(Option("n", "int", ""), "") is None
    assert option_value(Option("n", "texts", ""), "a, b,") == ("a", "b")
    assert option_value(Option("n", "bool", ""), False) is False
    for option, text in (
        (Option("n", "int", ""), "x"),
        (Option("n", "bool", ""), "maybe"),
        (Option("n", "ints", ""), "1,b"),
    ):
        with pytest.raises(ValueError, match="n takes"):
            option_value(option, text)
    with pytest.raises(ValueError, match="no option 'other'"):
        parse_options(plugin, "other=1")


def test_closing_ends_the_worker() -> None:
    ui = VolatilityUi()
    ui.worker.start()
    deadline = time.monotonic() + 120
    while not ui.pump():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process = ui.worker._process
    assert process is not None
    ui.worker.close()
    assert process.poll() is not None


def click_row(person: Person, index: int) -> None:
    """On the table of the last run, below its head."""
    inner = [w for w in imgui.get_current_context().windows if "##volatility" in w.name and w.was_active][-1]
    person.click(inner.pos.x + 60, inner.pos.y + 18 + 28 * index + 14)


def test_a_row_lights_up_or_leads_to_what_it_names(person: Person, demo_dump: Path) -> None:
    opened(person, demo_dump)
    person.offscreen.canvas.set_logical_size(900, 760)
    for panel in ("Machines", "Processes", "Inspector"):
        person.run("window.toggle_panel", panel)
    person.until(lambda: person.state.kernels.sighting("held") is not None, "the kernel should be seen")

    def chosen() -> tuple[str, object]:
        found = person.state.chosen
        assert found is not None
        person.until(lambda: person.state.chosen is not None and person.state.chosen.pages is not None, "its pages")
        return found.kind, found.key

    def cell(row: int, column: str) -> int:
        titles = [one.name for one in result(person).run.columns]
        value = result(person).rows[row][2][titles.index(column)]
        assert isinstance(value, int)
        return value

    person.run("volatility.run", "linux.pslist", "pid=1,2")
    done(person)
    click_row(person, 0)
    assert chosen() == ("process", 1)
    person.key("Enter")
    person.until(lambda: person.selected() is not None, "the byte of its task_struct should be selected")
    selected = person.selected()
    assert selected is not None
    task = person.state.kernels.inquire("held", "physical", cell(0, "OFFSET (V)") | 0xFFFF << 48, None)
    assert person.state.stage.paddr(selected) == task
    person.run("volatility.run", "linux.proc.Maps", "pid=1")
    done(person)
    person.frame(30)  # not a double click
    click_row(person, 0)
    assert chosen() == ("region", (1, cell(0, "Start"), cell(0, "End")))
    before = person.selected()
    person.run("volatility.run", "linux.iomem")
    done(person)
    person.frame(30)  # not a double click
    click_row(person, 0)
    person.until(lambda: person.selected() not in (None, before), "what has no owner is gone to")
    selected = person.selected()
    assert selected is not None
    assert person.state.stage.paddr(selected) == cell(0, "Start")


def test_what_a_row_names_is_told_by_its_columns() -> None:
    def named(*cells: tuple[str, str, object]) -> Named:
        columns = [Column(name, kind) for name, kind, _ in cells]
        return named_by(columns, [value for _, _, value in cells])  # type: ignore[misc]

    task, user = 0xFFFF_8880_0123_4000, 0x5581_0000_0000
    pslist = named(("OFFSET (V)", "hex", task), ("PID", "int", 4), ("TID", "int", 5), ("PPID", "int", 2))
    assert pslist == Named(4, 5, None, (Address("OFFSET (V)", task, "kernel"),))
    scanned = named(("OFFSET (P)", "hex", 0x1234000), ("PID", "int", 4))
    assert scanned.addresses == (Address("OFFSET (P)", 0x1234000, "physical"),)
    maps = named(("PID", "int", 7), ("Start", "hex", user), ("End", "hex", user + 4096), ("PgOff", "hex", 0x3000))
    assert maps.region == (user, user + 4096)
    assert {address.space for address in maps.addresses} == {"process"}
    assert len(maps.addresses) == 2, "an offset into a file is no address"
    iomem = named(("Name", "text", "System RAM"), ("Start", "hex", 0x1000), ("End", "hex", 0x9FBFF))
    assert iomem.region is None
    assert {address.space for address in iomem.addresses} == {"physical"}
    idt = named(("Index", "hex", 0xE), ("Address", "hex", task), ("Symbol", "text", "x"))
    assert idt.addresses == (Address("Address", task, "kernel"),)
    # As Volatility writes them with four levels of page tables, and with five.
    shortened = {0x8C17_4120_2100: 0xFFFF_8C17_4120_2100, 0x0111_0000_0120_2100: 0xFF11_0000_0120_2100}
    for short, whole in shortened.items():
        (address,) = named(("OFFSET (V)", "hex", short), ("PID", "int", 4)).addresses
        assert (address.value, address.space) == (whole, "kernel")
    wrong: list[object] = [None, -1, 1 << 64, "0x10", 1.5]
    for value in wrong:
        assert named(("PID", "int", value), ("Offset", "hex", value)) == Named()
    assert named(("PID", "int", 7), ("Start", "hex", user), ("End", "hex", user)).region is None
