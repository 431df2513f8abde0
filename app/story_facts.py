"""Story facts: what the kernel's records say of one byte, as the few short lines that the inspector shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.kernel_channels import CLASS_LABELS
from app.output import format_bytes
from app.widgets.plain_text import plain
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.records import MapEntry, SlabObject
from bridge.kernel.snapshot import PART_TITLES, Part
from bridge.kernel.where import Mapping, Story

PAGE_BYTES = 4096
MAX_TEXT = 300
KERNEL_PID = 0

# What one page of a class is; the class itself is named for many.
_ONE: dict[PageClass, str] = {
    PageClass.MODULE: "Kernel module",
    PageClass.PER_CPU: "Per-CPU data",
    PageClass.VMEMMAP: "Page records",
    PageClass.PAGE_TABLE: "Page table",
    PageClass.KERNEL_STACK: "Kernel stack",
    PageClass.FILE: "File page",
    PageClass.KERNEL_PAGES: "Kernel's own page",
}
_CLASS_OF = {title: kind for kind, title in CLASS_TITLES.items()}
_PART_OF = {title: part for part, title in PART_TITLES.items()}
_LEVELS = ("entries of 4 KiB", "entries of 2 MiB", "entries of 1 GiB", "entries of 512 GiB", "entries of 256 TiB")
_SWATCHES: dict[PageClass, str] = {
    PageClass.KERNEL_TEXT: "Kernel code",
    PageClass.KERNEL_RODATA: "Kernel constants",
    PageClass.KERNEL_DATA: "Kernel data",
    PageClass.KERNEL_BSS: "Kernel data",
    PageClass.PER_CPU: "Kernel data",
    PageClass.SLAB: "Slabs",
    PageClass.FREE_PER_CPU: "Free",
    PageClass.HOLE: "No memory",
}
_USER = (PageClass.ANONYMOUS, PageClass.FILE, PageClass.SHARED_MEMORY)
_PART_SWATCHES = {Part.CODE: "Program code", Part.STACK: "Stacks", Part.HEAP: "Heaps"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line: what it is about, what it says, and where it leads."""

    label: str
    value: str
    note: str = ""
    kind: str = ""
    """With `key`: what lights up when the value is clicked, as `choose.pages_of` takes it. Empty: nothing does."""
    key: str = ""
    goes: int | None = None
    """A virtual address of the kernel that it leads to instead."""
    swatch: str = ""
    """One of CLASS_LABELS, whose colour is shown beside it."""
    mono: bool = False
    others: tuple[tuple[str, str], ...] = ()
    """Further processes that share it: what each is called, and its number."""


def facts_of(
    story: Story,
    slab: SlabObject | None = None,
    region: MapEntry | None = None,
    size_of_symbol: int = 0,
    own_vaddr: int | None = None,
    task: tuple[int, str] | None = None,
) -> tuple[Fact, ...]:
    """Return the story in lines, the most telling first.

    `slab`: the object that holds the byte. `region`: the part of the first process's memory map that does.
    `own_vaddr`: where the kernel maps it for itself, as it does its modules. `task`: number and name of the process
    whose own record (`struct task_struct`) the object is.
    """
    facts = [_class(story)]
    if story.symbol is not None and story.kernel_vaddr is not None:
        start = story.kernel_vaddr - story.symbol.offset
        size = max(size_of_symbol, story.symbol.offset + 1)
        facts.append(
            Fact("Symbol", str(story.symbol), _size(size_of_symbol), "symbol", f"{start:#x},{size:#x}", mono=True)
        )
    facts.extend(_slab(story, slab))
    if task is not None:
        facts.append(Fact("Record of", f"{_text(task[1])} ({task[0]})", "", "process", str(task[0])))
    if story.module:
        facts.append(Fact("Module", _text(story.module), "", "module", story.module))
    if story.stack_task is not None:
        tid, name = story.stack_task
        facts.append(Fact("Stack of", f"{_text(name)} ({tid})", "a task in the kernel", "stack", str(tid)))
    if story.table_owner is not None:
        facts.append(_table(story.table_owner, story.table_level))
    if story.file_path:
        place = "" if story.file_offset is None else f"+ {story.file_offset:#x}"
        facts.append(Fact("File", _text(story.file_path), place, "file", story.file_path))
    if story.mappings:
        facts.extend(_process(story, region))
    virtual = _virtual(story, own_vaddr)
    if virtual is not None:
        facts.append(virtual)
    return tuple(facts)


def swatch_of(story: Story) -> str:
    """Return what the volume calls such pages: one of CLASS_LABELS."""
    kind, part = _CLASS_OF.get(story.page_class, PageClass.UNKNOWN), _PART_OF.get(story.part, Part.NONE)
    if kind in _USER and part in _PART_SWATCHES:
        return _PART_SWATCHES[part]
    label = _SWATCHES.get(kind, story.page_class)
    return label if label in CLASS_LABELS else "Unknown"


def _class(story: Story) -> Fact:
    kind = _CLASS_OF.get(story.page_class, PageClass.UNKNOWN)
    part = _PART_OF.get(story.part, Part.NONE)
    title = _ONE.get(kind, story.page_class)
    note = ""
    if kind in _USER and part not in (Part.NONE, Part.OTHER):
        note = story.part.lower()
    if kind == PageClass.FREE and story.order is not None:
        pages = 1 << story.order
        note = f"in a block of {pages:,} page{'s' if pages > 1 else ''}, {format_bytes(pages * PAGE_BYTES)}"
    return Fact("Page of", title, note, "class", kind.name.lower(), swatch=swatch_of(story))


def _slab(story: Story, slab: SlabObject | None) -> list[Fact]:
    name = story.cache or ("" if slab is None else slab.cache)
    if not name:
        return []
    facts = [
        Fact("Cache", _text(name), "" if slab is None else f"objects of {slab.size_bytes:,} B", "slab", name, mono=True)
    ]
    if slab is not None and story.kernel_vaddr is not None:
        inside = story.kernel_vaddr - slab.address
        use = "in use" if slab.allocated else "free"
        facts.append(
            Fact(
                "Object",
                f"{slab.address:#x}",
                f"+ {inside:#x}, {use}",
                goes=slab.address,
                mono=True,
            )
        )
    return facts


def _table(owner: tuple[int, str], level: int | None) -> Fact:
    pid, name = owner
    note = _LEVELS[level] if level is not None and 0 <= level < len(_LEVELS) else ""
    if pid == KERNEL_PID:
        return Fact("Table of", "the kernel", note, "tables", str(pid))
    return Fact("Table of", f"{_text(name)} ({pid})" if name else f"process {pid}", note, "tables", str(pid))


def _process(story: Story, region: MapEntry | None) -> list[Fact]:
    first = story.mappings[0]
    more = story.n_mappings - 1
    note = "" if not more else "and 1 more" if more == 1 else f"and {more:,} more"
    others = tuple((_who(mapping), str(mapping.pid)) for mapping in story.mappings[1:])
    facts = [Fact("Process", _who(first), note, "process", str(first.pid), others=others)]
    if region is not None and region.start <= first.vaddr < region.end:
        path = _text(region.path) or "no file"
        size = format_bytes(region.end - region.start)
        key = f"{first.pid},{region.start:#x},{region.end:#x}"
        facts.append(Fact("Region", path.rsplit("/", 1)[-1], f"{region.permissions}  {size}", "region", key))
    elif first.vma_end > first.vma_start:
        size = format_bytes(first.vma_end - first.vma_start)
        key = f"{first.pid},{first.vma_start:#x},{first.vma_end:#x}"
        facts.append(Fact("Region", f"{first.vma_start:#x}", size, "region", key, mono=True))
    return facts


def _virtual(story: Story, own_vaddr: int | None) -> Fact | None:
    if own_vaddr is not None:
        return Fact("Virtual", f"{own_vaddr:#x}", "in the kernel", mono=True)
    if story.mappings:
        return Fact("Virtual", f"{story.mappings[0].vaddr:#x}", f"in {_text(story.mappings[0].name)}", mono=True)
    if story.kernel_vaddr is None:
        return None
    return Fact("Virtual", f"{story.kernel_vaddr:#x}", "" if story.symbol is not None else "direct map", mono=True)


def _who(mapping: Mapping) -> str:
    return f"{_text(mapping.name)} ({mapping.pid})"


def _size(size_bytes: int) -> str:
    return f"of {format_bytes(size_bytes)}" if size_bytes else ""


def _text(text: str) -> str:
    return plain(text, MAX_TEXT)


def region_at(regions: Sequence[MapEntry], vaddr: int) -> MapEntry | None:
    """Return the region that holds a virtual address."""
    return next((region for region in regions if region.start <= vaddr < region.end), None)
