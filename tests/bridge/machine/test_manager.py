"""A machine's life, from launch to nothing left, with real QEMUs."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from pathlib import Path

import psutil
import pytest

from bridge.machine.errors import (
    LaunchCancelled,
    MachineError,
    MachineGone,
    NameInvalid,
    NameTaken,
    NoSuchMachine,
    QemuFailed,
    QmpCommandFailed,
    QmpTimeout,
    RamSizeInvalid,
    WrongThread,
)
from bridge.machine.manager import MachineManager
from bridge.machine.states import MachineEvent, MachineState
from tests.bridge.machine.conftest import (
    PRINT_READY,
    counter_of,
    counting_guest,
    floppy_guest,
    make_guest,
    state_of,
    wait_until,
)


def test_launch_gives_a_running_machine_with_its_ram(manager: MachineManager) -> None:
    steps: list[tuple[str, float]] = []
    machine = manager.launch(make_guest(), progress=lambda step, fraction: steps.append((step, fraction)))
    info = machine.info
    assert (info.name, info.guest, info.state, info.attached, info.warm) == (
        "bare",
        "bare",
        MachineState.RUNNING,
        False,
        False,
    )
    assert info.accelerator_reason
    assert machine.ram is not None
    assert machine.ram.size_bytes == info.ram_bytes == 32 << 20
    assert stat.S_IMODE(machine.ram.path.stat().st_mode) == 0o600
    assert manager.get("bare") is machine
    assert [fraction for _, fraction in steps] == sorted(fraction for _, fraction in steps)
    assert steps[-1][1] == 1.0
    usage = machine.usage()
    assert usage.rss_bytes > 1 << 20
    assert 0 <= usage.uptime_s < 60


def test_the_guest_boots_and_prints(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(floppy_guest(tmp_path, PRINT_READY, ready_marker=b"ready\n"))
    assert machine.wait_ready(60)
    position, data = machine.console.read_since(0)
    assert data.endswith(b"ready\n")
    assert position == machine.console.position
    assert machine.ram is not None
    assert bytes(machine.ram.read_physical(0x7C00, len(PRINT_READY))) == PRINT_READY


def test_state_is_exact_after_every_command(manager: MachineManager) -> None:
    machine = manager.launch(make_guest())
    events: list[MachineEvent] = []
    machine.subscribe(events.append)
    for _ in range(20):
        machine.pause()
        assert state_of(machine) is MachineState.PAUSED
        assert machine.qmp("query-status")["status"] == "paused"
        machine.resume()
        assert state_of(machine) is MachineState.RUNNING
        assert machine.qmp("query-status")["status"] == "running"
    machine.pause()
    machine.pause()
    machine.resume()
    machine.resume()
    machine.reset()
    wait_until(lambda: any(event.kind == "RESET" for event in events))  # QEMU resets after it has answered
    kinds = [event.kind for event in events if event.kind != "STATE"]
    assert kinds == ["STOP", "RESUME"] * 21 + ["RESET"]
    states = [event.detail["state"] for event in events if event.kind == "STATE"]
    assert states == ["paused", "running"] * 21


def test_held_guest_stands_still_and_goes_on_if_it_ran(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(counting_guest(tmp_path, keeps_state=False))
    assert machine.wait_ready(60)
    with machine.held():
        assert state_of(machine) is MachineState.PAUSED
        frozen = counter_of(machine)
        time.sleep(0.02)
        assert counter_of(machine) == frozen
    assert state_of(machine) is MachineState.RUNNING
    wait_until(lambda: counter_of(machine) != frozen)
    machine.pause()
    with machine.held():
        pass
    assert state_of(machine) is MachineState.PAUSED
    machine.resume()
    with machine.held():
        machine.stop()
    assert state_of(machine) is MachineState.STOPPED


def test_briefly_held_guest_stands_still_and_nobody_is_told(manager: MachineManager, tmp_path: Path) -> None:
    machine = manager.launch(counting_guest(tmp_path, keeps_state=False))
    assert machine.wait_ready(60)
    events: list[MachineEvent] = []
    machine.subscribe(events.append)
    with machine.briefly_held():
        frozen = counter_of(machine)
        time.sleep(0.02)
        assert counter_of(machine) == frozen
        pausing = threading.Thread(target=machine.pause)
        pausing.start()
    pausing.join()
    assert state_of(machine) is MachineState.PAUSED, "what was asked for meanwhile is done afterwards"
    with machine.briefly_held():
        pass
    assert state_of(machine) is MachineState.PAUSED
    machine.resume()
    wait_until(lambda: counter_of(machine) != frozen)
    with pytest.raises(RuntimeError), machine.briefly_held():
        raise RuntimeError
    assert machine.qmp("query-status")["status"] == "running"
    assert [event.kind for event in events if event.kind != "STATE"] == ["STOP", "RESUME"]


def test_memory_map_follows_the_firmware(
    manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.machine.machine._MAP_SETTLED_S", 0.3)
    machine = manager.launch(floppy_guest(tmp_path, PRINT_READY))  # no marker: nothing tells when it is up
    assert machine.ram is not None
    at_first = machine.ram.physical_map
    # The firmware copies itself to RAM below 1 MiB and makes that visible.
    wait_until(lambda: machine.ram is not None and machine.ram.physical_map.regions != at_first.regions)
    wait_until(lambda: machine.console.read_since(0)[1].endswith(b"ready\n"))  # by then it is done with that
    machine.refresh_physical_map()
    settled = machine.ram.physical_map
    machine.ram.physical_map = at_first
    machine.reset()
    wait_until(lambda: machine.ram is not None and machine.ram.physical_map.regions == settled.regions)
    machine.ram.physical_map = at_first
    machine.refresh_physical_map()
    assert machine.ram.physical_map.regions == settled.regions


def test_stop_leaves_nothing_and_is_idempotent(manager: MachineManager, private_directories: Path) -> None:
    machine = manager.launch(make_guest())
    assert machine.ram is not None
    path = machine.ram.path
    threads = [threading.Thread(target=machine.stop) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    machine.stop()
    assert state_of(machine) is MachineState.STOPPED
    assert not path.exists()
    assert not list((private_directories / "glassbox").glob("[a-z]*"))
    for act in (machine.pause, machine.resume, machine.reset):
        with pytest.raises(MachineGone, match="has ended"):
            act()
    with pytest.raises(MachineGone):
        machine.console.write(b"x")
    assert machine.usage().rss_bytes == 0
    manager.remove("bare")
    with pytest.raises(NoSuchMachine):
        manager.get("bare")


def test_killed_qemu_is_noticed_at_once(manager: MachineManager) -> None:
    machine = manager.launch(make_guest())
    crashed = threading.Event()
    machine.subscribe(lambda event: crashed.set() if event.kind == "CRASH" else None)
    assert machine.info.pid is not None
    os.kill(machine.info.pid, signal.SIGKILL)
    assert crashed.wait(60)
    wait_until(lambda: machine.info.state is MachineState.CRASHED)
    assert "SIGKILL" in machine.info.message
    assert not machine.wait_ready(0)
    again = manager.launch(make_guest())
    assert again.name == "bare"
    assert manager.machines() == (again,)


def test_stopped_qemu_times_out_and_can_be_stopped(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = manager.launch(make_guest())
    assert machine.info.pid is not None
    os.kill(machine.info.pid, signal.SIGSTOP)
    monkeypatch.setattr("bridge.machine.machine.Machine.execute.__defaults__", (None, 0.2))
    with pytest.raises(QmpTimeout, match="query-status"):
        machine.qmp("query-status")
    begin = time.monotonic()
    machine.stop(timeout_s=1)
    assert time.monotonic() - begin < 30
    assert state_of(machine) is MachineState.STOPPED


def test_names_are_unique_and_checked(manager: MachineManager) -> None:
    first, second, third = (manager.launch(make_guest(name="My Guest!")) for _ in range(3))
    assert [machine.name for machine in (first, second, third)] == ["my-guest-", "my-guest--2", "my-guest--3"]
    with pytest.raises(NameTaken):
        manager.launch(make_guest(), name=second.name)
    for bad in ("", "../x", "A", "-x", "a" * 33, "a/b", "ä"):
        with pytest.raises(NameInvalid):
            manager.launch(make_guest(), name=bad)
    assert {machine.info.state for machine in manager.machines()} == {MachineState.RUNNING}


@pytest.mark.parametrize("ram_bytes", [0, (32 << 20) + 4096, 9 << 30, -(1 << 20)])
def test_impossible_ram_is_refused(manager: MachineManager, ram_bytes: int) -> None:
    with pytest.raises(RamSizeInvalid, match="whole MiB"):
        manager.launch(make_guest(), ram_bytes=ram_bytes)


def test_qmp_errors_are_typed(manager: MachineManager) -> None:
    machine = manager.launch(make_guest())
    with pytest.raises(QmpCommandFailed, match="has not been found") as caught:
        machine.qmp("no-such-command")
    assert caught.value.error_class == "CommandNotFound"
    errors: list[BaseException] = []

    def call_back(event: MachineEvent) -> None:
        try:
            machine.qmp("query-status")
        except MachineError as error:
            errors.append(error)

    machine.subscribe(call_back)
    machine.reset()
    wait_until(lambda: bool(errors))
    assert isinstance(errors[0], WrongThread)


def test_failing_subscriber_harms_nobody(manager: MachineManager, caplog: pytest.LogCaptureFixture) -> None:
    machine = manager.launch(make_guest())

    def fail(event: MachineEvent) -> None:
        raise ValueError("a fault of the subscriber's")

    seen: list[MachineEvent] = []
    unsubscribe_failing = machine.subscribe(fail)
    unsubscribe = manager.subscribe(seen.append)
    machine.pause()
    assert state_of(machine) is MachineState.PAUSED
    assert "a fault of the subscriber's" in caplog.text
    unsubscribe_failing()
    unsubscribe()
    unsubscribe()
    count = len(seen)
    assert count == 2
    machine.resume()
    assert len(seen) == count


def test_launch_can_be_cancelled(manager: MachineManager) -> None:
    with pytest.raises(LaunchCancelled):
        manager.launch(make_guest(), cancelled=lambda: True)
    assert manager.machines() == ()


def test_quick_cycles_leave_nothing(manager: MachineManager) -> None:
    guest = make_guest(ram_bytes=16 << 20)
    cancelled = 0
    for cycle in range(100):
        # Given up at every moment of a start, of which a whole one takes some 40 ms.
        deadline = time.monotonic() + (cycle * 0.0005 if cycle % 2 else 60)
        try:
            machine = manager.launch(guest, cancelled=lambda: time.monotonic() > deadline)  # noqa: B023
        except LaunchCancelled:
            cancelled += 1
            continue
        if cycle % 4 == 0:
            machine.stop()
            continue
        assert machine.info.pid is not None
        os.kill(machine.info.pid, signal.SIGKILL)
        wait_until(lambda: state_of(machine) is MachineState.CRASHED)  # noqa: B023
    assert cancelled > 10


def test_qemu_killed_at_every_moment_of_its_start(manager: MachineManager, private_directories: Path) -> None:
    guest = make_guest(ram_bytes=16 << 20)
    errors: list[QemuFailed] = []
    others = set(psutil.Process().children())  # of other tests in this process
    for delay_ms in range(0, 40, 2):
        started: list[int] = []

        def kill(delay_s: float = delay_ms / 1000, started: list[int] = started) -> None:
            wait_until(lambda: bool(set(psutil.Process().children()) - others))
            time.sleep(delay_s)
            for child in set(psutil.Process().children()) - others:
                started.append(child.pid)
                child.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            machine = manager.launch(guest)
        except QemuFailed as error:
            errors.append(error)
        else:
            wait_until(lambda: state_of(machine) is MachineState.CRASHED)  # noqa: B023
        killer.join()
        assert started
        assert not list((private_directories / "glassbox").glob("[a-z]*"))
    assert len(errors) > 3
    assert {error.exit_code for error in errors} == {-signal.SIGKILL}
    assert all("killed by SIGKILL while it started" in str(error) for error in errors)


def test_a_machine_whose_end_somebody_saw_first_is_let_go_all_the_same(manager: MachineManager) -> None:
    machine = manager.launch(make_guest())

    def forget(event: MachineEvent) -> None:
        if machine.info.state.ended:
            manager.remove(event.machine)

    machine.subscribe(forget)
    manager.detach(machine.name)
    assert machine.name not in [one.name for one in manager.machines()]
    manager.adopt(machine.name).stop()
