"""A machine that forks as fast as it can, starts another kernel, reboots and panics while it is watched."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bridge.kernel import kernel as kernel_module
from bridge.kernel import worker
from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import Kernel, find_kernel, wall_clock_s
from bridge.kernel.pulse import Pulse
from bridge.kernel.snapshot import Introspector
from bridge.kernel.vmcoreinfo import note_texts
from bridge.kernel.worker import Assignment, Sighting, Watch
from bridge.machine import cpio
from bridge.machine.guest import MIB, Guest
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap
from tests.bridge.kernel.conftest import HeldRam, LiveGuest
from tests.bridge.kernel.impossible import impossible, impossible_tasks
from tests.bridge.kernel.other_kernels import Wanted, have_kernel
from tests.bridge.machine.serial_guest import SerialGuest, start_guest

KEXEC_SOURCE = Path(__file__).with_name("kexec.c")
FORKERS = "(while [ -e /run/forking ]; do /bin/true & (:) & wait; done) &"


def test_looks_at_a_machine_that_forks_all_the_time(live: LiveGuest) -> None:
    introspector = Introspector(live.kernel)
    live.shell.run(f"touch /run/forking; ({' '.join([FORKERS] * 4)} wait) & true")
    looked = torn = n_now = 0
    pids: set[int] = set()
    deadline_s = time.monotonic() + 240
    try:
        while looked + torn < 50 or len(pids) <= n_now + 20:
            assert time.monotonic() < deadline_s, "it was to fork"
            try:
                snapshot = introspector.look()
            except KernelError:  # said so: what could not be followed is no result
                torn += 1
                continue
            looked += 1
            pids |= set(snapshot.processes.pids.tolist())
            n_now = len(snapshot.processes.pids)
            assert impossible(snapshot, live.ram.size_bytes) == []
            time.sleep(0.05)
    finally:
        live.shell.run("rm /run/forking; wait $!")
    assert looked >= 4 * torn, f"{torn} of {looked + torn} looks could not follow the kernel"


@pytest.fixture(scope="module")
def kexec_program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    program = tmp_path_factory.mktemp("kexec") / "kexec"
    flags = ["-m64", "-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Wl,--build-id=none"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(KEXEC_SOURCE)], check=True)
    return program.read_bytes()


def test_another_kernel_a_reboot_and_a_panic_while_watched(
    demo_guest: Guest, guest_cache: Path, tmp_path: Path, kexec_program: bytes
) -> None:
    next_kernel = have_kernel(Wanted("bullseye"), guest_cache)  # no release of ours has it for its demo guest
    assert demo_guest.initrd is not None
    assert demo_guest.ready_marker is not None
    initrd = demo_guest.initrd.read_bytes()
    more = cpio.write_archive(
        [
            cpio.file("bin/kexec", kexec_program, 0o755),
            cpio.file("next/vmlinuz", next_kernel.read_bytes()),
            cpio.file("next/initrd", initrd),
        ]
    )
    (tmp_path / "initrd").write_bytes(initrd + bytes(-len(initrd) % 512) + more)
    guest = dataclasses.replace(demo_guest, initrd=tmp_path / "initrd")
    with start_guest(guest, tmp_path, ram_bytes=192 * MIB) as shell:
        shell.wait_for(demo_guest.ready_marker)
        watch = Watch(Assignment(shell.ram, PhysicalMap.flat(192 * MIB), 0.05, 1.0))
        try:
            first = watched(watch, lambda seen: "dropbear" in names_of(seen))
            type_line(shell, f"kexec /next/vmlinuz /next/initrd '{demo_guest.append}'")
            second = watched(watch, lambda seen: seen.release not in ("", first.release) and "sh" in names_of(seen))
            assert second.release.startswith("5.10.")
            shell.wait_for(demo_guest.ready_marker)
            assert shell.run("uname -r").strip() == second.release
            type_line(shell, "reboot -f")
            third = watched(watch, lambda seen: seen.release == first.release and "dropbear" in names_of(seen))
            shell.wait_for(demo_guest.ready_marker)
            assert third.problem == ""
            type_line(shell, "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")
            shell.wait_for(b"Kernel panic")
            for _ in range(10):
                last = watch.look()
                check(last)
                time.sleep(0.05)
            assert "counter" in names_of(last), "what a crashed machine's memory holds can still be read"
        finally:
            watch.ram.close()


def watched(watch: Watch, wanted: Callable[[Sighting], bool]) -> Sighting:
    """Look until it is seen; whatever is seen before is possible, or says what is wrong."""
    for _ in range(2000):
        seen = watch.look()
        check(seen)
        if wanted(seen):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"it was not seen; the last look: {seen.problem or seen.release}")


def check(seen: Sighting) -> None:
    if seen.problem:
        assert seen.processes is None
        return
    assert seen.processes is not None
    assert seen.classes is not None
    assert len(seen.classes) == 192 * MIB >> 12
    if len(seen.processes) and "sh" in seen.processes.names:  # before that, a kernel still makes its first tasks
        assert impossible_tasks(seen.processes) == []


def names_of(seen: Sighting) -> tuple[str, ...]:
    return () if seen.processes is None else seen.processes.names


def type_line(shell: SerialGuest, line: str) -> None:
    assert shell.process.stdin is not None
    shell.process.stdin.write(line.encode() + b"\n")
    shell.process.stdin.flush()


def jiffies_of(kernel: Kernel) -> int:
    """Where the tick counter is in RAM."""
    return kernel.space.image_paddr(kernel.symbols.address("jiffies_64"))


def test_the_pulse_of_a_kernel(dump: np.ndarray) -> None:
    data = dump.copy()
    kernel = find_kernel(PhysicalReader(HeldRam(data)))
    place = jiffies_of(kernel)
    counter = data[place : place + 8].view("<u8")
    pulse = Pulse(kernel)
    assert pulse.feel() == "beats", "nothing is known before the first"
    assert pulse.feel() == "stands"
    counter += 1
    assert (pulse.feel(), pulse.feel()) == ("beats", "stands")
    counter -= 1
    assert (pulse.feel(), pulse.feel()) == ("restarted", "stands")
    counter[0] = 2**64 - 1
    assert pulse.feel() == "restarted"


def test_a_kernel_that_stands_is_searched_for_again_when_there_is_another_note(
    dump: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_NOTES_AFTER_S", 0.0)
    data = dump.copy()
    path = tmp_path / "ram"
    path.write_bytes(data.tobytes())
    watch = Watch(Assignment(path, PhysicalMap.flat(len(data)), 0.1, 1.0))
    first = watch.look()
    found = watch._introspector
    assert not first.problem
    assert watch.look().release == first.release
    assert watch.look().release == first.release
    assert watch._introspector is found, "it stands, but there is no other"
    (note,) = note_texts(PhysicalReader(watch.ram))
    free = int(np.flatnonzero(~data.reshape(-1, 4096).any(axis=1))[-1]) << 12
    with path.open("r+b") as file:
        file.seek(free)
        file.write(note.encode() + b"CRASHTIME=1\n")
    seen = watch.look()
    assert seen.release == first.release
    assert watch._introspector is not found
    watch.ram.close()


def test_of_two_kernels_the_one_with_the_later_clock_is_taken(
    dump: np.ndarray, live: LiveGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_s = int(live.shell.run("date +%s"))
    now_s = wall_clock_s(live.kernel)
    # Its record of the time follows by ticks.
    assert before_s - 2 <= now_s <= int(live.shell.run("date +%s"))
    assert wall_clock_s(find_kernel(PhysicalReader(HeldRam(dump)))) <= now_s
    data = dump.copy()
    (note,) = note_texts(PhysicalReader(HeldRam(data)))
    for page, line in zip(np.flatnonzero(~data.reshape(-1, 4096).any(axis=1))[-2:].tolist(), "AB", strict=True):
        raw = np.frombuffer(f"{note}MARK={line}\n".encode(), np.uint8)
        data[page << 12 :][: len(raw)] = raw
    for latest in ("MARK=A", "MARK=B"):

        def clock(kernel: Kernel, latest: str = latest) -> int:
            return int(kernel.info is not None and latest in kernel.info.text)

        monkeypatch.setattr(kernel_module, "wall_clock_s", clock)
        found = find_kernel(PhysicalReader(HeldRam(data)))
        assert found.info is not None
        assert latest in found.info.text
