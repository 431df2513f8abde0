"""Tasks: processes and threads, from the kernel's own lists, many times a second.

The list of processes is walked node by node, which is the only part that has to be; everything that is said of them is
gathered from all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.errors import MissingType, NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek, column, list_nodes, retried

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

MAX_TASKS = 1 << 22
"""PID_MAX_LIMIT on 64 bits (include/linux/threads.h)."""
PF_KTHREAD = 0x0020_0000
_MAX_CPUS = 8192

Consistency = Literal["live", "retried", "frozen"]

# Bits of task_struct.__state and .exit_state -> what ps prints (include/linux/sched.h, fs/proc/array.c).
_TASK_IDLE = 0x402
_STATE_LETTERS = ((0x1, "S"), (0x2, "D"), (0x4, "T"), (0x8, "t"), (0x10, "X"), (0x20, "Z"), (0x40, "P"))


@dataclass(frozen=True, slots=True)
class TaskLayout:
    """Where the members of `struct task_struct` and `struct mm_struct` lie in one kernel."""

    task_bytes: int
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
    mm_bytes: int
    arg_start: int
    rss: int
    rss_step: int
    rss_counters: int | None
    """Where a percpu_counter points to its per-cpu parts (since v6.2)."""
    n_rss: int

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
        comm = types.member("task_struct", "comm")
        return cls(
            task_bytes=types.struct_size("task_struct"),
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
            mm_bytes=types.struct_size("mm_struct"),
            arg_start=types.offset("mm_struct", "arg_start"),
            rss=rss,
            rss_step=step,
            rss_counters=counters,
            n_rss=min(n_rss, 8),
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

    def processes(self) -> Tasks:
        """All processes: the leaders of their thread groups. Raises Torn, NotMapped where retries did not help."""
        tasks, attempts = retried(self._processes)
        return self._said(tasks, attempts)

    def threads(self) -> Tasks:
        """All tasks, every thread of every process."""
        tasks, attempts = retried(self._threads)
        return self._said(tasks, attempts)

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

    def _processes(self) -> list[int]:
        layout = self.layout
        nodes = list_nodes(self._peek, self._init + layout.tasks, MAX_TASKS)
        return [node - layout.tasks for node in nodes]

    def _threads(self) -> list[int]:
        layout, peek = self.layout, self._peek
        found: list[int] = []
        for leader in self._processes():
            head = peek(leader + layout.signal) + layout.thread_head
            found += [node - layout.thread_node for node in list_nodes(peek, head, MAX_TASKS)]
        return found

    def _said(self, addresses: list[int], attempts: int) -> Tasks:
        layout, space = self.layout, self.kernel.space
        tasks = np.array(addresses, np.uint64)
        rows, ok = space.rows(tasks, layout.task_bytes)
        mms = column(rows, layout.mm, "<u8").astype(np.uint64)
        parents = column(rows, layout.parent, "<u8").astype(np.uint64)
        creds = column(rows, layout.cred, "<u8").astype(np.uint64)
        parent_tgids, _ = space.rows(parents + np.uint64(layout.tgid), 4)
        uids, _ = space.rows(creds + np.uint64(layout.uid), 4)
        states = column(rows, layout.state, "<u4").astype(np.int64)
        exits = column(rows, layout.exit_state, "<u4").astype(np.int64)
        names = rows[:, layout.comm : layout.comm + layout.comm_bytes]
        roots, rss = self._memory(mms)
        return Tasks(
            addresses=tasks,
            pids=column(rows, layout.pid, "<i4").astype(np.int64),
            tgids=column(rows, layout.tgid, "<i4").astype(np.int64),
            ppids=parent_tgids.view("<i4").reshape(-1).astype(np.int64),
            uids=uids.view("<u4").reshape(-1).astype(np.int64),
            names=tuple(bytes(name).split(b"\0", 1)[0].decode("utf-8", "backslashreplace") for name in names),
            states=tuple(_state_letter(s, e) for s, e in zip(states.tolist(), exits.tolist(), strict=True)),
            flags=column(rows, layout.flags, "<u4").astype(np.int64),
            mms=mms,
            roots=roots,
            rss_bytes=rss,
            stacks=column(rows, layout.stack, "<u8").astype(np.uint64),
            start_ns=column(rows, layout.start_time, "<u8").astype(np.int64),
            consistency="live" if attempts == 0 and bool(ok.all()) else "retried",
        )

    def _memory(self, mms: U64) -> tuple[U64, I64]:
        """Page-table roots and resident sizes in bytes of many `mm_struct`s (n,); zeros for 0."""
        layout, space = self.layout, self.kernel.space
        roots, rss = np.zeros(len(mms), np.uint64), np.zeros(len(mms), np.int64)
        own = np.flatnonzero(mms)
        if not len(own):
            return roots, rss
        rows, _ = space.rows(mms[own], layout.mm_bytes)
        pgds = column(rows, layout.pgd, "<u8").astype(np.uint64)
        paddrs, mapped = space.translate(pgds)
        roots[own] = np.where(mapped, paddrs, np.uint64(0))
        pages = np.zeros(len(own), np.int64)
        for index in range(layout.n_rss):
            if index == 2:
                continue  # MM_SWAPENTS: not in memory (include/linux/mm_types_task.h)
            at = layout.rss + index * layout.rss_step
            count = column(rows, at, "<i8").astype(np.int64)
            if layout.rss_counters is not None:
                parts = column(rows, at + layout.rss_counters, "<u8").astype(np.uint64)
                for offset in self._cpu_offsets:
                    values, _ = space.rows(parts + offset, 4)
                    count += values.view("<i4").reshape(-1)
            pages += np.maximum(count, 0)
        rss[own] = np.clip(pages, 0, self.kernel.reader.n_pages) * 4096
        return roots, rss

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


def _state_letter(state: int, exit_state: int) -> str:
    state |= exit_state
    if state & _TASK_IDLE == _TASK_IDLE:
        return "I"
    return next((letter for bit, letter in _STATE_LETTERS if state & bit), "R")
