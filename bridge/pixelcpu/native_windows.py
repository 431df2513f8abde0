"""Where a kernel's rounds touch memory, and how many of them may run side by side, as the plugin judges it.

The rules are those of tcg_plugin/kernel_calls.c, for memory in which addresses that follow each other do so.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.native_loop import NativeLoop

LEAST_APART = 16
"""Rounds side by side; where fewer are apart none are done. The plugin's LEAST_ROUNDS."""
Words = NDArray[np.uint64]


def touched(native: NativeLoop, addresses: Words, rounds: Words) -> tuple[Words, Words]:
    """Of each stream the lowest byte that `rounds` (n,) touch, and how many bytes from there; (n, streams) each.

    `addresses` (n, streams): in the first round.
    """
    strides = np.array([abs(one.stride) for one in native.streams], np.uint64)
    down = np.array([one.stride < 0 for one in native.streams], bool)
    sizes = np.array([one.size for one in native.streams], np.uint64)
    reach = np.where(rounds > 0, rounds - np.uint64(1), np.uint64(0))[:, None] * strides
    return np.where(down, addresses - reach, addresses), reach + sizes


def inside(first: Words, spans: Words, at: int, size: int) -> NDArray[np.bool_]:
    """(n,): whether all of each row's bytes are among the `size` from `at` on; no address wraps around unseen."""
    room = np.uint64(size) - np.minimum(spans, np.uint64(size))
    return np.asarray(((spans <= size) & (first - np.uint64(at) <= room)).all(axis=1), bool)


def apart(native: NativeLoop, addresses: Words, rounds: Words) -> tuple[Words, NDArray[np.bool_]]:
    """(n,) as many of the rounds as the plugin does at once, and where it does any."""
    rounds = rounds.copy()
    if native.ordered:
        return rounds, np.ones(len(rounds), bool)
    while True:
        clear = _clear(native, addresses, rounds)
        less = ~clear & (rounds >= 2 * LEAST_APART)
        if not less.any():
            return rounds, clear
        rounds[less] //= np.uint64(2)


def _clear(native: NativeLoop, addresses: Words, rounds: Words) -> NDArray[np.bool_]:
    first, spans = touched(native, addresses, rounds)
    clear = np.ones(len(rounds), bool)
    for (n, one), (m, other) in combinations(enumerate(native.streams), 2):
        if (one.is_store or other.is_store) and one.group != other.group:
            away = first[:, m] - first[:, n]
            clear &= (away >= spans[:, n]) & (np.uint64(0) - away >= spans[:, m])
    return clear


def windows(native: NativeLoop, first: Words, ends: Words, away: int) -> Words:
    """(n, accesses, 3) as `run` takes them, of each stream's bytes; `away`: of an address from where it is here."""
    each = np.stack([first, ends - first, first - np.uint64(away % (1 << 64))], axis=2)
    return np.ascontiguousarray(each[:, list(native.access_streams)])
