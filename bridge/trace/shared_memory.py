"""Shared memory of a trace: made and mapped by the reader, filled by the plugin in QEMU, seen in place by numpy."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.errors import BadTraceMemory, TraceError
from bridge.trace.layout import layout

_LINE = 64
_AS_LONG_AS_TOLD = ("blocks", "code", "samples", "hits", "kernel_code", "gpu_staging")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much fits. The file is sparse: what is not used takes no memory."""

    pages: int
    """4 KiB pages of the RAM file."""
    vcpus: int
    blocks: int = 1 << 18
    code_bytes: int = 1 << 25
    samples: int = 1 << 16
    hits: int = 1 << 14
    ring_records: int = 1 << 17
    """Of each vCPU's ring, 64 bytes each; a power of two, as samples and hits are."""
    kernel_code_bytes: int = 1 << 20
    """Native code of loops' kernels."""
    gpu_staging_bytes: int = 16 << 20
    """What one request to the GPU may store."""


@dataclass(frozen=True, slots=True)
class RamRange:
    """RAM in one piece: bytes [physical, physical + size) of the guest are [offset, offset + size) of the RAM file."""

    physical: int
    size: int
    offset: int


class TraceMemory:
    """The parts as numpy arrays over the mapping: what the plugin writes appears in them."""

    header: NDArray[Any]
    """One `header`; a record array of no dimensions, as `reader` and `plugin` are."""
    reader: NDArray[Any]
    plugin: NDArray[Any]
    blocks: NDArray[Any]
    """(blocks,) `block`; entry 0 is none."""
    code: NDArray[np.uint8]
    counts: NDArray[np.uint64]
    """(vcpus, blocks): how often each was entered, as of the last publishing."""
    samples: NDArray[Any]
    heat: NDArray[Any]
    """(vcpus, pages) of `heat`."""
    watched: NDArray[np.uint8]
    touches: NDArray[Any]
    """(pages, 2) of `touch`: the last load, the last store."""
    hits: NDArray[Any]
    rings: NDArray[Any]
    """(vcpus, ring_records) of `record`."""
    kernels: NDArray[Any]
    """(MAX_KERNELS,) of `kernel`, written by the reader, as `kernel_code` is."""
    kernels_told: NDArray[Any]
    """(MAX_KERNELS,) of `kernel_told`."""
    kernel_code: NDArray[np.uint8]
    code_pages: NDArray[np.uint64]
    """(pages // 64 + 2,): a bit a page, set where code was translated from it."""
    gpu_request: NDArray[Any]
    """One `gpu_request`, written by the plugin; of no dimensions, as `gpu_worker` is, written by who has the GPU."""
    gpu_worker: NDArray[Any]
    gpu_told: NDArray[Any]
    """(MAX_KERNELS,) of `gpu_told`."""
    gpu_staging: NDArray[np.uint8]

    def __init__(self, path: Path, mapping: mmap.mmap) -> None:
        self.path = path
        self._mapping = mapping
        types = layout()
        sides = sum(types[name].itemsize for name in ("header", "reader_side", "plugin_side"))
        if len(mapping) < sides:
            raise BadTraceMemory(f"{path} is too short for the shared memory of a trace: {len(mapping)} bytes.")
        self.header = np.frombuffer(mapping, types["header"], 1).reshape(())
        at = types["header"].itemsize
        self.reader = np.frombuffer(mapping, types["reader_side"], 1, at).reshape(())
        at += types["reader_side"].itemsize
        self.plugin = np.frombuffer(mapping, types["plugin_side"], 1, at).reshape(())
        told = self.header
        constants = types.constants
        if int(told["magic"]) != constants["MAGIC"] or int(told["version"]) != constants["VERSION"]:
            raise BadTraceMemory(f"{path} is not the shared memory of a trace, or of another version.")
        if int(told["header_bytes"]) != sides or int(told["total_bytes"]) != len(mapping):
            raise BadTraceMemory(f"{path} contradicts itself: its sizes are not its own.")
        self.vcpus, self.pages, self.ring_records = (int(told[name]) for name in ("vcpus", "pages", "ring_records"))
        if not 1 <= self.vcpus <= constants["MAX_VCPUS"] or not 1 <= self.pages <= len(mapping):
            raise BadTraceMemory(f"{path} tells of {self.vcpus} vCPUs and {self.pages} pages.")
        for name in ("samples", "hits"):
            self._power_of_two(int(told[name]["count"]), name)
        self._power_of_two(self.ring_records, "ring_records")
        block_count = int(told["blocks"]["count"])
        self.blocks = self._part("blocks", types["block"], 2)
        self.code = self._part("code", np.dtype(np.uint8), 1)
        self.counts = self._part("counts", np.dtype("<u8"), self.vcpus * block_count).reshape(self.vcpus, -1)
        self.samples = self._part("samples", types["sample"], 1)
        self.heat = self._part("heat", types["heat"], self.vcpus * self.pages).reshape(self.vcpus, -1)
        self.watched = self._part("watched", np.dtype(np.uint8), self.pages)
        self.touches = self._part("touches", types["touch"], 2 * self.pages).reshape(-1, 2)
        self.hits = self._part("hits", types["touch"], 1)
        self.kernels = self._part("kernels", types["kernel"], constants["MAX_KERNELS"])
        self.kernels_told = self._part("kernels_told", types["kernel_told"], constants["MAX_KERNELS"])
        self.kernel_code = self._part("kernel_code", np.dtype(np.uint8), 1)
        self.code_pages = self._part("code_pages", np.dtype("<u8"), self.pages // 64 + 2)
        self.gpu_request = self._part("gpu_request", types["gpu_request"], 1)[:1].reshape(())
        self.gpu_worker = self._part("gpu_worker", types["gpu_worker"], 1)[:1].reshape(())
        self.gpu_told = self._part("gpu_told", types["gpu_told"], constants["MAX_KERNELS"])
        self.gpu_staging = self._part("gpu_staging", np.dtype(np.uint8), 1)
        self.rings = self._part("rings", types["record"], self.vcpus * self.ring_records).reshape(self.vcpus, -1)

    @classmethod
    def create(cls, path: Path, sizes: Sizes) -> TraceMemory:
        """Make the file, mode 0600, and map it. Raises OSError, FileExistsError among them."""
        types = layout()
        entries = (
            ("blocks", types["block"].itemsize, sizes.blocks),
            ("code", 1, sizes.code_bytes),
            ("counts", 8, sizes.vcpus * sizes.blocks),
            ("samples", types["sample"].itemsize, sizes.samples),
            ("heat", types["heat"].itemsize, sizes.vcpus * sizes.pages),
            ("watched", 1, sizes.pages),
            ("touches", types["touch"].itemsize, 2 * sizes.pages),
            ("hits", types["touch"].itemsize, sizes.hits),
            ("rings", types["record"].itemsize, sizes.vcpus * sizes.ring_records),
            ("kernels", types["kernel"].itemsize, types.constants["MAX_KERNELS"]),
            ("kernels_told", types["kernel_told"].itemsize, types.constants["MAX_KERNELS"]),
            ("kernel_code", 1, sizes.kernel_code_bytes),
            ("code_pages", 8, sizes.pages // 64 + 2),
            ("gpu_request", types["gpu_request"].itemsize, 1),
            ("gpu_worker", types["gpu_worker"].itemsize, 1),
            ("gpu_told", types["gpu_told"].itemsize, types.constants["MAX_KERNELS"]),
            ("gpu_staging", 1, sizes.gpu_staging_bytes),
        )
        told = np.zeros((), types["header"])
        sides = sum(types[name].itemsize for name in ("header", "reader_side", "plugin_side"))
        at = sides
        for name, size, count in entries:
            at = (at + _LINE - 1) // _LINE * _LINE
            told[name]["offset"], told[name]["count"] = at, count
            at += size * count
        at = (at + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        told["magic"], told["version"] = types.constants["MAGIC"], types.constants["VERSION"]
        told["header_bytes"], told["total_bytes"] = sides, at
        told["pages"], told["vcpus"], told["ring_records"] = sizes.pages, sizes.vcpus, sizes.ring_records
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(fd, at)
            os.pwrite(fd, told.tobytes(), 0)
            memory = cls(path, mmap.mmap(fd, at))
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(fd)
        memory.reader["address_space"] = types.constants["NONE"]
        memory.reader["last_virtual"] = types.constants["NONE"]
        memory.reader["one_of"] = 1
        memory.reader["sample_ns"] = 1_000_000
        return memory

    @classmethod
    def open(cls, path: Path) -> TraceMemory:
        """Map one that another process made. Raises OSError, BadTraceMemory."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(fd).st_size
            if not size:
                raise BadTraceMemory(f"{path} is empty.")
            return cls(path, mmap.mmap(fd, size))
        finally:
            os.close(fd)

    @property
    def whole(self) -> bool:
        """Whether all of the file is there, on both sides: else to look at what is missing would end this process."""
        return self._mapping.size() >= len(self._mapping) and not int(self.plugin["faults"])

    def check_whole(self) -> None:
        """Raises TraceError where it is not. To be called before each look at what the plugin fills."""
        if not self.whole:
            raise TraceError(
                f"{self.path} was cut short, or {self.path.parent} is full: the guest runs on, but is traced no more."
            )

    def tell_ram(self, ranges: list[RamRange]) -> None:
        """Say where RAM lies; the plugin takes it with the next request. Raises BadTraceMemory."""
        most = layout().constants["MAX_RAM_RANGES"]
        if len(ranges) > most:
            raise BadTraceMemory(f"RAM in {len(ranges)} pieces cannot be traced; {most} can.")
        for number, one in enumerate(ranges):
            self.reader["ram"][number] = (one.physical, one.size, one.offset)
        self.reader["ram_ranges"] = len(ranges)

    def _power_of_two(self, count: int, name: str) -> None:
        if count < 1 or count & (count - 1):
            raise BadTraceMemory(f"{self.path} contradicts itself: {name} is {count}, not a power of two.")

    def _part(self, name: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        offset, told = int(self.header[name]["offset"]), int(self.header[name]["count"])
        if offset % _LINE or offset > len(self._mapping) or told < count:
            raise BadTraceMemory(f"{self.path}'s part {name!r} is not as it should be.")
        whole = max(count, told if name in _AS_LONG_AS_TOLD else count)
        if whole * dtype.itemsize > len(self._mapping) - offset:
            raise BadTraceMemory(f"{self.path}'s part {name!r} leads out of it.")
        return np.frombuffer(self._mapping, dtype, whole, offset)
