"""Machine jobs: launching, attaching, opening dumps, stopping …: what takes QEMU its time, each in a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.jobs import Job, JobState
from app.toasts import Way
from bridge.machine.catalogue import find_guest
from bridge.machine.discovery import stop_machine
from bridge.machine.guest import Guest

if TYPE_CHECKING:
    from app.greeting import Greeting
    from app.machine_watch import MachineWatch
    from app.notices import Notices
    from app.state import AppState
    from app.window_options import WindowOptions


class MachineJobs:
    """Belongs to the main thread. How a job ends is told; what it made becomes the current machine."""

    def __init__(
        self, state: AppState, options: WindowOptions, notices: Notices, watch: MachineWatch, greeting: Greeting
    ) -> None:
        self._state = state
        self._options = options
        self._notices = notices
        self._watch = watch
        self._greeting = greeting

    def launch(
        self,
        guest: str | Guest,
        *,
        name: str | None = None,
        ram_bytes: int | None = None,
        cold: bool | None = None,
        network: bool | None = None,
        detach: bool = False,
    ) -> Job:
        """Start a guest in a job, whose result is the machine's name."""
        options, manager = self._options, self._state.manager
        first = not self._state.manager.machines() and not self._state.launching
        title = guest if isinstance(guest, str) else guest.name

        def work(job: Job) -> str:
            job.report("Preparing the guest")
            found = find_guest(guest, progress=job.report, cancelled=job.cancelled) if isinstance(guest, str) else guest
            job.check()
            machine = manager.launch(
                found,
                name=name or (options.machine_name if first else None),
                ram_bytes=ram_bytes or (options.ram_bytes if first else None),
                cold=options.cold if cold is None else cold,
                network=options.network if network is None else network,
                detach=detach,
                progress=job.report,
                cancelled=job.cancelled,
            )
            return machine.name

        def end(job: Job) -> None:
            self._state.launching.pop(job.number, None)
            if job.state is JobState.DONE:
                self.select_machine(str(job.result))
            elif job.state is JobState.FAILED and job.error is not None:
                again = Way("Try again", "machine.launch", {"guest": title}) if isinstance(guest, str) else None
                self._notices.report(job.error, f"{title} could not be launched", *([again] if again else []))

        job = self._state.jobs.start(f"Launching {title}", work, on_end=end)
        self._state.launching[job.number] = title
        return job

    def attach(self, socket: Path, name: str | None = None) -> Job:
        """Look into a QEMU that someone else started, in a job."""

        def work(_job: Job) -> str:
            return self._state.manager.attach(socket, name=name or self._options.machine_name).name

        return self._machine_job(f"Attaching to {socket.name}", work, f"{socket} could not be attached to")

    def adopt(self, machine: str) -> Job:
        """Take over a machine that a killed window left, or that was detached."""

        def work(_job: Job) -> str:
            return self._state.manager.adopt(machine).name

        return self._machine_job(f"Adopting {machine}", work, f"{machine} could not be adopted")

    def open_dump(self, path: Path, name: str | None = None, *, select: bool = True) -> Job:
        """Look at a RAM dump as at a paused machine, in a job: one that has to be copied takes its time.

        `select`: it becomes the current machine.
        """

        def work(job: Job) -> str:
            return self._state.manager.open_dump(path, name=name, progress=job.report).name

        def end(job: Job) -> None:
            self._state.launching.pop(job.number, None)
            if job.state is JobState.DONE and select:
                self.select_machine(job.result)
                self._greeting.begin()
            elif job.state is JobState.FAILED and job.error is not None:
                again = Way("Choose another…", "machine.open_dump_dialog", {})
                self._notices.report(job.error, f"{path.name} could not be opened", again)

        title = f"Opening {path.name}"
        job = self._state.jobs.start(title, work, on_end=end, can_cancel=False)
        self._state.launching[job.number] = path.name
        return job

    def _machine_job(self, title: str, work: Callable[[Job], str], failure: str) -> Job:
        def end(job: Job) -> None:
            self._watch.discover_soon()
            if job.state is JobState.DONE:
                self.select_machine(job.result)
            elif job.state is JobState.FAILED and job.error is not None:
                self._notices.report(job.error, failure)

        return self._state.jobs.start(title, work, on_end=end)

    def operate(self, verb: str, doing: str, name: str | None) -> Job:
        """Call pause, resume, reset or stop of a machine in a job: QEMU may take its time to answer."""
        machine = self._state.require_machine(name)

        def work(_job: Job) -> None:
            getattr(machine, verb)()

        def end(job: Job) -> None:
            if job.state is JobState.FAILED and job.error is not None:
                self._notices.report(job.error, f"{machine.name} could not be {doing.lower()}")

        return self._state.jobs.start(f"{doing} {machine.name}", work, on_end=end, can_cancel=False)

    def stop(self, name: str | None) -> Job | None:
        """End a machine; one that has ended already is taken off the list, a dump is closed."""
        machine = self._state.require_machine(name)
        if machine.info.state.ended or machine.info.dump:
            self._state.manager.remove(machine.name)
            return None
        if machine.info.attached:
            return self.detach(machine.name)
        return self.operate("stop", "Stopping", machine.name)

    def detach(self, name: str | None) -> Job:
        """Let go of a machine and leave it running."""
        machine = self._state.require_machine(name)

        def work(_job: Job) -> None:
            self._state.manager.detach(machine.name)

        def end(job: Job) -> None:
            self._watch.discover_soon()
            if job.state is JobState.FAILED and job.error is not None:
                self._notices.report(job.error, f"{machine.name} could not be let go")
            else:
                self._notices.tell(f"{machine.name} was let go", "It runs on without this window.")

        return self._state.jobs.start(f"Letting go of {machine.name}", work, on_end=end, can_cancel=False)

    def stop_orphan(self, machine: str) -> Job:
        """End a machine that was found running without a window."""

        def work(_job: Job) -> None:
            stop_machine(machine)  # not by adopting it: one whose RAM file is gone could not be

        def end(job: Job) -> None:
            self._watch.discover_soon()
            if job.state is JobState.FAILED and job.error is not None:
                self._notices.report(job.error, f"{machine} could not be stopped")

        return self._state.jobs.start(f"Stopping {machine}", work, on_end=end, can_cancel=False)

    def select_machine(self, machine: str) -> None:
        """Make a machine the one that console, keys and search are about."""
        self._state.current = self._state.require_machine(machine).name
