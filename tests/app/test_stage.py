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
from render.errors import OutOfVideoMemory

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
    deadline = monotonic() + 120
    while any(feed.tracker.stats.sweeps < 1 for feed in stage.feeds.values()):
        assert monotonic() < deadline
        stage.feeds.pump(0.01)
        sleep(0.005)
    with (tmp_path / "broken.ram").open("r+b") as file:
        file.truncate(RAM_BYTES // 2)
    problems: list[tuple[str, Exception]] = []
    while not problems:
        assert monotonic() < deadline, "nobody noticed that the RAM file shrank"
        stage.feeds.pump(0.01)
        problems = stage.sync(machines)
        sleep(0.005)
    assert [name for name, _ in problems] == ["broken"]
    assert isinstance(problems[0][1], MapFailed)
    assert set(stage.feeds) == {"sound"}
    assert set(stage.view.volumes) == {"sound"}
    assert stage.sync(machines) == [], "it is told once"
    for machine in machines:
        machine.ram.close()


def swept(stage: Stage, name: str, limit_s: float = 120) -> None:
    """Pump until a machine's RAM is on the GPU, and nothing is laid anew any more."""
    deadline = monotonic() + limit_s
    while stage.feeds.laying or name not in stage.feeds or not stage.feeds[name].caught_up:
        assert monotonic() < deadline
        stage.feeds.pump(0.01)
        sleep(0.002)


def test_what_cannot_be_laid_anew_stays_as_it_is_and_is_told(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_on(tmp_path / "sound.ram")
    stage.sync([machine])
    swept(stage, "sound")
    store = stage.feeds["sound"].store

    def refuse(*_args: object, **_named: object) -> None:
        raise OutOfVideoMemory(RAM_BYTES, "the volume")

    with monkeypatch.context() as patch:
        patch.setattr("app.feeds.RamFeed", refuse)
        stage.feeds.set_curve("morton")
    assert stage.feeds.laying == ()
    assert stage.feeds["sound"].store is store
    assert [name for name, _ in stage.sync([machine])] == ["sound"]
    # Where the old one had to be given up first, the machine leaves the picture with a reason.
    stage.feeds._usual_budget_bytes = 1
    with monkeypatch.context() as patch:
        patch.setattr("app.feeds.RamFeed", refuse)
        stage.feeds.set_curve("linear")
    problems = stage.sync([machine])
    assert [(name, type(error)) for name, error in problems] == [("sound", OutOfVideoMemory)]
    assert stage.feeds == {}
    assert stage.view.volumes == ()
    machine.ram.close()


def test_ram_that_breaks_while_it_is_laid_anew_is_told(stage: Stage, tmp_path: Path) -> None:
    machine = machine_on(tmp_path / "broken.ram")
    stage.sync([machine])
    swept(stage, "broken")
    stage.feeds.set_curve("morton")
    assert stage.feeds.laying == ("broken",)
    with (tmp_path / "broken.ram").open("r+b") as file:
        file.truncate(RAM_BYTES // 2)
    problems: list[tuple[str, Exception]] = []
    deadline = monotonic() + 120
    while not problems:
        assert monotonic() < deadline, "nobody noticed that the RAM file shrank"
        stage.feeds.pump(0.01)
        problems = stage.sync([machine])
        sleep(0.005)
    assert {name for name, _ in problems} == {"broken"}
    machine.ram.close()


def test_attributes_of_pages_go_over_to_another_curve(stage: Stage, tmp_path: Path) -> None:
    machine = machine_on(tmp_path / "sound.ram")
    stage.sync([machine])
    swept(stage, "sound")
    n_pages = stage.feeds["sound"].store.n_pages
    owners = (np.arange(n_pages) % 3).astype(np.uint8)
    ages = np.linspace(0, 5, n_pages, dtype=np.float32)
    stage.feeds["sound"].store.set_attribute("owner", owners, kind="categorical", labels=("nobody", "kernel", "sshd"))
    stage.feeds["sound"].store.set_attribute("age", ages, low=0.0, high=10.0, unit="s")
    stage.feeds.half_life_s = 7.0
    stage.feeds.set_curve("morton")
    swept(stage, "sound")
    store = stage.feeds["sound"].store
    assert store.curve.name == "morton"
    assert store.half_life_s == 7.0
    assert store.attributes == ("owner", "age")
    assert store.attribute("owner").values.tolist() == owners.tolist()
    assert dict(store.attribute("owner").labels) == {0: "nobody", 1: "kernel", 2: "sshd"}
    age = store.attribute("age")
    assert (age.low, age.high, age.unit) == (0.0, 10.0, "s")
    machine.ram.close()
