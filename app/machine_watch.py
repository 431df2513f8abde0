"""Machine watch: takes in what machines report, measures them, looks for others, and forgets those that are gone."""

from __future__ import annotations

import contextlib
import logging
import queue
from typing import TYPE_CHECKING

from app.jobs import Job, JobState
from app.notices import Notices, describe
from app.state import Vital
from app.toasts import ToastLevel, Way
from bridge.machine.discovery import discover, remove_leftovers
from bridge.machine.errors import NoSuchMachine
from bridge.machine.records import MachineRecord
from bridge.machine.states import MachineEvent, MachineState

if TYPE_CHECKING:
    from app.greeting import Greeting
    from app.state import AppState

DISCOVER_EVERY_S = 10.0
logger = logging.getLogger("window")


class MachineWatch:
    """Belongs to the main thread. Machines' own threads push their events."""

    def __init__(self, state: AppState, notices: Notices, greeting: Greeting) -> None:
        self._state = state
        self._notices = notices
        self._greeting = greeting
        self._events: queue.SimpleQueue[MachineEvent] = queue.SimpleQueue()
        self._unsubscribe = state.manager.subscribe(self._events.put)
        self._next_discover_s = 0.0

    def close(self) -> None:
        """Hear no more events."""
        self._unsubscribe()

    def take_events(self) -> bool:
        """Tell of what machines reported since the last call; returns whether there was anything."""
        took = False
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return took
            took = True
            self._on_event(event)

    def _on_event(self, event: MachineEvent) -> None:
        detail = ", ".join(f"{k} {v}" for k, v in event.detail.items())
        logging.getLogger(event.machine).log(
            logging.ERROR if event.kind == "CRASH" else logging.INFO, "%s", f"{event.kind} {detail}".strip()
        )
        if event.kind == "CRASH":
            machine = self._state.machine(event.machine)
            if machine is None:
                return  # it never came to be one of ours: the job that tried tells why
            self._state.toasts.add(
                ToastLevel.ERROR,
                f"{event.machine} ended unexpectedly",
                machine.info.message,
                Way("Launch again", "machine.launch", {"guest": machine.info.guest}),
                Way("Show log", "window.show", {"panel": "Log"}),
            )
        elif event.kind == "READY":
            machine = self._state.machine(event.machine)
            usage = machine.usage() if machine is not None else None
            self._notices.tell(f"{event.machine} is up", f"after {usage.uptime_s:.1f} s" if usage else "", good=True)
            self._greeting.begin()

    def follow(self) -> None:
        """Forget what belonged to machines that are gone, and always have a current one where there is any."""
        state = self._state
        for machine in state.manager.machines():
            # A crash stays on the list with its last words, until the user has seen it. An orderly end does not.
            if machine.info.state is MachineState.STOPPED and not state.quitting:
                with contextlib.suppress(NoSuchMachine):
                    state.manager.remove(machine.name)
        names = [m.name for m in state.manager.machines()]
        if state.current not in names:
            state.current = names[-1] if names else None
        state.kernel.shelf.keep(names)
        for kept in (state.vitals, state.terminals, state.hex_views, state.disassemblies):
            for name in [n for n in kept if n not in names]:
                del kept[name]
        if state.selection is not None and state.selection.machine not in state.stage.feeds:
            state.selection = None
        if state.menu_place is not None and state.menu_place.machine not in state.stage.feeds:
            state.menu_place = None
        if state.hover is not None and state.hover.machine not in state.stage.feeds:
            state.hover = None

    def sample(self) -> None:
        """Measure what each machine's process takes."""
        for machine in self._state.manager.machines():
            if machine.info.state.ended or machine.info.dump:
                continue
            vital = self._state.vitals.setdefault(machine.name, Vital())
            vital.usage = machine.usage()
            vital.cpu.append(vital.usage.cpu_percent)

    def discover_soon(self) -> None:
        """Look for machines that no window holds at the next occasion: there may be others than before."""
        self._next_discover_s = 0.0

    def discover(self) -> None:
        """Look for machines that no window holds, in a job, every now and then."""
        if self._state.now_s < self._next_discover_s:
            return
        self._next_discover_s = self._state.now_s + DISCOVER_EVERY_S

        def work(_job: Job) -> tuple[MachineRecord, ...]:
            remove_leftovers()
            return discover()

        def end(job: Job) -> None:
            if job.state is JobState.DONE:
                ours = {m.name for m in self._state.manager.machines()}
                self._state.orphans = tuple(
                    r for r in job.result if r.qemu_alive and not r.owner_alive and r.name not in ours
                )
            elif job.state is JobState.FAILED and job.error is not None:
                logger.warning("looking for machines failed: %s", describe(job.error))

        self._state.jobs.start("Looking for machines", work, on_end=end, quiet=True)
