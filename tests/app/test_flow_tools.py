"""The Flow panel's buttons, menus and lists, pressed as a person presses them; what it says and draws at its edges."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.execution_ui import look_of
from app.flow_graphs import FlowGraph
from app.flow_layout import place_rightwards
from app.flow_ui import FlowUi, make
from app.jobs import JobState
from app.layout import FLOW
from app.panels import flow_canvas
from app.panels.flow_canvas import LEAST_TEXT
from app.place import Place
from app.reach_ui import ALL, GRAPH, WAY, ReachUi, ask, why_not_code
from app.reaching import Asked
from app.state import AppState
from tests.app.conftest import Person
from tests.app.spots import Spots
from tests.app.test_chosen import _dump_window, looker  # noqa: F401 - fixtures
from tests.app.test_flow_panel import BASE, LOOP, counted, graph_of, told_of  # noqa: F401 - a fixture among them

SPIN = bytes.fromhex("ebfe")


@pytest.fixture
def spots(counted: Person, monkeypatch: pytest.MonkeyPatch) -> Spots:  # noqa: F811
    return Spots(counted, monkeypatch)


def hottest(person: Person) -> int:
    look = look_of(person.state)
    assert look is not None
    return look.rows[0].number


def shown_graph(person: Person) -> FlowGraph:
    """Of the hottest block, once it is drawn."""
    flow = person.state.flow
    told_of(person, "trace.flow", block=hottest(person))
    person.until(lambda: flow.graph is not None and not flow.fits, "it should be drawn")
    assert flow.graph is not None
    return flow.graph


def window(name: str) -> imgui.internal.Window:
    return next(w for w in imgui.get_current_context().windows if name in w.name and w.active)


def middle_of(person: Person, graph: FlowGraph, place: int) -> tuple[float, float]:
    """Where a card is on the screen, brought into the middle."""
    flow = person.state.flow
    flow.reach.focus = place
    person.frame(4)
    panel = window(FLOW)
    return panel.pos.x + panel.size.x / 2, panel.pos.y + panel.size.y * 0.6


def test_its_buttons_bring_all_into_view_and_look_again(counted: Person, spots: Spots) -> None:  # noqa: F811
    flow, graph = counted.state.flow, shown_graph(counted)
    pan, zoom = flow.pan, flow.zoom
    flow.pan, flow.zoom = (pan[0] + 5000.0, pan[1]), 0.5
    spots.press("Bring all of it into view")
    assert (*flow.pan, flow.zoom) == pytest.approx((*pan, zoom))
    spots.press("Look for blocks that ran since")
    counted.until(lambda: flow.job is None and flow.graph is not graph, "it should be made anew")
    again = flow.graph
    assert again is not None
    assert again.card_of(counted.state.execution.chosen) is not None


def test_what_cannot_be_drawn_is_told(counted: Person, spots: Spots) -> None:  # noqa: F811
    flow, state = counted.state.flow, counted.state
    shown_graph(counted)
    number = state.execution.chosen
    flow.forget(flow.machine)
    state.execution.chosen = 0
    assert spots.hears("Choose a block of code to see where it comes from")
    tracer = state.tracers.of("tiny")
    assert tracer is not None
    job = make(state, tracer, 1 << 17)  # none has that number
    counted.until(lambda: job.state is not JobState.RUNNING and flow.job is None, "it should be told")
    assert spots.hears("That block is not known any more")
    state.execution.chosen = number  # as soon as one is chosen its graph is made
    counted.until(lambda: flow.graph is not None, "it should be drawn")
    counted.run("trace.mode", "off")
    counted.until(lambda: spots.hears("once blocks are counted"), "that should be said")


def test_a_cards_menu_leads_to_its_bytes(counted: Person, spots: Spots) -> None:  # noqa: F811
    person, state = counted, counted.state
    graph = shown_graph(person)
    place = graph.card_of(state.execution.chosen)
    assert place is not None
    state.execution.view = "Blocks"
    person.click(*middle_of(person, graph, place), button=2)
    assert person.popup_open()
    assert state.flow.menu_of == place
    spots.choose("Go to its bytes, and show its code")
    assert state.execution.view == "Code"
    selected = person.selected()
    assert selected is not None
    assert state.stage.paddr(selected) == graph.cards[place].physical


@pytest.mark.parametrize("wide", [0.0, 1e9], ids=["rightwards", "downwards"])
def test_a_jump_to_itself_is_drawn_at_its_card_and_small_cards_have_no_text(
    counted: Person,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    wide: float,
) -> None:
    monkeypatch.setattr(flow_canvas, "WIDE", wide)
    person, flow = counted, counted.state.flow
    graph = shown_graph(person)
    spin = graph_of(1, (BASE, SPIN, 90))
    assert spin is not None
    assert [(a.source, a.target) for a in spin.arrows] == [(0, 0)]
    pictures = []
    for one in (spin, dataclasses.replace(spin, arrows=())):
        flow.graph, flow.fits = dataclasses.replace(one, cards=graph.cards[:1]), False
        flow.zoom, flow.pan = 1.0, (60.0, 10.0)
        person.frame(4)
        pictures.append(person.offscreen.picture()[..., :3].astype(int))
    panel = window(FLOW)
    low, size = panel.pos, panel.size
    box = slice(int(low.y), int(low.y + size.y)), slice(int(low.x), int(low.x + size.x))
    loop = np.abs(pictures[0] - pictures[1]).max(axis=-1)[box] > 24
    assert loop.any(), "the arrow from a block to itself"
    # Nearer, its instructions can be read; from far only where it is.
    inks = []
    for zoom in (LEAST_TEXT * 0.9, LEAST_TEXT * 1.1):
        flow.zoom = zoom
        person.frame(4)
        picture = person.offscreen.picture()[..., :3].astype(int)[box]
        inks.append(int((np.abs(np.diff(picture, axis=1)).max(axis=-1) > 24).sum()))
    assert inks[0] < inks[1]


def test_what_the_question_needs_is_said(counted: Person) -> None:  # noqa: F811
    person, state = counted, counted.state
    state.execution.chosen = 0
    person.window.session.navigation.select(None)
    with pytest.raises(BadArguments, match="nothing is chosen"):
        person.run("flow.reach")
    person.window.session.navigation.select(Place("tiny", 0x7C00))
    with pytest.raises(Exception, match=r"page:0x7c00|kernel"):  # the selected byte's page, of which no kernel tells
        told_of(person, "flow.reach")
    with pytest.raises(BadArguments, match="one end is code"):
        person.run("flow.reach", **{"from": "block:1", "to": "page:0x1000"})
    assert why_not_code(None) == "Nothing runs here"
    tracer = state.tracers.of("tiny")
    assert tracer is not None
    memory = tracer.machine.trace
    try:
        tracer.machine.trace, tracer.machine.trace_problem = None, "The plugin is not built."
        assert why_not_code(tracer) == "The plugin is not built."
        with pytest.raises(ActionDisabled, match="not built"):
            person.run("trace.flow", block=1)
    finally:
        tracer.machine.trace, tracer.machine.trace_problem = memory, ""


def test_a_question_gives_way_to_the_next_and_goes_with_its_machine(counted: Person) -> None:  # noqa: F811
    person, state = counted, counted.state
    session, reach = person.window.session, state.flow.reach
    number = hottest(person)
    first = ask(session, Asked("tiny", f"block:{number}"), record_s=5.0)
    second = ask(session, Asked("tiny", f"block:{number}"), fly=False)
    assert first.cancelled()
    person.until(lambda: reach.job is None and reach.found is not None, "the second one should be answered")
    assert second.state is JobState.DONE
    # What is known of code is of one tracer: with another one it is let go of, and what was found with it.
    assert reach.code is not None
    tracer = reach.tracer
    reach.follow("tiny", tracer)
    assert (reach.code is not None, reach.shown) == (True, True)
    reach.follow("tiny", None)
    assert [reach.code is None, reach.tracer is None, reach.shown] == [True, True, False]
    told_of(person, "flow.reach", **{"from": f"block:{number}", "fly": False})
    ask(session, Asked("tiny", f"block:{number}"), record_s=5.0)
    running = reach.job
    assert running is not None
    reach.follow("another", reach.tracer)
    assert (reach.shown, running.cancelled()) == (False, True)
    person.until(lambda: running.state is not JobState.RUNNING, "it should end")
    assert not reach.shown, "an answer that nobody waits for is not shown"


def test_the_way_over_code_is_walked_by_buttons_and_menus(counted: Person, spots: Spots) -> None:  # noqa: F811
    person, state = counted, counted.state
    person.offscreen.canvas.set_logical_size(1700, 900)
    person.frame(4)
    reach, number = state.flow.reach, hottest(person)
    here = told_of(person, "flow.reach", **{"from": f"block:{number}", "fly": False})
    target = here["rows"][-1]["number"]
    told_of(person, "flow.reach", **{"from": f"block:{number}", "to": f"block:{target}", "fly": False})
    assert reach.listed == WAY
    spots.press(ALL)
    assert reach.listed == ALL
    spots.press(WAY)
    assert reach.listed == WAY
    # A row's menu asks from there; a card's, too.
    spots.press(ALL)
    child = window("/##reach list")
    before = reach.asked
    person.click(child.pos.x + 60, child.pos.y + 60, button=2)
    spots.choose("What leads here")
    person.until(lambda: reach.asked != before and reach.job is None, "it should be asked")
    assert reach.asked is not None
    assert reach.asked.back
    spots.press("Where it leads instead")
    person.until(lambda: reach.asked is not None and not reach.asked.back and reach.job is None, "the other way round")
    before_found = reach.found
    spots.press("Look again")
    person.until(lambda: reach.found is not before_found and reach.job is None, "it should be looked for again")
    state.flow.pan = (9999.0, 9999.0)
    spots.press("Bring all of it into view")
    assert max(map(abs, state.flow.pan)) < 9999
    found = reach.found
    assert found is not None
    place = found.graph.card_of(number)
    assert place is not None
    reach.focus = place
    person.frame(4)
    panel, child = window(FLOW), window("/##reach list")
    before = reach.asked
    person.click((panel.pos.x + child.pos.x) / 2, (child.pos.y + panel.pos.y + panel.size.y) / 2, button=2)
    spots.choose("Way to here")
    person.until(lambda: reach.asked != before and reach.job is None, "the way should be asked for")
    assert reach.asked.target == f"block:{number}"
    # In little room graph and lists take turns.
    person.offscreen.canvas.set_logical_size(900, 640)
    person.frame(4)
    spots.press(GRAPH)
    assert reach.listed == GRAPH
    person.offscreen.canvas.set_logical_size(1700, 900)
    spots.press("Show it no more")
    assert not reach.shown


def asked_anew(reach: ReachUi, before: Asked | None) -> bool:
    return reach.asked != before and reach.job is None


def test_a_reach_over_memory_has_menus_of_its_own(looker: Person, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    person, state = looker, looker.state
    person.offscreen.canvas.set_logical_size(1700, 900)
    state.flow = FlowUi()
    person.window.reset_layout()
    person.frame(8)
    spots = Spots(person, monkeypatch)
    sighting = state.kernels.sighting(str(state.current))
    assert sighting is not None
    assert sighting.processes is not None
    pid = int(sighting.processes.pids[np.flatnonzero(sighting.processes.mms)[0]])
    told_of(person, "flow.reach", **{"from": f"task:{pid}", "fly": False})
    reach = state.flow.reach
    child = window("/##reach list")
    before: Any = reach.asked
    person.click(child.pos.x + 80, child.pos.y + 100, button=2)
    spots.choose("Show the way to it")
    person.until(lambda: reach.asked != before and reach.job is None, "the way should be asked for")
    assert reach.asked is not None
    assert reach.asked.target
    found = reach.found
    assert found is not None
    # Each kind of card is a place that one can go on from.
    for place in (0, found.graph.way[-1]):
        reach.focus = place
        person.frame(4)
        panel, child = window(FLOW), window("/##reach list")
        before = reach.asked
        person.click((panel.pos.x + child.pos.x) / 2, (child.pos.y + panel.pos.y + panel.size.y) / 2, button=2)
        assert state.flow.menu_of == place
        spots.choose("What leads here")
        person.until(partial(asked_anew, reach, before), "it should be asked")
        assert reach.asked is not None
        assert reach.asked.back
        if place == 0:
            told_of(person, "flow.reach", **{"from": before.origin, "to": before.target, "fly": False})
    person.run("flow.leave")


def test_in_a_low_room_code_flows_from_left_to_right_and_a_whole_card_is_seen(
    counted: Person,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person, flow = counted, counted.state.flow
    graph = shown_graph(person)
    person.offscreen.canvas.set_logical_size(1280, 800)
    person.frame(6)
    loop = graph_of(1, *LOOP)
    assert loop is not None
    sizes = ((60.0, 7.0), *loop.sizes[1:])  # higher than the room at the size in which text is read well
    placed = place_rightwards(sizes, [(a.source, a.target) for a in loop.arrows])
    cards = (graph.cards[0], *loop.cards[1:])
    person.state.execution.chosen = cards[0].number
    flow.graph, flow.fits = dataclasses.replace(loop, cards=cards, sizes=sizes, placed_rightwards=placed), True
    person.until(lambda: not flow.fits, "it should be drawn")
    assert flow.rightwards
    shown = []
    fit = flow_canvas._fit

    def seen(state: AppState, one: FlowGraph, size: imgui.ImVec2, letter: imgui.ImVec2) -> None:
        fit(state, one, size, letter)
        y = flow.pan[1] + one.placed.corners[0][1] * letter.y * flow.zoom
        shown.append((one.rightwards, size.y, y, y + one.sizes[0][1] * letter.y * flow.zoom))

    monkeypatch.setattr(flow_canvas, "_fit", seen)
    flow.fits = True
    person.frame(3)
    (rightwards, room, top, bottom), *_ = shown
    assert rightwards
    assert 0 <= top < bottom <= room, flow.zoom
    monkeypatch.setattr(flow_canvas, "WIDE", 1e9)  # in a room that is as high as it is wide it goes downwards
    person.until(lambda: not flow.rightwards, "it should be turned")
    assert not shown[-1][0]


def test_in_another_room_the_middle_stays_and_who_asks_sees_the_block(counted: Person) -> None:  # noqa: F811
    person, flow = counted, counted.state.flow
    shown_graph(person)
    before, pan = flow.room, flow.pan
    person.offscreen.canvas.set_logical_size(1700, 900)
    person.frame(6)
    assert flow.room[0] > before[0]
    middles = [(room[0] / 2 - at[0], room[1] / 2 - at[1]) for room, at in ((before, pan), (flow.room, flow.pan))]
    assert middles[0] == pytest.approx(middles[1])
    pan = flow.pan
    flow.pan = (9999.0, 9999.0)
    told_of(person, "trace.flow", block=person.state.execution.chosen)
    person.until(lambda: flow.job is None and not flow.fits, "it should be drawn")
    assert max(map(abs, flow.pan)) < 9999
