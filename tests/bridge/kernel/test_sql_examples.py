"""The example queries, on one look at a live guest, give what the guest's own /proc says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.kernel.desk import Desk
from bridge.kernel.snapshot import Introspector
from bridge.semantic.store.examples import EXAMPLES
from bridge.semantic.store.one_look import write_one_look
from bridge.semantic.store.reader import ReadOnly, Table
from tests.bridge.kernel.conftest import LiveGuest

_SLAB, _BUDDY = np.uint64(1 << 7), np.uint64(1 << 10)
"""KPF_SLAB and KPF_BUDDY (include/uapi/linux/kernel-page-flags.h)."""


@pytest.fixture(scope="module")
def asked(live: LiveGuest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    """The answer to each example, of one look at the guest at rest."""
    path = tmp_path_factory.mktemp("store") / "look.db"
    desk = Desk(Introspector(live.kernel))
    with live.shell.held():
        desk.snapshot = desk.introspector.look(frozen=True)
        write_one_look(path, "demo", desk, is_dump=False)
    with ReadOnly(path) as store:
        return {example.title: store.query(example.sql) for example in EXAMPLES}


@pytest.fixture(scope="module")
def proc(live: LiveGuest, asked: dict[str, Table]) -> dict[int, dict[str, str]]:
    """What /proc/PID/status says of every process, by number."""
    text = live.shell.run("for p in /proc/[0-9]*/status; do cat $p; echo END; done 2>/dev/null")
    found = {}
    for block in text.split("END"):
        status = dict(line.split(":\t", 1) for line in block.strip().splitlines() if ":\t" in line)
        if "Pid" in status:
            found[int(status["Pid"])] = {name: value.strip() for name, value in status.items()}
    return found


def rows(table: Table) -> list[dict[str, Any]]:
    assert not table.truncated
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def maps_of(live: LiveGuest, pid: int) -> list[tuple[int, int, str]]:
    lines = live.shell.run(f"cat /proc/{pid}/maps").splitlines()
    found = [re.match(r"(\w+)-(\w+) \S+ \w+ \S+ \d+ *(.*)", line) for line in lines]
    return [(int(one[1], 16), int(one[2], 16), one[3]) for one in found if one is not None]


def processes(live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    found = {row["pid"]: row for row in rows(table)}
    users = {pid: status for pid, status in proc.items() if "VmRSS" in status}
    steady = found.keys() & users.keys()
    assert len(steady) >= 6
    # The shell that answers has children that come and go.
    assert len(found.keys() ^ users.keys()) <= 2
    for pid in steady:
        status, row = users[pid], found[pid]
        assert row["name"] == status["Name"]
        assert row["n_threads"] == int(status["Threads"])
        # What status says leaves out what threads of 6.1 keep to themselves; this counts the pages.
        rollup = live.shell.run(f"grep Rss: /proc/{pid}/smaps_rollup").split()
        assert abs(row["resident_bytes"] - int(rollup[1]) * 1024) <= 64 * 4096
        line = live.shell.run(f"tr '\\0' ' ' </proc/{pid}/cmdline").strip()
        assert row["command_line"].strip() == line
    sizes = [row["resident_bytes"] for row in rows(table)]
    assert sizes == sorted(sizes, reverse=True)


def heaps(live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    found = {(row["pid"], row["path"]): (row["start_uaddr"], row["end_uaddr"], row["name"]) for row in rows(table)}
    pids = {pid for pid, _ in found}
    assert len(pids) >= 6
    shell = int(live.shell.run("echo $$"))  # its heap grows with what it is asked, and its stack
    for pid in pids & proc.keys():
        theirs = {path: (start, end) for start, end, path in maps_of(live, pid) if path in ("[heap]", "[stack]")}
        ours = {path: place[:2] for (whose, path), place in found.items() if whose == pid}
        if pid == shell:
            assert ours.keys() == theirs.keys()
            assert ours["[stack]"][1] == theirs["[stack]"][1]
        else:
            assert ours == theirs, pid
        assert all(place[2] == proc[pid]["Name"] for (whose, _), place in found.items() if whose == pid)


def mapped_files(live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    theirs: Counter[str] = Counter()
    for pid, status in proc.items():
        if "VmRSS" in status:
            theirs.update({path for _, _, path in maps_of(live, pid) if path.startswith("/")})
    ours = {row["path"]: row["n_processes"] for row in rows(table)}
    assert set(ours) == set(theirs)
    assert len(ours) > 5
    for path, count in ours.items():
        assert abs(count - theirs[path]) <= 1, path  # the shell's own child


def listeners(live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    lines = live.shell.run("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null").splitlines()
    listening = {}
    for fields in (line.split() for line in lines):
        if len(fields) > 9 and fields[3] == "0A":
            listening[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    found = rows(table)
    assert found
    for row in found:
        link = live.shell.run(f"readlink /proc/{row['pid']}/fd/{row['descriptor']}").strip()
        inode = link.removeprefix("socket:[").removesuffix("]")
        assert listening.pop(inode) == int(row["local"].rpartition(":")[2])
        assert (row["protocol"], row["name"]) == ("tcp", proc[row["pid"]]["Name"])
    assert listening == {}


def open_files(live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    theirs = {}
    for pid, status in proc.items():
        if "VmRSS" in status and pid > 1:
            text = live.shell.run(f"cd /proc/{pid}/fd && for f in *; do echo $f $(readlink $f); done")
            for line in text.splitlines():
                number, _, path = line.partition(" ")
                theirs[pid, int(number)] = path
    ours = {(row["pid"], row["descriptor"]): row["path"] for row in rows(table)}
    steady = {key for key in ours.keys() & theirs.keys() if proc[key[0]]["Name"] not in ("sh", "busybox")}
    assert len(steady) >= 15
    assert {key: ours[key] for key in steady} == {key: theirs[key] for key in steady}
    whole = {pid for pid, status in proc.items() if status["Name"] == "dropbear"}
    assert {key for key in ours if key[0] in whole} == {key for key in theirs if key[0] in whole}


def tree(_live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    found = rows(table)
    depths = {row["pid"]: row["depth"] for row in found}

    def depth(pid: int) -> int:
        parent = int(proc[pid]["PPid"])
        return 0 if not parent else depth(parent) + 1

    steady = depths.keys() & proc.keys()
    assert len(steady) > 40
    assert {pid: depths[pid] for pid in steady} == {pid: depth(pid) for pid in steady}
    assert found[0]["process"] == proc[1]["Name"]
    for row in found:
        assert row["process"].startswith("  " * row["depth"])


def classes(live: LiveGuest, table: Table, _proc: dict[int, dict[str, str]]) -> None:
    found = {row["class"]: row["n_pages"] for row in rows(table)}
    flags = live.words("/proc/kpageflags")
    assert found["Free"] == pytest.approx(int((flags & _BUDDY != 0).sum()), rel=0.05)
    assert found["Slab"] == pytest.approx(int((flags & _SLAB != 0).sum()), rel=0.05)
    assert sum(found.values()) * 4096 == live.ram.size_bytes
    assert all(row["size_bytes"] == 4096 * row["n_pages"] for row in rows(table))


def page_cache(live: LiveGuest, table: Table, _proc: dict[int, dict[str, str]]) -> None:
    found = {row["path"]: row["n_pages"] for row in rows(table)}
    told = dict(line.split(":", 1) for line in live.shell.run("cat /proc/meminfo").splitlines() if ":" in line)
    cached = sum(int(told[name].split()[0]) for name in ("Cached", "Buffers"))
    assert sum(found.values()) * 4 == pytest.approx(cached, rel=0.1)
    size = int(live.shell.run("stat -c %s /bin/busybox"))
    assert 0 < found["/bin/busybox"] <= -(-size // 4096)


def shared(live: LiveGuest, table: Table, _proc: dict[int, dict[str, str]]) -> None:
    counts = live.words("/proc/kpagecount").astype(np.int64)
    found = rows(table)
    assert found
    equal = total = 0
    for row in found:
        if row["class"] in ("Anonymous memory", "File pages", "Shared memory"):
            first = row["first_paddr"] >> 12
            total += row["n_pages"]
            # The shell's children that read this map some of them too.
            more = counts[first : first + row["n_pages"]] - row["n_mappings"]
            equal += int(((more >= 0) & (more <= 4)).sum())
    assert total > 300
    assert equal >= 0.97 * total


def task_structs(live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    flags = live.words("/proc/kpageflags")
    found = rows(table)
    assert len({row["pid"] for row in found} & proc.keys()) > 40
    for row in found:
        assert (row["class"], row["subject"]) == ("Slab", "task_struct")
        if row["pid"] in proc:
            assert flags[row["task_paddr"] >> 12] & _SLAB
            assert row["name"] == proc[row["pid"]]["Name"][:15] or proc[row["pid"]]["Name"].startswith("kworker")


def named_symbols(live: LiveGuest, table: Table, _proc: dict[int, dict[str, str]]) -> None:
    lines = live.shell.run("grep -E ' (linux_banner|init_task|schedule|init_top_pgt)$' /proc/kallsyms").splitlines()
    theirs = {(name, kind, int(address, 16)) for address, kind, name in (line.split() for line in lines)}
    ours = {(row["name"], row["type"], row["vaddr"] % (1 << 64)) for row in rows(table)}
    assert ours <= theirs
    assert {name for name, _, _ in ours} == {"linux_banner", "init_task", "schedule", "init_top_pgt"}
    banner = next(row for row in rows(table) if row["name"] == "linux_banner")
    held = live.ram.bytes[banner["paddr"] : banner["paddr"] + 64].tobytes()  # 128 MiB: no hole below it
    assert held.startswith(b"Linux version " + live.shell.run("uname -r").strip().encode())
    assert banner["class"] == "Kernel constants"


def history(_live: LiveGuest, table: Table, proc: dict[int, dict[str, str]]) -> None:
    found = {row["pid"]: row for row in rows(table)}
    assert len(found.keys() & proc.keys()) > 40
    assert all(row["until"] is None and re.match(r"\d{4}-\d\d-\d\d ", row["since"]) for row in found.values())
    steady = [pid for pid in found.keys() & proc.keys() if proc[pid]["Name"] in ("counter", "allocator", "journal")]
    assert [found[pid]["state"] for pid in steady] == ["T"] * 3  # the fixture stopped them


CHECKS: dict[str, Callable[[LiveGuest, Table, dict[int, dict[str, str]]], None]] = {
    "Processes by memory": processes,
    "Heaps and stacks": heaps,
    "Files that are mapped, and by how many": mapped_files,
    "Who listens": listeners,
    "Open files": open_files,
    "The process tree": tree,
    "What memory is used for": classes,
    "The page cache, file by file": page_cache,
    "Pages that processes share": shared,
    "Where in RAM each process's task_struct lies": task_structs,
    "Symbols, virtual and physical": named_symbols,
    "What processes did in the last minute": history,
}


@pytest.mark.parametrize("title", [example.title for example in EXAMPLES])
def test_an_example_says_what_proc_says(
    live: LiveGuest, asked: dict[str, Table], proc: dict[int, dict[str, str]], title: str
) -> None:
    CHECKS[title](live, asked[title], proc)


def test_the_guide_shows_the_examples_and_the_schema_as_they_are() -> None:
    from bridge.semantic.store.schema import HOW_TO_READ, documentation

    guide = Path("docs/sql.md").read_text()
    shown = re.findall(r"^([^\n]+):\n\n```sql\n(.*?)\n```", guide, re.MULTILINE | re.DOTALL)
    assert shown == [(example.title, example.sql) for example in EXAMPLES]
    assert guide.rstrip().endswith(documentation().rstrip())
    assert HOW_TO_READ in guide
