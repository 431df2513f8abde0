"""Frozen looks as a person asks for them: the setting, one look now, and where there is nothing to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.actions import ActionDisabled, BadArguments
from app.jobs import Job, JobState
from app.kernel_source import _held
from app.settings import load_settings
from bridge.machine.machine import Machine
from tests.app.conftest import Person


def test_consistent_frames_are_a_setting(person: Person) -> None:
    assert not person.state.settings.consistent_frame
    assert person.run("kernel.consistent_frame") is True
    person.window.session.kept.save()
    assert load_settings(person.window.session.kept.folder)[0].consistent_frame
    assert person.run("kernel.consistent_frame") is False


def test_one_look_now(host: Person) -> None:
    name = host.state.current
    assert name is not None
    watcher = host.state.kernels.watcher(name)
    host.until(lambda: host.state.kernels.sighting(name) is not None, "the kernel should be looked for")
    assert watcher is not None
    job = host.run("kernel.look_frozen")
    assert isinstance(job, Job)
    host.until(lambda: job.wait(0), "the look should end, and that be said")
    assert job.state is JobState.FAILED, "a boot sector is no kernel"
    assert "could not be looked at" in host.toasts()[0]
    machine = host.state.machine()
    assert machine is not None
    assert machine.info.state.value == "running"


def test_where_nothing_runs_nothing_is_held(person: Person, tmp_path: Path) -> None:
    with pytest.raises(ActionDisabled, match="No machine runs"):
        person.run("kernel.look_frozen")
    (tmp_path / "dump.raw").write_bytes(bytes(1 << 20))
    person.run("machine.open_dump", str(tmp_path / "dump.raw"))
    person.until(lambda: person.state.current == "dump", "the dump should open")
    with pytest.raises((ActionDisabled, BadArguments)):
        person.run("kernel.look_frozen")


def test_a_command_holds_a_machine_and_lets_it_go(host: Person) -> None:
    machine = host.state.machine()
    assert isinstance(machine, Machine)
    with _held(machine.name):
        assert machine.qmp("query-status")["status"] == "paused"
    assert machine.qmp("query-status")["status"] == "running"
    with pytest.raises(RuntimeError), _held(machine.name):
        raise RuntimeError
    assert machine.qmp("query-status")["status"] == "running"
    machine.pause()
    with _held(machine.name):
        pass
    assert machine.qmp("query-status")["status"] == "paused"
    machine.resume()
