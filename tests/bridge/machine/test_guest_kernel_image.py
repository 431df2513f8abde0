"""What is a kernel and what is not: synthetic files, mutations of them, and QEMU's own word."""

import bz2
import contextlib
import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine.guest import GuestFileNotFound, GuestKernelInvalid
from bridge.machine.kernel_image import KernelFormat, check_kernel, has_pvh_entry, unpack_kernel
from tests.bridge.machine.kernel_files import PVH_NOTE, bzimage, elf, multiboot
from tests.bridge.machine.lz4_blocks import lz4_legacy


def _written(directory: Path, content: bytes) -> Path:
    path = directory / "kernel"
    path.write_bytes(content)
    return path


def _sized(compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    # The kernel's build appends the unpacked size to all but gzip, which ends with it.
    return lambda data: compress(data) + len(data).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (elf(), KernelFormat.PVH),
        (elf(bits=32, machine=3), KernelFormat.PVH),
        (elf(notes=struct.pack("<III8sQ", 5, 8, 1, b"GNU!\0", 7) + PVH_NOTE), KernelFormat.PVH),
        (bzimage(b"payload"), KernelFormat.BZIMAGE),
        (multiboot(), KernelFormat.MULTIBOOT),
        (elf(notes=b"", load=multiboot()), KernelFormat.MULTIBOOT),
    ],
)
def test_kernels_are_told_apart(content: bytes, expected: KernelFormat, tmp_path: Path) -> None:
    assert check_kernel(_written(tmp_path, content)) is expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "neither a Linux bzImage, nor"),
        (bytes(10_000), "neither a Linux bzImage, nor"),
        (bzimage(b"p" * 5000)[:-100], "cut short: .* of .* bytes"),
        (bzimage(b"")[:0x205], "neither a Linux bzImage"),
        (elf()[:40], "ELF header is cut short"),
        (elf()[:100], "points behind its end"),
        (elf()[:-1], "points behind its end"),
        (elf()[:300], "cut short: 300 of"),
        (elf(notes=b""), "without the PVH entry note"),
        (elf(notes=PVH_NOTE.replace(b"Xen", b"Zen")), "without the PVH entry note"),
        (elf(machine=183), "for another processor"),
        (elf(n_headers=0), "without program headers"),
        (elf(n_headers=9999), "without program headers"),
        (elf(load=b""), "nothing to load"),
        (elf()[:5] + b"\x02" + elf()[6:], "not for a PC"),
        (elf()[:32] + b"\xff" * 8 + elf()[40:], "points behind its end"),
        (elf()[: 64 + 56 + 32] + struct.pack("<Q", 1 << 40) + elf()[64 + 56 + 40 :], "notes claim"),
    ],
)
def test_what_is_no_kernel_is_refused_with_the_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = _written(tmp_path, content)
    with pytest.raises(GuestKernelInvalid, match=reason) as caught:
        check_kernel(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(GuestFileNotFound, match="cannot be read"):
            check_kernel(path)


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        _sized(bz2.compress),
        _sized(lzma.compress),
        _sized(lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
        _sized(lz4_legacy),
        _sized(lambda data: subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout),
    ],
    ids=["gzip", "bzip2", "xz", "lzma", "lz4", "zstd"],
)
@pytest.mark.parametrize("setup_sectors", [4, 39])
def test_the_payload_comes_out_whatever_packed_it(compress: Callable[[bytes], bytes], setup_sectors: int) -> None:
    kernel = elf(load=bytes(range(256)) * 50)
    image = bzimage(compress(kernel), setup_sectors=setup_sectors)
    assert unpack_kernel(Path("k"), image) == kernel
    assert has_pvh_entry(kernel)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "neither"),
        (bzimage(gzip.compress(elf()), version=0x207), r"protocol 2\.07 is older"),
        (bzimage(b"tiny"), "outside the file"),
        (bzimage(b"?" * 100), "unknown compression"),
        (bzimage(gzip.compress(b"text" * 100)), "no ELF file"),
        (bzimage(_sized(lzma.compress)(elf()) + b"\0\0\0\1"), "unpacks to .* bytes instead of"),
        (bzimage(gzip.compress(elf())[:-30]), "cut short|damaged"),
    ],
)
def test_a_payload_that_is_no_kernel(image: bytes, reason: str) -> None:
    with pytest.raises(GuestKernelInvalid, match=reason):
        unpack_kernel(Path("k"), image)


@given(
    content=st.sampled_from([elf(), elf(bits=32, machine=3), bzimage(gzip.compress(elf())), multiboot()]),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 3000),
)
def test_no_damage_does_worse_than_a_typed_error(
    content: bytes, changes: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(content)
    for position, value in changes:
        data[position % len(data)] = value
    damaged = bytes(data[: len(data) - cut % len(data)])
    path = tmp_path_factory.getbasetemp() / "fuzzed-kernel"
    path.write_bytes(damaged)
    with contextlib.suppress(GuestKernelInvalid):
        check_kernel(path)
    with contextlib.suppress(GuestKernelInvalid):
        unpack_kernel(path, damaged)
    has_pvh_entry(damaged)


@pytest.mark.parametrize("notes", [b"", PVH_NOTE], ids=["without note", "with note"])
def test_qemu_agrees_on_what_starts(notes: bytes, tmp_path: Path) -> None:
    """It refuses an ELF file without the note. (Of other files that are no kernels it starts some, which then hang.)"""
    path = _written(tmp_path, elf(notes=notes))
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-accel", "tcg", "-monitor", "stdio"]
    result = subprocess.run([*command, "-kernel", str(path)], input=b"quit\n", capture_output=True, check=False)
    assert (result.returncode == 0) == has_pvh_entry(path.read_bytes()), result.stderr
