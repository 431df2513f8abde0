"""The Execution panel over a guest that runs: modes, table, flame graph, code, time lines, actions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled
from app.execution_ui import BLOCKS, CODE, FLAME, LINES, VIEWS, ExecutionUi, look_of
from app.hot_rows import Leaf
from app.jobs import JobState
from app.layout import EXECUTION
from app.panels.execution import shown_views
from app.panels.execution_blocks import told_base
from app.tracing import Tracer, TracerState
from bridge.trace.modes import Mode
from bridge.trace.visit import traced
from tests.app.conftest import Person

SIZE = (1280, 900)


@pytest.fixture
def shown(host: Person) -> Iterator[tuple[Person, Tracer]]:
    """A window with the panel in front, its tracer off."""
    host.offscreen.canvas.set_logical_size(*SIZE)
    host.window.reset_layout()
    host.frame(10)  # the console has the front then
    host.state.execution = ExecutionUi()
    host.run("trace.show")
    host.frame(8)
    tracer = host.state.tracers.of("tiny")
    assert tracer is not None
    host.until(lambda: host.state.execution.visible, "the panel should be seen")
    yield host, tracer
    tracer.set_mode(Mode.OFF)
    tracer.join(60)
    host.until(lambda: tracer.state is TracerState.OFF, "it should go off")


def counted(person: Person, tracer: Tracer, mode: str = "time") -> None:
    """Have it counted until there is something to show."""
    person.run("trace.mode", mode)
    person.until(lambda: bool((look := look_of(person.state)) and look.rows), "code should run")
    person.frame(4)


def window(name: str) -> imgui.internal.Window:
    return next(w for w in imgui.get_current_context().windows if f"/##{name}" in w.name and w.was_active)


def click_in(person: Person, name: str, x: float, y: float) -> None:
    child = window(name)
    person.click(child.pos.x + x, child.pos.y + y)


def test_off_is_the_rule_and_one_button_counts(shown: tuple[Person, Tracer]) -> None:
    person, tracer = shown
    assert (tracer.mode, look_of(person.state)) == (Mode.OFF, None)
    with pytest.raises(ActionDisabled, match="choose a mode"):
        person.run("trace.hold")
    panel = next(w for w in imgui.get_current_context().windows if w.name == EXECUTION)
    for up in range(8, int(panel.size.y) - 90, 6):  # the button stands in the middle, below the bar
        if tracer.mode is Mode.OFF:
            person.click(panel.pos.x + panel.size.x / 2, panel.pos.y + panel.size.y - up)
    assert tracer.mode is Mode.TIME


def test_a_click_on_a_block_selects_its_bytes_everywhere(shown: tuple[Person, Tracer]) -> None:
    person, tracer = shown
    counted(person, tracer)
    look = look_of(person.state)
    assert look is not None
    assert "idle" in told_base(look)
    person.run("trace.hold")  # what is clicked stays where it is
    held = person.state.execution.held
    assert held is not None
    person.frame(4)
    click_in(person, BLOCKS, 120, 40)
    chosen = next(row for row in held.rows if row.number == person.state.execution.chosen)
    place = person.selected()
    assert place is not None
    assert person.state.stage.paddr(place) == chosen.physical
    assert person.state.execution.table.selected == chosen.number
    assert person.run("trace.hold") is False
    person.run("trace.show", CODE)
    person.until(
        lambda: (
            (now := look_of(person.state)) is not None
            and now.listing is not None
            and now.listing.block == chosen.number
        ),
        "its code should be listed",
    )
    person.frame(4)
    click_in(person, CODE, 150, 30)
    place = person.selected()
    listing = look_of(person.state).listing  # type: ignore[union-attr]
    assert listing is not None
    assert place is not None
    assert person.state.stage.paddr(place) in [line.physical for line in listing.lines]
    # The other way round: a byte that is selected elsewhere selects its block.
    other = next((row for row in held.rows if row.number != chosen.number and row.physical is not None), None)
    if other is not None and other.physical is not None:
        person.run("trace.show", BLOCKS)
        person.run("view.select", other.physical)
        person.frame(4)
        ours = [row for row in held.rows if row.number == person.state.execution.chosen]
        assert all(row.physical is not None and row.physical <= other.physical < row.physical + 4096 for row in ours)


def test_a_click_in_the_flame_graph_goes_closer_and_back(shown: tuple[Person, Tracer]) -> None:
    person, tracer = shown
    counted(person, tracer)
    person.run("trace.hold")
    held = person.state.execution.held
    assert held is not None
    hostile = Leaf("%s\n##x (7)", "sym##bol%n", held.rows[0].number, "+0x0", 1e9)  # a guest's own words
    object.__setattr__(held, "leaves", (*held.leaves, hostile))
    person.run("trace.show", FLAME)
    person.state.execution.drawn_of = ()
    person.frame(6)
    ui = person.state.execution
    x, y, width, level = ui.drawn_at
    assert any(box.path == ("%s\n##x (7)",) for box in ui.drawn)

    def middle(depth: int) -> tuple[float, float]:
        box = max((one for one in ui.drawn if one.depth == depth), key=lambda one: one.width)
        return x + (box.start + box.width / 2) * width, y + (depth + 0.5) * level

    zooms = []
    for depth in (1, 2, 3):
        person.click(*middle(depth))
        zooms.append(ui.zoom)
    assert zooms == [("%s\n##x (7)",), *[("%s\n##x (7)", "sym##bol%n")] * 2]
    assert ui.chosen == held.rows[0].number
    zooms = []
    person.click(*middle(1), button=2)
    zooms.append(ui.zoom)
    person.click(*middle(0))
    zooms.append(ui.zoom)
    assert zooms == [("%s\n##x (7)",), ()]


def test_time_lines_are_those_of_the_mode(shown: tuple[Person, Tracer]) -> None:
    person, tracer = shown
    person.run("trace.show", LINES)
    counted(person, tracer)
    person.run("trace.mode", "heat")
    person.until(
        lambda: (look := look_of(person.state)) is not None and look.mode is Mode.HEAT and len(look.lines) > 2,
        "loads should be seen",
    )
    person.frame(2)
    child = window(LINES)
    person.move(child.pos.x + child.size.x * 0.3, child.pos.y + child.size.y * 0.3)
    person.frame(4)
    for size in ((760, 600), (1280, 720), (2400, 1300)):  # from one view to all of them
        person.offscreen.canvas.set_logical_size(*size)
        person.frame(6)
    assert len([w for w in imgui.get_current_context().windows if "/##" in w.name and w.was_active]) >= len(VIEWS)
    assert not person.state.toasts.shown()


def test_scripts_are_told_what_is_hot_and_how_it_is_traced(shown: tuple[Person, Tracer]) -> None:
    person, _ = shown
    with pytest.raises(Exception, match="choose a mode"):
        person.run("trace.hot")
    person.run("trace.mode", "counters")
    person.run("trace.span", "20")
    job: Any = person.run("trace.hot", 5)
    person.until(lambda: job.wait(0), "an answer should come")
    assert job.state is JobState.DONE, job.error
    answer = json.loads(json.dumps(job.result))
    assert (answer["machine"], answer["mode"]) == ("tiny", "counters")
    assert 0 < len(answer["rows"]) <= 5
    assert person.run("trace.choose", answer["rows"][0]["block"]) == answer["rows"][0]["physical"]
    with pytest.raises(Exception, match="none of that number"):
        person.run("trace.choose", 1 << 40)
    state: Any = person.run("window.state")
    trace = state["trace"]
    assert (trace["machine"], trace["mode"], trace["state"], trace["problem"]) == ("tiny", "counters", "on", "")
    assert trace["switch_ms"] > 0


def test_why_nothing_is_seen_is_said(shown: tuple[Person, Tracer]) -> None:
    person, tracer = shown
    machine = person.state.machine("tiny")
    assert machine is not None
    with traced("tiny"):
        person.run("trace.mode", "counters")
        person.until(lambda: tracer.state is TracerState.ELSEWHERE, "somebody else should be seen")
        person.frame(3)
    person.until(lambda: tracer.state is TracerState.ON, "it should be tried again")
    person.run("trace.mode", "off")
    person.until(lambda: tracer.state is TracerState.OFF, "it should go off")
    machine.pause()
    person.run("trace.mode", "counters")
    person.until(lambda: (look := look_of(person.state)) is not None and look.pending, "it should wait")
    person.frame(3)
    machine.resume()
    person.until(lambda: (look := look_of(person.state)) is not None and not look.pending, "it should begin")
    memory = tracer.machine.trace
    try:
        tracer.machine.trace, tracer.machine.trace_problem = None, "The plugin is not built."
        person.frame(3)
        with pytest.raises(ActionDisabled, match="not built"):
            person.run("trace.mode", "heat")
    finally:
        tracer.machine.trace, tracer.machine.trace_problem = memory, ""


def test_the_chosen_view_is_among_those_there_is_room_for() -> None:
    assert shown_views(LINES, 1) == [LINES]
    assert shown_views(LINES, 2) == [BLOCKS, LINES]
    assert shown_views(BLOCKS, 3) == [BLOCKS, FLAME, CODE]
    assert shown_views(CODE, 4) == list(VIEWS)
