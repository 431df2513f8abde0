"""What is read from RAM equals what the guest itself says over its console."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Introspector, Part, find_vmas
from tests.bridge.kernel.conftest import LiveGuest
from tests.bridge.kernel.guest_account import (
    Account,
    account_around,
    assert_classes_agree,
    assert_mapped_agree,
    start_with_memory,
)


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
    names = {pid: name for pid, (name, *_) in theirs.items()} | {pid: tasks.names[at] for pid, at in ours.items()}
    transient = {pid for pid, name in names.items() if name.startswith(("kworker", "cat", "grep", "sh"))}
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
    def theirs() -> list[int]:  # by the shell itself, which starts nothing that would be among them
        return sorted(int(path.rpartition("/")[2]) for path in live.shell.run("echo /proc/[0-9]*/task/[0-9]*").split())

    for _ in range(20):  # until the kernel neither began nor ended one of its own meanwhile
        before, ours = theirs(), sorted(introspector.tasks.threads().pids.tolist())
        if theirs() == before:
            break
    assert ours == before


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
def account(live: LiveGuest, introspector: Introspector) -> Account:
    """One look, and the guest's own flags and counts of every page beside it."""
    start_with_memory(live.shell, 50_000)
    return account_around(live, introspector)


def test_page_classes_agree_with_the_guests_flags(account: Account) -> None:
    assert_classes_agree(account)
    assert account.snapshot.page_map.definite >= 0.97


def test_mapped_pages_agree_with_the_guests_counts(account: Account) -> None:
    assert_mapped_agree(account)


def test_owners_and_parts_hang_together(account: Account) -> None:
    snapshot = account.snapshot
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


def test_kernel_memory_is_where_its_symbols_say(account: Account) -> None:
    """Code in the image is never written: the pages of the kernel's text hold what its symbols point at."""
    snapshot = account.snapshot
    count = snapshot.page_map.count
    for kind in (PageClass.KERNEL_TEXT, PageClass.KERNEL_RODATA, PageClass.KERNEL_DATA, PageClass.KERNEL_BSS):
        assert count(kind) > 100, kind
    assert count(PageClass.KERNEL_STACK) >= 4 * len(snapshot.threads) * 0.95
    assert count(PageClass.VMEMMAP) >= 512
    assert count(PageClass.PER_CPU) > 10
    assert count(PageClass.MODULE) > 50
