"""What each mode of a trace costs the guest, as its benchmark measures it: one table for all that tells of it."""

from __future__ import annotations

from bridge.trace.modes import Mode

SOURCE = "glassbox bench trace: processor time of the same guest work, to that without the plugin"
COSTS: dict[Mode, float] = {
    Mode.OFF: 1.0,
    Mode.COUNTERS: 1.1,
    Mode.TIME: 1.2,
    Mode.HEAT: 1.5,
    Mode.WATCH: 4.1,
    Mode.TRACE: 14.0,
}
"""Its results `work.*` of 2026-11-22 on two cores (off 1.01, counters 1.09, time 1.18, heat 1.47, watch 4.1, trace
13.3): a loop of short blocks of 64-bit code, in which every third instruction loads or stores. Of that 0.05 is what
QEMU 10 itself takes of translated code that any plugin looks at: it keeps the value of each load and store.

Guests that idle, or compute more than they load and store, pay less; where new code comes all the time, as while a
Linux boots, heat costs more.
"""


def told_cost(mode: Mode) -> str:
    """It as one reads it beside a mode's name: `1.2x`."""
    cost = COSTS[mode]
    return f"{cost:.0f}x" if cost >= 5 else f"{cost:.1f}x"
