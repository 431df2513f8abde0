"""Rows of regions: the memory maps of all processes at once, with the names that /proc/PID/maps prints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.kernel.census.addresses import places, signed
from bridge.kernel.census.file_names import FileNames, no_name
from bridge.kernel.census.records import Row
from bridge.kernel.census.remembered import Budget, Remembered
from bridge.kernel.drgn_engine.program import KernelProgram, reading
from bridge.kernel.errors import KernelError
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from bridge.kernel.members import Members
from bridge.kernel.owners import Owners
from bridge.kernel.snapshot import Introspector, Part, SemanticSnapshot, find_vmas

U64 = npt.NDArray[np.uint64]

_NAMES = {
    Part.NONE: "",
    Part.CODE: "code",
    Part.STACK: "stack",
    Part.HEAP: "heap",
    Part.DATA: "data",
    Part.OTHER: "other",
}
PART_NAMES = tuple(_NAMES[part] for part in sorted(Part))
"""By the number of the Part."""
_NAME_BYTES = 256
_LETTERS = {
    bits: "".join(
        (
            "r" if bits & VM_READ else "-",
            "w" if bits & VM_WRITE else "-",
            "x" if bits & VM_EXEC else "-",
            "s" if bits & VM_SHARED else "p",
        )
    )
    for bits in range(16)
}


class RegionRows:
    """Makes the rows of one kernel's regions."""

    def __init__(self, introspector: Introspector, program: KernelProgram, files: FileNames) -> None:
        types = program.types
        self._introspector = introspector
        self._program = program
        self._files = files
        marks = introspector.maps.layout.mm_marks
        self._marks = Members({name: (marks[name], 8) for name in ("start_brk", "brk", "start_stack")})
        members = {"ops": (types.offset("vm_area_struct", "vm_ops"), 8)}
        members["private"] = (types.offset("vm_area_struct", "vm_private_data"), 8)
        self._anonymous = types.has("vm_area_struct", "anon_name")  # CONFIG_ANON_VMA_NAME
        if self._anonymous:
            members["name"] = (types.offset("vm_area_struct", "anon_name"), 8)
        self._vmas = Members(members)
        self._special = program.kernel.symbols.find("special_mapping_vmops")
        self._names = Remembered(self._read_name)
        self._resident: tuple[Owners, U64, npt.NDArray[np.int64]] | None = None

    @property
    def n_pending(self) -> int:
        """Names that there was no time for yet."""
        return self._names.n_pending

    def rows(self, seen: SemanticSnapshot, budget: Budget) -> list[Row]:
        """Rows of all regions of a snapshot."""
        vmas, space = seen.vmas, self._program.kernel.space
        if not len(vmas):
            return []
        kinds = self._introspector.vma_parts(seen.processes, vmas)
        offsets = np.where(vmas.files != 0, vmas.page_offsets << np.uint64(12), np.uint64(0))
        letters = vmas.flags & np.uint64(VM_READ | VM_WRITE | VM_EXEC | VM_SHARED)
        return list(
            zip(
                seen.processes.pids[vmas.owners].tolist(),
                signed(vmas.starts),
                signed(vmas.ends),
                signed(vmas.ends - vmas.starts),
                self._resident_bytes(seen).tolist(),
                [_LETTERS[bits] for bits in letters.tolist()],
                [PART_NAMES[kind] for kind in kinds.tolist()],
                self._paths(seen, budget),
                signed(offsets),
                *places(space, vmas.addresses),
                *places(space, vmas.files),
                strict=True,
            )
        )

    def _resident_bytes(self, seen: SemanticSnapshot) -> npt.NDArray[np.int64]:
        """(n,) how much of each region its page tables map."""
        known, starts = self._resident, seen.vmas.starts
        if known is not None and known[0] is seen.owners and np.array_equal(known[1], starts):
            return known[2]
        index = find_vmas(seen.vmas, seen.owners.processes, seen.owners.vaddrs)
        counts = np.bincount(index[index >= 0], minlength=len(seen.vmas)).astype(np.int64) * 4096
        self._resident = seen.owners, starts, counts
        return counts

    def _paths(self, seen: SemanticSnapshot, budget: Budget) -> list[str]:
        vmas = seen.vmas
        told = self._vmas.read(self._program.kernel.space, vmas.addresses)
        marks = self._marks.read(self._program.kernel.space, seen.processes.mms)
        start_brk, brk, start_stack = (marks.u64(name)[vmas.owners] for name in ("start_brk", "brk", "start_stack"))
        heap = (vmas.starts <= brk) & (vmas.ends >= start_brk)
        stack = (vmas.starts <= start_stack) & (start_stack <= vmas.ends)
        bare = vmas.files == 0
        special = bare & (told.u64("ops") == np.uint64(self._special or 0)) & np.bool_(self._special is not None)
        # In the order in which the kernel asks (fs/proc/task_mmu.c).
        paths = np.full(len(vmas), "", object)
        named = bare & (told.u64("name") != 0) if self._anonymous else np.zeros(len(vmas), np.bool_)
        pointers = np.where(special, told.u64("private"), told.u64("name") if self._anonymous else np.uint64(0))
        kinds = np.where(special, "special", "anon").tolist()
        keys = list(zip(kinds, pointers.tolist(), strict=True))
        wanted = np.flatnonzero(special | named).tolist()
        known = self._names.of([keys[at] for at in wanted], budget)
        for at in wanted:
            paths[at] = known.get(keys[at], "")
        paths[bare & stack & ~special] = "[stack]"
        paths[bare & heap & ~special] = "[heap]"
        files = np.flatnonzero(~bare)
        paths[files] = self._files.paths(vmas.files[files])
        names: list[str] = paths.tolist()
        return names

    def _read_name(self, key: tuple[str, int]) -> str:
        kind, pointer = key
        program = self._program
        try:
            with reading("the name of a region"):
                if kind == "special":  # the vDSO and its data
                    return program.string(program.at("vm_special_mapping", pointer).name.value_(), _NAME_BYTES)
                return f"[anon:{program.string(pointer + program.types.offset('anon_vma_name', 'name'), _NAME_BYTES)}]"
        except KernelError as error:
            return no_name(error)
