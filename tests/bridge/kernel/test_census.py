"""A census says what the kernel's own lists say, and what changed between two of them leads from one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bridge.kernel.census import taker as taking
from bridge.kernel.census.records import FORMS, Cell, Census, Row
from bridge.kernel.census.remembered import Budget, Remembered
from bridge.kernel.census.taker import CensusTaker
from bridge.kernel.census.task_rows import thread_rows
from bridge.kernel.desk import Desk, Question, answer
from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import find_kernel
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.snapshot import Introspector, find_vmas
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, LiveGuest

State = dict[str, dict[Row, Row]]


@pytest.fixture(scope="module")
def desk(dump: np.ndarray) -> Desk:
    return Desk(Introspector(find_kernel(PhysicalReader(HeldRam(dump)))))


@pytest.fixture(scope="module")
def told(desk: Desk) -> Census:
    census = desk.census(0, whole=True)
    assert census is not None
    assert census.since == 0
    assert census.problems == ()
    assert census.n_pending == 0
    return census


def columns(census: Census, table: str, *names: str) -> list[tuple[Any, ...]]:
    at = [FORMS[table].columns.index(name) for name in names]
    return [tuple(row[index] for index in at) for row in census.tables[table].rows]


def applied(state: State, census: Census) -> State:
    """What is so after a census, by what was so before it."""
    now: State = {}
    for name, change in census.tables.items():
        n_key = FORMS[name].n_key
        rows = {} if not census.since else dict(state.get(name, {}))
        for key in change.gone:
            del rows[key]
        rows |= {row[:n_key]: row for row in change.rows}
        now[name] = rows
    return now


def unsigned(value: int) -> int:
    return value % (1 << 64)


def test_rows_have_a_cell_a_column_and_keys_tell_them_apart(told: Census) -> None:
    assert set(told.tables) == set(FORMS)
    for name, form in FORMS.items():
        rows = told.tables[name].rows
        assert all(len(row) == len(form.columns) for row in rows), name
        assert len({row[: form.n_key] for row in rows}) == len(rows), name
        for row in rows:
            assert all(not isinstance(cell, int) or -(1 << 63) <= cell < 1 << 63 for cell in row), (name, row)


def test_processes_and_threads_are_those_of_the_look(told: Census, desk: Desk) -> None:
    seen, tasks = desk.snapshot, desk.snapshot.processes
    lines = desk.command_lines(tuple(tasks.pids.tolist()))
    wanted = [
        (pid, ppid, uid, name, lines[pid], state, rss)
        for pid, ppid, uid, name, state, rss in zip(
            tasks.pids.tolist(), tasks.ppids.tolist(), tasks.uids.tolist(), tasks.names, tasks.states,
            tasks.rss_bytes.tolist(), strict=True,
        )
    ]  # fmt: skip
    names = ("pid", "parent_pid", "uid", "name", "command_line", "state", "resident_bytes")
    assert columns(told, "processes", *names) == wanted
    counts = dict(columns(told, "processes", "pid", "n_threads"))
    assert sum(counts.values()) == len(seen.threads)
    assert [tid for (tid,) in columns(told, "threads", "tid")] == seen.threads.pids.tolist()


def test_addresses_are_those_of_the_look_and_lie_where_the_tables_say(told: Census, desk: Desk) -> None:
    tasks, space = desk.snapshot.processes, desk.introspector.kernel.space
    for name, wanted in (("task", tasks.addresses), ("mm", tasks.mms), ("stack", tasks.stacks)):
        found = columns(told, "processes", f"{name}_vaddr", f"{name}_paddr")
        assert [unsigned(vaddr or 0) for vaddr, _ in found] == wanted.tolist()
        paddrs, mapped = space.translate(wanted)
        for (vaddr, paddr), there, right in zip(found, mapped.tolist(), paddrs.tolist(), strict=True):
            assert paddr == (right if there and vaddr is not None else None)
        assert any(paddr is not None for _, paddr in found)
    for vaddr, paddr, root in zip(
        *zip(*columns(told, "processes", "page_table_vaddr", "page_table_paddr"), strict=True),
        tasks.roots.tolist(),
        strict=True,
    ):
        assert (paddr or 0) == root
        assert (vaddr is None) == (root == 0)
        if vaddr is not None:
            assert space.translate(np.array([unsigned(vaddr)], np.uint64))[0][0] == root


def test_regions_are_those_of_proc_maps(told: Census, desk: Desk) -> None:
    ours: dict[int, list[tuple[Any, ...]]] = {}
    names = ("pid", "start_uaddr", "end_uaddr", "permissions", "file_offset", "path", "resident_bytes", "size_bytes")
    for pid, *rest in columns(told, "regions", *names):
        ours.setdefault(pid, []).append(tuple(rest))
    assert len(ours) > 4
    kinds = {kind for (kind,) in columns(told, "regions", "kind")}
    assert kinds == {"code", "data", "heap", "stack", "other"}
    for pid, regions in ours.items():
        theirs = [
            (one.start, one.end, one.permissions, one.file_offset, one.path, one.resident_bytes, one.end - one.start)
            for one in desk.maps(pid)
        ]
        assert regions == theirs


def test_files_and_sockets_are_those_of_the_lists(told: Census, desk: Desk) -> None:
    names = ("descriptor", "path", "kind", "mode", "position", "inode", "size_bytes")
    files: dict[int, list[tuple[Any, ...]]] = {}
    for pid, vaddr, *rest in columns(told, "files", "pid", "file_vaddr", *names):
        files.setdefault(pid, []).append((unsigned(vaddr), *rest))
    own = desk.snapshot.processes
    for pid in own.pids[own.mms != 0].tolist():
        theirs = [(one.address, *(getattr(one, name) for name in names)) for one in desk.files(pid)]
        assert files.get(pid, []) == theirs
    members = ("pid", "descriptor", "family", "kind", "protocol", "state", "local", "remote", "inode")
    sockets = [tuple(getattr(one, name) for name in members) for one in desk.sockets()]
    assert columns(told, "sockets", *members) == sockets
    assert sockets
    assert [unsigned(vaddr) for (vaddr,) in columns(told, "sockets", "sock_vaddr")] == [
        one.address for one in desk.sockets()
    ]


def test_modules_are_those_of_the_list(told: Census, desk: Desk) -> None:
    wanted = [(m.name, m.state, m.references, ",".join(m.used_by), m.size_bytes, m.base) for m in desk.modules()]
    found = columns(told, "modules", "name", "state", "n_uses", "used_by", "size_bytes", "base_vaddr")
    assert [(*rest, unsigned(base)) for *rest, base in found] == wanted


def test_every_page_is_in_one_run_that_says_what_it_is(told: Census, desk: Desk) -> None:
    seen = desk.snapshot
    subjects = {number: (kind, name) for number, kind, name in told.subjects}
    details, owners = seen.details, seen.owners
    covered = np.zeros(len(seen.page_map.classes), np.int64)
    names = FORMS["page_runs"].columns
    direct_map = desk.introspector.kernel.space.direct_map
    assert direct_map is not None
    kinds = set()
    for cells in told.tables["page_runs"].rows:
        run: dict[str, Any] = dict(zip(names, cells, strict=True))
        first, last = run["first_paddr"] >> 12, (run["end_paddr"] >> 12) - 1
        assert run["n_pages"] == last - first + 1
        assert unsigned(run["first_vaddr"]) == direct_map + run["first_paddr"]
        for at, page in enumerate(range(first, last + 1)):
            covered[page] += 1
            page_class = PageClass(int(seen.page_map.classes[page]))
            assert run["class"] == CLASS_TITLES[page_class]
            mapped = owners.of_page(page)
            assert run["n_mappings"] == len(mapped)
            if mapped:
                assert run["pid"] == seen.processes.pids[mapped[0][0]]
                assert run["first_uaddr"] + 4096 * at == mapped[0][1]
            else:
                assert run["pid"] is run["first_uaddr"] is None
            subject = int(details.subjects[page])
            kind, name = subjects.get(run["subject_id"], ("", ""))
            kinds.add(kind)
            if page_class in (PageClass.FILE, PageClass.SHARED_MEMORY) and subject >= 0:
                assert (kind, name) == ("file", details.files[subject].path)
                assert run["place"] + at == details.places[page]
            elif page_class == PageClass.SLAB and subject >= 0:
                assert (kind, name) == ("slab cache", details.caches[subject])
            elif page_class == PageClass.KERNEL_STACK and subject >= 0:
                assert (kind, name) == ("stack", str(details.stacks[subject].tid))
            elif page_class == PageClass.PAGE_TABLE and subject >= 0:
                assert (kind, name) == ("page table", str(details.tables[subject] or "kernel"))
                assert run["place"] == details.places[page]
            elif page_class == PageClass.FREE:
                assert run["place"] == details.places[page]
            elif page_class != PageClass.MODULE:
                assert run["subject_id"] is None
    assert (covered == 1).all()
    assert {"file", "slab cache", "stack", "page table"} <= kinds
    assert len(told.tables["page_runs"].rows) < len(covered) / 4
    counts = {CLASS_TITLES[kind]: int((seen.page_map.classes == kind).sum()) for kind in PageClass}
    told_counts = columns(told, "page_classes", "class", "n_pages", "size_bytes")
    assert told_counts == [(title, n, 4096 * n) for title, n in counts.items() if n]


def test_what_did_not_change_is_not_told_again(desk: Desk) -> None:
    taker = CensusTaker(desk.introspector)
    seen = desk.introspector.look(frozen=True)
    first = taker.take(seen, 0, whole=True)
    assert first is not None
    assert taker.take(seen, first.number) is None  # the same look
    again = taker.take(desk.introspector.look(frozen=True), first.number)
    assert again is not None
    assert again.since == first.number
    assert all(change.rows == change.gone == () for change in again.tables.values())
    assert again.subjects == ()
    lost = taker.take(seen, first.number)  # `again` never arrived
    assert lost is not None
    assert lost.since == 0
    assert applied({}, lost) == applied({}, first)


def test_what_there_was_no_time_for_comes_later(desk: Desk, told: Census, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "Budget", lambda: Budget(new_s=0.0, again_s=0.0))
    taker, seen = CensusTaker(desk.introspector), desk.snapshot
    census = taker.take(seen, 0)
    assert census is not None
    assert census.n_pending > 0
    state, rounds = applied({}, census), 0
    while census.n_pending:
        before = census.n_pending
        census = taker.take(seen, census.number)
        assert census is not None
        assert census.n_pending < before  # at least one of each kind at each time
        state, rounds = applied(state, census), rounds + 1
    assert rounds > 3
    assert {name: rows for name, rows in state.items() if name != "page_runs"} == {
        name: rows for name, rows in applied({}, told).items() if name != "page_runs"
    }


def test_a_census_that_broke_off_is_followed_by_a_whole_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    taker, seen = CensusTaker(desk.introspector), desk.snapshot
    first = taker.take(seen, 0, whole=True)
    assert first is not None
    with monkeypatch.context() as patch:
        patch.setattr(taking, "thread_rows", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            taker.take(desk.introspector.look(frozen=True), first.number)
    second = taker.take(desk.introspector.look(frozen=True), first.number, whole=True)
    assert second is not None
    assert second.since == 0
    assert applied({}, second) == applied({}, first)


def test_a_table_that_cannot_be_read_is_left_out_and_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    taker = CensusTaker(desk.introspector)

    def torn() -> Any:
        raise KernelError("The list of modules makes no sense.")

    monkeypatch.setattr(taker._modules, "all", torn)
    census = taker.take(desk.snapshot, 0, whole=True)
    assert census is not None
    assert census.problems == ("The list of modules makes no sense.",)
    assert "modules" not in census.tables
    assert census.tables["processes"].rows


def test_what_a_damaged_list_names_twice_is_told_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    taker, once = CensusTaker(desk.introspector), thread_rows
    monkeypatch.setattr(taking, "thread_rows", lambda *arguments: once(*arguments) * 2)
    census = taker.take(desk.snapshot, 0, whole=True)
    assert census is not None
    tids = [tid for (tid,) in columns(census, "threads", "tid")]
    assert tids == desk.snapshot.threads.pids.tolist()


def test_the_desk_answers_with_censuses(desk: Desk) -> None:
    reply = answer(desk, Question(1, "census", (0,)), "")
    assert reply.problem == ""
    assert isinstance(reply.value, Census)
    assert answer(desk, Question(2, "census", (reply.value.number,)), "").value is None or reply.value.n_pending


@pytest.fixture(scope="module")
def worker(live: LiveGuest) -> Iterator[int]:
    """A process that comes between two censuses, and goes again."""
    pid = live.shell.start("(exec 7</etc/passwd; exec sleep 4321)")
    yield pid
    live.shell.run(f"kill {pid}; wait {pid}; true")


def test_changes_of_a_live_guest_lead_to_what_is_so_now(live: LiveGuest, request: pytest.FixtureRequest) -> None:
    introspector = Introspector(live.kernel)
    taker = CensusTaker(introspector)

    with live.shell.held():
        first = taker.take(introspector.look(frozen=True), 0, whole=True)
    assert first is not None
    state = applied({}, first)
    subjects: dict[Cell, str] = {number: name for number, _, name in first.subjects}
    pid = request.getfixturevalue("worker")
    with live.shell.held():  # for both: a census reads open files and names when it is taken
        seen = introspector.look(frozen=True)
        second = taker.take(seen, first.number, whole=True)
        fresh = CensusTaker(introspector).take(seen, 0, whole=True)
    assert second is not None
    assert fresh is not None
    assert second.since == first.number
    state = applied(state, second)
    whole = applied({}, fresh)
    for name in FORMS.keys() - {"page_runs"}:
        assert state[name] == whole[name], name
    assert (pid,) in state["processes"]
    assert (pid,) not in {row[:1] for row in first.tables["processes"].rows}
    assert (pid, 7) in state["files"]
    # Runs have numbers of their own for the same subjects.
    subjects |= {number: name for number, _, name in second.subjects}
    theirs: dict[Cell, str] = {number: name for number, _, name in fresh.subjects}
    at = FORMS["page_runs"].columns.index("subject_id")
    named = {key: (*row[:at], subjects.get(row[at]), *row[at + 1 :]) for key, row in state["page_runs"].items()}
    wanted = {key: (*row[:at], theirs.get(row[at]), *row[at + 1 :]) for key, row in whole["page_runs"].items()}
    assert named == wanted
    assert len(second.tables["page_runs"].rows) < len(whole["page_runs"]) / 2


def test_find_vmas_is_what_resident_bytes_are_counted_by(told: Census, desk: Desk) -> None:
    seen = desk.snapshot
    index = find_vmas(seen.vmas, seen.owners.processes, seen.owners.vaddrs)
    total = sum(resident for (resident,) in columns(told, "regions", "resident_bytes"))
    assert total == 4096 * int((index >= 0).sum())


def test_remembered_things_are_read_once_and_then_again_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    clock = [100.0]
    monkeypatch.setattr("bridge.kernel.census.remembered.time.monotonic", lambda: clock[0])

    def value_of(key: str) -> str:
        read.append(key)
        clock[0] += 0.01
        return f"{key} at {len(read)}"

    kept = Remembered(value_of)
    budget = Budget(new_s=0.025, again_s=0.0)
    assert set(kept.of("abcde", budget)) == {"a", "b", "c"}
    assert kept.n_pending == 2
    assert set(kept.of("abcde", budget)) == set("abcde")
    assert kept.n_pending == 0
    assert read == list("abcde")
    assert kept.of("ab", budget) == {"a": "a at 1", "b": "b at 2"}  # the others are forgotten
    clock[0] += 6
    assert kept.of("ab", budget) == {"a": "a at 6", "b": "b at 2"}  # the oldest is read again
    assert kept.of("ab", budget) == {"a": "a at 6", "b": "b at 7"}
    assert kept.of("ab", budget) == {"a": "a at 6", "b": "b at 7"}
