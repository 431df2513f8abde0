"""The schema: every table, column and view of a store, with what it means; the documentation is made from the same.

Addresses are signed 64-bit integers, because SQLite has no others: two's complement, so 0xffffffff81000000 is
-2130706432. A literal in hexadecimal (`0xffffffff81000000`) means exactly that number to SQLite, so what is written so
matches; `hex64(x)` writes one back. Kernel addresses are negative, and among themselves in their usual order.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.kernel.census.records import FORMS

VERSION = 1
APPLICATION_ID = 0x67_6C_62_78  # "glbx"


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    kind: str
    """INTEGER, REAL or TEXT."""
    meaning: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `history`: a row is closed, not changed, when what it says is so no more."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    history: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A view: what is now, with the machine's name."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    sql: str


def _int(name: str, meaning: str, *, null: bool = False) -> Column:
    return Column(name, "INTEGER", meaning, null)


def _text(name: str, meaning: str, *, null: bool = False) -> Column:
    return Column(name, "TEXT", meaning, null)


def _real(name: str, meaning: str, *, null: bool = False) -> Column:
    return Column(name, "REAL", meaning, null)


def _both(name: str, what: str) -> tuple[Column, Column]:
    """A place in the kernel: its virtual and its physical address."""
    return (
        _int(f"{name}_vaddr", f"Kernel virtual address of {what}", null=True),
        _int(f"{name}_paddr", "The same, physical", null=True),
    )


_MACHINE = _int("machine_id", "Whose it is: machines.machine_id")
_FROM = _real("valid_from", "Since when the row is so, in seconds since 1970 (UTC): the time_s of a snapshot")
_TO = _real("valid_to", "Until when it was so, in seconds since 1970 (UTC); NULL: it is so now", null=True)

_PROCESSES = (
    _int("pid", "Process number"),
    _int("parent_pid", "Process number of its parent; 0 for none"),
    _int("uid", "User number that it runs as"),
    _text("name", "Its name (comm), at most 15 bytes; guests choose it"),
    _text("command_line", "Its arguments; empty for threads of the kernel"),
    _text("state", "As ps prints it: R, S, D, T, t, Z, X, I"),
    _int("is_kernel", "1 for a thread of the kernel, else 0"),
    _int("n_threads", "Number of its threads"),
    _int("resident_bytes", "Its memory in RAM, in bytes (RSS)"),
    _real("started_s", "When it was started, in seconds since the guest's boot"),
    *_both("task", "its struct task_struct"),
    *_both("mm", "its struct mm_struct"),
    *_both("page_table", "its topmost page table"),
    *_both("stack", "the lowest byte of its kernel stack"),
)
_THREADS = (
    _int("tid", "Thread number; that of a process's first thread is its process number"),
    _int("pid", "Process number"),
    _text("name", "Its name (comm)"),
    _text("state", "As ps prints it"),
    _real("started_s", "When it was started, in seconds since the guest's boot"),
    *_both("task", "its struct task_struct"),
    *_both("stack", "the lowest byte of its kernel stack"),
)
_REGIONS = (
    _int("pid", "Process number"),
    _int("start_uaddr", "First byte, a virtual address of the process"),
    _int("end_uaddr", "Behind the last byte"),
    _int("size_bytes", "Its length, in bytes"),
    _int("resident_bytes", "How much of it is mapped in RAM, in bytes"),
    _text("permissions", "As /proc/PID/maps prints them: r-xp"),
    _text("kind", "code, stack, heap, data (of a file) or other"),
    _text("path", "A file's path, [heap], [stack], [vdso], or empty"),
    _int("file_offset", "Where in the file it begins, in bytes"),
    *_both("vma", "its struct vm_area_struct"),
    *_both("file", "the struct file behind it"),
)
_MODULES = (
    _text("name", "Its name"),
    _text("state", "Live, Loading, Unloading or Unformed"),
    _int("n_uses", "How often it is in use"),
    _text("used_by", "Modules that need it, with commas between"),
    _int("size_bytes", "Length of its memory, in bytes"),
    *_both("base", "its code"),
    *_both("module", "its struct module"),
)
_FILES = (
    _int("pid", "Process number"),
    _int("descriptor", "File descriptor"),
    _text("path", "Path; or pipe:[123], socket:[456], anon_inode:[eventpoll]"),
    _text("kind", "file, directory, socket, pipe, character device, block device, link or other"),
    _text("mode", "r, w or rw"),
    _int("position", "Where the next read or write goes, in bytes"),
    _int("inode", "Inode number"),
    _int("size_bytes", "Length of the file, in bytes"),
    *_both("file", "its struct file"),
    *_both("inode", "its struct inode"),
)
_SOCKETS = (
    _int("pid", "Process number"),
    _int("descriptor", "File descriptor"),
    _text("family", "inet, inet6, unix, netlink, packet, or the number"),
    _text("kind", "stream, dgram, raw, seqpacket, or the number"),
    _text("protocol", "tcp, udp, …, or the number"),
    _text("state", "LISTEN, ESTABLISHED, …"),
    _text("local", "Its own address"),
    _text("remote", "The other end's address"),
    _int("inode", "Inode number, as in socket:[456]"),
    *_both("sock", "its struct sock"),
    *_both("file", "its struct file"),
)
_CLASSES = (
    _text("class", "What such pages hold: Slab, Free, File pages, …"),
    _int("n_pages", "How many pages of 4 KiB there are of it"),
    _int("size_bytes", "The same in bytes"),
)
_RUNS = (
    _int("first_paddr", "First byte, physical"),
    _int("end_paddr", "Behind the last byte, physical"),
    _int("first_vaddr", "First byte in the kernel's direct map", null=True),
    _int("n_pages", "Length, in pages of 4 KiB"),
    _text("class", "What the pages hold: Slab, Free, File pages, …"),
    _text("part", "Of the first process that maps them: code, stack, heap, data, other; empty: not mapped"),
    _int("pid", "The first process that maps them", null=True),
    _int("first_uaddr", "Where that process has the first byte; the others follow in order", null=True),
    _int("n_mappings", "How many times each of the pages is mapped by processes"),
    _int("subject_id", "Of or whose they are: subjects.subject_id", null=True),
    _int("place", "Page of the file or of the slab, level of the page table, order of the free block", null=True),
)
_KINDS = "slab cache, file, stack (of a thread), module or page table"

TABLES: tuple[Table, ...] = (
    Table(
        "machines",
        "Every machine and dump that was looked at in this session.",
        (
            _int("machine_id", "Its number in this session"),
            _text("name", "What it is called"),
            _int("is_dump", "1 for a dump, which never changes"),
            _int("ram_bytes", "Its RAM, in bytes"),
            _int("kernel_id", "Which kernel it runs: kernels.kernel_id; NULL: none was found yet", null=True),
            _real("first_s", "When it was first looked at, in seconds since 1970 (UTC)"),
            _real("last_s", "When it was last looked at, in seconds since 1970 (UTC)", null=True),
            _real("gone_s", "When it went, in seconds since 1970 (UTC); NULL: it is there", null=True),
        ),
        ("machine_id",),
    ),
    Table(
        "kernels",
        "Every kernel that was found; the same one at other addresses is another.",
        (
            _int("kernel_id", "Its number in this session"),
            _text("release", "As uname -r prints it"),
            _text("build_id", "BUILD-ID, in hexadecimal; empty where it is not known"),
            _int("kernel_offset", "By how much KASLR moved its image, in bytes"),
            _int("phys_base", "Added to an image address less 0xffffffff80000000 to make it physical, in bytes"),
            _int("direct_map_vaddr", "Where all physical memory is mapped in one piece", null=True),
            _int("page_table_levels", "4 or 5"),
            _int("n_symbols", "How many symbols it has; 0 until all of them are in the table symbols"),
        ),
        ("kernel_id",),
    ),
    Table(
        "snapshots",
        "Every look that was written down.",
        (
            _MACHINE,
            _real("time_s", "When it was taken, in seconds since 1970 (UTC)"),
            _real("duration_s", "How long it took, in seconds"),
            _text("consistency", "live, retried (records changed meanwhile) or frozen (the machine stood still)"),
            _real("definite", "Share of the pages whose class is beyond doubt, 0 to 1"),
            _int("n_changed", "How many rows were new, changed or gone"),
        ),
        ("machine_id", "time_s"),
    ),
    Table("processes", "Processes, threads of the kernel among them.", _PROCESSES, ("pid",), history=True),
    Table("threads", "Every thread of every process.", _THREADS, ("tid",), history=True),
    Table("regions", "The memory maps of all processes.", _REGIONS, ("pid", "start_uaddr"), history=True),
    Table("modules", "Loaded modules of the kernel.", _MODULES, ("name",), history=True),
    Table("files", "Files that processes hold open.", _FILES, ("pid", "descriptor"), history=True),
    Table("sockets", "Sockets that processes hold open.", _SOCKETS, ("pid", "descriptor"), history=True),
    Table("page_classes", "How many pages there are of each class.", _CLASSES, ("class",), history=True),
    Table(
        "page_runs",
        "What every page of RAM is now, as runs of pages that are alike. The view pages shows them with names.",
        (_MACHINE, *_RUNS, _real("since_s", "Since when the run is so, in seconds since 1970 (UTC)")),
        ("machine_id", "first_paddr"),
    ),
    Table(
        "subjects",
        "What or whose the pages of a run are.",
        (
            _MACHINE,
            _int("subject_id", "Its number on that machine"),
            _text("kind", f"{_KINDS[:1].upper()}{_KINDS[1:]}"),
            _text("name", "Name of the cache or module, path of the file, number of the thread or process"),
        ),
        ("machine_id", "subject_id"),
    ),
    Table(
        "symbols",
        "The symbols of every kernel, by address. They are written in the background when a kernel is found.",
        (
            _int("kernel_id", "Of which kernel: kernels.kernel_id"),
            _int("vaddr", "Kernel virtual address"),
            _text("name", "Its name"),
            _text("type", "As nm prints it: T, t, D, d, …"),
            _int("end_vaddr", "The next symbol's address: what lies before it belongs to this one", null=True),
            _int("paddr", "Physical address; NULL for what is no part of the image", null=True),
        ),
        ("kernel_id", "vaddr", "name"),
    ),
)
"""In the order in which they are made."""

_MACHINE_NAME = _text("machine", "The machine's name")


def _view_of(table: Table) -> View:
    columns = (_MACHINE_NAME, _MACHINE, *table.columns, _FROM)
    listed = ", ".join(f"t.{quoted(column.name)}" for column in columns[1:])
    return View(
        f"now_{table.name}",
        f"What `{table.name}` holds now.",
        columns,
        f"SELECT m.name AS machine, {listed} FROM {table.name} t JOIN machines m USING (machine_id)"
        " WHERE t.valid_to IS NULL",
    )


def quoted(name: str) -> str:
    """A name as SQL needs it."""
    return f'"{name}"'


def all_columns(table: Table) -> tuple[Column, ...]:
    """A table's columns as they are in the database."""
    return (_MACHINE, *table.columns, _FROM, _TO) if table.history else table.columns


VIEWS: tuple[View, ...] = (
    *(_view_of(table) for table in TABLES if table.history),
    View(
        "pages",
        "What every page of RAM is now: runs of pages that are alike. A physical address p lies in the run with"
        " first_paddr <= p AND p < end_paddr (for many addresses at once, the example of task_structs is faster); an"
        " address of the direct map is compared with first_vaddr and end_vaddr.",
        (
            _MACHINE_NAME,
            _MACHINE,
            *_RUNS[:3],
            _int("end_vaddr", "Behind the last byte in the kernel's direct map", null=True),
            *_RUNS[3:9],
            _text("subject_kind", f"{_KINDS[:1].upper()}{_KINDS[1:]}; NULL: nothing more is known", null=True),
            _text("subject", "Name of the cache or module, path of the file, number of thread or process", null=True),
            _RUNS[10],
            _real("since_s", "Since when the run is so, in seconds since 1970 (UTC)"),
        ),
        "SELECT m.name AS machine, r.machine_id, r.first_paddr, r.end_paddr, r.first_vaddr,"
        " r.first_vaddr + r.n_pages * 4096 AS end_vaddr, r.n_pages, r.class, r.part, r.pid, r.first_uaddr,"
        " r.n_mappings, s.kind AS subject_kind, s.name AS subject, r.place, r.since_s"
        " FROM page_runs r JOIN machines m USING (machine_id) LEFT JOIN subjects s USING (machine_id, subject_id)",
    ),
    View(
        "now_symbols",
        "The symbols of the kernels that run now.",
        (
            _MACHINE_NAME,
            _MACHINE,
            _int("vaddr", "Kernel virtual address"),
            _int("end_vaddr", "The next symbol's address", null=True),
            _int("paddr", "Physical address", null=True),
            _text("name", "Its name"),
            _text("type", "As nm prints it"),
        ),
        "SELECT m.name AS machine, m.machine_id, s.vaddr, s.end_vaddr, s.paddr, s.name, s.type"
        " FROM machines m JOIN symbols s USING (kernel_id) WHERE m.gone_s IS NULL",
    ),
)

_WITHOUT_ROWID = frozenset({"snapshots", "page_runs", "subjects", "symbols"})


THINGS: tuple[Table | View, ...] = (*TABLES, *VIEWS)
"""All that can be asked for."""


_USUAL = (
    ("symbols", "symbols", "150000 75000 2 1"),
    ("symbols", "symbols_by_name", "150000 2 1"),
    ("page_runs", "page_runs", "10000 5000 1"),
    ("subjects", "subjects", "400 200 1"),
    ("machines", "sqlite_autoindex_machines_1", "2 1"),
    ("processes", "processes_now", "200 100 1"),
    ("threads", "threads_now", "300 150 1"),
    ("regions", "regions_now", "2000 1000 20 1"),
    ("files", "files_now", "1000 500 10 1"),
)
"""Table, index, how many rows there usually are, and how many of them are alike in the first columns of the index:
what SQLite plans joins by until it has counted.
"""


def statements() -> list[str]:
    """The SQL that makes an empty store."""
    made = []
    for table in TABLES:
        columns = ", ".join(
            f"{quoted(column.name)} {column.kind}{'' if column.nullable else ' NOT NULL'}"
            for column in all_columns(table)
        )
        key = ", ".join(map(quoted, table.key))
        if table.history:
            made.append(f"CREATE TABLE {table.name} ({columns}) STRICT")
            made.append(
                f"CREATE UNIQUE INDEX {table.name}_now ON {table.name} (machine_id, {key}) WHERE valid_to IS NULL"
            )
            made.append(f"CREATE INDEX {table.name}_past ON {table.name} (valid_to) WHERE valid_to IS NOT NULL")
        else:
            options = "STRICT, WITHOUT ROWID" if table.name in _WITHOUT_ROWID else "STRICT"
            made.append(f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY ({key})) {options}")
    made.append("CREATE INDEX symbols_by_name ON symbols (name, kernel_id)")
    made += [f"CREATE VIEW {view.name} AS {view.sql}" for view in VIEWS]
    made.append("ANALYZE sqlite_schema")  # makes the table of statistics
    made += [f"INSERT INTO sqlite_stat1 VALUES ('{name}', '{index}', '{counts}')" for name, index, counts in _USUAL]
    return made


def told_by_census() -> dict[str, Table]:
    """The tables whose rows come from a census."""
    return {table.name: table for table in TABLES if table.name in FORMS}


HOW_TO_READ = """\
Addresses. A name says in which space an address is: *_vaddr is a virtual address of the kernel, *_paddr a physical
one, *_uaddr one of a process (with pid). What has a virtual address in the kernel has the physical one beside it, so
every address joins with every other: paddr with the runs in `pages`, vaddr with `symbols`, uaddr with `regions`.
They are signed 64-bit integers (two's complement), because SQLite has no others. Write literals in hexadecimal, and
they match: WHERE vaddr = 0xffffffff81000000. hex64(x) writes an address back as text.

Time. Tables with valid_from and valid_to keep what was: a row is closed, never changed. What was so at t:
valid_from <= t AND (valid_to IS NULL OR valid_to > t). What is now: valid_to IS NULL, or the views now_….
datetime(valid_from, 'unixepoch') writes a time as text. The oldest history is forgotten when room is needed.

Functions. All of SQLite's, and hex64(x): an address as text.
Text comes from the guest, which may choose any: bytes that are no UTF-8, and NULs, are written as \\xNN."""


def documentation() -> str:
    """The tables and views as Markdown."""
    lines: list[str] = []
    for thing in THINGS:
        lines += [f"### {thing.name}", "", thing.meaning, "", "| column | type | meaning |", "|---|---|---|"]
        columns = all_columns(thing) if isinstance(thing, Table) else thing.columns
        for column in columns:
            kind = column.kind.lower() + (", or NULL" if column.nullable else "")
            lines.append(f"| `{column.name}` | {kind} | {column.meaning.replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)
