"""The kernel's half of virtual memory: its page tables, walked again only when they changed, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.kernel import Kernel
from bridge.kernel.paging import Mappings, walk_all
from bridge.kernel.space import KERNEL_MAP, KERNEL_MAP_END

Pages = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_MODULES_END = 0xFFFF_FFFF_FF00_0000
_MAX_KEPT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class KernelHalf:
    """What the kernel maps. Pages are pages of the RAM file."""

    mappings: Mappings
    tables: Pages
    modules: Pages
    """In the area of modules, which also holds compiled BPF programs and trampolines."""
    vmalloc: Pages
    """Mapped outside of the image, of the direct map and of the modules."""


class KernelHalfReader:
    """Reads the kernel's tables, and keeps what they said while no byte of any of them is another.

    What a walk finds follows from the tables that it goes through, and from nothing else.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._contents: list[tuple[U64, npt.NDArray[np.uint8]]] = []
        self._found: KernelHalf | None = None

    def read(self) -> KernelHalf:
        """The tables as they are now."""
        if self._found is not None and self._unchanged():
            return self._found
        kernel = self._kernel
        contents: list[tuple[U64, npt.NDArray[np.uint8]]] = []
        root = np.array([kernel.space.root], np.uint64)
        mappings = walk_all(kernel.reader, root, kernel.levels, half="kernel", contents=contents)
        small = mappings.sizes == 4096
        vaddrs, paddrs = mappings.vaddrs[small], mappings.paddrs[small]
        # What the image left behind when it had booted was given to others: being mapped there still says nothing.
        image_end = kernel.symbols.find("_end") or KERNEL_MAP_END
        modules = (vaddrs >= np.uint64(image_end)) & (vaddrs < np.uint64(_MODULES_END))
        direct = np.uint64(kernel.space.direct_map or 0)
        linear = (vaddrs >= direct) & (vaddrs - direct == paddrs)
        vmalloc = ~linear & (vaddrs < np.uint64(KERNEL_MAP))
        pages_of = kernel.reader.pages_of
        found = KernelHalf(mappings, pages_of(mappings.tables), pages_of(paddrs[modules]), pages_of(paddrs[vmalloc]))
        if sum(rows.nbytes for _, rows in contents) <= _MAX_KEPT_BYTES:
            self._contents, self._found = contents, found
        else:
            self._contents, self._found = [], None
        return found

    def _unchanged(self) -> bool:
        for tables, before in self._contents:
            now, _ = self._kernel.reader.rows(tables, 4096)
            if not np.array_equal(now.view("<u8"), before.view("<u8")):
                return False
        return True
