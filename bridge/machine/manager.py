"""The machines of this process: launched, adopted or attached, and in the end all given back."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from bridge.machine import warm
from bridge.machine.accelerator import probe_kvm
from bridge.machine.adopting import adopt_on_loop
from bridge.machine.attach import attach_on_loop
from bridge.machine.background import BackgroundLoop, acquire_loop, release_loop
from bridge.machine.command_line import BACKEND_ID, board_arguments
from bridge.machine.directories import cache_path
from bridge.machine.errors import (
    LaunchCancelled,
    MachineError,
    MachineOwned,
    NameInvalid,
    NameTaken,
    NoSuchMachine,
    RamSizeInvalid,
)
from bridge.machine.guest import MIB, Guest
from bridge.machine.launching import LaunchPlan, start
from bridge.machine.machine import Machine
from bridge.machine.opened_dump import DumpStandsStill, OpenedDump, name_for_dump, open_dump
from bridge.machine.processes import ProcessIdentity
from bridge.machine.qemu_binary import find_qemu
from bridge.machine.ram_file import SHARED_MEMORY, free_for_ram, ram_file_name
from bridge.machine.records import (
    MachineRecord,
    claim_directory,
    is_valid_name,
    load_record,
    machine_directories,
    remove_if_dead,
    remove_machine_directory,
    runtime_lock,
)
from bridge.machine.saved_state import StateStore
from bridge.machine.states import Accelerator, EventCallback, MachineEvent, MachineInfo, MachineState

Progress = Callable[[str, float], None]
AnyMachine = Machine | OpenedDump

_CANCEL_POLL_S = 0.02
_ENDING = "This Glassbox is ending; it starts no more machines."


class MachineManager:
    """Owns machines. Thread-safe. `close` it in the end (it does so itself when the interpreter ends in order)."""

    def __init__(self, *, shared_memory: Path = SHARED_MEMORY, traceable: bool = True) -> None:
        """`shared_memory` is where RAM files go; it should be a tmpfs. `traceable`: machines have the plugin that
        watches execution.
        """
        self._shared_memory = shared_memory
        self._traceable = traceable
        self._lock = threading.RLock()
        self._machines: dict[str, Machine] = {}
        self._dumps: dict[str, OpenedDump] = {}
        self._callbacks: list[EventCallback] = []
        self._background: BackgroundLoop | None = None
        self._closed = False
        atexit.register(self.close)

    def launch(
        self,
        guest: Guest,
        *,
        name: str | None = None,
        ram_bytes: int | None = None,
        cold: bool = False,
        detach: bool = False,
        network: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Machine:
        """Start a machine and return it running; its guest may not be up yet (`Machine.wait_ready`).

        A guest that keeps its state goes on from where it was last saved, except when `cold`. With `detach` it
        outlives this process. `progress` is called on this thread; `cancelled` is asked some 50 times a second.
        Raises MachineError, GuestMemoryError.
        """
        with _typed(f"{guest.name} could not be started"):
            return self._launch(guest, name, ram_bytes, cold, detach, network, _Report(progress), cancelled)

    def _launch(
        self,
        guest: Guest,
        name: str | None,
        ram_bytes: int | None,
        cold: bool,
        detach: bool,
        network: bool,
        report: _Report,
        cancelled: Callable[[], bool] | None,
    ) -> Machine:
        background = self._hold_loop()
        report.tell("Looking for QEMU", 0.0)
        qemu = find_qemu()
        size_bytes = _checked_ram(guest, ram_bytes)
        with_network = network or guest.network
        report.tell("Trying out KVM", 0.05)
        kvm = probe_kvm()
        accelerator: Accelerator = "kvm" if kvm.usable else "tcg"
        board = board_arguments(guest, ram_bytes=size_bytes, accelerator=accelerator, network=with_network)
        key = warm.key_of(guest, board, qemu, accelerator) if warm.can_keep_state(guest) else None
        self._make_room(size_bytes)
        with runtime_lock():
            directory = claim_directory(name, guest.name, self._live_names())
            record = MachineRecord(
                name=directory.name,
                guest=guest.name,
                ram_path=self._shared_memory / ram_file_name(directory.name),
                ram_bytes=size_bytes,
                accelerator=accelerator,
                accelerator_reason=kvm.reason,
                detached=detach,
                warm=False,
                ready=False,
                ready_marker=guest.ready_marker,
                started_at_s=time.time(),
                directory=directory,
                qemu=None,
                owner=ProcessIdentity.own(),
            )
            plan = LaunchPlan(
                record=record,
                qemu=qemu,
                vcpus=guest.cpus,
                board=board,
                store=StateStore(cache_path() / "states"),
                resume_key=None if cold else key,
                save_key=key,
                report=report.keep,
                traceable=self._traceable,
            )
            try:
                record.save()
                machine = self._machine_of(record, background)
                started = self._begin(machine, background, lambda: start(machine, plan, background))
            except BaseException:
                remove_machine_directory(directory)
                raise
        self._await(machine, started, background, report, cancelled)
        return machine

    def attach(self, qmp_socket: Path, *, name: str | None = None) -> Machine:
        """Look into a QEMU that someone else started. It is never ended from here.

        Raises `NotQmp`, `SocketTaken` (within 3 s), `SharedMemoryMissing`, other MachineError, GuestMemoryError.
        """
        background = self._hold_loop()
        if name is not None and not is_valid_name(name):
            raise NameInvalid(name)
        taken = self._live_names()
        if name is not None and name in taken:
            raise NameTaken(name)
        with _typed(f"{qmp_socket} could not be attached to"):
            machine = background.run(
                attach_on_loop(background, Path(qmp_socket).absolute(), name=name, taken=taken, emit=self._emit)
            )
        try:
            self._register(machine)
        except BaseException:
            background.run(machine.detach_on_loop())
            machine.release_ram()
            raise
        return machine

    def adopt(self, name: str) -> Machine:
        """Take over a machine whose owner has ended, or that was detached.

        Raises `NoSuchMachine`, `MachineOwned`, other MachineError, GuestMemoryError.
        """
        with _typed(f"'{name}' could not be taken over"):
            return self._adopt(name)

    def _adopt(self, name: str) -> Machine:
        background = self._hold_loop()
        with runtime_lock() as runtime:
            record = load_record(runtime / name) if is_valid_name(name) else None
            if record is not None:
                remove_if_dead(record.directory)
                record = load_record(record.directory)
            if record is None or not record.qemu_alive:
                raise NoSuchMachine(name, tuple(path.name for path in machine_directories()))
            if record.owner is not None and record.owner.alive:
                raise MachineOwned(name, record.owner.pid)
            owned = record.replace(owner=ProcessIdentity.own())
            machine = self._machine_of(owned, background)
            started = self._begin(machine, background, lambda: adopt_on_loop(machine, owned, background))
        self._await(machine, started, background, _Report(None), None)
        return machine

    def open_dump(self, path: Path, *, name: str | None = None, progress: Progress | None = None) -> OpenedDump:
        """Look at a dump as at a paused machine, called like its file where no name is given.

        Raises `NameInvalid`, `NameTaken`, other MachineError, GuestMemoryError.
        """
        if name is not None and not is_valid_name(name):
            raise NameInvalid(name)
        with _typed(f"{path} could not be opened"):
            dump = open_dump(path, name or "dump", progress)
            with self._lock:
                try:
                    self._keep_dump(dump, name)
                except BaseException:
                    dump.release_ram()
                    raise
        return dump

    def _keep_dump(self, dump: OpenedDump, name: str | None) -> None:
        if self._closed:
            raise MachineError(_ENDING)
        taken = self._live_names() | self._machines.keys()
        if name is not None and name in taken:
            raise NameTaken(name)
        dump.rename(name or name_for_dump(dump.path, taken))
        self._dumps[dump.name] = dump

    def detach(self, name: str) -> None:
        """Let go of a machine and leave it running. Raises `NoSuchMachine`, MachineError."""
        machine = self.get(name)
        if isinstance(machine, OpenedDump):
            raise DumpStandsStill(name)
        if machine.info.state is MachineState.STARTING:
            raise MachineError(f"'{name}' is still starting; try again in a moment.")
        if not machine.info.state.ended:
            self._hold_loop().run(machine.detach_on_loop())
        with contextlib.suppress(NoSuchMachine):  # who saw its end may have been quicker
            self.remove(name)

    def remove(self, name: str) -> None:
        """Forget a machine that has ended, and its RAM, or close a dump.

        Raises `NoSuchMachine`; MachineError when it has not ended.
        """
        machine = self.get(name)
        if isinstance(machine, OpenedDump):
            with self._lock:
                self._dumps.pop(name, None)
            machine.release_ram()
            return
        if not machine.info.state.ended:
            raise MachineError(f"'{name}' has not ended; stop it first.")
        with self._lock:
            if self._machines.get(name) is machine:
                del self._machines[name]
        machine.release_ram()

    def machines(self) -> tuple[AnyMachine, ...]:
        """All machines, also ended ones that were not removed, in the order in which they came; then dumps."""
        with self._lock:
            return (*self._machines.values(), *self._dumps.values())

    def get(self, name: str) -> AnyMachine:
        """The machine or dump of this name. Raises `NoSuchMachine`."""
        with self._lock:
            found = self._machines.get(name) or self._dumps.get(name)
            if found is None:
                raise NoSuchMachine(name, (*self._machines, *self._dumps))
            return found

    def subscribe(self, callback: EventCallback) -> Callable[[], None]:
        """Have `callback` called with each event of each machine. See `Machine.subscribe`."""
        with self._lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    def close(self) -> None:
        """Stop all machines except detached and attached ones, which are let go, and leave nothing behind.

        Does nothing the second time. What cannot be stopped is left for the next start to find.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            background, self._background = self._background, None
            machines = tuple(self._machines.values())
            dumps, self._dumps = self._dumps, {}
        atexit.unregister(self.close)
        for dump in dumps.values():
            dump.release_ram()
        if background is None:
            return
        try:
            background.run(_end_all(machines))
        finally:
            for machine in machines:
                machine.release_ram()
            release_loop(background)

    def __enter__(self) -> MachineManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold_loop(self) -> BackgroundLoop:
        with self._lock:
            if self._closed:
                raise MachineError(_ENDING)
            if self._background is None:
                self._background = acquire_loop()
            return self._background

    def _make_room(self, size_bytes: int) -> None:
        # Ended machines' RAM is kept to be looked at, but not at the cost of a new one.
        if free_for_ram(self._shared_memory) < size_bytes:
            for machine in self.machines():
                if machine.info.state.ended:  # never a dump
                    machine.release_ram()

    def _machine_of(self, record: MachineRecord, background: BackgroundLoop) -> Machine:
        info = MachineInfo(
            name=record.name,
            guest=record.guest,
            state=MachineState.STARTING,
            accelerator=record.accelerator,
            accelerator_reason=record.accelerator_reason,
            pid=None if record.qemu is None else record.qemu.pid,
            ram_bytes=record.ram_bytes,
            started_at_s=record.started_at_s,
            attached=False,
            warm=record.warm,
            message="",
        )
        return Machine(
            background,
            info,
            backend=BACKEND_ID,
            ready_marker=record.ready_marker,
            record=record,
            emit=self._emit,
        )

    def _begin(
        self, machine: Machine, background: BackgroundLoop, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> concurrent.futures.Future[None]:
        # In one step: a `close` on another thread either refuses the machine or ends it.
        with self._lock:
            self._register(machine)
            return background.spawn(machine.run_start(work()))

    def _register(self, machine: Machine) -> None:
        with self._lock:
            if self._closed:
                raise MachineError(_ENDING)
            if machine.name in self._dumps:
                raise NameTaken(machine.name, "is open already: it is a dump")
            before = self._machines.get(machine.name)
            if before is not None:
                if not before.info.state.ended:
                    raise NameTaken(machine.name)
                del self._machines[machine.name]
                before.release_ram()
            self._machines[machine.name] = machine

    def _live_names(self) -> frozenset[str]:
        with self._lock:
            alive = (name for name, machine in self._machines.items() if not machine.info.state.ended)
            return frozenset((*alive, *self._dumps))

    def _emit(self, event: MachineEvent) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback(event)

    def _await(
        self,
        machine: Machine,
        started: concurrent.futures.Future[None],
        background: BackgroundLoop,
        report: _Report,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        try:
            while not started.done():
                if cancelled is not None and cancelled():
                    raise LaunchCancelled(machine.name)  # noqa: TRY301
                report.pass_on()
                concurrent.futures.wait([started], _CANCEL_POLL_S)
            report.pass_on()
            started.result()
        except BaseException as error:
            # Also for Ctrl+C here: nothing half-started is left to itself.
            with contextlib.suppress(MachineError):
                concurrent.futures.wait([background.spawn(machine.stop_on_loop(5))])
            self._drop(machine)
            if isinstance(error, concurrent.futures.CancelledError):
                raise LaunchCancelled(machine.name) from None
            raise

    def _drop(self, machine: Machine) -> None:
        with self._lock:
            if self._machines.get(machine.name) is machine:
                del self._machines[machine.name]
        machine.release_ram()


class _Report:
    """Carries progress from the loop's thread to the caller's."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._latest: tuple[str, float] | None = None

    def tell(self, step: str, fraction: float) -> None:
        """On the caller's thread."""
        if self._progress is not None:
            self._progress(step, fraction)

    def keep(self, step: str, fraction: float) -> None:
        """On the loop's thread."""
        self._latest = (step, fraction)

    def pass_on(self) -> None:
        """On the caller's thread."""
        latest, self._latest = self._latest, None
        if latest is not None:
            self.tell(*latest)


@contextlib.contextmanager
def _typed(failed: str) -> Iterator[None]:
    """Tell trouble with files (no room, no right, no such directory) as what it made impossible."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"{failed}: {error}.") from error


def _checked_ram(guest: Guest, ram_bytes: int | None) -> int:
    size_bytes = guest.ram_bytes if ram_bytes is None else ram_bytes
    if size_bytes % MIB or not guest.min_ram_bytes <= size_bytes <= guest.max_ram_bytes:
        raise RamSizeInvalid(guest.name, size_bytes, guest.min_ram_bytes, guest.max_ram_bytes)
    return size_bytes


async def _end_all(machines: tuple[Machine, ...]) -> None:
    async def end(machine: Machine) -> None:
        if machine.info.state.ended:
            return
        if machine.info.attached or machine.detached:
            await machine.detach_on_loop()
        else:
            await machine.stop_on_loop(5)

    results = await asyncio.gather(*map(end, machines), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
