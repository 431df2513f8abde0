"""Code names: where the code around the selected byte runs, and what its places are called, from what panels asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.kernel_symbols import KernelSymbols
from app.story_facts import region_at
from app.widgets.plain_text import plain
from bridge.kernel.records import MapEntry, Module

PAGE_BYTES = 4096
MAX_TEXT = 120
KERNEL_HALF = 1 << 63


@dataclass(frozen=True, slots=True)
class GuestCode:
    """A stretch of physical memory that is mapped in one piece: a page, or the kernel's whole image."""

    start: int
    """Its first guest-physical address."""
    end: int
    vaddr: int
    """Where it runs."""
    pid: int | None = None
    """In whose address space; None: the kernel's."""
    symbols: KernelSymbols | None = None
    modules: Sequence[Module] = ()
    regions: Sequence[MapEntry] = ()

    def virtual(self, address: int) -> int | None:
        """The virtual address of a physical one."""
        return self.vaddr + address - self.start if self.start <= address < self.end else None

    def physical(self, vaddr: int) -> int | None:
        """The physical address of a virtual one, where it lies in this stretch."""
        address = vaddr - self.vaddr + self.start
        return address if self.start <= address < self.end else None

    def name(self, vaddr: int) -> str:
        """What a virtual address is called: a symbol, a module, or a file, and how far behind its start."""
        if vaddr >= KERNEL_HALF:
            return self._in_kernel(vaddr)
        region = region_at(self.regions, vaddr)
        if region is None or not region.path:
            return ""
        name = plain(region.path.rsplit("/", 1)[-1], MAX_TEXT)
        return f"{name} + {vaddr - region.start + region.file_offset:#x}"

    def _in_kernel(self, vaddr: int) -> str:
        module = next((one for one in self.modules if one.base <= vaddr < one.base + one.size_bytes), None)
        if module is not None:
            return f"{plain(module.name, MAX_TEXT)} + {vaddr - module.base:#x}"
        place = None if self.symbols is None else self.symbols.place(vaddr)
        return "" if place is None else plain(str(place), MAX_TEXT)
