"""The stage: a machine whose RAM breaks leaves the picture with a reason; the others stay."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.stage import Stage
from bridge.machine.states import MachineState
from bridge.memory.errors import MapFailed
from bridge.memory.ram import GuestRam

RAM_BYTES = 1 << 20


def machine_on(path: Path) -> Any:
    """What the stage looks at of a machine, over a RAM file."""
    np.full(RAM_BYTES, 7, np.uint8).tofile(path)
    return SimpleNamespace(name=path.stem, ram=GuestRam.open(path), info=SimpleNamespace(state=MachineState.RUNNING))


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_ram_that_shrinks_leaves_the_picture_with_a_reason(stage: Stage, tmp_path: Path) -> None:
    sound, broken = machine_on(tmp_path / "sound.ram"), machine_on(tmp_path / "broken.ram")
    machines = [sound, broken]
    assert stage.sync(machines) == []
    deadline = monotonic() + 30
    while any(feed.tracker.stats.sweeps < 1 for feed in stage.feeds.values()):
        assert monotonic() < deadline
        stage.pump(0.01)
        sleep(0.005)
    with (tmp_path / "broken.ram").open("r+b") as file:
        file.truncate(RAM_BYTES // 2)
    problems: list[tuple[str, Exception]] = []
    while not problems:
        assert monotonic() < deadline, "nobody noticed that the RAM file shrank"
        stage.pump(0.01)
        problems = stage.sync(machines)
        sleep(0.005)
    assert [name for name, _ in problems] == ["broken"]
    assert isinstance(problems[0][1], MapFailed)
    assert set(stage.feeds) == {"sound"}
    assert set(stage.view.volumes) == {"sound"}
    assert stage.sync(machines) == [], "it is told once"
    for machine in machines:
        machine.ram.close()
