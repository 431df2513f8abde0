"""Editing transfer functions: points that move, come and go, always in order. Pure; a panel shows it."""

from __future__ import annotations

from render.channels import ChannelInfo
from render.transfer import MAX_POINTS, Point, Transfer

SNAP = 0.012
"""So near to 0 or 1 a dragged point lies there."""


def snapped(value: float) -> float:
    """Return a value within 0 to 1; near the ends it is the end."""
    if value < SNAP:
        return 0.0
    return 1.0 if value > 1.0 - SNAP else value


def moved(transfer: Transfer, index: int, to: Point, *, snap: bool = True) -> Transfer:
    """Return the transfer function with one point elsewhere: between its neighbours, and within 0 to 1."""
    points = list(transfer.points)
    scalar, opacity = (snapped(part) if snap else min(1.0, max(0.0, part)) for part in to)
    low = points[index - 1][0] if index > 0 else 0.0
    high = points[index + 1][0] if index + 1 < len(points) else 1.0
    points[index] = (min(high, max(low, scalar)), opacity)
    return Transfer(tuple(points))


def added(transfer: Transfer, point: Point) -> tuple[Transfer, int] | None:
    """Return the transfer function with one more point, and its index; None where it has as many as it can have."""
    if len(transfer.points) >= MAX_POINTS:
        return None
    new = (snapped(point[0]), snapped(point[1]))
    index = sum(scalar <= new[0] for scalar, _ in transfer.points)
    points = (*transfer.points[:index], new, *transfer.points[index:])
    return Transfer(points), index


def added_after(transfer: Transfer, index: int) -> tuple[Transfer, int] | None:
    """Return it with one more point, halfway to the next one or from the last to the one before; the line stays."""
    first = min(index, len(transfer.points) - 2)
    (a, b), (c, d) = transfer.points[first : first + 2]
    if len(transfer.points) >= MAX_POINTS:
        return None
    points = (*transfer.points[: first + 1], ((a + c) / 2, (b + d) / 2), *transfer.points[first + 1 :])
    return Transfer(points), first + 1


def removed(transfer: Transfer, index: int) -> Transfer | None:
    """Return it without one point; None where only two are left."""
    if len(transfer.points) <= 2:
        return None
    return Transfer((*transfer.points[:index], *transfer.points[index + 1 :]))


def value_text(name: str, info: ChannelInfo, scalar: float) -> str:
    """Return what a scalar of a channel stands for, in words."""
    if name in ("content", "value"):
        return f"0x{round(scalar * 255):02x}"
    if info.logarithmic:
        value = info.value_at(scalar)
        return f"{value:.1f} {info.unit}" if value < 10 else f"{value:,.0f} {info.unit}"
    if info.kind == "categorical":
        number = round(scalar * 255)
        return info.labels[number] if number < len(info.labels) else str(number)
    return f"{info.value_at(scalar):,.4g} {info.unit}".rstrip()
