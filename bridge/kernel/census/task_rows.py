"""Rows of processes and threads."""

from __future__ import annotations

import numpy as np

from bridge.kernel.census.addresses import or_none, places, signed
from bridge.kernel.census.records import Row
from bridge.kernel.space import KernelSpace
from bridge.kernel.tasks import Tasks


def process_rows(space: KernelSpace, processes: Tasks, threads: Tasks, command_lines: list[str]) -> list[Row]:
    """Rows of `processes`, in the order of census.records.FORMS."""
    counts = dict(zip(*(part.tolist() for part in np.unique(threads.tgids, return_counts=True)), strict=True))
    direct = np.uint64((space.direct_map or 0) % (1 << 64))
    tables = np.where(processes.roots != 0, processes.roots + direct, np.uint64(0))
    return list(
        zip(
            processes.pids.tolist(),
            processes.ppids.tolist(),
            processes.uids.tolist(),
            processes.names,
            command_lines,
            processes.states,
            processes.is_kernel_thread().astype(np.int64).tolist(),
            [counts.get(pid, 1) for pid in processes.pids.tolist()],
            processes.rss_bytes.tolist(),
            (processes.start_ns / 1e9).round(3).tolist(),
            *places(space, processes.addresses),
            *places(space, processes.mms),
            or_none(signed(tables)) if space.direct_map is not None else [None] * len(processes),
            or_none(signed(processes.roots)),
            *places(space, processes.stacks),
            strict=True,
        )
    )


def thread_rows(space: KernelSpace, threads: Tasks) -> list[Row]:
    """Rows of `threads`."""
    return list(
        zip(
            threads.pids.tolist(),
            threads.tgids.tolist(),
            threads.names,
            threads.states,
            (threads.start_ns / 1e9).round(3).tolist(),
            *places(space, threads.addresses),
            *places(space, threads.stacks),
            strict=True,
        )
    )
