"""What each mode of a trace costs the guest, as its benchmark measures it: one table for all that tells of it."""

from __future__ import annotations

from bridge.trace.modes import Mode

SOURCE = "glassbox bench trace: processor time of the same guest work, to that without the plugin"
COSTS: dict[Mode, float] = {
    Mode.OFF: 1.0,
    Mode.COUNTERS: 1.2,
    Mode.HEAT: 1.6,
    Mode.WATCH: 4.6,
    Mode.TRACE: 19.0,
}
"""Its results `work.*` of 2026-11-22 on two quiet cores (off 1.02, counters 1.17, heat 1.57, watch 4.6, trace 18.9): a
loop of short blocks of 64-bit code, in which every third instruction loads or stores.

Guests that idle, or compute more than they load and store, pay less; where new code comes all the time, as while a
Linux boots, heat costs 1.7.
"""


def told_cost(mode: Mode) -> str:
    """It as one reads it beside a mode's name: `1.2x`."""
    cost = COSTS[mode]
    return f"{cost:.0f}x" if cost >= 5 else f"{cost:.1f}x"
