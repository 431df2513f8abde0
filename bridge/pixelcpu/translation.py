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
    """The register that is 1 where the jump at the end is taken, else 0; None without a conditional one."""
    goes_on: int
    """Where execution goes on: of a jump that is not taken."""
    target: int
    """Where it goes on if the jump is taken."""
