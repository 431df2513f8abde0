"""The kernel's virtual address space: reads by virtual address, one or many, by arithmetic where that is enough.

The image and the direct map are linear, so an address there needs no walk (Documentation/arch/x86/x86_64/mm.rst); all
else goes through the tables. Arithmetic is used only after a walk has confirmed it (see `KernelSpace.confirm`).
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import NotMapped
from bridge.kernel.paging import is_canonical, translate
from bridge.memory.physical import Mask, PhysicalReader

U64 = npt.NDArray[np.uint64]

KERNEL_MAP = 0xFFFF_FFFF_8000_0000
"""__START_KERNEL_map: the kernel's image lies here, before KASLR moves it."""
KERNEL_MAP_END = 0xFFFF_FFFF_C000_0000
"""At most 1 GiB of image (KERNEL_IMAGE_SIZE); modules begin at the end of it."""
_MAX_STRING = 4096
_FIRST = np.zeros(1, np.uint64)


class AddressSpace:
    """What one set of page tables maps. `root` is the physical address of the topmost table."""

    def __init__(self, reader: PhysicalReader, root: int, levels: int) -> None:
        self.reader = reader
        self.root = root
        self.levels = levels

    def translate(self, vaddrs: U64) -> tuple[U64, Mask]:
        """Physical addresses (n,) of virtual ones (n,), and a mask (n,) of those that are mapped."""
        paddrs, _, mapped = translate(self.reader, self.root, self.levels, vaddrs)
        return paddrs, mapped

    def words(self, vaddrs: U64) -> tuple[U64, Mask]:
        """The 64-bit words at `vaddrs` (n,), which must not cross a page: values (n,), zero where the mask (n,) is
        False.
        """
        paddrs, mapped = self.translate(np.asarray(vaddrs, np.uint64))
        values, ok = self.reader.words(paddrs)
        mapped &= ok
        return np.where(mapped, values, np.uint64(0)), mapped

    def rows(self, vaddrs: U64, length: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        """`length` bytes from each of `vaddrs` (n,): (n, length) uint8, zero where the mask (n,) is False.

        An object may cross pages; it is read if all of it is mapped.
        """
        vaddrs = np.asarray(vaddrs, np.uint64)
        rows = np.zeros((len(vaddrs), length), np.uint8)
        within = vaddrs & np.uint64(4095)
        paddrs, mapped = self.translate(vaddrs)
        whole = mapped & (within + np.uint64(length) <= np.uint64(4096))
        if whole.any():
            rows[whole], ok = self.reader.rows(paddrs[whole], length)
            mapped[whole] &= ok
        for index in np.flatnonzero(mapped & ~whole):
            try:
                rows[index] = np.frombuffer(self.read(int(vaddrs[index]), length), np.uint8)
            except NotMapped:
                mapped[index] = False
        return rows, mapped

    def read(self, vaddr: int, length: int) -> bytes:
        """`length` bytes from `vaddr` on. Raises NotMapped."""
        if not 0 <= vaddr < 1 << 64 or length < 0 or vaddr + length > 1 << 64:
            raise NotMapped(vaddr, "it lies outside of the address space")
        if length > self.reader.ram.size_bytes:
            raise NotMapped(vaddr, f"{length:,} bytes are more than the machine has")
        if not length:
            return b""
        first, last = vaddr >> 12, (vaddr + length - 1) >> 12
        pages = (np.arange(last - first + 1, dtype=np.uint64) + np.uint64(first)) << np.uint64(12)
        paddrs, mapped = self.translate(pages)
        if not mapped.all():
            raise NotMapped(max(vaddr, int(pages[np.argmin(mapped)])))
        rows, ok = self.reader.rows(paddrs, 4096)
        if not ok.all():
            raise NotMapped(max(vaddr, int(pages[np.argmin(ok)])), "its page is not RAM")
        start = vaddr & 4095
        return rows.tobytes()[start : start + length]

    def word(self, vaddr: int) -> int:
        """The 64-bit word at `vaddr`. Raises NotMapped."""
        if not 0 <= vaddr < 1 << 64 or vaddr & 4095 > 4088:
            return int.from_bytes(self.read(vaddr, 8), "little")
        values, mapped = self.words(np.array([vaddr], np.uint64))
        if not mapped[0]:
            raise NotMapped(vaddr)
        return int(values[0])

    def page(self, number: int) -> memoryview:
        """The 4 KiB page at virtual address number << 12, as it is at each time that it is looked at.

        Raises NotMapped.
        """
        paddrs, mapped = self.translate(np.array([number << 12], np.uint64))
        offsets, ok = self.reader.offsets(paddrs, 4096)
        if not mapped[0] or not ok[0]:
            raise NotMapped(number << 12)
        return self.reader.bytes[int(offsets[0]) : int(offsets[0]) + 4096].data

    def string(self, vaddr: int, limit: int = 256) -> str:
        """The text at `vaddr` up to its zero byte, at most `limit` bytes of it. Raises NotMapped."""
        limit = min(limit, _MAX_STRING)
        first = min(limit, 4096 - (vaddr & 4095))
        data = self.read(vaddr, first)
        if b"\0" not in data and first < limit:
            data += self.read(vaddr + first, limit - first)
        return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


class KernelSpace(AddressSpace):
    """The kernel's own half."""

    def __init__(self, reader: PhysicalReader, root: int, levels: int, phys_base: int) -> None:
        super().__init__(reader, root, levels)
        self.phys_base = phys_base
        self.direct_map: int | None = None
        """PAGE_OFFSET, once it was confirmed: where all physical memory is mapped in one piece."""
        self.image_end = KERNEL_MAP
        """Behind the image, once its symbols are known."""
        self._loops: ModuleType | None = None

    @property
    def remembers(self) -> bool:
        """Whether RAM lies in a way that compiled code can read, and it is loaded."""
        return self._loops is not None

    def remember(self) -> None:
        """Be ready to be read again and again, by compiled code."""
        from bridge.kernel import table_loops  # not above: it loads a compiler

        self._loops = table_loops if self.reader.is_aligned and len(self.reader.all_words) else None

    def image_paddr(self, vaddr: int) -> int:
        """The physical address of one in the kernel's image."""
        return vaddr - KERNEL_MAP + self.phys_base

    def confirm(self, direct_map: int) -> bool:
        """Take `direct_map` as the base of the direct map if the tables agree at every place that is tried."""
        end = self.reader.end_paddr
        tries = np.unique(np.linspace(0x1000, max(end - 4096, 0x1000), 9).astype(np.uint64) & ~np.uint64(4095))
        paddrs, _, mapped = translate(self.reader, self.root, self.levels, tries + np.uint64(direct_map))
        if direct_map & 0xFFF or mapped.sum() < len(tries) // 2 or (paddrs[mapped] != tries[mapped]).any():
            return False
        self.direct_map = direct_map
        return True

    def translate(self, vaddrs: U64) -> tuple[U64, Mask]:
        """As `AddressSpace.translate`; the direct map by arithmetic."""
        vaddrs = np.asarray(vaddrs, np.uint64)
        if self._loops is not None:
            paddrs, mapped = np.empty(len(vaddrs), np.uint64), np.empty(len(vaddrs), np.bool_)
            self._loops.translate(*self._known_to_loops(), vaddrs, paddrs, mapped)
            return paddrs, mapped
        if self.direct_map is None:
            return super().translate(vaddrs)
        paddrs = vaddrs - np.uint64(self.direct_map)
        direct = (paddrs < np.uint64(self.reader.end_paddr)) & (vaddrs >= np.uint64(self.direct_map))
        if direct.all():
            return paddrs, direct
        others = np.flatnonzero(~direct)
        found, mapped = super().translate(vaddrs[others])
        paddrs[others], direct[others] = found, mapped
        return paddrs, direct

    def words_of(self, objects: U64, offsets: U64) -> tuple[U64, Mask]:
        """The words at `offsets` (m,) of each of `objects` (n,): values (n, m), zero where the mask (n, m) is False."""
        if self._loops is None:
            values, mapped = super().words((objects[:, None] + offsets[None, :]).reshape(-1))
            shape = len(objects), len(offsets)
            return values.reshape(shape), mapped.reshape(shape)
        values, mapped = (
            np.empty((len(objects), len(offsets)), np.uint64),
            np.empty((len(objects), len(offsets)), np.bool_),
        )
        self._loops.read_words(*self._known_to_loops(), objects, offsets, values, mapped)
        return values, mapped

    def words(self, vaddrs: U64) -> tuple[U64, Mask]:
        """As `AddressSpace.words`."""
        values, mapped = self.words_of(np.asarray(vaddrs, np.uint64), _FIRST)
        return values.reshape(-1), mapped.reshape(-1)

    def pieces(self, image: U64) -> U64:
        """(r, 3) where pieces of the kernel's memory start, where they end for whole words, and what is added to an
        address there for its place among the bytes of RAM, modulo 2^64: the direct map, and the pages of some addresses
        (n,) in the image, as far as they are mapped.
        """
        table = self.reader.region_table
        direct = np.uint64(self.direct_map or 0)
        regions = np.stack([table[:, 0] + direct, table[:, 1] + direct - np.uint64(7), table[:, 2] - direct], axis=1)
        pages = np.unique(image & ~np.uint64(4095))
        paddrs, mapped = self.translate(pages)
        offsets, ok = self.reader.offsets(paddrs, 4096)
        mapped &= ok
        own = np.stack([pages, pages + np.uint64(4096 - 7), offsets - pages], axis=1)[mapped]
        return np.concatenate([regions if self.direct_map is not None else regions[:0], own])

    def _known_to_loops(self) -> tuple[U64, U64, np.uint64, int, np.uint64, np.uint64]:
        direct, end = (0, 0) if self.direct_map is None else (self.direct_map, self.reader.end_paddr)
        reader = self.reader
        return (
            reader.all_words,
            reader.region_table,
            np.uint64(self.root),
            self.levels,
            np.uint64(direct),
            np.uint64(end),
        )

    def rows(self, vaddrs: U64, length: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        """As `AddressSpace.rows`; what lies in the direct map in one piece, across pages too."""
        vaddrs = np.asarray(vaddrs, np.uint64)
        if self.direct_map is None:
            return super().rows(vaddrs, length)
        base, end = np.uint64(self.direct_map), np.uint64(self.reader.end_paddr)
        direct = (vaddrs >= base) & (vaddrs - base < end)
        if direct.all():
            rows, mapped = self.reader.rows(vaddrs - base, length)
            if mapped.all():
                return rows, mapped
        rows, mapped = np.zeros((len(vaddrs), length), np.uint8), np.zeros(len(vaddrs), np.bool_)
        rows[direct], mapped[direct] = self.reader.rows(vaddrs[direct] - base, length)
        others = ~mapped  # also what begins in one region of RAM and ends in the next
        rows[others], mapped[others] = super().rows(vaddrs[others], length)
        return rows, mapped

    def is_kernel_pointer(self, vaddrs: U64) -> Mask:
        """Whether each of (n,) could point into the kernel's half at all."""
        upper: Mask = is_canonical(vaddrs, self.levels) & (vaddrs >> np.uint64(63) == np.uint64(1))
        return upper
