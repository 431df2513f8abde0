"""`bench ask`: how long questions take to be understood, completed while typed, answered, and shown in the window.

Measured on the demo guest at work with 400 processes more, each question answered from the latest look.
"""

from __future__ import annotations

import statistics
from time import perf_counter

from app.benchmarks.ask_window import window_results
from app.benchmarks.introspect_guest import start_processes, working_guest
from app.benchmarks.report import Report, Result, at_most
from app.failures import CommandFailed
from bridge.kernel.desk import Desk
from bridge.kernel.kernel import find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.memory.physical import PhysicalReader
from bridge.semantic.query.answering import answer_query
from bridge.semantic.query.completion import complete
from bridge.semantic.query.desk_world import DeskWorld, names_of
from bridge.semantic.query.model import Understood
from bridge.semantic.query.parser import understand

MIB = 1 << 20
N_TASKS = 400
QUESTIONS = {
    "every_process": "every process",
    "heap": "show me the SSH daemon's heap",
    "every_heap": "heap",
    "every_region": "regions of every process",
    "kernel_stacks": "kernel stacks",
    "page_tables": "page tables",
    "page_tables_of_one": "page tables of dropbear",
    "free": "how much memory is free?",
    "shared": "memory shared between init and counter",
    "compare": "compare heap of dropbear with heap of init",
    "owners": "which processes map /bin/busybox",
    "every_file": "every file",
    "every_slab": "every slab cache",
    "symbol": "symbol jiffies",
    "address": "what is at 0xffffffff81000000?",
    "open_files": "open files of journal",
}
_IN_WINDOW = ("every_process", "heap", "every_region", "kernel_stacks", "owners")
"""Those that are asked in the window too: the ones that find most, and one that finds little."""
_BAR = at_most(100.0)
_TIMES, _WINDOW_TIMES = 15, 7


def run(*, n_tasks: int = N_TASKS, size_mib: int = 128, times: int = _TIMES, with_window: bool = True) -> Report:
    """Measures. Raises MachineError, CommandFailed."""
    results = []
    with working_guest(size_mib * MIB) as machine:
        start_processes(machine, n_tasks)
        assert machine.ram is not None
        desk = Desk(Introspector(find_kernel(PhysicalReader(machine.ram))))
        names = names_of(desk)
        world = DeskWorld(desk, machine.ram, still=False)
        for name, text in QUESTIONS.items():
            understood = understand(text, names)
            if not isinstance(understood, Understood):
                raise CommandFailed(f"{text!r} was not understood: {understood.problem}")
            took_ms = []
            for _ in range(times):
                desk.snapshot = desk.introspector.look()
                began = perf_counter()
                answer_query(understood.query, world)
                took_ms.append((perf_counter() - began) * 1000)
            results.append(Result(f"answer_{name}_p50", statistics.median(took_ms), "ms", _BAR))
        for name, ask in (
            ("understand", lambda: understand("show me the SSH deamon's haep", names)),
            ("complete", lambda: complete("heap of pro", 11, names)),
        ):
            took_ms = []
            for _ in range(times):
                began = perf_counter()
                ask()
                took_ms.append((perf_counter() - began) * 1000)
            results.append(Result(f"{name}_p50", statistics.median(took_ms), "ms", _BAR))
    note = (
        f"The demo guest of {size_mib} MiB at work with {n_tasks} more processes. Medians of {times}; without the look."
    )
    notes = [note]
    if with_window:
        asked = {name: QUESTIONS[name] for name in _IN_WINDOW}
        shown, told = window_results(asked, n_tasks, times=min(times, _WINDOW_TIMES))
        results, notes = results + shown, notes + told
    return Report("ask", tuple(results), notes=tuple(notes))
