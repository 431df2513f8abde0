"""The plugin in QEMU: whatever it is given, the machine lives; and the one is loaded that QEMU takes."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.machine.qemu_binary import QemuBinary, find_qemu
from bridge.trace import plugin_file
from bridge.trace.layout import layout
from bridge.trace.modes import Filters, Mode, Recorded, Wish
from bridge.trace.plugin_file import BUILT, plugin_for
from bridge.trace.shared_memory import Sizes, TraceMemory
from tests.bridge.machine.conftest import private_directories  # noqa: F401 - a fixture

RAM_BYTES = 1 << 20
SMALL = Sizes(pages=RAM_BYTES >> 12, vcpus=1, blocks=64, code_bytes=4096, samples=16, hits=8, ring_records=32)


def library() -> Path:
    choice = plugin_for(find_qemu())
    assert choice.path is not None, choice.reason
    return choice.path


def started_with(options: str) -> str:
    """What QEMU says that starts with the plugin, and ends well."""
    arguments = ["-nodefaults", "-display", "none", "-machine", "pc", "-accel", "tcg", "-S", "-m", "1M"]
    ended = subprocess.run(
        [str(find_qemu().path), *arguments, "-monitor", "stdio", "-plugin", f"{library()}{options}"],
        input=b"info status\nquit\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = ended.stderr.decode()
    assert ended.returncode == 0, said
    assert b"paused" in ended.stdout
    return said


@pytest.fixture
def ram(tmp_path: Path) -> Path:
    path = tmp_path / "one.ram"
    path.write_bytes(bytes(RAM_BYTES))
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "are needed"),
        (",shm=/nonexistent", "are needed"),
        (",shm=/nonexistent,ram=/nonexistent", "cannot be opened: No such file"),
        (",shm=/dev/null,ram=/dev/null", "empty"),
        (",colour=red", "is no option"),
        (",shm=", "is no option"),
    ],
)
def test_wrong_options_are_said_and_nothing_is_traced(options: str, said: str) -> None:
    told = started_with(options)
    assert said in told
    assert "Nothing is traced" in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:100], "too small"),
        (lambda data: b"\0" + data[1:], "format"),
        (lambda data: data[:-4096], "contradicts itself"),
        (lambda data: data + bytes(4096), "contradicts itself"),
    ],
)
def test_memory_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, ram: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "one.trace"
    TraceMemory.create(path, SMALL)
    path.write_bytes(change(path.read_bytes()))
    assert said in started_with(f",shm={path},ram={ram}")


def test_ram_of_another_size_is_refused(tmp_path: Path, ram: Path) -> None:
    path = tmp_path / "one.trace"
    TraceMemory.create(path, SMALL)
    ram.write_bytes(bytes(RAM_BYTES * 2))
    assert "is for RAM of 256 pages" in started_with(f",shm={path},ram={ram}")


def test_a_header_of_any_numbers_ends_no_machine(tmp_path: Path, ram: Path) -> None:
    path = tmp_path / "one.trace"
    source = random.Random(5)
    names = [name for name in layout()["header"].names or () if "reserved" not in name]
    for _ in range(25):
        path.unlink(missing_ok=True)
        memory = TraceMemory.create(path, SMALL)
        for name in source.sample(names, 2):
            field = memory.header.dtype[name]
            for part in field.names or (None,):
                bits = 8 * (field if part is None else field[part]).itemsize
                value = source.choice([0, 1, source.getrandbits(bits), (1 << bits) - 1, 1 << (bits - 1)])
                if part is None:
                    memory.header[name] = value
                else:
                    memory.header[name][part] = value
        started_with(f",shm={path},ram={ram}")


def test_a_good_one_is_taken(tmp_path: Path, ram: Path) -> None:
    path = tmp_path / "one.trace"
    memory = TraceMemory.create(path, SMALL)
    assert started_with(f",shm={path},ram={ram}") == ""
    assert int(memory.plugin["state"]) == layout().constants["GONE"]  # it was there
    assert int(memory.plugin["api"]) in (2, 3, 4, 7)


def test_the_choice_is_kept_and_made_anew_for_other_builds(private_directories: Path, tmp_path: Path) -> None:  # noqa: F811
    qemu = find_qemu()
    first = plugin_for(qemu)
    assert first.path is not None
    assert first.path.parent == BUILT
    assert plugin_for(qemu) == first
    none = plugin_for(qemu, tmp_path / "nothing")
    assert (none.path, none.reason[:27]) == (None, "The plugin is not built (./")
    other = tmp_path / "glassbox-api3.so"
    other.write_bytes(b"no library")
    refused = plugin_for(qemu, tmp_path)
    assert refused.path is None
    assert "takes none of the plugins" in refused.reason
    assert plugin_for(qemu) == first


def test_a_trial_that_took_too_long_is_made_again(
    private_directories: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = tmp_path / "qemu"
    slow.write_text(f"#!/bin/sh\n[ -e {tmp_path}/quick ] || exec sleep 60\n")
    slow.chmod(0o755)
    qemu = QemuBinary(slow, (10, 0, 0), "", "slow")
    with monkeypatch.context() as patch:
        patch.setattr(plugin_file, "_TRIAL_LIMIT_S", 0.1)
        tried = plugin_for(qemu)
    assert tried.path is None
    assert "could not be tried out" in tried.reason
    (tmp_path / "quick").touch()
    assert plugin_for(qemu).path is not None


def test_wishes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="begins before it ends"):
        Filters(first_virtual=5, last_virtual=4)
    with pytest.raises(ValueError, match="at least one"):
        Filters(one_of=0)
    with pytest.raises(ValueError, match="multiple of 4096"):
        Filters(page_table=0x1001)
    with pytest.raises(ValueError, match="10,000 times"):
        Wish(samples_per_s=0)


def test_modes_are_sets_of_what_the_plugin_does() -> None:
    known = layout().constants
    always = known["COUNT"]
    sampled = always | known["SAMPLE"]
    assert Wish(Mode.OFF).parts == 0
    assert Wish(Mode.COUNTERS).parts == always
    assert Wish(Mode.TIME).parts == sampled
    assert Wish(Mode.HEAT).parts == always | known["HEAT"]
    assert Wish(Mode.WATCH).parts == sampled | known["WATCH"]
    assert Wish(Mode.TRACE, frozenset(Recorded)).parts == sampled | known["TRACES"]
