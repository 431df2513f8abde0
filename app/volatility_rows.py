"""Volatility rows: which process, region and addresses a row of a plugin's table names, by the types of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bridge.kernel.volatility_engine.records import Cell, Column

Space = Literal["kernel", "process", "physical"]
_KERNEL_HALF = 1 << 63
"""Addresses from here on are the kernel's."""
_BITS = (48, 57)
"""Of a virtual address with four levels of page tables, and with five: Volatility leaves out those above."""
_TOP = 1 << 64
_WHERE = ("address", "addr", "base", "end", "offset", "start")
"""What a column is called, or how its name ends, that holds an address also where that is none of the kernel's half.
Others in hex are sizes, flags and indices.
"""
_PHYSICAL = ("(p)", "paddr")


@dataclass(frozen=True, slots=True)
class Address:
    """One cell that says where something lies."""

    column: str
    value: int
    space: Space


@dataclass(frozen=True, slots=True)
class Named:
    """What a row names."""

    pid: int | None = None
    tid: int | None = None
    region: tuple[int, int] | None = None
    """Where a part of the process's memory begins and ends."""
    addresses: tuple[Address, ...] = ()


def named_by(columns: Sequence[Column], cells: Sequence[Cell]) -> Named:
    """Return what a row names; `cells`: one a column."""
    numbers = {
        column.name.casefold(): cell
        for column, cell in zip(columns, cells, strict=True)
        if column.kind == "int" and isinstance(cell, int) and 0 <= cell < 1 << 31
    }
    pid, tid = numbers.get("pid"), numbers.get("tid")
    addresses = tuple(
        Address(column.name, value, space)
        for column, cell in zip(columns, cells, strict=True)
        if column.kind == "hex" and isinstance(cell, int)
        for value in (_whole(cell),)
        if (space := _space(column.name, value, pid)) is not None
    )
    own = {address.column.casefold(): address.value for address in addresses if address.space == "process"}
    start, end = own.get("start"), own.get("end")
    region = (start, end) if start is not None and end is not None and start < end else None
    return Named(pid, tid, region, addresses)


def _space(column: str, value: int, pid: int | None) -> Space | None:
    """Where an address lies; None for what is no address."""
    name = column.casefold()
    if not 0 <= value < _TOP:
        return None
    if name.endswith(_PHYSICAL):
        return "physical"
    if value >= _KERNEL_HALF:
        return "kernel"
    if not name.endswith(_WHERE):
        return None
    if pid is None:
        return "physical"
    return "process" if value else None


def _whole(value: int) -> int:
    """An address with the upper bits that it has in a register: those of the kernel's half are all ones."""
    for bits in _BITS:
        if value >> bits - 1 == 1:
            return value | _TOP - (1 << bits)
    return value
