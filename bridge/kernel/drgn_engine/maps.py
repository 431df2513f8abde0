"""Memory maps with names: what /proc/PID/maps prints, and how much of each region is in memory."""

from __future__ import annotations

import drgn
import numpy as np

from bridge.kernel.drgn_engine.paths import Paths
from bridge.kernel.drgn_engine.program import KernelProgram, reading
from bridge.kernel.errors import KernelError
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE, MapReader, Vmas
from bridge.kernel.paging import Mappings, walk
from bridge.kernel.records import MapEntry

_NAME_BYTES = 256
_MAX_REGIONS = 100_000
"""vm.max_map_count is 65,530 unless it was raised."""


def read_maps(program: KernelProgram, maps: MapReader, task: drgn.Object, pgd: int) -> tuple[MapEntry, ...]:
    """The regions of a ``struct task_struct *``, by address. `pgd`: physical address of its topmost page table.

    A kernel thread has none. Raises KernelError.
    """
    with reading("the memory map"):
        mm = task.mm.value_()
        if not mm:
            return ()
        vmas = maps.vmas(np.array([mm], np.uint64))
        marks, paths = maps.marks(mm), Paths(program)
        resident = _resident(vmas, walk(program.kernel.reader, pgd, program.kernel.levels, half="user"))
        names: dict[int, str] = {}
        entries = []
        for i in range(min(len(vmas), _MAX_REGIONS)):
            flags, file = int(vmas.flags[i]), int(vmas.files[i])
            if file and file not in names:
                names[file] = _file_name(program, paths, file)
            letters = "".join(c if flags & bit else "-" for c, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC)))
            entries.append(
                MapEntry(
                    start=int(vmas.starts[i]),
                    end=int(vmas.ends[i]),
                    permissions=letters + ("s" if flags & VM_SHARED else "p"),
                    file_offset=int(vmas.page_offsets[i]) << 12 if file else 0,
                    path=names[file] if file else _name(program, vmas, i, marks),
                    resident_bytes=int(resident[i]),
                )
            )
        return tuple(entries)


def _file_name(program: KernelProgram, paths: Paths, file: int) -> str:
    try:
        return paths.of_file(program.at("file", file))
    except KernelError as error:
        return f"? ({error})"


def _name(program: KernelProgram, vmas: Vmas, index: int, marks: dict[str, int]) -> str:
    """What a region without a file is called, in the order that the kernel asks (fs/proc/task_mmu.c)."""
    start, end = int(vmas.starts[index]), int(vmas.ends[index])
    vma = program.at("vm_area_struct", int(vmas.addresses[index]))
    special = program.kernel.symbols.find("special_mapping_vmops")
    if special is not None and vma.vm_ops.value_() == special:  # the vDSO and its data
        mapping = program.at("vm_special_mapping", vma.vm_private_data.value_())
        return program.string(mapping.name.value_(), _NAME_BYTES)
    if start <= marks["brk"] and end >= marks["start_brk"]:
        return "[heap]"
    if start <= marks["start_stack"] <= end:
        return "[stack]"
    if program.types.has("vm_area_struct", "anon_name"):  # CONFIG_ANON_VMA_NAME
        name = vma.anon_name.value_()
        if name:
            return f"[anon:{program.string(name + program.types.offset('anon_vma_name', 'name'), _NAME_BYTES)}]"
    return ""


def _resident(vmas: Vmas, mappings: Mappings) -> np.ndarray:
    """(n,) int64 bytes of each region that its page tables map now."""
    sizes = np.concatenate([np.zeros(1, np.int64), np.cumsum(mappings.sizes.astype(np.int64))])
    first = np.searchsorted(mappings.vaddrs, vmas.starts)
    last = np.searchsorted(mappings.vaddrs, vmas.ends)
    found: np.ndarray = sizes[last] - sizes[first]
    return found
