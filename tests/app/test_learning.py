"""The window's learner on a guest that runs three loops for ever: they are proved, done by kernels, and given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.benchmarks.loop_guest import LoopGuest
from app.learning import Learners, LearningState, Learnt, MachineLearner, Way, _Names
from app.proof_words import passages_of
from app.tracing import Told, Tracer, Tracers, TracerState
from bridge.kernel.errors import KernelError
from bridge.pixelcpu.learned import State
from bridge.pixelcpu.learning import Entry, Look
from bridge.trace.modes import Mode
from bridge.trace.visit import traced_own
from tests.app.conftest import own_homes
from tests.app.endless_loops import MAP, SUM, WALK, endless_loops, mapped_right, turns
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
)
from tests.bridge.machine.newer_qemu import have_newer_qemu
from tests.bridge.trace.conftest import Counting, counting  # noqa: F401 - a fixture

PATIENCE_S = 300.0


def until(done: Callable[[], bool], learner: MachineLearner | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        assert learner is None or learner.state is not LearningState.FAILED, learner.problem
        time.sleep(0.01)


def nobody(*_: Any) -> Any:
    raise KernelError("No kernel is known.")


@pytest.fixture(scope="module")
def loops(guest_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopGuest]:
    newer = have_newer_qemu(guest_cache)
    with own_homes(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSBOX_QEMU", str(newer))
        with endless_loops(tmp_path_factory.mktemp("loops")) as guest:
            yield guest


@pytest.fixture
def learner(loops: LoopGuest) -> Iterator[MachineLearner]:
    one = MachineLearner(loops.machine, Tracer(loops.machine), nobody)
    yield one
    one.set_way(Way.OFF)
    one.join(PATIENCE_S)
    one.tracer.set_mode(Mode.OFF)
    one.tracer.join(PATIENCE_S)


def entries(learnt: Learnt) -> dict[bytes, Entry]:
    return {one.candidate.code: one for one in learnt.look.entries}


def seen(learner: MachineLearner, way: Way, is_it: Callable[[dict[bytes, Entry]], bool]) -> Learnt:
    """The first look of a way from now on whose loops are as wished."""
    found: list[Learnt] = []

    def there() -> bool:
        learnt = learner.latest()
        if learnt is not None and learnt.way is way and is_it(entries(learnt)):
            found.append(learnt)
        return bool(found)

    until(there, learner)
    return found[0]


def states(found: dict[bytes, Entry]) -> dict[bytes, State]:
    return {code: one.state for code, one in found.items()}


def as_it_was(guest: LoopGuest) -> bool:
    memory = guest.machine.trace
    assert memory is not None
    return not int(memory.plugin["parts"]) and not memory.kernels["id"].any()


def test_loops_are_proved_and_the_guest_is_left_alone(loops: LoopGuest, learner: MachineLearner) -> None:
    assert (learner.way, learner.state, learner.latest()) == (Way.OFF, LearningState.OFF, None)
    learner.set_way(Way.LEARN)
    wanted = {MAP: State.TESTED, SUM: State.TESTED, WALK: State.QEMU_ONLY}
    found = entries(seen(learner, Way.LEARN, lambda found: wanted.items() <= states(found).items()))
    assert learner.state is LearningState.ON
    assert learner.tracer.mode is Mode.OFF  # it was not the user who had it watched …
    assert learner.tracer.latest() is None
    memory = loops.machine.trace
    assert memory is not None
    assert int(memory.plugin["parts"])  # … but it is
    assert not memory.kernels["id"].any()
    assert "An address depends on rax" in found[WALK].reason
    titles = [passage.title for passage in passages_of(found[MAP])]
    assert titles == [
        "Synthesised",
        "Shown of a round",
        "Shown of all rounds",
        "Assumed, and looked at before each call",
        "Tested",
    ]
    words = "\n".join("\n".join(passage.lines) for passage in passages_of(found[MAP]))
    assert "What is at rsi + rcx*4 and at rdi + rcx*4 does not meet." in words
    assert "A map: its rounds need no order." in words
    learned = found[MAP].learned
    assert learned is not None
    assert learned.solver in words
    assert learned.query_hash[:16] in words
    assert passages_of(found[WALK])[0].title == "Left to QEMU"
    said = [event.text for event in learner.events]
    assert said[0] == "Learning."
    assert any("Left to QEMU. " in text and "An address depends on rax" in text for text in said)
    learner.set_way(Way.OFF)
    learner.join(PATIENCE_S)
    assert (learner.state, learner.latest()) == (LearningState.OFF, None)
    until(lambda: learner.tracer.state is TracerState.OFF)
    assert as_it_was(loops)
    assert learner.events[-1].text == "Learning has ended."


def test_kernels_take_over_beside_what_the_user_watches(loops: LoopGuest, learner: MachineLearner) -> None:
    learner.set_way(Way.TAKE_OVER)
    learnt = seen(learner, Way.TAKE_OVER, lambda found: MAP in found and found[MAP].taken > 0.05)
    found = entries(learnt)
    assert found[MAP].state is State.LIVE
    assert learnt.look.taken <= 1
    assert learnt.speed_up >= 1
    assert any("Live: " in event.text for event in learner.events)
    assert passages_of(found[MAP])[-1].title == "In the machine"
    # The user watches as well, and stops to: kernels go on.
    learner.tracer.set_mode(Mode.TIME)
    until(lambda: learner.tracer.latest() is not None, learner)
    learner.tracer.set_mode(Mode.OFF)
    assert learner.tracer.latest() is None
    before = turns(loops)
    until(lambda: turns(loops) > before + 3, learner)
    memory = loops.machine.trace
    assert memory is not None
    assert memory.kernels["id"].any()
    assert learner.tracer.latest() is None
    # What they do is right.
    learner.set_way(Way.VERIFY)
    learnt = seen(learner, Way.VERIFY, lambda found: MAP in found and found[MAP].rounds > 0)
    told = entries(learnt)[MAP].told
    assert told is not None
    assert told.verified_rounds > 0
    assert not told.wrong
    assert (learnt.way, learnt.look.taken, learnt.look.saved_s) == (Way.VERIFY, 0, 0)
    learner.set_way(Way.OFF)
    learner.join(PATIENCE_S)
    until(lambda: learner.tracer.state is TracerState.OFF)
    assert as_it_was(loops)
    loops.machine.pause()
    assert mapped_right(loops)
    loops.machine.resume()


def test_it_waits_for_another_program_and_can_be_called_off(loops: LoopGuest, learner: MachineLearner) -> None:
    with traced_own(loops.machine):
        learner.set_way(Way.LEARN)
        until(lambda: learner.state is LearningState.ELSEWHERE)
        assert "by another program" in learner.problem
    until(lambda: learner.state is LearningState.ON, learner)
    for way in (Way.OFF, Way.LEARN, Way.TAKE_OVER, Way.OFF):
        learner.set_way(way)
    learner.join(PATIENCE_S)
    assert learner.state is LearningState.OFF
    until(lambda: learner.tracer.state is TracerState.OFF)
    with traced_own(loops.machine):
        learner.set_way(Way.LEARN)
        until(lambda: learner.state is LearningState.ELSEWHERE)
        learner.set_way(Way.OFF)
        learner.join(PATIENCE_S)
    assert (learner.state, learner.problem) == (LearningState.OFF, "")


def test_a_tracer_is_held_for_others_while_the_user_has_nothing_watched(loops: LoopGuest) -> None:
    tracer = Tracer(loops.machine)
    tracer.need(Mode.COUNTERS)
    session = tracer.run(lambda session: session).result(PATIENCE_S)
    until(lambda: tracer.state is TracerState.ON)
    assert session.wish.mode is Mode.COUNTERS
    reader, other = session.sample_reader(), session.sample_reader()
    tracer.need(Mode.TIME)
    until(lambda: len(reader.read()[0]) > 0)
    until(lambda: len(other.read()[0]) > 0)  # neither takes them from the other
    assert tracer.latest() is None
    tracer.set_mode(Mode.HEAT)  # the user's comes first
    until(lambda: (look := tracer.latest()) is not None and look.mode is Mode.HEAT)
    tracer.need(Mode.OFF)
    assert tracer.state is TracerState.ON
    tracer.set_mode(Mode.OFF)
    tracer.join(PATIENCE_S)
    assert (tracer.state, tracer.latest()) == (TracerState.OFF, None)
    assert as_it_was(loops)


def test_a_machine_that_ends_is_learned_from_no_more(counting: Counting) -> None:  # noqa: F811
    tracers, learners = Tracers(), Learners()
    tracers.sync([counting.machine])
    learners.sync([counting.machine.name, "gone"], tracers, nobody)
    one = learners.of(counting.machine.name)
    assert one is not None
    assert learners.of("gone") is None
    assert one.why_not == ""
    learners.pump()
    one.set_way(Way.LEARN)
    assert not entries(seen(one, Way.LEARN, lambda _: True))  # its loops are of 16 bits
    assert learners.pump()
    counting.machine.stop()
    until(lambda: one.state is LearningState.FAILED)
    assert one.problem == "The machine has ended."
    assert one.way is Way.OFF
    assert "ended" in one.why_not
    learners.sync([], tracers, nobody)
    assert learners.of(counting.machine.name) is None
    learners.close()
    tracers.close()


def test_names_are_asked_of_a_kernel_that_is_known() -> None:
    class Watched:
        told = Told()

    def asked(machine: str, question: str, places: tuple[tuple[int | None, int], ...]) -> list[tuple[str, str]]:
        assert (machine, question, places) == ("demo", "code_places", ((0x1000, 0x400000),))
        return [("main", "loops (7)")]

    tracer = Watched()
    names = _Names("demo", asked, cast(Tracer, tracer))
    assert names.place(0x1000, 0x400000) == ("", "")  # nobody knows the kernel yet
    tracer.told = Told(cast(Any, SimpleNamespace()), {9: "loops (7)"})
    assert names.place(0x1000, 0x400000) == ("main", "loops (7)")
    assert (names.process_of_task(9), names.process_of_task(8)) == ("loops (7)", "")
    assert _Names("demo", nobody, cast(Tracer, tracer)).place(0x1000, 0x400000) == ("", "")


@pytest.mark.parametrize(
    ("seconds", "vcpus", "saved_s", "speed_up"), [(5, 1, 5, 2), (5, 2, 5, 1.5), (0, 1, 0, 1), (5, 1, -1, 1)]
)
def test_the_machine_is_as_much_faster_as_its_processors_were_spared(
    seconds: float, vcpus: int, saved_s: float, speed_up: float
) -> None:
    look = Look((), True, 0, 0.0, seconds, saved_s, 0, 0, "", "", "")
    assert Learnt(Way.TAKE_OVER, look, vcpus, "plugin", ()).speed_up == pytest.approx(speed_up)
