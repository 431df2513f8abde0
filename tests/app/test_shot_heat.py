"""Heat in pictures: what is asked for, watched of a guest that runs, or read from a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from app.commands import shot
from app.failures import CommandFailed, UsageError
from app.shot import _volume_picture
from app.shot_heat import ShotHeat, heat_from_options, recorded_heat
from app.shot_look import ShotLook
from app.trace_channels import EXECUTED, LOADED, STORED
from bridge.memory.physical_map import PhysicalMap
from bridge.memory.ram import GuestRam
from bridge.trace.errors import BadRecording
from bridge.trace.recorded import Recording
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
)
from tests.bridge.trace.conftest import WAIT_AT, Counting, counting  # noqa: F401 - a fixture
from tests.bridge.trace.test_recorded import written


def asked(*words: str) -> ShotHeat | None:
    parser = argparse.ArgumentParser()
    shot.configure(parser, "shot")
    return heat_from_options(parser.parse_args([*words, "--out", "x.png"]))


def test_what_is_asked_for() -> None:
    assert asked("m") is None
    assert asked("m", "--trace", "executed") == ShotHeat(EXECUTED, 2.0)
    assert asked("m", "--trace", "loads", "--for", "500ms") == ShotHeat(LOADED, 0.5)
    assert asked("--dump", "d", "--trace", "stores", "--recording", "r") == ShotHeat(STORED, 2.0, Path("r"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m", "--for", "1s"], "belong to --trace"),
        (["m", "--recording", "x"], "belong to --trace"),
        (["m", "--trace", "loads", "--window"], "leave out --window"),
        (["m", "--trace", "loads", "--channel", "entropy"], "Load heat"),
        (["--dump", "x", "--trace", "loads"], "nothing runs in a dump"),
        (["m", "--trace", "loads", "--recording", "x", "--for", "1s"], "leave out --for"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(*words)


def test_a_guest_that_runs_is_watched(counting: Counting) -> None:  # noqa: F811
    machine = counting.machine
    assert machine.ram is not None
    n_pages = machine.ram.size_bytes // 4096
    for runs in (machine, machine.name):
        heat = ShotHeat(EXECUTED, 0.2).of(runs, machine.ram.physical_map, n_pages)
        assert heat.shape == (n_pages,)
        assert heat[WAIT_AT >> 12] > 0
        assert not heat[n_pages // 2 :].any()
    assert counting.trace.parts == 0, "it runs as before"
    assert ShotHeat(STORED, 0.05).of(machine, machine.ram.physical_map, n_pages).dtype == np.float64


def test_a_recordings_heat_is_its_own_machines(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet")
    pages = Recording.open(path).pages
    with pytest.raises(CommandFailed, match="this one has 7"):
        recorded_heat(path, 7)
    heat = ShotHeat(LOADED, recording=path).of(None, PhysicalMap.flat(pages * 4096), pages)
    np.testing.assert_array_equal(heat, Recording.open(path).heat().loads)
    with pytest.raises(CommandFailed, match="nothing runs in a dump"):
        ShotHeat(LOADED).of(None, PhysicalMap.flat(4096), 1)
    with pytest.raises(BadRecording, match="There is no"):
        recorded_heat(tmp_path / "none.parquet", pages)


@pytest.mark.usefixtures("homes")
def test_what_is_hot_is_what_is_seen(tmp_path: Path) -> None:
    (tmp_path / "x.ram").write_bytes(b"\x55" * (64 * 4096))
    ram = GuestRam.open(tmp_path / "x.ram")
    heat, look = np.zeros(64), ShotLook(mode="translucent")
    try:
        cold = _volume_picture("m", ram, (160, 120), look, (EXECUTED, heat))[..., :3].astype(int)
        heat[:8] = 1e8
        hot = _volume_picture("m", ram, (160, 120), look, (EXECUTED, heat))[..., :3].astype(int)
    finally:
        ram.close()
    assert hot.sum() > 1.05 * cold.sum()
