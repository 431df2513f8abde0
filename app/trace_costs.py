"""What each mode of a trace costs the guest, as its benchmark measures it: one table for all that tells of it."""

from __future__ import annotations

from bridge.trace.modes import Mode

SOURCE = "glassbox bench trace: processor time of the same guest work, to that without the plugin"
COSTS: dict[Mode, float] = {
    Mode.OFF: 1.06,
    Mode.COUNTERS: 1.13,
    Mode.HEAT: 3.0,
    Mode.WATCH: 3.8,
    Mode.TRACE: 22.0,
}
"""Its results `work.*` of 2026-11-22 on two quiet cores: a loop of short blocks, with an access every fourth step.

Guests that idle, or compute more than they load and store, pay less.
"""


def told_cost(mode: Mode) -> str:
    """It as one reads it beside a mode's name: `1.2x`."""
    cost = COSTS[mode]
    return f"{cost:.0f}x" if cost >= 5 else f"{cost:.1f}x"
