"""How long it takes to make of trace records all that is told of them; `bench trace` has the figure."""

from __future__ import annotations

import time

import numpy as np

from bridge.trace.clusters import clusters
from bridge.trace.follows import FollowCounter
from bridge.trace.hot import Weights
from bridge.trace.layout import layout
from bridge.trace.paths import hot_paths
from bridge.trace.program import Program

_BLOCKS = 20_000
"""About as many as a Linux runs within minutes after its start."""
_SPACING = 64
_TEXT = 0x400000
_WALKS = 1000
_TSC_HZ = 2_000_000_000
_BODY = tuple(
    bytes.fromhex(code) for code in ("488b07", "488906", "48ffc0", "4801d8", "0fb6c0", "4c89e7", "488d4701", "85c0")
)


def analysis_seconds(n_records: int) -> float:
    """Processor time for edges, loops, hot paths, clusters and classes of so many records of blocks, of one thread.

    The blocks are of six instructions each; walks over them go on to the next one or back by some, so that there are
    thousands of loops.
    """
    random = np.random.default_rng(5)
    records = _walks(random, max(n_records, _WALKS))
    codes = [b"", *(_code(random) for _ in range(_BLOCKS))]
    blocks = np.zeros(_BLOCKS + 1, layout()["block"])
    blocks["virtual_first"][1:] = _TEXT + _SPACING * np.arange(_BLOCKS)
    blocks["physical"] = blocks["virtual_first"]
    blocks["bytes"] = [len(code) for code in codes]
    blocks["instructions"] = 6
    began = time.process_time()
    follows = FollowCounter(len(blocks))
    follows.feed(records, _TSC_HZ)
    program = Program(blocks, follows.entered, codes.__getitem__, follows)
    weights = Weights.of(program, np.empty(0, layout()["sample"]))
    hot_paths(program, weights.values, 100)
    clusters(program, weights.values, 100)
    for number in program.ran.tolist():
        program.decoded(number)
    assert program.loops.depths.any()
    return time.process_time() - began


def _walks(random: np.random.Generator, count: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """(n,) of `record`: walks of equal length, one after the other."""
    steps = count // _WALKS
    number = np.arange(_BLOCKS)
    onwards = np.column_stack([(number + 1) % _BLOCKS, np.maximum(number - random.integers(0, 12, _BLOCKS), 0)])
    found = np.empty((_WALKS, steps), np.uint32)
    here = random.integers(0, _BLOCKS, _WALKS)
    for step in range(steps):
        found[:, step] = here + 1
        here = onwards[here, random.integers(0, 2, _WALKS)]
    records = np.zeros(_WALKS * steps, layout()["record"])
    records["block"] = found.ravel()
    records["sequence"] = np.arange(len(records))
    records["tsc"] = records["sequence"] * 50
    records["kind"] = layout().constants["RECORD_BLOCK"]
    records["value"] = 1 + np.arange(len(records)) // (5 * steps)
    return records


def _code(random: np.random.Generator) -> bytes:
    """Five instructions and a conditional jump back to the block's beginning."""
    body = b"".join(_BODY[n] for n in random.integers(0, len(_BODY), 5))
    return body + b"\x75" + bytes([(-(len(body) + 2)) & 0xFF])
