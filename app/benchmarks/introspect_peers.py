"""What others take to list the processes of the same guest: drgn over QMP, drgn over the mapping, Volatility's pslist.

All three get what we found from RAM alone (symbols and types), because neither finds it by itself: without that they
need a kernel's debug symbols, which the guest does not have.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import drgn
from drgn.helpers.linux.list import list_for_each_entry

from app.benchmarks.report import NotMeasured, Result
from app.benchmarks.turns import in_turns
from bridge.kernel.drgn_engine.program import KernelProgram
from bridge.kernel.errors import KernelError
from bridge.kernel.isf import save_isf
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.tasks import TaskReader
from bridge.kernel.volatility_engine.records import Target
from bridge.kernel.volatility_engine.service import Volatility
from bridge.machine.machine import Machine
from bridge.memory.physical import PhysicalReader
from bridge.memory.ram import GuestRam

_VOLATILITY_LIMIT_S = 120.0
# Without jsonschema, which Volatility does not need but uses where it is there: it then checks each type for minutes.
_VOLATILITY = (
    "import sys; sys.argv[0] = 'vol'; sys.modules['jsonschema'] = None;"
    " from volatility3.cli import main; sys.exit(main())"
)
_LEAST_RUNS = 1  # besides the first, which fills caches


def peer_results(machine: Machine, label: str, seconds: float, ours: Result) -> tuple[list[Result], list[str]]:
    """Each peer's figure, and how many times ours (milliseconds) it is; and how they were measured, in sentences."""
    assert machine.ram is not None
    kernel = find_kernel(PhysicalReader(machine.ram))
    results = _drgn_results(machine, kernel, label, seconds)
    n_tasks = len(TaskReader(kernel).processes())
    results += _volatility_results(machine.ram.path, kernel, label, n_tasks)
    results.append(_worker_result(machine.ram, label, n_tasks))
    if ours.value:
        results += [
            Result(f"{result.name}_to_ours", result.value / ours.value, "times ours")
            for result in results
            if result.unit == "ms" and result.value is not None
        ]
    notes = [
        "drgn lists number, group, parent, user and name of each process: over QMP (pmemsave, a command a read, as "
        "without a mapping) and over the mapping. Its types and symbols are those that were found in RAM.",
        "Volatility's pslist is the stock program from its start to its end, on the RAM file of the running guest, "
        "with the ISF that was exported before and its own caches warm; and as it runs here, in a worker that is warm.",
    ]
    return results, notes


def _drgn_results(machine: Machine, kernel: Kernel, label: str, seconds: float) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="glassbox-bench-") as directory:
        over_mapping, over_qmp = KernelProgram(kernel).program, KernelProgram(kernel).program
        _read_over_qmp(over_qmp, kernel, machine, Path(directory) / "memory")
        qmp_s, mapping_s = in_turns(
            perf_counter, seconds, lambda: list_tasks(over_qmp), lambda: list_tasks(over_mapping), least=_LEAST_RUNS
        )
    return [
        Result(f"process_list_{label}_drgn_over_qmp", statistics.median(qmp_s) * 1e3, "ms"),
        Result(f"process_list_{label}_drgn_over_mapping", statistics.median(mapping_s) * 1e3, "ms"),
    ]


def list_tasks(program: drgn.Program) -> list[tuple[int, int, int, int, bytes]]:
    """Number, group, parent, user and name of each process, as a person would write it for drgn."""
    head = program["init_task"].tasks.address_of_()
    return [
        (
            task.pid.value_(),
            task.tgid.value_(),
            task.real_parent.tgid.value_(),
            task.cred.uid.val.value_(),
            task.comm.string_(),
        )
        for task in list_for_each_entry("struct task_struct", head, "tasks")
    ]


def _read_over_qmp(program: drgn.Program, kernel: Kernel, machine: Machine, file: Path) -> None:
    """Have a program read the guest's memory through QEMU's monitor. What is added last is asked first."""

    def segment(paddr: int) -> Callable[[int, int, int, bool], bytes]:
        def read(_address: int, count: int, offset: int, _physical: bool) -> bytes:
            machine.qmp("pmemsave", val=paddr + offset, size=count, filename=str(file))
            return file.read_bytes()

        return read

    for region in kernel.reader.ram.physical_map.regions:
        program.add_memory_segment(region.paddr, region.size_bytes, segment(region.paddr), physical=True)
        if kernel.space.direct_map is not None:
            address = kernel.space.direct_map + region.paddr
            program.add_memory_segment(address, region.size_bytes, segment(region.paddr))


def _volatility_results(ram: Path, kernel: Kernel, label: str, n_tasks: int) -> list[Result]:
    name = f"process_list_{label}_volatility_pslist"
    times_s = []
    try:
        with tempfile.TemporaryDirectory(prefix="glassbox-bench-") as directory:
            save_isf(kernel, Path(directory) / "kernel.json.xz")
            for _ in range(1 + _LEAST_RUNS):
                started = perf_counter()
                n_found = len(volatility_tasks(ram, Path(directory)))
                times_s.append(perf_counter() - started)
    except (NotMeasured, KernelError) as error:
        return [Result(name, None, "ms", why=str(error))]
    if n_found < n_tasks / 2:  # it may meet a list that changes, but says so by ending
        return [Result(name, None, "ms", why=f"it found {n_found} of {n_tasks} processes")]
    return [Result(name, statistics.median(times_s[1:]) * 1e3, "ms")]


def _worker_result(ram: GuestRam, label: str, n_tasks: int) -> Result:
    """The same pslist where our worker has the kernel's types ready."""
    name = f"process_list_{label}_volatility_in_worker"
    target = Target(ram.path, ram.physical_map)
    times_s = []
    with contextlib.closing(Volatility()) as volatility:
        for _ in range(1 + _LEAST_RUNS):
            started = perf_counter()
            run = volatility.run(target, "linux.pslist", time_limit_s=_VOLATILITY_LIMIT_S)
            if not run.done.wait(_VOLATILITY_LIMIT_S):
                return Result(name, None, "ms", why=f"it took longer than {_VOLATILITY_LIMIT_S:.0f} s")
            times_s.append(perf_counter() - started)
    if len(run.rows) < n_tasks / 2:
        said = run.finished.problem if run.finished is not None else ""
        return Result(name, None, "ms", why=f"it found {len(run.rows)} of {n_tasks} processes {said}".strip())
    return Result(name, statistics.median(times_s[1:]) * 1e3, "ms")


def volatility_tasks(ram: Path, directory: Path) -> list[dict[str, Any]]:
    """The rows of the stock pslist, with the ISF in `directory`. Raises NotMeasured."""
    options = ["-q", "--offline", "--cache-path", str(directory), "-s", str(directory), "-f", str(ram), "-r", "json"]
    run = subprocess.run(
        [sys.executable, "-c", _VOLATILITY, *options, "linux.pslist"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_VOLATILITY_LIMIT_S,
        check=False,
    )
    if run.returncode:
        raise NotMeasured(f"pslist ended with code {run.returncode}: {run.stderr.strip()[-200:]}")
    rows: list[dict[str, Any]] = json.loads(run.stdout)
    return rows
