"""Curve notes: what each way of laying addresses in space shows, in one line for people."""

from __future__ import annotations

CURVE_NOTES = {
    "hilbert": "Neighbours in memory are neighbours in space, so that regions stay in one piece",
    "morton": "The address's bits dealt to x, y and z in turn: regions are boxes, with jumps between them",
    "linear": "Row after row, as in a table: strides show as stripes, and regions are thin sheets",
}
