"""Shared memory: made whole, found again, and refused when it is not as it should be, whatever is wrong with it."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.trace.errors import BadTraceMemory
from bridge.trace.layout import layout
from bridge.trace.shared_memory import RamRange, Sizes, TraceMemory

SMALL = Sizes(pages=256, vcpus=2, blocks=64, code_bytes=4096, samples=16, hits=8, ring_records=32)


def test_what_one_side_writes_the_other_one_sees(tmp_path: Path) -> None:
    made = TraceMemory.create(tmp_path / "a.trace", SMALL)
    seen = TraceMemory.open(tmp_path / "a.trace")
    made.rings[1, 31]["pc"] = 0x1234
    made.counts[1, 63] = 7
    made.heat[1, 255]["stores"] = 9
    made.touches[255, 1]["task"] = 11
    made.plugin["rings"]["head"][1] = 5
    assert seen.rings[1, 31]["pc"] == 0x1234
    assert seen.counts[1, 63] == 7
    assert seen.heat[1, 255]["stores"] == 9
    assert seen.touches[255, 1]["task"] == 11
    assert seen.plugin["rings"]["head"].tolist()[:3] == [0, 5, 0]
    assert (seen.vcpus, seen.pages, seen.ring_records) == (2, 256, 32)
    assert [len(part) for part in (seen.blocks, seen.code, seen.samples, seen.hits)] == [64, 4096, 16, 8]


def test_no_part_lies_over_another_one(tmp_path: Path) -> None:
    made = TraceMemory.create(tmp_path / "a.trace", SMALL)
    parts = ["blocks", "code", "counts", "samples", "heat", "watched", "touches", "hits", "rings"]
    arrays = [getattr(made, name) for name in ("header", "reader", "plugin", *parts)]
    spans = sorted((array.__array_interface__["data"][0], array.nbytes) for array in arrays)
    assert all(at + size <= after for (at, size), (after, _) in itertools.pairwise(spans))


def test_an_unused_one_takes_hardly_any_memory_and_is_private(tmp_path: Path) -> None:
    path = Path("/dev/shm") / f"glassbox-test-{os.getpid()}.trace"
    try:
        made = TraceMemory.create(path, Sizes(pages=1 << 18, vcpus=4))
        status = path.stat()
        assert status.st_blocks * 512 <= 64 << 10 < status.st_size
        assert status.st_mode & 0o777 == 0o600
        del made
        with pytest.raises(FileExistsError):
            TraceMemory.create(path, SMALL)
    finally:
        path.unlink()


def test_ram_is_told_in_pieces_but_not_in_many(tmp_path: Path) -> None:
    made = TraceMemory.create(tmp_path / "a.trace", SMALL)
    made.tell_ram([RamRange(0, 0xA0000, 0), RamRange(1 << 32, 1 << 20, 0xA0000)])
    assert int(made.reader["ram_ranges"]) == 2
    assert made.reader["ram"][1].tolist() == (1 << 32, 1 << 20, 0xA0000)
    with pytest.raises(BadTraceMemory, match="9 pieces"):
        made.tell_ram([RamRange(n << 20, 1 << 20, n << 20) for n in range(9)])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: b"", "empty"),
        (lambda data: data[:100], "too short"),
        (lambda data: b"x" + data[1:], "of another version"),
        (lambda data: data[:-4096], "contradicts itself"),
    ],
)
def test_other_files_are_refused_with_a_sentence(tmp_path: Path, change: object, told: str) -> None:
    path = tmp_path / "a.trace"
    TraceMemory.create(path, SMALL)
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BadTraceMemory, match=told):
        TraceMemory.open(path)


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_header_of_any_numbers_is_refused_or_leads_nowhere_else(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"{os.urandom(8).hex()}.trace"
    made = TraceMemory.create(path, SMALL)
    names = layout()["header"].names
    assert names is not None
    for name in data.draw(st.lists(st.sampled_from([n for n in names if "reserved" not in n]), min_size=1, max_size=3)):
        dtype = made.header.dtype[name]
        for field in dtype.names or [None]:
            bits = (dtype if field is None else dtype[field]).itemsize * 8
            value = data.draw(st.one_of(st.integers(0, 300), st.integers(0, (1 << bits) - 1)))
            if field is None:
                made.header[name] = value
            else:
                made.header[name][field] = value
    try:
        seen = TraceMemory.open(path)
    except BadTraceMemory:
        return
    finally:
        path.unlink()
    for part in (seen.blocks, seen.code, seen.counts, seen.samples, seen.heat, seen.touches, seen.hits, seen.rings):
        assert np.frombuffer(part.tobytes(), np.uint8).size == part.nbytes  # every byte of it can be read
