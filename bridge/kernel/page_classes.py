"""What every page of RAM is, by the kernel's own account: its `struct page`, its page tables, its symbols.

Rules are applied from the surest to the least sure, and a page keeps the first that fits. What no rule knows stays
"unknown"; nothing is guessed from content here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import MissingType
from bridge.kernel.frames import FrameReader, Frames, read_frames
from bridge.kernel.kernel import Kernel
from bridge.kernel.kernel_half import KernelHalfReader
from bridge.kernel.page_types import PageLayout, PageTypes
from bridge.kernel.paging import Mappings
from bridge.kernel.tasks import Tasks
from bridge.kernel.user_tables import UserTables

if TYPE_CHECKING:
    from bridge.kernel.page_sorter import PageSorter, SortedPages

Mask = npt.NDArray[np.bool_]
Pages = npt.NDArray[np.int64]
Put = Callable[["PageClass", "Mask | Pages"], None]
"""Gives a class to those of the pages (a mask or indices) that have none."""

STACK_BYTES = 16 << 10
"""THREAD_SIZE on x86-64 without KASAN (arch/x86/include/asm/page_64_types.h)."""
_MAX_ORDER = 20
"""More than MAX_PAGE_ORDER of any configuration."""


class PageClass(IntEnum):
    """What a page is."""

    UNKNOWN = 0
    HOLE = 1
    RESERVED = 2
    KERNEL_TEXT = 3
    KERNEL_RODATA = 4
    KERNEL_DATA = 5
    KERNEL_BSS = 6
    MODULE = 7
    PER_CPU = 8
    VMEMMAP = 9
    PAGE_TABLE = 10
    SLAB = 11
    KERNEL_STACK = 12
    VMALLOC = 13
    ANONYMOUS = 14
    FILE = 15
    SHARED_MEMORY = 16
    FREE = 17
    FREE_PER_CPU = 18
    KERNEL_PAGES = 19


CLASS_TITLES: dict[PageClass, str] = {
    PageClass.UNKNOWN: "Unknown",
    PageClass.HOLE: "No memory",
    PageClass.RESERVED: "Reserved",
    PageClass.KERNEL_TEXT: "Kernel code",
    PageClass.KERNEL_RODATA: "Kernel constants",
    PageClass.KERNEL_DATA: "Kernel data",
    PageClass.KERNEL_BSS: "Kernel zeroed data",
    PageClass.MODULE: "Modules",
    PageClass.PER_CPU: "Per-CPU data",
    PageClass.VMEMMAP: "Page records",
    PageClass.PAGE_TABLE: "Page tables",
    PageClass.SLAB: "Slab",
    PageClass.KERNEL_STACK: "Kernel stacks",
    PageClass.VMALLOC: "Vmalloc",
    PageClass.ANONYMOUS: "Anonymous memory",
    PageClass.FILE: "File pages",
    PageClass.SHARED_MEMORY: "Shared memory",
    PageClass.FREE: "Free",
    PageClass.FREE_PER_CPU: "Free, kept by a CPU",
    PageClass.KERNEL_PAGES: "Kernel's own pages",
}

# Which symbols begin and end which part of the image (include/asm-generic/sections.h).
_SECTIONS = (
    (PageClass.KERNEL_TEXT, "_stext", "_etext"),
    (PageClass.KERNEL_RODATA, "__start_rodata", "__end_rodata"),
    (PageClass.KERNEL_RODATA, "__start_orc_unwind_ip", "orc_lookup_end"),  # how to unwind stacks
    (PageClass.KERNEL_DATA, "_sdata", "_edata"),
    (PageClass.KERNEL_DATA, "__vvar_page", "__init_begin"),  # the time, as programs read it; elsewhere since v6.14
    (PageClass.KERNEL_BSS, "__bss_start", "__bss_stop"),
    (PageClass.KERNEL_DATA, "__brk_base", "_end"),
)


@dataclass(frozen=True, slots=True)
class PageMap:
    """The class of every page of the RAM file."""

    classes: npt.NDArray[np.uint8]
    """(n_pages,) PageClass."""
    orders: npt.NDArray[np.int8]
    """(n_pages,) order of the free block that a page is part of; -1 for pages that are not in the free lists."""
    frames: Frames
    """Of use until the same classifier looks again, if it remembers."""
    kernel_mappings: Mappings
    sorted: SortedPages | None = field(default=None, compare=False, repr=False)
    """What else was found on the way, by one that remembers; of use as long as `frames`."""

    def count(self, page_class: PageClass) -> int:
        """How many pages are of a class."""
        return int((self.classes == page_class).sum())

    @property
    def definite(self) -> float:
        """The share of pages that are known, 0 to 1."""
        return 1.0 - self.count(PageClass.UNKNOWN) / max(1, len(self.classes))


class PageClassifier:
    """Classifies the pages of one kernel. Raises MissingType when it is made, if the kernel has no known form."""

    def __init__(self, kernel: Kernel) -> None:
        if kernel.types is None:
            raise MissingType(f"type information: {kernel.types_problem}")
        self.kernel = kernel
        self.layout = PageLayout.of(kernel.types)
        self.types = PageTypes.of(kernel)
        self._shmem = kernel.symbols.find("shmem_aops")
        self._a_ops = kernel.types.offset("address_space", "a_ops")
        self._half = KernelHalfReader(kernel)
        self._image = self._image_pages()
        self._per_cpu: Pages = np.zeros(0, np.int64)
        self._frames: FrameReader | None = None
        self._sorter: PageSorter | None = None
        self._stacks = StackPages(kernel)

    def remember(self) -> None:
        """Be ready to classify again and again, by compiled code where the kernel's records are of the usual form."""
        from bridge.kernel.page_sorter import PageSorter  # not above: it loads a compiler

        if self._frames is None:
            self._frames = FrameReader(self.kernel, self.layout)
            self._sorter = PageSorter(self.kernel, self.layout)

    def classify(self, tasks: Tasks, user: UserTables) -> PageMap:
        """Look at everything once. `user` are the page tables of all processes.

        Raises NotMapped where the kernel's page records are not there.
        """
        kernel, layout = self.kernel, self.layout
        half = self._half.read()
        remembered = self._frames
        frames = read_frames(kernel, layout, half.mappings) if remembered is None else remembered.read(half.mappings)
        if not len(self._per_cpu):  # it stays where it was made at boot
            self._per_cpu = self._first_per_cpu_chunk()
        tables = kernel.reader.pages_of(user.tables)
        # Those of processes were all made at run time, so they are marked, if the kernel marks them at all.
        types = self.types.with_tables(frames.page_type[tables])
        stacks = self._stacks.of(half.mappings, tasks)[0]
        if self._sorter is not None and self._sorter.can_sort(frames):
            # What is claimed first counts; see below for the order among all rules.
            early = (
                (PageClass.VMEMMAP, frames.backing),
                (PageClass.PAGE_TABLE, tables),
                (PageClass.PAGE_TABLE, half.tables),
            )
            late = (
                *self._image,
                (PageClass.KERNEL_STACK, stacks),
                (PageClass.MODULE, half.modules),
                (PageClass.VMALLOC, half.vmalloc),
                (PageClass.PER_CPU, self._per_cpu),
            )
            sorted_pages = self._sorter.sort(frames, types, early, late, self._shared_or_file)
            return PageMap(sorted_pages.classes, sorted_pages.orders, frames, half.mappings, sorted_pages)
        classes = np.zeros(len(frames), np.uint8)

        def put(page_class: PageClass, where: Mask | Pages) -> None:
            index = np.flatnonzero(where) if where.dtype == np.bool_ else where
            classes[index[classes[index] == PageClass.UNKNOWN]] = page_class

        put(PageClass.HOLE, ~frames.known)
        orders = self._buddy(frames)
        put(PageClass.FREE, orders >= 0)
        head_flags = frames.of_heads(frames.flags)
        head_type = frames.of_heads(frames.page_type)
        slab = self.types.test("slab", head_type)
        if "slab" in layout.bits:
            slab |= head_flags & np.uint64(1 << layout.bits["slab"]) != 0
        put(PageClass.SLAB, slab)
        put(PageClass.VMEMMAP, frames.backing)
        put(PageClass.PAGE_TABLE, tables)
        put(PageClass.PAGE_TABLE, half.tables)
        put(PageClass.PAGE_TABLE, types.test("table", frames.page_type))
        mapping, in_use = frames.of_heads(frames.mapping), frames.of_heads(frames.refcount) > 0
        self._put_mapped(mapping, in_use, put)
        for page_class, pages in self._image:
            put(page_class, pages)
        put(PageClass.KERNEL_STACK, stacks)
        put(PageClass.MODULE, half.modules)
        put(PageClass.VMALLOC, half.vmalloc)
        put(PageClass.PER_CPU, self._per_cpu)
        put(PageClass.RESERVED, frames.flag("reserved"))
        typed = (frames.page_type & np.uint32(0x8000_0000) != 0) & (frames.page_type != np.uint32(0xFFFF_FFFF))
        typed[frames.tails] = True
        put(PageClass.FREE_PER_CPU, (frames.refcount == 0) & ~typed)
        # A compound page that is in use, is in no address space and no list: the kernel took it whole for itself
        # (large kmalloc, a driver's or the network's buffers). What it is for is written nowhere.
        big = head_flags & np.uint64(1 << layout.bits.get("head", 63)) != 0
        put(PageClass.KERNEL_PAGES, big & in_use & (mapping == 0))
        # Later kernels mark large kmalloc, and do not count references to it.
        put(PageClass.KERNEL_PAGES, self.types.test("large_kmalloc", head_type))
        return PageMap(classes, orders, frames, half.mappings)

    def _buddy(self, frames: Frames) -> npt.NDArray[np.int8]:
        """(n_pages,) the order of each page in the buddy allocator's free lists, -1 for others: each page that is
        marked stands for 2^order.
        """
        heads = np.flatnonzero(self.types.test("buddy", frames.page_type) & frames.known)
        orders = np.minimum(frames.word("private", heads), np.uint64(_MAX_ORDER)).astype(np.int64)
        n = len(frames)
        # Where blocks begin and end, each as high as its order + 1, added up.
        edges = np.zeros(n + 1, np.int32)
        np.add.at(edges, heads, orders + 1)
        np.subtract.at(edges, np.minimum(heads + (1 << orders), n), orders + 1)
        height = np.cumsum(edges[:-1], dtype=np.int32)
        height[~frames.known] = 0
        # Blocks overlap only in damaged memory.
        found: npt.NDArray[np.int8] = (np.clip(height, 0, _MAX_ORDER + 1) - 1).astype(np.int8)
        return found

    def _put_mapped(self, mapping: npt.NDArray[np.uint64], in_use: Mask, put: Put) -> None:
        """Pages that belong to an address space: anonymous memory, files, shared memory. `mapping`, `in_use`: whose,
        and whether so, (n_pages,) of each page's head.
        """
        pages = np.flatnonzero((mapping != 0) & in_use)
        pages = pages[self.kernel.space.is_kernel_pointer(mapping[pages])]
        kind = mapping[pages] & np.uint64(3)
        put(PageClass.ANONYMOUS, pages[kind & np.uint64(1) != 0])
        files = pages[kind == 0]
        spaces, which = np.unique(mapping[files], return_inverse=True)
        kinds = self._shared_or_file(spaces)
        put(PageClass.SHARED_MEMORY, files[(kinds == PageClass.SHARED_MEMORY)[which]])
        put(PageClass.FILE, files[(kinds == PageClass.FILE)[which]])

    def _shared_or_file(self, spaces: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        """(n,) PageClass of the pages of what may be some `struct address_space *` (n,); UNKNOWN where it is none."""
        a_ops, ok = self.kernel.space.words(spaces + np.uint64(self._a_ops))
        real = ok & self.kernel.space.is_kernel_pointer(a_ops)
        kinds = np.where(a_ops == np.uint64(self._shmem or 0), PageClass.SHARED_MEMORY, PageClass.FILE)
        return np.where(real, kinds, PageClass.UNKNOWN).astype(np.uint8)

    def _image_pages(self) -> list[tuple[PageClass, Pages]]:
        """What the image is made of; it does not change while the kernel runs."""
        symbols, space = self.kernel.symbols, self.kernel.space
        found = []
        for page_class, first, last in _SECTIONS:
            start, end = symbols.find(first), symbols.find(last)
            if start is None or end is None or not 0 < end - start < 1 << 30:
                continue
            paddrs = np.arange(space.image_paddr(start) >> 12, (space.image_paddr(end) + 4095) >> 12, dtype=np.uint64)
            found.append((page_class, self.kernel.reader.pages_of(paddrs << np.uint64(12))))
        return found

    def _first_per_cpu_chunk(self) -> Pages:
        symbols, space = self.kernel.symbols, self.kernel.space
        base, size, units = (symbols.find(f"pcpu_{name}") for name in ("base_addr", "unit_size", "nr_units"))
        if base is None or size is None or units is None:
            return np.zeros(0, np.int64)
        start = space.word(base)
        length = int.from_bytes(space.read(size, 4), "little") * int.from_bytes(space.read(units, 4), "little")
        if length > self.kernel.reader.ram.size_bytes:
            return np.zeros(0, np.int64)
        paddrs, mapped = space.translate(np.arange(start, start + length, 4096, dtype=np.uint64))
        return self.kernel.reader.pages_of(paddrs[mapped])


class StackPages:
    """As `stack_pages`, again and again: looked up anew only for other stacks, or where the kernel maps otherwise."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._asked: tuple[Mappings, npt.NDArray[np.uint64]] | None = None
        self._found: tuple[Pages, Pages, Pages] | None = None

    def of(self, mappings: Mappings, tasks: Tasks) -> tuple[Pages, Pages, Pages]:
        """What `stack_pages` says."""
        asked = self._asked
        if (
            self._found is None
            or asked is None
            or asked[0] is not mappings
            or not np.array_equal(asked[1], tasks.stacks)
        ):
            self._found, self._asked = stack_pages(self._kernel, mappings, tasks), (mappings, tasks.stacks)
        return self._found


def stack_pages(kernel: Kernel, mappings: Mappings, tasks: Tasks) -> tuple[Pages, Pages, Pages]:
    """The pages of the RAM file that are stacks of these tasks (m,), which task each is of, and which page of its
    stack, from the lowest. `mappings` are the kernel's.
    """
    own = np.flatnonzero(tasks.stacks)
    steps = np.arange(STACK_BYTES >> 12)
    vaddrs = (tasks.stacks[own, None] + (steps << 12).astype(np.uint64)[None, :]).reshape(-1)
    paddrs, mapped = mappings.translate(vaddrs)
    offsets, ok = kernel.reader.offsets(paddrs)
    index = np.flatnonzero(mapped & ok)
    return (offsets[index] >> np.uint64(12)).astype(np.int64), own[index // len(steps)], index % len(steps)
