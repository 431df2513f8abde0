"""Machines of other owners, orphans, detached ones and dead ones, with real QEMUs and a real killed Glassbox."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.machine import discovery, qmp, sockets
from bridge.machine.directories import runtime_dir
from bridge.machine.errors import MachineError, MachineOwned, NameTaken, NoSuchMachine, SocketTaken
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.machine.processes import ProcessIdentity
from bridge.machine.ram_file import trace_file_of
from bridge.machine.records import load_record
from bridge.machine.states import MachineState
from bridge.memory.errors import FileNotFound
from tests.bridge.machine.conftest import (
    COUNTER_ADDRESS,
    boot_time_of,
    counter_of,
    counting_guest,
    make_guest,
    state_of,
    wait_until,
)

# A Glassbox that starts the counting guest and then does nothing.
OTHER_GLASSBOX = """
import sys, threading
from pathlib import Path
from bridge.machine.manager import MachineManager
from tests.bridge.machine.conftest import counting_guest
manager = MachineManager(shared_memory=Path(sys.argv[2]))
machine = manager.launch(counting_guest(Path(sys.argv[1]), keeps_state=False), detach=sys.argv[3] == "detach")
assert machine.wait_ready(60)
print(machine.info.pid, flush=True)
if sys.argv[3] == "leave":
    manager.close()
elif sys.argv[3] == "detach":
    manager.close()
else:
    threading.Event().wait()
"""


class OtherGlassbox:
    def __init__(self, tmp_path: Path, shared_memory: Path, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER_GLASSBOX, str(tmp_path), str(shared_memory), how],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert self.process.stdout is not None
        self.qemu_pid = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def other(tmp_path: Path, shared_memory: Path, private_directories: Path) -> Iterator[OtherGlassbox]:
    glassbox = OtherGlassbox(tmp_path, shared_memory, "stay")
    yield glassbox
    glassbox.kill()
    assert glassbox.process.stdout is not None
    glassbox.process.stdout.close()
    for record in discovery.discover():
        discovery.stop_machine(record.name)
    discovery.remove_leftovers(shared_memory=shared_memory)
    assert ProcessIdentity.of(glassbox.qemu_pid) is None
    assert list(shared_memory.iterdir()) == []


def files_of(name: str) -> list[str]:
    return sorted(path.name for path in (runtime_dir() / name).iterdir())


def test_owned_machine_can_be_read_and_commanded(other: OtherGlassbox) -> None:
    record = discovery.find_record("counter")
    assert record.owner_alive
    assert record.qemu_alive
    assert record.owner is not None
    assert record.owner.pid == other.process.pid
    with discovery.open_ram(record) as ram:
        before = bytes(ram.read_physical(COUNTER_ADDRESS, 4))
        wait_until(lambda: bytes(ram.read_physical(COUNTER_ADDRESS, 4)) != before)
        discovery.command_machine("counter", "pause")
        frozen = bytes(ram.read_physical(COUNTER_ADDRESS, 4))
        time.sleep(0.02)
        assert bytes(ram.read_physical(COUNTER_ADDRESS, 4)) == frozen
        [summary] = discovery.summarise_machines()
        assert (summary.name, summary.state, summary.guest, summary.pid) == (
            "counter",
            "paused",
            "counter",
            other.qemu_pid,
        )
        assert summary.ownership == f"process {other.process.pid}"
        discovery.command_machine("counter", "resume")
        wait_until(lambda: bytes(ram.read_physical(COUNTER_ADDRESS, 4)) != frozen)
    [summary] = discovery.summarise_machines()
    assert summary.state == "running"
    assert summary.rss_bytes > 1 << 20
    with discovery.control("counter") as client:
        assert client.qmp("query-status")["status"] == "running"
    with MachineManager() as manager, pytest.raises(MachineOwned, match=str(other.process.pid)):
        manager.adopt("counter")
    with MachineManager() as manager, pytest.raises(NameTaken):
        manager.launch(make_guest(), name="counter")


def test_a_deleted_ram_file_is_told_by_the_list_and_by_the_owner(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(counting_guest(tmp_path, keeps_state=False))
    assert machine.wait_ready(60)
    assert discovery.summarise_machines()[0].message == ""
    assert machine.record is not None
    machine.record.ram_path.unlink()
    [summary] = discovery.summarise_machines()
    assert summary.state == "running"
    assert f"RAM file {machine.record.ram_path} was deleted" in summary.message
    wait_until(lambda: machine.info.message == summary.message)
    machine.pause()
    machine.resume()  # which clears what was said of the pause, but not this for long
    wait_until(lambda: machine.info.message == summary.message)
    assert machine.ram is not None
    before = bytes(machine.ram.read_physical(COUNTER_ADDRESS, 4))
    wait_until(lambda: machine.ram is not None and bytes(machine.ram.read_physical(COUNTER_ADDRESS, 4)) != before)


def test_stopping_a_machine_of_another_owner(other: OtherGlassbox) -> None:
    discovery.stop_machine("counter")
    assert discovery.discover() == ()
    assert not (runtime_dir() / "counter").exists()
    with pytest.raises(NoSuchMachine, match="No machine is running"):
        discovery.find_record("counter")
    assert other.process.poll() is None, "its owner lives on"


def test_orphan_is_found_adopted_and_stopped(other: OtherGlassbox, shared_memory: Path) -> None:
    other.kill()
    assert discovery.remove_leftovers(shared_memory=shared_memory) == ()
    [orphan] = discovery.orphans()
    assert orphan.name == "counter"
    assert orphan.ready
    assert discovery.summarise_machines()[0].ownership == "orphan"
    with MachineManager() as manager:
        machine = manager.adopt("counter")
        assert machine.info.pid == other.qemu_pid
        assert state_of(machine) is MachineState.RUNNING
        assert machine.ready
        position, history = machine.console.read_since(0)
        assert history.endswith(b"ready\n")
        machine.console.write(b"echo")
        wait_until(lambda: machine.console.read_since(position)[1] == b"echo")
        before = counter_of(machine)
        wait_until(lambda: counter_of(machine) != before)
        machine.pause()
        assert state_of(machine) is MachineState.PAUSED
        with pytest.raises(MachineOwned):
            manager.adopt("counter")
    assert ProcessIdentity.of(other.qemu_pid) is None
    assert not (runtime_dir() / "counter").exists()


def test_adopted_machine_that_crashes_is_noticed(other: OtherGlassbox) -> None:
    other.kill()
    with MachineManager() as manager:
        machine = manager.adopt("counter")
        os.kill(other.qemu_pid, signal.SIGKILL)
        wait_until(lambda: state_of(machine) is MachineState.CRASHED)
        assert "vanished" in machine.info.message
        assert not (runtime_dir() / "counter").exists()


def test_console_is_whole_across_adoption(other: OtherGlassbox) -> None:
    other.kill()
    expected = b""
    for round_number in range(4):
        with MachineManager() as manager:
            machine = manager.adopt("counter")
            start, history = machine.console.read_since(0)
            assert history.endswith(b"ready\n" + expected)
            typed = b"%d" % round_number * 50
            machine.console.write(typed)
            expected += typed
            wait_until(lambda: machine.console.read_since(start)[1] == typed)  # noqa: B023
            manager.detach("counter")


def test_dead_machine_of_a_dead_glassbox_is_removed(other: OtherGlassbox, shared_memory: Path) -> None:
    other.kill()
    os.kill(other.qemu_pid, signal.SIGKILL)
    wait_until(lambda: ProcessIdentity.of(other.qemu_pid) is None)
    assert discovery.discover() == ()
    assert len(list(shared_memory.glob("*.ram"))) == 1
    assert discovery.remove_leftovers(shared_memory=shared_memory) == ("counter",)
    assert not (runtime_dir() / "counter").exists()
    assert list(shared_memory.iterdir()) == []


def test_launch_takes_the_name_of_a_dead_machine(other: OtherGlassbox, shared_memory: Path) -> None:
    other.kill()
    os.kill(other.qemu_pid, signal.SIGKILL)
    wait_until(lambda: ProcessIdentity.of(other.qemu_pid) is None)
    with MachineManager(shared_memory=shared_memory) as manager:
        assert manager.launch(make_guest(), name="counter").name == "counter"
        assert len(list(shared_memory.glob("*.ram"))) == 1


def test_dead_qemu_of_a_living_owner_is_left_to_the_owner(other: OtherGlassbox, shared_memory: Path) -> None:
    os.kill(other.process.pid, signal.SIGSTOP)
    os.kill(other.qemu_pid, signal.SIGKILL)
    wait_until(lambda: ProcessIdentity.of(other.qemu_pid) is None)
    assert discovery.discover() == ()
    assert discovery.remove_leftovers(shared_memory=shared_memory) == ()
    assert (runtime_dir() / "counter").exists()
    os.kill(other.process.pid, signal.SIGCONT)
    wait_until(lambda: not (runtime_dir() / "counter").exists())


def test_qemu_that_hangs_is_killed(other: OtherGlassbox, monkeypatch: pytest.MonkeyPatch) -> None:
    other.kill()
    os.kill(other.qemu_pid, signal.SIGSTOP)
    monkeypatch.setattr(qmp, "GREETING_TIMEOUT_S", 0.3)
    begin = time.monotonic()
    assert discovery.summarise_machines()[0].state == "not answering"
    with MachineManager() as manager:
        with pytest.raises(SocketTaken, match="said nothing"):
            manager.adopt("counter")
        assert manager.machines() == ()
    discovery.stop_machine("counter", timeout_s=0.2)
    assert time.monotonic() - begin < 30
    assert discovery.discover() == ()
    assert not (runtime_dir() / "counter").exists()


def test_detached_machine_outlives_its_glassbox(tmp_path: Path, shared_memory: Path) -> None:
    glassbox = OtherGlassbox(tmp_path, shared_memory, "detach")
    assert glassbox.process.stdout is not None
    glassbox.process.stdout.close()
    assert glassbox.process.wait() == 0
    [record] = discovery.discover()
    assert record.detached
    assert record.owner is None
    assert discovery.summarise_machines()[0].ownership == "detached"
    with MachineManager() as manager:
        machine = manager.adopt("counter")
        boot_time = boot_time_of(machine)
    assert discovery.find_record("counter").qemu_alive, "closing an adopted one that was detached leaves it running"
    with MachineManager() as manager:
        machine = manager.adopt("counter")
        assert boot_time_of(machine) == boot_time
        manager.detach("counter")
        assert manager.machines() == ()
    discovery.stop_machine("counter")
    assert discovery.discover() == ()
    assert list(shared_memory.iterdir()) == []


def test_ordinary_end_of_a_glassbox_ends_its_machines(tmp_path: Path, shared_memory: Path) -> None:
    glassbox = OtherGlassbox(tmp_path, shared_memory, "leave")
    assert glassbox.process.stdout is not None
    glassbox.process.stdout.close()
    assert glassbox.process.wait() == 0
    assert discovery.discover() == ()
    assert list(shared_memory.iterdir()) == []
    assert ProcessIdentity.of(glassbox.qemu_pid) is None


def test_glassbox_killed_while_starting_qemu(manager: MachineManager, tmp_path: Path, shared_memory: Path) -> None:
    # The moment between QEMU's start and its pid being written down: the record knows of no QEMU.
    machine = manager.launch(counting_guest(tmp_path))
    record = machine.record
    assert record is not None
    record.replace(qemu=None, owner=None).save()
    assert discovery.remove_leftovers(shared_memory=shared_memory) == ()
    found = load_record(record.directory)
    assert found is not None
    assert found.qemu == record.qemu
    record.save()


def test_a_trace_goes_with_its_ram_file(manager: MachineManager, shared_memory: Path) -> None:
    machine = manager.launch(make_guest())
    assert machine.record is not None
    trace = trace_file_of(machine.record.ram_path)
    assert trace.exists() == (machine.trace is not None)
    stray = shared_memory / trace.name.replace("bare", "gone")
    stray.touch()
    other = shared_memory / "somebody.trace"
    other.touch()
    assert discovery.remove_leftovers(shared_memory=shared_memory) == (stray.name,)
    assert trace.exists()
    other.unlink()
    machine.stop()
    assert not trace.exists()


def test_stray_files_go_and_those_in_use_stay(manager: MachineManager, shared_memory: Path) -> None:
    machine = manager.launch(make_guest())
    assert machine.record is not None
    own = os.getuid()
    stray, young, used, foreign = (
        shared_memory / name
        for name in (
            f"glassbox-{own}-gone-00000001.ram",
            f"glassbox-{own}-young-00000002.ram",
            f"glassbox-{own}-used-00000003.ram",
            "glassbox-something-else",
        )
    )
    for path in (stray, young, used, foreign):
        path.write_bytes(b"x")
    for path in (stray, used, foreign, machine.record.ram_path):
        os.utime(path, (1, 1))
    (runtime_dir() / "empty").mkdir()
    with used.open("rb"):
        assert set(discovery.remove_leftovers(shared_memory=shared_memory)) == {stray.name}
    assert not (runtime_dir() / "empty").exists()
    own_files = [machine.record.ram_path, trace_file_of(machine.record.ram_path)]
    assert sorted(shared_memory.iterdir()) == sorted([*own_files, young, used, foreign])
    assert machine.qmp("query-status")["running"] is True
    # Mapped, with its descriptor closed, is in use as well.
    with used.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 1)
    assert discovery.remove_leftovers(shared_memory=shared_memory) == ()
    mapping.close()
    assert discovery.remove_leftovers(shared_memory=shared_memory) == (used.name,)
    for path in (young, foreign):
        path.unlink()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 1}', "[" * 100_000, "x" * 200_000])
def test_record_that_makes_no_sense_is_a_leftover(private_directories: Path, shared_memory: Path, text: str) -> None:
    directory = runtime_dir() / "strange"
    directory.mkdir()
    (directory / "machine.json").write_text(text)
    assert discovery.discover() == ()
    discovery.remove_leftovers(shared_memory=shared_memory)
    assert not directory.exists()


def test_record_cannot_make_us_remove_other_files(
    private_directories: Path, shared_memory: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    directory = runtime_dir() / "evil"
    directory.mkdir()
    document = {"version": 1, "name": "evil", "guest": "x", "ram_path": str(precious), "ram_bytes": 1}
    document |= {"accelerator": "tcg", "accelerator_reason": "", "detached": False, "warm": False, "ready": False}
    document |= {"ready_marker": None, "started_at_s": 0.0, "qemu": None, "owner": None}
    (directory / "machine.json").write_text(json.dumps(document))
    (directory / "link").symlink_to(tmp_path)
    discovery.remove_leftovers(shared_memory=shared_memory)
    assert precious.exists()
    assert not directory.exists()


def test_reused_pid_is_not_taken_for_qemu(manager: MachineManager) -> None:
    machine = manager.launch(make_guest())
    record = machine.record
    assert record is not None
    assert record.qemu is not None
    earlier = ProcessIdentity(record.qemu.pid, record.qemu.start_ticks - 1, record.qemu.boot)
    other_boot = ProcessIdentity(record.qemu.pid, record.qemu.start_ticks, "another boot")
    for stale in (earlier, other_boot):
        assert not stale.alive
        assert stale.open_pidfd() is None
    assert record.qemu.alive
    assert machine.qmp("query-status")["running"] is True


def test_unknown_machine(private_directories: Path) -> None:
    for name in ("nobody", "../x", ""):
        with pytest.raises(NoSuchMachine), discovery.control(name):
            pass
        with MachineManager() as manager, pytest.raises(NoSuchMachine):
            manager.adopt(name)
    with pytest.raises(NoSuchMachine):
        discovery.stop_machine("nobody")
    assert discovery.summarise_machines() == ()


def test_removed_ram_file_is_told_and_harms_nobody(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(counting_guest(tmp_path, keeps_state=False))
    assert machine.record is not None
    machine.record.ram_path.unlink()
    with pytest.raises(FileNotFound):
        discovery.open_ram(machine.record)
    before = counter_of(machine)
    wait_until(lambda: counter_of(machine) != before)
    machine.stop()
    assert state_of(machine) is MachineState.STOPPED


def test_two_visitors_at_once_take_turns(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    manager.launch(make_guest())
    with discovery.control("bare") as first, monkeypatch.context() as patch:
        assert first.qmp("query-status")["running"] is True
        patch.setattr(qmp, "GREETING_TIMEOUT_S", 0.3)
        with pytest.raises(SocketTaken), discovery.control("bare"):
            pass
    with discovery.control("bare") as second:
        assert second.qmp("query-status")["running"] is True


def test_lock_held_by_a_hanging_glassbox_is_told(private_directories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.machine.records import runtime_lock

    monkeypatch.setattr("bridge.machine.records._LOCK_WAIT_S", 0.05)
    with runtime_lock(), pytest.raises(MachineError, match="seems to hang"), runtime_lock():
        pass


def test_adopting_what_cannot_be_reached_leaves_it_as_it_was(
    other: OtherGlassbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.kill()
    (runtime_dir() / "counter" / "console.sock").unlink()
    with MachineManager() as manager:
        with pytest.raises(MachineError, match="console"):
            manager.adopt("counter")
        assert manager.machines() == ()
    record = discovery.find_record("counter")
    assert record.owner is None
    assert record.qemu_alive
    assert "qmp.sock" in files_of("counter")
    with discovery.control("counter") as client:
        assert client.qmp("query-status")["status"] == "running"


VALID_RECORD: dict[str, Any] = {
    "version": 1,
    "name": "m",
    "guest": "g",
    "ram_path": f"/dev/shm/glassbox-{os.getuid()}-m-01234567.ram",
    "ram_bytes": 4096,
    "accelerator": "tcg",
    "accelerator_reason": "",
    "detached": False,
    "warm": False,
    "ready": False,
    "ready_marker": "00ff",
    "started_at_s": 1.5,
    "qemu": [1, 2, "boot"],
    "owner": None,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(VALID_RECORD)), value=JSON)
def test_record_is_read_or_refused_whatever_is_in_it(tmp_path: Path, key: str, value: Any) -> None:
    directory = tmp_path / "m"
    directory.mkdir(exist_ok=True)
    (directory / "machine.json").write_text(json.dumps(VALID_RECORD))
    valid = load_record(directory)
    assert valid is not None
    assert valid.ready_marker == b"\x00\xff"
    (directory / "machine.json").write_text(json.dumps({**VALID_RECORD, key: value}))
    record = load_record(directory)
    if record is not None:
        assert record.name == "m"
        assert record.ram_path.name.startswith(f"glassbox-{os.getuid()}-")
        record.save()
        assert load_record(directory) == record


def test_orphan_that_was_being_resumed_cannot_be_adopted(other: OtherGlassbox, monkeypatch: pytest.MonkeyPatch) -> None:
    other.kill()

    async def status(_: object) -> str:
        return "inmigrate"

    with monkeypatch.context() as patch, MachineManager() as manager:
        patch.setattr(qmp.QmpConnection, "status", status)
        with pytest.raises(MachineError, match="Stop it"):
            manager.adopt("counter")
    discovery.stop_machine("counter")


def test_adopting_a_dead_machine_removes_it(other: OtherGlassbox) -> None:
    other.kill()
    os.kill(other.qemu_pid, signal.SIGKILL)
    wait_until(lambda: ProcessIdentity.of(other.qemu_pid) is None)
    with MachineManager() as manager, pytest.raises(NoSuchMachine):
        manager.adopt("counter")
    assert not (runtime_dir() / "counter").exists()


def test_paused_orphan_stays_paused(other: OtherGlassbox) -> None:
    discovery.command_machine("counter", "pause")
    other.kill()
    with MachineManager() as manager:
        machine: Machine = manager.adopt("counter")
        assert state_of(machine) is MachineState.PAUSED
        machine.resume()
        assert state_of(machine) is MachineState.RUNNING


def test_sockets_reach_any_path(private_directories: Path) -> None:
    path = runtime_dir() / "x.sock"
    assert len(str(path)) > 107
    server = sockets.listen(path)
    client = sockets.connect(path)
    assert sockets.peer_pid(client) == os.getpid()
    for each in (client, server):
        each.close()
    with pytest.raises(FileNotFoundError):
        sockets.connect(runtime_dir() / "none.sock")
    with pytest.raises(OSError, match="in use"):
        sockets.listen(path)
