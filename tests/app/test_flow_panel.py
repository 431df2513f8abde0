"""Flow graphs in the window: of code whose every jump is known, and of a guest that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.execution_ui import ExecutionUi, look_of
from app.failures import CommandFailed
from app.flow_graphs import MOST_LINES, MOST_SHOWN, REACH_BYTES, FlowGraph, Spot, flow_graph
from app.flow_ui import FARTHEST, NEAREST, FlowUi
from app.jobs import Job, JobState
from app.reach_ui import REACH_COLOUR, WAY
from app.trace_channels import RECORDED, STORED, TITLES
from app.tracing import TracerState
from bridge.trace.errors import TraceError
from bridge.trace.layout import layout
from bridge.trace.modes import Mode
from bridge.trace.session import Counts
from tests.app.conftest import Person
from tests.bridge.trace.test_recorded import FACTS, written

BASE = 0x400000
# A loop: head (jz out) -> body (jmp head); out: ret. Far away one more block; one that never ran.
HEAD, BODY, OUT = bytes.fromhex("85c0" + "7404"), bytes.fromhex("ffc8" + "ebf8"), bytes.fromhex("c3")


def counts_of(*blocks: tuple[int, bytes, int]) -> tuple[Counts, dict[int, bytes]]:
    """Of blocks at an address, with their code and how often they were entered; numbered from 1."""
    table = np.zeros(len(blocks) + 1, layout()["block"])
    entered = np.zeros((1, len(blocks) + 1), np.uint64)
    code = {}
    for number, (start, data, times) in enumerate(blocks, 1):
        row = table[number]
        row["virtual_first"], row["physical"], row["bytes"] = start, start & 0xFFFFFF, len(data)
        row["instructions"], row["code"], entered[0, number] = 2, number, times
        code[number] = data
    return Counts(table, entered, 1), code


def graph_of(number: int, *blocks: tuple[int, bytes, int]) -> FlowGraph | None:
    counts, code = counts_of(*blocks)

    def names(spots: tuple[Spot, ...]) -> list[tuple[str, str]]:
        return [(f"at {virtual:x}", "one (1)") if virtual != BASE else ("", "") for _, virtual in spots]

    return flow_graph(counts, lambda block: code[int(block["code"])], number, names)


LOOP = ((BASE, HEAD, 100), (BASE + 4, BODY, 99), (BASE + 8, OUT, 1))


def test_a_loop_is_drawn_with_its_edge_back_and_nothing_that_is_elsewhere() -> None:
    graph = graph_of(2, *LOOP, (BASE + 2 * REACH_BYTES, OUT, 5), (BASE + 9, OUT, 0))
    assert graph is not None
    assert [card.number for card in graph.cards] == [1, 2, 3]
    assert [(a.source, a.target, a.loops) for a in graph.arrows] == [(0, 1, False), (0, 2, False), (1, 0, True)]
    assert [card.title for card in graph.cards] == [f"{BASE:#x}", f"at {BASE + 4:x}", f"at {BASE + 8:x}"]
    assert graph.cards[1].lines == ("dec eax", f"jmp {BASE:#x}")
    assert [card.loop_depth for card in graph.cards] == [1, 1, 0]
    assert graph.cards[0].physical == BASE & 0xFFFFFF
    assert (graph.card_of(3), graph.card_of(9), graph.left_out) == (2, None, 0)
    tops = [y for _, y in graph.placed.corners]
    assert tops[0] < tops[1] == tops[2]
    turned = graph.turned()
    lefts = [x for x, _ in turned.placed.corners]
    assert turned.rightwards
    assert lefts[0] < lefts[1] == lefts[2]


def test_long_blocks_and_long_ways_are_cut_and_told() -> None:
    nops = bytes([0x90] * 30) + bytes([0xEB, 0])
    chain = [(BASE + 32 * n, nops, 1) for n in range(MOST_SHOWN + 20)]
    graph = graph_of(1, *chain)
    assert graph is not None
    assert len(graph.cards) == MOST_SHOWN
    assert graph.left_out == 20
    assert len(graph.cards[0].lines) == MOST_LINES
    assert graph.cards[0].lines[-1] == f"… {31 - MOST_LINES + 1} more"
    assert graph.cards[0].number == 1


def test_a_block_that_never_ran_stands_alone_and_one_that_there_is_not_is_none() -> None:
    graph = graph_of(5, *LOOP, (BASE + 64, OUT, 3), (BASE + 80, OUT, 0))
    assert graph is not None
    assert [card.number for card in graph.cards] == [5]
    assert graph_of(0, *LOOP) is None
    assert graph_of(4, *LOOP) is None


def test_what_is_under_the_pointer_stays_there_while_one_comes_closer() -> None:
    ui = FlowUi(pan=(10.0, -5.0), zoom=1.0)
    before = ((100 - ui.pan[0]) / ui.zoom, (50 - ui.pan[1]) / ui.zoom)
    ui.zoom_by(1.3, 100, 50)
    assert ((100 - ui.pan[0]) / ui.zoom, (50 - ui.pan[1]) / ui.zoom) == pytest.approx(before)
    for factor, end in ((1000.0, NEAREST), (1e-9, FARTHEST)):
        ui.zoom_by(factor, 3, 4)
        assert ui.zoom == end


@pytest.fixture
def counted(host: Person) -> Iterator[Person]:
    """A window whose guest's blocks are counted."""
    host.offscreen.canvas.set_logical_size(1280, 900)
    host.state.execution, host.state.flow = ExecutionUi(), FlowUi()
    host.run("trace.mode", "counters")
    host.run("trace.show")
    host.until(lambda: bool((look := look_of(host.state)) and look.rows), "code should run")
    yield host
    tracer = host.state.tracers.of("tiny")
    assert tracer is not None
    tracer.set_mode(Mode.OFF)
    host.until(lambda: tracer.state is TracerState.OFF, "it should go off")


def test_the_chosen_block_is_shown_among_its_neighbours_and_clicks_choose(counted: Person) -> None:
    person, state = counted, counted.state
    with pytest.raises(BadArguments, match="no block is chosen"):
        person.run("trace.flow")
    look = look_of(state)
    assert look is not None
    number = look.rows[0].number
    job = person.run("trace.flow", number)
    assert isinstance(job, Job)
    person.until(lambda: job.state is not JobState.RUNNING, "it should be told")
    assert number in [block["block"] for block in job.result["blocks"]]
    person.until(lambda: state.flow.graph is not None and not state.flow.fits, "it should be drawn")
    graph = state.flow.graph
    assert graph is not None
    assert graph.card_of(number) is not None
    # Dragging moves the picture and chooses nothing; a click on a card chooses its block.
    panel = next(w for w in imgui.get_current_context().windows if w.name == "Flow")
    middle = (panel.pos.x + panel.size.x / 2, panel.pos.y + panel.size.y * 0.6)
    pan = state.flow.pan
    person.drag(middle, (middle[0] + 40, middle[1] + 10))
    assert state.flow.pan != pan
    assert state.execution.chosen == number
    if len(graph.cards) > 1:
        other = next(card for card in graph.cards if card.number != number)
        person.run("trace.choose", other.number)
        person.frame(6)
        assert state.flow.graph is graph, "a block that is shown already needs no other graph"
    person.run("trace.mode", "off")
    person.until(lambda: state.flow.graph is None, "nothing is known then")


def told_of(person: Person, action: str, **named: object) -> dict[str, Any]:
    job = person.run(action, **named)
    assert isinstance(job, Job)
    person.until(lambda: job.state is not JobState.RUNNING, "it should be told")
    if job.error is not None:
        raise job.error
    person.frame(4)
    return dict(job.result)


def test_what_code_leads_to_is_asked_in_the_window_and_recorded_there(counted: Person) -> None:
    person, state = counted, counted.state
    look = look_of(state)
    assert look is not None
    number = look.rows[0].number
    person.run("trace.choose", number)
    here = told_of(person, "flow.reach", fly=False)  # the chosen one
    assert (here["from"], here["measured"]) == (f"block:{number}", False)
    reach = state.flow.reach
    assert reach.found is not None
    assert {one.colour for one in state.highlights} == {REACH_COLOUR}
    made = reach.code
    target = here["rows"][-1]["number"]
    way = told_of(person, "flow.reach", **{"from": f"block:{number}", "to": f"block:{target}", "fly": False})
    assert [way["path"][0]["number"], way["path"][-1]["number"]] == [number, target]
    assert reach.code is made, "what is known answers the next question, too"
    assert len(reach.steps) == len(way["path"])
    # A click on a step of the list brings its card into the middle.
    reach.listed = WAY
    person.frame(4)
    child = next(w for w in imgui.get_current_context().windows if "/##reach list" in w.name and w.active)
    person.click(child.pos.x + 60, child.pos.y + 40)
    assert state.execution.chosen == number
    # Recorded, edges are those that were taken; the mode is as it was.
    tracer = state.tracers.of("tiny")
    assert tracer is not None
    seen = told_of(person, "flow.reach", **{"from": f"block:{number}", "record": 1, "fly": False})
    assert seen["measured"]
    assert tracer.mode is Mode.COUNTERS
    assert reach.code is not made
    with pytest.raises(TraceError, match="Nothing of 0x77777777 ran"):
        told_of(person, "flow.reach", **{"from": "0x77777777"})
    assert "Nothing of 0x77777777" in reach.problem
    person.frame(4)
    person.run("flow.leave")
    assert not state.highlights
    # When it goes off, what was known of its code is let go.
    told_of(person, "flow.reach", **{"from": f"block:{number}", "fly": False})
    person.run("trace.mode", "off")
    with pytest.raises(ActionDisabled, match="choose a mode first"):
        person.run("flow.reach", **{"from": f"block:{number}"})
    person.run("flow.leave")


def test_a_recordings_heat_becomes_channels(counted: Person, tmp_path: Path) -> None:
    person, state = counted, counted.state
    store = state.stage.feeds["tiny"].store
    path = written(tmp_path / "x.parquet", {**FACTS, "pages": store.n_pages})
    told = told_of(person, "trace.import", path=str(path), channel="stores")
    assert told["pages"] == {"executed": 1, "loads": 1, "stores": 1}
    assert {RECORDED[name] for name in TITLES} <= set(store.attributes)
    assert state.stage.view.look.channel == told["channel"] == RECORDED[STORED]
    for name, said in (("none.parquet", "There is no"), (str(tmp_path), "no regular file")):
        with pytest.raises(TraceError, match=said):
            told_of(person, "trace.import", path=str(tmp_path / name))
    other = written(tmp_path / "y.parquet")
    with pytest.raises(CommandFailed, match="of a machine of 16 pages"):
        told_of(person, "trace.import", path=str(other))
    with pytest.raises(BadArguments, match="no working folder"):
        person.run("trace.import", path="x.parquet")
    with pytest.raises(BadArguments, match="no such home"):
        person.run("trace.import", path="~nobody-here/x.parquet")
