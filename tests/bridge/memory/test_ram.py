"""The mapping: read-only, without a copy, with typed errors, and gentle to holes."""

import errno
import gc
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.memory.errors import (
    FileNotFound,
    GuestMemoryError,
    InvalidAddress,
    MapFailed,
    PermissionDenied,
    PhysicalMapUnreadable,
    RamClosed,
)
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap, RamRegion
from bridge.memory.ram import GuestRam
from tests.bridge.memory.open_files import open_files
from tests.bridge.memory.ram_file import ram_file

# Two pieces of RAM with a hole between them: as on a big PC, in small.
SPLIT = PhysicalMap(
    8 * PAGE_BYTES,
    (RamRegion(0, 0, 3 * PAGE_BYTES, "ram"), RamRegion(0x100000, 3 * PAGE_BYTES, 5 * PAGE_BYTES, "ram")),
)


def test_reads_what_the_guest_writes_without_a_copy() -> None:
    with ram_file(8) as file, GuestRam.open(file.path, SPLIT) as ram:
        view = ram.read_physical(0x100010, 4)
        assert bytes(view) == b"\0\0\0\0"
        file.pages[3, 0x10:0x14] = [1, 2, 3, 4]
        assert bytes(view) == b"\1\2\3\4"
        assert bytes(ram.read_offset(3 * PAGE_BYTES + 0x11, 2)) == b"\2\3"
        assert ram.pages[3, 0x12] == 3
        assert ram.bytes[3 * PAGE_BYTES + 0x13] == 4
        assert (ram.n_pages, ram.size_bytes, ram.path) == (8, 8 * PAGE_BYTES, file.path)


def test_nothing_can_be_written_through_it() -> None:
    with ram_file(1) as file, GuestRam.open(file.path) as ram:
        assert ram.read_physical(0, 16).readonly
        assert ram.read_offset(0, 16).readonly
        for array in (ram.bytes, ram.pages):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True


def test_a_file_that_cannot_be_written_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(b"\7" * PAGE_BYTES)
    path.chmod(stat.S_IRUSR)
    with GuestRam.open(path) as ram:
        assert bytes(ram.read_physical(0, 2)) == b"\7\7"


@given(st.integers(-(2**65), 2**65), st.integers(-5, 2**65))
def test_every_range_is_right_or_refused(address: int, length: int) -> None:
    with ram_file(8) as file, GuestRam.open(file.path, SPLIT) as ram:
        inside = length >= 0 and any(
            region.paddr <= address < region.paddr_end and address + length <= region.paddr_end
            for region in SPLIT.regions
        )
        if inside:
            assert len(ram.read_physical(address, length)) == length
        else:
            with pytest.raises(InvalidAddress) as caught:
                ram.read_physical(address, length)
            assert (caught.value.address, caught.value.length) == (address, length)
            assert caught.value.size == 8 * PAGE_BYTES
        if length >= 0 and address >= 0 and address + length <= ram.size_bytes:
            assert len(ram.read_offset(address, length)) == length
        else:
            with pytest.raises(InvalidAddress):
                ram.read_offset(address, length)


@pytest.mark.parametrize(
    ("address", "length"),
    [(0, 3 * PAGE_BYTES + 1), (3 * PAGE_BYTES, 1), (0xFFFFF, 2), (0x105000, 1), (0x104FFF, 2), (2**64 - 1, 1), (-1, 1)],
)
def test_a_range_over_an_edge_of_ram_is_refused(address: int, length: int) -> None:
    with ram_file(8) as file, GuestRam.open(file.path, SPLIT) as ram, pytest.raises(InvalidAddress) as caught:
        ram.read_physical(address, length)
    assert "0x100000-0x104fff" in str(caught.value), "the message says where RAM is"


def test_the_whole_of_each_piece_can_be_read() -> None:
    with ram_file(8) as file, GuestRam.open(file.path, SPLIT) as ram:
        assert len(ram.read_physical(0, 3 * PAGE_BYTES)) == 3 * PAGE_BYTES
        assert len(ram.read_physical(0x100000, 5 * PAGE_BYTES)) == 5 * PAGE_BYTES
        assert len(ram.read_physical(0x104FFF, 1)) == 1


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFound, match="does not exist") as caught:
        GuestRam.open(tmp_path / "nothing")
    assert caught.value.path == tmp_path / "nothing"


def test_opening_what_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(PAGE_BYTES))
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionDenied, match="may not be read"):
            GuestRam.open(path)
    finally:
        if me == 0:
            os.seteuid(me)


def test_opening_what_is_no_ram_file(tmp_path: Path) -> None:
    before = open_files()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    empty = tmp_path / "empty"
    empty.touch()
    odd = tmp_path / "odd"
    odd.write_bytes(bytes(PAGE_BYTES + 1))
    for path, reason in [(fifo, "regular"), (tmp_path, "regular"), (empty, "0 bytes"), (odd, "4,097 bytes")]:
        with pytest.raises(MapFailed, match=reason):
            GuestRam.open(path)
    with pytest.raises(MapFailed, match="null"):
        GuestRam.open(Path("a\0b"))
    short = tmp_path / "short"
    short.write_bytes(bytes(PAGE_BYTES))
    with pytest.raises(MapFailed, match=r"4,096 bytes, but the machine has 32,768"):
        GuestRam.open(short, SPLIT)
    assert not open_files() - before, "no file stays open"


def test_more_than_can_be_mapped() -> None:
    with ram_file(1) as file:
        os.truncate(file.path, 1 << 48)
        before = open_files()
        with pytest.raises(MapFailed, match="mapping 281,474,976,710,656 bytes failed"):
            GuestRam.open(file.path)
        assert not open_files() - before


def test_a_file_longer_than_ram_is_mapped_in_part() -> None:
    with ram_file(9) as file, GuestRam.open(file.path, SPLIT) as ram:
        assert ram.n_pages == 8


def test_views_survive_closing() -> None:
    with ram_file(2) as file:
        file.pages[1] = 9
        ram = GuestRam.open(file.path)
        view, array = ram.read_physical(PAGE_BYTES, 4), ram.pages
        ram.close()
        ram.close()
        assert ram.closed
        assert bytes(view) == b"\t\t\t\t"
        assert array[1, 100] == 9
        uses: list[Callable[[], object]] = [
            lambda: ram.bytes,
            lambda: ram.pages,
            lambda: ram.read_physical(0, 1),
            lambda: ram.read_offset(0, 1),
            ram.allocated_extents,
            ram.check_intact,
            ram.duplicate_fd,
        ]
        for use in uses:
            with pytest.raises(RamClosed, match="is closed"):
                use()


def _mappings(inode: int) -> int:
    return sum(f" {inode} " in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_the_mapping_ends_with_its_last_view() -> None:
    with ram_file(2) as file:
        inode = os.fstat(file.fd).st_ino
        before = _mappings(inode)  # the test's own
        ram = GuestRam.open(file.path)
        view = ram.read_physical(0, 4)
        ram.close()
        assert _mappings(inode) == before + 1
        del view
        gc.collect()
        assert _mappings(inode) == before


def test_extents_are_where_data_is_and_reading_them_allocates_nothing() -> None:
    with ram_file(1 << 18) as file, GuestRam.open(file.path) as ram:  # 1 GiB
        assert ram.allocated_extents() == []
        written = [0, 1, 5, 4000, 70000, 70001, (1 << 18) - 1]
        file.pages[written, 17] = 1
        assert [(start // PAGE_BYTES, length // PAGE_BYTES) for start, length in ram.allocated_extents()] == [
            (0, 2),
            (5, 1),
            (4000, 1),
            (70000, 2),
            ((1 << 18) - 1, 1),
        ]
        allocated = file.allocated_bytes
        assert allocated == len(written) * PAGE_BYTES
        total = sum(int(ram.bytes[start : start + length].sum()) for start, length in ram.allocated_extents())
        assert total == len(written)
        assert file.allocated_bytes == allocated
        # What the extents are there to prevent: if reading a hole were free, they would not be needed.
        assert ram.bytes[100 * PAGE_BYTES] == 0
        assert file.allocated_bytes > allocated


def test_extents_end_where_ram_ends() -> None:
    with ram_file(12) as file, GuestRam.open(file.path, SPLIT) as ram:
        file.pages[7:11, 0] = 1
        assert ram.allocated_extents() == [(7 * PAGE_BYTES, PAGE_BYTES)]
        file.punch_hole(7)
        assert ram.allocated_extents() == []


def test_extents_report_what_the_kernel_refuses() -> None:
    with ram_file(1) as file, GuestRam.open(file.path) as ram:
        os.close(ram._fd)
        try:
            with pytest.raises(MapFailed, match=os.strerror(errno.EBADF)):
                ram.allocated_extents()
        finally:
            ram._fd = -1


def test_a_file_that_shrinks_is_noticed() -> None:
    with ram_file(4) as file, GuestRam.open(file.path) as ram:
        assert ram.check_intact().st_size == 4 * PAGE_BYTES
        os.ftruncate(file.fd, 2 * PAGE_BYTES)
        with pytest.raises(MapFailed, match="shrank from 16,384 to 8,192"):
            ram.check_intact()


def test_the_memory_map_can_be_replaced_by_one_of_the_same_size() -> None:
    with ram_file(8) as file, GuestRam.open(file.path) as ram:
        assert ram.physical_map == PhysicalMap.flat(8 * PAGE_BYTES)
        ram.physical_map = SPLIT
        assert ram.physical_map.offset_from_paddr(0x100000) == 3 * PAGE_BYTES
        with pytest.raises(MapFailed, match="the new memory map 4,096"):
            ram.physical_map = PhysicalMap.flat(PAGE_BYTES)


def test_errors_cross_process_borders() -> None:
    errors: list[GuestMemoryError] = [
        InvalidAddress(0x1234, 16, 4096, "RAM is at 0x0-0xfff."),
        FileNotFound(Path("/a")),
        PermissionDenied(Path("/b")),
        MapFailed(Path("/c"), "of a reason."),
        RamClosed(Path("/d")),
        PhysicalMapUnreadable("unclear"),
    ]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert copy.__dict__ == error.__dict__
    assert str(errors[0]) == "No RAM at 16 bytes at 0x1234 in this machine of 4,096 bytes. RAM is at 0x0-0xfff."
