"""A real dump, damaged where it hurts, many times: each reading of it ends in an answer or in a typed error.

The default is a sample. GLASSBOX_FUZZ_ROUNDS=1000 makes it a campaign; GLASSBOX_FUZZ_DUMP=FILE takes another kernel's.
"""

from __future__ import annotations

import os
import resource
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bridge.kernel.desk import QUESTIONS, Desk
from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Introspector
from bridge.memory.errors import GuestMemoryError
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam

ROUNDS = int(os.environ.get("GLASSBOX_FUZZ_ROUNDS", "4"))
_MAX_GROWN_KIB = 1 << 20
Bytes = np.ndarray


class Victim:
    """A dump that can be damaged and mended, and what is read from it."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.introspector = Introspector(find_kernel(PhysicalReader(HeldRam(data))))
        self.desk = Desk(self.introspector)
        self.snapshot = self.desk.snapshot
        self.places = self._places()

    def _places(self) -> dict[str, Bytes]:
        """What is damaged -> offsets in RAM of its words, (n,) int64."""
        kernel, snapshot = self.introspector.kernel, self.snapshot
        classes, info = snapshot.page_map.classes, kernel.info
        assert info is not None
        assert kernel.types is not None

        def objects(vaddrs: Bytes, size: int) -> Bytes:
            paddrs, mapped = kernel.space.translate(vaddrs.astype(np.uint64))
            return words_of(paddrs[mapped].astype(np.int64), size)

        def pages(*kinds: PageClass) -> Bytes:
            return words_of(np.flatnonzero(np.isin(classes, kinds)) << 12, 4096)

        def image(start: int, end: int) -> Bytes:
            return words_of(np.array([kernel.space.image_paddr(start)]), end - start)

        symbols, own = kernel.symbols, snapshot.processes.mms[snapshot.processes.mms != 0]
        places = {
            "tasks": objects(snapshot.threads.addresses, kernel.types.struct_size("task_struct")),
            "address spaces": objects(own, kernel.types.struct_size("mm_struct")),
            "regions": objects(snapshot.vmas.addresses, kernel.types.struct_size("vm_area_struct")),
            "page tables": pages(PageClass.PAGE_TABLE),
            "page records": pages(PageClass.VMEMMAP),
            "slabs": pages(PageClass.SLAB),
            "data": pages(PageClass.KERNEL_DATA, PageClass.KERNEL_BSS, PageClass.PER_CPU),
            "types": image(symbols.address("__start_BTF"), symbols.address("__stop_BTF")),
            "symbols": image(symbols.address("__start_rodata"), symbols.address("__end_rodata")),
        }
        if kernel.types.has("mm_struct", "mm_mt.ma_root"):
            roots, _ = kernel.space.words(own + np.uint64(kernel.types.offset("mm_struct", "mm_mt.ma_root")))
            places["maple nodes"] = objects(roots & ~np.uint64(0xFF), 256)
        raw, at, notes = self.data.tobytes(), -1, []
        while (at := raw.find(b"OSRELEASE=", at + 1)) >= 0:
            notes.append(at & ~7)
        places["notes"] = words_of(np.array(notes), 4096)
        return {what: place[place + 8 <= len(self.data)] for what, place in places.items()}


def words_of(starts: Bytes, size: int) -> Bytes:
    return (starts[:, None] + np.arange(0, size, 8)[None, :]).ravel() & ~7


def damage(victim: Victim, what: str, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Change some words; which, and what they were."""
    words, places = victim.data.view("<u8"), victim.places[what] >> 3
    # Most words of most structures are nothing, and nobody would notice: prefer those that hold something.
    full = places[words[places] != 0]
    count = int(rng.choice([1, 3, 20, 200]))
    chosen = np.unique(rng.choice(full if len(full) and rng.random() < 0.8 else places, count))
    before = words[chosen].copy()
    match int(rng.integers(5)):
        case 0:
            words[chosen] ^= np.uint64(1) << rng.integers(0, 64, len(chosen)).astype(np.uint64)
        case 1:
            words[chosen] = rng.integers(0, 2**64, len(chosen), np.uint64)
        case 2:  # pointers to where something else is
            words[chosen] = words[rng.choice(places, len(chosen))]
        case 3:
            words[chosen] = rng.choice(np.array([0, 1, 2**64 - 1, 2**63, 0x7FFFFFFF, 4096], np.uint64), len(chosen))
        case _:
            words[chosen] += rng.integers(1, 4096, len(chosen), np.uint64)
    return chosen, before


def ask_everything(desk: Desk, rng: np.random.Generator, tried: Counter[str]) -> None:
    """Put all questions, about things that were there and that never were."""
    pids = [1, 2, int(rng.integers(1, 300))]
    direct = desk.introspector.kernel.space.direct_map or 0
    place = int(rng.integers(0, len(desk.introspector.kernel.reader.bytes)))
    asked: dict[str, list[tuple[object, ...]]] = {
        "modules": [()],
        "mounts": [(1,)],
        "files": [(pid,) for pid in pids],
        "maps": [(pid,) for pid in pids],
        "sockets": [()],
        "slabs": [()],
        "slab_object": [(direct + place,)],
        "log": [(200,)],
        "stack": [(pid,) for pid in pids],
        "command_lines": [(tuple(pids),)],
        "where": [(place,)],
        "physical": [(direct + place, None)],
        "pages_of": [("process", 1), ("tables", 1), ("stack", 2), ("slab", "dentry"), ("module", "none")],
    }
    for name, many in asked.items():
        for arguments in many:
            attempt(f"question {name}", lambda: QUESTIONS[name](desk, *arguments), tried)  # noqa: B023 - called at once


def attempt(what: str, read: Callable[[], object], tried: Counter[str]) -> bool:
    """Read; whether there was an answer. Anything but a typed error comes out."""
    try:
        read()
    except (KernelError, GuestMemoryError):
        tried[f"{what}: refused"] += 1
        return False
    tried[f"{what}: answered"] += 1
    return True


@pytest.fixture(scope="module")
def victim(request: pytest.FixtureRequest) -> Victim:
    path = os.environ.get("GLASSBOX_FUZZ_DUMP")
    data = np.fromfile(Path(path), np.uint8) if path else request.getfixturevalue("dump").copy()
    return Victim(data)


@pytest.mark.parametrize(
    "what", ["tasks", "address spaces", "regions", "maple nodes", "page tables", "page records", "slabs", "data"]
)
def test_looks_and_questions_over_damage_end(victim: Victim, what: str) -> None:
    """The kernel is known, and its records are damaged: as on a live machine that goes wrong."""
    if what not in victim.places:
        pytest.skip("this kernel has none")
    rng = np.random.default_rng(zlib.crc32(what.encode()))
    tried: Counter[str] = Counter()
    grown_from = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(ROUNDS):
        chosen, before = damage(victim, what, rng)
        try:
            introspector = victim.introspector if rng.random() < 0.5 else Introspector(victim.introspector.kernel)
            desk = Desk(introspector)
            desk.snapshot = victim.snapshot
            if attempt("look", lambda: look_into(desk), tried):  # noqa: B023 - called at once
                assert len(desk.snapshot.page_map.classes) == len(victim.data) >> 12
            ask_everything(desk, rng, tried)
        finally:
            victim.data.view("<u8")[chosen] = before
    assert tried["look: answered"] + tried["look: refused"] == ROUNDS
    assert sum(count for name, count in tried.items() if "answered" in name) > ROUNDS, tried
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown_from < _MAX_GROWN_KIB
    victim.introspector.look()  # what was mended is read as before


def look_into(desk: Desk) -> None:
    desk.snapshot = desk.introspector.look()


@pytest.mark.parametrize("what", ["types", "symbols", "notes", "data", "page tables"])
def test_finding_a_kernel_in_damage_ends(victim: Victim, what: str) -> None:
    rng = np.random.default_rng(zlib.crc32(what.encode()) + 1)
    tried: Counter[str] = Counter()
    for _ in range(max(1, ROUNDS // 3)):
        chosen, before = damage(victim, what, rng)
        found: list[Kernel] = []
        try:
            reader = PhysicalReader(HeldRam(victim.data))
            if attempt("find", lambda: found.append(find_kernel(reader)), tried):  # noqa: B023 - called at once
                attempt("look", lambda: Introspector(found[0]).look(), tried)  # noqa: B023 - called at once
        finally:
            victim.data.view("<u8")[chosen] = before
    assert tried["find: answered"] + tried["find: refused"] == max(1, ROUNDS // 3)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.97])
def test_dumps_that_are_cut_short(victim: Victim, share: float) -> None:
    data = victim.data[: int(len(victim.data) * share) >> 12 << 12]
    tried: Counter[str] = Counter()
    found: list[Kernel] = []
    if attempt("find", lambda: found.append(find_kernel(PhysicalReader(HeldRam(data)))), tried):
        desk_made: list[Desk] = []
        if attempt("desk", lambda: desk_made.append(Desk(Introspector(found[0]))), tried):
            desk = desk_made[0]
            if attempt("look", lambda: look_into(desk), tried):
                assert len(desk.snapshot.page_map.classes) == len(data) >> 12
            ask_everything(desk, np.random.default_rng(1), tried)
    assert tried
