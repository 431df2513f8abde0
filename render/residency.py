"""Which pages keep their bytes on the GPU when not all can: those near the eye, in a pool of slots.

Pages are chosen by the block (64^3 voxels) they lie in, so that a choice costs thousands of distances, not millions.
Empty pages need no bytes and get no slot. A block that is kept counts as nearer than it is, or an eye on the border
between two would have them change places for ever.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.brick_levels import BLOCK_SIDE
from render.curves import BRICK_SIDE

STEP_VOXELS = 32.0
"""The eye moves this far before another choice is made: half a block."""
STAY_VOXELS = 96.0
"""A block that is kept counts as this much nearer: more than two blocks' distances change by a step to and fro."""


class Residency:
    """Slots and who has them. Arrays of pages are (n,) uint32."""

    def __init__(self, bricks: NDArray[np.uint32], n_slots: int) -> None:
        """`bricks`: (n_pages, 3) where each page lies, in bricks."""
        n_pages = len(bricks)
        blocks = bricks // np.uint32(BLOCK_SIDE // BRICK_SIDE)
        key = blocks[:, 0].astype(np.int64) | blocks[:, 1].astype(np.int64) << 20 | blocks[:, 2].astype(np.int64) << 40
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        self._block = inverse.astype(np.int32)
        self._centers = (blocks[first].astype(np.float64) + 0.5) * BLOCK_SIDE
        # Each block's pages stand together in `_by_block`: a choice looks at blocks, and at pages only where needed.
        self._by_block = np.argsort(inverse, kind="stable").astype(np.uint32)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(inverse))])
        self.n_slots = n_slots
        self.slot = np.full(n_pages, -1, np.int32)
        """(n_pages,) the slot of each page; -1: none."""
        self._holds = np.zeros(n_pages, np.bool_)
        n_blocks = len(first)
        self._n_holding = np.zeros(n_blocks, np.int64)
        self._n_kept = np.zeros(n_blocks, np.int64)
        self._free = list(range(n_slots - 1, -1, -1))
        self._near = np.ones(n_blocks, np.bool_)
        self._eye: NDArray[np.float64] | None = None
        self._stale = True
        self._misses = 0
        self._wanted: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._wanted_blocks: list[int] = []
        self._spare: list[int] = []
        self._spare_blocks: list[int] = []

    @property
    def n_resident(self) -> int:
        """How many pages have a slot."""
        return self.n_slots - len(self._free)

    def is_empty(self, page: int) -> bool:
        """Whether a page holds only zeros, as far as is known."""
        return not self._holds[page]

    def focus(self, position: NDArray[np.float64]) -> None:
        """Say where the eye is, in voxels; cheap unless it moved."""
        if self._eye is None or float(np.abs(position - self._eye).max()) >= STEP_VOXELS:
            self._eye = position.astype(np.float64)
            self._stale = True

    def wanted(self, limit: int) -> NDArray[np.uint32]:
        """At most `limit` pages that should get a slot and have none, the nearest first."""
        if self._stale or self._misses > max(256, self.n_slots // 16):
            self._choose()
        missing = [self._missing(self._wanted)]
        count = len(missing[0])
        while self._wanted_blocks and count < limit:
            missing.append(self._missing(self._pages_of(self._wanted_blocks.pop())))
            count += len(missing[-1])
        self._wanted = np.concatenate(missing)
        return self._wanted[:limit]

    def _missing(self, pages: NDArray[np.uint32]) -> NDArray[np.uint32]:
        return pages[self._holds[pages] & (self.slot[pages] < 0)]

    def _pages_of(self, block: int) -> NDArray[np.uint32]:
        return self._by_block[self._starts[block] : self._starts[block + 1]]

    def _choose(self) -> None:
        self._stale, self._misses = False, 0
        n_blocks = len(self._centers)
        if self._eye is None:
            order = np.arange(n_blocks)
        else:
            distance = np.sqrt(((self._centers - self._eye) ** 2).sum(axis=1))
            order = np.argsort(np.where(self._near, distance - STAY_VOXELS, distance), kind="stable")
        # Whole blocks as long as they fit.
        fits = np.cumsum(self._n_holding[order]) <= self.n_slots
        self._near = np.zeros(n_blocks, np.bool_)
        self._near[order[fits]] = True
        # Both lists are taken from their ends: wanted is the nearest block first, spare the farthest.
        self._wanted = np.zeros(0, np.uint32)
        near = order[fits]
        self._wanted_blocks = near[self._n_holding[near] > self._n_kept[near]][::-1].tolist()
        far = order[~fits]
        self._spare, self._spare_blocks = [], far[self._n_kept[far] > 0].tolist()

    def place(
        self, pages: NDArray[np.uint32], holds: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Slots for pages that were written, and the pages that lost or got one.

        holds: (n,) whether each holds anything but zeros. Returns slots (n,) int64, -1 for none, and changed pages.
        """
        before = self.slot[pages].copy()
        np.add.at(self._n_holding, self._block[pages], holds.astype(np.int64) - self._holds[pages])
        self._holds[pages] = holds
        changed: list[int] = []
        for page in pages[(before >= 0) & ~holds].tolist():
            self._release(page)
        new = pages[(before < 0) & holds]
        at_once = min(len(new), len(self._free))
        if at_once:
            self.slot[new[:at_once]] = self._free[-at_once:]
            del self._free[-at_once:]
            np.add.at(self._n_kept, self._block[new[:at_once]], 1)
        for page in new[at_once:].tolist():
            if self._near[self._block[page]] and self._evict(changed):
                self.slot[page] = self._free.pop()
                self._n_kept[self._block[page]] += 1
            else:
                self._misses += 1
        slots = self.slot[pages].astype(np.int64)
        moved = pages[slots != before]
        return slots, np.concatenate([moved, np.array(changed, np.uint32)])

    def _release(self, page: int) -> None:
        self._free.append(int(self.slot[page]))
        self.slot[page] = -1
        self._n_kept[self._block[page]] -= 1

    def _evict(self, changed: list[int]) -> bool:
        while self._spare or self._spare_blocks:
            if not self._spare:
                self._spare = self._pages_of(self._spare_blocks.pop()).tolist()
                continue
            page = self._spare.pop()
            if self.slot[page] >= 0 and not self._near[self._block[page]]:
                self._release(page)
                changed.append(page)
                return True
        return False
