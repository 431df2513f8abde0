"""The memory map: what QEMU says of every board is understood, and what a stranger may say is survived."""

import itertools
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine import boot_sector
from bridge.memory.errors import InvalidAddress, PhysicalMapUnreadable
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap, RamRegion, query_physical_map
from bridge.memory.ram import GuestRam
from tests.bridge.memory.qemu import Qemu, qemu

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def ram_path() -> Iterator[Path]:
    path = Path("/dev/shm") / f"glassbox-test-{uuid4().hex}.ram"
    yield path
    path.unlink(missing_ok=True)


def _loader(paddr: int, value: int) -> tuple[str, str]:
    # QEMU writes this by physical address when the machine is reset: a truth that owes nothing to our map.
    return "-device", f"loader,addr={paddr:#x},data={value:#x},data-len=8"


@pytest.mark.parametrize(
    ("machine", "ram", "size_bytes", "low_end"),
    [
        ("pc", "96M", 96 * MIB, 96 * MIB),
        ("pc", "1G", GIB, GIB),
        ("pc", "3G", 3 * GIB, 3 * GIB),
        ("pc", "4G", 4 * GIB, 3 * GIB),
        ("q35", "96M", 96 * MIB, 96 * MIB),
        ("q35", "1G", GIB, GIB),
        ("q35", "3G", 3 * GIB, 2 * GIB),
        ("q35", "4G", 4 * GIB, 2 * GIB),
        ("microvm", "4G", 4 * GIB, 3 * GIB),
    ],
)
def test_bytes_that_qemu_put_at_physical_addresses_are_found(
    ram_path: Path, machine: str, ram: str, size_bytes: int, low_end: int
) -> None:
    high_end = 4 * GIB + size_bytes - low_end
    addresses = [0x1000, 0x9F008, MIB, 2 * MIB + 8, low_end - 8]
    if size_bytes > low_end:
        addresses += [4 * GIB, 4 * GIB + 0x12340, high_end - 8]
    values = {address: 0x1122334455667700 + number for number, address in enumerate(addresses)}
    loaders = itertools.chain.from_iterable(itertools.starmap(_loader, values.items()))
    with qemu(ram_path, ram, machine, *loaders) as guest:
        physical_map = query_physical_map(guest.qmp, "ram")
        assert physical_map == query_physical_map(guest.qmp, "/objects/ram")
        with GuestRam.open(ram_path, physical_map) as mapped:
            for address, value in values.items():
                assert bytes(mapped.read_physical(address, 8)) == value.to_bytes(8, "little"), hex(address)
                assert mapped.physical_map.paddr_from_offset(mapped.physical_map.offset_from_paddr(address)) == address
            for outside in {low_end, 4 * GIB - 8, high_end} - {4 * GIB}:
                with pytest.raises(InvalidAddress):
                    mapped.read_physical(outside, 8)
            # Every byte of the file has an address to show.
            assert physical_map.paddr_from_offset(0xC8000) == 0xC8000
            offsets = np.arange(0, size_bytes, PAGE_BYTES).astype(np.uint64)
            assert (physical_map.paddr_from_offset(offsets) >= 0).all()


def test_a_running_guest_reads_what_we_read(ram_path: Path) -> None:
    """While the firmware has the CPU, and has turned ROM into RAM under 1 MiB, `pmemsave` and the mapping agree."""
    with qemu(ram_path, "4G", "q35") as guest:
        before = query_physical_map(guest.qmp, "ram")
        with pytest.raises(InvalidAddress):
            before.offset_from_paddr(0xF0000)
        # The firmware copies itself into the RAM behind its ROM, makes that visible, and runs on from there.
        guest.qmp("cont")
        deadline = time.monotonic() + 240
        with GuestRam.open(ram_path, before) as ram:
            while True:
                guest.qmp("stop")
                ram.physical_map = after = query_physical_map(guest.qmp, "ram")
                if any(region.paddr <= 0xF0000 < region.paddr_end for region in after.regions):
                    break
                assert time.monotonic() < deadline, "the firmware is in RAM by now"
                guest.qmp("cont")
                time.sleep(0.05)
            assert after.offset_from_paddr(0xF0000) == 0xF0000
            compared = 0
            for region in after.regions:
                for address in (region.paddr, region.paddr_end - MIB // 2):
                    length = min(MIB, region.paddr_end - address)
                    expected = guest.physical_bytes(address, length)
                    assert bytes(ram.read_physical(address, length)) == expected, hex(address)
                    compared += length - expected.count(0)
            assert compared > 30_000, "bytes that are not zero took part"


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_what_a_guest_wrote_on_both_sides_of_the_hole_is_found(ram_path: Path, machine: str, tmp_path: Path) -> None:
    """The boot sector writes pages full of their own addresses all over 4 GiB, by the addresses that its CPU sees."""
    floppy, work = tmp_path / "floppy", tmp_path / "work"
    work.mkdir()
    floppy.write_bytes(boot_sector.assemble(boot_sector.SOURCE, work))
    serial = tmp_path / "serial"
    devices = ["-drive", f"if=none,id=disk,format=raw,snapshot=on,file={floppy}", "-serial", f"file:{serial}"]
    devices += ["-device", "floppy,drive=disk"] if machine == "pc" else ["-device", "ide-hd,drive=disk"]
    with qemu(ram_path, "4G", machine, *devices) as guest:
        guest.qmp("cont")
        deadline = time.monotonic() + 240
        while not serial.exists() or boot_sector.BANNER not in serial.read_bytes():
            assert time.monotonic() < deadline, "the boot sector has written everything"
            time.sleep(0.05)
        guest.qmp("stop")
        with GuestRam.open(ram_path, query_physical_map(guest.qmp, "ram")) as ram:
            low_end, high_end = boot_sector.ram_ends(4 * GIB, machine)
            sides = [0, 0]
            for address, content in boot_sector.known_bytes(4 * GIB, machine):
                assert bytes(ram.read_physical(address, len(content))) == content, hex(address)
                offset = ram.physical_map.offset_from_paddr(address)
                assert bytes(ram.bytes[offset : offset + len(content)]) == content
                assert (offset == address) == (address < low_end)
                sides[address >= 4 * GIB] += 1
            assert min(sides) > 1000
            for outside in (low_end, 4 * GIB - 1, high_end):
                with pytest.raises(InvalidAddress):
                    ram.read_physical(outside, 1)


def test_other_backends_have_maps_of_their_own(ram_path: Path) -> None:
    dimm_path = ram_path.with_suffix(".dimm")
    try:
        with qemu(
            ram_path,
            "256M",
            "pc",
            *("-m", "256M,slots=2,maxmem=1G"),
            *("-object", f"memory-backend-file,id=ram2,share=on,mem-path={dimm_path},size=128M"),
            *("-device", "pc-dimm,memdev=ram2"),
            *_loader(0x5000, 0xAB),
            *_loader(4 * GIB + 0x5000, 0xCD),
        ) as guest:
            ram, dimm = (query_physical_map(guest.qmp, backend) for backend in ("ram", "ram2"))
            assert ram.regions[-1].paddr_end == 256 * MIB
            assert dimm.regions == (RamRegion(4 * GIB, 0, 128 * MIB, "ram2"),)
            with GuestRam.open(dimm_path, dimm) as mapped:
                assert mapped.read_physical(4 * GIB + 0x5000, 1)[0] == 0xCD
    finally:
        dimm_path.unlink(missing_ok=True)


def test_numa_nodes_with_backends_of_their_own(ram_path: Path) -> None:
    paths = [ram_path.with_suffix(f".{node}") for node in range(2)]
    arguments = ["-S", "-m", "256M", "-machine", "q35", *_loader(0x3000, 0x11), *_loader(200 * MIB, 0x22)]
    for node, path in enumerate(paths):
        arguments += ["-object", f"memory-backend-file,id=node{node},share=on,mem-path={path},size=128M"]
        arguments += ["-numa", f"node,memdev=node{node}"]
    guest = Qemu(arguments)
    try:
        maps = [query_physical_map(guest.qmp, f"node{node}") for node in range(2)]
        for physical_map, path, address, value in zip(maps, paths, (0x3000, 200 * MIB), (0x11, 0x22), strict=True):
            with GuestRam.open(path, physical_map) as mapped:
                assert mapped.read_physical(address, 1)[0] == value
        assert maps[1].regions == (RamRegion(128 * MIB, 0, 128 * MIB, "node1"),)
    finally:
        guest.process.kill()
        guest.process.communicate()
        for path in paths:
            path.unlink(missing_ok=True)


def _mtree(ranges: list[tuple[int, int, str]], suffix: str = "") -> str:
    """What `info mtree -f` prints; (first, size, "kind): name @offset")."""
    other = 'FlatView #0\r\n AS "I/O", root: io\r\n Root memory region: io\r\n'
    other += "  0000000000000000-000000000000ffff (prio 0, ram): ram\r\n\r\n"
    lines = [f"  {first:016x}-{first + size - 1:016x} (prio 0, {what}{suffix}\r\n" for first, size, what in ranges]
    view = 'FlatView #1\r\n AS "memory", root: system\r\n AS "cpu-memory-0", root: system\r\n'
    return other + view + " Root memory region: system\r\n" + "".join(lines) + "\r\n" + other.replace("#0", "#2")


PC_4G: list[tuple[int, int, str]] = [
    (0, 0xC0000, "ram): ram"),
    (0xC0000, 0x20000, "rom): pc.rom"),
    (0xE0000, 0x10000, "rom): ram @00000000000e0000"),
    (0xF0000, 0x10000, "ram): ram @00000000000f0000"),
    (MIB, 3 * GIB - MIB, "ram): ram @0000000000100000"),
    (0xFEC00000, 0x1000, "i/o): ioapic"),
    (4 * GIB, GIB, "ram): ram @00000000c0000000"),
]


@pytest.mark.parametrize("suffix", ["", " KVM", " KVM KVM"])
@pytest.mark.parametrize("prefix", ["", "/objects/"])
def test_a_view_becomes_regions(prefix: str, suffix: str) -> None:
    ranges = [(first, size, re.sub(r"\): ram\b", f"): {prefix}ram", what)) for first, size, what in PC_4G]
    physical_map = PhysicalMap.from_mtree(_mtree(ranges, suffix), "/objects/ram", 4 * GIB)
    assert [str(region) for region in physical_map.regions] == [
        "0x0-0xbffff",
        "0xe0000-0xbfffffff",
        "0x100000000-0x13fffffff",
    ]
    assert [str(region) for region in physical_map.shadowed] == ["0xc0000-0xdffff"]
    assert physical_map.describe() == "0x0-0xbffff, 0xe0000-0xbfffffff, 0x100000000-0x13fffffff"
    assert physical_map.offset_from_paddr(4 * GIB + 5) == 3 * GIB + 5
    assert physical_map.paddr_from_offset(3 * GIB + 5) == 4 * GIB + 5
    # RAM behind a ROM has a home, but nobody reads it there.
    assert physical_map.paddr_from_offset(0xC1234) == 0xC1234
    with pytest.raises(InvalidAddress, match=r"RAM is at 0x0-0xbffff, 0xe0000"):
        physical_map.offset_from_paddr(0xC1234)
    with pytest.raises(InvalidAddress):
        physical_map.contiguous_offset(0xBFFFF, 2)


def test_kinds_that_are_not_ram_are_not_taken() -> None:
    ranges = [(0, MIB, "ram): ram"), (MIB, MIB, "i/o): ram @0000000000100000"), (GIB, MIB, "ramd): ram")]
    assert PhysicalMap.from_mtree(_mtree(ranges), "ram", 2 * MIB).describe() == "0x0-0xfffff"
    names = [(0, MIB, "ram): ram"), (MIB, MIB, "ram): ram2 @0000000000100000"), (GIB, MIB, "ram): xram")]
    assert PhysicalMap.from_mtree(_mtree(names), "ram", 2 * MIB).describe() == "0x0-0xfffff"
    persistent = [(0, MIB, "nv-ram): ram")]
    assert PhysicalMap.from_mtree(_mtree(persistent), "ram", MIB).describe() == "0x0-0xfffff"


def test_an_offset_seen_twice_takes_its_lowest_address() -> None:
    ranges = [
        (0x10000, 0x4000, "ram): ram @0000000000002000"),
        (0x20000, 0x8000, "ram): ram"),
    ]
    physical_map = PhysicalMap.from_mtree(_mtree(ranges), "ram", 0x9000)
    offsets = np.arange(0, 0x9000, 0x1000).astype(np.uint64)
    assert [f"{paddr:x}" for paddr in physical_map.paddr_from_offset(offsets)] == [
        *("20000", "21000", "10000", "11000", "12000", "13000", "26000", "27000", "-1")
    ]
    with pytest.raises(InvalidAddress, match="offset in the RAM file"):
        physical_map.paddr_from_offset(0x8000)
    with pytest.raises(InvalidAddress):
        physical_map.paddr_from_offset(0x9000)
    with pytest.raises(InvalidAddress):
        physical_map.paddr_from_offset(-1)


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[PhysicalMap, list[tuple[int, int, int]]]:
    """A random board: pieces of RAM at random places, some of them twice, in units of 16 bytes."""
    pieces, first = [], 0
    for _ in range(draw(st.integers(1, 6))):
        first += draw(st.integers(0, 4))
        size = draw(st.integers(1, 5))
        pieces.append((first * 16, draw(st.integers(0, 20)) * 16, size * 16))
        first += size
    ranges = [(paddr, size, f"ram): ram @{offset:016x}") for paddr, offset, size in pieces]
    draw(st.randoms()).shuffle(ranges)
    return PhysicalMap.from_mtree(_mtree(ranges), "ram", 30 * 16), pieces


@given(_layouts())
def test_translation_is_what_counting_byte_by_byte_gives(
    layout: tuple[PhysicalMap, list[tuple[int, int, int]]],
) -> None:
    physical_map, pieces = layout
    offset_of = {paddr + i: offset + i for paddr, offset, size in pieces for i in range(size)}
    end = max(offset_of) + 20
    addresses = np.arange(end, dtype=np.uint64)
    expected = [offset_of.get(paddr, -1) for paddr in range(end)]
    assert physical_map.offset_from_paddr(addresses).tolist() == expected
    for paddr, offset in enumerate(expected):
        if offset >= 0:
            assert physical_map.offset_from_paddr(paddr) == offset
        else:
            with pytest.raises(InvalidAddress):
                physical_map.offset_from_paddr(paddr)

    paddr_of: dict[int, int] = {}
    for paddr, offset in sorted(offset_of.items()):
        paddr_of.setdefault(offset, paddr)
    found = physical_map.paddr_from_offset(np.arange(30 * 16, dtype=np.uint64))
    for offset, paddr in enumerate(found.tolist()):
        if offset in paddr_of:
            assert paddr == paddr_of[offset]
        elif paddr >= 0:
            # Shadowed: an address at which there is other memory.
            assert paddr not in offset_of


@given(st.integers(0, 2**64 - 1))
def test_any_address_has_an_answer(paddr: int) -> None:
    physical_map = PhysicalMap.from_mtree(_mtree(PC_4G), "ram", 4 * GIB)
    (offset,) = physical_map.offset_from_paddr(np.array([paddr], np.uint64)).tolist()
    try:
        assert physical_map.offset_from_paddr(paddr) == offset
    except InvalidAddress:
        assert offset == -1


def test_arrays_keep_their_shape_and_may_be_empty() -> None:
    physical_map = PhysicalMap.flat(16 * PAGE_BYTES)
    assert physical_map.offset_from_paddr(np.zeros(0, np.uint64)).tolist() == []
    assert physical_map.paddr_from_offset(np.array([[1, 2]], np.uint64)).tolist() == [[1, 2]]
    nothing = PhysicalMap(PAGE_BYTES, ())
    assert nothing.offset_from_paddr(np.array([0], np.uint64)).tolist() == [-1]
    with pytest.raises(InvalidAddress):
        nothing.offset_from_paddr(0)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(0, MIB, "ram): pc.ram")],
        [(0, 2 * MIB, "ram): ram")],  # longer than the backend
        [(0, MIB, "ram): ram @ffffffffffff0000")],
        [(0, MIB, "ram): ram"), (4096, 4096, "ram): ram")],  # two things at one address
        [(i * 8192, 4096, "ram): ram") for i in range(600)],
    ],
)
def test_impossible_maps_are_refused(ranges: list[tuple[int, int, str]]) -> None:
    with pytest.raises(PhysicalMapUnreadable):
        PhysicalMap.from_mtree(_mtree(ranges), "ram", MIB)


def test_hostile_text_is_refused_quickly() -> None:
    good = _mtree(PC_4G)
    rng = random.Random(7)
    started = time.process_time()
    texts = [
        "",
        "FlatView #0\n" * 1000,
        "x" * (9 << 20),
        good.replace('AS "memory"', 'AS "other"'),
        good.replace("-", "+"),
        "".join(chr(rng.randrange(0x110000 - 0x800)) for _ in range(10_000)),
        _mtree([(0, 0x1000, "ram): ram" + " a" * 500_000 + "!")]),
        _mtree([(0xFFFFFFFFFFFFF000, 0x2000, "ram): ram")]),
        _mtree([(0x2000, -0x1000, "ram): ram")]),
    ]
    for text in texts:
        with pytest.raises(PhysicalMapUnreadable):
            PhysicalMap.from_mtree(text, "ram", 4 * GIB)
    for _ in range(300):
        broken = list(good)
        for _ in range(rng.randrange(1, 20)):
            broken[rng.randrange(len(broken))] = chr(rng.randrange(1, 256))
        try:
            physical_map = PhysicalMap.from_mtree("".join(broken), "ram", 4 * GIB)
        except PhysicalMapUnreadable:
            continue
        assert all(0 <= region.offset <= region.offset_end <= 4 * GIB for region in physical_map.regions)
    assert time.process_time() - started < 20


@pytest.mark.parametrize("answer", [None, "12", 0, -1, True, 1 << 60, 4096.0, [], {}])
def test_an_answer_that_is_no_size_is_refused(answer: object) -> None:
    with pytest.raises(PhysicalMapUnreadable, match="says that the memory backend 'x' has"):
        query_physical_map(lambda command, **arguments: answer, "x")


@pytest.mark.parametrize("answer", [None, 5, [], {"a": 1}])
def test_an_answer_that_is_no_text_is_refused(answer: object) -> None:
    def qmp(command: str, **arguments: object) -> object:
        return 4096 if command == "qom-get" else answer

    with pytest.raises(PhysicalMapUnreadable, match="not with text"):
        query_physical_map(qmp, "x")
