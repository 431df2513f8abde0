"""How addresses are written for people."""

from __future__ import annotations


def address_digits(end: int) -> int:
    """Return how many hex digits addresses below `end` take, in steps of four, at least eight."""
    return max(8, -(-max(end - 1, 0).bit_length() // 16) * 4)


def format_address(address: int, digits: int = 0) -> str:
    """Return `0x…`, padded to `digits`."""
    return f"0x{address:0{digits}x}"
