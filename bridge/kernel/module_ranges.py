"""Module ranges: which module's which part of kernel memory is, from the kernel's list of modules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek, Torn, list_nodes, retried
from bridge.kernel.members import Members

U64 = npt.NDArray[np.uint64]

_MAX_MODULES = 1 << 14
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class ModuleRanges:
    """Ranges of virtual addresses, ascending. Parallel arrays (n,)."""

    starts: U64
    ends: U64
    owners: npt.NDArray[np.int64]
    """Index into `names`."""
    names: tuple[str, ...]

    def of(self, vaddrs: U64) -> npt.NDArray[np.int64]:
        """Which module each address (m,) belongs to; -1 for none."""
        if not len(self.starts):
            return np.full(len(vaddrs), -1, np.int64)
        index = np.searchsorted(self.starts, vaddrs, side="right") - 1
        inside = (index >= 0) & (vaddrs < self.ends[np.maximum(index, 0)])
        return np.where(inside, self.owners[np.maximum(index, 0)], -1)


NO_MODULES = ModuleRanges(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64), ())


class ModuleReader:
    """Reads the modules' ranges of one kernel, which may have been built without any."""

    def __init__(self, kernel: Kernel) -> None:
        types = kernel.types
        self._space = kernel.space
        self._peek = Peek(kernel.space)
        self._head = kernel.symbols.find("modules")
        self._members: Members | None = None
        self._parts: list[str] = []
        if types is None or self._head is None or not types.has("module", "list"):
            return
        self._list = types.offset("module", "list")
        name = types.member("module", "name")
        places = {"name": (name.offset, types.size(name.type_id))}
        # Linux commit ac3b43283923 ("module: replace module_layout with module_memory", in v6.4).
        if types.has("module", "mem"):
            memory = types.member("module", "mem")
            element, count = types.array(memory.type_id)
            base, size = types.offset("module_memory", "base"), types.member("module_memory", "size")
            parts = [memory.offset + i * types.size(element) for i in range(min(count, 16))]
        else:
            base, size = types.offset("module_layout", "base"), types.member("module_layout", "size")
            parts = [types.offset("module", layout) for layout in ("core_layout", "init_layout")]
        for index, part in enumerate(parts):
            places[f"base{index}"] = (part + base, 8)
            places[f"size{index}"] = (part + size.offset, types.size(size.type_id))
            self._parts.append(str(index))
        self._members = Members(places)

    def read(self) -> ModuleRanges:
        """All ranges; none where the list of modules is torn."""
        if self._members is None or self._head is None:
            return NO_MODULES
        head = self._head
        try:
            nodes, _ = retried(lambda: list_nodes(self._peek, head, _MAX_MODULES))
        except (Torn, NotMapped):
            return NO_MODULES
        if not nodes:
            return NO_MODULES
        modules = np.array(nodes, np.uint64) - np.uint64(self._list)
        told = self._members.read(self._space, modules)
        starts = np.stack([told.u64(f"base{part}") for part in self._parts])
        sizes = np.stack([told.u64(f"size{part}") for part in self._parts])
        owners = np.broadcast_to(np.arange(len(modules)), starts.shape)
        good = told.ok[None, :] & (starts != 0) & (sizes > 0) & (sizes < np.uint64(_MAX_BYTES))
        order = np.argsort(starts[good], kind="stable")
        first = starts[good][order]
        # Parts are made of whole pages: the last one is the module's to its end.
        ends = (first + sizes[good][order] + np.uint64(4095)) & ~np.uint64(4095)
        return ModuleRanges(first, ends, owners[good][order], told.text("name"))
