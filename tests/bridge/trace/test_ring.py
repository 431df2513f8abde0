"""The ring reader takes each record once and whole, tells what was lost, and gives room back: against a writer of ours
that follows the plugin's rules."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace import ring
from bridge.trace.layout import layout
from bridge.trace.ring import RingReader
from bridge.trace.shared_memory import Sizes, TraceMemory

RECORDS = 16


class Writer:
    """Writes as the plugin does: the number away, the record, the number, and at times the head."""

    def __init__(self, memory: TraceMemory) -> None:
        self.memory, self.head = memory, 0

    def write(self, *, overwrite: bool = False) -> bool:
        ends = self.memory.plugin["rings"][0]
        if not overwrite and self.head - int(ends["tail"]) >= RECORDS:
            ends["dropped"] += 1
            return False
        slot = self.memory.rings[0, self.head % RECORDS]
        slot["sequence"] = layout().constants["NONE"]
        slot["pc"] = self.head * 3
        slot["sequence"] = self.head
        self.head += 1
        return True

    def publish(self) -> None:
        self.memory.plugin["rings"]["head"][0] = self.head


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rings")


def made(folder: Path) -> TraceMemory:
    path = folder / "one.trace"
    path.unlink(missing_ok=True)
    return TraceMemory.create(
        path, Sizes(pages=1, vcpus=1, blocks=2, code_bytes=1, samples=1, hits=1, ring_records=RECORDS)
    )


@given(
    steps=st.lists(st.tuples(st.sampled_from("wprv"), st.integers(1, 2 * RECORDS)), max_size=60),
    overwrite=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_every_record_is_taken_once_in_order_or_told_as_lost(
    folder: Path, steps: list[tuple[str, int]], overwrite: bool
) -> None:
    memory = made(folder)
    writer, reader = Writer(memory), RingReader(memory, 0)
    taken: list[int] = []
    lost = dropped = 0
    for step, count in steps:
        if step == "w":
            dropped += sum(not writer.write(overwrite=overwrite) for _ in range(count))
        elif step == "p":
            writer.publish()
        elif step == "r" or overwrite:
            got = reader.read(count)
            lost += got.lost
            assert (got.records["pc"] == got.records["sequence"] * 3).all()
            taken.extend(got.records["sequence"].tolist())
        else:
            got = reader.views(count)
            taken.extend(got.records["sequence"].tolist())
            reader.done(len(got.records))
    writer.publish()
    while reader.waiting():
        got = reader.read()
        lost += got.lost
        taken.extend(got.records["sequence"].tolist())
    assert taken == sorted(set(taken))  # none twice, none out of order
    assert len(taken) + lost == writer.head
    if not overwrite:
        assert lost == 0
        assert taken == list(range(writer.head))
    assert reader.dropped == dropped


def test_a_record_that_is_overwritten_while_it_is_read_is_lost_not_torn(folder: Path) -> None:
    memory = made(folder)
    writer, reader = Writer(memory), RingReader(memory, 0)
    for _ in range(RECORDS):
        writer.write(overwrite=True)
    writer.publish()
    memory.rings[0, 3]["sequence"] = layout().constants["NONE"]  # the writer is in it
    memory.rings[0, 4]["sequence"] = RECORDS + 4  # it was in this one since
    got = reader.read()
    assert got.records["sequence"].tolist() == [n for n in range(RECORDS) if n not in (3, 4)]
    assert got.lost == 2


def test_a_reader_that_comes_later_goes_on_where_the_one_before_stopped(folder: Path) -> None:
    memory = made(folder)
    writer, first = Writer(memory), RingReader(memory, 0)
    for _ in range(10):
        writer.write()
    writer.publish()
    assert len(first.read(4).records) == 4
    assert RingReader(memory, 0).read().records["sequence"].tolist() == [4, 5, 6, 7, 8, 9]


def test_nonsense_in_the_ends_is_passed_over(folder: Path) -> None:
    memory = made(folder)
    memory.plugin["rings"]["head"][0] = 1 << 60
    memory.plugin["rings"]["tail"][0] = 3
    reader = RingReader(memory, 0)
    assert reader.waiting() == 0
    assert len(reader.read().records) == 0
    memory.plugin["rings"]["head"][0] = 5  # it began anew
    assert reader.waiting() == 0
    assert len(reader.views().records) == 0
    assert len(reader.read().records) == 0
    with pytest.raises(IndexError, match="no 1"):
        RingReader(memory, 1)


def test_a_writer_that_is_held_goes_on_when_there_is_room(folder: Path) -> None:
    memory = made(folder)
    writer, reader = Writer(memory), RingReader(memory, 0)
    total = 5000
    taken: list[int] = []

    def hold() -> None:
        while writer.head < total:
            while writer.head - int(memory.plugin["rings"]["tail"][0]) >= RECORDS:
                memory.plugin["rings"]["wake"][0] = 1
                time.sleep(0)
            writer.write()
            writer.publish()

    thread = threading.Thread(target=hold)
    thread.start()
    while len(taken) < total:
        got = reader.views()
        taken.extend(got.records["sequence"].tolist())
        assert (np.asarray(got.records["pc"]) == np.asarray(got.records["sequence"]) * 3).all()
        reader.done(len(got.records))
    thread.join()
    assert taken == list(range(total))
    assert memory.plugin["rings"]["wake"][0] in (0, 1)


@given(written=st.integers(0, 5 * RECORDS), piece=st.integers(1, RECORDS + 3), over=st.integers(0, RECORDS))
@settings(deadline=None)
def test_the_newest_are_those_that_nothing_was_written_over(folder: Path, written: int, piece: int, over: int) -> None:
    memory = made(folder)
    writer = Writer(memory)
    for _ in range(written):
        writer.write(overwrite=True)
    writer.publish()
    for _ in range(over):  # while they are copied; the head is told later
        writer.write(overwrite=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "_PIECE_RECORDS", piece)
        found = ring.newest(memory, 0)
        last = ring.newest(memory, 0, 3)
    assert found["sequence"].tolist() == list(range(max(0, written + over - RECORDS), written))
    assert (found["pc"] == found["sequence"] * 3).all()
    assert last["sequence"].tolist() == found["sequence"].tolist()[-3:]
