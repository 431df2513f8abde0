"""Highlight: which pages of a volume are lit up, one truth value a page, as the march and the slices read it."""

from __future__ import annotations

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.brick_levels import BLOCK_SIDE, Resources
from render.curves import BRICK_SIDE
from render.errors import BadPages

Mask = NDArray[np.bool_]
LIT, BESIDE = 255, 128
_BRICKS_A_BLOCK = BLOCK_SIDE // BRICK_SIDE


class Highlight:
    """The lit pages of one store. Where none are lit it holds nothing on the GPU, and no shader asks for it."""

    def __init__(
        self, resources: Resources, shape_bricks: tuple[int, int, int], where: tuple[NDArray[np.uint32], ...]
    ) -> None:
        """`where`: each page's brick as (z, y, x), (n_pages,) each."""
        self._resources = resources
        self._shape = shape_bricks
        self._where = where
        self.mask: Mask | None = None
        """(n_pages,) bool, not to be written to; None: nothing is lit up, and nothing dims."""
        self.texture: wgpu.GPUTexture | None = None
        """r8unorm, a texel a brick: LIT where its page is, BESIDE where another page of its block is, else 0."""

    def set(self, mask: Mask | None) -> bool:
        """See `BrickStore.set_highlight`; whether that changed anything. Raises BadPages."""
        if mask is None:
            if self.mask is None:
                return False
            self.mask = None
            if self.texture is not None:
                self._resources.give_back(self.texture)
                self.texture = None
            return True
        n_pages = len(self._where[0])
        if not isinstance(mask, np.ndarray) or mask.shape != (n_pages,) or mask.dtype != np.bool_:
            found = f"{mask.shape} {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise BadPages(f"Lighting up takes one truth value a page, ({n_pages},) bool, not {found}.")
        if self.mask is not None and np.array_equal(self.mask, mask):
            return False
        kept = mask.copy()
        kept.flags.writeable = False
        x, y, z = self._shape
        lit = np.zeros((z, y, x), np.bool_)
        lit[self._where] = kept
        if self.texture is None:
            usage = wgpu.TextureUsage.COPY_DST | wgpu.TextureUsage.COPY_SRC
            self.texture = self._resources.volume("lit pages", (x, y, z), "r8unorm", usage)
        self._resources.write(self.texture, _texels(lit))
        self.mask = kept
        return True

    def forget(self) -> None:
        """Hold nothing, after the store's resources were destroyed."""
        self.mask = self.texture = None


def _texels(lit: Mask) -> NDArray[np.uint8]:
    """What the texture holds of bricks (z, y, x): a ray that looks for lit pages can pass whole blocks without any."""
    side = _BRICKS_A_BLOCK
    z, y, x = lit.shape
    blocks = np.zeros((-(-z // side), -(-y // side), -(-x // side)), np.bool_)
    at = np.nonzero(lit)
    blocks[tuple(axis // side for axis in at)] = True
    texels = np.zeros(lit.shape, np.uint8)
    for index in np.argwhere(blocks):
        texels[tuple(slice(side * i, side * i + side) for i in index)] = BESIDE
    texels[at] = LIT
    return texels
