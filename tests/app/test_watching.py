"""Who wrote this: watched pages and what the inspector tells of them, over a guest that counts at each tick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from imgui_bundle import imgui

from app.action_sets.watching import NotWatched
from app.actions import ActionDisabled, BadArguments
from app.jobs import Job, JobState
from app.panels import writers, writers_list
from app.tracing import Tracer, TracerState
from app.watching import Asked, Told, Watching
from app.writer_rows import told_age, told_value, writer_rows
from app.writers_ui import WritersUi
from bridge.trace.modes import Mode, Policy, Wish
from bridge.trace.writers import Access
from tests.app.conftest import COUNTER_ADDRESS, PATTERN_ADDRESS, Person
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
)
from tests.bridge.trace.conftest import COUNTER, ROUNDS, Counting, counting  # noqa: F401 - a fixture

SIZE = (1280, 900)
INSTRUCTION = "inc dword ptr es:[0]"


@pytest.fixture
def watching(host: Person) -> Iterator[Watching]:
    """Of the guest that counts, its counter selected and nothing watched."""
    host.offscreen.canvas.set_logical_size(*SIZE)
    host.state.writers = WritersUi()
    host.run("view.go_to", COUNTER_ADDRESS)
    host.frame(4)
    found = host.state.watchings.of("tiny")
    assert found is not None
    yield found
    found.watch(())
    found.tracer.set_mode(Mode.OFF)
    host.until(lambda: found.tracer.state is TracerState.OFF, "it should go off")


def told_of(person: Person, watching: Watching) -> Told:
    """What is told of the counter once something is."""

    def told() -> Told | None:
        return watching.ask(COUNTER_ADDRESS, COUNTER_ADDRESS + 1)

    person.until(lambda: bool((now := told()) and now.accesses), "it should be written")
    found = told()
    assert found is not None
    return found


def test_a_watched_page_tells_each_write(host: Person, watching: Watching) -> None:
    with pytest.raises(NotWatched, match="not watched"):
        host.run("watch.writers", COUNTER_ADDRESS)
    assert host.run("watch.page") == {"machine": "tiny", "pages": 1}
    assert watching.watches
    assert watching.holds(COUNTER_ADDRESS >> 12)
    told = told_of(host, watching)
    assert {one.text for one in told.accesses} == {INSTRUCTION}
    assert {(one.physical, one.size, one.is_store) for one in told.accesses} == {(COUNTER_ADDRESS, 4, True)}
    values = [one.value for one in told.accesses if one.value is not None]
    assert values == sorted(values, reverse=True)
    assert not told.backwards
    job = host.run("watch.writers", COUNTER_ADDRESS, 4)
    assert isinstance(job, Job)
    host.until(lambda: job.state is not JobState.RUNNING, "it should be answered")
    assert job.state is JobState.DONE
    (newest, *_) = job.result
    assert newest["instruction"] == INSTRUCTION
    assert set(newest) >= {"age_s", "pc", "symbol", "process", "address", "size", "value", "store", "vcpu"}
    # Beside it another page; then nothing any more.
    assert host.run("watch.page", PATTERN_ADDRESS, 1, None, False, True) == {"machine": "tiny", "pages": 2}
    assert watching.holds(COUNTER_ADDRESS >> 12)
    host.run("watch.stop")
    assert not watching.holds(COUNTER_ADDRESS >> 12)
    host.until(lambda: watching.tracer.state is TracerState.OFF, "nothing is traced then")


def test_a_trace_is_asked_backwards(host: Person, watching: Watching) -> None:
    watching.tracer.set_wish(Wish(Mode.TRACE, policy=Policy.OVERWRITE))
    told = told_of(host, watching)
    assert told.backwards
    assert {one.text for one in told.accesses} == {INSTRUCTION}
    host.frame(4)
    assert not watching.watches


def test_the_inspector_offers_watches_and_tells(
    host: Person, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    draw = writers_list.draw

    def drawn(ui: Any, listed: Any, *more: Any) -> Any:
        rows.append(len(listed))
        return draw(ui, listed, *more)

    monkeypatch.setattr(writers_list, "draw", drawn)
    host.run("watch.page")
    host.until(lambda: any(rows), "writers should be listed")
    # A right click offers where to go, a double click goes to the instruction.
    host.frame(4)
    child = next(w for w in imgui.get_current_context().windows if "/##writers list" in w.name and w.was_active)
    at = child.pos.x + 40, child.pos.y + 12
    host.click(*at, button=2)
    assert host.popup_open()
    host.key("Escape")
    host.click(*at, times=2)
    place = host.selected()
    assert place is not None
    assert host.state.stage.paddr(place) in {one.code for one in told_of(host, watching).accesses}
    host.run("view.go_to", PATTERN_ADDRESS)  # that is not watched: it is offered
    rows.clear()
    host.frame(6)
    assert not rows
    host.state.writers.whole_page = True
    host.run("view.go_to", COUNTER_ADDRESS + 100)
    host.until(lambda: any(rows), "writes to the page are not all to the byte")
    host.state.writers.whole_page = False
    rows.clear()
    host.frame(6)
    elsewhere = COUNTER_ADDRESS + 100
    host.until(lambda: watching.ask(elsewhere, elsewhere + 1) is not None, "it is looked at")
    rows.clear()
    host.frame(4)
    assert not rows, "nothing wrote to that byte"


def test_what_makes_no_sense_is_refused(host: Person, watching: Watching) -> None:
    for address, length in ((COUNTER_ADDRESS, 0), (COUNTER_ADDRESS, 1 << 40)):
        with pytest.raises(BadArguments, match="length"):
            host.run("watch.page", address, length)
    with pytest.raises(Exception, match="RAM is at"):
        host.run("watch.page", 1 << 60)
    with pytest.raises(ActionDisabled, match="lit up"):
        host.run("watch.chosen")
    watching.watch(np.arange(100_000).tolist())
    assert len(watching.pages) == 1 << 16


def test_the_last_write_is_told_though_hits_had_no_room(counting: Counting) -> None:  # noqa: F811
    watching = Watching(Tracer(counting.machine))
    watching.pages = np.array([COUNTER >> 12])
    assert watching.ask(COUNTER, COUNTER + 1) is None
    counting.trace.set(Wish(Mode.WATCH))
    watching.look(counting.trace)
    counting.count()
    watching.look(counting.trace)
    told = watching.ask(COUNTER, COUNTER + 1)
    assert told is not None
    assert told.dropped > 0
    assert told.accesses[0].value == counting.word(COUNTER) == ROUNDS
    assert told.accesses[1].value != ROUNDS - 1, "that one had no room"


def test_rows_have_names_and_ages_as_they_are_read() -> None:
    access = Access(5_000_000_000, 0x1234, 0x5234, "mov [rdi], rax", 0x9000, 8, 0xABC, True, 1, 77)
    wide = Access(0, 1, None, "", 0x9000, 16, 5, True, 0, 0)
    told = Told(Asked(0, 1), (access, wide), 2)
    first, second = writer_rows(told, {(0x5234, 0x1234): ("memcpy + 0x4", "kernel")}, {77: "sshd (4)"}, 6_500_000_000)
    assert (first.symbol, first.process, first.age_s) == ("memcpy + 0x4", "sshd (4)", 1.5)
    assert (second.symbol, second.process) == ("", "")
    assert first.document()["address"] == 0x9000
    assert [told_value(access), told_value(wide)] == ["0000000000000abc", "…0000000000000005"]
    assert [told_age(s) for s in (0.12, 4.24, 180, 7200)] == ["120 ms", "4.2 s", "3 min", "2 h"]
    assert writers._foot(told) == "2 writes"
    assert writers._foot(Told(told.asked, (access,), 300, 7)) == (
        "The last 1 of 300 writes  ·  7 more of watched pages had no room"
    )
    assert writers._foot(Told(told.asked, (access,), 1, 0, True)) == "1 write that the trace still holds"
