"""Warm start: a guest goes on from where it was, and a state that cannot be used costs no more than a boot."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from bridge.machine import discovery, warm
from bridge.machine.command_line import board_arguments
from bridge.machine.directories import cache_dir
from bridge.machine.errors import QmpTimeout
from bridge.machine.guest import MIB, Guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.machine.qemu_binary import find_qemu
from bridge.machine.qmp import QmpConnection
from bridge.machine.states import MachineEvent, MachineState
from tests.bridge.machine.conftest import (
    boot_time_of,
    counter_of,
    counting_guest,
    floppy_guest,
    make_guest,
    state_of,
    wait_until,
)


def launch_and_save(manager: MachineManager, guest: Guest, *, cold: bool = False) -> tuple[Machine, MachineEvent]:
    saved: list[MachineEvent] = []
    unsubscribe = manager.subscribe(
        lambda event: saved.append(event) if event.kind in ("SAVED", "SAVE_FAILED") else None
    )
    machine = manager.launch(guest, cold=cold)
    assert not machine.info.warm
    assert machine.wait_ready(60)
    wait_until(lambda: bool(saved))
    unsubscribe()
    return machine, saved[0]


def test_second_start_goes_on_where_the_first_was(manager: MachineManager, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path)
    first, saved = launch_and_save(manager, guest)
    for _ in range(5):  # one quiet try of a few counts
        assert saved.kind == "SAVED"
        if saved.detail["paused_s"] < 1:
            break
        first.stop()
        first, saved = launch_and_save(manager, guest, cold=True)
    assert saved.detail["paused_s"] < 1
    wait_until(lambda: counter_of(first) > 0)
    boot_time = boot_time_of(first)
    console = first.console.read_since(0)
    first.stop()
    second = manager.launch(guest)
    assert second.info.warm
    assert second.ready
    assert second.wait_ready(0)
    assert boot_time_of(second) == boot_time, "it was booted, not resumed"
    assert second.console.read_since(0) == console
    before = counter_of(second)
    wait_until(lambda: counter_of(second) != before)
    second.console.write(b"hello")
    wait_until(lambda: second.console.read_since(console[0])[1] == b"hello")


def test_saving_is_not_seen(manager: MachineManager, tmp_path: Path) -> None:
    events: list[MachineEvent] = []
    manager.subscribe(events.append)
    machine, _ = launch_and_save(manager, counting_guest(tmp_path))
    assert [event.kind for event in events] == ["STATE", "RESUME", "STATE", "READY", "SAVED"]
    assert state_of(machine) is MachineState.RUNNING
    assert machine.qmp("query-status")["running"] is True
    before = counter_of(machine)
    wait_until(lambda: counter_of(machine) != before)
    assert machine.record is not None
    assert not (machine.record.directory / warm.DEVICES_FILE).exists()


def test_cold_boots_anew_and_saves_anew(manager: MachineManager, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path)
    first, _ = launch_and_save(manager, guest)
    boot_time = boot_time_of(first)
    first.stop()
    saved = threading.Event()
    manager.subscribe(lambda event: saved.set() if event.kind == "SAVED" else None)
    second = manager.launch(guest, cold=True)
    assert not second.info.warm
    assert second.wait_ready(60)
    assert boot_time_of(second) != boot_time
    assert saved.wait(60)
    newer = boot_time_of(second)
    second.stop()
    third = manager.launch(guest)
    assert third.info.warm
    assert boot_time_of(third) == newer


@pytest.mark.parametrize("name", ["ram.bin", "index.bin", "devices.bin", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_broken_state_means_a_cold_boot_and_is_replaced(
    manager: MachineManager, tmp_path: Path, name: str, damage: str
) -> None:
    guest = counting_guest(tmp_path)
    first, _ = launch_and_save(manager, guest)
    boot_time = boot_time_of(first)
    first.stop()
    [state] = [path for path in (cache_dir() / "states").iterdir() if not path.name.startswith(".")]
    damaged = state / name
    data = damaged.read_bytes()
    if damage == "cut":
        damaged.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        damaged.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x80]) + data[len(data) // 2 + 1 :])
    else:
        damaged.unlink()
    second, saved = launch_and_save(manager, guest)
    assert saved.kind == "SAVED"
    assert "Booted anew" in second.info.message
    assert str(state) in second.info.message
    assert boot_time_of(second) != boot_time
    second.stop()
    assert manager.launch(guest).info.warm


def test_state_that_qemu_refuses_means_a_cold_boot(manager: MachineManager, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path)
    first, _ = launch_and_save(manager, guest)
    first.stop()
    # Whole by its checksums, but of another board: as if QEMU had changed without its version telling.
    [own] = (cache_dir() / "states").iterdir()
    elsewhere, _ = launch_and_save(manager, dataclasses.replace(guest, name="other", machine_type="q35"))
    elsewhere.stop()
    [other] = set((cache_dir() / "states").iterdir()) - {own}
    shutil.rmtree(own)
    other.rename(own)
    second, saved = launch_and_save(manager, guest)
    assert "Booted anew" in second.info.message
    assert "QEMU" in second.info.message
    assert saved.kind == "SAVED"


def test_key_changes_with_all_that_matters(tmp_path: Path) -> None:
    qemu = find_qemu()
    guest = counting_guest(tmp_path)

    def key(guest: Guest, ram_bytes: int = 32 * MIB, network: bool = False, kvm: bool = False) -> str:
        accelerator = "kvm" if kvm else "tcg"
        board = board_arguments(guest, ram_bytes=ram_bytes, accelerator=accelerator, network=network)  # type: ignore[arg-type]
        return warm.key_of(guest, board, qemu, accelerator)  # type: ignore[arg-type]

    keys = [
        key(guest),
        key(guest, ram_bytes=33 * MIB),
        key(guest, network=True),
        key(guest, kvm=True),
        key(counting_guest(tmp_path, cpus=2)),
        key(counting_guest(tmp_path, append="quiet")),
        key(counting_guest(tmp_path, machine_type="q35")),
        key(counting_guest(tmp_path, ready_marker=b"other")),
    ]
    os.utime(tmp_path / "counter.elf", ns=(1, 1))
    keys.append(key(guest))
    assert len(set(keys)) == len(keys)
    assert key(guest) == keys[-1]


def test_guests_that_write_to_media_are_not_kept(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512))
    assert warm.can_keep_state(counting_guest(tmp_path))
    assert not warm.can_keep_state(counting_guest(tmp_path, disk=disk))
    assert not warm.can_keep_state(floppy_guest(tmp_path, b"", keeps_state=True, ready_marker=b"x"))
    assert not warm.can_keep_state(counting_guest(tmp_path, ready_marker=None))
    assert not warm.can_keep_state(make_guest())


def test_killed_or_stopped_at_any_moment_of_saving(manager: MachineManager, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path)
    states = cache_dir() / "states"
    for moment in range(12):
        machine = manager.launch(guest, cold=True)
        assert machine.info.pid is not None
        assert machine.wait_ready(60)
        time.sleep(moment * 0.002)
        if moment % 2:
            machine.stop()
        else:
            os.kill(machine.info.pid, signal.SIGKILL)
            wait_until(lambda: state_of(machine) is MachineState.CRASHED)  # noqa: B023
        assert machine.record is not None
        assert not machine.record.directory.exists()
    # Whatever was kept is whole.
    machine = manager.launch(guest)
    assert machine.wait_ready(60)
    assert machine.info.message == ""
    with contextlib.suppress(FileNotFoundError):
        assert len([path for path in states.iterdir() if not path.name.startswith(".")]) <= 1


def test_detached_while_saving_goes_on(manager: MachineManager, tmp_path: Path) -> None:
    for moment in range(12):
        machine = manager.launch(counting_guest(tmp_path), cold=True, name=f"m{moment}")
        assert machine.wait_ready(60)
        time.sleep(moment * 0.001)
        manager.detach(machine.name)
        adopted = manager.adopt(machine.name)
        assert state_of(adopted) is MachineState.RUNNING
        assert adopted.wait_ready(60)
        before = counter_of(adopted)
        wait_until(lambda: counter_of(adopted) != before)  # noqa: B023
        if moment % 2:
            adopted.stop()
            continue
        assert adopted.info.pid is not None
        os.kill(adopted.info.pid, signal.SIGKILL)
        wait_until(lambda: state_of(adopted) is MachineState.CRASHED)  # noqa: B023
        assert "SIGKILL" in adopted.info.message


def test_adopting_a_machine_whose_owner_was_killed_while_saving_it(manager: MachineManager, tmp_path: Path) -> None:
    manager.launch(counting_guest(tmp_path, keeps_state=False))
    for _ in range(10):
        manager.detach("counter")
        # What a saving owner has done when it is killed. Its RAM, which is not ignored here, takes a while to write.
        with discovery.control("counter") as client:
            client.qmp("stop")
            client.qmp("migrate", uri=f"file:{tmp_path}/state")
        machine = manager.adopt("counter")
        assert state_of(machine) is MachineState.RUNNING
        before = counter_of(machine)
        wait_until(lambda: counter_of(machine) != before)  # noqa: B023
        time.sleep(0.05)
        assert machine.qmp("query-status")["running"] is True


def test_too_little_memory_to_save_is_only_told(
    manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = psutil.virtual_memory()._replace(available=1 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    machine, event = launch_and_save(manager, counting_guest(tmp_path))
    assert event.kind == "SAVE_FAILED"
    assert "quarter of the memory" in event.detail["message"]
    assert state_of(machine) is MachineState.RUNNING
    assert machine.qmp("query-status")["running"] is True
    assert not (cache_dir() / "states").exists()


def test_guest_that_cannot_go_on_after_saving_is_told_to_be_paused(
    manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(connection: QmpConnection) -> None:
        raise QmpTimeout(connection.machine, "cont", 5)

    monkeypatch.setattr(QmpConnection, "let_go_on", refuse)
    machine, event = launch_and_save(manager, counting_guest(tmp_path))
    assert event.kind == "SAVE_FAILED"
    assert state_of(machine) is MachineState.PAUSED
    assert "Resume it" in machine.info.message
    machine.resume()
    assert state_of(machine) is MachineState.RUNNING


def test_no_room_for_the_state_is_only_told(
    manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache_dir() / "states").write_bytes(b"a file where the directory should be")
    machine, event = launch_and_save(manager, counting_guest(tmp_path))
    assert event.kind == "SAVE_FAILED"
    assert "states" in event.detail["message"]
    assert state_of(machine) is MachineState.RUNNING
