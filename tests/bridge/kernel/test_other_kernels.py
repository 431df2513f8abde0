"""Everything that is read from RAM equals what the guest says, on kernels of other years, configurations and boots.

Each is started from its bzImage as it is packaged, so KASLR moves it; `-cpu max` gives five levels of page tables to
those that know them; two processors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.kernel.details import Details
from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from bridge.kernel.page_classes import PageClass
from bridge.kernel.page_sets import pages_of
from bridge.kernel.snapshot import Introspector
from bridge.kernel.symbol_cache import SymbolCache
from bridge.kernel.volatility_engine.records import Job, Target
from bridge.kernel.volatility_engine.service import Run
from bridge.kernel.volatility_engine.session import Session
from bridge.machine.guest import MIB, Guest
from bridge.memory.errors import GuestMemoryError
from bridge.memory.physical import PhysicalReader
from bridge.memory.ram import GuestRam
from tests.bridge.kernel.conftest import HeldRam, LiveGuest
from tests.bridge.kernel.guest_account import (
    Account,
    account_around,
    assert_classes_agree,
    assert_mapped_agree,
    start_with_memory,
)
from tests.bridge.kernel.other_kernels import Wanted, have_kernel
from tests.bridge.kernel.test_symbol_cache import assert_same_kernel, nothing_is_decoded
from tests.bridge.machine.serial_guest import start_guest


@dataclass(frozen=True)
class Case:
    """A kernel and the machine that it runs on."""

    wanted: Wanted
    release: str
    """What its release begins with, where that is certain."""
    ram_mib: int
    levels: int
    definite: float


CASES = {
    # Memory maps are lists, pages carry their slab cache themselves, RSS is an array of counters.
    "5.10": Case(Wanted("bullseye"), "5.10.", 128, 4, 0.97),
    "6.12": Case(Wanted("trixie"), "6.12.", 128, 5, 0.97),
    # Compound pages are linked by masks, symbols are relative to their own place, slabs are not counted.
    "7": Case(Wanted("trixie-backports"), "", 128, 5, 0.97),
    "generic, 1 GiB": Case(Wanted("", "linux-image-amd64"), "", 1024, 5, 0.99),
}


@dataclass(frozen=True)
class Looked:
    """A guest at rest, one look at it, and what the guest itself says of every page."""

    case: Case
    live: LiveGuest
    introspector: Introspector
    account: Account


@pytest.fixture(scope="module", params=list(CASES))
def looked(
    request: pytest.FixtureRequest, demo_guest: Guest, guest_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Looked]:
    case = CASES[request.param]
    kernel = have_kernel(case.wanted, guest_cache)
    guest = dataclasses.replace(demo_guest, name="other", kernel=kernel)
    directory = tmp_path_factory.mktemp("other")
    with start_guest(guest, directory, "-cpu", "max", "-smp", "2", ram_bytes=case.ram_mib * MIB) as shell:
        assert guest.ready_marker
        shell.wait_for(guest.ready_marker)
        shell.rest()
        start_with_memory(shell, 150_000)
        ram = GuestRam.open(shell.ram)
        live = LiveGuest(shell, ram, find_kernel(PhysicalReader(ram)))
        introspector = Introspector(live.kernel)
        yield Looked(case, live, introspector, account_around(live, introspector))
        ram.close()


@pytest.fixture(scope="module")
def details(looked: Looked) -> Details:
    return Details(looked.introspector)


def test_the_kernel_is_the_one_that_was_started(looked: Looked) -> None:
    kernel = looked.live.kernel
    assert kernel.release == looked.live.shell.run("uname -r").strip()
    assert kernel.release.startswith(looked.case.release)
    assert kernel.levels == looked.case.levels
    assert kernel.kernel_offset > 0, "KASLR was to move it"
    assert kernel.types is not None
    assert kernel.still_there()


def test_every_symbol_equals_the_guests_own(looked: Looked) -> None:
    symbols = looked.live.kernel.symbols.symbols
    lines = "".join(
        f"{address:016x} {chr(kind)} {name}\n"
        for address, kind, name in zip(symbols.addresses.tolist(), symbols.types.tolist(), symbols.names, strict=True)
    )
    theirs = looked.live.shell.run("grep -v '\\[' /proc/kallsyms | md5sum", timeout_s=120).split()[0]
    assert hashlib.md5(lines.encode()).hexdigest() == theirs


def test_processes_equal_the_guests_own(looked: Looked) -> None:
    text = looked.live.shell.run("for p in /proc/[0-9]*; do cat $p/stat; grep Uid $p/status; done 2>/dev/null; true")
    theirs = {}
    for pid, name, _state, parent, uid in re.findall(
        r"^(\d+) \((.*)\) (\S) (\d+) .*\nUid:\s*(\d+)", text, re.MULTILINE
    ):
        if not name.startswith(("kworker", "cat", "grep", "sh")):
            theirs[int(pid)] = (name[:15], int(parent), int(uid))
    tasks = looked.introspector.tasks.processes()
    ours = {
        int(tasks.pids[i]): (tasks.names[i], int(tasks.ppids[i]), int(tasks.uids[i]))
        for i in range(len(tasks))
        if not tasks.names[i].startswith(("kworker", "cat", "grep", "sh"))
    }
    assert ours == theirs
    assert len(ours) > 20
    states = {tasks.names[i]: tasks.states[i] for i in range(len(tasks))}
    assert (states["counter"], states["init"]) == ("T", "S")
    rss = int(tasks.rss_bytes[tasks.names.index("awk")])
    said = int(re.findall(r"VmRSS:\s*(\d+) kB", looked.live.shell.run("cat /proc/$(pidof awk)/status"))[0]) * 1024
    # Counters are batched, a task (before v6.2) or a processor.
    assert abs(rss - said) <= 2 * 64 * 4096
    init = tasks.names.index("init")
    theirs_line = looked.live.shell.run("tr '\\0' ' ' </proc/1/cmdline").strip()
    assert looked.introspector.tasks.command_line(tasks, init) == theirs_line


def test_memory_maps_equal_the_guests_own(looked: Looked) -> None:
    tasks = looked.introspector.tasks.processes()
    for name in ("counter", "allocator", "awk"):
        index = tasks.names.index(name)
        theirs = [
            (int(start, 16), int(end, 16), letters, int(offset, 16))
            for start, end, letters, offset in re.findall(
                r"^(\w+)-(\w+) (\S{4}) (\w+)",
                looked.live.shell.run(f"cat /proc/{tasks.pids[index]}/maps"),
                re.MULTILINE,
            )
            if int(start, 16) < 1 << 63  # the vsyscall page is the kernel's
        ]
        vmas = looked.introspector.maps.vmas(tasks.mms[index : index + 1])
        assert vmas.complete
        ours = []
        for i in range(len(vmas)):
            flags = int(vmas.flags[i])
            letters = "".join(
                letter if flags & bit else "-" for letter, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
            )
            offset = int(vmas.page_offsets[i]) * 4096 if vmas.files[i] else 0
            ours.append((int(vmas.starts[i]), int(vmas.ends[i]), letters + ("s" if flags & VM_SHARED else "p"), offset))
        assert ours == theirs


def test_page_classes_agree_with_the_guests_flags(looked: Looked) -> None:
    assert_classes_agree(looked.account)
    assert looked.account.snapshot.page_map.definite >= looked.case.definite


def test_mapped_pages_agree_with_the_guests_counts(looked: Looked) -> None:
    account = looked.account
    assert_mapped_agree(account)
    # Not only whether: how often each anonymous page is mapped.
    anonymous = account.still & (account.snapshot.page_map.classes == PageClass.ANONYMOUS)
    assert (account.snapshot.owners.counts()[anonymous] == account.counts[anonymous]).mean() >= 0.99


def test_it_is_found_without_its_note_as_well(looked: Looked) -> None:
    if looked.case.ram_mib > 128:
        pytest.skip("the signature is searched in all RAM: the small guests say the same sooner")
    with looked.live.shell.held():
        data = looked.live.ram.bytes.copy()
    note, at = b"NUMBER(phys_base)=", -1
    raw = data.tobytes()
    # Of the same instant: what the guest did since it was looked at is no difference between two ways to find it.
    noted = Introspector(find_kernel(PhysicalReader(HeldRam(data.copy())))).look()
    while (at := raw.find(note, at + 1)) >= 0:
        data[at] = ord("X")
    kernel = find_kernel(PhysicalReader(HeldRam(data)))
    assert kernel.info is None
    assert (kernel.release, kernel.levels) == (looked.live.kernel.release, looked.live.kernel.levels)
    assert (kernel.space.root, kernel.space.phys_base) == (
        looked.live.kernel.space.root,
        looked.live.kernel.space.phys_base,
    )
    assert kernel.symbols.symbols.names == looked.live.kernel.symbols.symbols.names
    assert (kernel.symbols.symbols.addresses == looked.live.kernel.symbols.symbols.addresses).all()
    snapshot = Introspector(kernel).look()
    assert (snapshot.page_map.classes == noted.page_map.classes).mean() > 0.999
    assert snapshot.page_map.definite >= looked.case.definite


def test_kernel_stacks_equal_the_guests_own(looked: Looked, details: Details) -> None:
    pids = [1, 2, int(looked.live.shell.run("pidof dropbear").split()[0])]
    for pid in pids:
        text = looked.live.shell.run(f"cat /proc/{pid}/stack")
        theirs = [f"{name} + {offset}" for name, offset in re.findall(r"\] ([\w.]+)\+(0x\w+)/", text)]
        ours = [frame.symbol.replace(" + 0x0", "") for frame in details.stack(pid)]
        # The guest leaves the scheduler's own functions out.
        assert ours[-len(theirs) :] == theirs, text
        assert len(theirs) >= 2
        assert ours[0].startswith("__schedule + ")


def test_mounts_files_and_paths_equal_the_guests_own(looked: Looked, details: Details) -> None:
    shell = looked.live.shell
    theirs = [line.split()[:5] for line in shell.run("cat /proc/1/mountinfo").splitlines()]
    ours = {mount.mount_id: mount for mount in details.mounts(1)}
    assert len(theirs) >= 4
    assert {int(number): (int(parent), device, path) for number, parent, device, _, path in theirs} == {
        number: (mount.parent_id, mount.device, mount.path) for number, mount in ours.items()
    }
    daemon = int(shell.run("pidof dropbear").split()[0])
    text = shell.run(f'for f in /proc/{daemon}/fd/*; do echo "$(basename $f) $(readlink $f)"; done')
    links = {int(line.split()[0]): line.split(maxsplit=1)[1] for line in text.splitlines()}
    assert {file.descriptor: file.path for file in details.files(daemon)} == links
    found = re.findall(r"^(\w+)-(\w+) \S{4} \w+ \S+ \d+ *(.*)$", shell.run(f"cat /proc/{daemon}/maps"), re.MULTILINE)
    regions = [(int(start, 16), int(end, 16), path) for start, end, path in found if int(start, 16) < 1 << 63]
    assert [(entry.start, entry.end, entry.path) for entry in details.maps(daemon)] == regions


def test_sockets_slabs_and_messages_equal_the_guests_own(looked: Looked, details: Details) -> None:
    shell = looked.live.shell
    (socket,) = [socket for socket in details.sockets() if socket.process == "dropbear"]
    assert (socket.protocol, socket.state, socket.local) == ("tcp", "LISTEN", "127.0.0.1:22")
    assert f" {socket.inode} " in shell.run("cat /proc/net/tcp")
    theirs = {}
    for line in shell.run("tail -n +3 /proc/slabinfo").splitlines():
        name, _active, _objects, object_bytes, a_slab = line.split()[:5]
        theirs[name] = (int(object_bytes), int(a_slab))
    ours = {cache.name: (cache.slot_bytes, cache.objects_a_slab) for cache in details.slabs()}
    assert ours == theirs
    assert len(ours) > 80
    for _ in range(20):  # until nothing was added meanwhile
        lines = shell.run("dmesg").splitlines()
        texts = [record.text for record in details.log(10_000)]
        if shell.run("dmesg").splitlines() == lines:
            break
    assert [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in lines] == [line for t in texts for line in t.split("\n")]


def test_slab_objects_in_use_are_the_threads(looked: Looked, details: Details) -> None:
    """Free ones are on lists of slabs and processors, or in sheaves (since v6.18): none is taken for a thread."""
    kernel = looked.live.kernel
    assert kernel.space.direct_map is not None
    for _ in range(20):  # a moment ago many may have ended
        with looked.live.shell.held():
            threads = {int(address) for address in looked.introspector.tasks.threads().addresses}
            ours = [details.slab_object(address + 24) for address in threads]
            pages = pages_of(kernel, looked.introspector.look(frozen=True), "slab", "task_struct")
            paddrs = kernel.reader.ram.physical_map.paddr_from_offset(pages.astype(np.uint64) << np.uint64(12))
            # A thread is larger than a page.
            found = [details.slab_object(kernel.space.direct_map + paddr) for paddr in paddrs.tolist()]
        objects = {one.address: one.allocated for one in found if one is not None}
        in_use = sum(objects.values())
        if in_use - len(threads) <= 12:
            break
    for address, one in zip(threads, ours, strict=True):
        assert one is not None
        assert (one.cache, one.address, one.allocated) == ("task_struct", address, True)
    assert 0 <= in_use - len(threads) <= 12  # idle threads, and those whose end not all processors know of
    assert len(objects) > in_use


def test_volatility_agrees(looked: Looked) -> None:
    """Volatility's walkers over our types and layers, five levels of page tables included, which it lacks."""
    said = looked.live.shell.run("tr '\\0' ' ' </proc/1/cmdline").strip()
    runs: dict[str, Run] = {}
    jobs: tuple[tuple[str, dict[str, Any]], ...] = (
        ("linux.psaux", {}),
        ("linux.mountinfo", {"pids": (1,)}),
        ("linux.lsof", {"pid": (1,)}),
    )
    details = Details(looked.introspector)
    with looked.live.shell.held():
        for plugin, options in jobs:
            runs[plugin] = run = Run(Job(1, Target(Path("none")), plugin, options))
            Session(looked.live.kernel).run(run.job, run.take)  # type: ignore[arg-type]
            assert run.finished is not None
            assert run.finished.problem == "", plugin
        tasks = looked.introspector.tasks.processes()
    rows = runs["linux.psaux"].rows
    assert set(tasks.pids.tolist()) == {row[0] for row in rows}
    arguments = {row[0]: str(row[3]).strip() for row in rows}
    assert arguments[1] == said
    assert {mount.path for mount in details.mounts(1)} == {row[6] for row in runs["linux.mountinfo"].rows}
    assert [file.path for file in details.files(1)] == [row[4] for row in runs["linux.lsof"].rows]


def test_what_is_remembered_equals_what_is_decoded(looked: Looked, tmp_path: Path) -> None:
    cache = SymbolCache(tmp_path / "symbols")
    reader = PhysicalReader(looked.live.ram)
    assert_same_kernel(find_kernel(reader, cache=cache), looked.live.kernel)
    assert cache.usage().n_entries == 1
    with nothing_is_decoded():
        assert_same_kernel(find_kernel(reader, cache=cache), looked.live.kernel)


def test_a_kernel_that_kaslr_moved_is_known_again(demo_guest: Guest, guest_cache: Path, tmp_path: Path) -> None:
    """Two boots of one kernel: what was decoded of the first serves the second, at the addresses of the second."""
    guest = dataclasses.replace(demo_guest, name="moved", kernel=have_kernel(CASES["6.12"].wanted, guest_cache))
    cache = SymbolCache(tmp_path / "symbols")
    first = _booted(guest, tmp_path, cache, contextlib.nullcontext)
    again = _booted(guest, tmp_path, cache, nothing_is_decoded)
    while again.kernel_offset == first.kernel_offset:  # one of some hundred boots
        again = _booted(guest, tmp_path, cache, nothing_is_decoded)
    assert cache.usage().n_entries == 1
    assert again.symbols.symbols.names == first.symbols.symbols.names
    before, after = first.symbols.symbols.addresses, again.symbols.symbols.addresses
    moved = before >= 1 << 32
    assert np.array_equal(before[~moved], after[~moved]), "per-cpu variables are offsets, which stay"
    assert 100 < (~moved).sum() < moved.sum()
    slide = np.uint64((again.kernel_offset - first.kernel_offset) % (1 << 64))
    assert np.array_equal(before[moved] + slide, after[moved])


def _booted(
    guest: Guest, directory: Path, cache: SymbolCache, how: Callable[[], contextlib.AbstractContextManager[None]]
) -> Kernel:
    """The guest's kernel, found as soon as it has written its note; its machine is gone."""
    with start_guest(guest, directory, "-cpu", "max", ram_bytes=128 * MIB) as shell:
        deadline_s = time.monotonic() + 240
        while time.monotonic() < deadline_s:
            time.sleep(0.1)
            with contextlib.suppress(GuestMemoryError, KernelError), GuestRam.open(shell.ram) as ram:
                with how():
                    found = find_kernel(PhysicalReader(ram), by_signature=False, cache=cache)
                assert_same_kernel(found, find_kernel(PhysicalReader(ram)))
                return found
    raise AssertionError("no kernel came up")
