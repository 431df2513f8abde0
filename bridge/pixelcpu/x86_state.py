"""What of an x86-64 processor's state matters to integer code: registers, flags, and SSE registers as 64-bit halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""In the order of their numbers in machine code."""
HALVES = tuple(f"xmm{number}.{half}" for number in range(16) for half in ("low", "high"))
"""The SSE registers, two 64-bit halves each."""
FLAGS = ("CF", "PF", "AF", "ZF", "SF", "OF")
FLAG_BITS = {"CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "OF": 11}
"""Where each is in RFLAGS (SDM volume 1, 3.4.3)."""
FLAGS_MASK = sum(1 << bit for bit in FLAG_BITS.values())
ASSUMED = "the direction flag is clear"
"""What string instructions are translated and run under; who calls a kernel sees to it."""

_CORNERS = np.array(
    [
        *(0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
        *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1),
        *(0x0101010101010101, 0x8080808080808080, 0x7F7F7F7F7F7F7F7F, 0x00FF00FF00FF00FF, 0x8000000080000000),
    ],
    np.uint64,
)


@dataclass(frozen=True, slots=True)
class States:
    """The state of n processors."""

    registers: NDArray[np.uint64]
    """(n, 16), in the order of `REGISTERS`."""
    flags: NDArray[np.uint64]
    """(n,) RFLAGS; only the bits of `FLAGS_MASK` count."""
    halves: NDArray[np.uint64]
    """(n, 32), in the order of `HALVES`."""

    def __len__(self) -> int:
        return len(self.flags)

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> States:
        """Those of `which`."""
        return States(self.registers[which], self.flags[which], self.halves[which])


def random_states(count: int, seed: int) -> States:
    """`count` states: a third of the values random, a third corner cases, a third random of random width."""
    rng = np.random.default_rng(seed)
    return States(
        _values(rng, (count, len(REGISTERS))),
        _random_flags(rng, count),
        _values(rng, (count, len(HALVES))),
    )


def _values(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint64]:
    values = rng.integers(0, 1 << 64, shape, np.uint64, endpoint=False)
    kind = rng.integers(0, 3, shape)
    narrow = values >> rng.integers(0, 64, shape, np.uint64)
    return np.where(kind == 0, values, np.where(kind == 1, rng.choice(_CORNERS, shape), narrow))


def _random_flags(rng: np.random.Generator, count: int) -> NDArray[np.uint64]:
    flags = np.zeros(count, np.uint64)
    for bit in FLAG_BITS.values():
        flags |= rng.integers(0, 2, count, np.uint64) << np.uint64(bit)
    return flags
