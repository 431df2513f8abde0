"""Random code of several basic blocks: instructions of a few kinds, and jumps that go forwards, back to the first, or
out."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

_PARTS = """
01d8 29c3 4801f2 21d1 31c2 0fafc3 89d1 89c8 4889d8 f7d8 f7d1 ffc0 ffc9 48ffc2 0fb6c8 0fbed1 0fb7d8 8d0448 488d5201
8b07 8b4f04 480307 488b5f08 0fb64703 0fb617 8907 895f08 48894f10 885703 66894f06 010f 832f07 8b4e04 8b1e 031e 8806
39d8 39d1 4839c2 85c0 84db 83fb10 3d00000080 4883fa07 38d0 c1e803 c1e105 d1fb 48c1ea21 0f4fd8 0f42c1 0f94c2 0f9cc1
6601c8 6689c3 00d8 28e2 88c1 0fc8 1bc0 11d8 93
"""
"""Addresses are made of rdi and rsi, and nothing changes these."""
_VECTORS = "660fefc1 660ffec8 660f6ec0 660f7ec1 f30f6f07 f30f7f4f10 660f70c9b1"


def laid_out(items: Sequence[bytes | tuple[int | None, int]], base: int = 0x400000) -> bytes:
    """Instructions, and jumps: (a condition's number or None, the number of the item to go to; the items' number is
    behind the code, -1 before it)."""
    sizes = [len(one) if isinstance(one, bytes) else 5 if one[0] is None else 6 for one in items]
    begins = [sum(sizes[:number]) for number in range(len(items) + 1)]
    text = b""
    for one in items:
        if isinstance(one, bytes):
            text += one
            continue
        condition, target = one
        to = -32 if target < 0 else begins[target] if target <= len(items) else begins[-1] + 16 * target
        text += b"\xe9" if condition is None else bytes([0x0F, 0x80 | condition])
        text += struct.pack("<i", to - (len(text) + 4))
    return text


def some_code(chance: random.Random, *, vectors: bool = False, back: bool = False) -> bytes:
    """`back`: its last instruction goes back to its first, by a condition."""
    parts = _PARTS.split() + (_VECTORS.split() * 3 if vectors else [])
    count = chance.randint(4, 14)
    items: list[bytes | tuple[int | None, int]] = [bytes.fromhex(chance.choice(parts)) for _ in range(count)]
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(1, len(items) - 1)
        kind = chance.random()
        far = place + chance.randint(2, 5)
        target = 0 if kind < 0.06 else len(items) + 9 if kind < 0.12 else -1 if kind < 0.15 else min(far, len(items))
        condition = (
            None if chance.random() < 0.15 and place < len(items) - 1 else chance.choice((2, 3, 4, 5, 8, 12, 14))
        )
        items[place] = (condition, target)
    if back:
        items.append((5, 0))
    return laid_out(items)
