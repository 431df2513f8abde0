"""A newer QEMU from packages: what is made of them runs with its own loader, and what is wrong with them is said."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import main
from bridge.machine import qemu_binary
from bridge.machine.apt_suites import SuiteMissing, suite_config
from bridge.machine.elf_interpreter import with_interpreter
from bridge.machine.errors import QemuMissing
from bridge.machine.fetched_qemu import QemuNotFetched, fetch_qemu, remove_qemu
from bridge.machine.guest import GuestCancelled
from bridge.machine.qemu_binary import fetched_program, find_qemu
from bridge.machine.shared_objects import NotAnElfProgram
from tests.bridge.machine.package_mirror import Mirror, serve_mirror

LOADER = Path("/lib64/ld-linux-x86-64.so.2").resolve()
LIBC = LOADER.with_name("libc.so.6")
LIBRARY_DIRECTORY = "usr/lib/x86_64-linux-gnu"
SOURCE = r"""
#include <stdio.h>
int tested(void);
int main(int argc, char **argv) {
    FILE *maps = argc > 3 ? fopen("/proc/self/maps", "r") : NULL;
    printf("QEMU emulator version 11.%d.0 (made for a test)\n", tested());
    for (int at = 1; at < argc; at++) printf("%s\n", argv[at]);
    for (int c; maps && (c = fgetc(maps)) != EOF;) putchar(c);
}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    monkeypatch.delenv("GLASSBOX_QEMU", raising=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A program that says it is QEMU 11.1, and a library that it needs."""
    directory = tmp_path_factory.mktemp("programs")
    (directory / "tested.c").write_text("int tested(void) { return 1; }\n")
    (directory / "main.c").write_text(SOURCE)
    library, program = directory / "libtested.so.1", directory / "program"
    shared = ["-shared", "-fPIC", "-Wl,-soname,libtested.so.1"]
    subprocess.run(["cc", *shared, "-o", library, directory / "tested.c"], check=True)
    subprocess.run(["cc", "-o", program, directory / "main.c", library], check=True)
    return program, library


def offer(mirror: Mirror, programs: tuple[Path, Path], version: str = "1:11.1.2+ds-3", without: str = "") -> None:
    """The packages of such a QEMU: the library by a link, firmware behind a link into another package."""
    program, library = programs
    system = {f"{LIBRARY_DIRECTORY}/{LOADER.name}": LOADER, f"{LIBRARY_DIRECTORY}/libc.so.6": LIBC}
    links = {f"usr/lib64/{LOADER.name}": f"/{LIBRARY_DIRECTORY}/{LOADER.name}"}
    mirror.add("libc6", {path: file for path, file in system.items() if file.name != without}, links=links)
    tested = {} if without == library.name else {f"{LIBRARY_DIRECTORY}/libtested.so.1.0": library}
    mirror.add("libtested1", tested, "libc6", {f"{LIBRARY_DIRECTORY}/libtested.so.1": "./libtested.so.1.0"})
    mirror.add("ipxe-qemu", {"usr/lib/ipxe/qemu/pxe.rom": b"rom"})
    mirror.add(
        "qemu-system-x86",
        {"usr/bin/qemu-system-x86_64": program, "usr/share/seabios/bios.bin": b"bios", "usr/share/qemu/big.img": b""},
        "libtested1, ipxe-qemu | nothing",
        {"usr/share/qemu/efi.rom": "../../lib/ipxe/qemu/pxe.rom", "usr/share/qemu/gone.rom": "nowhere.rom"},
        version,
    )
    mirror.update()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with serve_mirror(tmp_path / "mirror") as mirror:
        monkeypatch.setenv("APT_CONFIG", str(mirror.apt_config))
        yield mirror


def test_what_is_fetched_runs_by_itself_and_is_used(mirror: Mirror, programs: tuple[Path, Path]) -> None:
    offer(mirror, programs)
    said: list[str] = []
    found = fetch_qemu(progress=lambda sentence, _share: said.append(sentence))
    assert found.version == (11, 1, 0)
    assert found == find_qemu()
    assert said[0] == "Looking for a newer QEMU"
    assert said[-1] == "QEMU 11.1.0 is used from now on"
    answer = subprocess.run([found.path, "-a", "b c", "-d"], capture_output=True, text=True, check=True).stdout
    kept = next(path for path in fetched_program().parent.iterdir() if path.is_dir())
    assert answer.splitlines()[1:6] == ["-L", str(kept / "share"), "-a", "b c", "-d"]
    mapped = {line.split(maxsplit=5)[5] for line in answer.splitlines()[6:] if "/" in line}
    names = {Path(path).name for path in mapped}
    assert {LOADER.name, "libc.so.6", "libtested.so.1"} < names
    assert all(path.startswith(str(kept)) for path in mapped)  # and nothing of the system's
    assert {path.name: path.read_bytes() for path in (kept / "share").iterdir()} == {
        "bios.bin": b"bios",
        "efi.rom": b"rom",
        "pxe.rom": b"rom",
    }
    assert sorted(path.name for path in fetched_program().parent.iterdir()) == [
        ".lock",
        kept.name,
        fetched_program().name,
    ]


def test_it_is_replaced_and_removed(
    mirror: Mirror, programs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(mirror, programs)
    assert main(["qemu", "fetch"]) == 0
    assert "(fetched)" in capsys.readouterr().out
    stale = fetched_program().parent / "10.9"
    shutil.copytree(next(path for path in stale.parent.iterdir() if path.is_dir()), stale)
    assert main(["qemu", "fetch", "--json"]) == 0
    assert '"fetched": true' in capsys.readouterr().out
    assert not stale.exists()
    shutil.rmtree(next(path for path in stale.parent.iterdir() if path.is_dir()))
    qemu_binary._identify.cache_clear()  # as another process would see it
    with pytest.raises(QemuMissing, match=r"that was fetched is broken.*qemu fetch mends it"):
        find_qemu()
    assert main(["qemu", "remove", "--json"]) == 0
    assert '"fetched": false' in capsys.readouterr().out
    assert not remove_qemu()
    assert main(["qemu", "remove"]) == 0
    assert capsys.readouterr().out.startswith("None was fetched.\n")


@pytest.mark.parametrize("without", ["libtested.so.1", LOADER.name, "libc.so.6"])
def test_a_library_that_no_package_has_is_named(mirror: Mirror, programs: tuple[Path, Path], without: str) -> None:
    offer(mirror, programs, without=without)
    with pytest.raises(QemuNotFetched, match=rf"could not be unpacked: {without}"):
        fetch_qemu()
    assert not fetched_program().exists()
    assert not list(fetched_program().parent.glob(".work-*"))


def test_what_is_too_old_or_not_there_is_said(mirror: Mirror, programs: tuple[Path, Path]) -> None:
    mirror.update()
    with pytest.raises(QemuNotFetched, match=r"No QEMU 11\.1 .*The system has none\. apt knows no mirror of Debian"):
        fetch_qemu()
    offer(mirror, programs, version="1:11.0.9+ds-1")
    with pytest.raises(QemuNotFetched, match=r"The system has 1:11\.0\.9\+ds-1\."):
        fetch_qemu()
    mirror.stanzas.clear()
    mirror.update()
    with pytest.raises(SuiteMissing, match="knows no mirror"):
        suite_config("testing", fetched_program().parent / "apt")


def test_what_does_not_arrive_is_told_and_the_rest_is_kept(
    mirror: Mirror, programs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(mirror, programs)
    mirror.refused.add("libtested1")
    assert main(["qemu", "fetch"]) == 1
    assert "QEMU could not be fetched (libtested1" in capsys.readouterr().err
    with pytest.raises(GuestCancelled):
        fetch_qemu(cancelled=lambda: True)
    mirror.refused.clear()
    fetch_qemu()
    mirror.stanzas["qemu-system-x86"] = mirror.stanzas["qemu-system-x86"].replace("libtested1", "not-there")
    mirror.update()
    with pytest.raises(QemuNotFetched, match="apt cannot tell what it needs"):
        fetch_qemu()
    assert find_qemu().version == (11, 1, 0)  # that of before is still there


def test_without_apt_it_is_said_how_to_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QemuNotFetched, match=r"no apt.*GLASSBOX_QEMU"):
        fetch_qemu()
    with pytest.raises(SuiteMissing, match="no apt here"):
        suite_config("testing", tmp_path / "apt")


def test_a_program_runs_by_another_loader(tmp_path: Path) -> None:
    loader = tmp_path / "a loader"
    shutil.copy(LOADER, loader)
    program = tmp_path / "cat"
    program.write_bytes(with_interpreter(Path("/bin/cat").read_bytes(), os.fsencode(loader)))
    program.chmod(0o755)
    said = subprocess.run([program, "/proc/self/maps"], capture_output=True, text=True, check=True).stdout
    assert str(loader) in said
    assert str(LOADER) not in said
    assert str(LIBC) in said  # its libraries are the system's


def test_what_has_no_loader_is_refused() -> None:
    for data in (b"", b"#!/bin/sh\n" * 20, LIBC.with_name("libm.so.6").read_bytes(), b"\x7fELF\x02\x01" + bytes(80)):
        with pytest.raises(NotAnElfProgram):
            with_interpreter(data, b"/loader")


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=8), st.integers(0, 1500))
def test_damage_is_a_typed_error(changes: list[tuple[int, int]], kept: int) -> None:
    data = bytearray(Path("/bin/cat").read_bytes()[:1500])
    for position, value in changes:
        data[position] = value
    with contextlib.suppress(NotAnElfProgram):
        changed = with_interpreter(bytes(data[:kept]), b"/loader")
        assert changed.endswith(b"/loader\0")
