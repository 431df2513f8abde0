"""The compiled loops that say what every page is, from its record and from what was claimed for it.

The same rules in the same order as `PageClassifier` has them, for all pages in one go.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.memory.native import compiled, inlined

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
_NOBODY = np.int32(-1)
_TYPED = np.uint32(0x8000_0000)
_UNTYPED = np.uint32(0xFFFF_FFFF)
_ANONYMOUS_BIT = np.uint64(1)
_LOW_BITS = np.uint64(3)
_MAX_ORDER = 20

# PageClass, as plain numbers that the compiler knows.
_UNKNOWN, _HOLE, _RESERVED, _SLAB, _ANONYMOUS = 0, 1, 2, 11, 14
_FREE, _FREE_PER_CPU, _KERNEL_PAGES = 17, 18, 19
_TABLE = 10


@inlined
def _number_of(key: np.uint64, keys: U64, slots: I32, n_keys: int) -> int:
    """The number of a key among those that were met, or the next one, under which it is put down then."""
    mask = np.uint64(len(slots) - 1)
    slot = (key * _GOLDEN) >> np.uint64(32) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + np.uint64(1)) & mask
    if slots[slot] < 0:
        slots[slot] = n_keys
        keys[n_keys] = key
    return int(slots[slot])


@compiled(nogil=True)
def classify(
    known: Mask,
    records: U64,
    flags: U64,
    heads: I64,
    is_tail: Mask,
    mapping: U64,
    page_type: U32,
    refcount: I32,
    early: U8,
    late: U8,
    marks: U32,
    bits: U64,
    places: I64,
    levels: int,
    edges: I32,
    classes: U8,
    orders: I8,
    which: I32,
    caches: U64,
    cache_slots: I32,
    spaces: U64,
    space_slots: I32,
) -> tuple[int, int]:
    """Tell classes, orders and `which` (n,) of all pages; see Frames for what is known of them.

    `early` and `late` (n,) are what a page is by what points to it, if nothing surer is known. `marks` (4, 2): mask and
    value of the page types buddy, slab, table, large_kmalloc. `bits` (3,): masks of the flags slab, reserved, head.
    `places` (2,): words of a record that hold `private` and `slab_cache`. `edges` (n + 1,) is room.

    `which` is the number of the page's slab cache among `caches`, or of its address space among `spaces` where that
    seems to be a file's: such a page is given the class that it has if it is none. The slots are room for finding keys,
    -1 each, a power of two. Returns how many caches and spaces there are; -1 for both where the slots do not suffice.
    """
    n = len(classes)
    for page in range(n + 1):
        edges[page] = 0
    for page in range(n):
        if known[page] and page_type[page] & marks[0, 0] == marks[0, 1]:
            private = records[page, places[0]]
            order = _MAX_ORDER if private > np.uint64(_MAX_ORDER) else np.int64(private)
            edges[page] += np.int32(order + 1)
            edges[min(page + (1 << order), n)] -= np.int32(order + 1)
    height = np.int32(0)
    n_caches = 0
    n_spaces = 0
    for page in range(n):
        height += edges[page]
        which[page] = _NOBODY
        orders[page] = -1
        if not known[page]:
            classes[page] = _HOLE
            continue
        if height > 0:
            orders[page] = _MAX_ORDER if height > _MAX_ORDER else height - 1
            classes[page] = _FREE
            continue
        head = heads[page]
        own_type, head_type, head_flags = page_type[page], page_type[head], flags[head]
        if head_type & marks[1, 0] == marks[1, 1] or head_flags & bits[0] != np.uint64(0):
            classes[page] = _SLAB
            number = _number_of(records[head, places[1]], caches, cache_slots, n_caches)
            which[page] = number
            n_caches = max(n_caches, number + 1)
            if 2 * n_caches >= len(cache_slots):
                return -1, -1
            continue
        if early[page] != _UNKNOWN:
            classes[page] = early[page]
            continue
        if own_type & marks[2, 0] == marks[2, 1]:
            classes[page] = _TABLE
            continue
        space, in_use = mapping[head], refcount[head] > 0
        top = np.int64(space) >> np.int64(9 * levels + 11)
        if space != np.uint64(0) and in_use and top == np.int64(-1):
            if space & _ANONYMOUS_BIT != np.uint64(0):
                classes[page] = _ANONYMOUS
                continue
            if space & _LOW_BITS == np.uint64(0):
                number = _number_of(space, spaces, space_slots, n_spaces)
                which[page] = number
                n_spaces = max(n_spaces, number + 1)
                if 2 * n_spaces >= len(space_slots):
                    return -1, -1
        typed = is_tail[page] or (own_type & _TYPED != np.uint32(0) and own_type != _UNTYPED)
        big = head_flags & bits[2] != np.uint64(0)
        if late[page] != _UNKNOWN:
            classes[page] = late[page]
        elif flags[page] & bits[1] != np.uint64(0):
            classes[page] = _RESERVED
        elif refcount[page] == 0 and not typed:
            classes[page] = _FREE_PER_CPU
        elif (big and in_use and space == np.uint64(0)) or head_type & marks[3, 0] == marks[3, 1]:
            classes[page] = _KERNEL_PAGES
        else:
            classes[page] = _UNKNOWN
    return n_caches, n_spaces


@compiled(nogil=True)
def settle(which: I32, kinds: U8, classes: U8, used: Mask) -> None:
    """Give pages that seemed to be a file's the class that their address space (k,) has in `kinds`, if it has one; and
    say which spaces (k,) have pages.
    """
    for page in range(len(classes)):
        if which[page] < 0 or classes[page] == _SLAB:
            continue
        if kinds[which[page]] != _UNKNOWN:
            classes[page] = kinds[which[page]]
            used[which[page]] = True
        else:
            which[page] = _NOBODY


@compiled(nogil=True)
def tell(
    records: U64,
    index_place: int,
    heads: I64,
    classes: U8,
    orders: I8,
    which: I32,
    of_caches: I32,
    of_spaces: I32,
    subjects: I32,
    places: U32,
) -> None:
    """Say of pages of slabs and files what they belong to, by the subject of each cache and each space, and which page
    of it they are; of free ones, of what order they are. Others have none.
    """
    for page in range(len(classes)):
        subject = _NOBODY
        place = np.uint64(0)
        if classes[page] == _FREE:
            place = np.uint64(orders[page])
        elif which[page] >= 0:
            place = np.uint64(page - heads[page])
            if classes[page] == _SLAB:
                subject = of_caches[which[page]]
            else:
                subject = of_spaces[which[page]]
                place += records[heads[page], index_place]
        subjects[page] = subject
        places[page] = np.uint32(place & np.uint64(0xFFFF_FFFF))
