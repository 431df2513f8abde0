"""The compiled loops that follow the kernel's lists of tasks and trees of regions, as long as nothing is amiss in them.

What is torn, damaged or out of the ordinary they leave to the code that can say so, and only tell that there is such.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.memory.native import compiled, inlined

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

WALKED, NO_ROOM, ODD = 0, 1, 2
"""How a walk ended: well; the arrays were too short; something is not as it should be."""

_LEAF, _GAPS = 1, 3
_MAX_DEPTH = 16
_LINKS = np.uint64(3)
_SMALL = np.uint64(4096)
_PAGE_MASK = np.uint64(4095)


@inlined
def _index(vaddr: np.uint64, pieces: U64) -> np.int64:
    """Which word of the RAM lies at a virtual address; -1 for one that is not in `pieces`, see `walk_tasks`."""
    found = np.int64(-1)
    if vaddr & np.uint64(7) == np.uint64(0):
        for piece in range(len(pieces)):
            if vaddr >= pieces[piece, 0] and vaddr < pieces[piece, 1]:
                found = np.int64((vaddr + pieces[piece, 2]) >> np.uint64(3))
                break
    return found


@compiled(nogil=True)
def walk_tasks(
    words: U64,
    pieces: U64,
    init: np.uint64,
    tasks: np.uint64,
    signal: np.uint64,
    thread_head: np.uint64,
    thread_node: np.uint64,
    leaders: I64,
    found: U64,
) -> tuple[int, int, int]:
    """Follow the list of processes from `init`, the first task, and that of the threads of each.

    `words` is the RAM. `pieces` (r, 3): where pieces of virtual memory start, where they end for whole words, and what
    is added to an address there for its place in the RAM. The other numbers are offsets of members. Addresses of all
    tasks go to `found`, places of the processes among them to `leaders`. Returns how it ended, how many processes there
    are, and how many tasks.
    """
    n_leaders = 0
    n_found = 0
    head = init + tasks
    at = _index(head, pieces)
    if at < 0:
        return ODD, 0, 0
    before = head
    node = words[at]
    while node != head:
        here = _index(node, pieces)
        back = _index(node + np.uint64(8), pieces)
        if here < 0 or back < 0 or words[back] != before:
            return ODD, 0, 0
        leader = node - tasks
        at = _index(leader + signal, pieces)
        if at < 0:
            return ODD, 0, 0
        threads = words[at] + thread_head
        at = _index(threads, pieces)
        if at < 0:
            return ODD, 0, 0
        if n_leaders == len(leaders):
            return NO_ROOM, 0, 0
        leaders[n_leaders] = -1
        thread_before = threads
        thread = words[at]
        while thread != threads:
            next_at = _index(thread, pieces)
            back = _index(thread + np.uint64(8), pieces)
            if next_at < 0 or back < 0 or words[back] != thread_before:
                return ODD, 0, 0
            if n_found == len(found):
                return NO_ROOM, 0, 0
            if thread - thread_node == leader:
                leaders[n_leaders] = n_found
            found[n_found] = thread - thread_node
            n_found += 1
            thread_before = thread
            thread = words[next_at]
        if leaders[n_leaders] < 0:
            return ODD, 0, 0
        n_leaders += 1
        before = node
        node = words[here]
    return WALKED, n_leaders, n_found


@compiled(nogil=True)
def read_regions(
    words: U64,
    pieces: U64,
    mms: U64,
    tree: np.uint64,
    own: np.uint64,
    members: U64,
    owners: I64,
    columns: U64,
) -> tuple[int, int]:
    """The regions in the maple trees (see `bridge.kernel.maple`) of address spaces `mms` (n,), by space and address.

    `tree` is where a space has its root, `own` where a region names its space, `members` (5,) where a region has what
    goes to the columns 1 to 5 of `columns` (room, 6): start, end and others. Its address goes to column 0, the number
    of its space to `owners` (room,). Returns how it ended, and how many there are.
    """
    nodes = np.zeros(_MAX_DEPTH, np.int64)
    kinds = np.zeros(_MAX_DEPTH, np.int64)
    slots = np.zeros(_MAX_DEPTH, np.int64)
    ends = np.zeros(_MAX_DEPTH, np.uint64)
    n_found = 0
    for space in range(len(mms)):
        at = _index(mms[space] + tree, pieces)
        if at < 0:
            return ODD, 0
        entry = words[at]
        if entry == np.uint64(0):
            continue
        depth = -1
        end = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
        is_node = entry & _LINKS == np.uint64(2) and entry > _SMALL
        last_end = np.uint64(0)
        while True:
            if is_node:
                depth += 1
                kind = np.int64(entry >> np.uint64(3) & np.uint64(15))
                first = _index(entry & ~np.uint64(0xFF), pieces)
                last = _index((entry & ~np.uint64(0xFF)) + np.uint64(248), pieces)
                if depth == _MAX_DEPTH or kind < _LEAF or kind > _GAPS or first < 0 or last != first + 31:
                    return ODD, 0
                nodes[depth] = first
                kinds[depth] = kind
                slots[depth] = 0
                ends[depth] = end
            elif entry & _LINKS == np.uint64(0):
                if n_found == len(owners):
                    return NO_ROOM, 0
                at = _index(entry + own, pieces)
                if at < 0 or words[at] != mms[space]:
                    return ODD, 0
                owners[n_found] = space
                columns[n_found, 0] = entry
                for member in range(5):
                    at = _index(entry + members[member], pieces)
                    if at < 0:
                        return ODD, 0
                    columns[n_found, member + 1] = words[at]
                start = columns[n_found, 1]
                if start >= columns[n_found, 2] or (start | columns[n_found, 2]) & _PAGE_MASK != np.uint64(0):
                    return ODD, 0
                if start < last_end:
                    return ODD, 0  # those of one space are in order
                last_end = columns[n_found, 2]
                n_found += 1
            # On to the next slot that holds something.
            descending = False
            while depth >= 0 and not descending:
                n_pivots = 9 if kinds[depth] == _GAPS else 15
                slot = slots[depth]
                if slot > n_pivots:
                    depth -= 1
                    continue
                node = nodes[depth]
                last = words[node + 1 + slot] if slot < n_pivots else ends[depth]
                if slot > 0 and last == np.uint64(0):
                    depth -= 1
                    continue
                slots[depth] = n_pivots + 1 if last >= ends[depth] else slot + 1
                entry = words[node + 1 + n_pivots + slot]
                if entry != np.uint64(0):
                    is_node = kinds[depth] != _LEAF
                    end = last
                    descending = True
            if not descending:
                break
    return WALKED, n_found
