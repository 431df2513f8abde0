"""The demo guest assembled by the real apt from a small mirror: every distribution's layout, and all that may fail."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bridge.machine import decompress, demo_guest
from bridge.machine.catalogue import describe_guests, find_guest
from bridge.machine.demo_ingredients import choose_packages, fetch_ingredients
from bridge.machine.guest import Guest, GuestCancelled, GuestIngredientMissing
from bridge.machine.packages import read_files
from tests.bridge.machine.kernel_files import bzimage, elf
from tests.bridge.machine.package_mirror import Mirror, serve_mirror

KERNEL = elf(load=b"a kernel of few words " * 99)
IMAGE = bzimage(gzip.compress(KERNEL))
OWN_CHOICE = {
    "busybox-static": "",
    "dropbear-bin": "libc6, libtomcrypt1",
    "libc6": "",
    "libtomcrypt1": "libc6, libgmp10",
}


def _module(name: str, *needs: str) -> bytes:
    return f"\x7fELF{name}\0license=GPL\0depends={','.join(needs)}\0name={name}\0".encode()


@pytest.fixture(scope="module")
def programs(demo_guest: Guest, guest_cache: Path) -> dict[str, dict[str, bytes]]:
    """The real programs and libraries, from the packages of the real guest."""
    assert demo_guest.kernel
    files = {}
    for package in (guest_cache / "glassbox/packages").glob("*.deb"):
        name = package.name.split("_")[0]
        if not name.startswith("linux-"):
            files[name] = read_files(package, lambda path: path.split("/")[0] in ("bin", "usr", "lib", "lib64", "sbin"))
    files["libtomcrypt1"] |= files.get("libtommath1", {}) | files.get("zlib1g", {}) | files.get("libcrypt1", {})
    return files


@pytest.fixture
def mirror(
    programs: Mapping[str, Mapping[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mirror]:
    """A mirror with all but a kernel."""
    with serve_mirror(tmp_path / "mirror") as mirror:
        for name in ("busybox-static", "dropbear-bin", "libc6", "libtomcrypt1", "libgmp10"):
            wanted = {path: data for path, data in programs[name].items() if _belongs(path)}
            mirror.add(name, wanted, OWN_CHOICE.get(name, ""))
        monkeypatch.setenv("APT_CONFIG", str(mirror.apt_config))
        yield mirror


def _belongs(path: str) -> bool:
    # Documentation and character tables would only take time to pack.
    return "/share/" not in path and "/gconv/" not in path and not path.endswith(".a")


def _debian_12(mirror: Mirror, kernel: bytes = IMAGE) -> None:
    modules = "lib/modules/6.1/kernel"
    mirror.add(
        "linux-image-6.1-cloud-amd64",
        {
            "boot/vmlinuz-6.1-cloud-amd64": kernel,
            f"{modules}/drivers/virtio/virtio_pci.ko": _module("virtio_pci", "virtio", "virtio-ring"),
            f"{modules}/drivers/virtio/virtio.ko": _module("virtio"),
            f"{modules}/drivers/virtio/virtio_ring.ko": _module("virtio_ring", "virtio"),
            f"{modules}/drivers/net/virtio_net.ko": _module("virtio_net", "virtio", "net_failover"),
            f"{modules}/drivers/net/net_failover.ko": _module("net_failover", "odd_one"),
            f"{modules}/net/core/odd-one.ko": _module("odd_one"),
            f"{modules}/sound/sound.ko": _module("sound"),
        },
        "kmod, linux-base (>= 4.3)",
    )
    mirror.add("linux-image-cloud-amd64", {}, "linux-image-6.1-cloud-amd64 (= 1:2.0)")
    mirror.update()


def _debian_14(mirror: Mirror) -> None:
    modules = "usr/lib/modules/7.2/kernel"
    mirror.add("linux-binary-7.2-cloud-amd64", {"usr/lib/modules/7.2/vmlinuz": IMAGE})
    mirror.add(
        "linux-modules-7.2-cloud-amd64",
        {
            f"{modules}/drivers/net/virtio_net.ko.xz": lzma.compress(
                _module("virtio_net", "virtio"), check=lzma.CHECK_CRC32
            )
        },
    )
    both = "linux-binary-7.2-cloud-amd64 (= 1:2.0), linux-modules-7.2-cloud-amd64 (= 1:2.0)"
    mirror.add("linux-image-7.2-cloud-amd64", {}, f"dracut | initramfs-tools, {both}")
    mirror.add("linux-image-cloud-amd64", {}, "linux-base-cloud-amd64, linux-image-7.2-cloud-amd64 (= 1:2.0)")
    mirror.update()


def _ubuntu(mirror: Mirror) -> None:
    mirror.add("linux-modules-6.8.0-1-generic", {"lib/modules/6.8.0-1-generic/modules.builtin": b"virtio_net"})
    mirror.add("linux-image-6.8.0-1-generic", {"boot/vmlinuz-6.8.0-1-generic": IMAGE}, "linux-modules-6.8.0-1-generic")
    mirror.add("linux-image-virtual", {}, "linux-image-6.8.0-1-generic, linux-firmware")
    mirror.update()


def _choice(*packages: object) -> str:
    return json.dumps({"format": 2, "packages": packages})


def _entry(name: str, file: str, **changes: object) -> dict[str, object]:
    return {"name": name, "file_name": file, "size_bytes": 1, "algorithm": "sha256", "digest": "", **changes}


def _paths_in(initrd: Path) -> set[str]:
    listing = subprocess.run(["cpio", "-it"], input=initrd.read_bytes(), capture_output=True, check=True)
    return set(listing.stdout.decode().split("\n"))


def _read(initrd: Path, name: str) -> str:
    command = ["cpio", "-i", "--to-stdout", "--quiet", name]
    return subprocess.run(command, input=initrd.read_bytes(), capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize(
    ("layout", "modules"),
    [
        (_debian_12, ["virtio", "virtio_ring", "virtio_pci", "odd_one", "net_failover", "virtio_net"]),
        (_debian_14, ["virtio_net"]),
        (_ubuntu, []),
    ],
)
def test_every_distributions_layout(layout: object, modules: list[str], mirror: Mirror) -> None:
    assert callable(layout)
    layout(mirror)
    guest = find_guest("demo")
    assert guest.kernel
    assert guest.initrd
    assert guest.kernel.read_bytes() == KERNEL
    paths = _paths_in(guest.initrd)
    assert {
        "init",
        "bin/busybox",
        "bin/sh",
        "dev/console",
        "etc/inittab",
        "usr/bin/dropbear",
        "usr/bin/pattern",
    } <= paths
    assert {
        "lib64/ld-linux-x86-64.so.2",
        "lib/x86_64-linux-gnu/libc.so.6",
        "lib/x86_64-linux-gnu/libgmp.so.10",
    } <= paths
    assert {f"lib/modules/{name}.ko" for name in modules} == {path for path in paths if path.endswith(".ko")}
    assert _read(guest.initrd, "etc/network-modules").split() == [f"/lib/modules/{name}.ko" for name in modules]
    assert {summary.name: summary.problem for summary in describe_guests()}["demo"] == ""


def test_the_second_time_nothing_is_asked_or_made(mirror: Mirror) -> None:
    _debian_12(mirror)
    before = find_guest("demo")
    asked = len(mirror.requests)
    assert before.kernel
    made_at = before.kernel.stat().st_mtime_ns
    assert find_guest("demo") == before
    assert len(mirror.requests) == asked
    assert before.kernel.stat().st_mtime_ns == made_at


def test_a_damaged_guest_is_made_again_without_a_network(mirror: Mirror) -> None:
    _debian_12(mirror)
    guest = find_guest("demo")
    assert guest.kernel
    guest.kernel.write_bytes(b"scribble")
    mirror.refused |= set(mirror.stanzas)
    mirror.stanzas.clear()
    mirror.update()
    said: list[str] = []
    assert find_guest("demo", progress=lambda sentence, _share: said.append(sentence)) == guest
    assert guest.kernel.read_bytes() == KERNEL
    assert said[-1] == "The guest is assembled"


def test_packages_are_looked_up_again_when_one_is_gone(mirror: Mirror, tmp_path: Path) -> None:
    _debian_12(mirror)
    directory = tmp_path / "packages"
    first = fetch_ingredients(directory)
    first.shell.unlink()
    (directory / "old_1_amd64.deb").write_text("of an earlier choice")
    assert fetch_ingredients(directory) == first
    assert first.shell.is_file()
    assert not (directory / "old_1_amd64.deb").exists()


@pytest.mark.parametrize(
    "choice",
    [
        "",
        "[]",
        '{"format": 1, "packages": []}',
        '{"format": 2, "packages": [1]}',
        '{"format": 2, "packages": []}',
        _choice(_entry("busybox-static", "../../x"), _entry("dropbear-bin", "y")),
        _choice(_entry("busybox-static", "x", algorithm=7), _entry("dropbear-bin", "y", size_bytes="1")),
        _choice(_entry("busybox-static", "x", algorithm="crc"), _entry("dropbear-bin", "y")),
        _choice(_entry("busybox-static", "x", digest=None), _entry("dropbear-bin", "y")),
        _choice(_entry("busybox-static", "x", file_name=5), _entry("dropbear-bin", "y")),
        _choice({"name": "busybox-static"}),
    ],
)
def test_a_damaged_choice_is_made_anew(choice: str, mirror: Mirror, tmp_path: Path) -> None:
    _debian_12(mirror)
    directory = tmp_path / "packages"
    directory.mkdir()
    (directory / "choice.json").write_text(choice)
    (directory / "x").write_text("x")
    (directory / "y").write_text("y")
    assert fetch_ingredients(directory).shell.name.startswith("busybox-static_")


def test_two_at_once_assemble_once(mirror: Mirror) -> None:
    _debian_12(mirror)
    guests: list[Guest] = []
    threads = [threading.Thread(target=lambda: guests.append(find_guest("demo"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guests == guests[:1] * 3
    assert sum("dropbear-bin_" in request for request in mirror.requests) == 1


@pytest.mark.parametrize("after", ["Looking up", "Downloading", "Unpacking", "Making"])
def test_it_can_be_stopped_at_every_stage(after: str, mirror: Mirror, tmp_path: Path) -> None:
    _debian_12(mirror)
    stop = threading.Event()

    def progress(sentence: str, _share: float) -> None:
        if sentence.startswith(after):
            stop.set()

    if after == "Downloading":
        mirror.slow.add("libc6")
    with pytest.raises(GuestCancelled):
        find_guest("demo", progress=progress, cancelled=stop.is_set)
    left = [path.name for path in (tmp_path / "XDG_CACHE_HOME/glassbox/guests").iterdir()]
    assert left == [".lock"]
    mirror.slow.clear()
    mirror.stop.set()
    assert find_guest("demo").kernel


def test_without_the_packages_it_says_which_and_what_to_do(mirror: Mirror) -> None:
    mirror.update()
    with pytest.raises(GuestIngredientMissing, match=r"linux-image-cloud-amd64\. .* sudo apt-get update"):
        choose_packages()
    mirror.stanzas.clear()
    mirror.update()
    with pytest.raises(GuestIngredientMissing) as caught:
        find_guest("demo")
    assert caught.value.packages == ("linux-image-cloud-amd64", "busybox-static", "dropbear-bin")
    assert next(summary for summary in describe_guests() if summary.name == "demo").problem


def test_a_kernel_that_cannot_be_unpacked_is_started_as_it_is(mirror: Mirror) -> None:
    """One packed in a way that nobody knows yet, or built without PVH."""
    for image in (bzimage(b"packed by tomorrow's tool" * 9), bzimage(gzip.compress(elf(notes=b"")))):
        assert demo_guest.unpack_if_possible(Path("package"), image) == image


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> bytes:
        raise decompress.DecoderMissing("libzstd1")

    monkeypatch.setattr(decompress, "_decompress_zstd", missing)
    with pytest.raises(GuestIngredientMissing, match="sudo apt-get install libzstd1"):
        demo_guest.unpack_if_possible(Path("package"), bzimage(b"\x28\xb5\x2f\xfd" + bytes(99)))


def test_without_a_compiler_it_says_what_to_install(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _debian_12(mirror)
    fetch_ingredients(tmp_path / "XDG_CACHE_HOME/glassbox/packages")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dpkg-deb", "tar", "gzip"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(GuestIngredientMissing, match=r"No such file.*sudo apt-get install gcc"):
        find_guest("demo")
    (tools / "gcc").write_text("#!/bin/sh\necho the compiler is broken >&2\nexit 1\n")
    (tools / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(GuestIngredientMissing, match="could not be compiled: the compiler is broken"):
        find_guest("demo")


@pytest.mark.parametrize(
    ("package", "contents", "message"),
    [
        ("linux-image-6.1-cloud-amd64", {"boot/nothing": b""}, "There is no kernel in them"),
        ("busybox-static", {"bin/nothing": b""}, "busybox is not in"),
        ("busybox-static", {"bin/busybox": b"no program"}, "programs could not be listed"),
        ("dropbear-bin", {"usr/sbin/dropbear": b"x"}, "usr/bin/dbclient, usr/bin/dropbearkey"),
        ("libgmp10", {"usr/lib/nothing": b""}, r"libgmp\.so\.10\. The SSH daemon needs it"),
        ("libc6", {"usr/lib/nothing": b""}, r"ld-linux-x86-64\.so\.2, libc\.so\.6"),
    ],
)
def test_a_package_without_what_is_expected(
    package: str, contents: dict[str, bytes], message: str, mirror: Mirror
) -> None:
    _debian_12(mirror)
    shutil.rmtree(mirror.directory / "build" / package)
    mirror.add(package, contents, OWN_CHOICE.get(package, ""))
    mirror.update()
    with pytest.raises(GuestIngredientMissing, match=message):
        find_guest("demo")


def test_a_damaged_module_is_said(mirror: Mirror) -> None:
    mirror.add("linux-modules-1", {"lib/modules/1/virtio_net.ko.xz": lzma.compress(b"m")[:-9]})
    mirror.add("linux-image-1", {"boot/vmlinuz-1": IMAGE}, "linux-modules-1")
    mirror.add("linux-image-cloud-amd64", {}, "linux-image-1")
    mirror.update()
    with pytest.raises(GuestIngredientMissing, match=r"virtio_net\.ko\.xz: xz data that is cut short"):
        find_guest("demo")
