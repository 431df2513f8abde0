"""Every question of docs/cookbook.md, asked of the live demo guest and held against the guest's own /proc."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from bridge.kernel.desk import Desk
from bridge.kernel.snapshot import Introspector
from bridge.semantic.query.answering import Result, answer_query
from bridge.semantic.query.desk_world import DeskWorld, names_of
from bridge.semantic.query.model import Understood
from bridge.semantic.query.parser import understand
from tests.bridge.kernel.conftest import LiveGuest
from tests.bridge.kernel.guest_account import (
    KPF_ANON,
    KPF_BUDDY,
    KPF_LRU,
    KPF_PGTABLE,
    KPF_SLAB,
    Account,
    account_around,
    assert_alike,
)

COOKBOOK = Path(__file__).parents[3] / "docs" / "cookbook.md"
QUESTIONS = dict(re.findall(r"^\| (\d+) \| `([^`]+)` \|", COOKBOOK.read_text(), re.MULTILINE))
KPF_SWAPBACKED = 14
_TRIES = 20
_PRESENT = np.uint64(1 << 63)
_PFN = np.uint64((1 << 55) - 1)
_PFN_OF_ENTRY = np.uint64((1 << 40) - 1)

Word = TypeVar("Word")
Check = Callable[["Asking"], None]
CHECKS: dict[str, Check] = {}


def question(text: str) -> Callable[[Check], Check]:
    """Marks what checks the answer to a question."""

    def register(check: Check) -> Check:
        CHECKS[text] = check
        return check

    return register


class Asking:
    """The guest, one look at it a question, and its own words."""

    def __init__(self, live: LiveGuest) -> None:
        self.live = live
        self.shell = live.shell
        self.desk = Desk(Introspector(live.kernel))
        self.text = ""

    def answer(self) -> Result:
        """What the question of this test finds, at a new look."""
        self.desk.snapshot = self.desk.introspector.look()
        return self._answer()

    def answer_at_account(self) -> Result:
        """The same, at the look that was taken between the guest's two accounts of its pages."""
        self.desk.snapshot = self.account.snapshot
        return self._answer()

    def _answer(self) -> Result:
        understood = understand(self.text, names_of(self.desk))
        assert isinstance(understood, Understood), understood
        world = DeskWorld(self.desk, self.live.ram, still=False)
        return answer_query(understood.query, world)

    def answer_beside(self, word: Callable[[], Word]) -> tuple[Result, Word]:
        """The answer, and what the guest said before and after it: the same, so that nothing happened in between."""
        for _ in range(_TRIES):
            before, result = word(), self.answer()
            if word() == before:
                return result, before
        raise AssertionError("what the guest says never stayed the same while it was looked at")

    @cached_property
    def account(self) -> Account:
        """What the guest says of each page, and a look taken meanwhile."""
        return account_around(self.live, self.desk.introspector)

    def lines(self, path: str) -> list[str]:
        """A file's lines, read by the guest's shell itself: it starts no process, which would be in them."""
        return self.run(f'while IFS= read -r l; do echo "$l"; done <{path}').splitlines()

    def run(self, command: str) -> str:
        """What a command prints in the guest."""
        return self.shell.run(command)

    def pid(self, name: str) -> int:
        """The number of the one process of a name."""
        return int(self.run(f"pidof {name}").split()[0])

    def meminfo(self, *fields: str) -> list[int]:
        """Fields of /proc/meminfo, in pages, after what each processor has counted by itself was added to them."""
        self.run("echo 1 >/proc/sys/vm/stat_refresh")
        text = "\n".join(self.lines("/proc/meminfo"))
        return [int(re.search(rf"^{field}:\s*(\d+) kB", text, re.MULTILINE)[1]) // 4 for field in fields]  # type: ignore[index]

    def numbers(self, pattern: str) -> set[int]:
        """The numbers at the end of the paths in /proc that a pattern of the shell's fits."""
        return {int(path.rpartition("/")[2]) for path in self.run(f"echo {pattern}").split()}

    def slabs(self) -> dict[str, int]:
        """Pages of each slab cache by /proc/slabinfo."""
        rows = [line.split() for line in self.lines("/proc/slabinfo")[2:]]
        return {row[0]: int(row[5]) * int(row[14]) for row in rows}

    def maps(self, pid: int) -> list[tuple[int, int, str, str]]:
        """(start, end, permissions, name) of a process's map, without the page that is the kernel's."""
        text = self.run(f"cat /proc/{pid}/maps")
        return [
            (int(m[1], 16), int(m[2], 16), m[3], m[4].strip())
            for m in re.finditer(r"^(\w+)-(\w+) (\S{4}) \S+ \S+ \S+(.*)$", text, re.MULTILINE)
            if int(m[1], 16) < 1 << 63
        ]

    def regions(self, pid: int) -> list[tuple[str, str, set[int]]]:
        """(permissions, name, pages that are mapped by /proc/PID/pagemap) of each region of a process's map."""
        maps = self.maps(pid)
        spans: list[list[int]] = []
        for start, end, _, _ in maps:
            if spans and spans[-1][1] == start >> 12:
                spans[-1][1] = end >> 12
            else:
                spans.append([start >> 12, end >> 12])
        # The guest's shell takes lines of a thousand characters.
        reads = ";".join(f"d {first} {end - first}" for first, end in spans) or "true"
        assert len(reads) < 600
        define = f"d() {{ dd if=/proc/{pid}/pagemap bs=8 skip=$1 count=$2 2>/dev/null; }}"
        text = self.run(f"{define}; ({reads}) | gzip -c | base64")
        entries = np.frombuffer(zlib.decompress(base64.b64decode(text), wbits=31), "<u8")
        counts = [(end - start) >> 12 for start, end, _, _ in maps]
        assert len(entries) == sum(counts)
        pieces = np.split(entries, np.cumsum(counts)[:-1])
        own = [set((piece[piece & _PRESENT != 0] & _PFN).tolist()) for piece in pieces]
        return [(flags, name, pages) for (_, _, flags, name), pages in zip(maps, own, strict=True)]

    def mapped(self, pid: int, wanted: Callable[[str, str], bool] = lambda _permissions, _name: True) -> set[int]:
        """The pages that are mapped, by /proc/PID/pagemap, in those regions."""
        return set().union(*(pages for flags, name, pages in self.regions(pid) if wanted(flags, name)))

    @cached_property
    def kallsyms(self) -> list[tuple[int, str]]:
        """(address, name) of what the questions speak of in /proc/kallsyms, which takes the guest seconds to print."""
        wanted = " ".join(
            f"-e '{text}'" for text in ("ffffffff81000000 ", " kthreadd", " jiffies", " _text", " _stext", " _etext")
        )
        lines = self.run(f"grep -F {wanted} /proc/kallsyms").splitlines()
        return [(int(line.split()[0], 16), line.split()[2]) for line in lines]

    def symbol(self, name: str) -> int:
        """An address by /proc/kallsyms."""
        return next(address for address, known in self.kallsyms if known == name)

    def read(self, ranges: npt.NDArray[np.int64]) -> bytes:
        """Bytes of RAM; below the PCI hole the offset is the physical address."""
        return b"".join(self.shell.read_ram(start, length) for start, length in ranges.tolist())


@pytest.fixture(scope="module")
def asking(live: LiveGuest) -> Iterator[Asking]:
    # What the demo guest lacks: loaded modules, and a file whose pages are no tmpfs's.
    live.shell.run("while read -r module; do insmod $module || break; done </etc/network-modules; true")
    live.shell.run("mkdir -p /run/ramfs && mount -t ramfs none /run/ramfs && cp /bin/busybox /run/ramfs/file")
    yield Asking(live)
    live.shell.run("umount /run/ramfs")


@pytest.mark.parametrize("number", QUESTIONS)
def test_the_answer_is_what_the_guest_says(number: str, asking: Asking) -> None:
    asking.text = QUESTIONS[number]
    CHECKS[asking.text](asking)


def test_every_question_is_checked_and_there_are_thirty() -> None:
    assert list(CHECKS) == list(QUESTIONS.values())
    assert list(map(int, QUESTIONS)) == list(range(1, len(QUESTIONS) + 1))
    assert len(QUESTIONS) >= 30


def frames(result: Result) -> set[int]:
    """The page frames of an answer, by its ranges of physical addresses."""
    spans = [span for match in result.matches for span in match.ranges.tolist()]
    found = {frame for start, length in spans for frame in range(start >> 12, (start + length + 4095) >> 12)}
    assert found == set(result.pages.tolist())  # this guest's RAM begins at 0 and has no holes
    return found


def compare(asking: Asking, what: str, ours: set[int], theirs: npt.NDArray[np.bool_]) -> None:
    """Precision and recall of pages against flags, of those pages of which the guest said the same before and after."""
    mask = np.zeros(len(theirs), np.bool_)
    mask[sorted(ours)] = True
    assert_alike(what, mask[asking.account.still], theirs[asking.account.still])


@question("how much memory is free?")
def _(asking: Asking) -> None:
    result, [free] = asking.answer_beside(lambda: asking.meminfo("MemFree"))
    assert result.query.verb == "count"
    assert len(result.pages) == free > 1000


@question("free memory")
def _(asking: Asking) -> None:
    compare(asking, "free", frames(asking.answer_at_account()), asking.account.has(KPF_BUDDY))


@question("anonymous memory")
def _(asking: Asking) -> None:
    # In a slab's record, what is the mapping in others is a list: some kernels say of slabs that they are anonymous.
    theirs = asking.account.has(KPF_ANON) & ~asking.account.has(KPF_SLAB)
    compare(asking, "anonymous", frames(asking.answer_at_account()), theirs)


@question("shared memory")
def _(asking: Asking) -> None:
    has = asking.account.has
    theirs = has(KPF_LRU) & has(KPF_SWAPBACKED) & ~has(KPF_ANON)
    compare(asking, "shared", frames(asking.answer_at_account()), theirs)
    result, [shared] = asking.answer_beside(lambda: asking.meminfo("Shmem"))
    assert len(result.pages) == shared


@question("page cache")
def _(asking: Asking) -> None:
    has = asking.account.has
    compare(asking, "cached", frames(asking.answer_at_account()), has(KPF_LRU) & ~has(KPF_SWAPBACKED) & ~has(KPF_ANON))
    result, (cached, buffers, shared) = asking.answer_beside(lambda: asking.meminfo("Cached", "Buffers", "Shmem"))
    assert len(result.pages) == cached + buffers - shared


@question("how many processes are there?")
def _(asking: Asking) -> None:
    result, theirs = asking.answer_beside(lambda: asking.numbers("/proc/[0-9]*"))
    assert result.query.verb == "count"
    assert sorted(match.pid or 0 for match in result.matches) == sorted(theirs)
    assert {match.kind for match in result.matches} == {"process"}


@question("children of init")
def _(asking: Asking) -> None:
    def theirs() -> set[int]:
        text = asking.run('for p in /proc/[0-9]*; do read -r l <$p/stat && echo "$l"; done')
        return {int(m[1]) for m in re.finditer(r"^(\d+) \(.*\) \S 1 ", text, re.MULTILINE)}

    result, children = asking.answer_beside(theirs)
    assert {match.pid for match in result.matches} == children
    assert len(children) >= 4


@question("threads")
def _(asking: Asking) -> None:
    for _ in range(_TRIES):
        result, theirs = asking.answer_beside(lambda: asking.numbers("/proc/[0-9]*/task/[0-9]*"))
        if all(len(match.pages) == 4 for match in result.matches):  # else a thread ended while it was looked at
            break
    numbers = [int(re.search(r"\((\d+)\)", match.label)[1]) for match in result.matches]  # type: ignore[index]
    assert sorted(numbers) == sorted(theirs)
    assert all(len(match.pages) == 4 for match in result.matches)
    assert len(result.pages) == 4 * len(theirs)


@question("dropbear")
def _(asking: Asking) -> None:
    result = asking.answer()
    assert [match.pid for match in result.matches] == [asking.pid("dropbear")]
    theirs = asking.mapped(asking.pid("dropbear"))
    assert frames(result) >= theirs
    assert len(frames(result) - theirs) <= 1  # of [vvar] its pagemap says nothing
    assert len(theirs) > 100


@question("show me the SSH daemon's heap")
def _(asking: Asking) -> None:
    result = asking.answer()
    heap = asking.mapped(asking.pid("dropbear"), lambda _flags, name: name == "[heap]")
    assert heap
    assert frames(result) == heap


@question("stack of init")
def _(asking: Asking) -> None:
    stack = asking.mapped(1, lambda _flags, name: name == "[stack]")
    assert stack
    assert frames(asking.answer()) == stack


@question("code of counter")
def _(asking: Asking) -> None:
    code = asking.mapped(asking.pid("counter"), lambda flags, _name: "x" in flags)
    assert code
    assert frames(asking.answer()) == code


@question("regions of dropbear")
def _(asking: Asking) -> None:
    matches, pid = asking.answer().matches, asking.pid("dropbear")
    assert [re.search(r"0x\w+-0x\w+", match.label)[0] for match in matches] == [  # type: ignore[index]
        f"{start:#x}-{end:#x}" for start, end, _, _ in asking.maps(pid)
    ]
    for match, (_, name, pages) in zip(matches, asking.regions(pid), strict=True):
        assert match.label.endswith(name)
        if name != "[vvar]":  # of which a pagemap says nothing
            assert set(match.pages.tolist()) == pages


@question("heap")
def _(asking: Asking) -> None:
    matches = asking.answer().matches
    text = asking.run("grep -l heap /proc/[0-9]*/maps 2>/dev/null; true")
    theirs = {int(pid) for pid in re.findall(r"/proc/(\d+)/maps", text)}
    shell = int(asking.run("echo $$"))
    assert {1, shell, asking.pid("dropbear"), asking.pid("allocator")} <= theirs
    ours: dict[int | None, set[int]] = {}
    for match in matches:
        ours.setdefault(match.pid, set()).update(match.pages.tolist())
    assert ours.keys() <= theirs
    for pid in theirs - {shell}:  # whose heap changes with what it is asked
        if asking.run(f"[ -e /proc/{pid}/maps ] && echo there; true"):
            assert ours.get(pid, set()) == asking.mapped(pid, lambda _flags, name: name == "[heap]")
    assert ours[shell]


@question("memory shared between init and counter")
def _(asking: Asking) -> None:
    both = asking.mapped(1) & asking.mapped(asking.pid("counter"))
    ours = frames(asking.answer())
    assert ours >= both
    assert len(ours - both) <= 1  # of [vvar] a pagemap says nothing
    assert both


@question("compare heap of dropbear with heap of init")
def _(asking: Asking) -> None:
    compared = asking.answer().comparison
    left, right = (asking.mapped(pid, lambda _flags, name: name == "[heap]") for pid in (asking.pid("dropbear"), 1))
    assert compared is not None
    assert (compared.left_pages, compared.right_pages, compared.both_pages) == (
        len(left),
        len(right),
        len(left & right),
    )
    assert left


@question("open files of journal")
def _(asking: Asking) -> None:
    result = asking.answer()
    pid = asking.pid("journal")
    text = asking.run(f"for f in /proc/{pid}/fd/*; do echo ${{f##*/}}: $(readlink $f); done")
    assert [match.label.partition(") ")[2] for match in result.matches] == text.split("\n")[:-1]
    journal = next(match for match in result.matches if match.label.endswith("/tmp/journal.log"))
    assert len(journal.pages) == -(-int(asking.run("wc -c < /tmp/journal.log")) // 4096)


@question("who is listening?")
def _(asking: Asking) -> None:
    result = asking.answer()
    ports = {
        int(local.split(":")[1], 16)
        for line in asking.run("cat /proc/net/tcp").splitlines()[1:]
        for _, local, _, state, *_ in [line.split()]
        if state == "0A"
    }
    listening = [match for match in result.matches if "LISTEN" in match.label]
    found = [re.search(r"inet stream LISTEN \S*:(\d+)", match.label) for match in listening]
    assert {int(port[1]) for port in found if port is not None} == ports == {22}
    # All sockets that are held open, these and no others.
    held: dict[int, set[int]] = {}
    pid = 0
    for line in asking.run("ls -l /proc/[0-9]*/fd 2>/dev/null; true").splitlines():
        if (process := re.fullmatch(r"/proc/(\d+)/fd:", line)) is not None:
            pid = int(process[1])
        elif (socket := re.search(r" (\d+) -> socket:", line)) is not None:
            held.setdefault(pid, set()).add(int(socket[1]))
    ours: dict[int | None, set[int]] = {}
    for match in result.matches:
        ours.setdefault(match.pid, set()).add(int(re.search(r"\) (\d+): ", match.label)[1]))  # type: ignore[index]
    assert ours == held
    assert {match.pid for match in listening} == {asking.pid("dropbear")}


@question("which processes map /bin/busybox")
def _(asking: Asking) -> None:
    find = 'case "$l" in */bin/busybox) echo $p; break; esac'

    def theirs() -> set[int]:
        text = asking.run(f"for p in /proc/[0-9]*; do while read -r l; do {find}; done <$p/maps; done; true")
        return {int(path.rpartition("/")[2]) for path in text.split()}

    result, mapping = asking.answer_beside(theirs)
    assert {match.pid for match in result.matches} == mapping
    assert len(mapping) >= 2
    [init] = [match for match in result.matches if match.pid == 1]
    assert set(init.pages.tolist()) == asking.mapped(1, lambda _flags, name: name == "/bin/busybox") & {
        page for match in result.matches for page in match.pages.tolist()
    }
    assert len(init.pages) > 100


@question("file /bin/busybox")
def _(asking: Asking) -> None:
    n_pages = -(-int(asking.run("wc -c < /bin/busybox")) // 4096)
    result = asking.answer()
    assert len(result.pages) == n_pages
    ours = {asking.read(np.array([[page << 12, 4096]])) for page in frames(result)}
    for place in (0, n_pages // 2, n_pages - 1):
        theirs = asking.run(f"dd if=/bin/busybox bs=4k skip={place} count=1 2>/dev/null | base64")
        assert base64.b64decode(theirs).ljust(4096, b"\0") in ours


@question("0x400000 in init")
def _(asking: Asking) -> None:
    [match] = asking.answer().matches
    entry = asking.run("dd if=/proc/1/pagemap bs=8 skip=1024 count=1 2>/dev/null | base64")
    [word] = np.frombuffer(base64.b64decode(entry), "<u8")
    assert match.ranges.tolist() == [[int(word & _PFN) << 12, 1]]
    assert asking.read(match.ranges) == b"\x7f"


@question("page tables of dropbear")
def _(asking: Asking) -> None:
    pid = asking.pid("dropbear")
    result = asking.answer()
    tables = frames(result)
    kib = int(asking.run(f"grep VmPTE /proc/{pid}/status").split()[1])
    assert len(tables) == kib // 4 + 1  # the topmost is not counted there
    # They lead to each other and to the pages that this process maps, and nowhere else.
    entries = {page: np.frombuffer(asking.read(np.array([[page << 12, 4096]])), "<u8") for page in tables}
    led = {page: set((words[words & 1 != 0] >> 12 & _PFN_OF_ENTRY).tolist()) for page, words in entries.items()}
    [top] = tables - set().union(*led.values())
    words = entries[top][:256]  # the upper half is the kernel's
    led[top] = set((words[words & 1 != 0] >> 12 & _PFN_OF_ENTRY).tolist())
    reached, mapped = set().union(*led.values()), asking.mapped(pid)
    assert tables - {top} <= reached
    assert reached >= mapped
    assert len(reached - tables - mapped) <= 1  # of [vvar] a pagemap says nothing


@question("page tables")
def _(asking: Asking) -> None:
    result, account = asking.answer_at_account(), asking.account
    theirs = account.has(KPF_PGTABLE)
    ours = np.zeros(len(theirs), np.bool_)
    ours[sorted(frames(result))] = True
    assert (theirs & account.still).sum() > 50
    assert ours[theirs & account.still].all()
    # Ours are also those with which the guest booted and, of each process, the upper of four levels: Linux 6.1 marks
    # the lower two, 6.12 all but the topmost.
    unmarked = ours & account.still & ~theirs
    assert not (account.has(KPF_LRU) | account.has(KPF_SLAB) | account.has(KPF_BUDDY))[unmarked].any()
    levels = account.snapshot.details.places
    of_processes = [match.pages for match in result.matches if match.pid is not None]
    assert len(of_processes) >= 7
    for pages in of_processes:
        assert not unmarked[pages[levels[pages] < 2]].any()
        assert (levels[pages] == 3).sum() == 1
    n_marked = 2 if any(unmarked[pages[levels[pages] == 2]].any() for pages in of_processes) else 3
    [kernel] = [match.pages for match in result.matches if match.label == "page tables of the kernel"]
    later = int(theirs[kernel].sum())  # of those that the kernel took for itself since it booted
    result, [counted] = asking.answer_beside(lambda: asking.meminfo("PageTables"))
    # Counted are the marked ones, also what is left of a process that has ended while a thread of the kernel, which
    # needs no memory of its own, still runs on its tables.
    levels = asking.desk.snapshot.details.places
    low = sum(int((levels[match.pages] < n_marked).sum()) for match in result.matches if match.pid is not None)
    left = sum(len(match.pages) for match in result.matches if match.label.startswith("page tables of nobody"))
    assert low + left + later == counted


@question("kernel stacks")
def _(asking: Asking) -> None:
    result, [theirs] = asking.answer_beside(lambda: asking.meminfo("KernelStack"))
    assert len(result.pages) == theirs == sum(len(match.pages) for match in result.matches)


@question("kernel stack of kthreadd")
def _(asking: Asking) -> None:
    [match] = asking.answer().matches
    assert match.pid == 2
    kthreadd = asking.symbol("kthreadd")
    words = np.frombuffer(asking.read(match.ranges), "<u8")
    assert ((words > kthreadd) & (words < kthreadd + 0x400)).any()


@question("slab dentry")
def _(asking: Asking) -> None:
    result, theirs = asking.answer_beside(lambda: asking.slabs()["dentry"])
    assert len(result.pages) == theirs > 40
    assert [match.label for match in result.matches] == ["slab dentry"]


@question("every slab cache")
def _(asking: Asking) -> None:
    compare(asking, "slab", frames(asking.answer_at_account()), asking.account.has(KPF_SLAB))
    result, theirs = asking.answer_beside(asking.slabs)
    ours = {match.label.removeprefix("slab "): len(match.pages) for match in result.matches}
    assert ours == {name: pages for name, pages in theirs.items() if pages}


@question("where is jiffies?")
def _(asking: Asking) -> None:
    [match] = asking.answer().matches
    address = asking.symbol("jiffies")
    code = re.search(r"(\w+)-\w+ : Kernel code", asking.run("cat /proc/iomem"))
    assert code is not None
    assert match.label == f"jiffies at {address:#x}"
    assert match.ranges[0, 0] == address - asking.symbol("_text") + int(code[1], 16)


@question("what is at 0xffffffff81000000?")
def _(asking: Asking) -> None:
    [match] = asking.answer().matches
    names = [name for address, name in asking.kallsyms if address == 0xFFFF_FFFF_8100_0000]
    assert re.match(r"0xffffffff81000000: (\w+), Kernel code$", match.label)[1] in names  # type: ignore[index]


@question("kernel code")
def _(asking: Asking) -> None:
    size = asking.symbol("_etext") - asking.symbol("_stext")
    code = re.search(r"(\w+)-\w+ : Kernel code", asking.run("cat /proc/iomem"))
    assert code is not None
    first = int(code[1], 16) >> 12
    assert frames(asking.answer()) == set(range(first, first - (-size // 4096)))


@question('text "root:" in file /etc/passwd')
def _(asking: Asking) -> None:
    text = asking.run("cat /etc/passwd")
    matches = asking.answer().matches
    assert [match.ranges[0, 0] % 4096 for match in matches] == [m.start() for m in re.finditer("root:", text)]
    assert matches
    for match in matches:
        page = asking.read(np.array([[int(match.ranges[0, 0]) & ~4095, len(text)]]))
        assert page == text.encode()


@question("7f 45 4c 46 in file /bin/busybox")
def _(asking: Asking) -> None:
    matches = asking.answer().matches
    first = base64.b64decode(asking.run("head -c 4096 /bin/busybox | base64"))
    pages = [asking.read(np.array([[int(match.ranges[0, 0]) & ~4095, 4096]])) for match in matches]
    assert first in pages
    assert all(asking.read(match.ranges) == b"\x7fELF" for match in matches)


@question("regex /root:[^:]*:0:0/ in file /etc/passwd")
def _(asking: Asking) -> None:
    text = asking.run("cat /etc/passwd")
    ours = [match.ranges[0].tolist() for match in asking.answer().matches]
    assert [(start % 4096, length) for start, length in ours] == [
        (m.start(), len(m[0])) for m in re.finditer("root:[^:]*:0:0", text)
    ]
    assert ours


@question("which pages did counter write in the last 1 s?")
def _(asking: Asking) -> None:
    pid, other = asking.pid("counter"), asking.pid("allocator")
    said = re.search(r"0x(\w+)", asking.run("cat /run/counter"))  # where its page lies, by its own pagemap
    assert said is not None
    known = int(said[1], 16) >> 12
    own = asking.mapped(pid)
    assert known in own
    # It rests: whatever else is written, and by whom, is none of its pages.
    asking.run("killall -CONT allocator")
    try:
        assert not asking.answer().matches
        asking.run("killall -CONT counter")
        for _ in range(_TRIES):  # on a busy machine the guest may not have a turn in a second
            result = asking.answer()
            if len(result.pages):
                break
    finally:
        asking.run("killall -STOP counter allocator")
    assert {match.pid for match in result.matches} == {pid}
    assert known in frames(result)
    assert frames(result) <= own - asking.mapped(other)


@question("every module")
def _(asking: Asking) -> None:
    result = asking.answer()
    theirs = {line.split()[0]: int(line.split()[1]) // 4096 for line in asking.lines("/proc/modules")}
    assert {match.label.removeprefix("module "): len(match.pages) for match in result.matches} == theirs
    assert len(theirs) >= 3
