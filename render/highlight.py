"""Highlight: which pages of a volume are lit up, one truth value a page, as the march and the slices read it."""

from __future__ import annotations

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.brick_levels import Resources
from render.errors import BadPages

Mask = NDArray[np.bool_]


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
        """r8unorm, a texel a brick: 1 where its page is lit."""

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
        texels = np.zeros((z, y, x), np.uint8)
        texels[self._where] = kept * np.uint8(255)
        if self.texture is None:
            usage = wgpu.TextureUsage.COPY_DST | wgpu.TextureUsage.COPY_SRC
            self.texture = self._resources.volume("lit pages", (x, y, z), "r8unorm", usage)
        self._resources.write(self.texture, texels)
        self.mask = kept
        return True

    def forget(self) -> None:
        """Hold nothing, after the store's resources were destroyed."""
        self.mask = self.texture = None
