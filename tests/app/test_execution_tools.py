"""The Execution panel's buttons, lists and menus, pressed as a person presses them; and what it says where it can't."""

from __future__ import annotations

from typing import Any

import pytest

from app.actions import ActionDisabled, BadArguments
from app.execution_ui import BLOCKS, CODE, FLAME, LINES, ExecutionUi, look_of
from app.panels.execution import TITLES
from app.panels.execution_blocks import told_base
from app.place import Place
from app.tracing import Tracer, TracerState
from bridge.trace.modes import Mode
from tests.app.conftest import Person
from tests.app.spots import Spots
from tests.app.test_chosen import _dump_window, looker  # noqa: F401 - fixtures
from tests.app.test_execution_panel import counted, shown, window  # noqa: F401 - a fixture among them

NARROW = (1080, 640)
HOLD = "Hold what is shown of execution, or follow it"


@pytest.fixture
def spots(shown: tuple[Person, Tracer], monkeypatch: pytest.MonkeyPatch) -> Spots:  # noqa: F811
    return Spots(shown[0], monkeypatch)


def mode_of(tracer: Tracer) -> Mode:
    return tracer.mode


def in_mode(person: Person, tracer: Tracer, mode: Mode) -> None:
    """Wait until it is watched so, and something of it is shown."""
    person.until(
        lambda: tracer.mode is mode and (look := look_of(person.state)) is not None and look.mode is mode,
        f"it should go to {mode}",
    )


def test_modes_are_chosen_from_the_bar_and_from_a_list(shown: tuple[Person, Tracer], spots: Spots) -> None:  # noqa: F811
    person, tracer = shown
    person.offscreen.canvas.set_logical_size(1900, 900)
    spots.press(f"##{Mode.HEAT}")
    in_mode(person, tracer, Mode.HEAT)
    spots.press(f"##{Mode.WATCH}")  # what to watch is chosen in the inspector
    assert mode_of(tracer) is Mode.HEAT
    person.offscreen.canvas.set_logical_size(*NARROW)
    person.frame(4)
    spots.press("##mode")
    spots.choose(TITLES[Mode.TIME])
    in_mode(person, tracer, Mode.TIME)
    spots.press("##mode")
    spots.press(TITLES[Mode.WATCH])
    assert mode_of(tracer) is Mode.TIME
    person.key("Escape")


def test_views_and_spans_are_chosen(shown: tuple[Person, Tracer], spots: Spots) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer)
    ui = person.state.execution
    spots.press(FLAME)
    assert person.state.execution.view == FLAME
    spots.press("##span")
    spots.choose("20 s")
    assert ui.span_s == 20
    held = []
    for _ in range(2):
        spots.press(HOLD)
        held.append(ui.held is not None)
    assert held == [True, False]
    person.offscreen.canvas.set_logical_size(*NARROW)
    person.frame(4)
    spots.press("##view")
    spots.choose(LINES)
    assert ui.view == LINES


def test_the_value_at_the_pointer_is_told(shown: tuple[Person, Tracer], spots: Spots) -> None:  # noqa: F811
    person, tracer = shown
    person.run("trace.show", LINES)
    counted(person, tracer)
    person.until(lambda: (look := look_of(person.state)) is not None and len(look.lines) > 4, "lines should be drawn")
    child = window(LINES)
    heard = []
    for step in range(1, 10):  # plots stand above each other, with their titles between them
        person.move(child.pos.x + child.size.x * 0.4, child.pos.y + child.size.y * step / 10)
        heard.append(spots.hears("s ago"))
    assert any(heard)
    person.move(1, 1)
    assert not spots.hears("s ago")


def test_what_was_lost_is_said(shown: tuple[Person, Tracer], spots: Spots) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer)
    person.run("trace.hold")
    held = person.state.execution.held
    assert held is not None
    assert not spots.hears("samples lost")
    object.__setattr__(held, "lost", 1234)
    object.__setattr__(held, "refused_blocks", 56)
    person.offscreen.canvas.set_logical_size(1900, 900)
    assert spots.hears("1,234 samples lost, 56 blocks not counted")


def test_the_selected_byte_chooses_its_block(shown: tuple[Person, Tracer]) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer)
    person.run("trace.show", BLOCKS)
    person.run("trace.hold")
    ui, held = person.state.execution, person.state.execution.held
    assert held is not None
    ui.machine = "tiny"
    row = next(row for row in held.rows if row.physical is not None)
    assert row.physical is not None
    ui.chosen = 0
    person.run("view.select", row.physical)
    person.frame(4)
    chosen = next(one for one in held.rows if one.number == ui.chosen)
    assert chosen.physical is not None
    assert chosen.physical <= row.physical < chosen.physical + chosen.end - chosen.pc
    before = ui.chosen
    for place in (None, Place("another", 0), Place("tiny", 0x2000)):  # of no block that is shown
        person.window.session.navigation.select(place)
        person.frame(3)
        assert ui.chosen == before


def test_counters_tell_shares_of_instructions_and_time_of_samples(shown: tuple[Person, Tracer]) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer, "counters")
    look = look_of(person.state)
    assert look is not None
    assert told_base(look).startswith("By instructions run in")
    assert "samples" not in told_base(look)
    person.run("trace.mode", "time")
    person.until(lambda: bool((now := look_of(person.state)) and now.rows and now.span.samples), "it should be sampled")
    now = look_of(person.state)
    assert now is not None
    assert "idle" in told_base(now)


def test_a_rows_menu_leads_to_its_code(shown: tuple[Person, Tracer], spots: Spots) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer)
    person.run("trace.show", BLOCKS)
    person.run("trace.hold")
    person.frame(4)
    child = window(BLOCKS)
    person.click(child.pos.x + 120, child.pos.y + 40, button=2)
    spots.choose("Go to its bytes, and show its code")
    assert person.state.execution.view == CODE
    held = person.state.execution.held
    assert held is not None
    row = next(row for row in held.rows if row.number == person.state.execution.chosen)
    place = person.selected()
    assert place is not None
    assert person.state.stage.paddr(place) == row.physical


def test_a_block_that_ran_no_more_is_said_to(shown: tuple[Person, Tracer], spots: Spots) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer)
    look = look_of(person.state)
    assert look is not None
    number = look.rows[0].number
    person.run("trace.choose", number)
    person.run("trace.show", CODE)
    person.until(lambda: bool((now := look_of(person.state)) and now.listing is not None), "its code should be listed")
    person.run("trace.hold")
    held = person.state.execution.held
    assert held is not None
    assert not spots.hears("It did not run lately")
    object.__setattr__(held, "rows", tuple(row for row in held.rows if row.number != number))
    assert spots.hears("It did not run lately")


@pytest.fixture
def alone(person: Person, monkeypatch: pytest.MonkeyPatch) -> tuple[Person, Spots]:
    person.run("trace.show")
    person.frame(6)
    return person, Spots(person, monkeypatch)


def test_without_a_machine_it_is_said(alone: tuple[Person, Spots]) -> None:
    person, spots = alone
    person.until(lambda: spots.hears("No machine runs here"), "that should be said")
    with pytest.raises(ActionDisabled, match="No machine runs here"):
        person.run("trace.mode", "counters")
    with pytest.raises(ActionDisabled, match="No machine runs here"):
        person.run("watch.page")


def test_nothing_runs_in_a_dump(looker: Person, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    spots = Spots(looker, monkeypatch)
    looker.state.execution = ExecutionUi()
    looker.run("trace.show")
    looker.until(lambda: spots.hears("Nothing runs in a dump"), "that should be said")
    for action, arguments in (("trace.mode", ("counters",)), ("trace.hot", ()), ("watch.stop", ())):
        with pytest.raises(ActionDisabled, match="Nothing runs in a dump"):
            looker.run(action, *arguments)


def test_what_makes_no_sense_is_refused(shown: tuple[Person, Tracer]) -> None:  # noqa: F811
    person, tracer = shown
    counted(person, tracer)
    with pytest.raises(BadArguments, match="between 1 and"):
        person.run("trace.hot", 0)
    with pytest.raises(BadArguments, match="none of that number"):
        person.run("trace.choose", 1 << 30)
    person.run("trace.mode", "off")
    person.until(lambda: tracer.state is TracerState.OFF, "it should go off")


def test_a_paused_guest_has_no_hot_code_and_one_that_is_off_none_to_tell(shown: tuple[Person, Tracer]) -> None:  # noqa: F811
    person, tracer = shown
    machine = tracer.machine
    machine.pause()
    person.run("trace.mode", "counters")
    person.until(lambda: (look := look_of(person.state)) is not None and look.pending, "it should wait")
    job: Any = person.run("trace.hot", 5)
    person.frame(4)
    assert not job.wait(0)
    person.run("trace.mode", "off")
    person.until(lambda: job.wait(0), "an answer should come")
    assert job.error is not None or not job.result["rows"]
    machine.resume()
