"""Saved states: what is put in comes out, and nothing that was damaged does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.machine.saved_state import (
    PAGE_BYTES,
    RamImage,
    SavedStateBroken,
    StateStore,
    compress_zero_pages,
    read_ram,
    state_key,
)

PAGES = 24


def sparse_file(path: Path, content: dict[int, int]) -> None:
    with path.open("wb") as file:
        file.truncate(PAGES * PAGE_BYTES)
        for page, value in content.items():
            file.seek(page * PAGE_BYTES)
            file.write(bytes([value]) * PAGE_BYTES)


def extents_of(content: dict[int, int]) -> list[tuple[int, int]]:
    return [(page * PAGE_BYTES, PAGE_BYTES) for page in sorted(content)]


def saved(store: StateStore, source: Path, content: dict[int, int], key: str = "k") -> None:
    extents = extents_of(content)
    image = compress_zero_pages(extents, read_ram(source, extents))
    store.save(key, image, b"devices", PAGES * PAGE_BYTES, b"console")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.integers(0, PAGES - 1), st.integers(0, 3)))
def test_ram_comes_back_as_it_was(tmp_path: Path, content: dict[int, int]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    sparse_file(source, content)
    store = StateStore(tmp_path / "states")
    saved(store, source, content)
    state = store.find("k")
    assert state is not None
    assert state.describe(PAGES * PAGE_BYTES) == b"console"
    sparse_file(target, {})
    state.restore_ram(target, lambda: False)
    assert target.read_bytes() == source.read_bytes()
    filled = sum(1 for value in content.values() if value)
    assert target.stat().st_blocks * 512 == filled * PAGE_BYTES, "zero pages stay holes"
    assert (tmp_path / "states" / "k" / "ram.bin").stat().st_size == filled * PAGE_BYTES
    state.restore_devices(tmp_path / "devices")
    assert (tmp_path / "devices").read_bytes() == b"devices"


def test_other_ram_size_and_giving_up(tmp_path: Path) -> None:
    content = {1: 1, 2: 2}
    sparse_file(tmp_path / "source", content)
    store = StateStore(tmp_path / "states")
    assert store.find("k") is None
    assert store.size_bytes() == 0
    saved(store, tmp_path / "source", content)
    state = store.find("k")
    assert state is not None
    with pytest.raises(SavedStateBroken, match="other RAM"):
        state.describe(4096)
    sparse_file(tmp_path / "target", {})
    state.restore_ram(tmp_path / "target", lambda: True)
    assert (tmp_path / "target").stat().st_blocks == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 99}',
        '{"format": 1}',
        '{"format": 1, "ram_bytes": 98304}',
        '{"format": 1, "ram_bytes": 98304, "console": 5}',
        '{"format": 1, "ram_bytes": 98304, "console": "zz"}',
        '{"format": 1, "ram_bytes": 98304, "console": "", "files": {"index.bin": [1]}}',
        "[" * 100_000,
    ],
)
def test_descriptions_that_make_no_sense(tmp_path: Path, text: str) -> None:
    sparse_file(tmp_path / "source", {1: 1})
    store = StateStore(tmp_path / "states")
    saved(store, tmp_path / "source", {1: 1})
    (tmp_path / "states" / "k" / "state.json").write_text(text)
    state = store.find("k")
    assert state is not None
    sparse_file(tmp_path / "target", {})

    def use() -> None:
        state.describe(PAGES * PAGE_BYTES)
        state.restore_devices(tmp_path / "devices")

    with pytest.raises(SavedStateBroken):
        use()
    with pytest.raises(SavedStateBroken):
        state.restore_ram(tmp_path / "target", lambda: False)


@pytest.mark.parametrize(
    "index",
    [
        np.array([[0, 8192]], np.uint64),
        np.array([[PAGES * PAGE_BYTES, 4096]], np.uint64),
        np.array([[2**64 - 4096, 4096]], np.uint64),
        np.array([[0, 2**64 - 4096], [0, 8192]], np.uint64),
        np.array([0], np.uint64),
    ],
)
def test_index_that_points_elsewhere(tmp_path: Path, index: np.ndarray) -> None:
    store = StateStore(tmp_path / "states")
    store.save("k", RamImage(index, np.ones(4096, np.uint8)), b"", PAGES * PAGE_BYTES, b"")
    state = store.find("k")
    assert state is not None
    sparse_file(tmp_path / "target", {})
    with pytest.raises(SavedStateBroken):
        state.restore_ram(tmp_path / "target", lambda: False)
    assert (tmp_path / "target").stat().st_size == PAGES * PAGE_BYTES


def test_empty_ram(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "states")
    sparse_file(tmp_path / "source", {})
    saved(store, tmp_path / "source", {})
    state = store.find("k")
    assert state is not None
    state.restore_ram(tmp_path / "source", lambda: False)
    state.remove()
    assert store.find("k") is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    sparse_file(tmp_path / "source", {1: 1, 2: 2})
    store = StateStore(tmp_path / "states")
    for number, key in enumerate("abc"):
        saved(store, tmp_path / "source", {1: 1, 2: 2}, key)
        os.utime(tmp_path / "states" / key / "state.json", (1000 + number, 1000 + number))
    one = store.size_bytes() // 3
    oldest = store.find("a")
    assert oldest is not None
    oldest.describe(PAGES * PAGE_BYTES)  # used now
    store = StateStore(tmp_path / "states", largest_bytes=3 * one)
    saved(store, tmp_path / "source", {1: 1, 2: 2}, "d")
    assert [key for key in "abcd" if store.find(key)] == ["a", "c", "d"]
    store = StateStore(tmp_path / "states", largest_bytes=0)
    saved(store, tmp_path / "source", {1: 1}, "e")
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["e"], "the newest stays"


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "states")
    sparse_file(tmp_path / "source", {1: 1})
    for name, age_s in ((".old.1", 3600), (".young.1", 0)):
        (tmp_path / "states" / name).mkdir(parents=True)
        os.utime(tmp_path / "states" / name, (time.time() - age_s,) * 2)
    saved(store, tmp_path / "source", {1: 1})
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == [".young.1", "k"]


def test_no_room_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore(tmp_path / "states")
    sparse_file(tmp_path / "source", {1: 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        saved(store, tmp_path / "source", {1: 1})
    assert list((tmp_path / "states").iterdir()) == []


def test_truncated_ram_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(4096))
    with pytest.raises(OSError, match="ended early"):
        read_ram(tmp_path / "short", [(0, 8192)])


def test_keys_depend_on_all_parts_and_their_order() -> None:
    parts = [["a"], ["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], []]
    assert len({state_key(part) for part in parts}) == len(parts)
    assert state_key(["a"]) == state_key(["a"])
