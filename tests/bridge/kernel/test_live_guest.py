"""What is read from RAM equals what the guest itself says over its console."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time

import numpy as np
import pytest

from bridge.kernel.details import Details
from bridge.kernel.errors import KernelError
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Introspector, Part, SemanticSnapshot, find_vmas
from tests.bridge.kernel.conftest import LiveGuest

KPF_LRU, KPF_SLAB, KPF_BUDDY, KPF_ANON, KPF_NOPAGE, KPF_PGTABLE = 5, 7, 10, 12, 20, 26


@pytest.fixture(scope="module")
def introspector(live: LiveGuest) -> Introspector:
    return Introspector(live.kernel)


def test_every_symbol_equals_the_guests_own(live: LiveGuest) -> None:
    """/proc/kallsyms holds the same symbols in the same order: address, type, name."""
    symbols = live.kernel.symbols.symbols
    lines = "".join(
        f"{address:016x} {chr(kind)} {name}\n"
        for address, kind, name in zip(symbols.addresses.tolist(), symbols.types.tolist(), symbols.names, strict=True)
    )
    theirs = live.shell.run("grep -v '\\[' /proc/kallsyms | md5sum", timeout_s=120).split()[0]
    assert hashlib.md5(lines.encode()).hexdigest() == theirs
    assert len(symbols.names) > 50_000


def test_the_release_and_the_symbol_of_an_address(live: LiveGuest) -> None:
    assert live.kernel.release == live.shell.run("uname -r").strip()
    assert live.kernel.still_there()
    schedule = live.kernel.symbols.address("schedule")
    assert str(live.kernel.symbols.place(schedule)) == "schedule"
    assert str(live.kernel.symbols.place(schedule + 0x1F)) == "schedule + 0x1f"
    assert live.kernel.symbols.place(0x10) is None


def test_processes_equal_the_guests_own(live: LiveGuest, introspector: Introspector) -> None:
    text = live.shell.run(
        "for p in /proc/[0-9]*; do cat $p/stat; grep Uid $p/status; grep ^Rss $p/smaps_rollup; done 2>/dev/null; true"
    )
    theirs = {}
    for line, uid, rss_kib in re.findall(r"^(\d+ \(.*)\nUid:\s*(\d+).*(?:\nRss:\s*(\d+) kB)?", text, re.MULTILINE):
        match = re.match(r"(\d+) \((.*)\) (\S) (\d+) (.*)", line)
        assert match
        theirs[int(match[1])] = (match[2], int(match[4]), int(uid), int(rss_kib or 0) * 1024)
    tasks = introspector.tasks.processes()
    ours = {int(pid): index for index, pid in enumerate(tasks.pids)}
    transient = {pid for pid, (name, *_) in theirs.items() if name in ("cat", "grep", "sh")} | {
        pid for pid, index in ours.items() if tasks.names[index].startswith(("kworker", "cat", "grep", "sh"))
    }
    assert set(ours) - transient == set(theirs) - transient
    assert len(set(ours) - transient) > 20
    for pid in set(ours) - transient:
        index, (name, parent, uid, rss) = ours[pid], theirs[pid]
        # For its own threads /proc makes up longer names; a task has 15 characters (TASK_COMM_LEN).
        assert (tasks.names[index], int(tasks.ppids[index]), int(tasks.uids[index])) == (name[:15], parent, uid)
        # The guest counts pages here; its /proc/PID/status leaves out what threads keep of their counts.
        assert int(tasks.rss_bytes[index]) == rss, name
    stopped = [tasks.states[index] for index in range(len(tasks)) if tasks.names[index] == "counter"]
    assert stopped == ["T"]
    init = ours[1]
    assert introspector.tasks.command_line(tasks, init) == live.shell.run("tr '\\0' ' ' </proc/1/cmdline").strip()
    assert introspector.tasks.command_line(tasks, ours[2]) == ""
    assert tasks.is_kernel_thread()[ours[2]]
    assert not tasks.is_kernel_thread()[init]


def test_threads_are_all_there(live: LiveGuest, introspector: Introspector) -> None:
    count = int(live.shell.run("ls -d /proc/[0-9]*/task/[0-9]* | wc -l"))
    assert abs(len(introspector.tasks.threads()) - count) <= 4  # ls, wc and their shell come and go


def test_memory_maps_equal_the_guests_own(live: LiveGuest, introspector: Introspector) -> None:
    tasks = introspector.tasks.processes()
    for name in ("counter", "dropbear", "allocator"):
        index = tasks.names.index(name)
        text = live.shell.run(f"cat /proc/{tasks.pids[index]}/maps")
        theirs = [
            (int(m[1], 16), int(m[2], 16), m[3], int(m[4], 16))
            for m in re.finditer(r"^(\w+)-(\w+) (\S{4}) (\w+)", text, re.MULTILINE)
            if int(m[1], 16) < 1 << 63  # the vsyscall page is the kernel's
        ]
        vmas = introspector.maps.vmas(tasks.mms[index : index + 1])
        ours = []
        for i in range(len(vmas)):
            flags = int(vmas.flags[i])
            letters = "".join(
                letter if flags & bit else "-" for letter, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
            )
            offset = int(vmas.page_offsets[i]) * 4096 if vmas.files[i] else 0
            ours.append((int(vmas.starts[i]), int(vmas.ends[i]), letters + ("s" if flags & VM_SHARED else "p"), offset))
        assert vmas.complete
        assert ours == theirs


@pytest.fixture(scope="module")
def looked(live: LiveGuest, introspector: Introspector) -> tuple[SemanticSnapshot, np.ndarray, np.ndarray]:
    """One look, and the guest's own flags and counts of every page beside it."""
    live.shell.run("dd if=/dev/zero of=/run/flags bs=1M count=1; cp /run/flags /run/counts; sleep 1")
    live.shell.run("awk 'BEGIN { for (i = 0; i < 50000; i++) a[i] = i; system(\"exec sleep 1000\") }' & true")
    live.shell.run("until pidof sleep; do true; done; sleep 1")  # it has all its memory
    # What is asked must not change the answer: into files that have their pages already, by processes that stay.
    for what in ("flags", "counts"):
        source = f"/proc/kpage{what.removesuffix('s') if what == 'counts' else what}"
        live.shell.run(f"tail -c +1 -f {source} 1<>/run/{what} & true")
        # Seen from here: a process that waits in the guest would be gone when we look.
        until_written(introspector, f"/run/{what}", 8 * live.ram.n_pages)
    snapshot = introspector.look()
    return snapshot, live.words("/run/flags"), live.words("/run/counts")


def until_written(introspector: Introspector, path: str, size: int) -> None:
    """Wait until the guest's process `tail` has written a file that it holds open, as its own kernel's records say."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        tasks = introspector.tasks.processes()
        details = Details(introspector)
        for pid in [int(pid) for pid, name in zip(tasks.pids, tasks.names, strict=True) if name == "tail"]:
            with contextlib.suppress(KernelError):
                if any(file.path == path and file.position >= size for file in details.files(pid)):
                    return
        time.sleep(0.1)
    raise AssertionError(f"the guest never wrote {path}")


def precision_and_recall(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    both = int((ours & theirs).sum())
    return both / max(1, int(ours.sum())), both / max(1, int(theirs.sum()))


def test_page_classes_agree_with_the_guests_flags(
    looked: tuple[SemanticSnapshot, np.ndarray, np.ndarray],
) -> None:
    snapshot, flags, _ = looked
    classes = snapshot.page_map.classes
    flags = flags[: len(classes)]

    def has(bit: int) -> np.ndarray:
        found: np.ndarray = (flags >> np.uint64(bit)) & np.uint64(1) != 0
        return found

    # In a slab's record, what is the mapping in others is a list: some kernels say of slabs that they are anonymous.
    anonymous = has(KPF_ANON) & ~has(KPF_SLAB)
    files = (classes == PageClass.FILE) | (classes == PageClass.SHARED_MEMORY)
    for what, ours, theirs in (
        ("free", classes == PageClass.FREE, has(KPF_BUDDY)),
        ("slab", classes == PageClass.SLAB, has(KPF_SLAB)),
        ("anonymous", classes == PageClass.ANONYMOUS, anonymous),
        ("file", files, has(KPF_LRU) & ~anonymous),
    ):
        precision, recall = precision_and_recall(ours, theirs)
        assert precision >= 0.99, f"{what}: precision {precision}"
        assert recall >= 0.99, f"{what}: recall {recall}"
        assert int(theirs.sum()) > 50, what
    # The guest marks only what it took for tables at run time; ours are also those that it booted with.
    assert (classes[has(KPF_PGTABLE)] == PageClass.PAGE_TABLE).mean() >= 0.99
    assert snapshot.page_map.definite >= 0.97
    assert not (classes == PageClass.HOLE)[~has(KPF_NOPAGE)].any()


def test_mapped_pages_agree_with_the_guests_counts(
    looked: tuple[SemanticSnapshot, np.ndarray, np.ndarray],
) -> None:
    snapshot, _, counts = looked
    ours = snapshot.owners.counts() > 0
    # The zero page and the vDSO's pages are mapped but not counted: they belong to the kernel.
    ours &= np.isin(snapshot.page_map.classes, (PageClass.ANONYMOUS, PageClass.FILE, PageClass.SHARED_MEMORY))
    precision, recall = precision_and_recall(ours, counts[: len(ours)] > 0)
    assert precision >= 0.99
    assert recall >= 0.99


def test_owners_and_parts_hang_together(looked: tuple[SemanticSnapshot, np.ndarray, np.ndarray]) -> None:
    snapshot, _, _ = looked
    owners, vmas = snapshot.owners, snapshot.vmas
    assert (np.diff(owners.pages) >= 0).all()
    index = snapshot.processes.names.index("allocator")
    heap = np.flatnonzero((snapshot.parts == Part.HEAP) & (owners.first() == index))
    assert len(heap) > 100
    for page in heap[:20].tolist():
        places = [vaddr for process, vaddr in owners.of_page(page) if process == index]
        assert places
        vma = find_vmas(vmas, np.array([index]), np.array(places[:1], np.uint64))[0]
        assert vma >= 0
        assert int(vmas.files[vma]) == 0
    assert set(owners.pages_of(index).tolist()) >= set(heap.tolist())
    assert (snapshot.page_map.classes[heap] == PageClass.ANONYMOUS).mean() > 0.95
    kinds = {Part(part) for part in np.unique(snapshot.parts).tolist()}
    assert {Part.NONE, Part.CODE, Part.STACK, Part.HEAP, Part.DATA} <= kinds


def test_kernel_memory_is_where_its_symbols_say(looked: tuple[SemanticSnapshot, np.ndarray, np.ndarray]) -> None:
    """Code in the image is never written: the pages of the kernel's text hold what its symbols point at."""
    snapshot, _, _ = looked
    count = snapshot.page_map.count
    for kind in (PageClass.KERNEL_TEXT, PageClass.KERNEL_RODATA, PageClass.KERNEL_DATA, PageClass.KERNEL_BSS):
        assert count(kind) > 100, kind
    assert count(PageClass.KERNEL_STACK) >= 4 * len(snapshot.threads) * 0.95
    assert count(PageClass.VMEMMAP) >= 512
    assert count(PageClass.PER_CPU) > 10
    assert count(PageClass.MODULE) > 50
