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
Box = tuple[tuple[int, int, int], tuple[int, int, int]]
NOWHERE: Box = ((0, 0, 0), (0, 0, 0))
MOST_CLEAR = 15
COLOUR_WORDS = 5 * 256
"""Before the words of bricks: four for each colour, then one for each."""
TINT = 0.8
"""How far a highlight's colour takes the place of its bytes' own, unless it is said."""


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
        self.box = NOWHERE
        """See `lit_box`."""
        self.buffer: wgpu.GPUBuffer | None = None
        """256 colours of four float32, `colours` by index (what is not lit has none), the same as words, see
        `colour_words`, then a word a brick, x fastest: see `brick_words`."""

    def set(self, index: Index | None, colours: NDArray[np.floating] | None = None) -> bool:
        """See `BrickStore.set_highlights`; whether that changed anything. Raises BadPages."""
        if index is None:
            if self.index is None:
                return False
            if self.buffer is not None:
                self._resources.give_back(self.buffer)
            self.forget()
            return True
        table = self._checked(index, colours)
        same = self.index is not None and np.array_equal(self.index, index)
        if same and np.array_equal(self.colours, table):
            return False
        x, y, z = self._shape
        if self.buffer is None:
            usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST | wgpu.BufferUsage.COPY_SRC
            self.buffer = self._resources.buffer("lit pages", 4 * (COLOUR_WORDS + x * y * z), usage)
        if not same:
            kept = index.copy()
            kept.flags.writeable = False
            lit = np.zeros((z, y, x), np.uint8)
            lit[self._where] = kept
            self.box = lit_box(lit)
            self._resources.device.queue.write_buffer(self.buffer, 4 * COLOUR_WORDS, brick_words(lit))
            self.index = kept
        if not np.array_equal(self.colours, table):
            by_index = np.zeros((256, 4), np.float32)
            by_index[1 : 1 + len(table)] = table
            packed = np.concatenate([by_index.ravel().view(np.uint32), colour_words(by_index)])
            self._resources.device.queue.write_buffer(self.buffer, 0, packed)
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
        self.index = self.buffer = None
        self.box = NOWHERE
        self.colours = np.zeros((0, 4), np.float32)


def colour_words(colours: Colours) -> NDArray[np.uint32]:
    """Colours (n, 4) as one word each, (n,): the square roots of red, green and blue, then the tint, a byte each."""
    parts = np.concatenate([np.sqrt(colours[:, :3]), colours[:, 3:]], axis=1)
    return np.ascontiguousarray((parts.clip(0, 1) * 255 + 0.5).astype(np.uint8)).view("<u4").ravel()


def brick_words(lit: Index) -> NDArray[np.uint32]:
    """What the buffer holds of bricks (z, y, x), each with its highlight's number: (z, y, x) uint32, of bits

    - 0 to 7: the number; 8: whether any page of its block is lit, so that rays can pass whole blocks without any;
    - 9 to 14: whether the brick beside it is of the same highlight: at low x, high x, low y …;
    - 16 to 27: whether two faces of what the highlight's bricks fill together meet at its edge: of the faces x and y,
      then x and z, then y and z, four each, in the order low low, high low, low high, high high;
    - 28 to 31: how many bricks around one that is not lit are not lit either, on every side, up to 15.
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
    return words | _clear_around(lit) << np.uint32(28)


def lit_box(lit: Index) -> Box:
    """The voxels of the blocks that hold all lit bricks (z, y, x), low and high along x, y, z."""
    if not lit.any():
        return NOWHERE
    spans = []
    for axis in (2, 1, 0):
        at = np.flatnonzero(lit.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append((int(at[0]) // _BRICKS_A_BLOCK, int(at[-1]) // _BRICKS_A_BLOCK + 1))
    (x0, x1), (y0, y1), (z0, z1) = spans
    return (x0 * BLOCK_SIDE, y0 * BLOCK_SIDE, z0 * BLOCK_SIDE), (x1 * BLOCK_SIDE, y1 * BLOCK_SIDE, z1 * BLOCK_SIDE)


def _clear_around(lit: Index) -> NDArray[np.uint32]:
    """Bricks (z, y, x) by how far the nearest lit one is, along the axis where it is farthest, less one; 15 at most.

    A cube that grows by a brick on every side grows along one axis after another.
    """
    near = lit > 0
    clear = np.zeros(lit.shape, np.uint32)
    for _ in range(MOST_CLEAR):
        for axis in range(3):
            grown = np.moveaxis(near.copy(), axis, 0)
            flat = np.moveaxis(near, axis, 0)
            grown[1:] |= flat[:-1]
            grown[:-1] |= flat[1:]
            near = np.moveaxis(grown, 0, axis)
        if near.all():
            break
        clear += ~near
    return clear
