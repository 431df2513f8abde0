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
        """r32uint, a texel a brick: see `brick_words`."""
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
            self.texture = self._resources.volume("lit pages", self._shape, "r32uint", usage)
            self.colour_texture = self._resources.volume("colours of highlights", (256, 1, 1), "rgba32float", usage)
        if not same:
            kept = index.copy()
            kept.flags.writeable = False
            x, y, z = self._shape
            lit = np.zeros((z, y, x), np.uint8)
            lit[self._where] = kept
            self._resources.write(self.texture, brick_words(lit))
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


def brick_words(lit: Index) -> NDArray[np.uint32]:
    """What the texture holds of bricks (z, y, x), each with its highlight's number: (z, y, x) uint32, of bits

    - 0 to 7: the number; 8: whether any page of its block is lit, so that rays can pass whole blocks without any;
    - 9 to 14: whether the brick beside it is of the same highlight: at low x, high x, low y …;
    - 16 to 27: whether two faces of what the highlight's bricks fill together meet at its edge: of the faces x and y,
      then x and z, then y and z, four each, in the order low low, high low, low high, high high.
    """
    words = lit.astype(np.uint32)
    side = _BRICKS_A_BLOCK
    z, y, x = lit.shape
    blocks = np.zeros((-(-z // side), -(-y // side), -(-x // side)), np.uint32)
    blocks[tuple(axis // side for axis in np.nonzero(lit))] = 1
    words |= blocks.repeat(side, 0)[:z].repeat(side, 1)[:, :y].repeat(side, 2)[:, :, :x] << np.uint32(8)
    padded = np.pad(lit, 1)

    def same(*steps: int) -> NDArray[np.bool_]:
        """Whether the brick that is so many steps along x, y and z is of the same highlight as each."""
        inside = tuple(slice(1 + step, 1 + step + n) for step, n in zip(steps[::-1], lit.shape, strict=True))
        return np.asarray((padded[inside] == lit) & (lit > 0))

    beside = {}
    for axis in range(3):
        for which, step in enumerate((-1, 1)):
            beside[axis, step] = same(*(step * (other == axis) for other in range(3)))
            words |= beside[axis, step].astype(np.uint32) << np.uint32(9 + 2 * axis + which)
    for pair, (first, second) in enumerate(((0, 1), (0, 2), (1, 2))):
        for which in range(4):
            steps = [0, 0, 0]
            steps[first], steps[second] = 2 * (which & 1) - 1, 2 * (which >> 1) - 1
            one, other = beside[first, steps[first]], beside[second, steps[second]]
            # Of the four bricks around an edge this one is of the highlight. The face is flat where one beside it is,
            # too, and no other; where all are there is none.
            flat = (one ^ other) & ~same(*steps)
            edge = (lit > 0) & ~flat & ~(one & other & same(*steps))
            words |= edge.astype(np.uint32) << np.uint32(16 + 4 * pair + which)
    return words
