"""The demo guest: booted once, then resumed, with a shell that answers and the time that both took."""

from __future__ import annotations

import time

import pytest

from bridge.machine.catalogue import find_guest
from bridge.machine.guest import Guest, GuestIngredientMissing
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.machine.states import MachineEvent
from tests.bridge.machine.conftest import wait_until

# On two idle cores a boot takes 3 s and a resume 0.2 s; tests share their cores with others.
COLD_LIMIT_S = 240.0
WARM_LIMIT_S = 3.0


@pytest.fixture(scope="session")
def demo() -> Guest:
    """The demo guest out of this user's cache, since what it is made of is some 30 MB of downloads."""
    try:
        return find_guest("demo")
    except GuestIngredientMissing as error:
        pytest.skip(str(error))


def answer_of_shell(machine: Machine, command: bytes, expected: bytes) -> None:
    position = machine.console.position
    machine.console.write(command + b"\n")
    wait_until(lambda: expected in machine.console.read_since(position)[1])


def test_demo_boots_is_kept_and_resumed(demo: Guest, manager: MachineManager) -> None:
    events: list[MachineEvent] = []
    manager.subscribe(events.append)
    begin = time.monotonic()
    cold = manager.launch(demo)
    assert cold.wait_ready(COLD_LIMIT_S), cold.console.read_since(0)[1][-500:]
    cold_s = time.monotonic() - begin
    assert not cold.info.warm
    wait_until(lambda: any(event.kind == "SAVED" for event in events))
    answer_of_shell(cold, b"echo $((6*7))-$(cat /proc/sys/kernel/random/boot_id)", b"\r\n42-")
    cold.stop()

    for _ in range(6):  # one quiet try of a few counts
        begin = time.monotonic()
        warm = manager.launch(demo)
        warm_s = time.monotonic() - begin
        assert warm.info.warm, warm.info.message
        assert warm.ready
        if warm_s < min(WARM_LIMIT_S, cold_s / 2):
            break
        warm.stop()
    assert warm_s < WARM_LIMIT_S
    assert warm_s < cold_s / 2
    answer_of_shell(warm, b"echo $((2*3*7))", b"\r\n42\r\n")
    # Another amount of RAM is another machine: booted, not resumed.
    assert not manager.launch(demo, ram_bytes=96 << 20, name="smaller").info.warm
