"""The kernels of shown machines are watched, asked and held."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.frozen_looks import FrozenLooks
from app.kernel_channels import CLASS_CHANNEL
from app.kernels import Kernels
from bridge.kernel.watcher import KernelWatcher
from bridge.kernel.worker import Sighting
from bridge.machine.errors import MachineError
from bridge.machine.guest import Guest
from bridge.memory.ram import GuestRam
from render.bricks import BrickStore
from render.device import request_device
from tests.bridge.machine.serial_guest import SerialGuest, start_guest


@pytest.fixture(scope="module")
def guest(demo_guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SerialGuest]:
    with start_guest(demo_guest, tmp_path_factory.mktemp("kernels")) as shell:
        assert demo_guest.ready_marker
        shell.wait_for(demo_guest.ready_marker)
        yield shell


@pytest.fixture(scope="module")
def ram(guest: SerialGuest) -> Iterator[GuestRam]:
    ram = GuestRam.open(guest.ram)
    yield ram
    ram.close()


@pytest.fixture
def store(ram: GuestRam) -> Iterator[BrickStore]:
    device, _ = request_device()
    store = BrickStore(device, ram.size_bytes)
    yield store
    store.destroy()


def wait_until(what: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_machines_come_and_go(store: BrickStore, ram: GuestRam, tmp_path: Path) -> None:
    (tmp_path / "empty.ram").write_bytes(bytes(1 << 20))
    empty = GuestRam.open(tmp_path / "empty.ram")
    kernels = Kernels()
    try:
        kernels.sync({"demo": ram, "empty": empty})
        assert kernels.sighting("demo") is None
        # A look may meet a kernel that changes its records just then.
        wait_until(
            lambda: kernels.pump({"demo": store}) and (s := kernels.sighting("demo")) is not None and not s.problem
        )
        assert CLASS_CHANNEL in store.attributes
        wait_until(lambda: kernels.pump({"empty": store}) and kernels.sighting("empty") is not None)
        seen = kernels.sighting("empty")
        assert seen is not None
        assert "No running Linux kernel" in seen.problem
        kernels.sync({"demo": ram})
        assert kernels.sighting("empty") is None
        assert not kernels.pump({})
    finally:
        kernels.close()
        empty.close()
    assert kernels.sighting("demo") is None


def test_panels_ask_and_are_answered(ram: GuestRam) -> None:
    kernels = Kernels()
    kernels.sync({"demo": ram})
    try:
        assert kernels.ask("nobody", "places", (0,), now_s=0.0) is None
        address = 0xFFFF_FFFF_8100_0000
        deadline = time.monotonic() + 120

        def asked(every_s: float) -> object:
            while time.monotonic() < deadline:
                kernels.pump({})
                reply = kernels.ask("demo", "symbols", "_stext", 5, now_s=time.monotonic(), every_s=every_s)
                if reply is not None and not reply.problem:
                    return reply
                time.sleep(0.01)
            raise AssertionError("never answered")

        asked(0.05)
        question = kernels._watched["demo"].asked["symbols", "_stext", 5]
        wait_until(lambda: (kernels.pump({}), question.number)[1] is None)  # it was put once more, maybe
        first = asked(1e9)
        assert asked(1e9) is first, "an answer that is young enough is kept"
        deadline = time.monotonic() + 120
        while (again := asked(0.0)) is first:
            time.sleep(0.01)
        assert again is not first
        for place in range(100):  # what no panel asks for any more is forgotten
            kernels.ask("demo", "places", (address + place,), now_s=time.monotonic() + place)
        assert len(kernels._watched["demo"].asked) < 70
    finally:
        kernels.close()


def test_machines_are_held_for_their_looks(guest: SerialGuest, ram: GuestRam) -> None:
    """QEMU's process is what stands still here: whatever holds a machine, all of it."""
    held: list[float] = []

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        os.kill(guest.process.pid, signal.SIGSTOP)
        held.append(time.monotonic())
        try:
            yield
        finally:
            os.kill(guest.process.pid, signal.SIGCONT)

    kernels = Kernels()
    kernels.sync({"demo": ram})

    def pumped(consistency: str) -> bool:
        kernels.pump({})
        seen = kernels.watcher("demo").latest()  # type: ignore[union-attr]
        kernels._watched["demo"].sighting = seen  # no store: nothing is shown
        return seen is not None and not seen.problem and seen.consistency == consistency

    try:
        assert kernels.watcher("nobody") is None
        wait_until(lambda: pumped("live") or pumped("retried"))
        kernels.hold({"demo": hold, "nobody": hold}, time.monotonic(), always=False)
        assert not held
        assert kernels.frozen_looks.last("demo") is None

        def looked() -> bool:
            kernels.hold({"demo": hold}, time.monotonic(), always=True)
            return pumped("frozen") and len(held) > 2

        wait_until(looked)
        wait_until(lambda: looked() and kernels.frozen_looks.last("demo") is not None)
        # A kernel that cannot be followed is held even if nobody asked for it.
        n_held = len(held)
        kernels._watched["demo"].sighting = Sighting(0.0, 0.0, "torn", torn=True)
        deadline = time.monotonic() + 120
        while len(held) == n_held:
            assert time.monotonic() < deadline
            kernels.hold({"demo": hold}, time.monotonic(), always=False)
    finally:
        kernels.close()
    assert guest.run("echo alive") == "alive\n"


def test_what_is_seen_of_a_paused_machine_is_frozen(guest: SerialGuest, ram: GuestRam) -> None:
    kernels = Kernels()
    try:
        with guest.held():
            kernels.sync({"demo": ram}, paused={"demo"})

            def seen(consistency: str) -> bool:
                latest = kernels.watcher("demo").latest()  # type: ignore[union-attr]
                return latest is not None and latest.consistency == consistency and not latest.problem

            wait_until(lambda: seen("frozen"))
            kernels.sync({"demo": ram})
        wait_until(lambda: seen("live") or seen("retried"))
    finally:
        kernels.close()


def test_a_hold_that_fails_is_said_once(guest: SerialGuest, ram: GuestRam, caplog: pytest.LogCaptureFixture) -> None:
    assert guest.process.poll() is None
    watcher = KernelWatcher(ram.path, ram.physical_map)
    looks = FrozenLooks()

    def gone() -> contextlib.AbstractContextManager[None]:
        raise MachineError("It went away.")

    try:
        wait_until(lambda: (seen := watcher.latest()) is not None and not seen.problem)
        for now_s in (0.0, 1000.0, 2000.0):
            looks.take("demo", watcher, gone, now_s)
            looks.close()
        assert looks.last("demo") is None
        assert caplog.text.count("It went away.") == 1
    finally:
        watcher.close()
