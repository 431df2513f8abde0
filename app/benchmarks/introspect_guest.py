"""A guest to look into: the demo guest at work, and as many processes beside it as are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

from app.failures import CommandFailed
from app.output import format_bytes
from app.waiting import READY_LIMIT_S
from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import find_kernel
from bridge.kernel.tasks import TaskReader
from bridge.machine.catalogue import find_guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.memory.physical import PhysicalReader

_TASKS_LIMIT_S = 60.0


@contextmanager
def working_guest(ram_bytes: int) -> Iterator[Machine]:
    """A machine of its own that runs the demo guest and its workloads.

    Raises CommandFailed when it does not come up, MachineError when it cannot be started.
    """
    with MachineManager() as manager:
        machine = manager.launch(dataclasses.replace(find_guest("demo"), keeps_state=False), ram_bytes=ram_bytes)
        if not machine.wait_ready(READY_LIMIT_S):
            raise CommandFailed(f"the guest of {format_bytes(ram_bytes)} was not up after {READY_LIMIT_S:.0f} s")
        yield machine


def start_processes(machine: Machine, n_tasks: int) -> None:
    """Have the guest start that many processes that sleep. Raises CommandFailed when they do not come."""
    loop = f"i=0; while [ $i -lt {n_tasks} ]; do sleep 1000000 & i=$((i+1)); done >/dev/null 2>&1\n"
    machine.console.write(loop.encode())
    deadline, found = monotonic() + _TASKS_LIMIT_S, 0
    assert machine.ram is not None
    reader = TaskReader(find_kernel(PhysicalReader(machine.ram)))
    while monotonic() < deadline:
        try:
            found = reader.processes().names.count("sleep")
        except KernelError:  # torn while the guest forks as fast as it can
            continue
        if found >= n_tasks:
            return
        sleep(0.2)
    raise CommandFailed(f"only {found} of {n_tasks} processes were there after {_TASKS_LIMIT_S:.0f} s")
