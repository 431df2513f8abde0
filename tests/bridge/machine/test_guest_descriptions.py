"""Descriptions: what is right is read, what is wrong is said with its line, and nothing else ever comes out."""

import contextlib
import dataclasses
import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine.catalogue import own_guest
from bridge.machine.descriptions import check_files, is_guest_name, parse_size, read_description
from bridge.machine.guest import (
    GIB,
    KIB,
    MIB,
    GuestDescriptionError,
    GuestFileNotFound,
    GuestKernelInvalid,
    GuestOptionError,
)
from tests.bridge.machine.kernel_files import elf

WHOLE = """\
# everything that can be said
title = "My kernel"
kernel = "build/bzImage"
initrd = "/srv/initrd.img"
append = '''console=ttyS0
ram = "1T"'''
disk = "~/root.img"
cdrom = "../cd.iso"
floppy = "f.img"
ram = "512M"
min_ram = "64 MiB"
max_ram = "2g"
machine = "q35"
cpus = 2
network = true
ready_marker = "login: \\u001b[0m"
keeps_state = true
"""


def _write(directory: Path, text: str, name: str = "mine.toml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    guest = read_description(_write(tmp_path, WHOLE)).guest
    assert dataclasses.asdict(guest) == {
        "name": "mine",
        "title": "My kernel",
        "ram_bytes": 512 * MIB,
        "min_ram_bytes": 64 * MIB,
        "max_ram_bytes": 2 * GIB,
        "machine_type": "q35",
        "cpus": 2,
        "kernel": tmp_path / "build/bzImage",
        "initrd": Path("/srv/initrd.img"),
        "append": 'console=ttyS0\nram = "1T"',
        "disk": Path.home() / "root.img",
        "cdrom": tmp_path.parent / "cd.iso",
        "floppy": tmp_path / "f.img",
        "network": True,
        "ready_marker": b"login: \x1b[0m",
        "keeps_state": True,
    }


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    guest = read_description(_write(tmp_path, 'disk = "d"')).guest
    assert (guest.title, guest.machine_type, guest.cpus) == ("mine", "pc", 1)
    assert (guest.ram_bytes, guest.ready_marker, guest.network, guest.keeps_state) == (256 * MIB, None, False, False)
    assert read_description(_write(tmp_path, 'disk = "d"\nmin_ram = "1G"')).guest.ram_bytes == GIB
    assert read_description(_write(tmp_path, 'disk = "d"\nmax_ram = "64M"')).guest.ram_bytes == 64 * MIB


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('disk = "d"\nkernal = "k"', 2, "There is no key 'kernal'. Did you mean 'kernel'?"),
        ('disk = "d"\n\n\nzzzz = 1', 4, "There is no key 'zzzz'. Known keys: title, kernel"),
        ('disk = "d"\n[ram]\ndefault = "1G"', 2, "'ram' must be a string"),
        ('disk = "d"\n[[kernel]]\nx = 1', 2, "'kernel' must be a string"),
        ('disk = "d"\nram.size = "1G"', 2, "'ram' must be a string"),
        ('disk = "d"\n  "cpus"  = "2"', 2, "'cpus' must be a whole number"),
        ('disk = "d"\ncpus = true', 2, "'cpus' must be a whole number"),
        ('disk = "d"\ncpus = 0', 2, "'cpus' must be from 1 to 64"),
        ('disk = "d"\ncpus = 65', 2, "'cpus' must be from 1 to 64"),
        ('disk = "d"\nnetwork = "no"', 2, "'network' must be true or false"),
        ('disk = "d"\nram = 512', 2, "'ram' must be a string"),
        ('disk = "d"\nram = "512"', 2, "'ram': '512' is no size"),
        ('disk = "d"\nram = "1.5G"', 2, "'1.5G' is no size"),
        ('disk = "d"\nram = "100K"', 2, "whole number of MiB, from 1M to 1T"),
        ('disk = "d"\nram = "0M"', 2, "whole number of MiB"),
        ('disk = "d"\nram = "2T"', 2, "whole number of MiB"),
        ('disk = "d"\nmin_ram = "2G"\nram = "1G"', 3, "'ram' must lie between"),
        ('disk = "d"\nmin_ram = "2G"\nmax_ram = "1G"', 2, "'ram' must lie between"),
        ('disk = "d"\nmachine = "virt"', 2, "'machine' must be one of: pc, q35, microvm"),
        ('disk = "d"\nrecipe = "cake"', 2, "'recipe' must be one of: demo, boot-sector"),
        ('disk = "d"\n"k\\u0065rnel" = 1', 0, "'kernel' must be a string"),
        ('disk = ""', 1, "'disk' is empty"),
        ('disk = "d"\nready_marker = ""', 2, "'ready_marker' is empty"),
        ('disk = "a\\u0000b"', 1, "no NUL"),
        (f'disk = "d"\ntitle = "{"x" * 4097}"', 2, "at most 4096 characters"),
        ('append = """\nram = 1\n"""\ndisk = "d"\nram = 1', 5, "'ram' must be a string"),
        ("disk = 'd'\nram = ", 2, "Invalid value"),
        ('disk = "d"\ndisk = "e"', 2, "Cannot overwrite a value"),
        ('disk = "d', 1, "Illegal character|Unterminated|Expected"),
        ('disk = """d\n\n', 1, "Unterminated|Expected"),
        ("x" * 70_000, 0, "at most 64 KiB"),
        ("a = " + "[" * 20_000, 0, "cannot be read as TOML"),
        ('title = "nothing"', 0, "There is nothing to boot"),
        ('initrd = "i"\ndisk = "d"', 0, "An initrd needs a kernel"),
        ('append = "quiet"\ndisk = "d"', 0, "need a kernel beside"),
        ('machine = "microvm"\ndisk = "d"', 0, "A microvm boots a kernel"),
        ('machine = "microvm"\nkernel = "k"\ncdrom = "c"', 0, "neither CD-ROM nor floppy"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(GuestDescriptionError, match=re.escape(message) if "|" not in message else message) as caught:
        read_description(path)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_bytes_that_are_no_text_are_said_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'disk = "d"\ntitle = "\xff"\n')
    with pytest.raises(GuestDescriptionError, match="0xff is no UTF-8") as caught:
        read_description(path)
    assert caught.value.line == 2


def test_the_name_is_the_files_name(tmp_path: Path) -> None:
    for name in ("Big.toml", "a b.toml", "-x.toml", f"{'x' * 33}.toml", "ä.toml"):
        assert not is_guest_name(name.removesuffix(".toml"))
        with pytest.raises(GuestDescriptionError, match="The file's name is the guest's name"):
            read_description(_write(tmp_path, 'disk = "d"', name))
    assert read_description(_write(tmp_path, 'disk = "d"', "my.own_guest-2.toml")).guest.name == "my.own_guest-2"


def test_a_description_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "dir.toml").mkdir()
    os.mkfifo(tmp_path / "fifo.toml")  # opening it would wait for ever
    for name, reason in (("no.toml", "does not exist"), ("dir.toml", "is no file"), ("fifo.toml", "is no file")):
        with pytest.raises(GuestFileNotFound, match=reason):
            read_description(tmp_path / name)
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    with pytest.raises(GuestFileNotFound, match="description"):
        read_description(tmp_path / "loop.toml")


def test_a_home_of_nobody_is_a_plain_name(tmp_path: Path) -> None:
    guest = read_description(_write(tmp_path, 'disk = "~no-such-user-here/d"')).guest
    assert guest.disk == tmp_path / "~no-such-user-here/d"


_VALUES = st.one_of(
    st.text(max_size=20),
    st.integers(),
    st.booleans(),
    st.sampled_from(["128M", "4G", "pc", "q35", "microvm", "demo", "boot-sector", "kernel"]),
)
_KEYS = st.sampled_from(
    ["title", "kernel", "initrd", "disk", "ram", "min_ram", "max_ram", "machine", "cpus", "recipe", "x"]
)


def _toml(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'


@given(lines=st.lists(st.tuples(_KEYS, _VALUES), max_size=8), noise=st.text(max_size=30), at=st.integers(0, 8))
def test_any_text_is_a_guest_or_a_typed_error(
    lines: list[tuple[str, str | int | bool]], noise: str, at: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = [f"{key} = {_toml(value)}" for key, value in lines]
    written.insert(at, noise)
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_text("\n".join(written), encoding="utf-8", errors="replace", newline="")
    failure = None
    try:
        guest = read_description(path).guest
    except GuestDescriptionError as error:
        failure = error
    if failure is not None:
        assert 0 <= failure.line <= path.read_bytes().count(b"\n") + 1
    else:
        assert guest.min_ram_bytes <= guest.ram_bytes <= guest.max_ram_bytes
        assert tomllib.loads(path.read_bytes().decode())


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_guest_or_a_typed_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_bytes(data)
    with contextlib.suppress(GuestDescriptionError):
        read_description(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [("128M", 128 * MIB), ("4 GiB", 4 * GIB), ("1t", 1024 * GIB), (" 64KB ", 64 * KIB), ("007M", 7 * MIB)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text(max_size=12))
def test_what_is_no_size_is_said(text: str) -> None:
    if re.fullmatch(r"\s*[0-9]+\s*[KMGTkmgt]([iI]?[bB])?\s*", text):
        assert parse_size(text) >= 0
    else:
        with pytest.raises(ValueError, match="is no size"):
            parse_size(text)


def test_own_guest_from_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k").write_bytes(elf())
    (tmp_path / "i").write_bytes(b"cpio")
    guest = own_guest(kernel=Path("k"), initrd=Path("i"), append="quiet", ram_bytes=64 * MIB, ready_marker=b"# ")
    assert (guest.kernel, guest.initrd) == (tmp_path / "k", tmp_path / "i")
    assert (guest.name, guest.title, guest.append, guest.ram_bytes) == ("own", "k, i", "quiet", 64 * MIB)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_guest(disk=Path("~/i")).disk == tmp_path / "i"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to boot"),
        ({"initrd": Path("i"), "disk": Path("i")}, "needs a kernel"),
        ({"append": "x", "disk": Path("i")}, "need a kernel"),
        ({"disk": Path("i"), "name": "No Name"}, "is no name"),
        ({"disk": Path("i"), "machine_type": "virt"}, "no machine type 'virt'"),
        ({"disk": Path("i"), "cpus": 0}, "from 1 to 64 CPUs"),
        ({"disk": Path("i"), "ram_bytes": 12345}, "whole number of MiB"),
        ({"kernel": Path("i"), "append": "a\0b"}, "no NUL"),
        ({"disk": Path("i"), "ready_marker": b""}, "ready marker is empty"),
    ],
)
def test_options_that_make_no_guest(options: dict[str, object], message: str) -> None:
    with pytest.raises(GuestOptionError, match=message):
        own_guest(**options)  # type: ignore[arg-type]


def test_own_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no kernel")
    (tmp_path / "loop").symlink_to("loop")
    for role in ("disk", "cdrom", "floppy", "kernel"):
        for name, reason in (
            ("missing", "does not exist"),
            (".", "is no file"),
            ("empty", "is empty"),
            ("loop", "loop|does not exist"),
        ):
            with pytest.raises(GuestFileNotFound, match=rf"The guest's {role} .*({reason})"):
                own_guest(**{role: tmp_path / name})  # type: ignore[arg-type]
    with pytest.raises(GuestFileNotFound, match="does not exist"):
        own_guest(disk=Path("a\0b"))
    with pytest.raises(GuestKernelInvalid):
        own_guest(kernel=tmp_path / "text")
    check_files(own_guest(disk=tmp_path / "text"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not read a file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_text("x")
    secret.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(GuestFileNotFound, match=r"cannot be read \(Permission denied\)"):
            own_guest(disk=secret)
        with pytest.raises(GuestFileNotFound, match=r"description .* cannot be read"):
            read_description(secret)
    finally:
        os.seteuid(0)
