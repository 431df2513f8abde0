"""What is kept for guests: complete or absent, noticed when damaged, made by one at a time."""

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine import guest_cache
from bridge.machine.guest import GuestCancelled

FILES = {"kernel": b"k" * 5000, "initrd": b"i" * 3000}


def test_what_is_put_is_intact(tmp_path: Path) -> None:
    directory = tmp_path / "guests/demo-1"
    assert not guest_cache.is_intact(directory)
    guest_cache.put(directory, FILES)
    assert guest_cache.is_intact(directory)
    assert {name: (directory / name).read_bytes() for name in FILES} == FILES
    guest_cache.put(directory, {"kernel": b"new"})
    assert guest_cache.is_intact(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["kernel", "manifest.json"]
    assert [path.name for path in directory.parent.iterdir()] == ["demo-1"]


@given(
    position=st.integers(0, 4999),
    value=st.integers(0, 255),
    damage=st.sampled_from(["change", "cut", "remove", "grow", "directory"]),
)
def test_every_damage_is_noticed(
    position: int, value: int, damage: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp() / "damaged"
    guest_cache.put(directory, FILES)
    kernel = directory / "kernel"
    if damage == "change":
        content = bytearray(FILES["kernel"])
        content[position] = value
        time.sleep(0.001)
        kernel.write_bytes(content)
        os.utime(kernel, ns=(1, 1))
        assert guest_cache.is_intact(directory) == (bytes(content) == FILES["kernel"])
        return
    if damage == "cut":
        os.truncate(kernel, position)
    elif damage == "grow":
        os.truncate(kernel, 5001 + position)
    else:
        kernel.unlink()
        if damage == "directory":
            kernel.mkdir()
    assert not guest_cache.is_intact(directory)


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b"null", b'{"kernel": 1}', b'{"kernel": {"size": 1}}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_manifest_is_noticed(manifest: bytes, tmp_path: Path) -> None:
    guest_cache.put(tmp_path / "d", FILES)
    (tmp_path / "d/manifest.json").write_bytes(manifest)
    assert not guest_cache.is_intact(tmp_path / "d")


def test_what_fails_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "guests/d"
    guest_cache.put(directory, FILES)
    with pytest.raises(TypeError):
        guest_cache.put(directory, {"kernel": b"new", "initrd": None})  # type: ignore[dict-item]
    assert guest_cache.is_intact(directory)
    assert [path.name for path in directory.parent.iterdir()] == ["d"]


def test_the_key_depends_on_every_byte_and_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    (source / "etc/a").write_bytes(b"1")
    keys = {guest_cache.key_of(source)}
    (source / "etc/a").write_bytes(b"2")
    keys.add(guest_cache.key_of(source))
    (source / "etc/a").rename(source / "etc/b")
    keys.add(guest_cache.key_of(source))
    keys.add(guest_cache.key_of(source, "version 2"))
    keys.add(guest_cache.key_of(source / "etc/b"))
    (source / "c").write_bytes(b"")
    keys.add(guest_cache.key_of(source))
    assert len(keys) == 6
    assert guest_cache.key_of(source) == guest_cache.key_of(source)


def test_versions_that_nobody_uses_any_more_go(tmp_path: Path) -> None:
    guests = tmp_path / "guests"
    for number in range(6):
        guest_cache.put(guests / f"demo-{number}", FILES)
        os.utime(guests / f"demo-{number}", (number, number))
    guest_cache.put(guests / "other-1", FILES)
    guest_cache.remove_old(guests, "demo-", guests / "demo-0")
    assert sorted(path.name for path in guests.iterdir()) == ["demo-0", "demo-4", "demo-5", "other-1"]


def test_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with guest_cache.lock(tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with guest_cache.lock(tmp_path):
        inside.set()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_waiting_can_be_given_up(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(GuestCancelled, match="Another Glassbox"), guest_cache.lock(tmp_path, lambda: True):
            pytest.fail("two hold the lock")


def test_the_work_directory_is_gone_afterwards(tmp_path: Path) -> None:
    with guest_cache.work_directory(tmp_path / "a") as work:
        (work / "file").write_text("x")
        assert list((tmp_path / "a").iterdir()) == [work]
    assert not list((tmp_path / "a").iterdir())
