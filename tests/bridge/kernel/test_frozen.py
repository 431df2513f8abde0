"""Looks while a machine stands still, and looks at one that changes under them."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bridge.kernel.desk import Answer, Question
from bridge.kernel.frozen import HOLD_S, LOOK, PREPARE, PUBLISH, CouldNotFreeze, look_frozen, look_while_held
from bridge.kernel.kernel import find_kernel
from bridge.kernel.kernel_half import KernelHalfReader
from bridge.kernel.maps import Vmas
from bridge.kernel.page_classes import PageClass
from bridge.kernel.sighting_stream import Restorer
from bridge.kernel.snapshot import Introspector
from bridge.kernel.watcher import KernelWatcher
from bridge.kernel.worker import Assignment, Sighting, Standing, Watch, read_frame, serve, write_frame
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap, RamRegion
from tests.bridge.kernel.conftest import HeldRam, LiveGuest
from tests.bridge.kernel.test_watcher import wait_for


class Held:
    """Holds a guest by stopping QEMU's process: nothing in it runs, whatever it is that makes it run."""

    def __init__(self, live: LiveGuest) -> None:
        self.pid = live.shell.process.pid
        self.times = 0

    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        os.kill(self.pid, signal.SIGSTOP)
        try:
            while not self.is_stopped():
                time.sleep(0.001)
            self.times += 1
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@pytest.fixture
def watcher(live: LiveGuest) -> Iterator[KernelWatcher]:
    watcher = KernelWatcher(live.ram.path, live.ram.physical_map, period_s=0.05, core_share=1.0)
    wait_for(watcher, lambda s: not s.problem and watcher.n_seen > 1)  # and has loaded what it follows changes with
    yield watcher
    watcher.close()


def test_a_held_machine_is_looked_at_and_goes_on(live: LiveGuest, watcher: KernelWatcher) -> None:
    held = Held(live)
    before = watcher.latest()
    assert before is not None
    assert before.consistency in ("live", "retried")
    looked = look_frozen(watcher, held, look_s=20.0)
    assert held.times == 1
    assert not held.is_stopped()
    assert 0 < looked.looked_s <= looked.held_s
    frozen = wait_for(watcher, lambda s: s.consistency == "frozen")
    assert frozen.taken_s > before.taken_s
    assert frozen.processes is not None
    assert "counter" in frozen.processes.names
    wait_for(watcher, lambda s: s.consistency != "frozen", timeout_s=HOLD_S + 30)
    assert live.shell.run("echo alive") == "alive\n"


def test_what_was_seen_too_late_is_not_called_frozen(live: LiveGuest, watcher: KernelWatcher) -> None:
    held = Held(live)
    n_seen = watcher.n_seen
    with pytest.raises(CouldNotFreeze, match="longer than"):
        look_frozen(watcher, held, look_s=0.0)
    assert not held.is_stopped()
    wait_for(watcher, lambda s: watcher.n_seen > n_seen + 1)
    seen = watcher.latest()
    assert seen is not None
    assert seen.consistency != "frozen"


def test_a_machine_that_cannot_be_held_is_looked_at_as_ever(watcher: KernelWatcher) -> None:
    def broken() -> contextlib.AbstractContextManager[None]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        look_frozen(watcher, broken)
    n_seen = watcher.n_seen
    wait_for(watcher, lambda s: watcher.n_seen > n_seen + 1 and s.consistency != "frozen")


def test_without_a_kernel_or_a_worker_no_machine_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(bytes(1 << 20))
    watcher = KernelWatcher(tmp_path / "ram", PhysicalMap.flat(1 << 20))

    def never() -> contextlib.AbstractContextManager[None]:
        raise AssertionError("it was stopped")

    try:
        wait_for(watcher, lambda s: bool(s.problem))
        with pytest.raises(CouldNotFreeze, match="no kernel"):
            look_frozen(watcher, never)
        assert watcher.wait_for(watcher.ask(LOOK), 120).value is True  # type: ignore[union-attr]
        assert watcher.wait_for(watcher.ask(PUBLISH, True), 120).value is True  # type: ignore[union-attr]
        os.kill(watcher._process.pid, signal.SIGKILL)
        wait_for(watcher, lambda s: "ended" in s.problem)
        with pytest.raises(CouldNotFreeze, match="has ended"):
            look_frozen(watcher, never)
        assert watcher.wait_for(watcher.ask(PREPARE) + 1, 0.01) is None
    finally:
        watcher.close()


def test_a_held_look_within_one_process(live: LiveGuest) -> None:
    held = Held(live)
    seen = look_while_held(Introspector(live.kernel), held)
    assert held.times == 1
    assert seen.consistency == seen.processes.consistency == "frozen"


def test_a_dump_stands_still(live: LiveGuest) -> None:
    watcher = KernelWatcher(live.ram.path, live.ram.physical_map, period_s=1e6, still=True)
    try:
        assert wait_for(watcher, lambda s: not s.problem).consistency == "frozen"
    finally:
        watcher.close()


def test_all_that_is_seen_of_a_paused_machine_is_frozen(live: LiveGuest, watcher: KernelWatcher) -> None:
    held = Held(live)
    address = live.kernel.space.image_paddr(live.kernel.symbols.address("init_task"))
    with held():
        watcher.stands(True)
        watcher.stands(True)
        seen = wait_for(watcher, lambda s: s.consistency == "frozen")
        assert seen.processes is not None
        assert seen.processes.consistency == "frozen"
        mounts = watcher.wait_for(watcher.ask("mounts"), 30)
        story = watcher.wait_for(watcher.ask("where", address), 30)
        watcher.stands(False)  # before it runs on
    assert mounts is not None
    assert not mounts.problem
    assert mounts.consistency == "frozen"
    assert story is not None
    assert story.value.consistency == "frozen"
    wait_for(watcher, lambda s: s.taken_s > seen.taken_s and s.consistency != "frozen")
    lists = watcher.wait_for(watcher.ask("mounts"), 30)
    assert lists is not None
    assert lists.consistency != "frozen"


def test_a_machine_that_ran_on_during_a_look_was_not_frozen(live: LiveGuest) -> None:
    """A look takes longer than a message."""
    watch = Watch(Assignment(live.ram.path, live.ram.physical_map, 0.01, 1.0), standing=True)
    try:
        with live.shell.held():
            assert watch.look().consistency == "frozen"
        said = iter([False, True])
        watch.runs_on = lambda: next(said)
        assert watch.look().consistency != "frozen"
        watch.runs_on, watch.standing = (lambda: False), False
        assert watch.look().consistency != "frozen"
    finally:
        watch.ram.close()


def test_a_word_that_comes_during_a_look_is_heard_before_its_turn(live: LiveGuest) -> None:
    assignment = Assignment(live.ram.path, live.ram.physical_map, 1e6, 1.0)

    def looks(*words: object) -> list[object]:
        """What a worker says while it is told these things during its first look."""
        source, sink = io.BytesIO(), io.BytesIO()
        for word in (Standing(True), assignment, *words):
            write_frame(source, word)
        ends = source.tell()
        source.seek(0)
        serve(source, sink, lambda timeout_s: source.tell() < ends or timeout_s > 0)
        sink.seek(0)
        restorer = Restorer()
        said = list(iter(lambda: read_frame(sink), None))
        return [message if isinstance(message, Answer) else restorer.restore(message) for message in said]

    def first(*words: object) -> str:
        said = looks(*words)
        assert isinstance(said[0], Sighting)
        assert [type(answer) for answer in said[1:]] == [Answer for word in words if isinstance(word, Question)]
        return said[0].consistency

    question = Question(1, "places", (0,))
    with live.shell.held():
        assert first(question) == first(question, Standing(True)) == "frozen"
        assert first(question, Standing(False), Question(2, "places", (0,))) != "frozen"


def test_a_memory_map_that_changes_is_followed(live: LiveGuest) -> None:
    """A map without a block that is free makes a hole of it, until the worker is told of the whole one."""
    seen = Introspector(live.kernel).look()
    hole = int(np.flatnonzero(seen.page_map.orders >= 9)[0])
    at, behind, size = hole << 12, (hole + 256) << 12, live.ram.size_bytes
    part = PhysicalMap(size, (RamRegion(0, 0, at, "low"), RamRegion(behind, behind, size - behind, "high")))
    watcher = KernelWatcher(live.ram.path, part, period_s=0.05, core_share=1.0)

    def has_a_hole(seen: Sighting) -> bool:
        return seen.classes is not None and bool((seen.classes[hole : hole + 256] == PageClass.HOLE).all())

    try:
        wait_for(watcher, lambda s: not s.problem and has_a_hole(s))
        watcher.follow(live.ram.physical_map)
        wait_for(watcher, lambda s: not s.problem and not has_a_hole(s))
        n_seen = watcher.n_seen
        watcher.follow(live.ram.physical_map)  # it knows
        wait_for(watcher, lambda _: watcher.n_seen > n_seen)
    finally:
        watcher.close()


class Changing:
    """A dump whose memory is changed while one of its readers is asked something."""

    def __init__(self, dump: npt.NDArray[np.uint8]) -> None:
        self.memory = dump.copy()
        self.introspector = Introspector(find_kernel(PhysicalReader(HeldRam(self.memory))))

    def write(self, vaddr: int, word: int) -> None:
        space = self.introspector.kernel.space
        assert space.direct_map is not None
        at = vaddr - space.direct_map
        self.memory[at : at + 8] = np.array([word], "<u8").view(np.uint8)


def test_what_a_process_had_when_it_ended_is_not_believed(
    dump: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes a task's mm away (exit_mm) while we look at the tables behind it."""
    changing = Changing(dump)
    introspector = changing.introspector
    before = introspector.look()
    index = before.processes.names.index("counter")
    assert len(before.owners.pages_of(index))
    task = int(before.processes.addresses[index])
    vmas_of = introspector.maps.vmas

    def exits(mms: npt.NDArray[np.uint64]) -> Vmas:
        found = vmas_of(mms)
        changing.write(task + introspector.tasks.layout.mm, 0)
        return found

    monkeypatch.setattr(introspector.maps, "vmas", exits)
    seen = introspector.look()
    assert seen.processes.names == before.processes.names
    assert (
        int(seen.processes.mms[index]) == int(seen.processes.roots[index]) == int(seen.processes.rss_bytes[index]) == 0
    )
    assert not len(seen.owners.pages_of(index))
    assert not (seen.vmas.owners == index).any()
    other = before.processes.names.index("allocator")
    assert seen.owners.pages_of(other).tolist() == before.owners.pages_of(other).tolist()
    assert (seen.vmas.owners == other).sum() == (before.vmas.owners == other).sum()


def test_a_torn_memory_map_is_asked_for_again(dump: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    changing = Changing(dump)
    introspector = changing.introspector
    before = introspector.look()
    assert before.consistency == "live"
    vma = int(before.vmas.addresses[5])
    mm_at = vma + introspector.maps.layout.mm
    changing.write(mm_at, 0x1234)  # it names another mm: being freed
    vmas_of, asked = introspector.maps.vmas, []

    def heals(mms: npt.NDArray[np.uint64]) -> Vmas:
        found = vmas_of(mms)
        asked.append(found.complete)
        changing.write(mm_at, int(before.processes.mms[before.vmas.owners[5]]))
        return found

    monkeypatch.setattr(introspector.maps, "vmas", heals)
    seen = introspector.look()
    assert asked == [False, True]
    assert seen.consistency == "retried"
    assert seen.vmas.addresses.tolist() == before.vmas.addresses.tolist()


def test_the_kernels_tables_are_walked_again_when_they_change(dump: npt.NDArray[np.uint8]) -> None:
    changing = Changing(dump)
    reader = KernelHalfReader(changing.introspector.kernel)
    first = reader.read()
    assert reader.read() is first
    mappings = first.mappings
    lowest = mappings.tables[mappings.table_levels == 0]
    table = int(lowest[len(lowest) // 2])
    entries = changing.memory[table : table + 4096].view("<u8")
    slot = int(np.flatnonzero(entries & 1)[0])
    entries[slot] = 0
    second = reader.read()
    assert second is not first
    assert len(second.mappings.vaddrs) == len(mappings.vaddrs) - 1
    fresh = KernelHalfReader(changing.introspector.kernel).read()
    for ours, theirs in (
        (second.modules, fresh.modules),
        (second.vmalloc, fresh.vmalloc),
        (second.tables, fresh.tables),
    ):
        assert ours.tolist() == theirs.tolist()


def test_a_kernel_that_cannot_be_followed_is_called_torn(dump: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "ram"
    dump.tofile(path)
    watch = Watch(Assignment(path, PhysicalMap.flat(len(dump)), 0.1, 1.0))
    try:
        seen = watch.look()
        assert not seen.torn
        assert not watch.step(Question(1, PREPARE))[0].problem
        assert seen.processes is not None
        introspector = Introspector(find_kernel(PhysicalReader(HeldRam(dump))))
        assert introspector.kernel.space.direct_map is not None
        with path.open("r+b") as file:
            file.seek(int(seen.processes.addresses[1]) - introspector.kernel.space.direct_map)
            file.seek(introspector.tasks.layout.tasks, os.SEEK_CUR)
            file.write(bytes(8))
        torn = watch.look()
        assert torn.torn
        assert "could not be followed" in torn.problem
        held, _ = watch.step(Question(2, LOOK))
        assert "could not be followed" in held.problem
        assert watch.step(Question(3, PUBLISH, (True,)))[1] is None
    finally:
        watch.ram.close()
    path.unlink()
