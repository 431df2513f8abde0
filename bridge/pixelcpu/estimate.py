"""Estimates what a loop's kernel would gain, from what QEMU and native code were measured to take for a round."""

from __future__ import annotations

from bridge.pixelcpu.native_loop import Figures


def qemu_round_ns(time_share: float, busy_s: float, entered: int) -> float:
    """What QEMU took for a round of a loop, in nanoseconds; 0 where that cannot be told.

    `time_share`: of the samples in which a processor ran, those that met the loop. `busy_s`: how long the processors
    ran meanwhile, all together, in seconds. `entered`: the rounds of that time. It is as good as there are samples of
    the loop (of 100, a tenth off), and includes what QEMU does about its blocks: counting, looking for interrupts.
    """
    return 1e9 * time_share * busy_s / entered if entered > 0 else 0.0


def speed_up(
    round_ns: float, figures: Figures | None, call_ns: float = 0.0, rounds_a_call: float = 0.0
) -> float | None:
    """How many times as fast the loop's rounds would be by its kernel; None where one of both is not known.

    `round_ns`: QEMU's. The kernel's round is the slower one of those over near and far memory, since nobody knows where
    the loop's lies. What a call costs, `call_ns`, is spread over its rounds, `rounds_a_call`, where the plugin has told
    both. Before it has, nothing is known of calls, and this is what a loop of very many rounds would gain: with few
    rounds each time it is entered it gains less, or is left to QEMU.
    """
    if figures is None or not figures.slowest_ns or not round_ns:
        return None
    each = figures.slowest_ns + (call_ns / rounds_a_call if rounds_a_call else 0.0)
    return round_ns / each
