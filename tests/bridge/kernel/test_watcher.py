"""The worker process: sightings of a real guest, of nothing, of a guest that changes; and its end."""

from __future__ import annotations

import io
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bridge.kernel.desk import Answer
from bridge.kernel.sighting_stream import Restorer
from bridge.kernel.watcher import KernelWatcher
from bridge.kernel.worker import Assignment, Sighting, Watch, read_frame, serve, write_frame
from bridge.memory.physical_map import PhysicalMap
from tests.bridge.kernel.conftest import LiveGuest


def wait_for(watcher: KernelWatcher, what: Callable[[Sighting], bool], timeout_s: float = 120) -> Sighting:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        seen = watcher.latest()
        if seen is not None and what(seen):
            return seen
        time.sleep(0.02)
    raise AssertionError(f"never seen; last: {watcher.latest()}")


def test_a_live_guest_is_seen_again_and_again(live: LiveGuest) -> None:
    watcher = KernelWatcher(live.ram.path, live.ram.physical_map, period_s=0.05, core_share=1.0)
    try:
        seen = wait_for(watcher, lambda s: not s.problem)
        assert seen.release == live.kernel.release
        assert seen.processes is not None
        assert "counter" in seen.processes.names
        assert seen.classes is not None
        assert len(seen.classes) == live.ram.n_pages
        assert seen.first_owner is not None
        assert seen.first_owner.max() < len(seen.processes)
        assert seen.definite > 0.97
        pid = live.shell.start("sleep 4321")
        wait_for(watcher, lambda s: s.processes is not None and pid in s.processes.pids)
        live.shell.run(f"kill {pid}; wait {pid}; true")
        wait_for(watcher, lambda s: s.processes is not None and pid not in s.processes.pids)
        wait_for(watcher, lambda _: watcher.n_seen > 2)
    finally:
        watcher.close()
    watcher.close()


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(bytes(1 << 20))
    watcher = KernelWatcher(tmp_path / "ram", PhysicalMap.flat(1 << 20))
    try:
        assert "No running Linux kernel" in wait_for(watcher, lambda s: bool(s.problem)).problem
        os.kill(watcher._process.pid, signal.SIGKILL)
        assert "has ended" in wait_for(watcher, lambda s: "ended" in s.problem).problem
    finally:
        watcher.close()
    nothing = KernelWatcher(tmp_path / "missing", PhysicalMap.flat(1 << 20))
    try:
        assert "missing" in wait_for(nothing, lambda s: bool(s.problem)).problem
    finally:
        nothing.close()


def test_a_kernel_that_comes_and_goes(dump: np.ndarray, live: LiveGuest, tmp_path: Path) -> None:
    """A machine without a kernel, then with one, then with its banner gone: each look says what is."""
    path = tmp_path / "ram"
    path.write_bytes(bytes(len(dump)))
    watch = Watch(Assignment(path, PhysicalMap.flat(len(dump)), 0.01, 1.0))
    assert watch.look().problem
    watch._search_s = math.inf  # writing all that may take longer than it waits
    with path.open("r+b") as file:
        file.write(dump.tobytes())
    assert watch.look().problem, "it is searched for again only after a while"
    watch._search_s = -1e9
    assert not watch.look().problem
    with path.open("r+b") as file:
        file.seek(live.kernel.space.image_paddr(live.kernel.symbols.address("init_task")))
        file.write(bytes(16384))
    assert "could not be followed" in watch.look().problem
    with path.open("r+b") as file:
        file.seek(live.kernel.space.image_paddr(live.kernel.symbols.address("linux_banner")))
        file.write(bytes(64))
    watch.look()
    assert watch._introspector is None or watch._introspector.kernel.release == live.kernel.release
    watch.ram.close()


def test_the_worker_serves_until_its_input_ends(dump: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(dump.tobytes())
    source, sink = io.BytesIO(), io.BytesIO()
    write_frame(source, Assignment(tmp_path / "missing", PhysicalMap.flat(1 << 20), 0.01, 1.0))
    write_frame(source, Assignment(path, PhysicalMap.flat(len(dump)), 0.01, 0.5))
    source.seek(0)
    spent: list[tuple[float, float]] = []
    """Processor time of each look, and how long after it began the next one may."""
    left_s = [0.0, 0.0]

    def ready(timeout_s: float) -> bool:
        spent.append((time.process_time() - left_s[0], time.monotonic() + timeout_s - left_s[1]))
        time.sleep(timeout_s)
        left_s[:] = time.process_time(), time.monotonic()
        return len(spent) >= 4

    serve(source, sink, ready)
    sink.seek(0)
    seen, restorer = [], Restorer()
    while (frame := read_frame(sink)) is not None:
        seen.append(restorer.restore(frame))
    assert [bool(sighting.problem) for sighting in seen] == [True, False, False, False, False]
    # Half a core at most: from one look to the next takes at least twice as long as the look took of the processor.
    # The search for the kernel before the first one is not held against it.
    for cost_s, until_next_s in spent[1:]:
        assert until_next_s >= 2 * cost_s * 0.9


def test_questions_are_answered_between_looks(live: LiveGuest) -> None:
    watcher = KernelWatcher(live.ram.path, live.ram.physical_map, period_s=0.05, core_share=1.0)
    try:
        early = watcher.ask("places", (0,))
        wait_for(watcher, lambda s: not s.problem)
        address = live.kernel.symbols.address("init_task")
        numbers = [
            watcher.ask("places", (address + 8, 1)),
            watcher.ask("symbols", "init_task", 1),
            watcher.ask("physical", address, None),
            watcher.ask("where", 1 << 45),
            watcher.ask("no such question"),
        ]
        answers = [wait_for_answer(watcher, number) for number in (early, *numbers)]
        assert answers[1].value == ("init_task + 0x8", "")
        assert answers[2].value[0].name
        assert answers[3].value == live.kernel.space.image_paddr(address)
        assert "no RAM" in answers[4].problem
        assert "no such question" in answers[5].problem
        assert watcher.answer(numbers[0]) is None, "an answer is given once"
        seen = watcher.n_seen
        wait_for(watcher, lambda _: watcher.n_seen > seen)
        os.kill(watcher._process.pid, signal.SIGKILL)
        wait_for(watcher, lambda s: "ended" in s.problem)
        assert "ended" in wait_for_answer(watcher, watcher.ask("places", ())).problem
    finally:
        watcher.close()


def wait_for_answer(watcher: KernelWatcher, number: int, timeout_s: float = 120) -> Answer:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        reply = watcher.answer(number)
        if reply is not None:
            return reply
        time.sleep(0.01)
    raise AssertionError("never answered")


def test_a_machine_without_a_kernel_is_told_of_once_and_searched_seldom(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(1 << 20))
    source, sink = io.BytesIO(), io.BytesIO()
    write_frame(source, Assignment(path, PhysicalMap.flat(1 << 20), 0.01, 0.01))
    source.seek(0)
    rounds = iter(range(50))

    def ready(timeout_s: float) -> bool:
        time.sleep(min(timeout_s, 0.02))
        return next(rounds) == 49

    serve(source, sink, ready)
    sink.seek(0)
    seen = Restorer().restore(read_frame(sink))
    assert seen is not None
    assert "No running Linux kernel" in seen.problem
    assert read_frame(sink) is None
    watch = Watch(Assignment(path, PhysicalMap.flat(1 << 20), 0.01, 1e-6))
    took_s = watch.look().duration_s
    assert watch._search_s > time.monotonic() + took_s * 1e5, "a search may take no more of a core than a look"
    watch.ram.close()


def test_a_message_that_was_cut_short_is_the_end() -> None:
    """A worker may be killed while it writes: its reader must tell that it ended, not fail."""
    whole = io.BytesIO()
    write_frame(whole, Sighting(1.0, 2.0, "said"))
    data = whole.getvalue()
    for kept in range(len(data)):
        assert read_frame(io.BytesIO(data[:kept])) is None
    assert read_frame(io.BytesIO(data)) == Sighting(1.0, 2.0, "said")
