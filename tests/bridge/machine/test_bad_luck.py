"""What a user's machine does to us: no room, no QEMU, no good kernel, a lock, a link in the way."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bridge.machine import bounded_log, ram_file, records, sockets
from bridge.machine.background import acquire_loop, release_loop
from bridge.machine.directories import runtime_dir
from bridge.machine.errors import (
    LaunchCancelled,
    MachineError,
    NameTaken,
    QemuFailed,
    QemuMissing,
    ShmFull,
    UnsafeDirectory,
    WrongThread,
    describe_exit,
)
from bridge.machine.guest import MIB
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.machine.processes import ProcessIdentity
from bridge.machine.qemu_binary import find_qemu
from bridge.machine.states import MachineState
from tests.bridge.machine.conftest import counter_of, counting_guest, make_guest, state_of, wait_until

FAKE_QEMU = """#!/bin/sh
[ "$1" = --version ] && { echo QEMU emulator version 10.0.0; exit; }
case "$*" in *"-machine none"*) exit 1; esac # it takes no plugin
"""


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 24 MiB, as /dev/shm is in a container."""
    directory = tmp_path / "shm"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24M", "none", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small tmpfs")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def fill(directory: Path) -> None:
    with (directory / "hog").open("wb", buffering=0) as hog, contextlib.suppress(OSError):
        while hog.write(bytes(1 << 16)):
            pass


def test_too_little_shared_memory_is_told_before_anything_starts(small_tmpfs: Path) -> None:
    with MachineManager(shared_memory=small_tmpfs) as manager:
        with pytest.raises(ShmFull, match="needs 32 MiB") as caught:
            manager.launch(make_guest())
        assert caught.value.need_bytes == 32 << 20
        assert caught.value.free_bytes == 24 << 20
        assert caught.value.path == small_tmpfs
        assert manager.machines() == ()
        assert list(small_tmpfs.iterdir()) == []
        assert not (runtime_dir() / "bare").exists()
        # What running guests may yet fill is not promised twice, though it still looks free.
        first = manager.launch(make_guest(ram_bytes=16 * MIB))
        with pytest.raises(ShmFull):
            manager.launch(make_guest(ram_bytes=16 * MIB))
        first.stop()
        manager.launch(make_guest(ram_bytes=16 * MIB))


def test_shared_memory_that_fills_up_under_a_guest(small_tmpfs: Path, tmp_path: Path) -> None:
    with MachineManager(shared_memory=small_tmpfs) as manager:
        guest = counting_guest(tmp_path, ram_bytes=16 * MIB, keeps_state=False)
        kernel = guest.kernel
        assert kernel is not None
        image = kernel.read_bytes()
        # mov edi,0x200000; mov byte [edi],1; add edi,4096; jmp: touches all of its RAM, once started by a key.
        touch = bytes.fromhex("66bafd03eca80174fbbf00002000c6070181c700100000ebf5")
        kernel.write_bytes(image[:0x20] + touch + image[0x20 + len(touch) :])
        machine = manager.launch(guest)
        fill(small_tmpfs)
        machine.console.write(b"x")
        wait_until(lambda: state_of(machine) is MachineState.CRASHED)
        assert "SIGBUS" in machine.info.message
        assert f"{small_tmpfs} is full" in machine.info.message
        assert [path.name for path in small_tmpfs.iterdir()] == ["hog"]


def test_no_room_while_copying_a_saved_state(
    small_tmpfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = counting_guest(tmp_path, ram_bytes=16 * MIB)
    with MachineManager(shared_memory=small_tmpfs) as manager:
        saved = threading.Event()
        manager.subscribe(lambda event: saved.set() if event.kind == "SAVED" else None)
        manager.launch(guest)
        assert saved.wait(60)
        manager.get("counter").stop()
        manager.remove("counter")
        monkeypatch.setattr(ram_file, "free_for_ram", lambda _: 1 << 40)
        fill(small_tmpfs)
        with pytest.raises(ShmFull):
            manager.launch(guest)
        assert [path.name for path in small_tmpfs.iterdir()] == ["hog"]
        assert list(runtime_dir().glob("[a-z]*")) == []


@pytest.mark.parametrize("content", [b"", b"not a kernel at all"])
def test_kernel_that_is_none(manager: MachineManager, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kernel").write_bytes(content)
    with pytest.raises(QemuFailed, match="ended with exit code 1 while it started") as caught:
        manager.launch(make_guest(kernel=tmp_path / "kernel"))
    assert caught.value.exit_code == 1
    assert any("kernel" in line for line in caught.value.last_lines)
    assert manager.machines() == ()


def test_files_that_are_not_there(manager: MachineManager, tmp_path: Path) -> None:
    with pytest.raises(QemuFailed, match="kernel"):
        manager.launch(make_guest(kernel=tmp_path / "none"))
    for medium in ("disk", "cdrom"):
        with pytest.raises(MachineError, match="none"):
            manager.launch(make_guest(**{medium: tmp_path / "none"}))
    with pytest.raises(MachineError, match="none"):
        manager.launch(counting_guest(tmp_path, initrd=tmp_path / "none"))


def test_qemu_missing_or_not_qemu(manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSBOX_QEMU", str(tmp_path / "qemu"))
    with pytest.raises(QemuMissing, match="apt install qemu-system-x86"):
        manager.launch(make_guest())
    for number, (script, found) in enumerate(
        [
            ("#!/bin/sh\necho hello\n", "does not say that it is QEMU"),
            ("#!/bin/sh\necho QEMU emulator version 7.2.0\n", "9.1 or newer is needed"),
            ("#!/nowhere/sh\n", "does not run"),
        ]
    ):
        (tmp_path / "qemu").write_text(script + "#" * number)
        (tmp_path / "qemu").chmod(0o755)
        with pytest.raises(QemuMissing, match=found):
            find_qemu()
    assert list(runtime_dir().glob("[a-z]*")) == []


def test_qemu_that_dies_at_once_or_says_nothing(
    manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "qemu"
    monkeypatch.setenv("GLASSBOX_QEMU", str(script))
    script.write_text(FAKE_QEMU + "echo first >&2; echo last words >&2; exit 3\n")
    script.chmod(0o755)
    with pytest.raises(QemuFailed, match="exit code 3") as caught:
        manager.launch(make_guest())
    assert caught.value.last_lines == ("first", "last words")
    script.write_text(FAKE_QEMU + "exec sleep 60 # it hangs before it answers\n")
    begin = time.monotonic()
    with pytest.raises(LaunchCancelled):
        manager.launch(make_guest(), cancelled=lambda: time.monotonic() - begin > 0.2)
    assert time.monotonic() - begin < 30


def test_stop_during_the_start(manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "qemu"
    monkeypatch.setenv("GLASSBOX_QEMU", str(script))
    script.write_text(FAKE_QEMU + "exec sleep 60\n")
    script.chmod(0o755)
    failures: list[BaseException] = []

    def launch() -> None:
        try:
            manager.launch(make_guest())
        except MachineError as error:
            failures.append(error)

    launching = threading.Thread(target=launch)
    launching.start()
    wait_until(lambda: bool(manager.machines()) and manager.machines()[0].info.pid is not None)
    machine = manager.get("bare")
    assert state_of(machine) is MachineState.STARTING
    for act in (machine.pause, lambda: machine.qmp("query-status"), lambda: manager.detach("bare")):
        with pytest.raises(MachineError, match="still starting"):
            act()
    with pytest.raises(MachineError, match="has not ended"):
        manager.remove("bare")
    machine.stop()
    launching.join()
    assert isinstance(failures[0], LaunchCancelled)
    assert state_of(machine) is MachineState.STOPPED


def test_closing_during_a_start(private_directories: Path, shared_memory: Path, tmp_path: Path) -> None:
    guest = make_guest(ram_bytes=16 * MIB)
    others = set(psutil.Process().children())  # of other tests in this process
    for moment in range(12):
        manager = MachineManager(shared_memory=shared_memory)
        failures: list[BaseException] = []

        def launch(manager: MachineManager = manager, failures: list[BaseException] = failures) -> None:
            try:
                manager.launch(guest)
            except MachineError as error:
                failures.append(error)

        launching = threading.Thread(target=launch)
        launching.start()
        time.sleep(moment * 0.004)
        manager.close()
        launching.join()
        assert set(psutil.Process().children()) - others == set()
        assert list(shared_memory.iterdir()) == []
        assert list(runtime_dir().glob("[a-z]*")) == []
        with pytest.raises(MachineError, match="is ending"):
            manager.launch(guest)
        manager.close()


def test_three_at_once(manager: MachineManager, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path, keeps_state=False)
    machines: list[Machine] = []
    threads = [threading.Thread(target=lambda: machines.append(manager.launch(guest))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {machine.name for machine in machines} == {"counter", "counter-2", "counter-3"}
    for machine in machines:
        assert machine.wait_ready(60)
    # Each has its own RAM and its own QEMU.
    first, second, third = machines
    second.pause()
    frozen = counter_of(second)
    before = counter_of(first), counter_of(third)
    wait_until(lambda: counter_of(first) != before[0] and counter_of(third) != before[1])
    assert counter_of(second) == frozen
    first.stop()
    assert [state_of(machine) for machine in machines] == [
        MachineState.STOPPED,
        MachineState.PAUSED,
        MachineState.RUNNING,
    ]


def test_guest_that_switches_itself_off_has_stopped_not_crashed(manager: MachineManager, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path)
    kernel = guest.kernel
    assert kernel is not None
    image = kernel.read_bytes()
    # ACPI soft-off on the pc board: the power management block at 0x600 (where SeaBIOS puts it), SLP_EN with type 0.
    off = bytes.fromhex("66ba040666b8002066efebfe")
    kernel.write_bytes(image[:0x20] + off + image[0x20 + len(off) :])
    kinds: list[str] = []
    manager.subscribe(lambda event: kinds.append(event.kind))
    machine = manager.launch(make_guest(kernel=kernel))
    wait_until(lambda: state_of(machine).ended)
    assert state_of(machine) is MachineState.STOPPED
    assert machine.info.message == "The guest has switched itself off."
    assert "SHUTDOWN" in kinds
    assert "CRASH" not in kinds


def test_no_shared_memory_at_all(private_directories: Path, tmp_path: Path) -> None:
    with MachineManager(shared_memory=tmp_path / "none") as manager:
        with pytest.raises(MachineError, match=r"bare could not be started: .*none"):
            manager.launch(make_guest())
        assert manager.machines() == ()
    assert list(runtime_dir().glob("[a-z]*")) == []


def test_full_runtime_directory(small_tmpfs: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(small_tmpfs))
    runtime_dir()
    fill(small_tmpfs)
    with MachineManager(shared_memory=shared_memory) as manager, pytest.raises(MachineError, match="No space left"):
        manager.launch(make_guest())
    assert list(runtime_dir().glob("[a-z]*")) == []
    assert list(shared_memory.iterdir()) == []


def test_link_in_place_of_a_machines_directory(manager: MachineManager, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (runtime_dir() / "bare").symlink_to(tmp_path / "precious")
    with pytest.raises(NameTaken):
        manager.launch(make_guest(), name="bare")
    assert manager.launch(make_guest()).name == "bare-2"
    assert (tmp_path / "precious").is_dir()
    (runtime_dir() / "bare").unlink()


def test_runtime_directory_of_somebody_else(private_directories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/1")
    with MachineManager() as manager, pytest.raises(UnsafeDirectory):
        manager.launch(make_guest())


def test_too_long_an_answer_costs_the_connection_and_not_the_machine(
    manager: MachineManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.machine.qmp.LARGEST_MESSAGE", 64 << 10)
    machine = manager.launch(make_guest())
    with pytest.raises(MachineError):
        machine.qmp("query-qmp-schema")
    deadline = time.monotonic() + 60
    while True:
        try:
            assert machine.qmp("query-status")["status"] == "running"
            break
        except MachineError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    machine.pause()
    assert state_of(machine) is MachineState.PAUSED


def test_qemu_that_can_no_longer_be_reached_is_told(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.machine.qmp.LARGEST_MESSAGE", 64 << 10)
    monkeypatch.setattr("bridge.machine.machine._RECONNECT_AFTER_S", (0.0, 0.02))
    machine = manager.launch(make_guest())
    assert machine.record is not None
    machine.record.qmp_socket.unlink()
    with pytest.raises(MachineError):
        machine.qmp("query-qmp-schema")
    wait_until(lambda: "no longer be talked to" in machine.info.message)
    with pytest.raises(MachineError, match="can no longer be talked to"):
        machine.pause()
    machine.stop(timeout_s=1)
    assert state_of(machine) is MachineState.STOPPED


def test_qemu_that_nothing_kills_is_told(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = manager.launch(make_guest())
    assert machine.info.pid is not None
    os.kill(machine.info.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        # As a process that waits for a dead disk: it takes no signal.
        patch.setattr("bridge.machine.watched_process.WatchedProcess.send_signal", lambda *_: None)
        patch.setattr("bridge.machine.machine._KILL_WAIT_S", 0.05)
        with pytest.raises(MachineError, match="the kernel holds it"):
            machine.stop(timeout_s=0.2)
        assert state_of(machine) is MachineState.RUNNING
    machine.stop(timeout_s=0.2)
    assert state_of(machine) is MachineState.STOPPED


def test_use_of_a_machine_that_has_just_died_is_nothing(manager: MachineManager) -> None:
    machine = manager.launch(make_guest())
    assert machine.info.pid is not None
    assert machine.usage().rss_bytes > 0
    os.kill(machine.info.pid, signal.SIGKILL)
    for _ in range(200):
        machine.usage()
    wait_until(lambda: machine.usage().rss_bytes == 0)


def test_socket_that_cannot_be_made(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(path: Path) -> socket.socket:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sockets, "listen", listen)
    with pytest.raises(MachineError, match=r"No socket could be made at .*qmp\.sock: No space"):
        manager.launch(make_guest())
    assert list(runtime_dir().glob("[a-z]*")) == []


def test_ram_file_that_cannot_have_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ram_file, "free_for_ram", lambda _: 1 << 63)
    with pytest.raises(OSError):  # noqa: PT011 - EFBIG or EINVAL, by file system
        ram_file.create_ram_file(tmp_path / "ram", (1 << 63) - 1)
    assert list(tmp_path.glob("ram")) == []


def test_log_on_a_file_system_without_holes_is_cut_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        @staticmethod
        def fallocate(*_: int) -> int:
            return -1

    monkeypatch.setattr(bounded_log, "_libc", Refusing)
    (tmp_path / "log").write_bytes(bytes(100_000))
    bounded_log.trim(tmp_path / "log", 4096)
    assert (tmp_path / "log").stat().st_size == 0


def test_console_and_logs_stay_small(manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.machine.machine._LOG_BYTES", 16 << 10)
    monkeypatch.setattr("bridge.machine.machine._HOUSEKEEPING_S", 0.02)
    guest = counting_guest(tmp_path)
    kernel = guest.kernel
    assert kernel is not None
    image = kernel.read_bytes()
    # mov dx,0x3f8; mov al,'z'; out dx,al; jmp: prints without end.
    spam = bytes.fromhex("66baf803b07aeeebfd")
    kernel.write_bytes(image[:0x20] + spam + image[0x20 + len(spam) :])
    machine = manager.launch(make_guest(kernel=kernel))
    assert machine.record is not None
    log = machine.record.console_log
    wait_until(lambda: log.stat().st_size > 200 << 10)
    machine.pause()
    # What was on its way comes after the pause.
    wait_until(
        lambda: (
            log.stat().st_blocks * 512 <= 32 << 10 and 16 << 10 <= len(bounded_log.read_tail(log, 1 << 20)) <= 40 << 10
        )
    )
    assert set(bounded_log.read_tail(log, 1 << 20)) == {ord("z")}


def test_log_is_cut_without_losing_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    bounded_log.trim(log, 4096)
    assert bounded_log.read_tail(log, 100) == b""
    lines = b"".join(b"%07d\n" % number for number in range(10_000))
    log.write_bytes(lines)
    bounded_log.trim(log, 8192)
    assert log.stat().st_blocks * 512 <= 16384
    assert log.stat().st_size == len(lines)
    with log.open("ab") as file:
        file.write(b"more\n\0\x1b[1mred\n")
    assert bounded_log.read_tail(log, 8192).endswith(b"0009999\nmore\n\0\x1b[1mred\n")
    assert bounded_log.read_tail(log, 1 << 20) in lines + b"more\n\0\x1b[1mred\n"
    assert bounded_log.last_lines(log) == ("0009999", "more", "[1mred")
    assert bounded_log.last_lines(log, 1, 4) == ("[1mr",)
    before = log.stat().st_blocks
    bounded_log.trim(log, 1 << 20)
    assert log.stat().st_blocks == before


def test_ram_file_that_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    name = ram_file.ram_file_name("m")
    assert ram_file.is_ram_file_name(name)
    assert not ram_file.remove_ram_file(tmp_path / name)
    (tmp_path / name).symlink_to(tmp_path)
    assert not ram_file.remove_ram_file(tmp_path / name)
    (tmp_path / "other").write_bytes(b"")
    assert not ram_file.remove_ram_file(tmp_path / "other")
    with pytest.raises(FileExistsError):
        ram_file.create_ram_file(tmp_path / name, 4096)


def test_blocking_on_the_loops_own_thread_is_refused() -> None:
    background = acquire_loop()
    answers: list[str] = []

    async def release() -> None:
        try:
            release_loop(background)
        except WrongThread:
            answers.append("refused")

    background.run(release())
    release_loop(background)
    assert answers == ["refused"]

    async def never() -> None:
        raise AssertionError

    with pytest.raises(MachineError, match="too late"):
        background.spawn(never())
    background.call_soon(answers.append, "never")
    assert answers == ["refused"]


def test_how_an_end_is_told() -> None:
    assert describe_exit(None) == "vanished"
    assert describe_exit(0) == "ended with exit code 0"
    assert describe_exit(-signal.SIGSEGV) == "was killed by SIGSEGV"
    assert describe_exit(-99) == "was killed by signal 99"


def test_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    wait_until(lambda: ProcessIdentity.of(child.pid) is None)
    assert os.path.exists(f"/proc/{child.pid}")  # noqa: PTH110
    child.wait()
    assert ProcessIdentity.own().alive


def test_names_come_from_any_guests_name(private_directories: Path) -> None:
    for guest, name in (
        ("\u00c4\u00d6\u00dc", "machine"),
        ("..", "machine"),
        ("My OS 2", "my-os-2"),
        ("x" * 99, "x" * 27),
    ):
        path = records.claim_directory(None, guest)
        assert path.name == name
        assert records.is_valid_name(name)
        path.rmdir()


def test_ended_machines_make_room_when_it_is_needed(small_tmpfs: Path, tmp_path: Path) -> None:
    guest = counting_guest(tmp_path, ram_bytes=20 * MIB, keeps_state=False)
    kernel = guest.kernel
    assert kernel is not None
    image = kernel.read_bytes()
    # mov edi,0x200000; mov byte [edi],1; add edi,4096; jmp: touches all of its RAM.
    touch = bytes.fromhex("bf00002000c6070181c700100000ebf5")
    kernel.write_bytes(image[:0x20] + touch + image[0x20 + len(touch) :])
    with MachineManager(shared_memory=small_tmpfs) as manager:
        first = manager.launch(guest, name="first")
        assert first.ram is not None
        last = first.ram.read_physical(19 * MIB, 1)
        wait_until(lambda: last[0] == 1)
        first.stop()
        assert first.ram.read_physical(0x200000, 1)[0] == 1, "what it held last can be looked at"
        last.release()
        manager.launch(guest, name="second")
        assert first.ram.closed
