"""What a census says: for each table the rows that are new or changed, and the keys of those that are gone.

Addresses are signed 64-bit numbers, as SQLite keeps them: 0xffffffff81000000 is -2130706432. What has no address, or
one that is mapped nowhere, has None.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.kernel.tasks import Consistency

Cell = int | float | str | None
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class TableForm:
    """How the rows of a table are made."""

    columns: tuple[str, ...]
    n_key: int
    """The first of them tell a row from all others."""


FORMS: dict[str, TableForm] = {
    "processes": TableForm(
        (
            "pid", "parent_pid", "uid", "name", "command_line", "state", "is_kernel", "n_threads", "resident_bytes",
            "started_s", "task_vaddr", "task_paddr", "mm_vaddr", "mm_paddr", "page_table_vaddr", "page_table_paddr",
            "stack_vaddr", "stack_paddr",
        ),
        1,
    ),
    "threads": TableForm(
        ("tid", "pid", "name", "state", "started_s", "task_vaddr", "task_paddr", "stack_vaddr", "stack_paddr"), 1
    ),
    "regions": TableForm(
        (
            "pid", "start_uaddr", "end_uaddr", "size_bytes", "resident_bytes", "permissions", "kind", "path",
            "file_offset", "vma_vaddr", "vma_paddr", "file_vaddr", "file_paddr",
        ),
        2,
    ),
    "modules": TableForm(
        (
            "name", "state", "n_uses", "used_by", "size_bytes", "base_vaddr", "base_paddr", "module_vaddr",
            "module_paddr",
        ),
        1,
    ),
    "files": TableForm(
        (
            "pid", "descriptor", "path", "kind", "mode", "position", "inode", "size_bytes", "file_vaddr", "file_paddr",
            "inode_vaddr", "inode_paddr",
        ),
        2,
    ),
    "sockets": TableForm(
        (
            "pid", "descriptor", "family", "kind", "protocol", "state", "local", "remote", "inode", "sock_vaddr",
            "sock_paddr", "file_vaddr", "file_paddr",
        ),
        2,
    ),
    "page_classes": TableForm(("class", "n_pages", "size_bytes"), 1),
    "page_runs": TableForm(
        (
            "first_paddr", "end_paddr", "first_vaddr", "n_pages", "class", "part", "pid", "first_uaddr", "n_mappings",
            "subject_id", "place",
        ),
        1,
    ),
}  # fmt: skip
"""Table -> its columns, in the order of a row's cells."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """What changed in one table."""

    rows: tuple[Row, ...]
    """New ones, and changed ones as they are now."""
    gone: tuple[Row, ...] = ()
    """Keys."""


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """Which kernel it is, and where it lies."""

    release: str
    build_id: str
    kernel_offset: int
    """By how much KASLR moved the image, in bytes."""
    phys_base: int
    """What is added to an address of the image less __START_KERNEL_map to make it physical; may be negative."""
    direct_map: int | None
    """Where all physical memory is mapped in one piece, signed."""
    page_table_levels: int


@dataclass(frozen=True, slots=True)
class Census:
    """All that changed between two looks at one machine."""

    number: int
    since: int
    """The census that this one changes; 0: it tells everything."""
    taken_s: float
    """time.monotonic() of the look."""
    duration_s: float
    consistency: Consistency
    definite: float
    """Share of the pages whose class is beyond doubt."""
    kernel: KernelFacts
    tables: dict[str, TableChange]
    subjects: tuple[tuple[int, str, str], ...] = ()
    """New ones: number, kind, name. Rows of `page_runs` refer to them."""
    n_pending: int = 0
    """Names and the like that there was no time for yet: the next census has more of them."""
    problems: tuple[str, ...] = ()
    """What could not be read this time, in sentences; its tables are as they were."""
    took_s: float = 0.0
    """What it took to write all this down, beside the look."""
