"""What can be reached, as the window shows it: over code whose jumps are known, and over a kernel's own pointers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.flow_ui import FlowUi
from app.jobs import Job, JobState
from app.layout import FLOW
from app.panels.flow_reach import place_of, title_of
from app.reach_ui import ALL, GRAPH, REACH_COLOUR, WAY, WAY_COLOUR
from app.reaching import Asked, KnownCode, NothingRan, over_code
from bridge.kernel.errors import KernelError
from bridge.trace.program import Program
from tests.app.conftest import Person
from tests.app.test_chosen import _dump_window, looker  # noqa: F401 - fixtures
from tests.bridge.trace.programs import JUMP, TEXT, program_of, walked

# head: jz out; body: jmp head; out: call far; behind it: ret. Far: ret.
CODES = [bytes.fromhex("85c0" + "7404"), bytes.fromhex("ffc8" + "ebf8"), bytes.fromhex("e8f30f0000"), b"\xc3", b"\xc3"]
STARTS = [TEXT, TEXT + 4, TEXT + 8, TEXT + 13, TEXT + 0x1000]
HEAD, BODY, OUT, BEHIND, FAR = 1, 2, 3, 4, 5
NAMES = {HEAD: "f", BODY: "f + 0x4", OUT: "f + 0x8", BEHIND: "f + 0xd", FAR: "g"}


def known_of(program: Program) -> KnownCode:
    by_start = {int(program.starts[number]): name for number, name in NAMES.items()}

    def inquire(question: str, argument: Any) -> Any:
        if question == "code_places":
            return tuple((by_start[start], "kernel") for _, start in argument)
        assert question == "symbol_range"
        return {"f": (TEXT, 16), "g": (TEXT + 0x1000, 1)}.get(argument)

    return KnownCode(program, inquire)


@pytest.fixture
def code() -> KnownCode:
    return known_of(program_of(STARTS, CODES, [10, 9, 1, 1, 1]))


def test_a_way_over_code_is_marked_and_what_is_beside_it_is_told_apart(code: KnownCode) -> None:
    found = over_code(code, Asked("m", f"{TEXT:#x}", "g"))
    assert [step.number for step in found.told.path] == [HEAD, OUT, FAR]
    assert [step.count for step in found.told.path] == [None] * 3
    graph = found.graph
    assert [graph.cards[at].number for at in graph.way] == [HEAD, OUT, FAR]
    assert {card.number for card in graph.cards} == {HEAD, BODY, OUT, BEHIND, FAR}
    assert (graph.beside, graph.left_out) == (frozenset(), 0)
    assert [{graph.cards[at].number for at in loop.cards} for loop in graph.loops] == [{HEAD, BODY}]
    assert (found.origin, found.target, found.measured) == ("f", "g", False)
    assert {(row.name, row.blocks, row.steps) for row in found.told.rows} == {("f", 4, 0), ("g", 1, 2)}
    assert found.words == "2 steps  ·  5 blocks  ·  8 KiB"
    assert [one["number"] for one in found.document()["path"]] == [HEAD, OUT, FAR]
    assert title_of(found.asked, found) == "f → g"
    assert place_of(found.told.rows[0]) == f"block:{HEAD}"


def test_what_leads_somewhere_does_not_lead_out_of_it(code: KnownCode) -> None:
    found = over_code(code, Asked("m", "block:3", back=True))
    assert found.told.counts == {"block": 3}
    assert found.told.path == ()
    assert [card.number for card in found.graph.cards][-1] == OUT, "what it all leads to stands at the end"
    assert title_of(found.asked, found) == "What leads to f + 0x8"
    back = over_code(code, Asked("m", "g", "f", back=True))
    assert [step.number for step in back.told.path] == [OUT, FAR], "in the direction in which it is gone"
    nowhere = over_code(code, Asked("m", "g", "f"))
    assert nowhere.told.path == ()
    assert title_of(nowhere.asked, nowhere) == "No way from g to f"
    beside = over_code(code, Asked("m", "block:4", "block:4"))
    assert {beside.graph.cards[at].number for at in beside.graph.beside} == {OUT}


def test_measured_edges_tell_how_often_and_where_to_indirectly() -> None:
    codes = [JUMP, *CODES[1:]]
    known = known_of(program_of(STARTS, codes, [3, 9, 1, 1, 3], walked([[HEAD, FAR, HEAD, FAR]], 6)))
    found = over_code(known, Asked("m", "f", "g", returns=True))
    assert [(step.number, step.count) for step in found.told.path] == [(HEAD, None), (FAR, 2)]
    assert found.measured
    assert [arrow.count for arrow in found.graph.arrows if found.graph.cards[arrow.target].number == FAR] == [2]


def test_places_of_code_are_named_in_every_way_that_people_have(code: KnownCode) -> None:
    physical = code.program.physical_of(BODY)
    assert physical is not None
    for text in (f"block:{BODY}", f"{TEXT + 5:#x}", f"{physical + 1:#x}"):
        assert code.blocks_of(text) == [BODY]
    assert code.blocks_of("f") == [HEAD, BODY, OUT, BEHIND]
    for text, said in (
        ("block:77", "Nothing of block:77 ran"),
        ("0x10", "Nothing of 0x10 ran"),
        (f"{1 << 64:#x}", "ran|no symbol"),
        ("nonsense", "no symbol 'nonsense'"),
    ):
        with pytest.raises(NothingRan, match=said):
            code.blocks_of(text)


def test_without_a_kernel_addresses_have_to_do() -> None:
    def refuses(*_arguments: object) -> Any:
        raise KernelError("There is none.")

    known = KnownCode(program_of(STARTS, CODES, [1] * 5), refuses)
    found = over_code(known, Asked("m", "block:1"))
    assert found.origin == "block:1"
    assert {row.name for row in found.told.rows} == {""}
    assert found.graph.cards[0].title == f"{TEXT:#x}"
    with pytest.raises(KernelError, match="There is none"):
        known.blocks_of("schedule")


def answer(person: Person, **named: object) -> dict[str, Any]:
    job = person.run("flow.reach", **named)
    assert isinstance(job, Job)
    person.until(lambda: job.state is not JobState.RUNNING, "it should be found")
    if job.error is not None:
        raise job.error
    person.frame(4)
    return dict(job.result)


def test_the_memory_of_a_process_is_shown_as_a_graph_and_lit_in_the_volume(looker: Person) -> None:  # noqa: F811
    person, state = looker, looker.state
    state.flow = FlowUi()
    machine = str(state.current)
    sighting = state.kernels.sighting(machine)
    assert sighting is not None
    assert sighting.processes is not None
    with_memory = np.flatnonzero(sighting.processes.mms)
    pid = int(sighting.processes.pids[with_memory[0]])
    told = answer(person, **{"from": f"task:{pid}"})
    assert told["counts"]["task"] == told["counts"]["mm"] == 1
    assert told["bytes"] == 4096 * told["counts"]["page"]
    lit = {one.colour: one for one in state.highlights}
    assert lit[REACH_COLOUR].size_bytes == told["bytes"]
    assert WAY_COLOUR not in lit
    reach = state.flow.reach
    assert reach.found is not None
    assert (reach.listed, reach.steps) == (ALL, ())
    kinds = [card.lines[0].split()[0] for card in reach.found.graph.cards[:2]]
    assert kinds == ["task_struct", "mm_struct"]
    assert reach.found.graph.cards[0].lights == ("process", str(pid))
    # A way to a page: each step a record, the page by where it lies.
    page = next(iter(reach.found.told.ranges.tolist()))[0]
    told = answer(person, **{"from": f"task:{pid}", "to": f"page:{page + 7:#x}", "fly": False})
    assert [step["kind"] for step in told["path"]] == ["task", "mm", "vma", "page"]
    assert told["path"][-1]["physical"] == page
    assert reach.listed == WAY
    lit = {one.colour: one for one in state.highlights}
    assert lit[WAY_COLOUR].size_bytes == 4096
    assert len(state.highlights) == 2, "they take the place of those before"
    assert [reach.found.graph.cards[at].number for at in reach.found.graph.way] == [
        -1 - step["number"] for step in told["path"]
    ]
    # The other way round: whose page it is.
    told = answer(person, **{"from": f"page:{page:#x}", "back": True})
    assert {row["kind"] for row in told["rows"]} >= {"task", "mm", "vma"}
    # Where there is little room the list and the graph take turns.
    assert state.flow.fits
    reach.listed = GRAPH
    person.until(lambda: not state.flow.fits, "it should be drawn")
    # A right click on a card offers what else can be asked; leaving has the lights go out.
    panel = next(w for w in imgui.get_current_context().windows if w.name == FLOW)
    person.click(panel.pos.x + panel.size.x * 0.3, panel.pos.y + panel.size.y * 0.55, button=2)
    person.key("Escape")
    person.run("flow.leave")
    assert [len(state.highlights), reach.shown] == [0, False]
    with pytest.raises(ActionDisabled, match="Nothing of it is shown"):
        person.run("flow.leave")


def test_the_panel_is_driven_by_its_buttons_rows_and_menus(looker: Person) -> None:  # noqa: F811
    person, state = looker, looker.state
    person.offscreen.canvas.set_logical_size(1500, 800)
    state.flow = FlowUi()
    person.window.reset_layout()
    person.frame(8)
    sighting = state.kernels.sighting(str(state.current))
    assert sighting is not None
    assert sighting.processes is not None
    pid = int(sighting.processes.pids[np.flatnonzero(sighting.processes.mms)[0]])
    answer(person, **{"from": f"task:{pid}", "fly": False})
    reach = state.flow.reach
    person.until(lambda: not state.flow.fits, "it should be drawn")
    panel = next(w for w in imgui.get_current_context().windows if w.name == FLOW)
    listed = next(w for w in imgui.get_current_context().windows if "/##reach list" in w.name and w.active)

    def asked_anew(before: Asked | None) -> Asked:
        person.until(lambda: reach.asked != before and reach.job is None, "it should be asked")
        person.frame(4)
        assert reach.asked is not None
        return reach.asked

    # A row is a place to which the way is shown; it then has its steps, of which one is chosen.
    before = reach.asked
    person.click(listed.pos.x + 80, listed.pos.y + 100)
    way = asked_anew(before)
    assert way.target
    assert reach.listed == WAY
    assert [one.step.kind for one in reach.steps][:2] == ["task", "mm"]
    person.click(listed.pos.x + 80, listed.pos.y + 72)
    assert state.chosen is not None, "a task lights up"
    assert reach.focus is None
    # Cards: a drag moves them, the wheel comes closer, a menu asks further.
    x, y = panel.pos.x + 120, panel.pos.y + panel.size.y - 30
    pan, zoom = state.flow.pan, state.flow.zoom
    person.drag((x, y), (x + 30, y))
    person.wheel(x, y, 2)
    assert state.flow.pan != pan
    assert state.flow.zoom > zoom
    reach.focus = 0  # its middle is then the graph's
    person.frame(4)
    middle = (panel.pos.x + listed.pos.x) / 2, (listed.pos.y + panel.pos.y + panel.size.y - 8) / 2
    person.click(*middle, button=2)
    assert person.popup_open()
    person.key("Escape")
    # What leads there instead, by the first of the buttons above the list.
    before = reach.asked
    for at in range(int(listed.pos.x), int(panel.pos.x + panel.size.x), 10):
        person.click(at, listed.pos.y - 16)
        if reach.asked != before:
            break
    assert asked_anew(before).back
    person.run("flow.leave")


@pytest.mark.parametrize(
    ("named", "error", "said"),
    [
        ({"from": "task:x"}, BadArguments, "task:x"),
        ({"from": "task:1", "to": "schedule"}, BadArguments, "one end is code"),
        ({"from": "task:1", "record": 11}, BadArguments, "between 0 and 10"),
        ({"from": "schedule"}, ActionDisabled, "Nothing runs here"),
        ({"from": "task:1", "machine": "none"}, BadArguments, "none"),
        ({"from": "task:4000000"}, KernelError, "task:4000000 is not there"),
    ],
)
def test_what_makes_no_sense_is_refused(
    looker: Person,  # noqa: F811
    named: dict[str, object],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        answer(looker, **named)
