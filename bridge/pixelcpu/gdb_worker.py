"""Process that does a machine's loops by kernels through QEMU's gdbstub: breakpoints at loops, calls where it stands.

A breakpoint is at the first instruction of each loop of the table. Where a processor comes to one, all of them stand.
Then, with the run gate's lock held so that nobody lets the guest go on: the registers are read, the plan is asked, the
pages are looked up in the guest's own tables, and rounds are done over RAM in place, all but the last one at most (see
tcg_plugin/outside/outside.c, which is the plugin's code). Registers are written, one instruction is stepped over, and
the guest goes on, with the breakpoint in place: the round that is left to QEMU leaves the loop, and no stop is taken
for it. Faults, interrupts and the way out of the loop are QEMU's, as in the plugin.

What QEMU does not know of cannot hurt it. No processor runs meanwhile. Pages with translated code are not stored to
(the plugin tells which: `code_pages`); nothing but those and a migration makes QEMU look for stores. Its TLB stays
right: page tables are only read, and pages are taken only where the processor would change nothing in their entries.
Stores can be seen by other processors in one order only, as all of them stand.

When Glassbox ends, the socket to it does, and this process takes all breakpoints away and lets the guest go. When this
process is killed, Glassbox does that (bridge/machine/gdb_recovery.py), by what the journal tells.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.machine.errors import MachineError
from bridge.machine.gdb_journal import Journal
from bridge.machine.gdb_recovery import end_server
from bridge.machine.gdbstub import SIGTRAP, GdbGone, GdbStub, GdbTimeout, Stop
from bridge.machine.run_gate import RunGate
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.gdb_economy import HIDDEN_S, NEVER, WORTH_A_LOOK, Economy, Site, Trials
from bridge.pixelcpu.gdb_frame import Frame, check_description
from bridge.pixelcpu.outside import Outside
from bridge.pixelcpu.round_shape import shape_of
from bridge.trace.errors import TraceError
from bridge.trace.futex import wake
from bridge.trace.layout import layout
from bridge.trace.shared_memory import TraceMemory

READY, TAKE, QUIET, LOUD = b"r", b"t", b"q", b"l"
"""Sent once, when it has begun; and what Glassbox sends: take the table as it is, use it no more, use it. It answers
each with the same."""
_MOST_SITES_OF_A_LOOP, _MOST_SITES = 8, 64
"""The table has room for as many loops."""
_MEASURED_S, _COMES_BACK_S = 0.003, 0.005
_HELD_POLL_S = 0.002
_SCAN_S = 0.1
_STOP_LIMIT_S = 5.0
_PUBLISH_LIMIT_S, _PUBLISH_POLL_S = 0.2, 0.0005
_MOST_IN_A_ROW = 16
_VERIFIED_ROUNDS, _VERIFY_TURN_S = 64, 0.5
_SOON = ("ABSENT", "RIGHTS", "ACROSS", "DEVICE", "CODE", "MEET")
"""A round later it may go better."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the process is told when it starts."""

    trace: str
    ram: str
    directory: str
    stub: str
    gate_fd: int
    control_fd: int
    eager: bool = False


@dataclass(frozen=True, slots=True)
class _Loop:
    """An entry of the table, as far as this side needs it."""

    code: bytes
    verifies: bool
    writes: int
    halves: dict[int, int]


class Worker:
    """The process's one object, for one thread."""

    def __init__(self, wanted: Wanted) -> None:
        """Raises MachineError, PixelError, TraceError, OSError."""
        self._wanted = wanted
        self._gate = RunGate(wanted.gate_fd)
        self._control = socket.socket(fileno=wanted.control_fd)
        self._memory = TraceMemory.open(Path(wanted.trace))
        self._journal = Journal(Journal.path_in(Path(wanted.directory)))
        self._outside = Outside(Path(wanted.trace), Path(wanted.ram), self._journal)
        threading.Thread(target=self._outside.warm, args=(Path(wanted.ram),), daemon=True).start()
        self._constants = layout().constants
        self._soon = {self._constants[f"DECLINED_{name}"] for name in _SOON}
        self._watched = sum(self._constants[name] for name in ("HEAT", "WATCH")) | self._constants["TRACES"]
        self._loops: dict[int, _Loop] = {}
        self._economies: dict[int, Economy] = {}
        self._sites: dict[int, Site] = {}
        self._on = False
        self._last: tuple[str, int, int, bytes] | None = None
        self._verify_armed, self._verify_turn_s = True, 0.0
        self._trials, self._by_kernels = Trials(eager=wanted.eager), 0
        self._scanned_s, self._blocks = 0.0, 0
        self._times = 0
        self._hz = int(self._memory.plugin["tsc_hz"]) or _ticks_a_second(self._outside)
        self._runs = False
        with self._gate.locked():
            self._stub = GdbStub.open(Path(wanted.stub))
            check_description(self._stub)
            self._stub.resynchronise()  # breakpoints of somebody who ended without
            self._times = self._gate.times
            if not self._gate.held:
                self._go_on()
        self._control.send(READY)

    def serve(self) -> None:
        """Until the control socket ends. Raises MachineError, OSError."""
        while True:
            if not self._runs:
                self._try_again()
            ready = self._wait()
            if self._runs and self._stub in ready:
                with self._gate.locked():
                    stop = self._stub.wait_stop(_STOP_LIMIT_S)
                    if stop is not None:
                        self._stopped(stop)
            if self._control in ready and not self._obeyed():
                return
            self._scan()
            self._look_at_sites()

    def leave(self) -> None:
        """Take all breakpoints away, and let the guest go where nobody wants it to stand."""
        with self._gate.locked():
            self._stub.resynchronise()
            held = self._gate.held
            self._gate.active = False
            if held:
                self._stub.close()
            else:
                self._stub.detach()

    # Waiting

    def _wait(self) -> list[Any]:
        wakes_s = float("inf")
        if self._on:
            now = monotonic()
            wakes_s = self._trials.wakes_s()
            waiting = [site.due_s for site in self._sites.values() if not site.armed and site.due_s > now]
            wakes_s = min([wakes_s, *waiting])
        if self._runs and self._stub.has_more:
            return [self._stub]
        left_s = max(0.0, min(wakes_s - monotonic(), _SCAN_S)) if self._runs else _HELD_POLL_S
        watched: list[Any] = [self._control, self._stub] if self._runs else [self._control]
        return select.select(watched, [], [], left_s)[0]

    def _obeyed(self) -> bool:
        """Do what Glassbox sent. False: it has ended."""
        try:
            orders = self._control.recv(64)
        except OSError:
            return False
        for order in (orders[n : n + 1] for n in range(len(orders))):
            if order == TAKE:
                self._take()
            elif order in (QUIET, LOUD):
                self._on = order == LOUD
            self._scan(at_once=True)
            self._with_guest_stopped(self._place_breakpoints)
            with contextlib.suppress(OSError):
                self._control.send(order)
        return bool(orders)

    def _try_again(self) -> None:
        """Somebody stopped the guest. When it was let go on, its next stop would not be told: so begin anew."""
        if self._gate.times == self._times:
            return
        with self._gate.locked():
            if self._gate.held:
                return
            self._stub.resynchronise()
            for site in self._sites.values():
                site.armed = False
            self._trials.begin_again()
            self._place_breakpoints()
            self._go_on()

    # The guest's going on; always with the gate's lock held

    def _go_on(self) -> None:
        self._stub.go_on()
        self._times, self._runs = self._gate.times, True

    def _with_guest_stopped(self, work: Any) -> None:
        if not self._runs:
            return  # it is done when the guest goes on
        with self._gate.locked():
            if self._disturbed():
                return
            self._stub.interrupt()
            stop = self._stub.wait_stop(_STOP_LIMIT_S)
            if stop is None:
                raise GdbTimeout("QEMU did not stop the guest in time.")
            work()
            self._stopped(stop, expected=True)

    def _disturbed(self) -> bool:
        """Whether somebody else stopped the guest, or let it go on, since this process did."""
        if self._gate.held or self._gate.times != self._times:
            self._runs = False
            return True
        return False

    def _stopped(self, stop: Stop, *, expected: bool = False) -> None:
        for _ in range(_MOST_IN_A_ROW):
            if self._disturbed():
                return
            if stop.signal != SIGTRAP and not expected:
                self._runs = False  # the guest did it, or somebody who goes by no gate: it stands until it is let go on
                return
            expected = False
            if stop.signal != SIGTRAP:
                break
            frame = Frame(self._stub, stop.thread)
            site = self._sites.get(frame.pc)
            if site is None or not site.armed or site.dead:
                self._place_breakpoints()
                break
            self._met(site, frame)
            self._place_breakpoints()
            site = self._sites.get(frame.pc)
            if site is None or not site.armed:
                break
            stop = self._stub.step(stop.thread)
            if stop.signal == SIGTRAP and stop.thread == frame.thread:
                break
        self._go_on()

    # Breakpoints

    def _take(self) -> None:
        self._outside.take()
        loops: dict[int, _Loop] = {}
        for slot, one in enumerate(self._memory.kernels.copy()):
            if int(one["id"]):
                halves = {half: int(word) for half, word in enumerate(one["halves"]) if int(word)}
                code = one["code"][: int(one["code_bytes"])].tobytes()
                verifies = bool(int(one["flags"]) & self._constants["KERNEL_VERIFY"])
                loops[slot] = _Loop(code, verifies, int(one["writes"]), halves)
        for slot in set(self._loops) | set(loops):
            if self._loops.get(slot) != loops.get(slot):
                self._economies[slot] = Economy(self._wanted.eager)
        self._loops = loops
        self._blocks = 0
        for site in self._sites.values():
            site.dead = site.slot not in loops or _hash(loops[site.slot].code) != site.code_hash

    def _scan(self, *, at_once: bool = False) -> None:
        """Look where the loops are, by the blocks that the plugin has seen."""
        now = monotonic()
        known = min(int(self._memory.plugin["blocks"]), len(self._memory.blocks))
        if known == self._blocks or (not at_once and now < self._scanned_s + _SCAN_S):
            return
        self._scanned_s = now
        fresh = self._memory.blocks[self._blocks : known]
        self._blocks = known
        for slot, loop in self._loops.items():
            told, shape = _hash(loop.code), shape_of(loop.code)
            # Of a loop of several blocks the first is looked for; the rest of its code is compared at each stop.
            first = loop.code if shape is None else loop.code[: shape.first_bytes]
            found = fresh[(fresh["hash"] == _hash(first)) & (fresh["bytes"] == len(first))]
            for address, n_instructions in found[["virtual_first", "instructions"]].tolist():
                mine = sum(site.slot == slot and not site.dead for site in self._sites.values())
                if address in self._sites or mine >= _MOST_SITES_OF_A_LOOP or len(self._sites) >= _MOST_SITES:
                    continue
                least = n_instructions if first == loop.code or shape is None else shape.least_instructions
                self._sites[address] = Site(address, slot, told, least, self._wanted.eager)

    def _look_at_sites(self) -> None:
        if not self._runs:
            return
        now = monotonic()
        if self._on:
            self._verify_turns()
            self._trials.tick(now, {site.page for site in self._sites.values()}, self._instructions)
        if any(site.dead or site.armed != self._wants(site, now) for site in self._sites.values()):
            self._with_guest_stopped(self._place_breakpoints)

    def _wants(self, site: Site, now: float) -> bool:
        if not self._on or site.dead or now < site.due_s:
            return False
        return self._verify_armed if self._loops[site.slot].verifies else self._trials.allows(site.page)

    def _verify_turns(self) -> None:
        """Loops that are compared have breakpoints by turns, each for a while: their pages are slow meanwhile."""
        now = monotonic()
        if now >= self._verify_turn_s:
            self._verify_armed, self._verify_turn_s = not self._verify_armed, now + _VERIFY_TURN_S

    def _instructions(self) -> int:
        """That were done so far, by QEMU and by kernels."""
        memory = self._memory
        wanted = (int(memory.reader["publish"]) + 1) & 0xFFFFFFFF
        memory.reader["publish"] = wanted
        wake(memory.reader["publish"].reshape(1))
        deadline = monotonic() + _PUBLISH_LIMIT_S
        while (int(memory.plugin["published"]) - wanted) & 0x80000000 and monotonic() < deadline:
            select.select([], [], [], _PUBLISH_POLL_S)
        known = min(int(memory.plugin["blocks"]), len(memory.blocks))
        entered = memory.counts[:, :known].sum(axis=0, dtype=np.uint64)
        return int((entered * memory.blocks["instructions"][:known]).sum(dtype=np.uint64)) + self._by_kernels

    def _place_breakpoints(self) -> None:
        """While the guest stands: have breakpoints be where they are to be."""
        now = monotonic()
        for site in list(self._sites.values()):
            wanted = self._wants(site, now)
            if site.armed and not wanted:
                self._stub.remove_breakpoint(site.address)
                site.armed = False
                self._outside.forget()
            elif wanted and not site.armed:
                self._stub.insert_breakpoint(site.address)
                site.armed = True
            if site.dead:
                del self._sites[site.address]
                self._blocks = 0  # another kernel may be for the same place
        for slot in self._loops:
            places = sum(site.slot == slot for site in self._sites.values())
            self._memory.kernels_told["translations"][slot] = places

    # At a loop

    def _met(self, site: Site, frame: Frame) -> None:
        """A processor stands at a loop: do what can be done. What is left is a round for QEMU."""
        began = perf_counter()
        loop, economy = self._loops[site.slot], self._economies[site.slot]
        told = self._memory.kernels_told[site.slot : site.slot + 1]
        told["looks"] += np.uint64(1)
        why = self._why_not(site, frame)
        if why is not None:
            self._declined(site, told, why)
            return
        state = frame.state(loop.halves)
        if loop.verifies:
            # An interrupt may come between a stop and the step: back from it, the same stop is taken once more. Each
            # round changes some register, or it would have no end.
            if self._last == (seen := (frame.thread, frame.space.root, frame.pc, state.tobytes())):
                return
            self._last = seen
            compared = int(told["verified"][0])
            if self._outside.verify_look(frame.vcpu, site.slot, frame.space, state):
                site.paid()
                if int(told["verified"][0]) != compared:
                    self._verify_turn_s = 0.0  # the guest may come on at full speed for a while
                    self._verify_turns()
                return
        rounds = self._outside.plan(site.slot, state)
        if rounds < max(2, WORTH_A_LOOK if not (economy.eager or loop.verifies) else 2):
            self._declined(site, told, self._constants["DECLINED_FEW"])
            return
        if loop.verifies:
            self._outside.verify_begin(frame.vcpu, site.slot, frame.space, state, min(rounds, _VERIFIED_ROUNDS))
            site.paid()
            return
        if economy.wants_measurement:
            self._count_declined(told, self._constants["DECLINED_MEASURING"])
            self._measure(site, frame, rounds, economy)
            self._tell(told, economy)
            return
        if rounds < economy.least_rounds:
            slow = economy.least_rounds == NEVER
            self._declined(site, told, self._constants["DECLINED_SLOW" if slow else "DECLINED_FEW"])
            return
        inside = perf_counter()
        done, why = self._outside.call(site.slot, frame.space, state, min(rounds, economy.most_rounds))
        inside_s = perf_counter() - inside
        if done:
            self._write(frame, loop, state)
            whole_s = perf_counter() - began + HIDDEN_S
            economy.called(done, inside_s, whole_s)
            self._by_kernels += done * site.n_instructions
            for name, more in (("calls", 1), ("rounds", done), ("ticks", int(whole_s * self._hz))):
                told[name] += np.uint64(more)
            told["longest_ticks"] = max(int(told["longest_ticks"][0]), int(whole_s * self._hz))
            self._tell(told, economy)
        else:
            self._journal.fulfilled()
        if done >= economy.least_rounds or (done and why is None):
            site.paid()
        if why is not None:
            if done >= economy.least_rounds:
                self._count_declined(told, why)
            else:
                self._declined(site, told, why)

    def _why_not(self, site: Site, frame: Frame) -> int | None:
        parts = int(self._memory.plugin["parts"])
        if not parts or parts & self._watched or not self._memory.whole:
            return self._constants["DECLINED_WATCHED"]
        if frame.is_stepped or not frame.is_64_bit(self._journal):
            return self._constants["DECLINED_MODE"]
        return self._outside.check(site.slot, frame.space, frame.pc)

    def _write(self, frame: Frame, loop: _Loop, state: NDArray[np.uint64]) -> None:
        changes = frame.changes(loop.halves, loop.writes, state)
        self._journal.promise(frame.thread, changes)
        for number, content in changes.items():
            self._stub.write_register(number, content)
        self._journal.fulfilled()

    def _declined(self, site: Site, told: NDArray[Any], why: int) -> None:
        self._count_declined(told, why)
        site.refused(monotonic(), soon=site.eager or why in self._soon)

    def _count_declined(self, told: NDArray[Any], why: int) -> None:
        told["declined"][0, why] += np.uint64(1)

    def _tell(self, told: NDArray[Any], economy: Economy) -> None:
        told["round_ticks"] = int(256 * economy.round_s * self._hz)
        told["call_ticks"] = int(economy.call_s * self._hz)
        told["least_rounds"] = economy.least_rounds

    def _measure(self, site: Site, frame: Frame, planned: int, economy: Economy) -> None:
        """Let QEMU do rounds for some milliseconds, with no breakpoint near, and see how far it comes."""
        for one in self._sites.values():
            if one.armed:
                self._stub.remove_breakpoint(one.address)
                one.armed = False
        began = perf_counter()
        self._stub.go_on()
        stop = self._stub.wait_stop(_MEASURED_S)
        if stop is None:
            self._stub.interrupt()
            stop = self._stub.wait_stop(_STOP_LIMIT_S)
        if stop is None:
            raise GdbTimeout("QEMU did not stop the guest in time.")
        took_s = perf_counter() - began
        left = self._left(site, frame)
        if left is None:  # an interrupt's handler, perhaps: see whether it comes back
            self._stub.insert_breakpoint(site.address)
            self._stub.go_on()
            if self._stub.wait_stop(_COMES_BACK_S) is None:
                self._stub.interrupt()
                if self._stub.wait_stop(_STOP_LIMIT_S) is None:
                    raise GdbTimeout("QEMU did not stop the guest in time.")
            self._stub.remove_breakpoint(site.address)
            left = self._left(site, frame)
        goes_on = left is not None and 0 < left < planned
        economy.measured(planned - left if goes_on and left else planned, took_s, ended=not goes_on)

    def _left(self, site: Site, before: Frame) -> int | None:
        """How many rounds the processor that stood at a loop has yet to go; None where it is not in it now."""
        now, loop = Frame(self._stub, before.thread), self._loops[site.slot]
        if not site.address <= now.pc < site.address + len(loop.code):
            return None
        if now.space.root != before.space.root or now.stack != before.stack:
            return None
        return self._outside.plan(site.slot, now.state(loop.halves))


def _hash(code: bytes) -> int:
    """FNV-1a, as the plugin makes it of a block's bytes (tcg_plugin/blocks.c)."""
    found = 0xCBF29CE484222325
    for byte in code:
        found = (found ^ byte) * 0x100000001B3 % (1 << 64)
    return found


def _ticks_a_second(outside: Outside) -> int:
    began, ticks = perf_counter(), outside.ticks()
    while perf_counter() - began < 0.01:
        pass
    return int((outside.ticks() - ticks) / (perf_counter() - began))


def main() -> None:
    """The process: `Wanted` as JSON in its first argument."""
    wanted = Wanted(**json.loads(sys.argv[1]))
    try:
        worker = Worker(wanted)
        worker.serve()
        worker.leave()
        end_server(Path(wanted.directory).name)
    except GdbGone:
        sys.exit(1)  # QEMU has ended: others tell that
    except (MachineError, PixelError, TraceError, OSError) as error:
        sys.exit(str(error))
