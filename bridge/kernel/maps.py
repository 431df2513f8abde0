"""Memory maps: the VMAs of many processes at once.

Since v6.1 they are in a maple tree, before that in a list along `vm_next`. Each VMA must name the mm that it was found
in, so that what was freed or reused while it was read is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf
from bridge.kernel.errors import MissingType
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek
from bridge.kernel.maple import entries_of_trees
from bridge.kernel.members import Members

U64 = npt.NDArray[np.uint64]

VM_READ, VM_WRITE, VM_EXEC, VM_SHARED, VM_GROWSDOWN = 1, 2, 4, 8, 0x100
_MAX_VMAS = 1 << 20
"""More than any sane guest has in all; vm.max_map_count is 65,530 for one process."""

_LEAST_ROOM = 1024
_NOTHING: U64 = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class VmaLayout:
    """Where the members of `struct vm_area_struct` and of an mm's special regions lie."""

    start: int
    end: int
    flags: int
    file: int
    pgoff: int
    mm: int
    anon_vma: int
    next: int | None
    tree: int | None
    """Of `mm_struct.mm_mt.ma_root` (since v6.1)."""
    first: int | None
    """Of `mm_struct.mmap` (before v6.1)."""
    mm_marks: dict[str, int]

    @classmethod
    def of(cls, types: Btf) -> VmaLayout:
        """Raises MissingType for a kernel that has none of the known forms."""
        has_tree = types.has("mm_struct", "mm_mt.ma_root")
        if not has_tree and not types.has("mm_struct", "mmap"):
            raise MissingType("member mm_struct.mm_mt or mm_struct.mmap")
        flags = "vm_flags" if types.has("vm_area_struct", "vm_flags") else "__vm_flags"
        marks = ("start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack", "arg_start")
        return cls(
            start=types.offset("vm_area_struct", "vm_start"),
            end=types.offset("vm_area_struct", "vm_end"),
            flags=types.offset("vm_area_struct", flags),
            file=types.offset("vm_area_struct", "vm_file"),
            pgoff=types.offset("vm_area_struct", "vm_pgoff"),
            mm=types.offset("vm_area_struct", "vm_mm"),
            anon_vma=types.offset("vm_area_struct", "anon_vma"),
            next=types.offset("vm_area_struct", "vm_next") if types.has("vm_area_struct", "vm_next") else None,
            tree=types.offset("mm_struct", "mm_mt.ma_root") if has_tree else None,
            first=None if has_tree else types.offset("mm_struct", "mmap"),
            mm_marks={mark: types.offset("mm_struct", mark) for mark in marks},
        )


@dataclass(frozen=True, slots=True)
class Vmas:
    """VMAs of several address spaces, ordered by space, then address. Parallel arrays (n,)."""

    addresses: U64
    """`struct vm_area_struct *`."""
    owners: npt.NDArray[np.int64]
    """Which of the mms that were asked for."""
    starts: U64
    ends: U64
    flags: U64
    files: U64
    """`struct file *`, 0 for none."""
    page_offsets: U64
    complete: bool

    def __len__(self) -> int:
        return len(self.addresses)

    def only(self, kept: npt.NDArray[np.bool_]) -> Vmas:
        """Those that a mask (n,) keeps."""
        names = ("addresses", "owners", "starts", "ends", "flags", "files", "page_offsets")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def _room(n: int) -> tuple[npt.NDArray[np.int64], U64]:
    """Owners, and what else is said of regions."""
    return np.zeros(n, np.int64), np.zeros((n, 6), np.uint64)


class MapReader:
    """Reads the memory maps of one kernel's processes."""

    def __init__(self, kernel: Kernel) -> None:
        if kernel.types is None:
            raise MissingType(f"type information: {kernel.types_problem}")
        self.kernel = kernel
        self.layout = VmaLayout.of(kernel.types)
        self._peek = Peek(kernel.space)
        self._heap = Members({name: (self.layout.mm_marks[name], 8) for name in ("start_brk", "brk")})
        named = ("start", "end", "mm", "flags", "file", "pgoff")
        self._members = Members({name: (getattr(self.layout, name), 8) for name in named})
        self._loops: ModuleType | None = None
        self._room = _room(_LEAST_ROOM)
        self._last: tuple[U64, Vmas] | None = None

    def remember(self) -> None:
        """Be ready to be asked again and again, by compiled code: what is the same as before is the same object."""
        from bridge.kernel import list_loops  # not above: it loads a compiler

        self.kernel.space.remember()
        self._loops = list_loops if self.kernel.space.remembers else None

    def vmas(self, mms: U64) -> Vmas:
        """The VMAs of the address spaces `mms` (n,), each a `struct mm_struct *`."""
        if self._loops is not None and self.layout.tree is not None and (followed := self._followed(mms)) is not None:
            return followed
        return self._walked(mms)

    def _followed(self, mms: U64) -> Vmas | None:
        """The same by compiled code, where nothing is amiss; else None."""
        layout, space, loops = self.layout, self.kernel.space, self._loops
        assert loops is not None
        assert layout.tree is not None
        members = (layout.start, layout.end, layout.flags, layout.file, layout.pgoff)
        while True:
            ended, n_found = loops.read_regions(
                space.reader.all_words,
                space.pieces(_NOTHING),
                mms,
                np.uint64(layout.tree),
                np.uint64(layout.mm),
                np.array(members, np.uint64),
                *self._room,
            )
            if ended == loops.WALKED:
                break
            if ended != loops.NO_ROOM or len(self._room[0]) > _MAX_VMAS:
                return None
            self._room = _room(2 * len(self._room[0]))
        owners, columns = self._room[0][:n_found], self._room[1][:n_found]
        if (
            self._last is not None
            and np.array_equal(columns, self._last[0])
            and np.array_equal(owners, self._last[1].owners)
        ):
            return self._last[1]
        columns = columns.copy()
        addresses, starts, ends, flags, files, page_offsets = (np.ascontiguousarray(column) for column in columns.T)
        vmas = Vmas(addresses, owners.copy(), starts, ends, flags, files, page_offsets, True)
        self._last = columns, vmas
        return vmas

    def _walked(self, mms: U64) -> Vmas:
        layout, space = self.layout, self.kernel.space
        if layout.tree is not None:
            roots, ok = space.words(mms + np.uint64(layout.tree))
            owners, addresses, complete = entries_of_trees(space, roots, _MAX_VMAS)
            complete &= bool(ok.all())
        else:
            owners, addresses, complete = self._along_lists(mms)
        told = self._members.read(space, addresses)
        starts, ends, own = (told.u64(name) for name in ("start", "end", "mm"))
        good = told.ok & (own == mms[owners]) & (starts < ends) & ((starts | ends) & np.uint64(4095) == 0)
        complete &= bool(good.all())
        order = np.flatnonzero(good)[np.lexsort((starts[good], owners[good]))]
        flags, files, page_offsets = (told.u64(name)[order] for name in ("flags", "file", "pgoff"))
        return Vmas(addresses[order], owners[order], starts[order], ends[order], flags, files, page_offsets, complete)

    def heaps(self, mms: U64) -> tuple[U64, U64]:
        """Where the heap of each `struct mm_struct *` (n,) begins and ends; zeros where there is none."""
        told = self._heap.read(self.kernel.space, mms)
        return told.u64("start_brk"), told.u64("brk")

    def marks(self, mm: int) -> dict[str, int]:
        """Where code, data, heap, stack and arguments of an address space lie. Raises NotMapped."""
        return {name: self._peek(mm + offset) for name, offset in self.layout.mm_marks.items()}

    def _along_lists(self, mms: U64) -> tuple[npt.NDArray[np.int64], U64, bool]:
        """All lists advance together, one VMA a step."""
        layout, space = self.layout, self.kernel.space
        assert layout.first is not None
        assert layout.next is not None
        nodes, ok = space.words(mms + np.uint64(layout.first))
        trees = np.arange(len(mms))
        owners, found, complete, n_found = [], [], bool(ok.all()), 0
        while True:
            going = nodes != 0
            nodes, trees = nodes[going], trees[going]
            n_found += len(nodes)
            if not len(nodes) or n_found > _MAX_VMAS:
                break
            owners.append(trees)
            found.append(nodes)
            nodes, ok = space.words(nodes + np.uint64(layout.next))
            complete &= bool(ok.all())
        if not owners:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64), complete
        return np.concatenate(owners), np.concatenate(found), complete and n_found <= _MAX_VMAS
