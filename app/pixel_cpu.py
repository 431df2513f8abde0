"""Pixel CPU in the window: the program that is stepped through, its lanes, and its memory, which is shown as a volume.

The memory is a file of its own that is looked at like a dump: what a step stores is seen there as in any machine.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bridge.machine.directories import runtime_dir
from bridge.pixelcpu.assembly import disassemble
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.lanes import registers_read
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.picture import Picture
from bridge.pixelcpu.stepper import Stepper, bases_of

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.pixelcpu.microcode import Instruction, Program

MEMORY_BYTES = 1 << 20
MACHINE = "pixel-cpu"
FIRST_LANES = 64


@dataclass(slots=True)
class PixelCpu:
    """Belongs to the main thread."""

    picture: Picture | None = None
    stepper: Stepper | None = None
    lane: int = 0
    """Whose registers are shown."""
    lines: tuple[str, ...] = ()
    """The program as text, a line an instruction …"""
    pixels: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """… and the pixels of each, RGBA."""
    used: frozenset[int] = frozenset()
    """Registers that it reads or writes."""
    typed_path: str = ""
    editing: int = 0
    """The register whose first value is typed …"""
    asks: bool = False
    """… once the field for it is opened, in the next frame."""
    typed_value: str = ""
    followed: int = -1
    """The place that the listing was scrolled to last."""
    _file: Path | None = field(default=None, repr=False)

    def open(self, picture: Picture) -> Path:
        """Begin with a program; returns the file of its memory, which holds words that count up.

        Registers that address memory begin with a part of it each. Raises OSError.
        """
        if self._file is None:
            self._file = runtime_dir() / f"{MACHINE}-{os.getpid()}.raw"
            with self._file.open("wb") as file:
                file.truncate(MEMORY_BYTES)
        content = np.memmap(self._file, np.uint8, "r+", shape=(MEMORY_BYTES,))
        content.view("<u4")[:] = np.arange(MEMORY_BYTES // 4, dtype=np.uint32)
        self.picture = picture
        self.lines = tuple(disassemble(picture.program, list(self.names)).splitlines())
        self.pixels = pixels_of(picture.program)
        self.used = frozenset().union(*(_touched(one) for one in picture.program.instructions))
        self._begin(picture.program, np.asarray(content), FIRST_LANES)
        return self._file

    @property
    def names(self) -> tuple[str, ...]:
        """Of all 32 registers."""
        given = () if self.picture is None else self.picture.names
        return (*given, *(f"r{number}" for number in range(len(given), N_REGISTERS)))

    def set_lanes(self, lanes: int) -> None:
        """Begin anew over so many. Raises PixelError."""
        stepper = self.stepper
        if stepper is not None:
            stepper.reset()
            initial = stepper.initial
            self.stepper = Stepper(stepper.program, stepper.memory, lanes)
            self.stepper.initial[:] = initial
            self.stepper.reset()
            self.lane = min(self.lane, lanes - 1)

    def close(self) -> None:
        """Forget the program, and remove its memory's file."""
        self.picture = self.stepper = None
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()
            self._file = None

    def _begin(self, program: Program, content: np.ndarray[tuple[int], np.dtype[np.uint8]], lanes: int) -> None:
        self.stepper = Stepper(program, ArrayMemory(content), lanes)
        for register, address in bases_of(program, MEMORY_BYTES).items():
            self.stepper.initial[register] = address
        self.stepper.reset()
        self.lane, self.followed = 0, -1


def pixels_of(program: Program) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The pixels of each instruction, RGBA."""
    pixels, at, found = [tuple(pixel) for pixel in program.pixels.tolist()], 0, []
    for instruction in program.instructions:
        found.append(tuple(pixels[at : at + instruction.n_pixels]))
        at += instruction.n_pixels
    return tuple(found)


def _touched(instruction: Instruction) -> set[int]:
    return registers_read(instruction) | ({instruction.d} if instruction.row.has_destination else set())
