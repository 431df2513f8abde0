"""Page details: beyond its class, whose or of what each page is — slab cache, file and place in it, stack, module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import MissingType, NotMapped
from bridge.kernel.frames import Frames
from bridge.kernel.kernel import Kernel
from bridge.kernel.module_ranges import ModuleReader
from bridge.kernel.page_classes import PageClass, PageMap, StackPages
from bridge.kernel.page_files import CachedFile, FileNames
from bridge.kernel.paging import Mappings
from bridge.kernel.tasks import Tasks
from bridge.kernel.user_tables import UserTables

if TYPE_CHECKING:
    from bridge.kernel.page_sorter import SortedPages

I32 = npt.NDArray[np.int32]
U32 = npt.NDArray[np.uint32]
Pages = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

KERNEL_TABLES = 0
"""Whose the kernel's own page tables are, where other tables have a process number."""


@dataclass(frozen=True, slots=True)
class StackTask:
    """A task whose kernel stack is in RAM."""

    tid: int
    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class StackTasks(Sequence[StackTask]):
    """The tasks that kernel stacks belong to: columns, because hundreds of objects take a millisecond to be sent."""

    tids: Pages
    pids: Pages
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> StackTask: ...

    @overload
    def __getitem__(self, index: slice) -> StackTasks: ...

    def __getitem__(self, index: int | slice) -> StackTask | StackTasks:
        if isinstance(index, slice):
            return StackTasks(self.tids[index], self.pids[index], self.names[index])
        return StackTask(int(self.tids[index]), int(self.pids[index]), self.names[index])

    def of_task(self, tid: int) -> list[int]:
        """The places of the tasks of that number among these."""
        return np.flatnonzero(self.tids == tid).tolist()


@dataclass(frozen=True, slots=True)
class PageDetails:
    """Arrays (n_pages,) by page of the RAM file, and the tables that they point into.

    What a number means depends on the page's class. Class: `subjects` -> `places`.
    SLAB: index into `caches` -> page of its slab, from 0.
    FILE and SHARED_MEMORY: index into `files` -> page of the file, from 0.
    KERNEL_STACK: index into `stacks` -> page of the stack, from its lowest.
    MODULE: index into `modules` -> 0.
    PAGE_TABLE: index into `tables` -> level, 0 for the lowest.
    FREE: -1 -> order of the buddy allocator's block that it is part of.
    """

    subjects: I32
    """-1 where nothing is known."""
    places: U32
    caches: tuple[str, ...]
    files: tuple[CachedFile, ...]
    stacks: StackTasks
    modules: tuple[str, ...]
    tables: tuple[int, ...]
    """Process numbers; KERNEL_TABLES for the kernel's own."""

    def pages_of(self, classes: npt.NDArray[np.uint8], kinds: tuple[PageClass, ...], subjects: list[int]) -> Pages:
        """The pages of some classes that belong to any of some subjects, ascending."""
        return np.flatnonzero(np.isin(classes, kinds) & np.isin(self.subjects, subjects))

    def counts(self, classes: npt.NDArray[np.uint8], kinds: tuple[PageClass, ...]) -> dict[int, int]:
        """How many pages of some classes each subject has, the most first; -1 for those of none."""
        subjects, counts = np.unique(self.subjects[np.isin(classes, kinds)], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return dict(zip(subjects[order].tolist(), counts[order].tolist(), strict=True))


class PageDetailer:
    """Tells the details of one kernel's pages. What a kernel has no known form of is left out."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._modules = ModuleReader(kernel)
        self._stack_pages = StackPages(kernel)
        self._files: FileNames | None
        try:
            self._files = FileNames(kernel)
        except MissingType:
            self._files = None
        self._cache_name: int | None = None
        if kernel.types is not None and kernel.types.has("kmem_cache", "name"):
            self._cache_name = kernel.types.offset("kmem_cache", "name")
        self._cache_names: dict[tuple[int, int], str | None] = {}

    def tell(self, page_map: PageMap, tasks: Tasks, roots: U64, user: UserTables) -> PageDetails:
        """Everything. `user` are the tables under `roots` (k,)."""
        classes, frames = page_map.classes, page_map.frames
        if page_map.sorted is not None and self._files is not None and self._cache_name is not None:
            caches, files, subjects, places = self._of_sorted(frames, page_map.sorted)
        else:
            n_pages = len(classes)
            subjects, places = np.full(n_pages, -1, np.int32), np.zeros(n_pages, np.uint32)
            caches = self._slabs(classes, frames, subjects, places)
            files = self._file_pages(classes, frames, subjects, places)
            free = classes == PageClass.FREE
            places[free] = page_map.orders[free]
        stacks = self._stacks(classes, page_map.kernel_mappings, tasks, subjects, places)
        modules = self._module_pages(classes, page_map.kernel_mappings, subjects)
        tables = self._tables(classes, page_map.kernel_mappings, user, _pids_of(roots, tasks), subjects, places)
        return PageDetails(subjects, places, caches, files, stacks, modules, tables)

    # ----- inside

    def _of_sorted(
        self, frames: Frames, pages: SortedPages
    ) -> tuple[tuple[str, ...], tuple[CachedFile, ...], I32, U32]:
        """Names of caches, files, subjects and places, of what was sorted by compiled code."""
        from bridge.kernel.page_sorter import tell  # not above: it loads a compiler

        # In the order of their addresses, as `_slabs` and `_file_pages` have them.
        order = np.argsort(pages.caches)
        of_caches, of_spaces = np.full(len(order), -1, np.int32), np.full(len(pages.spaces), -1, np.int32)
        names, of_caches[order] = self._names_of_caches(pages.caches[order])
        used = np.flatnonzero(pages.used)
        order = used[np.argsort(pages.spaces[used])]
        files, of_spaces[order] = self._files_of(pages.spaces[order])
        return names, files, *tell(frames, pages, of_caches, of_spaces)

    def _slabs(self, classes: npt.NDArray[np.uint8], frames: Frames, subjects: I32, places: U32) -> tuple[str, ...]:
        pages = np.flatnonzero(classes == PageClass.SLAB)
        if self._cache_name is None or not len(pages):
            return ()
        heads = frames.heads[pages]
        caches, which = np.unique(frames.word("slab_cache", heads), return_inverse=True)
        names, subject = self._names_of_caches(caches)
        subjects[pages] = subject[which]
        places[pages] = pages - heads
        return names

    def _names_of_caches(self, caches: U64) -> tuple[tuple[str, ...], I32]:
        """The names of some `struct kmem_cache *` (n,), and which of them each has (n,), -1 for none."""
        if self._cache_name is None:
            return (), np.full(len(caches), -1, np.int32)
        at, ok = self.kernel.space.words(caches + np.uint64(self._cache_name))
        names: list[str] = []
        index_of: dict[str, int] = {}
        subject = np.full(len(caches), -1, np.int32)
        for i, (cache, pointer, good) in enumerate(zip(caches.tolist(), at.tolist(), ok.tolist(), strict=True)):
            name = self._name_of_cache(cache, pointer) if good else None
            if name:
                subject[i] = index_of.setdefault(name, len(names))
                if len(index_of) > len(names):
                    names.append(name)
        return tuple(names), subject

    def _name_of_cache(self, cache: int, pointer: int) -> str | None:
        if (cache, pointer) not in self._cache_names:
            if len(self._cache_names) > 65536:
                self._cache_names.clear()
            try:
                name = self.kernel.space.string(pointer, 128)
            except NotMapped:
                return None
            self._cache_names[cache, pointer] = name if name.isprintable() else None
        return self._cache_names[cache, pointer]

    def _file_pages(
        self, classes: npt.NDArray[np.uint8], frames: Frames, subjects: I32, places: U32
    ) -> tuple[CachedFile, ...]:
        pages = np.flatnonzero((classes == PageClass.FILE) | (classes == PageClass.SHARED_MEMORY))
        if self._files is None or not len(pages):
            return ()
        heads = frames.heads[pages]
        spaces, which = np.unique(frames.mapping[heads], return_inverse=True)
        kept, subject = self._files_of(spaces)
        subjects[pages] = subject[which]
        # Pages of a large folio have no place of their own: they follow their head.
        places[pages] = (frames.word("index", heads) + (pages - heads).astype(np.uint64)).astype(np.uint32)
        return kept

    def _files_of(self, spaces: U64) -> tuple[tuple[CachedFile, ...], I32]:
        """The files of some `struct address_space *` (n,), and which of them each is (n,), -1 for none."""
        if self._files is None or not len(spaces):
            return (), np.full(len(spaces), -1, np.int32)
        found = self._files.of(spaces)
        real = np.array([file is not None for file in found])
        return tuple(file for file in found if file is not None), np.where(real, np.cumsum(real) - 1, -1).astype(
            np.int32
        )

    def _stacks(
        self, classes: npt.NDArray[np.uint8], mappings: Mappings, tasks: Tasks, subjects: I32, places: U32
    ) -> StackTasks:
        pages, owners, steps = self._stack_pages.of(mappings, tasks)
        real = classes[pages] == PageClass.KERNEL_STACK
        subjects[pages[real]] = owners[real]
        places[pages[real]] = steps[real]
        return StackTasks(tasks.pids, tasks.tgids, tasks.names)

    def _module_pages(self, classes: npt.NDArray[np.uint8], mappings: Mappings, subjects: I32) -> tuple[str, ...]:
        modules = self._modules.read()
        if not modules.names:
            return ()
        low, high = np.searchsorted(mappings.vaddrs, [modules.starts[0], modules.ends.max()]).tolist()
        chosen = np.flatnonzero(mappings.sizes[low:high] == 4096) + low
        offsets, ok = self.kernel.reader.offsets(mappings.paddrs[chosen])
        pages = (offsets >> np.uint64(12)).astype(np.int64)
        owners = modules.of(mappings.vaddrs[chosen])
        real = ok & (owners >= 0)
        real[real] = classes[pages[real]] == PageClass.MODULE
        subjects[pages[real]] = owners[real]
        return modules.names

    def _tables(
        self,
        classes: npt.NDArray[np.uint8],
        kernel: Mappings,
        user: UserTables,
        pids: list[int],
        subjects: I32,
        places: U32,
    ) -> tuple[int, ...]:
        # The kernel's last: what both halves share is its.
        for tables, owners, levels in (
            (user.tables, user.table_spaces, user.table_levels),
            (kernel.tables, np.full(len(kernel.tables), len(pids)), kernel.table_levels),
        ):
            offsets, ok = self.kernel.reader.offsets(tables)
            pages = (offsets >> np.uint64(12)).astype(np.int64)
            ok[ok] = classes[pages[ok]] == PageClass.PAGE_TABLE
            subjects[pages[ok]] = owners[ok]
            places[pages[ok]] = levels[ok]
        return (*pids, KERNEL_TABLES)


def _pids_of(roots: U64, tasks: Tasks) -> list[int]:
    """The process of each root (k,), which all belong to tasks."""
    first = dict(zip(tasks.roots.tolist()[::-1], tasks.tgids.tolist()[::-1], strict=True))
    return [first.get(root, KERNEL_TABLES) for root in roots.tolist()]
