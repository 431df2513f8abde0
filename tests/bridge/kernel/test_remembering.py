"""What is remembered between looks changes nothing but their cost: each equals a first look at the same RAM."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.owners import OwnerReader, read_owners
from bridge.kernel.paging import LARGE, PRESENT
from bridge.kernel.snapshot import Introspector, SemanticSnapshot
from bridge.kernel.space import KernelSpace
from bridge.kernel.user_tables import UserTableReader, read_user_tables
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap, RamRegion
from tests.bridge.kernel.conftest import HeldRam, LiveGuest, write_words

N_PAGES = 640
_ASIDE = {"taken_s", "duration_s", "sorted"}
ACCESSED_AND_DIRTY = 0x60


def difference(ours: Any, theirs: Any, path: str = "") -> str:
    """Where two values differ, to the last array and its type; empty where nowhere."""
    if type(ours) is not type(theirs):
        return f"{path}: {type(ours)} and {type(theirs)}"
    if isinstance(ours, np.ndarray):
        same = ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
        return "" if same else f"{path}: {ours.dtype} {ours.shape} and {theirs.dtype} {theirs.shape}"
    if is_dataclass(ours):
        names = [field.name for field in fields(ours) if field.name not in _ASIDE]
        found = (difference(getattr(ours, name), getattr(theirs, name), f"{path}.{name}") for name in names)
        return next(filter(None, found), "")
    if isinstance(ours, tuple) and len(ours) == len(theirs):
        return next(filter(None, (difference(a, b, f"{path}[…]") for a, b in zip(ours, theirs, strict=True))), "")
    return "" if ours == theirs else f"{path}: {ours!r} and {theirs!r}"


def plain(kernel: Kernel) -> Kernel:
    """The same kernel as if it was read for the first time: without compiled code."""
    space = KernelSpace(kernel.reader, kernel.space.root, kernel.levels, kernel.space.phys_base)
    space.direct_map, space.image_end = kernel.space.direct_map, kernel.space.image_end
    return replace(kernel, space=space)


def outcome(introspector: Introspector) -> SemanticSnapshot | str:
    """A look, or how it failed."""
    try:
        return introspector.look(frozen=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# ----- page tables that are made up

slots = st.sampled_from([0, 1, 7, 8, 255, 256, 511])
edits = st.lists(
    st.tuples(st.integers(0, 15), slots, st.integers(0, N_PAGES + 8), st.sampled_from(["", "page", "page", "large"])),
    min_size=1,
    max_size=12,
)


@given(
    first=st.lists(st.tuples(st.integers(0, 15), slots, st.integers(0, 15)), max_size=40),
    steps=st.lists(edits, min_size=1, max_size=4),
    levels=st.sampled_from([4, 5]),
    processes=st.lists(st.sampled_from([0, 0x1000, 0x2000, 0x3000, 0xFF_F000]), max_size=6),
    hole=st.booleans(),
)
@settings(max_examples=150)
def test_tables_that_change_are_walked_as_if_for_the_first_time(
    first: list[tuple[int, int, int]],
    steps: list[list[tuple[int, int, int, str]]],
    levels: int,
    processes: list[int],
    hole: bool,
) -> None:
    memory = np.zeros(N_PAGES * 4096, np.uint8)
    for page, slot, target in first:
        write_words(memory, page * 4096 + slot * 8, [target << 12 | PRESENT])
    whole = RamRegion(0, 0, len(memory), "ram")
    halves = (RamRegion(0, 0, 8 << 12, "low"), RamRegion(11 << 12, 8 << 12, len(memory) - (8 << 12), "high"))
    reader = PhysicalReader(HeldRam(memory, PhysicalMap(len(memory), halves if hole else (whole,))))
    kernel = cast(Kernel, SimpleNamespace(reader=reader))
    tables, owners = UserTableReader(reader, levels), OwnerReader(kernel)
    process_roots = np.array(processes, np.uint64)
    roots = np.unique(process_roots[process_roots != 0])
    for step in [[], *steps]:
        for page, slot, target, kind in step:
            flags = {"": 0, "page": PRESENT, "large": PRESENT | LARGE}[kind]
            write_words(memory, page * 4096 + slot * 8, [target << 12 | flags])
        seen, anew = tables.read(roots), read_user_tables(reader, roots, levels)
        assert difference(seen, anew) == ""
        assert (
            difference(owners.read(process_roots, roots, seen), read_owners(kernel, process_roots, roots, anew)) == ""
        )
        some = roots != 0x1000
        assert difference(seen.tables_of(some), anew.tables_of(some)) == ""


def nested_tables() -> npt.NDArray[np.uint8]:
    """A root at page 1 that leads by pages 2 and 3 to page 4, which maps page 5 and page 6."""
    memory = np.zeros(64 * 4096, np.uint8)
    for page in (1, 2, 3):
        write_words(memory, page << 12, [page + 1 << 12 | PRESENT])
    write_words(memory, 4 << 12, [5 << 12 | PRESENT, 6 << 12 | PRESENT])
    return memory


def test_what_moves_no_page_leaves_the_same_objects() -> None:
    memory = nested_tables()
    reader = PhysicalReader(HeldRam(memory))
    kernel = cast(Kernel, SimpleNamespace(reader=reader))
    tables, owners = UserTableReader(reader, 4), OwnerReader(kernel)
    roots = np.array([0x1000], np.uint64)
    seen = tables.read(roots)
    owned = owners.read(roots, roots, seen)
    assert owned.pages.tolist() == [5, 6]
    write_words(memory, 4 << 12, [5 << 12 | PRESENT | ACCESSED_AND_DIRTY])
    assert tables.read(roots) is seen
    assert owners.read(roots, roots, seen) is owned
    nobody = np.zeros(1, np.uint64)
    assert not len(owners.read(nobody, roots, seen).pages)
    write_words(memory, 4 << 12, [7 << 12 | PRESENT])
    assert owners.read(roots, roots, tables.read(roots)).pages.tolist() == [6, 7]
    assert seen.leaves.paddrs.tolist() == [5 << 12, 6 << 12], "what was given out stays as it was"


@pytest.mark.parametrize("roots_of", [(0x1000, 0x7000), (0x7000, 0x1000), (0x7000, 0x1000, 0x7000)])
def test_a_page_that_several_map_is_first_of_the_process_that_came_first(roots_of: tuple[int, ...]) -> None:
    memory = nested_tables()
    write_words(memory, 7 << 12, [2 << 12 | PRESENT])  # another root, which leads to the same tables
    reader = PhysicalReader(HeldRam(memory))
    kernel = cast(Kernel, SimpleNamespace(reader=reader))
    process_roots = np.array(roots_of, np.uint64)
    roots = np.unique(process_roots)
    user = UserTableReader(reader, 4).read(roots)
    for found in (
        read_owners(kernel, process_roots, roots, user),
        OwnerReader(kernel).read(process_roots, roots, user),
    ):
        everyone = list(range(len(roots_of)))
        assert [process for process, _ in found.of_page(5)] == everyone
        assert found.first()[[4, 5, 6]].tolist() == [-1, 0, 0]


def test_tables_that_go_in_circles_are_walked_as_far_as_ever() -> None:
    memory = np.zeros(64 * 4096, np.uint8)
    for page in range(1, 9):  # each full of entries that lead to all of them
        write_words(memory, page << 12, [(1 + at % 8) << 12 | PRESENT for at in range(512)])
    reader = PhysicalReader(HeldRam(memory))
    kernel = cast(Kernel, SimpleNamespace(reader=reader))
    roots = np.array([0x1000, 0x2000], np.uint64)
    tables = UserTableReader(reader, 4)
    for _ in range(2):
        assert difference(tables.read(roots), read_user_tables(reader, roots, 4)) == ""
    # However many claim the same space, what is kept of it is bounded.
    many = np.full(20_000, 0x1000, np.uint64)
    found = OwnerReader(kernel).read(many, roots, tables.read(roots))
    assert len(found.processes) <= 32 * 64
    assert difference(found, read_owners(kernel, many, roots, read_user_tables(reader, roots, 4))) == ""


def test_ram_that_lies_askew_is_walked_without_compiled_code() -> None:
    memory = np.concatenate([np.zeros(4, np.uint8), nested_tables()[:-4]])
    regions = (RamRegion(0, 4, len(memory) - 4, "ram"),)
    ram = HeldRam(memory, PhysicalMap(len(memory), regions))
    found = UserTableReader(PhysicalReader(ram), 4).read(np.array([0x1000], np.uint64))
    assert found.leaves.paddrs.tolist() == [5 << 12, 6 << 12]


# ----- a real kernel


@pytest.fixture(scope="module")
def victim(dump: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The dump, to be changed."""
    return dump.copy()


@pytest.fixture(scope="module")
def watching(victim: npt.NDArray[np.uint8]) -> Introspector:
    """One that has looked at the dump and remembers it."""
    introspector = Introspector(find_kernel(PhysicalReader(HeldRam(victim))))
    introspector.remember()
    introspector.look(frozen=True)
    return introspector


def places(introspector: Introspector) -> dict[str, npt.NDArray[np.int64]]:
    """Offsets in RAM of what looks read, (n,) each: of objects and of pages, by what they are."""
    kernel, seen = introspector.kernel, introspector.look(frozen=True)
    assert kernel.types is not None

    def objects(vaddrs: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.int64]:
        paddrs, mapped = kernel.space.translate(vaddrs)
        return (paddrs[mapped].astype(np.int64)[:, None] + np.arange(0, size, 8)[None, :]).reshape(-1)

    roots = np.unique(seen.threads.roots[seen.threads.roots != 0])
    tables = read_user_tables(kernel.reader, roots, kernel.levels).tables
    records = (seen.page_map.frames.backing[:, None] << 12) + np.arange(0, 4096, 8)[None, :]
    mms = np.unique(seen.processes.mms[seen.processes.mms != 0])
    return {
        "tasks": objects(seen.threads.addresses, kernel.types.struct_size("task_struct")),
        "address spaces": objects(mms, kernel.types.struct_size("mm_struct")),
        "regions": objects(seen.vmas.addresses, kernel.types.struct_size("vm_area_struct")),
        "tables": (tables.astype(np.int64)[:, None] + np.arange(0, 4096, 8)[None, :]).reshape(-1),
        "records": records.reshape(-1),
        "kernel tables": (
            seen.page_map.kernel_mappings.tables.astype(np.int64)[:64, None] + np.arange(0, 4096, 8)[None, :]
        ).reshape(-1),
    }


@pytest.mark.parametrize("what", ["tasks", "address spaces", "regions", "tables", "records", "kernel tables"])
def test_bytes_that_change_between_looks_are_seen(
    what: str, victim: npt.NDArray[np.uint8], watching: Introspector, dump: npt.NDArray[np.uint8]
) -> None:
    """Words are damaged, copied from elsewhere of the same kind, or put back, a few between each two looks."""
    words = victim.view("<u8")
    chosen = places(watching)[what] >> 3
    full = chosen[words[chosen] != 0]
    rng = np.random.default_rng(len(what))
    n_changed = 0
    for _ in range(6):
        at = rng.choice(full, int(rng.choice([1, 3, 40])), replace=False)
        kind = rng.integers(3)
        words[at] = (
            rng.integers(0, 1 << 63, len(at), dtype=np.uint64)
            if kind == 0
            else words[rng.choice(full, len(at))]
            if kind == 1
            else words[at] ^ (np.uint64(1) << rng.integers(0, 64, len(at), dtype=np.uint64))
        )
        ours = outcome(watching)
        anew = outcome(Introspector(plain(watching.kernel)))
        assert difference(ours, anew) == ""
        n_changed += 1
        if rng.integers(2):
            victim[:] = dump
    victim[:] = dump
    assert difference(outcome(watching), outcome(Introspector(plain(watching.kernel)))) == ""
    assert n_changed == 6


CHANGES = (
    "true",
    "sleep 300 & sleep 300 & sleep 300 & true",
    "killall sleep; true",
    "dd if=/dev/zero of=/run/filled bs=1M count=4 2>/dev/null; cat /run/filled >/dev/null",
    "rm /run/filled; mkdir -p /run/a/b; touch /run/a/b/c; cat /etc/passwd >/dev/null",
    "(sleep 200; true) & awk 'BEGIN { for (i = 0; i < 30000; i++) a[i] = i; system(\"sleep 100\") }' & sleep 0.3",
    "killall awk sleep; mv /run/a /run/d; echo 3 >/proc/sys/vm/drop_caches; true",
    "killall -CONT counter allocator journal; sleep 0.5; killall -STOP counter allocator journal",
    "for i in 1 2 3 4 5 6 7 8 9; do (true); done; rm -r /run/d",
)


def test_a_guest_that_changes_is_seen_as_it_is(live: LiveGuest) -> None:
    """Processes begin and end, memory is mapped and given back, files come and go: held still, both see the same."""
    introspector = Introspector(live.kernel)
    introspector.remember()
    for change in CHANGES:
        live.shell.run(change)
        with contextlib.suppress(KernelError):  # what could not be followed is said
            introspector.look()  # while it runs, too: what is remembered may be torn
        with live.shell.held():
            ours, anew = outcome(introspector), outcome(Introspector(plain(live.kernel)))
        assert not isinstance(ours, str)
        assert difference(ours, anew) == "", change


def test_one_look_loads_no_compiler() -> None:
    code = "import sys, bridge.kernel.snapshot, bridge.kernel.desk; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loops_are_compiled_ahead() -> None:
    """In a process of its own, as the set-up does it; afterwards nothing is left to be compiled."""
    code = """
from bridge.kernel import frame_loops, list_loops, page_loops, table_loops
from bridge.kernel.warm_up import warm_up
warm_up()
for loop in (
    *(table_loops.walk_user, table_loops.by_page, table_loops.translate, table_loops.read_words),
    *(page_loops.classify, page_loops.settle, page_loops.tell, list_loops.walk_tasks, list_loops.read_regions),
    frame_loops.update,
):
    assert loop.signatures
    assert sum(loop.stats.cache_hits.values()) == len(loop.signatures), loop.stats
"""
    subprocess.run([sys.executable, "-m", "bridge.kernel.warm_up"], check=True)
    subprocess.run([sys.executable, "-c", code], check=True)
