"""What the guest itself says of every page (/proc/kpageflags, /proc/kpagecount), taken around a look of ours."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.details import Details
from bridge.kernel.errors import KernelError
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Introspector, SemanticSnapshot
from tests.bridge.kernel.conftest import LiveGuest
from tests.bridge.machine.serial_guest import SerialGuest

# Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h).
KPF_LRU, KPF_SLAB, KPF_BUDDY, KPF_ANON, KPF_NOPAGE, KPF_ZERO_PAGE, KPF_PGTABLE = 5, 7, 10, 12, 20, 24, 26
_FILES = {"flags": "/proc/kpageflags", "counts": "/proc/kpagecount"}
_LIMIT_S = 120.0


@dataclass(frozen=True)
class Account:
    """One look, and the guest's own account of the same pages."""

    snapshot: SemanticSnapshot
    flags: npt.NDArray[np.uint64]
    """(n_pages,) bits KPF_*."""
    counts: npt.NDArray[np.uint64]
    """(n_pages,) how often a page is mapped."""
    still: npt.NDArray[np.bool_]
    """(n_pages,) of which the guest said the same before the look and after it: only these can be compared, as taking
    the account starts processes, whose pages were free a moment before."""

    def has(self, bit: int) -> npt.NDArray[np.bool_]:
        """(n_pages,) the pages with this bit."""
        found: npt.NDArray[np.bool_] = (self.flags >> np.uint64(bit)) & np.uint64(1) != 0
        return found


def start_with_memory(shell: SerialGuest, n_entries: int) -> None:
    """Start a process `awk` in the guest that has so many entries in memory, and does nothing more."""
    fill = f"for (i = 0; i < {n_entries}; i++) a[i] = i"
    shell.run("rm -f /run/filled")  # of another one
    shell.run(f'awk \'BEGIN {{ {fill}; printf "" >"/run/filled"; system("exec sleep 1000") }}\' & true')
    shell.run("until [ -e /run/filled ] && grep -qs do_wait /proc/$!/stack; do sleep 0.1; done")


def account_around(live: LiveGuest, introspector: Introspector) -> Account:
    """Have the guest write its account, look, and have it written once more."""
    n_pages = live.ram.n_pages
    kib = n_pages * 8 // 1024
    names = [f"{what}{when}" for when in ("", "_after") for what in _FILES]
    live.shell.run("; ".join(f"dd if=/dev/zero of=/run/{name} bs=1k count={kib}" for name in names))
    # What is asked must not change the answer: into files that have their pages already, by processes that stay.
    for what, source in _FILES.items():
        live.shell.run(f"tail -c +1 -f {source} 1<>/run/{what} & true")
        _until_written(introspector, f"/run/{what}", 8 * n_pages)
    snapshot = introspector.look()
    for what, source in _FILES.items():
        live.shell.run(f"dd if={source} of=/run/{what}_after bs=64k conv=notrunc", timeout_s=_LIMIT_S)
    live.shell.run("killall tail; true")
    n_seen = len(snapshot.page_map.classes)
    flags, counts, flags_after, counts_after = (live.words(f"/run/{name}")[:n_seen] for name in names)
    return Account(snapshot, flags, counts, (flags == flags_after) & (counts == counts_after))


def _until_written(introspector: Introspector, path: str, size: int) -> None:
    """Wait until the guest's process `tail` has written a file that it holds open, as its own kernel's records say.

    Seen from here: a process that waits in the guest would be gone when we look.
    """
    deadline_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline_s:
        tasks = introspector.tasks.processes()
        details = Details(introspector)
        for pid in [int(pid) for pid, name in zip(tasks.pids, tasks.names, strict=True) if name == "tail"]:
            with contextlib.suppress(KernelError):
                if any(file.path == path and file.position >= size for file in details.files(pid)):
                    return
        time.sleep(0.1)
    raise AssertionError(f"the guest never wrote {path}")


def assert_classes_agree(account: Account) -> None:
    """Precision and recall of free, slab, anonymous and file pages; tables; no hole where a page is."""
    classes, still, has = account.snapshot.page_map.classes, account.still, account.has
    assert still.mean() > 0.8, "pages that a processor keeps go back to the others now and then"
    files = (classes == PageClass.FILE) | (classes == PageClass.SHARED_MEMORY)
    # In a slab's record, what is the mapping in others is a list: some kernels say of slabs that they are anonymous.
    anonymous = has(KPF_ANON) & ~has(KPF_SLAB)
    for what, ours, theirs in (
        ("free", classes == PageClass.FREE, has(KPF_BUDDY)),
        ("slab", classes == PageClass.SLAB, has(KPF_SLAB)),
        ("anonymous", classes == PageClass.ANONYMOUS, anonymous),
        ("file", files, has(KPF_LRU) & ~anonymous),
    ):
        assert_alike(what, ours[still], theirs[still])
    # The guest marks only what it took for tables at run time; ours are also those that it booted with.
    tables = has(KPF_PGTABLE) & still
    assert (classes[tables] == PageClass.PAGE_TABLE).mean() >= 0.99
    assert not (has(KPF_LRU) | has(KPF_SLAB) | has(KPF_BUDDY))[still & (classes == PageClass.PAGE_TABLE)].any()
    assert not (classes == PageClass.HOLE)[still & ~has(KPF_NOPAGE)].any()


def assert_mapped_agree(account: Account) -> None:
    """Precision and recall of pages that programs have mapped."""
    # The zero page and the vDSO's pages are mapped but not counted: they belong to the kernel.
    ours = (account.snapshot.owners.counts() > 0) & np.isin(
        account.snapshot.page_map.classes, (PageClass.ANONYMOUS, PageClass.FILE, PageClass.SHARED_MEMORY)
    )
    theirs = (account.counts > 0) & ~account.has(KPF_ZERO_PAGE)
    assert_alike("mapped", ours[account.still], theirs[account.still])


def assert_alike(what: str, ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> None:
    """Precision and recall are 0.99 at least, of more than 50 pages."""
    both = int((ours & theirs).sum())
    precision, recall = both / max(1, int(ours.sum())), both / max(1, int(theirs.sum()))
    assert precision >= 0.99, f"{what}: precision {precision}"
    assert recall >= 0.99, f"{what}: recall {recall}"
    assert int(theirs.sum()) > 50, what
