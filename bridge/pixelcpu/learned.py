"""Learned: what is known of a loop's code when all was tried that can be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bridge.pixelcpu.library import hash_of
from bridge.pixelcpu.loop_text import LoopText
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.native_loop import Figures, GpuRecord, NativeLoop, NativeRecord
from bridge.pixelcpu.translation import Translation


class State(StrEnum):
    """How far a loop has come; what is left to QEMU stays so."""

    TRACED = "traced"
    LIFTED = "lifted"
    """Its round is microcode, instruction by instruction."""
    SYNTHESISED = "synthesised"
    """That is as cheap as was found in time, and z3 has proved both equal."""
    PROVED = "proved"
    """What its rounds do together was shown, and it has a kernel."""
    TESTED = "tested"
    """Its round, and its native code over many rounds, were run beside Unicorn, and nothing differed."""
    LIVE = "live"
    """It is in a machine's plugin."""
    QEMU_ONLY = "QEMU only"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What became of a round's direct translation."""

    direct_length: int
    """Instructions of the direct translation …"""
    direct_cost: int
    """… and what they cost, as the table of instructions has it."""
    n_tried: int
    """Guesses that were tried on examples."""
    n_refuted: int
    """Of those that survived, how many the solver refuted."""
    n_reused: int
    """Changes that were known from other code."""
    ms: float


@dataclass(frozen=True, slots=True)
class Learned:
    """A loop that was learned or given up; it can be kept, and sent anywhere."""

    code: bytes
    reached: State
    """The last of traced, lifted, synthesised, proved and tested that it came to."""
    reason: str = ""
    """Why it is left to QEMU, in a sentence; empty where it has native code that may run."""
    loop: LoopText | None = None
    translation: Translation | None = None
    """Of its round."""
    rounds: Program | None = None
    """The kernel: round i in lane i."""
    native: NativeLoop | None = None
    synthesis: Synthesis | None = None
    """How its round's microcode became cheaper; None where it did not come to that."""
    solver: str = ""
    query_hash: str = ""
    """SHA-256 of what the solver was asked of the round."""
    ms_proof: float = 0.0
    n_states: int = 0
    """On which the round did what Unicorn does; none differed."""
    native_test: NativeRecord | None = None
    """Of the native code, run beside Unicorn; None where it did not come to that."""
    figures: Figures | None = None
    """What the native code takes here."""
    gpu_test: GpuRecord | None = None
    """Of its kernel on the GPU that was there last, run beside Unicorn; None where there never was one."""
    ms: float = 0.0
    """Milliseconds for all of it, when it was made."""

    @property
    def x86_hash(self) -> str:
        """What it is known by."""
        return hash_of(self.code)

    @property
    def state(self) -> State:
        """TESTED, or QEMU_ONLY where there is a reason."""
        return State.QEMU_ONLY if self.reason else self.reached
