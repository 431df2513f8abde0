"""One machine: its state, exact at every moment, and what can be done to it, from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.machine import bounded_log
from bridge.machine.background import BackgroundLoop
from bridge.machine.console import Console
from bridge.machine.errors import MachineError, MachineGone, MachineNotOurs, describe_exit
from bridge.machine.qmp import COMMAND_TIMEOUT_S, QmpConnection
from bridge.machine.readiness import Readiness
from bridge.machine.records import MachineRecord
from bridge.machine.run_gate import RunGate
from bridge.machine.states import EventCallback, MachineEvent, MachineInfo, MachineState, Usage
from bridge.machine.usage_meter import NOTHING, UsageMeter
from bridge.machine.watched_process import WatchedProcess
from bridge.memory.errors import GuestMemoryError
from bridge.memory.physical_map import query_physical_map
from bridge.memory.ram import GuestRam
from bridge.trace.errors import BadTraceMemory
from bridge.trace.shared_memory import TraceMemory

_LOG = logging.getLogger(__name__)
_KILL_WAIT_S = 3.0
_HOUSEKEEPING_S = 1.0
_LOG_BYTES = 1 << 20
# The firmware rearranges RAM below 1 MiB in its first moments; after that the memory map stays.
_MAP_SETTLED_S = 1.5
# What QEMU said before its end is there by then, also where this process had no turn for a while.
_LAST_WORDS_S = 2.0
_RECONNECT_AFTER_S = (0.0, 0.5, 2.0)
# Ours alone: a saved state's coming and going is told by SAVED.
_UNTOLD = frozenset({"MIGRATION", "MIGRATION_PASS"})
_RUN_STATE = frozenset({"STOP", "RESUME"})


class Machine:
    """A VM that this process owns, or is attached to. Get one from a `MachineManager`.

    Thread-safe. What takes time blocks the caller, never longer than it says, and must not be called from an event
    callback (`WrongThread`); `info`, `usage` and the console never block.
    """

    def __init__(
        self,
        background: BackgroundLoop,
        info: MachineInfo,
        *,
        backend: str,
        ready_marker: bytes | None,
        record: MachineRecord | None,
        emit: EventCallback,
    ) -> None:
        """Use `MachineManager.launch`, `adopt` or `attach`."""
        self.name = info.name
        self.console = Console(info.name)
        self.ram: GuestRam | None = None
        self.trace: TraceMemory | None = None
        """What the plugin that watches the guest's execution fills; None where there is none, for `trace_problem`."""
        self.trace_problem = "This QEMU was started by somebody else, without the plugin that watches execution."
        self.record = record
        self.backend = backend
        self.on_ready: Callable[[], None] | None = None
        """Called on the loop when the guest is up, for the one who started it."""
        self._background = background
        self._info = info
        self._emit_to_manager = emit
        self._callbacks: list[EventCallback] = []
        self._callbacks_lock = threading.Lock()
        self._readiness = Readiness(ready_marker)
        self._hold_lock = threading.Lock()
        self._usage = UsageMeter()
        # What follows belongs to the loop's thread.
        self._starting: asyncio.Task[Any] | None = None
        self._process: WatchedProcess | None = None
        self._qmp: QmpConnection | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._ended: asyncio.Event = asyncio.Event()
        self._run_state = asyncio.Lock()
        self._quiet = False
        self._stop_wanted = False
        self._shutdown: Mapping[str, Any] | None = None

    # --- for everybody

    @property
    def info(self) -> MachineInfo:
        """The facts now. Never blocks."""
        return self._info

    @property
    def ready(self) -> bool:
        """True once the guest has said that it is up, or was resumed from when it had."""
        return self._readiness.reached

    @property
    def detached(self) -> bool:
        """True when the machine goes on without this process."""
        return self.record is not None and self.record.detached

    def pause(self) -> None:
        """Stop the guest's processors. Does nothing when they are stopped."""
        self._background.run(self._change_run_state("stop"))

    def resume(self) -> None:
        """Let the guest go on. Does nothing when it runs."""
        self._background.run(self._change_run_state("cont"))

    def reset(self) -> None:
        """Press the reset button: the guest boots anew, with its RAM as it is."""
        self._background.run(self._change_run_state("system_reset"))

    def stop(self, *, timeout_s: float = 5) -> None:
        """End the machine and remove all that is left of it; a QEMU that hangs is killed. Does nothing when it ended.

        Also ends a launch that is under way, which then raises `LaunchCancelled`. Raises `MachineNotOurs` for an
        attached machine.
        """
        if self._info.state.ended:
            return
        self._background.run(self.stop_on_loop(timeout_s))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop the guest for the length of the body, and let it go on if it ran."""
        with self._hold_lock:
            ran = self._info.state is MachineState.RUNNING
            if ran:
                self.pause()
            try:
                yield
            finally:
                if ran and not self._info.state.ended:
                    self.resume()

    @contextlib.contextmanager
    def briefly_held(self) -> Iterator[None]:
        """Stop the guest for the length of the body, some milliseconds, without telling anybody.

        Other changes of its run state wait meanwhile.
        """
        hold = self.quietly_paused(briefly=True)
        self._background.run(hold.__aenter__())
        try:
            yield
        finally:
            self._background.run(hold.__aexit__(None, None, None))

    def open_trace(self, path: Path) -> None:
        """Map the shared memory that the machine's plugin fills, where there is one."""
        try:
            self.trace, self.trace_problem = TraceMemory.open(path), ""
        except FileNotFoundError:
            self.trace_problem = "The machine was started without the plugin that watches execution."
        except (OSError, BadTraceMemory) as error:
            self.trace_problem = f"Its trace cannot be opened: {error}."

    def kick(self) -> None:
        """Have every processor of a guest that runs stop and go on, quietly: there the plugin looks for wishes."""
        with self.briefly_held():
            pass

    @property
    def runs(self) -> bool:
        """True while the guest's processors run."""
        return self._info.state is MachineState.RUNNING

    def usage(self) -> Usage:
        """What the machine costs now. Never blocks, never raises; zero when there is no process to ask."""
        pid = self._info.pid
        return NOTHING if pid is None or self._info.state.ended else self._usage.read(pid)

    def qmp(self, command: str, /, **arguments: Any) -> Any:
        """Run a QMP command and return QEMU's reply.

        Raises `QmpCommandFailed`, `QmpTimeout` (after 5 s), or `MachineGone`.
        """
        return self._background.run(self.execute(command, arguments))

    def subscribe(self, callback: EventCallback) -> Callable[[], None]:
        """Have `callback` called with each event, on the QMP thread: it must return at once. Returns the way out."""
        with self._callbacks_lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._callbacks_lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the guest is up. False when it is not in time, has ended, or nothing tells when it would be."""
        return self._readiness.wait(timeout_s)

    def refresh_physical_map(self) -> None:
        """Ask QEMU anew where RAM lies in the guest's address space. Raises MachineError, GuestMemoryError."""
        ram = self.ram
        if ram is not None and not ram.closed:
            ram.physical_map = query_physical_map(self.qmp, self.backend)

    # --- for the parts of this package; on the loop's thread

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Any:
        """Run a QMP command. See `qmp`."""
        connection = self._qmp
        if connection is None or not connection.is_open:
            if self._info.state is MachineState.STARTING:
                raise MachineError(f"'{self.name}' is still starting; try again in a moment.")
            raise MachineGone(self.name, "has ended" if self._info.state.ended else "can no longer be talked to")
        return await connection.execute(command, arguments, timeout_s)

    async def run_start(self, start: Any) -> None:
        """Be STARTING for as long as `start` (a coroutine) takes, and let `stop` cancel it."""
        self._starting = asyncio.ensure_future(start)
        self.emit("STATE", {"state": str(self._info.state), "message": ""})
        try:
            await self._starting
        except asyncio.CancelledError:
            # Cancelled from outside: let it clean up behind itself first.
            self._starting.cancel()
            await asyncio.wait([self._starting])
            self._end(MachineState.STOPPED, "The start was cancelled.")
            raise
        except BaseException as error:
            self._end(MachineState.CRASHED, str(error))
            raise
        finally:
            self._starting = None

    def set_pid(self, pid: int) -> None:
        """QEMU has been started."""
        self._info = dataclasses.replace(self._info, pid=pid)

    def take(self, *, qmp: QmpConnection, process: WatchedProcess | None, state: MachineState) -> None:
        """QEMU can be talked to: from now on this object answers for it. `on_event` is to have been its handler."""
        self._qmp, self._process = qmp, process
        if process is not None:
            self._spawn(self._watch_process(process))
        self._spawn(self._keep_house())
        self.update(state=state)
        if self.ready:  # a guest that is up before its start is over
            self._after_ready()

    def update(self, **changes: Any) -> None:
        """Change facts, and tell everybody."""
        before = self._info
        if before.state.ended:  # an event that was still on its way
            return
        self._info = dataclasses.replace(before, **changes)
        if self._info != before:
            self.emit("STATE", {"state": str(self._info.state), "message": self._info.message})

    def emit(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Tell the subscribers."""
        event = MachineEvent(self.name, kind, time.time(), detail)
        with self._callbacks_lock:
            callbacks = [self._emit_to_manager, *self._callbacks]
        for callback in callbacks:
            try:
                callback(event)
            except Exception:  # noqa: BLE001 - a subscriber's fault must not end the machine's connection
                _LOG.exception("A subscriber failed on %s of %s", kind, self.name)

    def on_event(self, kind: str, data: Mapping[str, Any]) -> None:
        """An event of QEMU's."""
        if kind in _UNTOLD or (kind in _RUN_STATE and (self._quiet or self._is_ours(kind))):
            return
        self.emit(kind, data)
        if kind == "SHUTDOWN":
            self._shutdown = data
        elif kind == "STOP":
            self.update(state=MachineState.PAUSED)
        elif kind == "RESUME":
            self.update(state=MachineState.RUNNING, message="")
        elif kind == "GUEST_PANICKED":
            message = "The guest's kernel panicked. It is paused, so that its memory can be looked at."
            self.update(state=MachineState.PAUSED, message=message)
        elif kind == "RESET":
            self._spawn(self._settle_map())

    def _is_ours(self, kind: str) -> bool:
        """Whether the guest stands, or runs, only since it came to a breakpoint of ours, or left it: it is not told."""
        gate = RunGate.found_in(self.record.directory) if self.record is not None else None
        if gate is None:
            return False
        with contextlib.closing(gate):
            if gate.held != (kind == "STOP"):
                return True
        return self._info.state is (MachineState.PAUSED if kind == "STOP" else MachineState.RUNNING)

    def on_output(self, data: bytes) -> None:
        """Output on the console: watch for the ready marker."""
        if self._readiness.seen_in(data):
            self.mark_ready()

    def mark_ready(self) -> None:
        """The guest is up."""
        if self.ready:
            return
        self._keep_record(ready=True)
        self._readiness.reach()
        self.emit("READY", {})
        if self._qmp is not None:
            self._after_ready()

    def _after_ready(self) -> None:
        self._spawn(self._refresh_map_now())
        if self.on_ready is not None:
            self.on_ready()

    def on_lost(self) -> None:
        """QEMU has hung up on QMP."""
        if self._process is None and self._info.attached:
            self._end(MachineState.STOPPED, "QEMU has ended.")
        elif self._process is not None and not self._process.exited.is_set():
            self._spawn(self._reconnect())

    @contextlib.asynccontextmanager
    async def quietly_paused(self, *, briefly: bool = False) -> Any:
        """Stop the guest for the length of the body without telling anybody; yields whether it ran.

        `briefly`: the body begins no migration, so that the guest goes on at once when it ends.
        """
        async with self._run_state:
            ran = self._info.state is MachineState.RUNNING
            self._quiet = True
            try:
                if ran:
                    await self.execute("stop")
                yield ran
            finally:
                try:
                    if ran and not self._info.state.ended and self._qmp is not None:
                        await (self.execute("cont") if briefly else self._qmp.let_go_on())
                except MachineError:
                    self.update(state=MachineState.PAUSED, message="QEMU did not let the guest go on. Resume it.")
                    raise
                finally:
                    self._quiet = False

    def spawn(self, work: Any) -> None:
        """Run a coroutine for as long as the machine lives."""
        self._spawn(work)

    async def stop_on_loop(self, timeout_s: float) -> None:
        """See `stop`. Whoever comes second waits for the same end."""
        if self._info.attached:
            raise MachineNotOurs(self.name)
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.create_task(self._stop(timeout_s))
        await asyncio.shield(self._stopping)

    async def detach_on_loop(self) -> None:
        """Leave QEMU running, and let go of it."""
        # A guest that is just being saved has to go on first.
        if tasks := self._cancel_tasks():
            await asyncio.wait(tasks, timeout=COMMAND_TIMEOUT_S)
        if self._qmp is not None:
            await self._qmp.close()
        if self._process is not None:
            self._process.close()
        self.console.close()
        self._keep_record(owner=None)
        self.emit("DETACHED", {})
        self.record = None
        self._end(MachineState.STOPPED, "Detached; the machine goes on without this window.")

    def release_ram(self) -> None:
        """Close the mappings of RAM and trace (from any thread). Views of them that are out stay valid."""
        if self.ram is not None:
            self.ram.close()
        if self.trace is not None:
            self.trace, self.trace_problem = None, "The machine has ended."

    # --- inside

    async def _change_run_state(self, command: str) -> None:
        async with self._run_state:
            await self.execute(command)
            # QEMU tells nobody where the guest stood already, at a breakpoint of ours.
            if command == "stop" and self._is_ours("RESUME"):
                self.update(state=MachineState.PAUSED)

    async def _stop(self, timeout_s: float) -> None:
        self._stop_wanted = True
        if self._starting is not None:
            self._starting.cancel()
            while self._starting is not None:
                await asyncio.wait([self._starting])
        process = self._process
        if process is None or self._info.state.ended:
            return
        # A QEMU that works ends within milliseconds of `quit`; one that is stuck is told ever more plainly.
        with contextlib.suppress(MachineError):
            await self.execute("quit", timeout_s=timeout_s * 0.3)
            await process.wait(timeout_s * 0.3)
        if not process.exited.is_set():
            process.send_signal(signal.SIGTERM)
            await process.wait(timeout_s * 0.2)
        if not process.exited.is_set():
            process.send_signal(signal.SIGKILL)
            if not await process.wait(_KILL_WAIT_S):
                raise MachineError(
                    f"QEMU of '{self.name}' (process id {process.identity.pid}) cannot be killed: the kernel holds it."
                )
        await self._ended.wait()

    async def _watch_process(self, process: WatchedProcess) -> None:
        await process.exited.wait()
        # Its last words are still on their way.
        if self._qmp is not None:
            await self._qmp.wait_closed(_LAST_WORDS_S)
            await self._qmp.close()
        await self.console.drain(_LAST_WORDS_S)
        code = process.exit_code
        if self._stop_wanted or code == 0 or (code is None and self._shutdown is not None):
            by_guest = self._shutdown is not None and self._shutdown.get("guest") is True
            self._end(MachineState.STOPPED, "The guest has switched itself off." if by_guest else "")
        else:
            self._end(MachineState.CRASHED, self._obituary(code))

    def _obituary(self, code: int | None) -> str:
        text = f"QEMU {describe_exit(code)}."
        if self.record is not None:
            if code == -signal.SIGBUS:
                text += f" {self.record.ram_path.parent} is full: the guest's RAM could not grow."
            lines = bounded_log.last_lines(self.record.qemu_log)
            if lines:
                text += " It said: " + " / ".join(lines)
        return text

    def _end(self, state: MachineState, message: str) -> None:
        if self._info.state.ended:
            return
        if self.record is not None:
            self.record.remove_files()
        self.console.close()
        self._readiness.give_up()
        self._ended.set()
        self._cancel_tasks()
        if state is MachineState.CRASHED:
            self.emit("CRASH", {"message": message})
        self.update(state=state, message=message)

    async def _reconnect(self) -> None:
        # QEMU hangs up on nobody; a reply that was too long, or was no QMP, made our side do it.
        for delay_s in _RECONNECT_AFTER_S:
            await asyncio.sleep(delay_s)
            assert self._qmp is not None
            with contextlib.suppress(MachineError):
                self._qmp = await QmpConnection.open(
                    self.name, self._qmp.path, on_event=self.on_event, on_lost=self.on_lost
                )
                running = await self._qmp.status() == "running"
                self.update(state=MachineState.RUNNING if running else MachineState.PAUSED)
                return
        self.update(message="QEMU can no longer be talked to. It runs on; stop it, or wait.")

    async def _keep_house(self) -> None:
        self._spawn(self._settle_map())
        while self.record is not None:
            await asyncio.sleep(_HOUSEKEEPING_S)
            for log in (self.record.console_log, self.record.qemu_log):
                with contextlib.suppress(OSError):
                    bounded_log.trim(log, _LOG_BYTES)
            await self._clear_up_behind_gdb()
            if not self._info.message and (problem := self.record.ram_problem()):
                self.update(message=problem)

    async def _clear_up_behind_gdb(self) -> None:
        """Where all were killed who had the guest stand at breakpoints: it goes on."""
        record = self.record
        gate = RunGate.found_in(record.directory) if record is not None else None
        if record is None or gate is None:
            return
        gate.close()
        from bridge.machine.gdb_recovery import recover_if_left  # visits machines, as others do who own none

        with contextlib.suppress(MachineError):
            await asyncio.to_thread(recover_if_left, record.name, record.directory)

    async def _settle_map(self) -> None:
        # On a host that has much else to do the firmware takes longer; where it has no end to tell, it is asked again.
        for times in (1, 4, 16):
            await asyncio.sleep(times * _MAP_SETTLED_S)
            await self._refresh_map_now()

    async def _refresh_map_now(self) -> None:
        # The map that is there stays in use when QEMU has no time now.
        with contextlib.suppress(MachineError, GuestMemoryError):
            await asyncio.to_thread(self.refresh_physical_map)

    def _keep_record(self, **changes: Any) -> None:
        if self.record is not None:
            self.record = self.record.replace(**changes)
            with contextlib.suppress(OSError):  # a full disk: the record that is there serves as well
                self.record.save()

    def _cancel_tasks(self) -> set[asyncio.Task[Any]]:
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        return tasks

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("Work for %s failed", self.name, exc_info=task.exception())
