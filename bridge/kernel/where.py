"""Where: the whole story of one address — page, class, owners, the place in each owner's map, the nearest symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.kernel.errors import NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_details import KERNEL_TABLES
from bridge.kernel.paging import translate
from bridge.kernel.records import SlabObject
from bridge.kernel.snapshot import PART_TITLES, Part, SemanticSnapshot, find_vmas
from bridge.kernel.space import KERNEL_MAP, KERNEL_MAP_END
from bridge.kernel.symbols import Place
from bridge.kernel.tasks import Consistency

_IMAGE_CLASSES = (
    PageClass.KERNEL_TEXT,
    PageClass.KERNEL_RODATA,
    PageClass.KERNEL_DATA,
    PageClass.KERNEL_BSS,
)
"""Pages that are the kernel's image still; others there were given back when it had booted."""
MAX_OWNERS = 64
"""Owners that are told one by one: a page of the C library may be mapped by every process."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One process that maps a page."""

    pid: int
    name: str
    vaddr: int
    """Of the asked byte, in that process."""
    vma_start: int
    vma_end: int
    """0 where the process's memory map has no such place."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one byte of RAM."""

    paddr: int
    offset: int
    """In the RAM file."""
    page_class: str
    part: str
    mappings: tuple[Mapping, ...]
    n_mappings: int
    kernel_vaddr: int | None
    """In the kernel's image or direct map."""
    symbol: Place | None
    cache: str = ""
    """Of which slab cache the page is; empty if of none."""
    file_path: str = ""
    """Of which file in the page cache; see `page_files.CachedFile`."""
    file_offset: int | None = None
    """Of the asked byte in that file."""
    stack_task: tuple[int, str] | None = None
    """Number and name of the task whose kernel stack it is."""
    module: str = ""
    table_owner: tuple[int, str] | None = None
    """Number and name of the process whose page table it is; (0, "kernel") for the kernel's own."""
    table_level: int | None = None
    """0 for a table of pages of 4 KiB."""
    order: int | None = None
    """The page is part of a free block of 2^order pages."""
    slab_object: SlabObject | None = None
    """The object of the slab cache that holds the byte; told by `details.Details.story`."""
    consistency: Consistency = "live"
    taken_s: float = 0.0
    """time.monotonic() of the look that this was told from."""


def paddr_of(kernel: Kernel, snapshot: SemanticSnapshot, vaddr: int, pid: int | None) -> int:
    """The physical address of a virtual one, of the kernel or of a process. Raises NotMapped."""
    root = kernel.space.root
    if pid is not None:
        found = np.flatnonzero(snapshot.processes.pids == pid)
        if not len(found):
            raise NotMapped(vaddr, f"there is no process {pid}")
        root = int(snapshot.processes.roots[found[0]])
        if not root:
            raise NotMapped(vaddr, f"process {pid} is a thread of the kernel and has no address space of its own")
    paddrs, _, mapped = translate(kernel.reader, root, kernel.levels, np.array([vaddr], np.uint64))
    if not mapped[0]:
        raise NotMapped(vaddr)
    return int(paddrs[0])


def tell(kernel: Kernel, snapshot: SemanticSnapshot, paddr: int) -> Story:
    """The story of a physical address. Raises NotMapped where there is no RAM."""
    offsets, ok = kernel.reader.offsets(np.array([paddr], np.uint64))
    if not ok[0]:
        raise NotMapped(paddr, "there is no RAM at that physical address")
    offset = int(offsets[0])
    page, inside = offset >> 12, offset & 4095
    places = snapshot.owners.of_page(page)
    mappings = []
    for process, vaddr in places[:MAX_OWNERS]:
        vma = int(find_vmas(snapshot.vmas, np.array([process]), np.array([vaddr], np.uint64))[0])
        mappings.append(
            Mapping(
                int(snapshot.processes.pids[process]),
                snapshot.processes.names[process],
                vaddr + inside,
                int(snapshot.vmas.starts[vma]) if vma >= 0 else 0,
                int(snapshot.vmas.ends[vma]) if vma >= 0 else 0,
            )
        )
    image = paddr - kernel.space.phys_base + KERNEL_MAP
    symbol = None
    kernel_vaddr = None if kernel.space.direct_map is None else kernel.space.direct_map + paddr
    page_class = PageClass(int(snapshot.page_map.classes[page]))
    if page_class in _IMAGE_CLASSES and KERNEL_MAP <= image < KERNEL_MAP_END:
        kernel_vaddr, symbol = image, kernel.symbols.place(image)
    return Story(
        paddr,
        offset,
        CLASS_TITLES[page_class],
        PART_TITLES[Part(int(snapshot.parts[page]))],
        tuple(mappings),
        len(places),
        kernel_vaddr,
        symbol,
        **_details(snapshot, page_class, page, inside),
        consistency=snapshot.consistency,
        taken_s=snapshot.taken_s,
    )


def _details(snapshot: SemanticSnapshot, page_class: PageClass, page: int, inside: int) -> dict[str, Any]:
    """What is known beyond the class, as members of a Story."""
    details = snapshot.details
    subject, place = int(details.subjects[page]), int(details.places[page])
    if page_class == PageClass.FREE:
        return {"order": place}
    if subject < 0:
        return {}
    if page_class == PageClass.SLAB:
        return {"cache": details.caches[subject]}
    if page_class in (PageClass.FILE, PageClass.SHARED_MEMORY):
        return {"file_path": details.files[subject].path, "file_offset": place * 4096 + inside}
    if page_class == PageClass.KERNEL_STACK:
        return {"stack_task": (details.stacks[subject].tid, details.stacks[subject].name)}
    if page_class == PageClass.MODULE:
        return {"module": details.modules[subject]}
    if page_class == PageClass.PAGE_TABLE:
        pid = details.tables[subject]
        names = dict(zip(snapshot.processes.pids.tolist(), snapshot.processes.names, strict=True))
        name = "kernel" if pid == KERNEL_TABLES else names.get(pid, "")
        return {"table_owner": (pid, name), "table_level": place}
    return {}
