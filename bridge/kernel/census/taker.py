"""The taker: turns looks into censuses, and says only what changed between two of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bridge.kernel.census.addresses import places, signed_number
from bridge.kernel.census.file_names import FileNames
from bridge.kernel.census.file_rows import FileRows
from bridge.kernel.census.page_runs import PageRuns
from bridge.kernel.census.records import FORMS, Census, KernelFacts, Row, TableChange
from bridge.kernel.census.region_rows import RegionRows
from bridge.kernel.census.remembered import UNLIMITED, Budget, Remembered
from bridge.kernel.census.task_rows import process_rows, thread_rows
from bridge.kernel.drgn_engine.modules import Modules
from bridge.kernel.drgn_engine.program import KernelProgram
from bridge.kernel.errors import KernelError
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.snapshot import Introspector, SemanticSnapshot
from bridge.kernel.tasks import Tasks


class CensusTaker:
    """Takes the censuses of one kernel, for one who writes them down. Raises MissingType for one without types."""

    def __init__(self, introspector: Introspector) -> None:
        kernel = introspector.kernel
        program = KernelProgram(kernel)
        self._introspector = introspector
        self._space = kernel.space
        self._names = FileNames(program)
        self._files = FileRows(program, self._names)
        self._regions = RegionRows(introspector, program, self._names)
        self._modules = Modules(program)
        self._runs = PageRuns(kernel)
        self._lines = Remembered(self._read_command_line)
        self._processes: Tasks | None = None
        self._before: dict[str, list[Row]] = {}
        self._number = 0
        self._taken_s = -1.0
        self._n_pending = 0
        direct_map = kernel.space.direct_map
        self._facts = KernelFacts(
            kernel.release,
            kernel.build_id,
            kernel.kernel_offset,
            kernel.space.phys_base,
            None if direct_map is None else signed_number(direct_map),
            kernel.levels,
        )

    def take(self, seen: SemanticSnapshot, known: int, *, whole: bool = False) -> Census | None:
        """What changed since the census numbered `known`, or everything; None where this look was told already.

        `whole`: read all there is, however long it takes; else what takes long comes over the next censuses.
        """
        started = time.monotonic()
        if known == self._number and known and seen.taken_s == self._taken_s and not self._n_pending:
            return None
        if known != self._number or self._runs.is_overfull:
            known = 0
            self._before = {}
            self._runs.forget()
        self._number += 1  # whatever happens now: what is half told must not be built upon
        budget = UNLIMITED if whole else Budget()
        problems: list[str] = []
        tables = {
            name: self._changed(name, rows)
            for name, rows in self._all_rows(seen, budget, problems).items()
            if rows is not None
        }
        tables["page_runs"], subjects = self._runs.change(seen)
        self._taken_s = seen.taken_s
        self._n_pending = (
            self._lines.n_pending + self._names.n_pending + self._files.n_pending + self._regions.n_pending
        )
        return Census(
            number=self._number,
            since=known,
            taken_s=seen.taken_s,
            duration_s=seen.duration_s,
            consistency=seen.consistency,
            definite=seen.page_map.definite,
            kernel=self._facts,
            tables=tables,
            subjects=subjects,
            n_pending=self._n_pending,
            problems=tuple(problems),
            took_s=time.monotonic() - started,
        )

    def _all_rows(self, seen: SemanticSnapshot, budget: Budget, problems: list[str]) -> dict[str, list[Row] | None]:
        """The rows of each table; None for one that could not be read this time."""

        def tried(read: Callable[[], list[Row]]) -> list[Row] | None:
            try:
                return read()
            except KernelError as error:
                problems.append(str(error))
                return None

        held = self._files.descriptors(seen.processes)
        self._names.begin(np.unique(np.concatenate([held.files, seen.vmas.files[seen.vmas.files != 0]])), budget)
        files, sockets = self._files.rows(held, budget)
        lines = self._command_lines(seen.processes, budget)
        return {
            "processes": process_rows(self._space, seen.processes, seen.threads, lines),
            "threads": thread_rows(self._space, seen.threads),
            "regions": self._regions.rows(seen, budget),
            "modules": tried(self._module_rows),
            "files": files,
            "sockets": sockets,
            "page_classes": _class_rows(seen),
        }

    def _changed(self, name: str, rows: list[Row]) -> TableChange:
        n_key = FORMS[name].n_key
        before = self._before.get(name, [])
        # Damaged lists may lead to one thing twice.
        told_once = {row[:n_key]: row for row in rows}
        rows = rows if len(told_once) == len(rows) else list(told_once.values())
        self._before[name] = rows
        if len(before) == len(rows):
            changed = [(row, old) for row, old in zip(rows, before, strict=True) if row != old]
            if all(row[:n_key] == old[:n_key] for row, old in changed):  # the same things in the same order, as mostly
                return TableChange(tuple(row for row, _ in changed))
        known = {row[:n_key]: row for row in before}
        now = {row[:n_key] for row in rows}
        gone = tuple(key for key in known if key not in now)
        return TableChange(tuple(row for row in rows if known.get(row[:n_key]) != row), gone)

    def _command_lines(self, processes: Tasks, budget: Budget) -> list[str]:
        # What exec replaces has another mm.
        keys = list(zip(processes.addresses.tolist(), processes.mms.tolist(), range(len(processes)), strict=True))
        self._processes = processes
        known = self._lines.of([key[:2] for key in keys if key[1]], budget)
        return [known.get(key[:2], "") for key in keys]

    def _read_command_line(self, key: tuple[int, int]) -> str:
        processes = self._processes
        assert processes is not None
        index = np.flatnonzero(processes.addresses == np.uint64(key[0]))
        try:
            return self._introspector.tasks.command_line(processes, int(index[0]))
        except KernelError:
            return ""  # it ended

    def _module_rows(self) -> list[Row]:
        modules = self._modules.all()
        bases = np.array([module.base for module in modules], np.uint64)
        addresses = np.array([module.address for module in modules], np.uint64)
        return [
            (module.name, module.state, module.references, ",".join(module.used_by), module.size_bytes, *found)
            for module, *found in zip(
                modules, *places(self._space, bases), *places(self._space, addresses), strict=True
            )
        ]


def _class_rows(seen: SemanticSnapshot) -> list[Row]:
    counts = np.bincount(seen.page_map.classes, minlength=max(PageClass) + 1).tolist()
    return [
        (CLASS_TITLES[page_class], counts[page_class], counts[page_class] * 4096)
        for page_class in PageClass
        if counts[page_class]
    ]
