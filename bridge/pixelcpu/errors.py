"""What can go wrong with the Pixel CPU; each text says what was found, in a sentence."""

from __future__ import annotations


class PixelError(Exception):
    """Something about a kernel, its microcode or its proof cannot be had."""


class BadMicrocode(PixelError, ValueError):
    """Pixels or text that are no program: an unknown opcode, a field that cannot be, an immediate cut short."""

    def __init__(self, problem: str, at: int | None = None) -> None:
        """`at` is the pixel, or the line of text, counted from 0."""
        super().__init__(f"{problem}." if at is None else f"{problem} (at {at}).")
        self.problem, self.at = problem, at


class BadPicture(BadMicrocode):
    """A file that is no picture of a program."""


class Unsupported(PixelError):
    """Something that this back end or this step cannot do; such a block stays with QEMU."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}.")
        self.reason = reason


class MemoryFault(PixelError):
    """A load or store outside the memory that the program was given."""

    def __init__(self, address: int, size: int, lane: int, *, is_store: bool) -> None:
        """`size` in bytes; `lane` is the first that faulted."""
        what = "store to" if is_store else "load from"
        super().__init__(f"Lane {lane:,} made a {size}-byte {what} {address:#x}, which is outside its memory.")
        self.address, self.size, self.lane, self.is_store = address, size, lane, is_store


class TooManySteps(PixelError):
    """A run that would take more steps than allowed."""

    def __init__(self, wanted: int, most: int) -> None:
        super().__init__(f"The run would take {wanted:,} steps, and {most:,} are allowed.")
        self.wanted, self.most = wanted, most


class BadCode(PixelError):
    """Bytes that are no x86 code, or too many of them."""


class WorkerLost(PixelError):
    """The process that proves or runs code ended or took too long; the next request starts another."""
