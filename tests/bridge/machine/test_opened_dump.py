"""Dumps among machines: they have names, facts and RAM like a paused one, and refuse to move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine.errors import MachineError, NameInvalid, NameTaken, NoSuchMachine
from bridge.machine.manager import MachineManager
from bridge.machine.opened_dump import DumpStandsStill, OpenedDump, name_for_dump
from bridge.machine.records import is_valid_name
from bridge.machine.states import MachineState
from bridge.memory.errors import GuestMemoryError


@pytest.fixture
def manager() -> Iterator[MachineManager]:
    manager = MachineManager()
    yield manager
    manager.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "My dump.raw").write_bytes(b"\x11" * 8192 + b"rest")
    return tmp_path / "My dump.raw"


@given(st.text(min_size=1, max_size=60), st.sets(st.sampled_from(["dump", "dump-2", "a", "a-2"])))
def test_every_file_gets_a_name_that_is_free(stem: str, taken: set[str]) -> None:
    name = name_for_dump(Path("/folder") / stem.replace("/", "_").replace("\0", "_"), taken)
    assert is_valid_name(name)
    assert name not in taken


def test_a_dump_is_like_a_paused_machine(manager: MachineManager, path: Path) -> None:
    dump = manager.open_dump(path)
    assert dump.name == dump.info.name == "my-dump"
    assert manager.get("my-dump") is dump
    assert manager.machines() == (dump,)
    info = dump.info
    assert (info.state, info.dump, info.ram_bytes, info.pid) == (MachineState.PAUSED, "raw", 8192, None)
    assert "ends before" in info.message
    assert dump.ram is not None
    assert dump.ram.bytes.tobytes() == b"\x11" * 8192
    assert dump.usage().rss_bytes == 0
    assert dump.wait_ready(0)
    with dump.held():
        dump.refresh_physical_map()
    dump.subscribe(lambda _event: None)()
    dump.pause()
    for act in (dump.resume, dump.reset, dump.stop, lambda: dump.qmp("stop"), lambda: manager.detach("my-dump")):
        with pytest.raises(DumpStandsStill, match="is a dump"):
            act()
    with pytest.raises(MachineError):
        dump.console.write(b"x")


def test_names_are_taken_once(manager: MachineManager, path: Path) -> None:
    first, second = manager.open_dump(path), manager.open_dump(path)
    assert (first.name, second.name) == ("my-dump", "my-dump-2")
    assert manager.open_dump(path, name="mine").name == "mine"
    with pytest.raises(NameTaken):
        manager.open_dump(path, name="mine")
    with pytest.raises(NameInvalid):
        manager.open_dump(path, name="Not A Name")
    with pytest.raises(GuestMemoryError):
        manager.open_dump(path.with_name("none"))
    assert len(manager.machines()) == 3


def test_a_closed_dump_gives_its_ram_up(manager: MachineManager, path: Path) -> None:
    dumps = [manager.open_dump(path) for _ in range(2)]
    rams = [dump.ram for dump in dumps]
    manager.remove("my-dump")
    assert dumps[0].ram is None
    assert rams[0] is not None
    assert rams[0].closed
    with pytest.raises(NoSuchMachine, match="my-dump-2"):
        manager.get("my-dump")
    manager.close()
    assert rams[1] is not None
    assert rams[1].closed
    assert manager.machines() == ()
    with pytest.raises(MachineError, match="ending"):
        manager.open_dump(path)


def test_machines_do_not_take_a_dumps_name(manager: MachineManager, path: Path) -> None:
    dump = manager.open_dump(path, name="demo")
    assert isinstance(dump, OpenedDump)
    assert "demo" in manager._live_names()
