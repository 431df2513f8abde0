"""What the GPU says of each page as a whole: the texels of bricks, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PageSummaries:
    """What the GPU says of each page, (n_pages,) each."""

    filled: NDArray[np.uint16]
    """Bytes that are not zero."""
    mean: NDArray[np.uint8]
    """Their mean."""
    highest: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    """render.content.Kind"""
    entropy: NDArray[np.uint8]
    """255 for 8 bits a byte."""
    representative: NDArray[np.uint8]
    """That of the first cell that holds anything, from the middle on and around."""


def unpack_summaries(texels: NDArray[np.uint32]) -> PageSummaries:
    """Texels of bricks (n_pages, 2) uint32 -> what they say."""
    packed, more = texels.T
    return PageSummaries(
        filled=(packed & 8191).astype(np.uint16),
        mean=(packed >> 13).astype(np.uint8),
        highest=(packed >> 21).astype(np.uint8),
        kind=(packed >> 29).astype(np.uint8),
        entropy=more.astype(np.uint8),
        representative=(more >> 8).astype(np.uint8),
    )
