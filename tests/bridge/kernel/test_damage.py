"""A whole kernel in damaged RAM: bounded time, and an answer or a typed error, never anything else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from bridge.kernel.errors import KernelError, NoKernelFound
from bridge.kernel.kernel import find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.kernel.vmcoreinfo import note_texts
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap
from bridge.memory.ram import GuestRam
from tests.bridge.kernel.conftest import HeldRam, LiveGuest


@pytest.mark.parametrize("content", ["zeros", "random", "text"])
def test_ram_without_a_kernel(content: str) -> None:
    rng = np.random.default_rng(1)
    data = {
        "zeros": np.zeros(8 << 20, np.uint8),
        "random": rng.integers(0, 256, 8 << 20, np.uint8),
        "text": np.frombuffer(
            b"OSRELEASE=6.1\nNUMBER(phys_base)=0\nKERNELOFFSET=0\nLinux version 6.1.0 (" * (1 << 17), np.uint8
        ),
    }[content]
    with pytest.raises(NoKernelFound, match="No running Linux kernel"):
        find_kernel(PhysicalReader(HeldRam(data[: len(data) // 4096 * 4096])))


def test_what_a_guest_never_touched_is_not_allocated_by_the_search(tmp_path: Path) -> None:
    fd = os.memfd_create("a guest that boots")
    os.ftruncate(fd, 32 << 20)
    os.pwrite(fd, b"OSRELEASE=6.1\nNUMBER(phys_base)=0\nKERNELOFFSET=0\n", 3 << 20)
    os.pwrite(fd, b"Linux version 6.1.0 (", 9 << 20)
    with GuestRam(tmp_path, fd, 32 << 20, PhysicalMap.flat(32 << 20)) as ram:
        reader = PhysicalReader(ram)
        assert note_texts(reader) == {"OSRELEASE=6.1\nNUMBER(phys_base)=0\nKERNELOFFSET=0\n"}
        with pytest.raises(NoKernelFound, match=r"the note of 6\.1 leads nowhere"):
            find_kernel(reader)
        assert ram.allocated_extents() == [(3 << 20, 4096), (9 << 20, 4096)]
        around = reader.copy((9 << 20) - 10, 8192)
        assert (len(around), bytes(around[:31])) == (8192, bytes(10) + b"Linux version 6.1.0 (")
        assert not any(around[31:])
        assert len(reader.copy((32 << 20) - 5, 100)) == 5
        assert ram.allocated_extents() == [(3 << 20, 4096), (9 << 20, 4096)]


def test_a_kernel_without_a_note_is_found_by_its_looks(live: LiveGuest, dump: np.ndarray) -> None:
    data = dump.copy()
    raw = data.tobytes()
    at = raw.find(b"NUMBER(phys_base)=")
    while at >= 0:
        data[at] = ord("X")
        at = raw.find(b"NUMBER(phys_base)=", at + 1)
    kernel = find_kernel(PhysicalReader(HeldRam(data)))
    assert kernel.info is None
    assert kernel.release == live.kernel.release
    assert kernel.symbols.symbols.names == live.kernel.symbols.symbols.names
    assert kernel.space.root == live.kernel.space.root
    assert len(Introspector(kernel).look().processes) > 20


def test_a_kernel_without_types_says_so(dump: np.ndarray, live: LiveGuest) -> None:
    data = dump.copy()
    paddr = live.kernel.space.image_paddr(live.kernel.symbols.address("__start_BTF"))
    data[paddr : paddr + 24] = 0
    kernel = find_kernel(PhysicalReader(HeldRam(data)))
    assert kernel.types is None
    assert "carries no usable type information" in kernel.types_problem
    with pytest.raises(KernelError, match="no usable type information"):
        Introspector(kernel)


def test_another_kernel_is_noticed(dump: np.ndarray, live: LiveGuest) -> None:
    data = dump.copy()
    kernel = find_kernel(PhysicalReader(HeldRam(data)))
    assert kernel.still_there()
    paddr = kernel.space.image_paddr(kernel.symbols.address("linux_banner"))
    data[paddr : paddr + 64] = 0
    assert not kernel.still_there()


def test_looks_at_damaged_ram_end(dump: np.ndarray) -> None:
    """Words of kernel data and page tables overwritten, many times: each look ends soon, in a snapshot or an error."""
    data = dump.copy()
    ram = HeldRam(data)
    introspector = Introspector(find_kernel(PhysicalReader(ram)))
    first = introspector.look()
    held = np.flatnonzero(np.isin(first.page_map.classes, (6, 8, 9, 10, 11, 14)))  # data that the look itself reads
    rng = np.random.default_rng(2)
    looked = failed = 0
    for round_ in range(40):
        pages = rng.choice(held, 20)
        words = data.view("<u8").reshape(-1, 512)
        for page in pages.tolist():
            at = rng.integers(0, 512, 8)
            words[page, at] = rng.choice(words[int(rng.choice(held))], 8) if round_ % 2 else rng.integers(0, 2**63, 8)
        started = time.process_time()
        try:
            snapshot = introspector.look()
            looked += 1
            assert len(snapshot.page_map.classes) == len(data) // 4096
        except KernelError:
            failed += 1
        assert time.process_time() - started < 20
        if failed > 5 and round_ % 4 == 0:
            data[:] = dump
    assert looked + failed == 40
    assert looked > 0
