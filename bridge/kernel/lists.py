"""Walks along the kernel's linked lists while the kernel changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from bridge.kernel.errors import KernelError, NotMapped
from bridge.kernel.space import KERNEL_MAP, KernelSpace

T = TypeVar("T")

RETRIES = 3
"""A list that is torn while it is read is whole again an instant later: at 260 forks a second 7 in 10,000 walks meet
one.
"""


class Torn(KernelError):
    """A list whose nodes do not point back at each other: it was changed while it was read, or it is damaged."""


class Peek:
    """Single words by virtual address, as fast as Python can: the direct map by arithmetic over one array of words."""

    def __init__(self, space: KernelSpace) -> None:
        self._space = space
        regions = space.reader.ram.physical_map.regions
        self._base, self._end, self._words = 0, 0, memoryview(b"").cast("Q")
        if space.direct_map is not None and regions and regions[0].offset % 8 == 0:
            # The first region holds almost all kernel data; what lies above the PCI hole takes the slower way.
            region = max(regions, key=lambda r: r.size_bytes)
            data = space.reader.bytes[region.offset : region.offset + region.size_bytes // 8 * 8]
            self._words = memoryview(data.data).cast("Q")
            self._base = space.direct_map + region.paddr
            self._end = 8 * len(self._words)
        self._image: dict[int, memoryview] = {}

    def __call__(self, vaddr: int) -> int:
        """The word at `vaddr`. Raises NotMapped."""
        at = vaddr - self._base
        if 0 <= at < self._end and not at & 7:
            return self._words[at >> 3]
        if KERNEL_MAP <= vaddr < self._space.image_end and not at & 7:
            return self._in_image(vaddr)
        return self._space.word(vaddr)

    def _in_image(self, vaddr: int) -> int:
        """Heads of lists lie in the image, which stays where it is: its pages are looked for once."""
        page = self._image.get(vaddr >> 12)
        if page is None:
            page = self._space.page(vaddr >> 12)
            self._image[vaddr >> 12] = page
        return int.from_bytes(page[vaddr & 4095 : (vaddr & 4095) + 8], "little")


def list_nodes(peek: Callable[[int], int], head: int, limit: int) -> list[int]:
    """The addresses of all `list_head`s behind `head`, without it. Raises Torn, NotMapped.

    Every step checks that the next node points back (include/linux/list.h), so a walk cannot stray into other memory;
    it ends after `limit` nodes however the list is damaged.
    """
    nodes: list[int] = []
    before, node = head, peek(head)
    while node != head:
        if node & 7 or peek(node + 8) != before:
            raise Torn(f"The list at {head:#x} is torn after {len(nodes):,} nodes.")
        nodes.append(node)
        if len(nodes) > limit:
            raise Torn(f"The list at {head:#x} does not end after {limit:,} nodes.")
        before, node = node, peek(node)
    return nodes


def retried(read: Callable[[], T]) -> tuple[T, int]:
    """What `read` returns, and how often it had to be asked again. Raises the last Torn or NotMapped."""
    for attempt in range(RETRIES):
        try:
            return read(), attempt
        except (Torn, NotMapped):
            continue
    return read(), RETRIES


def column(rows: np.typing.NDArray[np.uint8], offset: int, dtype: str) -> np.typing.NDArray[np.generic]:
    """A member of many objects: rows (n, size) uint8 -> (n,) of `dtype` at `offset`."""
    kind = np.dtype(dtype)
    found: np.typing.NDArray[np.generic] = (
        np.ascontiguousarray(rows[:, offset : offset + kind.itemsize]).view(kind).reshape(-1)
    )
    return found
