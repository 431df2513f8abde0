"""Who wrote this, pressed as a person presses it: the inspector's buttons, rows and menus, and what it says."""

from __future__ import annotations

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, ActionError, BadArguments
from app.chosen import Chosen
from app.panels import writers
from app.place import Place
from app.tracing import Tracer, TracerState
from app.watching import Asked, Told, Watching
from app.writers_ui import WritersUi
from bridge.trace.modes import Mode
from bridge.trace.visit import traced
from tests.app.conftest import COUNTER_ADDRESS, PATTERN_ADDRESS, Person
from tests.app.spots import Spots
from tests.app.test_chosen import _dump_window, looker  # noqa: F401 - fixtures
from tests.app.test_watching import told_of, watching  # noqa: F401 - a fixture among them


@pytest.fixture
def spots(host: Person, watching: Watching, monkeypatch: pytest.MonkeyPatch) -> Spots:  # noqa: F811
    return Spots(host, monkeypatch)


def test_a_page_is_watched_and_left_by_buttons(host: Person, watching: Watching, spots: Spots) -> None:  # noqa: F811
    spots.press("Watch this page")
    assert watching.holds(COUNTER_ADDRESS >> 12)
    told_of(host, watching)
    whole = []
    for scope in ("Page", "Byte"):
        spots.press(scope)
        whole.append(host.state.writers.whole_page)
    assert whole == [True, False]
    host.run("view.go_to", PATTERN_ADDRESS)
    spots.press("Watch this page, too")
    assert [watching.holds(at >> 12) for at in (COUNTER_ADDRESS, PATTERN_ADDRESS)] == [True, True]
    host.until(lambda: spots.hears("Nothing has written to it since it is watched"), "that should be said")
    spots.press("Watch no page any more")
    assert not watching.watches


def test_a_writers_menu_leads_to_its_code_and_to_its_bytes(
    host: Person,
    watching: Watching,  # noqa: F811
    spots: Spots,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host.run("watch.page")
    told = told_of(host, watching)
    for wide in (False, True):  # two lines a writer, or a table
        monkeypatch.setattr(writers, "WIDE_UNITS", 1.0 if wide else 1e6)
        for label, places in (
            ("Go to the instruction", {one.code for one in told.accesses}),
            ("Go to what it wrote", {COUNTER_ADDRESS}),
        ):
            host.run("view.go_to", COUNTER_ADDRESS)
            host.until(lambda: watching.ask(COUNTER_ADDRESS, COUNTER_ADDRESS + 1) is not None, "it should be told")
            host.frame(4)
            at = next(at for name, at in spots_of_rows(host, wide=wide))
            host.click(*at, button=2)
            spots.choose(label)
            place = host.selected()
            assert place is not None
            assert host.state.stage.paddr(place) in places


def spots_of_rows(person: Person, *, wide: bool) -> list[tuple[str, tuple[float, float]]]:
    """Where the first writer stands."""
    name = "writers list" if not wide else "writers"
    child = next(w for w in imgui.get_current_context().windows if f"##{name}" in w.name and w.was_active)
    return [(child.name, (child.pos.x + 60, child.pos.y + (12 if not wide else 40)))]


def test_why_nothing_is_told_is_said(host: Person, watching: Watching, spots: Spots) -> None:  # noqa: F811
    with traced("tiny"):
        host.run("watch.page")
        host.until(lambda: watching.tracer.state is TracerState.ELSEWHERE, "somebody else should be seen")
        assert spots.hears("by another program")
    host.until(lambda: watching.tracer.state is TracerState.ON, "it should be tried again")
    machine = watching.tracer.machine
    memory = machine.trace
    try:
        machine.trace, machine.trace_problem = None, "The plugin is not built."
        assert not spots.hears("Who wrote this")
        with pytest.raises(ActionError, match="not built"):
            host.run("watch.page")
    finally:
        machine.trace, machine.trace_problem = memory, ""


def test_a_recorded_trace_needs_no_watch(host: Person, watching: Watching, spots: Spots) -> None:  # noqa: F811
    host.run("trace.mode", "trace")
    told_of(host, watching)
    assert spots.hears("that the trace still holds")
    host.run("view.go_to", PATTERN_ADDRESS)
    host.until(lambda: spots.hears("The trace holds no write to it"), "that should be said")
    nothing = Told(Asked(0, 1), (), 0)
    assert writers._nothing(Watching(Tracer(watching.tracer.machine)), nothing) == "It is watched from now on."


def test_what_is_lit_up_is_watched(host: Person, watching: Watching) -> None:  # noqa: F811
    session = host.window.session
    host.run("watch.page", COUNTER_ADDRESS)
    try:
        host.state.chosen = Chosen("tiny", "class", 1, "some", pages=np.array([0x30, 0x31], np.uint32))
        assert host.run("watch.chosen") == {"machine": "tiny", "pages": 2}
        assert watching.pages.tolist() == [0x30, 0x31]
        host.state.chosen = Chosen("tiny", "class", 1, "all", pages=np.arange(1 << 17, dtype=np.uint32))
        with pytest.raises(BadArguments, match="131,072 pages"):
            host.run("watch.chosen")
        host.state.chosen = Chosen("other", "class", 1, "some", pages=np.array([1], np.uint32))
        with pytest.raises(BadArguments, match="nothing of it is lit up"):
            host.run("watch.chosen")
    finally:
        session.navigation.choose(None)


def test_an_address_is_needed_and_a_length_that_makes_sense(host: Person, watching: Watching) -> None:  # noqa: F811
    host.window.session.navigation.select(None)
    with pytest.raises(BadArguments, match="no byte is selected"):
        host.run("watch.page")
    with pytest.raises(BadArguments, match="no byte is selected"):
        host.run("watch.writers")
    with pytest.raises(BadArguments, match="length"):
        host.run("watch.writers", COUNTER_ADDRESS, 0)
    assert watching.tracer.mode is Mode.OFF


def test_nobody_writes_to_a_dump(looker: Person, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    looker.state.writers = WritersUi()
    spots = Spots(looker, monkeypatch)
    looker.window.session.navigation.select(Place(str(looker.state.current), 0x1000))
    looker.frame(4)
    assert not spots.hears("Who wrote this")
    with pytest.raises(ActionDisabled, match="Nothing runs in a dump"):
        looker.run("watch.writers")
