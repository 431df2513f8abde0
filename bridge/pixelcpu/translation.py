"""A block of x86 code as microcode: the program, and where x86's state lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.pixelcpu.microcode import Program


@dataclass(frozen=True, slots=True)
class Translation:
    """A block as microcode."""

    program: Program
    halves: Mapping[str, int]
    """The Pixel CPU's register for each half of an SSE register that is used; general registers have their numbers."""
    taken: int | None
    """The register that is 1 where it goes on at `target`, 0 where at `goes_on`; None where it always does."""
    goes_on: int
    """Where execution goes on: of a jump that is not taken."""
    target: int
    """Where it goes on if the jump is taken."""
    others: tuple[int, ...] = ()
    """Code of several basic blocks may go on elsewhere, too: at the first of these …"""
    elsewhere: int | None = None
    """… where this register is 1, at the second where it is 2 … and where 0, as `taken` says."""
