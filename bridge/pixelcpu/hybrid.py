"""Hybrid execution: a machine's loops done by proved kernels, in the plugin, between QEMU's own rounds.

Kernels stand in a table of the shared memory (tcg_plugin/trace_format.h, tcg_plugin/kernels.c). Nothing of it is needed
while they run: whoever put them there may end at any moment.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.gpu_back_end import BackEnd
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.round_shape import shape_of
from bridge.pixelcpu.x86_state import REGISTERS
from bridge.trace.layout import layout
from bridge.trace.session import TraceSession

LEAST_API = 7
"""Of QEMU's plugin interface: before it plugins cannot write registers."""
_ALIGN = 64


class Live(StrEnum):
    """What became of a kernel in the plugin."""

    NONE = "none"
    LIVE = "live"
    BAD = "bad"
    WRONG = "wrong"


class Declined(StrEnum):
    """Why the plugin left rounds to QEMU, in words."""

    FEW = "too few rounds"
    MEASURING = "QEMU's own speed was measured"
    SLOW = "QEMU is as fast"
    MODE = "not 64-bit code"
    CHANGED = "the code was changed"
    SPACE = "other page tables are in use"
    ABSENT = "a page is not there"
    RIGHTS = "a page may not be written, or was not yet"
    DEVICE = "it is not RAM"
    CODE = "code is where it would store"
    MEET = "what it stores is too close to what it loads"
    ACROSS = "an access goes across the end of a page"
    SMP = "it stores while other processors may look"
    WATCHED = "each access is watched"


@dataclass(frozen=True, slots=True)
class ToldGpu:
    """What the plugin says of a kernel on the GPU."""

    wrong: str
    """What differed from QEMU, in words; empty where nothing did."""
    calls: int
    rounds: int
    seconds: float
    """That its calls took, from the request until what was stored is in place."""
    call_ns: float
    """That a call takes besides its rounds; 0: not known yet."""
    round_ns: float
    """That a round takes in a call of many; 0: not known yet."""
    host_round_ns: float
    """The same by the host's native code."""
    longest_ms: float
    timeouts: int
    """Requests that had no answer in time …"""
    refused: int
    """… and that were answered with nothing: the host did these rounds."""
    unfit: int
    """Times that nothing could be asked: a page has two addresses, or streams meet."""
    verified: int
    """Calls whose results were QEMU's."""


class NoRoom(PixelError):
    """The table of kernels, or the memory for their code, is full."""


class NoTakeover(PixelError):
    """The machine's QEMU has no plugin, or one that cannot take loops over; the text says what would."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the plugin says of a kernel. Ticks are of the host's time-stamp counter."""

    slot: int
    id: int
    state: Live
    wrong: str
    """What differed from QEMU, in words; empty where nothing did."""
    translations: int
    """Of blocks that begin with its loop."""
    looks: int
    """How often it was considered …"""
    calls: int
    """… and did rounds."""
    rounds: int
    seconds: float
    """That its calls took, all included."""
    round_ns: float
    """That a round took under QEMU at least; 0: not known yet."""
    call_ns: float
    """That a call takes besides its rounds; 0: not known yet."""
    least_rounds: int
    longest_ms: float
    verified: int
    """Calls whose results were QEMU's."""
    verified_rounds: int
    abandoned: int
    declined: Mapping[Declined, int]
    gpu: ToldGpu | None = None
    """Of its rounds on the GPU, which are among those above; None where it was never asked."""

    @property
    def speed_up(self) -> float:
        """How much faster its rounds were than QEMU's; 0 where that is not known yet."""
        return self.round_ns * 1e-9 * self.rounds / self.seconds if self.seconds else 0.0


class KernelTable:
    """A machine's table of kernels, and whoever runs what is in it. Thread-safe."""

    counts_rounds: bool
    """Whether rounds that kernels do count as entries of their blocks, in what the session tells."""
    way: str
    """Who runs them, in a word or two."""
    asks_gpu = False
    """Whether who runs them asks whoever has a GPU."""

    def __init__(self, session: TraceSession) -> None:
        self._session, self._memory = session, session.memory
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether loops are taken over."""
        raise NotImplementedError

    def why_not(self, _loop: NativeLoop) -> str:
        """Why a loop cannot be done in this way, in a sentence; empty where it can."""
        return ""

    def check(self) -> None:
        """Raises WorkerLost where what runs for it has ended."""

    def close(self) -> None:
        """Leave everything to QEMU, and end what runs for it. Does nothing the second time."""
        raise NotImplementedError

    def _take_over(self, *, on: bool) -> None:
        """Have the table taken as it is now, and used or not; with the lock held."""
        raise NotImplementedError

    def install(self, loops: Mapping[int, NativeLoop | None], *, verify: bool = False) -> None:
        """Put loops into slots, or nothing; and have the plugin use the table. Takes some milliseconds, however many.

        `verify`: their results are compared with QEMU's, and not used. Raises NoRoom, TraceError, MachineError.
        """
        with self._lock:
            for slot, loop in loops.items():
                if loop is None:
                    self._memory.kernels["id"][slot] = 0
            self._write({slot: loop for slot, loop in loops.items() if loop is not None}, verify)
            self._take_over(on=True)

    def free_slots(self) -> list[int]:
        """Those that hold nothing."""
        return [int(slot) for slot in np.flatnonzero(self._memory.kernels["id"] == 0)]

    def id_of(self, slot: int) -> int:
        """The number of the kernel in a slot, which is another one each time; 0: there is none."""
        return int(self._memory.kernels["id"][slot])

    def prefer(self, back_end: BackEnd) -> None:
        """Say who does rounds from now on, where several can."""
        self._memory.reader["back_end"] = layout().constants[f"BACK_END_{back_end.name}"]

    def switch(self, *, on: bool) -> None:
        """Use the table, or leave everything to QEMU. Raises TraceError, MachineError."""
        with self._lock:
            self._take_over(on=on)

    def clear(self) -> None:
        """Empty the table, and leave everything to QEMU. Raises TraceError, MachineError."""
        with self._lock:
            self._memory.kernels["id"] = 0
            self._take_over(on=False)

    def told(self) -> list[Told]:
        """Of each kernel that the plugin has taken, by slot."""
        hz = int(self._memory.plugin["tsc_hz"]) or 1_000_000_000
        by_gpu = self._memory.gpu_told.copy()  # first: a call counts there last
        return [
            _told(slot, one, by_gpu[slot], hz)
            for slot, one in enumerate(self._memory.kernels_told.copy())
            if int(one["id"]) and int(one["id"]) == int(self._memory.kernels["id"][slot])
        ]

    def _write(self, loops: Mapping[int, NativeLoop], verify: bool) -> None:
        kernels, constants = self._memory.kernels, layout().constants
        for slot in loops:
            kernels["id"][slot] = 0
        for slot, loop in loops.items():
            at = self._room(len(loop.native))
            self._memory.kernel_code[at : at + len(loop.native)] = np.frombuffer(loop.native, np.uint8)
            entry = np.zeros((), layout()["kernel"])
            entry["native"], entry["native_bytes"] = at, len(loop.native)
            entry["plan"], entry["run"] = loop.plan, loop.run
            entry["flags"] = (
                verify * constants["KERNEL_VERIFY"]
                | loop.ordered * constants["KERNEL_ORDERED"]
                | loop.ends_itself * constants["KERNEL_ENDS_ITSELF"]
            )
            entry["code"][: len(loop.code)] = np.frombuffer(loop.code, np.uint8)
            entry["code_bytes"] = len(loop.code)
            shape = shape_of(loop.code)
            entry["first_bytes"] = shape.first_bytes if shape is not None else len(loop.code)
            entry["streams"], entry["accesses"] = len(loop.streams), len(loop.access_streams)
            entry["reads"] = sum(1 << word for word in loop.reads)
            entry["writes"] = sum(1 << word for word in loop.writes)
            for half, word in loop.halves.items():
                entry["halves"][half] = word
            entry["access_stream"][: len(loop.access_streams)] = loop.access_streams
            for number, stream in enumerate(loop.streams):
                one = entry["stream"][number]
                one["stride"], one["bytes"] = stream.stride % (1 << 64), stream.size
                one["group"], one["stores"] = stream.group, int(stream.is_store)
            number = 1 + max(int(kernels["id"].max()), int(self._memory.kernels_told["id"].max()))
            kernels[slot] = entry
            kernels["id"][slot] = number  # last: half an entry is none

    def _room(self, size: int) -> int:
        """Where so many bytes of code fit between those that are there. Raises NoRoom."""
        kernels = self._memory.kernels
        taken = sorted(
            (int(one["native"]), int(one["native"]) + int(one["native_bytes"])) for one in kernels if int(one["id"])
        )
        at = 0
        for start, end in taken:
            if at + size <= start:
                break
            at = max(at, -(-end // _ALIGN) * _ALIGN)
        if at + size > len(self._memory.kernel_code):
            raise NoRoom("There is no room for more kernels' code.")
        return at


class Hybrid(KernelTable):
    """In the plugin, between QEMU's own rounds."""

    counts_rounds = True
    way = "plugin"
    asks_gpu = True

    def __init__(self, session: TraceSession) -> None:
        """Raises NoTakeover."""
        api = int(session.memory.plugin["api"])
        if api < LEAST_API:
            raise NoTakeover(
                f"This machine's QEMU has plugin interface {api}; registers can be written from {LEAST_API} on, "
                "QEMU 11.1: ./glassbox qemu fetch has one for you alone."
            )
        super().__init__(session)

    @property
    def on(self) -> bool:
        """Whether loops are taken over."""
        return bool(int(self._memory.plugin["parts"]) & layout().constants["KERNELS"])

    def close(self) -> None:
        """Nothing runs for it but the plugin."""

    def _take_over(self, *, on: bool) -> None:
        self._session.take_over(on=on)


def _told(slot: int, one: Any, gpu: Any, hz: int) -> Told:
    constants = layout().constants
    states = {constants[f"KERNEL_{state.name}"]: state for state in Live}
    state = states.get(int(one["state"]), Live.BAD)
    return Told(
        slot=slot,
        id=int(one["id"]),
        state=state,
        wrong=_wrong(one) if state is Live.WRONG else "",
        translations=int(one["translations"]),
        looks=int(one["looks"]),
        calls=int(one["calls"]),
        rounds=int(one["rounds"]),
        seconds=int(one["ticks"]) / hz,
        round_ns=int(one["round_ticks"]) / 256 / hz * 1e9,
        call_ns=int(one["call_ticks"]) / hz * 1e9,
        least_rounds=int(one["least_rounds"]),
        longest_ms=int(one["longest_ticks"]) / hz * 1e3,
        verified=int(one["verified"]),
        verified_rounds=int(one["verified_rounds"]),
        abandoned=int(one["abandoned"]),
        declined={why: count for why in Declined if (count := int(one["declined"][constants[f"DECLINED_{why.name}"]]))},
        gpu=_told_gpu(gpu, hz) if int(gpu["state"]) and int(gpu["id"]) == int(one["id"]) else None,
    )


def _told_gpu(one: Any, hz: int) -> ToldGpu:
    return ToldGpu(
        wrong=_wrong(one) if int(one["state"]) == layout().constants["KERNEL_WRONG"] else "",
        calls=int(one["calls"]),
        rounds=int(one["rounds"]),
        seconds=int(one["ticks"]) / hz,
        call_ns=int(one["call_ticks"]) / hz * 1e9,
        round_ns=int(one["round_ticks"]) / 256 / hz * 1e9,
        host_round_ns=int(one["host_round_ticks"]) / 256 / hz * 1e9,
        longest_ms=int(one["longest_ticks"]) / hz * 1e3,
        timeouts=int(one["timeouts"]),
        refused=int(one["refused"]),
        unfit=int(one["unfit"]),
        verified=int(one["verified"]),
    )


def _wrong(one: Any) -> str:
    word = int(one["wrong_word"])
    expected, found = int(one["wrong_expected"]), int(one["wrong_found"])
    what = f"stream {word - 64}" if word >= 64 else REGISTERS[word] if word < len(REGISTERS) else f"word {word}"
    return f"{what}: the kernel made {expected:#x}, QEMU {found:#x}"
