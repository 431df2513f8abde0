"""Proof words: what was assumed of a loop, what was shown, how it was tested, and what the machine's plugin says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.loop_words import loop_words
from app.output import plural

if TYPE_CHECKING:
    from bridge.pixelcpu.hybrid import Told
    from bridge.pixelcpu.learned import Learned
    from bridge.pixelcpu.learning import Entry


@dataclass(frozen=True, slots=True)
class Passage:
    """Some lines under a title."""

    title: str
    lines: tuple[str, ...]
    is_listing: bool = False
    """Set in columns: the lines are to be drawn with one width for all letters."""


def passages_of(one: Entry) -> tuple[Passage, ...]:
    """All that can be said of a loop, in the order in which it came about."""
    learned = one.learned
    if learned is None:
        return (Passage("Not yet", ("It waits to be lifted and proved.",)),)
    found = []
    if one.reason:
        found.append(Passage("Left to QEMU", (one.reason,)))
    if learned.synthesis is not None:
        found.append(Passage("Synthesised", _synthesised(learned)))
    if learned.query_hash:
        found.append(Passage("Shown of a round", _shown(learned)))
    if learned.loop is not None:
        found.append(Passage("Shown of all rounds", tuple(loop_words(learned.loop)), is_listing=True))
        found.append(Passage("Assumed, and looked at before each call", _assumed(learned)))
    if learned.n_states:
        found.append(Passage("Tested", _tested(learned)))
    gpu = _on_gpu(one)
    if gpu:
        found.append(Passage("On the GPU", gpu))
    if one.told is not None:
        found.append(Passage("In the machine", _told(one.told)))
    return tuple(found)


def _synthesised(learned: Learned) -> tuple[str, ...]:
    record, translation = learned.synthesis, learned.translation
    assert record is not None
    assert translation is not None
    program = translation.program
    direct = f"Its direct translation is {plural(record.direct_length, 'instruction')} of cost {record.direct_cost}"
    if program.cost == record.direct_cost:
        lines = [f"{direct}; nothing cheaper was found in {record.ms:,.0f} ms."]
    else:
        lines = [
            f"{direct}; what is proved is {plural(len(program.instructions), 'instruction')} of cost {program.cost}, "
            f"found in {record.ms:,.0f} ms."
        ]
    if record.n_reused:
        lines.append(f"{plural(record.n_reused, 'change')} of it came from templates, known from other code.")
    if record.n_tried:
        refuted = f", and {record.n_refuted:,} times the solver had a counterexample" if record.n_refuted else ""
        lines.append(f"{plural(record.n_tried, 'candidate')} ran on examples first{refuted}.")
    return tuple(lines)


def _shown(learned: Learned) -> tuple[str, ...]:
    return (
        "No state exists in which a round of the microcode and of the x86 code differ: in a register, a flag, a byte "
        "of memory, or in where they go on. Flags that the processor's manual leaves open are left out.",
        f"By {learned.solver} in {learned.ms_proof:,.0f} ms; the question's SHA-256 is {learned.query_hash[:16]}…",
    )


def _assumed(learned: Learned) -> tuple[str, ...]:
    loop = learned.loop
    assert loop is not None
    lines = ["The code is what was proved, byte for byte, and nobody steps through it."]
    if loop.streams:
        lines.append(
            "Each page is RAM, there, and was accessed before; one that is stored to may be written, was written "
            "before, and holds no code."
        )
    for one, other in loop.apart:
        lines.append(f"What is at {loop.streams[one].address} and at {loop.streams[other].address} does not meet.")
    if loop.aligned:
        lines.append(f"Multiples of 16, since it would fault otherwise: {', '.join(loop.aligned)}.")
    if any(stream.is_store for stream in loop.streams):
        lines.append("The guest has one processor: another one could see stores in another order.")
    lines.append("At least one round is left to QEMU, and with it flags, faults and interrupts.")
    return tuple(lines)


def _tested(learned: Learned) -> tuple[str, ...]:
    lines = [f"Its round ran beside Unicorn on {learned.n_states:,} random states, and nothing differed."]
    if learned.native_test is not None:
        lines.append(f"So did the native code of all rounds, {learned.native_test.n_runs:,} times.")
    figures = learned.figures
    if figures is not None and figures.round_ns:
        far = f", {figures.far_round_ns:.2f} ns over 32 MiB" if figures.far_round_ns else ""
        lines.append(f"A round takes it {figures.round_ns:.2f} ns here{far}; a call {figures.call_ns:,.0f} ns.")
    return tuple(lines)


def _on_gpu(one: Entry) -> tuple[str, ...]:
    lines = []
    record = one.learned.gpu_test if one.learned is not None else None
    if record is not None and record.good:
        lines.append(f"{record.n_rounds:,} rounds in {record.n_runs:,} runs did what Unicorn did, on {record.device}.")
    told = one.told.gpu if one.told is not None else None
    if told is not None:
        lines.append(f"{told.calls:,} calls did {plural(told.rounds, 'round')} in {told.seconds:.3f} s.")
        if told.call_ns and told.round_ns:
            host = f", the host's code {told.host_round_ns:.2f} ns" if told.host_round_ns else ""
            lines.append(f"A call takes it {told.call_ns / 1000:,.0f} µs, and a round {told.round_ns:.2f} ns{host}.")
        if told.timeouts or told.refused:
            lines.append(f"{told.timeouts + told.refused:,} times it gave no answer, and the host did the rounds.")
    if one.no_gpu:
        lines.append(one.no_gpu)
    return tuple(lines)


def _told(told: Told) -> tuple[str, ...]:
    lines = [f"{told.calls:,} calls did {plural(told.rounds, 'round')} in {told.seconds:.3f} s."]
    if told.round_ns:
        lines.append(f"A round takes QEMU {told.round_ns:.2f} ns at its quickest.")
    if told.speed_up:
        lines.append(f"Its kernel is {told.speed_up:.1f} times as fast, calls and page walks counted.")
    if told.least_rounds:
        lines.append(f"A call is worth it from {plural(told.least_rounds, 'round')} on.")
    if told.longest_ms:
        lines.append(f"The longest call took {told.longest_ms:.2f} ms.")
    if told.verified or told.verified_rounds:
        lines.append(f"{told.verified:,} calls with {plural(told.verified_rounds, 'round')} equalled QEMU's.")
    for why, count in sorted(told.declined.items(), key=lambda pair: -pair[1]):
        lines.append(f"Left to QEMU {count:,} times: {why}.")
    return tuple(lines)
