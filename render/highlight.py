"""Highlights: which pages of a volume are lit up, in which of several colours, as the march and the slices read it."""

from __future__ import annotations

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.brick_levels import BLOCK_SIDE, Resources
from render.curves import BRICK_SIDE
from render.errors import BadPages

Index = NDArray[np.uint8]
Colours = NDArray[np.float32]
MOST_HIGHLIGHTS = 255
BESIDE = 255
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
        self.index: Index | None = None
        """(n_pages,) uint8, not to be written to: 0 where a page is not lit, k where highlight k - 1 lights it; None:
        nothing is lit up, and nothing dims."""
        self.colours: Colours = np.zeros((0, 4), np.float32)
        """(n, 4), not to be written to: each highlight's colour in linear light, and how far it tints its bytes."""
        self.texture: wgpu.GPUTexture | None = None
        """rg8unorm, a texel a brick: the index of its page, and BESIDE where any page of its block is lit, else 0."""
        self.colour_texture: wgpu.GPUTexture | None = None
        """rgba32float, 256 x 1 x 1: `colours`, by index; what is not lit has none."""

    def set(self, index: Index | None, colours: NDArray[np.floating] | None = None) -> bool:
        """See `BrickStore.set_highlights`; whether that changed anything. Raises BadPages."""
        if index is None:
            if self.index is None:
                return False
            for texture in (self.texture, self.colour_texture):
                if texture is not None:
                    self._resources.give_back(texture)
            self.forget()
            return True
        table = self._checked(index, colours)
        same = self.index is not None and np.array_equal(self.index, index)
        if same and np.array_equal(self.colours, table):
            return False
        if self.texture is None or self.colour_texture is None:
            usage = wgpu.TextureUsage.COPY_DST | wgpu.TextureUsage.COPY_SRC
            self.texture = self._resources.volume("lit pages", self._shape, "rg8unorm", usage)
            self.colour_texture = self._resources.volume("colours of highlights", (256, 1, 1), "rgba32float", usage)
        if not same:
            kept = index.copy()
            kept.flags.writeable = False
            x, y, z = self._shape
            lit = np.zeros((z, y, x), np.uint8)
            lit[self._where] = kept
            self._resources.write(self.texture, _texels(lit))
            self.index = kept
        if not np.array_equal(self.colours, table):
            texels = np.zeros((1, 1, 256, 4), np.float32)
            texels[0, 0, 1 : 1 + len(table)] = table
            self._resources.write(self.colour_texture, texels)
            self.colours = table
        return True

    def _checked(self, index: Index, colours: NDArray[np.floating] | None) -> Colours:
        """The colours as they are kept, (n, 4). Raises BadPages."""
        n_pages = len(self._where[0])
        if not isinstance(index, np.ndarray) or index.shape != (n_pages,) or index.dtype != np.uint8:
            found = f"{index.shape} {index.dtype}" if isinstance(index, np.ndarray) else type(index).__name__
            raise BadPages(f"Lighting up takes one highlight's number a page, ({n_pages},) uint8, not {found}.")
        given = np.zeros((0, 3)) if colours is None else np.asarray(colours)
        if given.ndim != 2 or given.shape[1] not in (3, 4) or len(given) > MOST_HIGHLIGHTS:
            raise BadPages(f"Highlights' colours are (n, 3) or (n, 4), n <= {MOST_HIGHLIGHTS}, not {given.shape}.")
        if not (np.isfinite(given).all() and (given >= 0).all()):
            raise BadPages("Highlights' colours are linear light: numbers of at least 0.")
        if int(index.max(initial=0)) > len(given):
            raise BadPages(f"A page is lit by highlight {int(index.max())} of {len(given)}.")
        table = np.full((len(given), 4), TINT, np.float32)
        table[:, : given.shape[1]] = given
        table.flags.writeable = False
        return table

    def forget(self) -> None:
        """Hold nothing, after the store's resources were destroyed."""
        self.index = self.texture = self.colour_texture = None
        self.colours = np.zeros((0, 4), np.float32)


TINT = 0.8
"""How far a highlight's colour takes the place of its bytes' own, unless it is said."""


def _texels(lit: Index) -> NDArray[np.uint8]:
    """What the texture holds of bricks (z, y, x): a ray that looks for lit pages can pass whole blocks without any."""
    side = _BRICKS_A_BLOCK
    z, y, x = lit.shape
    blocks = np.zeros((-(-z // side), -(-y // side), -(-x // side)), np.uint8)
    blocks[tuple(axis // side for axis in np.nonzero(lit))] = BESIDE
    beside = blocks.repeat(side, 0)[:z].repeat(side, 1)[:, :y].repeat(side, 2)[:, :, :x]
    return np.stack([lit, beside], axis=3)
