"""Addresses of a census: signed, with the physical one beside each that lies in the kernel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.kernel.space import KernelSpace

U64 = npt.NDArray[np.uint64]
Places = list[int | None]


def signed(values: U64) -> list[int]:
    """64-bit numbers as SQLite keeps them, two's complement."""
    numbers: list[int] = values.astype(np.uint64, copy=False).view(np.int64).tolist()
    return numbers


def signed_number(value: int) -> int:
    """The same of one number."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def or_none(numbers: list[int]) -> Places:
    """None for zero, which is no address."""
    return [number or None for number in numbers]


def places(space: KernelSpace, vaddrs: U64) -> tuple[Places, Places]:
    """Virtual and physical addresses of what lies at `vaddrs` (n,) in the kernel; None where nothing does."""
    if not len(vaddrs):
        return [], []
    paddrs, mapped = space.translate(vaddrs)
    there = (vaddrs != 0) & mapped
    physical = [number if known else None for number, known in zip(signed(paddrs), there.tolist(), strict=True)]
    return or_none(signed(vaddrs)), physical
