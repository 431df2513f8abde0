"""Finding: the things that a target means, each with its pages, one way for each kind and relation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import KernelError
from bridge.kernel.owned import Glance, Owned
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_details import KERNEL_TABLES
from bridge.kernel.snapshot import PART_TITLES, Part
from bridge.memory.physical_map import PAGE_BYTES
from bridge.semantic.query.model import CLASS_WORDS, PATTERNS, Kind, Relation, Subject, Target
from bridge.semantic.query.naming import FILES, Named, Namer
from bridge.semantic.query.results import NO_PAGES, NO_RANGES, U32, Match, Ranges
from bridge.semantic.query.texts import shown
from bridge.semantic.query.world import Mask, World
from bridge.semantic.search.places import VirtualPages

_PARTS = {
    Relation.HEAP: Part.HEAP,
    Relation.STACK: Part.STACK,
    Relation.CODE: Part.CODE,
    Relation.DATA: Part.DATA,
    Relation.OTHER: Part.OTHER,
}
_KERNEL_CODE = (PageClass.KERNEL_TEXT, PageClass.MODULE)
_KERNEL_DATA = (PageClass.KERNEL_RODATA, PageClass.KERNEL_DATA, PageClass.KERNEL_BSS, PageClass.PER_CPU)
_KERNEL_MEMORY = (
    *_KERNEL_CODE,
    *_KERNEL_DATA,
    PageClass.VMEMMAP,
    PageClass.PAGE_TABLE,
    PageClass.SLAB,
    PageClass.KERNEL_STACK,
    PageClass.VMALLOC,
    PageClass.KERNEL_PAGES,
)
_FEW = 8
"""Processes whose regions are told with their files' paths: finding those takes a millisecond each."""
MAX_HITS = 10_000
_KERNEL_HALF = 0xFFFF_8000_0000_0000
_USER_END = 1 << 56
_FEW_PLACES = 64
"""Pages of a virtual range that are looked for one by one, so that it is known which bytes of them are meant."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something with its pages; `ranges` where it is less than these."""

    label: str
    kind: str
    pid: int | None
    pages: U32
    ranges: Ranges | None = None
    always: bool = True
    """Whether it is told of without any page in memory."""


class Finder:
    """Finds in one machine, at one look. What else should be known is in `notes`."""

    def __init__(self, world: World, written: Mask | None) -> None:
        self._world = world
        self._written = written
        self.look: Glance = world.ask("glance")
        self.namer = Namer(self.look, world.physical_map)
        self.notes: list[str] = []
        self.complete = True

    def note(self, sentence: str) -> None:
        """Say something with the answer."""
        self.notes.append(sentence)

    def title(self, target: Target) -> str:
        """What a target is called: its text, safe to show."""
        return shown(str(target))

    def kept(self, scope: U32 | None) -> Mask | None:
        """(n_pages,) the pages that count: in a scope, and written when it was asked for. None: all."""
        if scope is None:
            return self._written
        mask = np.zeros(self._world.n_pages, np.bool_)
        mask[scope] = True
        return mask if self._written is None else mask & self._written

    def scope(self, target: Target) -> U32:
        """(n,) the pages of a target."""
        pages = [one.pages for one in self.find(target, None)]
        return np.unique(np.concatenate(pages)) if pages else NO_PAGES

    def match(self, found: Found, kept: Mask | None) -> Match | None:
        """It as a match; None where nothing of it counts."""
        pages, ranges = found.pages, found.ranges
        if kept is not None:
            pages = pages[kept[pages]]
            if ranges is not None:
                ranges = ranges[np.isin(self._pages_at(ranges[:, 0]), pages)]
        if not len(pages) and (kept is not None or not found.always):
            return None
        if ranges is None:
            ranges = self.namer.ranges(pages)
        return Match(found.label, found.kind, found.pid, ranges, pages, self.namer.class_of(pages))

    def find(self, target: Target, scope: U32 | None, within: Target | None = None) -> Iterable[Found]:
        """What a target means. `scope` are the pages of `within`: it saves searching where nothing counts, and is not
        applied otherwise. An address within a process is one of its virtual ones.
        """
        subject, relation = target.subject, target.relation
        if relation is Relation.OWNERS:
            return self._owners(subject)
        if target.other is not None:
            return self._shared(subject, target.other)
        if subject.kind is Kind.PROCESS:
            return self._of_processes(relation, self._indices(subject))
        if subject.kind in PATTERNS:
            return self._hits(subject, self.kept(scope), within)
        if subject.kind is Kind.KERNEL:
            return self._of_kernel(relation)
        if relation is Relation.PAGE_TABLES:
            return self._tables(None)
        if subject.kind is Kind.ADDRESS:
            of_process = within is not None and within.subject.kind is Kind.PROCESS and not within.subject.is_every
            pids = self.look.processes.pids[self._indices(within.subject)].tolist() if within and of_process else [None]
            return (one for pid in pids for one in self._address(subject, pid))
        return _OF_ITSELF[subject.kind](self, subject)

    # ----- processes

    def _indices(self, subject: Subject) -> npt.NDArray[np.int64]:
        """Which of the processes are meant."""
        processes = self.look.processes
        if subject.value is None:
            return np.arange(len(processes))
        if isinstance(subject.value, int):
            found = np.flatnonzero(processes.pids == subject.value)
        else:
            found = np.flatnonzero([name == subject.value for name in processes.names])
        if not len(found):
            self.note(f"There is no {shown(str(subject))} now.")
        return found

    def _of_processes(self, relation: Relation, indices: npt.NDArray[np.int64]) -> Iterator[Found]:
        pids = tuple(self.look.processes.pids[indices].tolist())
        if relation is Relation.MEMORY:
            return self._memory(indices)
        if relation in _PARTS:
            return self._regions(pids, _PARTS[relation])
        if relation is Relation.REGIONS:
            return self._regions(pids, None)
        if relation is Relation.KERNEL_STACK:
            return self._stacks(pids)
        if relation is Relation.PAGE_TABLES:
            return self._tables(pids)
        if relation is Relation.THREADS:
            return self._threads(pids)
        if relation is Relation.CHILDREN:
            return self._memory(np.flatnonzero(np.isin(self.look.processes.ppids, pids)))
        if relation is Relation.FILES:
            return self._files(pids)
        return self._sockets(pids)

    def _memory(self, indices: npt.NDArray[np.int64]) -> Iterator[Found]:
        """All that each process maps; of a thread of the kernel its stack, which is all it has to itself."""
        processes = self.look.processes
        pids = processes.pids[indices].tolist()
        mapped = self._mapped(indices)
        stacks = self._by_subject((PageClass.KERNEL_STACK,))
        kernel_threads = {task.tid: at for at, task in enumerate(self.look.details.stacks)}
        for index, pid in zip(indices.tolist(), pids, strict=True):
            if processes.mms[index]:
                pages = mapped.get(index, NO_PAGES)
            else:
                pages = stacks.get(kernel_threads.get(pid, -1), NO_PAGES)
            yield Found(self.namer.process(pid), "process", pid, pages)

    def _mapped(self, indices: npt.NDArray[np.int64]) -> dict[int, U32]:
        """The pages that each of some processes maps."""
        if len(indices) > _FEW:
            return _split(*self._world.ask("mapped", None))
        owned: Owned = self._world.ask("owned", tuple(self.look.processes.pids[indices].tolist()), None)
        return _split(owned.processes, owned.pages)

    def _regions(self, pids: tuple[int, ...], part: Part | None) -> Iterator[Found]:
        owned: Owned = self._world.ask("owned", pids, None if part is None else int(part))
        own = _split(owned.regions, owned.pages)
        paths = self._paths(pids)
        owners, starts, ends = owned.vmas.owners.tolist(), owned.vmas.starts.tolist(), owned.vmas.ends.tolist()
        for at, kind in enumerate(owned.parts.tolist()):
            pid = int(self.look.processes.pids[owners[at]])
            what = PART_TITLES[Part(kind)].lower()
            path = paths.get((pid, starts[at]), "")
            label = f"{self.namer.process(pid)} {what} {starts[at]:#x}-{ends[at]:#x}" + (f" {path}" if path else "")
            yield Found(label, "region" if part is None else what, pid, own.get(at, NO_PAGES), None, part is None)
        lost = own.get(-1, NO_PAGES)
        if len(lost):
            self.note(f"{len(lost):,} mapped pages are in no region of a memory map: it changed while it was read.")

    def _paths(self, pids: tuple[int, ...]) -> dict[tuple[int, int], str]:
        """What is mapped, by process and first address; of few processes only."""
        found: dict[tuple[int, int], str] = {}
        for pid in pids if len(pids) <= _FEW else ():
            try:
                found |= {(pid, entry.start): shown(entry.path) for entry in self._world.ask("maps", pid)}
            except KernelError as error:
                self.note(shown(str(error)))
        return found

    def _stacks(self, pids: tuple[int, ...] | None) -> Iterator[Found]:
        """The kernel stack of each thread of some processes, or of all."""
        wanted = None if pids is None else set(pids)
        by_task = self._by_subject((PageClass.KERNEL_STACK,))
        for at, task in enumerate(self.look.details.stacks):
            if wanted is None or task.pid in wanted or task.tid in wanted:
                label = f"kernel stack of {shown(task.name, 60)} ({task.tid})"
                yield Found(label, "kernel stack", task.pid, by_task.get(at, NO_PAGES))

    def _threads(self, pids: tuple[int, ...]) -> Iterator[Found]:
        threads, wanted = self.look.threads, set(pids)
        by_task = self._by_subject((PageClass.KERNEL_STACK,))
        at_of = {task.tid: at for at, task in enumerate(self.look.details.stacks)}
        for index, (tid, pid) in enumerate(zip(threads.pids.tolist(), threads.tgids.tolist(), strict=True)):
            if pid in wanted:
                label = f"{shown(threads.names[index], 60)} ({tid})"
                label += "" if tid == pid else f", a thread of {self.namer.process(pid)}"
                yield Found(label, "thread", pid, by_task.get(at_of.get(tid, -1), NO_PAGES))

    def _tables(self, pids: tuple[int, ...] | None) -> Iterator[Found]:
        """Page tables of some processes, or all that there are."""
        by_owner = self._by_subject((PageClass.PAGE_TABLE,))
        wanted = None if pids is None else set(pids)
        pages: dict[int, list[U32]] = {}
        for at, owner in enumerate(self.look.details.tables):
            if wanted is None or owner in wanted:
                pages.setdefault(owner, []).append(by_owner.get(at, NO_PAGES))
        for owner, pieces in sorted(pages.items()):
            yield Found(
                self.namer.tables(owner),
                "page tables",
                owner if owner != KERNEL_TABLES else None,
                np.unique(np.concatenate(pieces)),
            )
        if pids is None and len(nobody := by_owner.get(-1, NO_PAGES)):
            yield Found("page tables of nobody that is known", "page tables", None, nobody)

    def _files(self, pids: tuple[int, ...]) -> Iterator[Found]:
        """Open files, with what of them is in the page cache."""
        cached = self._by_subject(FILES)
        by_path: dict[str, list[int]] = {}
        for at, file in enumerate(self.look.details.files):
            by_path.setdefault(file.path, []).append(at)
        for pid in pids:
            try:
                opened = self._world.ask("files", pid)
            except KernelError as error:
                self.note(shown(str(error)))  # it has ended since the look
                continue
            for file in opened:
                pieces = [cached.get(at, NO_PAGES) for at in by_path.get(file.path, ())]
                pages = np.unique(np.concatenate(pieces)) if pieces else NO_PAGES
                yield Found(f"{self.namer.process(pid)} {file.descriptor}: {shown(file.path)}", "file", pid, pages)

    def _sockets(self, pids: tuple[int, ...]) -> Iterator[Found]:
        wanted = set(pids)
        for socket in self._world.ask("sockets"):
            if socket.pid not in wanted:
                continue
            ends = " ".join(shown(end, 80) for end in (socket.local, socket.remote) if end)
            label = f"{self.namer.process(socket.pid)} {socket.descriptor}: {shown(socket.family, 20)} "
            label += f"{shown(socket.kind, 20)} {shown(socket.state, 20)} {ends}".strip()
            pages, ranges = self._kernel_bytes(socket.address, 1)
            yield Found(label, "socket", socket.pid, pages, ranges)

    def _shared(self, one: Subject, other: Subject) -> Iterator[Found]:
        mine, theirs = (self.scope(Target(subject)) for subject in (one, other))
        yield from map(_found, self.namer.groups(np.intersect1d(mine, theirs, assume_unique=True)))

    def _owners(self, subject: Subject) -> Iterator[Found]:
        """The processes that map any page of something; where none does, what the pages are."""
        pages = self.scope(Target(subject))
        processes, theirs_all = self._world.ask("mapped", pages)
        by_process = _split(processes, theirs_all)
        for index, own in sorted(by_process.items()):
            pid = int(self.look.processes.pids[index])
            yield Found(f"{self.namer.process(pid)} maps {len(own):,} of {_pages(len(pages))}", "owner", pid, own)
        nobody = np.setdiff1d(pages, theirs_all)
        if by_process and len(nobody):
            self.note(f"{_pages(len(nobody))} of it no process maps.")
        elif len(nobody):
            self.note("No process maps it.")
            yield from map(_found, self.namer.groups(nobody))

    # ----- the kernel and what it keeps

    def _of_kernel(self, relation: Relation) -> Iterable[Found]:
        if relation is Relation.KERNEL_STACK:
            return self._stacks(None)
        if relation is Relation.PAGE_TABLES:
            return self._tables((KERNEL_TABLES,))
        classes = {Relation.CODE: _KERNEL_CODE, Relation.DATA: _KERNEL_DATA}.get(relation, _KERNEL_MEMORY)
        return (one for page_class in classes for one in self._class(page_class) if len(one.pages))

    def _class(self, page_class: PageClass) -> Iterator[Found]:
        pages = np.flatnonzero(self.look.classes == page_class).astype(np.uint32)
        yield Found(CLASS_TITLES[page_class], "class", None, pages)

    def _one_class(self, subject: Subject) -> Iterator[Found]:
        return self._class(CLASS_WORDS[str(subject.value)])

    def _everything(self, subject: Subject) -> Iterator[Found]:
        del subject
        if self._written is not None:
            # What was written somewhere is told by what it is there.
            yield from map(_found, self.namer.groups(np.flatnonzero(self._written).astype(np.uint32)))
            return
        for page_class in PageClass:
            if page_class is not PageClass.HOLE:
                yield from (one for one in self._class(page_class) if len(one.pages))

    def _file(self, subject: Subject) -> Iterator[Found]:
        files = self.look.details.files
        cached = self._by_subject(FILES)
        wanted = [at for at, file in enumerate(files) if subject.value in (None, file.path)]
        if not wanted and subject.value is not None:
            self.note(f"No page of {shown(str(subject.value))} is in memory.")
        for at in wanted:
            yield Found(shown(files[at].path), "file", None, cached.get(at, NO_PAGES), None, subject.value is not None)

    def _module(self, subject: Subject) -> Iterator[Found]:
        return self._listed(subject, self.look.details.modules, PageClass.MODULE)

    def _slab(self, subject: Subject) -> Iterator[Found]:
        caches, name = self.look.details.caches, subject.value
        if name is not None and name not in caches:
            # The kernel puts caches alike into one (mm/slab_common.c: slab_unmergeable), which has one's name.
            merged = next((cache.name for cache in self._world.ask("slabs") if name in cache.aliases), None)
            if merged is not None:
                self.note(f"The kernel keeps {shown(str(name))} together with others in {shown(merged)}.")
                subject = Subject(Kind.SLAB, merged)
        return self._listed(subject, caches, PageClass.SLAB)

    def _listed(self, subject: Subject, names: tuple[str, ...], page_class: PageClass) -> Iterator[Found]:
        own = self._by_subject((page_class,))
        wanted = [at for at, name in enumerate(names) if subject.value in (None, name)]
        if not wanted:
            called = "" if subject.value is None else f" called {shown(str(subject.value))}"
            self.note(f"No {subject.kind}{called} has pages in memory now.")
        for at in wanted:
            yield Found(f"{subject.kind} {shown(names[at])}", str(subject.kind), None, own.get(at, NO_PAGES))

    def _symbol(self, subject: Subject) -> Iterator[Found]:
        place = self._world.ask("symbol_range", subject.value)
        if place is None:
            self.note(f"The kernel has no symbol {shown(str(subject.value))}.")
            return
        address, size = place
        if address < 1 << 32:
            self.note(f"{shown(str(subject.value))} is in the area of each CPU, at {address:#x} of it.")
            return
        pages, ranges = self._kernel_bytes(address, size)
        yield Found(f"{shown(str(subject.value))} at {address:#x}", "symbol", None, pages, ranges)

    # ----- addresses and patterns

    def _address(self, subject: Subject, pid: int | None) -> Iterator[Found]:
        assert isinstance(subject.value, tuple)
        start, length = subject.value
        if start >= _KERNEL_HALF or pid is not None:
            pages, ranges = self._virtual_bytes(start, length, None if start >= _KERNEL_HALF else pid)
        else:
            pages, ranges = self._physical_bytes(start, length)
        if not len(pages):
            hint = ""
            if pid is None and self._ram_end() <= start < _USER_END:
                hint = f" For a virtual one, say of which process: address {start:#x} in process 1."
            self.note(f"Nothing is in memory at {start:#x}.{hint}")
            return
        if len(pages) > 1:
            for group in self.namer.groups(pages):
                inside = np.isin(self._pages_at(ranges[:, 0]), group.pages)
                yield Found(group.label, "address", group.pid, group.pages, ranges[inside])
            return
        label, _, owner = self.namer.names(pages)[0]
        yield Found(f"{start:#x}: {self._told(int(ranges[0, 0]), label)}", "address", owner, pages, ranges)

    def _told(self, paddr: int, label: str) -> str:
        """What a byte is, beyond the name of its page."""
        try:
            story = self._world.ask("where", paddr)
        except KernelError:
            return label
        if story.symbol is not None:
            return f"{shown(str(story.symbol))}, {label}"
        if story.slab_object is not None:
            held = story.slab_object
            state = "in use" if held.allocated else "free"
            return f"{label}, object at {held.address:#x} of {held.size_bytes:,} bytes, {state}"
        if story.mappings and story.file_path:
            return f"{label}, mapped by {self.namer.process(story.mappings[0].pid)}"
        return label

    def _hits(self, subject: Subject, kept: Mask | None, within: Target | None) -> Iterator[Found]:
        if kept is not None and not kept.any():
            return
        seen: set[tuple[int, int]] = set()
        spaces: Sequence[VirtualPages | Mask | None] = self._spaces(within, kept) or [kept]
        for space in spaces:
            hits = self._world.search(subject, space, MAX_HITS - len(seen))
            self.complete = self.complete and hits.complete
            for note in hits.notes:
                self.note(shown(note))
            offsets, lengths = hits.offsets.astype(np.int64), hits.lengths.tolist()
            # All at once: a query may have ten thousand hits.
            first, last = hits.parts[:, 1] // PAGE_BYTES, (hits.parts[:, 1:].sum(axis=1) - 1) // PAGE_BYTES
            paddrs = self._world.physical_map.paddr_from_offset(hits.parts[:, 1].astype(np.uint64))
            parts = np.column_stack([first, last, paddrs, hits.parts[:, 2]])
            begins = np.searchsorted(hits.parts[:, 0], np.arange(len(hits) + 1)).tolist()
            named = self.namer.names(offsets // PAGE_BYTES) if len(hits) else []
            for at, (label, _, pid) in enumerate(named):
                if (key := (int(offsets[at]), lengths[at])) in seen:
                    continue  # a page that two processes map, or one of them twice
                seen.add(key)
                name = hits.names[hits.which[at]]
                rule = "" if name == subject.value else f" {shown(str(name), 60)}"
                own = parts[begins[at] : begins[at + 1]]
                pages = [np.arange(page, end + 1, dtype=np.uint32) for page, end in own[:, :2].tolist()]
                yield Found(
                    f"{own[0, 2]:#x}{rule} in {label}",
                    "hit",
                    pid,
                    pages[0] if len(pages) == 1 else np.concatenate(pages),
                    own[:, 2:],
                )
            if len(seen) >= MAX_HITS:
                return

    def _spaces(self, within: Target | None, kept: Mask | None) -> list[VirtualPages]:
        """The memory of the processes that are asked about in the order of their addresses, where a text may go on in a
        page that lies elsewhere; none where it is not that of processes.
        """
        if within is None or within.subject.kind is not Kind.PROCESS or within.subject.is_every or within.other:
            return []
        if within.relation is not Relation.MEMORY and within.relation not in _PARTS:
            return []
        indices = self._indices(within.subject)
        if not self.look.processes.mms[indices].all():
            return []  # threads of the kernel have no addresses of their own
        part = _PARTS.get(within.relation)
        pids = tuple(self.look.processes.pids[indices].tolist())
        owned: Owned = self._world.ask("owned", pids, None if part is None else int(part))
        counts = np.ones(len(owned.pages), np.bool_) if kept is None else kept[owned.pages]
        own = [counts & (owned.processes == index) for index in indices]
        return [VirtualPages(owned.vaddrs[mask], owned.pages[mask]) for mask in own if mask.any()]

    # ----- places

    def _by_subject(self, classes: tuple[PageClass, ...]) -> dict[int, U32]:
        """The pages of some classes by what they are of."""
        pages = np.flatnonzero(np.isin(self.look.classes, classes)).astype(np.uint32)
        return _split(self.look.details.subjects[pages], pages)

    def _ram_end(self) -> int:
        return max((region.paddr_end for region in self._world.physical_map.regions), default=0)

    def _pages_at(self, paddrs: npt.NDArray[np.int64]) -> U32:
        """(n,) the page of the RAM file of each physical address."""
        offsets = self._world.physical_map.offset_from_paddr(paddrs.astype(np.uint64))
        return (np.maximum(offsets, 0) // PAGE_BYTES).astype(np.uint32)

    def _physical_bytes(self, start: int, length: int) -> tuple[U32, Ranges]:
        pieces, pages = [], []
        for region in self._world.physical_map.regions:
            first, end = max(start, region.paddr), min(start + length, region.paddr_end)
            if first < end:
                offset = region.offset + first - region.paddr
                pieces.append((first, end - first))
                pages.append(np.arange(offset // PAGE_BYTES, (offset + end - first - 1) // PAGE_BYTES + 1))
        if not pieces:
            return NO_PAGES, NO_RANGES
        return np.unique(np.concatenate(pages)).astype(np.uint32), np.array(pieces, np.int64)

    def _kernel_bytes(self, vaddr: int, length: int) -> tuple[U32, Ranges]:
        return self._virtual_bytes(vaddr, length, None)

    def _virtual_bytes(self, vaddr: int, length: int, pid: int | None) -> tuple[U32, Ranges]:
        """Where bytes of the kernel (None) or of a process lie: pages, and a range for each."""
        pieces: list[tuple[int, int]] = []
        end = vaddr + length
        if length > _FEW_PLACES * PAGE_BYTES:
            pages = self._virtual_pages(vaddr, length, pid)
            return pages, self.namer.ranges(pages)
        for at in range(vaddr & ~(PAGE_BYTES - 1), end, PAGE_BYTES):
            first = max(at, vaddr)
            try:
                paddr = self._world.ask("physical", first, pid)
            except KernelError:
                continue
            pieces.append((paddr, min(at + PAGE_BYTES, end) - first))
        if not pieces:
            return NO_PAGES, NO_RANGES
        ranges = np.array(pieces, np.int64)
        offsets = self._world.physical_map.offset_from_paddr(ranges[:, 0].astype(np.uint64))
        inside = offsets >= 0
        return np.unique(offsets[inside] // PAGE_BYTES).astype(np.uint32), ranges[inside]

    def _virtual_pages(self, vaddr: int, length: int, pid: int | None) -> U32:
        """The pages of a long virtual range, all asked for at once."""
        if pid is None:
            found: U32 = self._world.ask("pages_of", "symbol", (vaddr, length))
            return found
        owned: Owned = self._world.ask("owned", (pid,), None)
        inside = (owned.vaddrs >= np.uint64(vaddr)) & (owned.vaddrs - np.uint64(vaddr) < np.uint64(length))
        return np.unique(owned.pages[inside])


_OF_ITSELF: dict[Kind, Callable[[Finder, Subject], Iterable[Found]]] = {
    Kind.FILE: Finder._file,
    Kind.MODULE: Finder._module,
    Kind.SLAB: Finder._slab,
    Kind.SYMBOL: Finder._symbol,
    Kind.CLASS: Finder._one_class,
    Kind.EVERYTHING: Finder._everything,
}


def _found(named: Named) -> Found:
    return Found(named.label, named.kind, named.pid, named.pages)


def _split(keys: npt.NDArray[Any], pages: U32) -> dict[int, U32]:
    """Pages (m,), ascending, by their keys (m,); of each key ascending, each once."""
    if not len(keys):
        return {}
    order = np.argsort(keys, kind="stable")
    keys, pages = keys[order], pages[order]
    # A process may map a page at two places.
    once = np.concatenate([[True], (np.diff(keys) != 0) | (np.diff(pages) != 0)])
    keys, pages = keys[once], pages[once]
    first = np.flatnonzero(np.concatenate([[True], np.diff(keys) != 0]))
    ends = [*first[1:].tolist(), len(keys)]
    return {key: pages[start:end] for key, start, end in zip(keys[first].tolist(), first.tolist(), ends, strict=True)}


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count:,} pages"
