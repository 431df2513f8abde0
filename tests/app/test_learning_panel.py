"""The Learning panel over a guest that runs three loops: its ways, table, code, proof and log, and what scripts get."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.benchmarks.loop_guest import loops_on, loops_to_launch
from app.layout import LEARNING
from app.learning import Learnt, MachineLearner, Way
from app.learning_ui import CODE, COLUMNS, LOG, LOOPS, PROOF, LearningUi, chosen_of, hidden_columns
from app.offscreen import OffscreenWindow
from app.panels.learning import panes_of
from app.panels.learning_sides import STEPS, reached_of
from app.window_options import WindowOptions
from bridge.machine.machine import Machine
from bridge.pixelcpu.learned import State
from bridge.trace.visit import traced_own
from tests.app.conftest import SIZE, Person, own_homes
from tests.app.endless_loops import MAP, SUM, WALK, begin
from tests.bridge.machine.newer_qemu import have_newer_qemu

PANEL = (1280, 900)


@pytest.fixture(scope="module")
def looping(guest_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A window whose guest runs the loops."""
    newer = have_newer_qemu(guest_cache)
    with own_homes(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSBOX_QEMU", str(newer))
        with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
            person = Person(offscreen)
            job = person.window.session.machines.launch(loops_to_launch(tmp_path_factory.mktemp("loops")))
            person.until(lambda: job.wait(0), "the launch should end")
            machine = person.state.machine("loops")
            assert isinstance(machine, Machine)
            begin(loops_on(machine))
            person.until(lambda: person.state.learners.of("loops") is not None, "it should be able to learn")
            yield person


@pytest.fixture
def shown(looping: Person) -> Iterator[tuple[Person, MachineLearner]]:
    """The same with the panel in front, and nothing learned."""
    looping.offscreen.canvas.set_logical_size(*PANEL)
    looping.window.reset_layout()
    looping.frame(10)
    looping.state.learning = LearningUi()
    looping.run("learning.show")
    looping.frame(8)
    learner = looping.state.learners.of("loops")
    assert learner is not None
    yield looping, learner
    learner.set_way(Way.OFF)
    looping.until(lambda: learner.state.value in ("off", "failed"), "it should go off")


def panel() -> imgui.internal.Window:
    return next(w for w in imgui.get_current_context().windows if w.name == LEARNING)


def child(name: str) -> imgui.internal.Window | None:
    found = (w for w in imgui.get_current_context().windows if f"{LEARNING}/##{name}" in w.name and w.was_active)
    return next(found, None)


def seen(person: Person, learner: MachineLearner, is_it: Callable[[Learnt], bool], what: str) -> Learnt:
    found: list[Learnt] = []

    def there() -> bool:
        assert not learner.problem
        learnt = learner.latest()
        if learnt is not None and learnt.way is learner.way and is_it(learnt):
            found.append(learnt)
        return bool(found)

    person.until(there, what)
    person.frame(3)
    return found[0]


def all_known(learnt: Learnt) -> bool:
    codes = {one.candidate.code for one in learnt.look.entries if one.state is not State.TRACED}
    return learnt.look.settled and codes >= {MAP, SUM, WALK}


def learned(person: Person, learner: MachineLearner) -> Learnt:
    person.run("learning.way", "learn")
    return seen(person, learner, all_known, "all loops should be learned")


def test_off_is_the_rule_and_one_button_learns(shown: tuple[Person, MachineLearner]) -> None:
    person, learner = shown
    assert (learner.way, learner.latest()) == (Way.OFF, None)
    here = panel()
    for up in range(8, int(here.size.y) - 90, 6):  # the button stands in the middle, below the bar
        if learner.way is Way.OFF:
            person.click(here.pos.x + here.size.x / 2, here.pos.y + here.size.y - up)
    assert learner.way is Way.LEARN


def test_a_click_chooses_a_loop_and_each_side_tells_of_it(shown: tuple[Person, MachineLearner]) -> None:
    person, learner = shown
    learnt = learned(person, learner)
    ui = person.state.learning
    assert chosen_of(ui, learnt) is learnt.look.entries[0]  # the heaviest while none is chosen
    table = child(LOOPS)
    assert table is not None
    person.click(table.pos.x + 60, table.pos.y + 62)
    assert ui.chosen == learnt.look.entries[1].candidate.x86_hash == ui.table.selected
    for side in (CODE, PROOF, LOG):
        person.run("learning.show", side)
        person.frame(3)
        assert child(side) is not None
        assert child(LOOPS) is None  # there is no room for both
    by_code = {one.candidate.code: one for one in learnt.look.entries}
    for code in (MAP, WALK):  # one with a kernel, and one without
        assert person.run("learning.choose", by_code[code].candidate.x86_hash[:12]) == by_code[code].candidate.x86_hash
        for size in ((1280, 720), (1700, 900), (2560, 1300)):
            person.offscreen.canvas.set_logical_size(*size)
            person.run("learning.show", PROOF)
            person.frame(6)
            assert child(PROOF) is not None
        assert (child(LOOPS) is not None, child(CODE) is not None) == (True, True)
    map_found, walk_found = by_code[MAP].learned, by_code[WALK].learned
    assert map_found is not None
    assert walk_found is not None
    listing = ui.listing(map_found)
    assert listing[0][0].startswith("lane")
    assert sum(len(pixels) for _, pixels in listing) == len(map_found.rounds.pixels)  # type: ignore[union-attr]
    assert ui.listing(walk_found)  # its round is microcode though it has no kernel
    assert STEPS[reached_of(by_code[MAP]) - 1] is State.TESTED
    assert STEPS[reached_of(by_code[WALK]) - 1] is State.SYNTHESISED
    person.run("window.toggle_theme")
    person.frame(4)
    person.run("window.toggle_theme")
    person.click(*_middle(child(CODE)), button=2)
    table = child(LOOPS)
    assert table is not None
    x, y = table.pos.x + 60, table.pos.y + 34
    assert person.state.pixel_cpu.stepper is None
    person.click(x, y, button=2)
    person.click(x + 30, y + 20)  # the first entry steps through its microcode
    person.until(lambda: person.state.pixel_cpu.stepper is not None, "the Pixel CPU should have the loop")
    assert not person.toasts()


def _middle(window: imgui.internal.Window | None) -> tuple[float, float]:
    assert window is not None
    return window.pos.x + window.size.x / 2, window.pos.y + window.size.y / 2


def test_the_bar_takes_over_and_gives_back(shown: tuple[Person, MachineLearner]) -> None:
    person, learner = shown
    learned(person, learner)
    here = panel()
    for down in range(44, 62, 6):  # along the bar, past “Off” and “Learn”
        for x in range(110, 200, 20):
            if learner.way is Way.LEARN:
                person.click(here.pos.x + x, here.pos.y + down)
    assert learner.way is Way.TAKE_OVER
    seen(person, learner, lambda learnt: learnt.look.taken > 0.02, "kernels should do something")
    state: Any = person.run("window.state")
    told = state["learning"]
    assert (told["machine"], told["way"], told["state"], told["problem"]) == ("loops", "take over", "on", "")
    assert told["live"] >= 1
    assert 0 < told["taken_over"] <= 1
    answer: Any = json.loads(json.dumps(person.run("learning.loops", 8)))
    found = {one["code"]: one for one in answer["entries"]}
    assert found[MAP.hex()]["state"] == "live"
    assert found[MAP.hex()]["plugin"]["calls"] > 0
    person.offscreen.canvas.set_logical_size(2000, 1000)
    person.frame(6)
    table = child(LOOPS)
    assert table is not None
    person.click(table.pos.x + 60, table.pos.y + 34, button=2)
    assert person.popup_open()
    person.key("Escape")
    person.run("learning.way", "verify")
    seen(person, learner, lambda learnt: any(one.rounds for one in learnt.look.entries), "rounds should be compared")
    person.run("learning.way", "off")
    person.until(lambda: learner.state.value == "off", "it should go off")
    memory = learner.machine.trace
    assert memory is not None
    assert not memory.kernels["id"].any()
    assert not person.toasts()


def test_where_it_is_narrow_choosers_stand_for_the_buttons(shown: tuple[Person, MachineLearner]) -> None:
    person, learner = shown
    person.offscreen.canvas.set_logical_size(800, 640)
    person.window.reset_layout()
    person.frame(10)
    person.run("learning.show")
    person.frame(8)
    here = panel()
    assert here.size.x < 440
    learned(person, learner)
    _opened(person, here.pos.x + here.size.x - 40, here)
    person.key("Escape")
    y = _opened(person, here.pos.x + 60, here)
    for down in range(20, 60, 8):  # along the list: “Off” is its first
        if learner.way is Way.LEARN:
            if not person.popup_open():
                person.click(here.pos.x + 60, y)
            person.click(here.pos.x + 60, y + down)
    assert learner.way is Way.OFF
    assert not person.toasts()


def _opened(person: Person, x: float, here: imgui.internal.Window) -> float:
    """Click along a line downwards until a list opens; returns where it did."""
    for down in range(36, 80, 6):
        if not person.popup_open():
            person.click(x, here.pos.y + down)
            person.frame(2)
        if person.popup_open():
            return here.pos.y + down
    raise AssertionError("there should be a chooser")


def test_why_nothing_is_learned_is_said(shown: tuple[Person, MachineLearner]) -> None:
    person, learner = shown
    for wrong in ("", "zz"):
        with pytest.raises(BadArguments, match="none whose hash"):
            person.run("learning.choose", wrong)
    with pytest.raises(BadArguments, match="limit"):
        person.run("learning.loops", 0)
    assert person.run("learning.loops")["entries"] == []  # type: ignore[index]
    with traced_own(learner.machine):
        person.run("learning.way", "learn")
        person.until(lambda: learner.state.value == "elsewhere", "somebody else should be seen")
        person.frame(3)
    person.until(lambda: learner.state.value == "on", "it should be tried again")
    person.run("learning.way", "off")
    person.until(lambda: learner.state.value == "off", "it should go off")
    memory = learner.machine.trace
    assert memory is not None
    try:
        learner.machine.trace, learner.machine.trace_problem = None, "The plugin is not built."
        person.frame(3)
        with pytest.raises(ActionDisabled, match="not built"):
            person.run("learning.way", "learn")
    finally:
        learner.machine.trace, learner.machine.trace_problem = memory, ""


def test_without_a_machine_there_is_nothing_to_learn(person: Person) -> None:
    person.run("learning.show")
    person.frame(4)
    with pytest.raises(ActionDisabled, match="No machine runs here"):
        person.run("learning.way", "learn")
    state: Any = person.run("window.state")
    assert state["learning"] is None


def test_each_column_is_whole_or_gone() -> None:
    """The more room, the more of them; what is never left out is the state, the loop, and where there is one, both."""
    titles = [column.title for column in COLUMNS]
    for only_learns in (False, True):
        before: set[str] = set()
        for units in range(40, 400):
            hidden = hidden_columns(units, only_learns=only_learns)
            shown = [column for column in COLUMNS if column.title not in hidden]
            taken = sum((column.width or 30) + 3 for column in shown)
            assert taken < units or [column.title for column in shown] == ["State", "Loop"]
            assert before <= {column.title for column in shown}
            before = {column.title for column in shown}
        assert set(titles) - before == ({"Done", "By"} if only_learns else set())
    at_1280, at_1700, at_2560 = 154, 127, 214  # steps of the grid that its table has in windows of these widths
    assert hidden_columns(at_1280, only_learns=False) == ["Process", "Why it is left to QEMU"]
    assert {"State", "Loop", "Kind", "Done", "Faster"} == set(titles) - set(hidden_columns(at_1700, only_learns=False))
    assert hidden_columns(at_2560, only_learns=False) == []


def test_what_stands_side_by_side() -> None:
    assert panes_of(100, LOOPS) == (LOOPS,)
    assert panes_of(100, LOG) == (LOG,)
    assert panes_of(250, LOOPS) == panes_of(250, CODE) == (LOOPS, CODE)
    assert panes_of(250, LOG) == (LOOPS, LOG)
    assert panes_of(500, LOOPS) == panes_of(500, PROOF) == (LOOPS, CODE, PROOF)
    assert panes_of(500, LOG) == (LOOPS, CODE, LOG)
