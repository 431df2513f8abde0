"""Every question of docs/cookbook.md, asked of the live demo guest and held against the guest's own /proc."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

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

COOKBOOK = Path(__file__).parents[3] / "docs" / "cookbook.md"
QUESTIONS = dict(re.findall(r"^\| (\d+) \| `([^`]+)` \|", COOKBOOK.read_text(), re.MULTILINE))
KPF_LRU, KPF_BUDDY, KPF_ANON, KPF_PGTABLE, KPF_SLAB = 5, 10, 12, 26, 7
_PRESENT = np.uint64(1 << 63)
_PFN = np.uint64((1 << 55) - 1)

U64 = npt.NDArray[np.uint64]
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
        """What the question of this test finds."""
        self.desk.snapshot = self.desk.introspector.look()
        understood = understand(self.text, names_of(self.desk))
        assert isinstance(understood, Understood), understood
        world = DeskWorld(self.desk, self.live.ram, still=False)
        return answer_query(understood.query, world)

    def run(self, command: str) -> str:
        """What a command prints in the guest."""
        return self.shell.run(command)

    def pid(self, name: str) -> int:
        """The number of the one process of a name."""
        return int(self.run(f"pidof {name}").split()[0])

    def meminfo(self, *fields: str) -> list[int]:
        """Fields of /proc/meminfo, in pages."""
        text = self.run("cat /proc/meminfo")
        return [int(re.search(rf"^{field}:\s*(\d+) kB", text, re.MULTILINE)[1]) // 4 for field in fields]  # type: ignore[index]

    def flagged(self, bit: int) -> set[int]:
        """The pages that have a flag in /proc/kpageflags."""
        words = self.live.words("/proc/kpageflags")
        return set(np.flatnonzero((words >> np.uint64(bit)) & np.uint64(1)).tolist())

    def maps(self, pid: int) -> list[tuple[int, int, str, str]]:
        """(start, end, permissions, name) of a process's map, without the page that is the kernel's."""
        text = self.run(f"cat /proc/{pid}/maps")
        return [
            (int(m[1], 16), int(m[2], 16), m[3], m[4].strip())
            for m in re.finditer(r"^(\w+)-(\w+) (\S{4}) \S+ \S+ \S+(.*)$", text, re.MULTILINE)
            if int(m[1], 16) < 1 << 63
        ]

    def mapped(self, pid: int, wanted: Callable[[str, str], bool] = lambda _permissions, _name: True) -> set[int]:
        """The pages that are mapped, by /proc/PID/pagemap, in those regions."""
        spans: list[list[int]] = []
        for start, end, flags, name in self.maps(pid):
            if wanted(flags, name):
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
        return set((entries[entries & _PRESENT != 0] & _PFN).tolist())

    @cached_property
    def kallsyms(self) -> list[tuple[int, str]]:
        """(address, name) of what the questions speak of in /proc/kallsyms, which takes the guest seconds to print."""
        wanted = "^ffffffff81000000| (kthreadd|jiffies|_text|_stext|_etext)$"
        lines = self.run(f"grep -E '{wanted}' /proc/kallsyms").splitlines()
        return [(int(line.split()[0], 16), line.split()[2]) for line in lines]

    def symbol(self, name: str) -> int:
        """An address by /proc/kallsyms."""
        return next(address for address, known in self.kallsyms if known == name)

    def read(self, ranges: npt.NDArray[np.int64]) -> bytes:
        """Bytes of RAM; below the PCI hole the offset is the physical address."""
        return b"".join(self.shell.read_ram(start, length) for start, length in ranges.tolist())


@pytest.fixture(scope="module")
def asking(live: LiveGuest) -> Asking:
    return Asking(live)


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


def agree(ours: set[int], theirs: set[int], share: float = 0.99) -> None:
    """Nearly all of each is in the other: the guest works on while it is asked."""
    assert theirs
    assert len(ours & theirs) >= share * len(theirs), (len(ours), len(theirs), len(ours & theirs))
    assert len(ours & theirs) >= share * len(ours), (len(ours), len(theirs), len(ours & theirs))


@question("how much memory is free?")
def _(asking: Asking) -> None:
    result = asking.answer()
    [free] = asking.meminfo("MemFree")
    assert result.query.verb == "count"
    assert abs(len(result.pages) - free) < 512


@question("free memory")
def _(asking: Asking) -> None:
    agree(frames(asking.answer()), asking.flagged(KPF_BUDDY), 0.95)


@question("anonymous memory")
def _(asking: Asking) -> None:
    # In a slab's record, what is the mapping in others is a list: some kernels say of slabs that they are anonymous.
    ours, theirs = frames(asking.answer()), asking.flagged(KPF_ANON) - asking.flagged(KPF_SLAB)
    assert len(ours & theirs) >= 0.97 * len(ours)
    assert len(ours & theirs) >= 0.75 * len(theirs)  # who tells of them, and packs that, has some, too


@question("shared memory")
def _(asking: Asking) -> None:
    result = asking.answer()
    [shared] = asking.meminfo("Shmem")
    assert abs(len(result.pages) - shared) <= 0.02 * shared


@question("page cache")
def _(asking: Asking) -> None:
    result = asking.answer()
    cached, buffers, shared = asking.meminfo("Cached", "Buffers", "Shmem")
    assert abs(len(result.pages) - (cached + buffers - shared)) <= 16


@question("how many processes are there?")
def _(asking: Asking) -> None:
    result = asking.answer()
    theirs = int(asking.run("ls -d /proc/[0-9]* | wc -l"))
    assert abs(result.count - theirs) <= 4  # ls, wc and their shell come and go
    assert {match.kind for match in result.matches} == {"process"}


@question("children of init")
def _(asking: Asking) -> None:
    result = asking.answer()
    text = asking.run("for p in /proc/[0-9]*; do cat $p/stat; done 2>/dev/null; true")
    theirs = {int(m[1]) for m in re.finditer(r"^(\d+) \(.*\) \S 1 ", text, re.MULTILINE)}
    assert {match.pid for match in result.matches} == theirs
    assert len(theirs) >= 4


@question("threads")
def _(asking: Asking) -> None:
    result = asking.answer()
    theirs = int(asking.run("ls -d /proc/[0-9]*/task/[0-9]* | wc -l"))
    assert abs(result.count - theirs) <= 4
    assert all(len(match.pages) == 4 for match in result.matches)


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
    labels = [match.label for match in asking.answer().matches]
    theirs = asking.maps(asking.pid("dropbear"))
    assert [re.search(r"0x\w+-0x\w+", label)[0] for label in labels] == [  # type: ignore[index]
        f"{start:#x}-{end:#x}" for start, end, _, _ in theirs
    ]
    for label, (_, _, _, name) in zip(labels, theirs, strict=True):
        assert label.endswith(name)


@question("heap")
def _(asking: Asking) -> None:
    result = asking.answer()
    text = asking.run("grep -l heap /proc/[0-9]*/maps 2>/dev/null; true")
    theirs = {int(pid) for pid in re.findall(r"/proc/(\d+)/maps", text)}
    ours = {match.pid for match in result.matches if match.pid is not None}
    assert ours <= theirs
    for pid in theirs - ours:
        assert not asking.run(f"[ -e /proc/{pid}/maps ] && echo 1; true").strip() or not asking.mapped(
            pid, lambda _flags, name: name == "[heap]"
        )
    assert len(ours) >= 3


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
    ours = {
        int(m[1])
        for match in result.matches
        if (m := re.search(r"inet stream LISTEN \S*:(\d+)", match.label)) is not None
    }
    assert ours == ports == {22}
    assert {match.pid for match in result.matches if "LISTEN" in match.label} == {asking.pid("dropbear")}


@question("which processes map /bin/busybox")
def _(asking: Asking) -> None:
    result = asking.answer()
    theirs = {
        int(pid) for pid in re.findall(r"/proc/(\d+)/", asking.run("grep -l /bin/busybox /proc/[0-9]*/maps; true"))
    }
    ours = {match.pid for match in result.matches}
    assert ours <= theirs  # grep itself is one of theirs
    assert len(theirs - ours) <= 2
    assert 1 in ours


@question("file /bin/busybox")
def _(asking: Asking) -> None:
    size = int(asking.run("wc -c < /bin/busybox"))
    assert len(asking.answer().pages) == -(-size // 4096)


@question("0x400000 in init")
def _(asking: Asking) -> None:
    [match] = asking.answer().matches
    entry = asking.run("dd if=/proc/1/pagemap bs=8 skip=1024 count=1 2>/dev/null | base64")
    [word] = np.frombuffer(base64.b64decode(entry), "<u8")
    assert match.ranges.tolist() == [[int(word & _PFN) << 12, 1]]
    assert asking.read(match.ranges) == b"\x7f"


@question("page tables of dropbear")
def _(asking: Asking) -> None:
    result = asking.answer()
    kib = int(asking.run(f"grep VmPTE /proc/{asking.pid('dropbear')}/status").split()[1])
    assert len(result.pages) == kib // 4 + 1  # the topmost is not counted there


@question("page tables")
def _(asking: Asking) -> None:
    result = asking.answer()
    theirs = asking.flagged(KPF_PGTABLE)
    # The guest marks only what it took for tables at run time; ours are also those that it booted with. Who tells of
    # them, and packs that, has some, too.
    assert len(theirs & frames(result)) >= 0.6 * len(theirs)
    [counted] = asking.meminfo("PageTables")
    assert len(result.pages) >= counted > 50


@question("kernel stacks")
def _(asking: Asking) -> None:
    result = asking.answer()
    [theirs] = asking.meminfo("KernelStack")
    assert abs(len(result.pages) - theirs) <= 32


@question("kernel stack of kthreadd")
def _(asking: Asking) -> None:
    [match] = asking.answer().matches
    assert match.pid == 2
    kthreadd = asking.symbol("kthreadd")
    words = np.frombuffer(asking.read(match.ranges), "<u8")
    assert ((words > kthreadd) & (words < kthreadd + 0x400)).any()


@question("slab dentry")
def _(asking: Asking) -> None:
    result = asking.answer()
    line = next(line for line in asking.run("cat /proc/slabinfo").splitlines() if line.startswith("dentry "))
    pages_a_slab, slabs = int(line.split()[5]), int(line.split()[14])
    assert abs(len(result.pages) - pages_a_slab * slabs) <= 4 * pages_a_slab
    assert slabs > 10


@question("every slab cache")
def _(asking: Asking) -> None:
    result = asking.answer()
    rows = [line.split() for line in asking.run("cat /proc/slabinfo").splitlines()[2:]]
    theirs = sum(int(row[5]) * int(row[14]) for row in rows)
    assert abs(len(result.pages) - theirs) <= 0.02 * theirs
    assert {match.label.removeprefix("slab ") for match in result.matches} <= {row[0] for row in rows}


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
    assert len(asking.answer().pages) == -(-size // 4096)


@question('text "root:" in file /etc/passwd')
def _(asking: Asking) -> None:
    text = asking.run("cat /etc/passwd")
    ours = [match.ranges[0, 0] % 4096 for match in asking.answer().matches]
    assert ours == [m.start() for m in re.finditer("root:", text)]
    assert ours


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
    pid = asking.pid("counter")
    asking.run("killall -CONT counter")
    result = asking.answer()
    asking.run("killall -STOP counter")
    assert {match.pid for match in result.matches} == {pid}
    assert frames(result)
    assert frames(result) <= asking.mapped(pid)


@question("every module")
def _(asking: Asking) -> None:
    result = asking.answer()
    theirs = {line.split()[0] for line in asking.run("cat /proc/modules").splitlines()}
    assert {match.label.removeprefix("module ") for match in result.matches} == theirs
