"""A live guest whose RAM is read while its own shell is asked the same: two sources of truth for one machine."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from bridge.kernel.kernel import Kernel, find_kernel
from bridge.machine.guest import Guest
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap
from bridge.memory.ram import GuestRam
from tests.bridge.machine.serial_guest import SerialGuest, start_guest


@dataclass(frozen=True)
class LiveGuest:
    """A guest at rest: its workloads are stopped, its shell answers."""

    shell: SerialGuest
    ram: GuestRam
    kernel: Kernel

    def words(self, path: str) -> npt.NDArray[np.uint64]:
        """A file of 64-bit words in the guest's /proc."""
        text = self.shell.run(f"gzip -c {path} | base64")
        return np.frombuffer(zlib.decompress(base64.b64decode(text), wbits=31), "<u8")


@pytest.fixture(scope="package")
def live(demo_guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGuest]:
    """The demo guest, booted by PVH without KASLR."""
    with start_guest(demo_guest, tmp_path_factory.mktemp("kernel")) as shell:
        assert demo_guest.ready_marker
        shell.wait_for(demo_guest.ready_marker)
        shell.rest()
        ram = GuestRam.open(shell.ram)
        yield LiveGuest(shell, ram, find_kernel(PhysicalReader(ram)))
        ram.close()


class HeldRam:
    """RAM in an array, for tests that damage it or make it up."""

    def __init__(self, data: npt.NDArray[np.uint8], physical_map: PhysicalMap | None = None) -> None:
        self.bytes = data
        self.size_bytes = len(data)
        self.physical_map = physical_map or PhysicalMap.flat(len(data))


@pytest.fixture(scope="package")
def dump(live: LiveGuest) -> npt.NDArray[np.uint8]:
    """A copy of the live guest's RAM, (size_bytes,) uint8, to be left as it is."""
    with live.shell.held():
        copy = live.ram.bytes.copy()
    copy.flags.writeable = False
    return copy


def write_words(memory: npt.NDArray[np.uint8], paddr: int, words: list[int]) -> None:
    """Put 64-bit words into made-up RAM."""
    memory[paddr : paddr + 8 * len(words)] = np.array(words, "<u8").view(np.uint8)
