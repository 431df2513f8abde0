"""What each page is of, against what the guest says itself: its slabs, files, stacks, tables, modules, free blocks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.page_classes import PageClass
from bridge.kernel.page_files import CachedFile, FileNames
from bridge.kernel.page_sets import KINDS, NothingThere, UnknownKind, pages_of
from bridge.kernel.snapshot import Introspector, Part, SemanticSnapshot, find_vmas
from bridge.kernel.where import tell
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, LiveGuest

FILES = (PageClass.FILE, PageClass.SHARED_MEMORY)
STACK_END_MAGIC = 0x57AC6E9D


@pytest.fixture(scope="module")
def live_files(live: LiveGuest) -> dict[str, str]:
    """Files made for these tests, all held open, and the md5 of each as the guest computes it."""
    live.shell.run("mkdir -p /tmp/walk/a; dd if=/dev/urandom of=/tmp/walk/a/kept bs=4096 count=75 2>/dev/null")
    live.shell.run(
        "head -c 100000 /dev/urandom >/run/gone; cp /run/gone /run/a-very-long-name-of-a-file-that-is-not-inline"
    )
    sums = live.shell.run("md5sum /tmp/walk/a/kept /run/gone /run/a-very-long-name-of-a-file-that-is-not-inline")
    live.shell.run("exec 7</run/gone; rm /run/gone; while read -r m; do insmod $m; done </etc/network-modules; true")
    return {path: found for found, path in (line.split() for line in sums.splitlines())}


@pytest.fixture(scope="module")
def seen(live: LiveGuest, live_files: dict[str, str]) -> SemanticSnapshot:
    assert live_files
    with live.shell.held():
        return Introspector(live.kernel).look(frozen=True)


def file_of(seen: SemanticSnapshot, path: str) -> tuple[int, CachedFile]:
    return next((index, file) for index, file in enumerate(seen.details.files) if file.path == path)


def test_slab_pages_are_of_the_caches_that_the_guest_lists(live: LiveGuest, seen: SemanticSnapshot) -> None:
    theirs = {}
    for line in live.shell.run("cat /proc/slabinfo").splitlines()[2:]:
        numbers, _, slabs = line.partition(": slabdata")
        theirs[line.split()[0]] = int(slabs.split()[1]) * int(numbers.split()[5])
    details = seen.details
    ours = {
        details.caches[index]: count
        for index, count in details.counts(seen.page_map.classes, (PageClass.SLAB,)).items()
        if index >= 0
    }
    assert sum(ours.values()) == seen.page_map.count(PageClass.SLAB), "each page has a cache"
    assert set(ours) <= set(theirs)
    differing = sum(abs(ours.get(name, 0) - count) for name, count in theirs.items())
    assert differing <= 0.03 * sum(theirs.values())  # the guest asked its slabs for memory to tell us
    assert ours["dentry"] > 20


def test_pages_of_files_hold_what_the_files_hold(
    live: LiveGuest, seen: SemanticSnapshot, live_files: dict[str, str]
) -> None:
    details, classes = seen.details, seen.page_map.classes
    for path, expected in live_files.items():
        index, file = file_of(seen, f"{path} (deleted)" if path == "/run/gone" else path)
        pages = details.pages_of(classes, FILES, [index])
        places = details.places[pages]
        assert sorted(places.tolist()) == list(range(-(-file.size_bytes // 4096))), path
        data = live.ram.pages[pages[np.argsort(places)]].tobytes()[: file.size_bytes]
        assert hashlib.md5(data).hexdigest() == expected, path
        if path != "/run/gone":
            assert file.inode == int(live.shell.run(f"ls -i {path}").split()[0])
    classed = np.isin(classes, FILES)
    assert (details.subjects[classed] >= 0).mean() > 0.99


def test_mapped_file_pages_are_where_the_guests_maps_say(live: LiveGuest, seen: SemanticSnapshot) -> None:
    """Path and offset of each page of a mapped file, by the guest's own account of the mapping."""
    details, owners, processes = seen.details, seen.owners, seen.processes
    checked = 0
    for name in ("init", "allocator", "counter"):
        index = processes.names.index(name)
        theirs = [
            (int(m[1], 16), int(m[2], 16), int(m[3], 16), m[4])
            for m in re.finditer(
                r"^(\w+)-(\w+) \S+ (\w+) \S+ \d+ +(/.*)$",
                live.shell.run(f"cat /proc/{processes.pids[index]}/maps"),
                re.MULTILINE,
            )
        ]
        for page, vaddr in zip(
            owners.pages[owners.processes == index].tolist(),
            owners.vaddrs[owners.processes == index].tolist(),
            strict=True,
        ):
            if seen.page_map.classes[page] not in FILES:
                continue
            start, _, offset, path = next(place for place in theirs if place[0] <= vaddr < place[1])
            file = details.files[details.subjects[page]]
            # busybox is one file of many names; the guest says the one that was started.
            assert file.path == path.strip() or "busybox" in file.path
            assert int(details.places[page]) * 4096 == vaddr - start + offset
            checked += 1
    assert checked > 200


def test_kernel_stacks_are_their_tasks(live: LiveGuest) -> None:
    with live.shell.held():
        seen = Introspector(live.kernel).look(frozen=True)
        pages = live.ram.pages.copy()
    text = live.shell.run("cat /proc/[0-9]*/task/*/comm 2>/dev/null; true")
    theirs = {line[:15] for line in text.splitlines()}  # of its own threads the kernel makes up longer names
    details, classes = seen.details, seen.page_map.classes
    ours = {task.name for task in details.stacks if not task.name.startswith("kworker")}
    assert ours - theirs <= {"sh", "cat", "sleep"}
    assert len(ours) > 15
    counts = details.counts(classes, (PageClass.KERNEL_STACK,))
    assert set(counts.values()) == {4}
    assert len(counts) >= 0.95 * len(details.stacks)
    for index in counts:
        own = details.pages_of(classes, (PageClass.KERNEL_STACK,), [index])
        lowest = own[np.argmin(details.places[own])]
        # The kernel writes a number at the end of each stack, to notice when one overflows.
        assert int(pages[lowest][:8].view("<u8")[0]) == STACK_END_MAGIC, details.stacks[index]


def test_page_tables_are_their_processes(live: LiveGuest, seen: SemanticSnapshot) -> None:
    details, classes = seen.details, seen.page_map.classes
    for name in ("init", "counter", "allocator"):
        pid = int(seen.processes.pids[seen.processes.names.index(name)])
        kib = int(live.shell.run(f"grep VmPTE /proc/{pid}/status").split()[1])
        pages = pages_of(live.kernel, seen, "tables", pid)
        below_the_root = details.places[pages] < live.kernel.levels - 1
        assert int(below_the_root.sum()) * 4 == kib, name
        assert int((~below_the_root).sum()) == 1
    unknown = (classes == PageClass.PAGE_TABLE) & (details.subjects < 0)
    assert unknown.sum() < 16
    assert len(pages_of(live.kernel, seen, "tables", 0)) > 50


def test_free_blocks_are_of_the_orders_that_the_guest_counts(live: LiveGuest) -> None:
    def said() -> npt.NDArray[np.int64]:
        lines = live.shell.run('while read -r l; do echo "$l"; done </proc/buddyinfo').splitlines()
        counts: npt.NDArray[np.int64] = np.array([[int(n) for n in line.split()[4:]] for line in lines]).sum(axis=0)
        return counts

    for _ in range(20):  # until the large ones are as they were before the look
        theirs = said()
        with live.shell.held():
            seen = Introspector(live.kernel).look(frozen=True)
        if (said()[5:] == theirs[5:]).all():
            break
    free = seen.page_map.classes == PageClass.FREE
    ours = Counter(seen.details.places[free].tolist())
    for order in range(5, len(theirs)):  # small blocks come and go as we ask
        assert abs(ours[order] / 2**order - theirs[order]) <= 2, order
    pages = int((theirs << np.arange(len(theirs))).sum())
    assert abs(int(free.sum()) - pages) < 0.02 * pages


def test_module_pages_are_their_modules(live: LiveGuest, seen: SemanticSnapshot) -> None:
    loaded = [line.split() for line in live.shell.run("cat /proc/modules").splitlines()]
    assert loaded
    for name, size, *_, address in ((*line[:2], line[-1]) for line in loaded):
        ours = pages_of(live.kernel, seen, "module", name)
        assert 0 <= 4096 * len(ours) - int(size) < 16 * 4096, name
        first = pages_of(live.kernel, seen, "symbol", (int(address, 16), 1))
        assert first[0] in ours


def test_names_are_followed_when_they_change(live: LiveGuest) -> None:
    live.shell.run("echo glassbox >/tmp/before; sleep 0")
    introspector = Introspector(live.kernel)
    assert any(file.path == "/tmp/before" for file in introspector.look().details.files)
    live.shell.run("mv /tmp/before /tmp/behind; echo more >>/tmp/behind")
    again = introspector.look().details.files
    assert [file.size_bytes for file in again if file.path == "/tmp/behind"] == [14]
    assert not any(file.path == "/tmp/before" for file in again)
    live.shell.run("mkdir -p /tmp/x; mv /tmp/behind /tmp/x/file; mv /tmp/x /tmp/y")
    assert any(file.path == "/tmp/y/file" for file in Introspector(live.kernel).look().details.files)
    live.shell.run("rm -r /tmp/y")


def test_the_story_of_a_page_says_what_it_is_of(live: LiveGuest, seen: SemanticSnapshot) -> None:
    def story_of(kind: str, key: object) -> tuple[object, int]:
        page = int(pages_of(live.kernel, seen, kind, key)[-1])
        return tell(live.kernel, seen, page * 4096 + 5), page

    def attribute(kind: str, key: object, name: str) -> object:
        return getattr(story_of(kind, key)[0], name)

    assert attribute("slab", "dentry", "cache") == "dentry"
    assert attribute("file", "/tmp/walk/a/kept", "file_path") == "/tmp/walk/a/kept"
    _, page = story_of("file", "/tmp/walk/a/kept")
    assert attribute("file", "/tmp/walk/a/kept", "file_offset") == int(seen.details.places[page]) * 4096 + 5
    assert attribute("stack", 2, "stack_task") == (2, "kthreadd")
    assert attribute("tables", 1, "table_owner") == (1, "init")
    assert attribute("tables", 0, "table_owner") == (0, "kernel")
    assert attribute("tables", 1, "table_level") in range(live.kernel.levels)
    assert isinstance(attribute("class", PageClass.FREE, "order"), int)
    module = seen.details.modules[0]
    assert attribute("module", module, "module") == module
    assert attribute("class", PageClass.KERNEL_TEXT, "cache") == ""


def test_pages_of_each_kind_of_thing(live: LiveGuest, seen: SemanticSnapshot) -> None:
    processes, owners = seen.processes, seen.owners
    index = processes.names.index("allocator")
    pid = int(processes.pids[index])
    own = pages_of(live.kernel, seen, "process", pid)
    assert own.dtype == np.uint32
    assert abs(4096 * len(own) - int(processes.rss_bytes[index])) <= 64 * 4096
    regions = [
        pages_of(live.kernel, seen, "region", (pid, int(start), int(end)))
        for start, end in zip(
            seen.vmas.starts[seen.vmas.owners == index], seen.vmas.ends[seen.vmas.owners == index], strict=True
        )
    ]
    assert set(np.concatenate(regions).tolist()) == set(own.tolist())
    assert pages_of(live.kernel, seen, "process", 2).tolist() == pages_of(live.kernel, seen, "stack", 2).tolist()
    text = pages_of(live.kernel, seen, "class", PageClass.KERNEL_TEXT)
    assert (seen.page_map.classes[text] == PageClass.KERNEL_TEXT).all()
    heap = pages_of(live.kernel, seen, "part", Part.HEAP)
    assert (seen.parts[heap] == Part.HEAP).all()
    schedule = live.kernel.symbols.address("schedule")
    assert set(pages_of(live.kernel, seen, "symbol", (schedule, 300)).tolist()) <= set(text.tolist())
    assert len(pages_of(live.kernel, seen, "symbol", (schedule & ~4095, 8193))) == 3
    for page in own.tolist()[::50]:
        process, vaddr = next(place for place in owners.of_page(page) if place[0] == index)
        assert find_vmas(seen.vmas, np.array([process]), np.array([vaddr], np.uint64))[0] >= 0


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("process", 99999),
        ("process", "init"),
        ("process", None),
        ("region", (99999, 0, 1)),
        ("region", 5),
        ("class", -1),
        ("class", "free"),
        ("module", "no such module"),
        ("slab", "no such cache"),
        ("file", "/no/such/file"),
        ("symbol", (1 << 64, 1)),
        ("symbol", (0, 1 << 40)),
        ("symbol", (-1, 1)),
        ("stack", 99999),
        ("tables", 99999),
    ],
)
def test_what_is_not_there_is_said(live: LiveGuest, seen: SemanticSnapshot, kind: str, key: object) -> None:
    with pytest.raises(NothingThere):
        pages_of(live.kernel, seen, kind, key)


def test_an_unknown_kind_is_said(live: LiveGuest, seen: SemanticSnapshot) -> None:
    with pytest.raises(UnknownKind, match="process"):
        pages_of(live.kernel, seen, "planet", 1)
    assert {"process", "region", "class", "part", "module", "slab", "file", "symbol", "stack", "tables"} == set(KINDS)


def kernel_of(memory: np.ndarray) -> Kernel:
    return find_kernel(PhysicalReader(HeldRam(memory)))


def test_directories_in_a_circle_have_a_path_all_the_same(dump: np.ndarray) -> None:
    memory = dump.copy()
    kernel = kernel_of(memory)
    assert kernel.types is not None
    seen = Introspector(kernel).look()
    index, file = next(
        (i, file) for i, file in enumerate(seen.details.files) if file.path.startswith("/lib/x86_64-linux-gnu/")
    )
    assert index >= 0
    space, types = kernel.space, kernel.types
    inode = space.word(file.address + types.offset("address_space", "host"))
    dentry = space.word(inode + types.offset("inode", "i_dentry.first")) - types.offset("dentry", "d_u.d_alias")
    parent = space.word(dentry + types.offset("dentry", "d_parent"))
    grandparent = space.word(parent + types.offset("dentry", "d_parent"))
    assert space.direct_map is not None
    at = grandparent + types.offset("dentry", "d_parent") - space.direct_map
    memory[at : at + 8] = np.array([parent], "<u8").view(np.uint8)
    path = FileNames(kernel).of(np.array([file.address], np.uint64))[0]
    assert path is not None
    assert path.path.endswith(file.path.rpartition("/")[2])
    assert len(path.path) < 5000
    # A name that cannot be read leaves the number.
    at = dentry + types.offset("dentry", "d_name.name") - space.direct_map
    memory[at : at + 8] = np.array([0x10], "<u8").view(np.uint8)
    path = FileNames(kernel).of(np.array([file.address], np.uint64))[0]
    assert path is not None
    assert path.path == f"[inode {file.inode} of rootfs]"
    assert FileNames(kernel).of(np.array([0x10], np.uint64)) == (None,)
