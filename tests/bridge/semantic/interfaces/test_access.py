"""Access opens what is asked of, once, keeps it fresh, and lets go of what has ended."""

import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from bridge.kernel.details import NoSuchProcess
from bridge.kernel.kernel import find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.machine import qmp
from bridge.machine.discovery import open_ram, stop_machine
from bridge.machine.errors import MachineError, NoSuchMachine
from bridge.machine.guest import Guest
from bridge.machine.manager import MachineManager
from bridge.machine.records import MachineRecord
from bridge.memory.dump import Dump
from bridge.memory.errors import GuestMemoryError, InvalidAddress
from bridge.memory.physical import PhysicalReader
from bridge.memory.ram import GuestRam
from bridge.semantic import access as access_module
from bridge.semantic.access import MAX_READ_BYTES, Access, Busy, NotKnown, TooMuch
from tests.bridge.semantic.interfaces.conftest import NAME


def test_what_it_tells_is_what_the_kernel_says(access: Access, demo_dump: Path) -> None:
    dump = Dump.open(demo_dump)
    seen = Introspector(find_kernel(PhysicalReader(dump))).look(frozen=True)
    sighting = access.sighting(NAME)
    assert sighting.processes is not None
    assert sighting.classes is not None
    assert sighting.processes.names == seen.processes.names
    assert (sighting.classes == seen.page_map.classes).all()
    with access.desk(NAME) as desk:
        assert (desk.snapshot.owners.pages == seen.owners.pages).all()
    assert access.ask(NAME, "command_lines", (1,))[1].startswith("init")
    assert access.read(NAME, 0x1000000, 64) == bytes(dump.bytes[0x1000000:0x1000040])
    with access.ram(NAME) as ram:
        assert ram.size_bytes == dump.size_bytes
    dump.close()


def test_what_is_not_there_or_too_much_is_refused(access: Access) -> None:
    with pytest.raises(NoSuchMachine, match=NAME):
        access.read("nobody", 0, 1)
    with pytest.raises(TooMuch):
        access.read(NAME, 0, MAX_READ_BYTES + 1)
    with pytest.raises(InvalidAddress):
        access.read(NAME, 1 << 40, 16)
    with pytest.raises(NoSuchProcess, match="no process 999"):
        access.ask(NAME, "maps", 999)


def test_many_may_ask_at_once_and_who_waits_too_long_is_told(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "WAIT_S", 600.0)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(len(access.ask(NAME, "slabs")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1
    monkeypatch.setattr(access_module, "WAIT_S", 0.01)
    told: list[Exception] = []

    def ask() -> None:
        try:
            access.ask(NAME, "modules")
        except Busy as error:
            told.append(error)

    with access.desk(NAME):
        other = threading.Thread(target=ask)
        other.start()
        other.join()
    assert "Ask again" in str(told[0])


def test_a_file_without_a_kernel_says_so_and_can_be_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "zeros.raw"
    path.write_bytes(bytes(4 << 20))
    opened = Access({"zeros": path, "gone": tmp_path / "gone.raw"})
    with pytest.raises(NotKnown, match="kernel"):
        opened.sighting("zeros")
    assert opened.read("zeros", 0, 4) == bytes(4)
    with pytest.raises(GuestMemoryError):
        opened.sighting("gone")
    assert [machine.name for machine in opened.machines()] == ["zeros", "gone"]
    opened.close()


@pytest.fixture
def own_runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("r")
    folder.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))


@pytest.mark.usefixtures("own_runtime")
def test_a_machine_that_hangs_holds_up_nobody_who_asks_of_another(
    demo_dump: Path, demo_guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = threading.Event(), threading.Event()

    def noted(record: MachineRecord) -> GuestRam:
        began.set()
        try:
            return open_ram(record)
        finally:
            ended.set()

    monkeypatch.setattr(access_module, "open_ram", noted)
    monkeypatch.setattr(qmp, "GREETING_TIMEOUT_S", 600.0)  # it hangs for as long as it is held
    opened = Access({NAME: demo_dump})
    opened.read(NAME, 0, 1)
    with MachineManager() as manager:
        machine = manager.launch(demo_guest, name="hangs")
        assert machine.info.pid is not None
        os.kill(machine.info.pid, signal.SIGSTOP)
        told: list[object] = []

        def ask() -> None:
            try:
                told.append(opened.read("hangs", 0, 1))
            except MachineError as error:
                told.append(error)

        asking = threading.Thread(target=ask)
        try:
            asking.start()
            assert began.wait(60)
            assert len(opened.read(NAME, 0, 16)) == 16
            assert not ended.is_set(), "the other machine still hangs"
        finally:
            os.kill(machine.info.pid, signal.SIGCONT)
            asking.join()
        assert len(told) == 1
        opened.close()


@pytest.mark.usefixtures("own_runtime")
def test_a_machine_that_ends_is_let_go_of_and_its_successor_is_another(demo_guest: Guest) -> None:
    manager = MachineManager()
    opened = Access()
    try:
        assert opened.names() == ()
        first = manager.launch(demo_guest, name="one")
        assert first.wait_ready(120)
        pids = opened.sighting("one").processes
        assert pids is not None
        assert "init" in pids.names
        assert opened.sighting("one", fresh_s=0).consistency in ("live", "retried")
        first.pause()
        before = opened.sighting("one", fresh_s=0).taken_s
        assert opened.sighting("one", fresh_s=600).taken_s == before  # fresh enough
        paused = opened.sighting("one", fresh_s=0)
        assert paused.taken_s > before
        assert paused.consistency == "frozen"
        stop_machine("one")
        with pytest.raises(NoSuchMachine):
            opened.sighting("one")
        second = manager.launch(demo_guest, name="one")
        assert second.wait_ready(120)
        assert second.ram is not None
        assert opened.read("one", 0x1000000, 4096) == bytes(np.asarray(second.ram.bytes[0x1000000:0x1001000]))
    finally:
        opened.close()
        manager.close()


def test_a_dump_that_is_cut_short_is_told_of_as_far_as_it_goes(demo_dump: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.raw"
    shutil.copyfile(demo_dump, path)
    with path.open("r+b") as file:
        file.truncate(12 << 20)  # the kernel lies behind
    opened = Access({"short": path})
    with pytest.raises(NotKnown):
        opened.sighting("short")
    assert len(opened.read("short", (12 << 20) - 16, 16)) == 16
    opened.close()
