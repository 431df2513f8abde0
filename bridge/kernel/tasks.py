"""Tasks: processes and threads, from the kernel's own lists, many times a second.

The list of processes is walked node by node, which is the only part that has to be; everything that is said of them is
gathered from all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.errors import MissingType, NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek, Torn, list_nodes, retried
from bridge.kernel.members import Members

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

MAX_TASKS = 1 << 22
"""PID_MAX_LIMIT on 64 bits (include/linux/threads.h)."""
PF_KTHREAD = 0x0020_0000
_MAX_CPUS = 8192
_LEAST_ROOM = 1024

Consistency = Literal["live", "retried", "frozen"]

# Bits of task_struct.__state and .exit_state -> what ps prints (include/linux/sched.h, fs/proc/array.c).
_TASK_IDLE = 0x402
_STATE_LETTERS = ((0x1, "S"), (0x2, "D"), (0x4, "T"), (0x8, "t"), (0x10, "X"), (0x20, "Z"), (0x40, "P"))


@dataclass(frozen=True, slots=True)
class TaskLayout:
    """Where the members of `struct task_struct` and `struct mm_struct` lie in one kernel."""

    tasks: int
    pid: int
    tgid: int
    comm: int
    comm_bytes: int
    flags: int
    state: int
    exit_state: int
    stack: int
    mm: int
    parent: int
    cred: int
    signal: int
    start_time: int
    thread_head: int
    thread_node: int
    uid: int
    pgd: int
    arg_start: int
    rss: int
    rss_step: int
    rss_counters: int | None
    """Where a percpu_counter points to its per-cpu parts (since v6.2)."""
    n_rss: int
    kept_rss: int | None
    """Of `task_struct.rss_stat.count` (before v6.2): pages that a thread has not yet added to its mm's counters."""
    kept_step: int

    @property
    def resident(self) -> tuple[int, ...]:
        """Which of the counters count pages in memory: all but MM_SWAPENTS (include/linux/mm_types_task.h)."""
        return tuple(index for index in range(self.n_rss) if index != 2)

    @classmethod
    def of(cls, types: Btf) -> TaskLayout:
        """Raises MissingType for a kernel that has none of the known forms."""

        def first(struct: str, *paths: str) -> int:
            for path in paths:
                if types.has(struct, path):
                    return types.offset(struct, path)
            raise MissingType(f"member {struct}.{' or '.join(paths)}")

        # Linux commit f1a7941243c1 ("mm: convert mm's rss stats into percpu_counter", in v6.2).
        rss_member = types.member("mm_struct", "rss_stat")
        if types.kind(types.resolve(rss_member.type_id)) == Kind.ARRAY:
            element, n_rss = types.array(rss_member.type_id)
            rss = rss_member.offset + types.offset("percpu_counter", "count")
            step, counters = (
                types.size(element),
                types.offset("percpu_counter", "counters") - types.offset("percpu_counter", "count"),
            )
        else:
            member = types.member("mm_struct", "rss_stat.count")
            element, n_rss = types.array(member.type_id)
            rss, step, counters = member.offset, types.size(element), None
        # SPLIT_RSS_COUNTING (mm/memory.c): up to 64 faults of a thread, of up to 16 pages each.
        kept_rss, kept_step = None, 4
        if types.has("task_struct", "rss_stat.count"):
            kept = types.member("task_struct", "rss_stat.count")
            kept_rss, kept_step = kept.offset, types.size(types.array(kept.type_id)[0])
        comm = types.member("task_struct", "comm")
        return cls(
            tasks=types.offset("task_struct", "tasks"),
            pid=types.offset("task_struct", "pid"),
            tgid=types.offset("task_struct", "tgid"),
            comm=comm.offset,
            comm_bytes=types.size(comm.type_id),
            flags=types.offset("task_struct", "flags"),
            # Linux commit 2f064a59a11f ("sched: Change task_struct::state", in v5.14) renamed it.
            state=first("task_struct", "__state", "state"),
            exit_state=types.offset("task_struct", "exit_state"),
            stack=types.offset("task_struct", "stack"),
            mm=types.offset("task_struct", "mm"),
            parent=types.offset("task_struct", "real_parent"),
            cred=types.offset("task_struct", "cred"),
            signal=types.offset("task_struct", "signal"),
            start_time=first("task_struct", "start_boottime", "real_start_time", "start_time"),
            thread_head=types.offset("signal_struct", "thread_head"),
            thread_node=types.offset("task_struct", "thread_node"),
            uid=types.offset("cred", "uid"),
            pgd=types.offset("mm_struct", "pgd"),
            arg_start=types.offset("mm_struct", "arg_start"),
            rss=rss,
            rss_step=step,
            rss_counters=counters,
            n_rss=min(n_rss, 8),
            kept_rss=kept_rss,
            kept_step=kept_step,
        )


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks at one instant, in the order of the kernel's list. Parallel arrays (n,)."""

    addresses: U64
    pids: I64
    tgids: I64
    ppids: I64
    uids: I64
    names: tuple[str, ...]
    states: tuple[str, ...]
    """As ps prints them: R, S, D, T, t, Z, X, I."""
    flags: I64
    mms: U64
    """`struct mm_struct *`, 0 for a kernel thread."""
    roots: U64
    """Physical address of the topmost page table; 0 for a kernel thread."""
    rss_bytes: I64
    stacks: U64
    """`task_struct.stack`: the lowest address of the kernel stack."""
    start_ns: I64
    consistency: Consistency

    def __len__(self) -> int:
        return len(self.addresses)

    def chosen(self, index: I64) -> Tasks:
        """Only some of them, in that order: `index` (m,)."""
        arrays = ("addresses", "pids", "tgids", "ppids", "uids", "flags", "mms", "roots", "rss_bytes", "stacks")
        taken = {name: getattr(self, name)[index] for name in (*arrays, "start_ns")}
        names, states = (tuple(column[i] for i in index.tolist()) for column in (self.names, self.states))
        return replace(self, **taken, names=names, states=states)

    def without_memory(self, roots: U64) -> Tasks:
        """The same, where what has one of these page tables (k,) has no memory any more."""
        gone = np.isin(self.roots, roots)
        zero = np.uint64(0)
        return replace(
            self,
            mms=np.where(gone, zero, self.mms),
            roots=np.where(gone, zero, self.roots),
            rss_bytes=np.where(gone, 0, self.rss_bytes),
        )

    def is_kernel_thread(self) -> npt.NDArray[np.bool_]:
        """(n,) whether a task belongs to the kernel itself."""
        kernel: npt.NDArray[np.bool_] = self.flags & PF_KTHREAD != 0
        return kernel


class TaskReader:
    """Reads the tasks of one kernel. Raises MissingType when it is made, if the kernel has no known form of them."""

    def __init__(self, kernel: Kernel) -> None:
        if kernel.types is None:
            raise MissingType(f"type information: {kernel.types_problem}")
        self.kernel = kernel
        self.layout = TaskLayout.of(kernel.types)
        self._peek = Peek(kernel.space)
        self._init = kernel.symbols.address("init_task")
        self._cpu_offsets = self._per_cpu_offsets()
        layout = self.layout
        self._members = Members(
            {
                **{name: (getattr(layout, name), 4) for name in ("pid", "tgid", "flags", "state", "exit_state")},
                **{name: (getattr(layout, name), 8) for name in ("stack", "mm", "parent", "cred", "start_time")},
                "comm": (layout.comm, layout.comm_bytes),
                **{name: (at, layout.kept_step) for name, at in self._kept().items()},
            }
        )
        self._behind = {"parent": Members({"tgid": (layout.tgid, 4)}), "cred": Members({"uid": (layout.uid, 4)})}
        counts = {f"rss{index}": (layout.rss + index * layout.rss_step, 8) for index in layout.resident}
        if layout.rss_counters is not None:
            counts |= {f"cpus{index}": (counts[f"rss{index}"][0] + layout.rss_counters, 8) for index in layout.resident}
        self._identity = Members({"pid": (layout.pid, 4), "mm": (layout.mm, 8)})
        self._pgd = Members({"pgd": (layout.pgd, 8)})
        self._mm_members = Members({"pgd": (layout.pgd, 8), **counts})
        self._loops: ModuleType | None = None
        self._leader_room: I64 = np.zeros(_LEAST_ROOM, np.int64)
        self._found_room: U64 = np.zeros(_LEAST_ROOM, np.uint64)
        self._texts: dict[str, tuple[list[npt.NDArray[Any]], tuple[str, ...]]] = {}
        self._told: dict[str, Tasks] = {}

    def remember(self) -> None:
        """Be ready to be asked again and again, by compiled code: what is the same as before is the same object."""
        from bridge.kernel import list_loops  # not above: it loads a compiler

        self.kernel.space.remember()
        self._loops = list_loops if self.kernel.space.remembers else None

    def processes(self) -> Tasks:
        """All processes: the leaders of their thread groups. Raises Torn, NotMapped where retries did not help."""
        tasks, attempts = retried(self._processes)
        return self._said(np.array(tasks, np.uint64), attempts)

    def threads(self) -> Tasks:
        """All tasks, every thread of every process."""
        return self.both()[1]

    def both(self) -> tuple[Tasks, Tasks]:
        """All processes, and all tasks, from one walk: every process is among the tasks."""
        (leaders, found), attempts = retried(self._threads)
        threads = self._as_before("threads", self._said(found, attempts))
        return self._as_before("processes", threads.chosen(leaders)), threads

    def unchanged(self, tasks: Tasks) -> npt.NDArray[np.bool_]:
        """(n,) whether each task is still the one that it was, with the memory that it had."""
        told = self._identity.read(self.kernel.space, tasks.addresses)
        mms, place = np.unique(tasks.mms, return_inverse=True)
        pgds, _ = self.kernel.space.translate(self._pgd.read(self.kernel.space, mms).u64("pgd"))
        same: npt.NDArray[np.bool_] = told.ok & (told.i64("pid") == tasks.pids) & (told.u64("mm") == tasks.mms)
        same &= (tasks.mms == 0) | (pgds[place] == tasks.roots)
        return same

    def command_line(self, tasks: Tasks, index: int) -> str:
        """The arguments of a process as it was started, or as it rewrote them; empty if they cannot be read."""
        mm, root = int(tasks.mms[index]), int(tasks.roots[index])
        if not mm or not root:
            return ""
        start, end = (self._peek(mm + self.layout.arg_start + 8 * i) for i in range(2))
        if not 0 < end - start <= 1 << 21:
            return ""
        space = self.kernel.root_space(root)
        pieces = bytearray()
        at, end = start, min(end, start + 4096)
        try:
            while at < end:
                n = min(end - at, 4096 - (at & 4095))
                pieces += space.read(at, n)
                at += n
        except NotMapped:
            pass  # swapped out, or not there any more: what could be read is said
        return bytes(pieces).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "backslashreplace")

    # ----- inside

    def _processes(self, peek: Callable[[int], int] | None = None) -> list[int]:
        layout = self.layout
        nodes = list_nodes(peek or self._peek, self._init + layout.tasks, MAX_TASKS)
        return [node - layout.tasks for node in nodes]

    def _threads(self) -> tuple[I64, U64]:
        """Places of the leaders among all tasks, and all tasks with the leaders among them."""
        if self._loops is not None and (walked := self._followed()) is not None:
            return walked
        leaders, found = self._walk(self._peek)
        place = {address: index for index, address in enumerate(found)}
        return np.array([place[leader] for leader in leaders], np.int64), np.array(found, np.uint64)

    def _followed(self) -> tuple[I64, U64] | None:
        """The same by compiled code; None where anything is amiss."""
        layout, space, loops = self.layout, self.kernel.space, self._loops
        assert loops is not None
        own = np.array([layout.tasks, layout.signal, layout.thread_node], np.uint64) + np.uint64(self._init)
        signals, _ = space.words(own[1:2])
        heads = signals + np.uint64(layout.thread_head)
        eight = np.uint64(8)
        pieces = space.pieces(np.concatenate([own, own + eight, heads, heads + eight]))
        offsets = (layout.tasks, layout.signal, layout.thread_head, layout.thread_node)
        while True:
            ended, n_leaders, n_found = loops.walk_tasks(
                space.reader.all_words,
                pieces,
                np.uint64(self._init),
                *(np.uint64(offset) for offset in offsets),
                self._leader_room,
                self._found_room,
            )
            if ended == loops.WALKED:
                return self._leader_room[:n_leaders].copy(), self._found_room[:n_found].copy()
            if ended != loops.NO_ROOM or len(self._found_room) > self.kernel.reader.n_pages:
                return None
            self._leader_room = np.zeros(2 * len(self._leader_room), np.int64)
            self._found_room = np.zeros(2 * len(self._found_room), np.uint64)

    def _as_before(self, what: str, tasks: Tasks) -> Tasks:
        """The same object as last time where it says the same, and its arrays where those do."""
        if self._loops is None:
            return tasks
        before = self._told.get(what)
        if before is not None:
            kept = {
                field.name: _kept(getattr(before, field.name), getattr(tasks, field.name)) for field in fields(Tasks)
            }
            same = all(value is getattr(before, name) for name, value in kept.items())
            tasks = before if same else Tasks(**kept)
        self._told[what] = tasks
        return tasks

    def _as_text(self, name: str, told: list[npt.NDArray[Any]], read: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """What `read` makes of some arrays, made again only where they are others than last time."""
        if self._loops is None:
            return read()
        known = self._texts.get(name)
        if known is None or not all(map(np.array_equal, known[0], told)):
            known = self._texts[name] = [array.copy() for array in told], read()
        return known[1]

    def _walk(self, peek: Callable[[int], int]) -> tuple[list[int], list[int]]:
        layout = self.layout
        leaders = self._processes(peek)
        found: list[int] = []
        for leader in leaders:
            head = peek(leader + layout.signal) + layout.thread_head
            own = [node - layout.thread_node for node in list_nodes(peek, head, MAX_TASKS)]
            if leader not in own:
                raise Torn(f"The task at {leader:#x} is not among its own threads.")
            found += own
            if len(found) > MAX_TASKS:
                raise Torn(f"There are more than {MAX_TASKS:,} tasks.")
        return leaders, found

    def _said(self, tasks: U64, attempts: int) -> Tasks:
        space = self.kernel.space
        told = self._members.read(space, tasks)
        mms = told.u64("mm")
        parents, creds = (objects.read(space, told.u64(name)) for name, objects in self._behind.items())
        roots, rss = self._memory(mms, [told.i64(name) for name in self._kept()])
        states, exits = told.u64("state"), told.u64("exit_state")
        return Tasks(
            addresses=tasks,
            pids=told.i64("pid"),
            tgids=told.i64("tgid"),
            ppids=parents.i64("tgid"),
            uids=creds.u64("uid").astype(np.int64),
            names=self._as_text("names", [told.words("comm")], lambda: told.text("comm")),
            states=self._as_text("states", [states, exits], lambda: _state_letters(states.tolist(), exits.tolist())),
            flags=told.u64("flags").astype(np.int64),
            mms=mms,
            roots=roots,
            rss_bytes=rss,
            stacks=told.u64("stack"),
            start_ns=told.i64("start_time"),
            consistency="live" if attempts == 0 and bool(told.ok.all()) else "retried",
        )

    def _kept(self) -> dict[str, int]:
        """Where a task keeps counts of its own: one a kind of resident page, or none."""
        layout = self.layout
        if layout.kept_rss is None:
            return {}
        return {f"kept{index}": layout.kept_rss + index * layout.kept_step for index in layout.resident}

    def _memory(self, mms: U64, kept: list[I64]) -> tuple[U64, I64]:
        """Page-table roots and resident sizes in bytes of many tasks' `mm_struct`s (n,); zeros for 0.

        kept: what the tasks keep of the counts (n,), a kind of page each. /proc/PID/status leaves that out, and a small
        process may seem to have no memory at all; smaps_rollup counts the pages themselves.
        """
        layout, space = self.layout, self.kernel.space
        roots, rss = np.zeros(len(mms), np.uint64), np.zeros(len(mms), np.int64)
        own, place = np.unique(mms, return_inverse=True)  # threads share theirs
        if not own.any():
            return roots, rss
        told = self._mm_members.read(space, own)
        paddrs, mapped = space.translate(told.u64("pgd"))
        pages = np.zeros(len(own), np.int64)
        for at, index in enumerate(layout.resident):
            count = told.i64(f"rss{index}")
            if kept:
                np.add.at(count, place, kept[at])
            if layout.rss_counters is not None:
                # Each CPU's part is four bytes at the same offset from that CPU's area.
                parts = told.u64(f"cpus{index}")[:, None] + self._cpu_offsets[None, :]
                words, _ = space.words(parts.reshape(-1) & ~np.uint64(7))
                halves = words >> ((parts.reshape(-1) & np.uint64(4)) << np.uint64(3))
                count = count + halves.astype(np.uint32).view(np.int32).reshape(parts.shape).sum(axis=1, dtype=np.int64)
            pages += np.maximum(count, 0)
        real = (own != 0) & told.ok
        root = np.where(mapped & real, paddrs, np.uint64(0))
        size = np.where(real, np.clip(pages, 0, self.kernel.reader.n_pages) * 4096, 0)
        return root[place], size[place]

    def _per_cpu_offsets(self) -> U64:
        """What is added to a per-cpu pointer for each CPU: (n_cpus,)."""
        table = self.kernel.symbols.find("__per_cpu_offset")
        if table is None:
            return np.zeros(1, np.uint64)
        n = self.kernel.symbols.find("nr_cpu_ids")
        count = 1
        if n is not None:
            count = int.from_bytes(self.kernel.space.read(n, 4), "little")
        count = min(max(count, 1), _MAX_CPUS)
        raw = self.kernel.space.read(table, 8 * count)
        offsets: U64 = np.unique(np.frombuffer(raw, "<u8")).astype(np.uint64)
        return offsets


def _kept(before: Any, now: Any) -> Any:
    """What was before, where it is the same."""
    if isinstance(now, np.ndarray):
        return before if np.array_equal(before, now) else now
    return before if before == now else now


def _state_letters(states: list[int], exit_states: list[int]) -> tuple[str, ...]:
    both = list(zip(states, exit_states, strict=True))
    letters = {pair: _state_letter(*pair) for pair in set(both)}
    return tuple(letters[pair] for pair in both)


def _state_letter(state: int, exit_state: int) -> str:
    state |= exit_state
    if state & _TASK_IDLE == _TASK_IDLE:
        return "I"
    return next((letter for bit, letter in _STATE_LETTERS if state & bit), "R")
