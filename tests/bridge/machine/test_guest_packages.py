"""Fetching packages with the real apt from a mirror that misbehaves on demand."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.machine.guest import GuestCancelled, GuestIngredientMissing
from bridge.machine.packages import Package, depends, fetch, locate, read_files, require_apt
from tests.bridge.machine.package_mirror import Mirror, serve_mirror


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with serve_mirror(tmp_path / "mirror") as mirror:
        mirror.add("tool", {"usr/bin/tool": b"tool"}, depends="libone (>= 1), libtwo | libthree, zlib1g:any")
        mirror.add("libone", {"usr/lib/libone.so.1": b"one" * 1000}, depends="libc6")
        mirror.update()
        monkeypatch.setenv("APT_CONFIG", str(mirror.apt_config))
        yield mirror


def test_dependencies_are_the_first_choices(mirror: Mirror) -> None:
    found = depends(["tool", "no-such-package", "libone"])
    assert found == {"tool": ("libone", "libtwo", "zlib1g"), "libone": ("libc6",)}
    assert depends([]) == {}
    assert depends(["no-such-package"]) == {}


def test_packages_arrive_once_and_intact(mirror: Mirror, tmp_path: Path) -> None:
    packages = locate(["tool", "libone"])
    assert {package.name for package in packages} == {"tool", "libone"}
    said: list[tuple[str, float]] = []
    paths = fetch(packages, tmp_path / "packages", progress=lambda sentence, share: said.append((sentence, share)))
    assert read_files(paths["tool"], lambda path: path == "usr/bin/tool") == {"usr/bin/tool": b"tool"}
    assert said
    assert all(0 <= share <= 1 for _, share in said)
    asked = len(mirror.requests)
    assert fetch(packages, tmp_path / "packages") == paths
    assert len(mirror.requests) == asked
    assert not list((tmp_path / "packages/partial").iterdir())


def test_a_damaged_package_is_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    packages = locate(["tool", "libone"])
    paths = fetch(packages, tmp_path)
    good = paths["tool"].read_bytes()
    paths["tool"].write_bytes(good[:-1] + b"?")
    before = len(mirror.requests)
    assert fetch(packages, tmp_path)["tool"].read_bytes() == good
    assert [request.split("/")[-1].split("_")[0] for request in mirror.requests[before:]] == ["tool"]


def test_what_has_arrived_is_kept_when_the_rest_does_not(mirror: Mirror, tmp_path: Path) -> None:
    packages = locate(["tool", "libone"])
    mirror.refused.add("libone")
    with pytest.raises(GuestIngredientMissing, match=r"could not be downloaded \(.*404.*apt-get update") as caught:
        fetch(packages, tmp_path)
    assert caught.value.packages == ("libone",)
    mirror.refused.clear()
    before = len(mirror.requests)
    assert set(fetch(packages, tmp_path)) == {"tool", "libone"}
    assert not [request for request in mirror.requests[before:] if "tool_" in request]


def test_a_mirror_that_sends_something_else(mirror: Mirror, tmp_path: Path) -> None:
    packages = locate(["tool"])
    mirror.damaged.add("tool")
    with pytest.raises(GuestIngredientMissing, match="tool"):
        fetch(packages, tmp_path)
    assert not list(tmp_path.glob("tool*"))


def test_apt_that_says_yes_to_a_wrong_file_is_not_believed(mirror: Mirror, tmp_path: Path) -> None:
    """The list changed between the question and the download."""
    package = locate(["tool"])[0]
    other = Package("tool", package.file_name, package.size_bytes, "sha256", "0" * 64)
    with pytest.raises(GuestIngredientMissing, match="arrived damaged"):
        fetch([other], tmp_path)
    assert not list((tmp_path / "partial").glob("*.deb"))


def test_a_download_can_be_stopped_at_any_moment(mirror: Mirror, tmp_path: Path) -> None:
    packages = locate(["tool", "libone"])
    mirror.slow.add("libone")
    stop = threading.Event()
    started_s = time.monotonic()

    def progress(_sentence: str, share: float) -> None:
        if share > 0 or time.monotonic() > started_s + 5:
            stop.set()

    with pytest.raises(GuestCancelled, match="kept for the next time"):
        fetch(packages, tmp_path, progress=progress, cancelled=stop.is_set)
    assert time.monotonic() < started_s + 120
    mirror.slow.clear()
    mirror.stop.set()
    assert set(fetch(packages, tmp_path)) == {"tool", "libone"}


def test_without_a_network(mirror: Mirror, tmp_path: Path) -> None:
    packages = locate(["tool"])
    sources = mirror.directory / "etc/sources.list"
    port = sources.read_text().split(":")[-1].split(" ")[0]
    mirror.apt_config.write_text(mirror.apt_config.read_text() + 'Acquire::http::Proxy "http://127.0.0.1:9";\n')
    with pytest.raises(GuestIngredientMissing, match="Check the network connection") as caught:
        fetch(packages, tmp_path)
    assert port
    assert caught.value.packages == ("tool",)


def test_without_lists(mirror: Mirror) -> None:
    with pytest.raises(GuestIngredientMissing, match=r"nope.*sudo apt-get update") as caught:
        locate(["tool", "nope"])
    assert "nope" in caught.value.packages


def test_a_weak_checksum_is_no_checksum(mirror: Mirror) -> None:
    mirror.stanzas["libone"] = mirror.stanzas["libone"].replace("SHA256: ", "MD5sum: " + "0" * 32 + "\nX-Was: ")
    mirror.update()
    with pytest.raises(GuestIngredientMissing, match="libone"):
        locate(["libone"])


def test_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GuestIngredientMissing, match=r"no such tool.*--kernel FILE") as caught:
        require_apt()
    assert caught.value.packages == ("apt-get", "apt-cache", "dpkg-deb")


def test_links_within_a_package_are_followed(mirror: Mirror, tmp_path: Path) -> None:
    mirror.add(
        "links",
        {"usr/lib/real.so.1.2": b"real", "usr/lib/unwanted": b"no"},
        links={
            "usr/lib/near.so": "real.so.1.2",
            "lib/far.so": "../usr/lib/near.so",
            "lib/absolute.so": "/usr/lib/real.so.1.2",
            "lib/loop.so": "loop.so",
            "lib/outside.so": "/etc/passwd",
        },
    )
    package = next((mirror.directory / "pool").glob("links_*"))
    names = ("near", "far", "absolute", "loop", "outside")
    found = read_files(package, lambda path: Path(path).stem in names)
    assert found == {"usr/lib/near.so": b"real", "lib/far.so": b"real", "lib/absolute.so": b"real"}


def test_hard_links_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: h\nVersion: 1\nArchitecture: amd64\nMaintainer: N <n@example.org>\nDescription: x\n"
    )
    (root / "a").write_bytes(b"content")
    (root / "b").hardlink_to(root / "a")
    subprocess.run(["dpkg-deb", "-b", str(root), str(tmp_path / "h.deb")], check=True, capture_output=True)
    for name in ("a", "b"):
        assert read_files(tmp_path / "h.deb", lambda path, name=name: path == name) == {name: b"content"}  # type: ignore[misc]


def test_what_is_no_package(tmp_path: Path) -> None:
    broken = tmp_path / "broken.deb"
    broken.write_bytes(b"!<arch>\nnothing")
    with pytest.raises(GuestIngredientMissing, match="cannot be read"):
        read_files(broken, lambda _path: True)
