"""What each mode of a trace costs the guest, as its benchmark measures it: one table for all that tells of it."""

from __future__ import annotations

from bridge.trace.modes import Mode

SOURCE = "glassbox bench trace: processor time of the same guest work, to that without the plugin"
COSTS: dict[Mode, float] = {
    Mode.OFF: 1.07,
    Mode.COUNTERS: 1.23,
    Mode.HEAT: 2.3,
    Mode.WATCH: 3.0,
    Mode.TRACE: 9.7,
}
"""Ratios, minima of three boots of the demo guest on a machine of two cores, 2026-11-21."""


def told_cost(mode: Mode) -> str:
    """It as one reads it beside a mode's name: `1.2x`."""
    cost = COSTS[mode]
    return f"{cost:.0f}x" if cost >= 5 else f"{cost:.1f}x"
