"""Maple trees: the kernel's map from ranges to pointers, walked for many trees at once.

A pointer to a node carries the node's type in its low byte. Leaves and inner nodes of a range hold 15 pivots (each the
last index of its slot) and 16 slots; inner nodes that also track gaps hold 9 and 10 (include/linux/maple_tree.h,
lib/maple_tree.c). A tree of depth d is walked in d steps, whatever the number of trees.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.kernel.space import KernelSpace

U64 = npt.NDArray[np.uint64]

_LEAF, _RANGE, _GAPS = 1, 2, 3
_NODE_BYTES = 256
_NODE_MASK = np.uint64(0xFF)
_MAX_DEPTH = 16
"""A tree of 2^64 indices is at most 31 levels deep in theory; five hold a billion entries."""
_PIVOTS = {_LEAF: 15, _RANGE: 15, _GAPS: 9}


def is_node(entries: U64) -> npt.NDArray[np.bool_]:
    """Whether each `ma_root` points to a node (xa_is_node: internal, no small number); nodes below carry no mark."""
    found: npt.NDArray[np.bool_] = (entries & np.uint64(3) == np.uint64(2)) & (entries > np.uint64(4096))
    return found


def entries_of_trees(space: KernelSpace, roots: U64, limit: int) -> tuple[npt.NDArray[np.int64], U64, bool]:
    """Everything that is stored in the trees with these `ma_root`s (n,).

    Returns the tree of each entry (m,) int64, the entries (m,), in no particular order, and whether the walk was
    complete: a tree that is changed meanwhile may lose a branch, and a damaged one ends at `limit` entries.
    """
    trees = np.arange(len(roots))
    single = ~is_node(roots) & (roots != 0)
    owners, entries = [trees[single]], [roots[single]]
    complete = True
    nodes, trees = roots[is_node(roots)], trees[is_node(roots)]
    ends = np.full(len(nodes), np.uint64(2**64 - 1))
    n_found = 0
    for _ in range(_MAX_DEPTH):
        if not len(nodes):
            break
        types = (nodes >> np.uint64(3)) & np.uint64(15)
        rows, ok = space.rows(nodes & ~_NODE_MASK, _NODE_BYTES)
        complete &= bool(ok.all()) and bool(((types >= _LEAF) & (types <= _GAPS)).all())
        words = rows.view("<u8").reshape(len(nodes), -1)
        next_nodes, next_trees, next_ends = [], [], []
        for kind, n_pivots in _PIVOTS.items():
            chosen = np.flatnonzero(ok & (types == kind))
            if not len(chosen):
                continue
            slots = words[chosen, 1 + n_pivots : 2 + 2 * n_pivots]
            last = np.concatenate([words[chosen, 1 : 1 + n_pivots], ends[chosen][:, None]], axis=1)
            # Slots behind the one that reaches the node's end are leftovers; a pivot of zero there means the end too.
            unset = last == 0
            unset[:, 0] = False
            beyond = np.cumsum((last >= ends[chosen][:, None]) | unset, axis=1)
            used = np.concatenate([np.ones((len(chosen), 1), np.bool_), beyond[:, :-1] == 0], axis=1) & ~unset
            used &= slots != 0
            row, slot = np.nonzero(used)
            values = slots[row, slot]
            if kind == _LEAF:
                owners.append(trees[chosen][row])
                entries.append(values)
                n_found += len(values)
            else:
                next_nodes.append(values)
                next_trees.append(trees[chosen][row])
                next_ends.append(last[row, slot])
        if n_found > limit or sum(map(len, next_nodes)) > limit:
            return np.concatenate(owners), np.concatenate(entries), False
        nodes = np.concatenate(next_nodes) if next_nodes else nodes[:0]
        trees = np.concatenate(next_trees) if next_trees else trees[:0]
        ends = np.concatenate(next_ends) if next_ends else ends[:0]
    else:
        complete = complete and not len(nodes)
    found = np.concatenate(entries)
    pointers = (found & np.uint64(3) == np.uint64(0)) & (found != 0)
    return np.concatenate(owners)[pointers], found[pointers], complete
