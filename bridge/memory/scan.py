"""The compiled loops that compare a guest's RAM with its shadow, and hand changed pages over.

How a page is compared. Reading RAM *and* a shadow costs two streams of memory, and memory is the limit. So a page is
first compared by an NH hash of 128 bits under a secret random key: two given different pages agree with probability
2^-64 whatever the guest writes (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC", CRYPTO 1999). And because "almost
certainly" is not "exactly", every page is also compared word for word with the shadow in one sweep of EXACT_EVERY.

How a page changes hands. For each page there is a `version`, written by the scanner alone, and `taken`, written by the
consumer alone: the version that the consumer has. A page is pending while they differ. No variable has two writers,
so no update can be lost, and there is no flag whose clearing could overtake the reading of what it announces.

    scanner: version = odd;  copy RAM -> shadow;  version = next even;  chunk_version += 1
    consumer: read version (even, != taken);  copy shadow -> out;  read version again: equal?  taken = version

That is a seqlock (Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012). The consumer
gets only bytes that stood still in the shadow while it copied them, and `taken` never claims a version it has not
seen. When the last change of a page has been scanned, its version is even and final: either the consumer has that
very version, thus the shadow's bytes, or the page is pending.

Where RAM may be read. Reading a hole of the file would allocate it, against the guest's balloon. `mincore` says which
pages are in memory now, for a bounded range and at little cost; what is not is a hole or swapped out, and `lseek`
knows which. (`SEEK_HOLE` alone walks all data up to the next hole: 5 ms a GiB, too long for each round.) Only a page
that is given back within the microseconds between question and reading can be allocated again.

`chunk_version` (64 pages) only saves time: it is raised after the page's version, and the consumer reads it before the
pages' versions, so a chunk that it takes for known has no page that is pending.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.memory.native import (
    PRODUCT_WORDS,
    VECTOR_WORDS,
    add_products,
    any_bits,
    compiled,
    differing_bits,
    fence,
    inlined,
    load_acquire_u32,
    lseek,
    mincore,
    prefetch,
    store_release_u32,
)
from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.shadow import CHUNK_PAGES, WORDS_A_PAGE, Shadow

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

EXACT_EVERY = 8

# A page stays hot for so many looks without a change.
HOT_PATIENCE = 20

# The next page's lines are asked for while this one is read: the processor's own prefetcher stops at page borders.
_AHEAD_BYTES = 4096

# Fields of `state`, (N_STATE,) int64: where the sweep is, how long the list of hot pages and where in it, counts.
POSITION, N_HOT, HOT_CURSOR, CHECKED, CHANGED, FRESH, N_STATE = range(7)

_SEEK_END, _SEEK_DATA = 2, 3


@inlined
def _page_hash(words: U64, key: U64, page: int) -> tuple[np.uint64, np.uint64]:
    low = np.uint64(0)
    high = np.uint64(0)
    address = words.ctypes.data + page * PAGE_BYTES
    for at in range(0, PAGE_BYTES, PRODUCT_WORDS * 8):
        for line in range(0, PRODUCT_WORDS * 8, 64):
            prefetch(np.uintp(address + at + line + _AHEAD_BYTES))
        low, high = add_products(low, high, np.uintp(address + at), np.uintp(key.ctypes.data + at))
    return low, high


@inlined
def _page_equals(ram: U64, shadow: U64, page: int) -> bool:
    start = page * PAGE_BYTES
    for at in range(start, start + PAGE_BYTES, VECTOR_WORDS * 8):
        if differing_bits(np.uintp(ram.ctypes.data + at), np.uintp(shadow.ctypes.data + at)) != 0:
            return False
    return True


@inlined
def _page_is_zero(words: U64, page: int) -> bool:
    start = page * PAGE_BYTES
    for at in range(start, start + PAGE_BYTES, VECTOR_WORDS * 8):
        if any_bits(np.uintp(words.ctypes.data + at)) != 0:
            return False
    return True


@inlined
def _store_page(shadow: Shadow, ram: U64, page: int, zero: bool, now_s: float) -> None:
    """Puts a page of RAM, or zeros, into the shadow, and says so."""
    base = page * WORDS_A_PAGE
    version_address = np.uintp(shadow.version.ctypes.data + page * 4)
    version = shadow.version[page]
    store_release_u32(version_address, np.uint32(version + 1))
    fence()
    if version == load_acquire_u32(np.uintp(shadow.taken.ctypes.data + page * 4)):
        shadow.first_seen_s[page] = now_s
    if zero:
        for i in range(base, base + WORDS_A_PAGE):
            shadow.words[i] = 0
    else:
        for i in range(base, base + WORDS_A_PAGE):
            shadow.words[i] = ram[i]
    fence()
    store_release_u32(version_address, np.uint32(version + 2))
    chunk = page // CHUNK_PAGES
    store_release_u32(
        np.uintp(shadow.chunk_version.ctypes.data + chunk * 4), np.uint32(shadow.chunk_version[chunk] + 1)
    )
    # Of the copy, not of RAM, which may have changed again.
    low, high = _page_hash(shadow.words, shadow.key, page)
    shadow.hashes[page, 0] = low
    shadow.hashes[page, 1] = high
    shadow.is_zero[page] = _page_is_zero(shadow.words, page)


@inlined
def _hash_differs(ram: U64, key: U64, hashes: U64, page: int) -> bool:
    low, high = _page_hash(ram, key, page)
    return bool(low != hashes[page, 0] or high != hashes[page, 1])


@inlined
def _bytes_differ(ram: U64, words: U64, is_zero: U8, page: int) -> bool:
    # A page of the shadow that was never written is not read either, so that it costs no memory.
    if is_zero[page]:
        return not _page_is_zero(ram, page)
    return not _page_equals(ram, words, page)


@inlined
def _ask_residence(ram: U64, first_page: int, stop_page: int, resident: U8) -> None:
    """Fills `resident` with 1 for each page of the range that can be read without allocating it."""
    length = (stop_page - first_page) * PAGE_BYTES
    if mincore(np.uintp(ram.ctypes.data + first_page * PAGE_BYTES), length, np.uintp(resident.ctypes.data)) != 0:
        resident[:] = 0  # then `lseek` is asked


@inlined
def _next_data(fd: int, page: int, n_pages: int) -> int:
    """The first page from `page` on that is not in a hole, or `n_pages`; -1 when the file has become too short."""
    offset = lseek(fd, page * PAGE_BYTES, _SEEK_DATA)
    if offset >= 0:
        return min(offset // PAGE_BYTES, n_pages)
    return n_pages if lseek(fd, 0, _SEEK_END) >= n_pages * PAGE_BYTES else -1


@compiled(nogil=True)
def sweep(fd: int, ram: U64, shadow: Shadow, hot: U32, state: I64, budget_pages: int, cycle: int, now_s: float) -> bool:
    """Compares pages from `state[POSITION]` on until the budget is used or RAM ends; stops between chunks only.

    Pages that changed join the `hot` ones. A hole of the file is zero and costs nothing. `cycle` counts the sweeps.
    Gives False when the file has become shorter than RAM.
    """
    n_pages = len(shadow.version)
    resident = np.empty(CHUNK_PAGES, np.uint8)
    position = state[POSITION]
    checked = 0
    while position < n_pages and (checked < budget_pages or position % CHUNK_PAGES):
        first = int(position)
        stop = min((first // CHUNK_PAGES + 1) * CHUNK_PAGES, n_pages)
        exact = (first // CHUNK_PAGES + cycle) % EXACT_EVERY == 0
        _ask_residence(ram, first, stop, resident)
        page = first
        while page < stop:
            if resident[page - first] % 2 == 0:
                data = _next_data(fd, page, n_pages)
                if data < 0:
                    return False
                if data > page:
                    for hole in range(page, data):
                        if not shadow.is_zero[hole]:
                            _store_page(shadow, ram, hole, True, now_s)
                            state[CHANGED] += 1
                    page = data  # perhaps far beyond this chunk
                    continue
            checked += 1
            if exact:
                differs = _bytes_differ(ram, shadow.words, shadow.is_zero, page)
            else:
                differs = _hash_differs(ram, shadow.key, shadow.hashes, page)
            if differs:
                _store_page(shadow, ram, page, False, now_s)
                state[CHANGED] += 1
                if shadow.heat[page]:
                    shadow.heat[page] = HOT_PATIENCE
                else:
                    state[FRESH] += 1
                    if state[N_HOT] < len(hot):
                        hot[state[N_HOT]] = page
                        state[N_HOT] += 1
                        shadow.heat[page] = HOT_PATIENCE
            page += 1
        position = page
    state[POSITION] = position
    state[CHECKED] += checked
    return True


@compiled(nogil=True)
def look_at_hot(fd: int, ram: U64, shadow: Shadow, hot: U32, state: I64, budget_pages: int, now_s: float) -> bool:
    """Compares the pages that changed lately, from `state[HOT_CURSOR]` on, and forgets those that have cooled down.

    Gives False when the file has become shorter than RAM.
    """
    n_pages = len(shadow.version)
    resident = np.empty(CHUNK_PAGES, np.uint8)
    known_chunk = -1
    count = min(budget_pages, state[N_HOT])
    cursor = state[HOT_CURSOR]
    for _ in range(count):
        if cursor >= state[N_HOT]:
            cursor = 0
        page = int(hot[cursor])
        chunk = page // CHUNK_PAGES
        if chunk != known_chunk:
            _ask_residence(ram, chunk * CHUNK_PAGES, min((chunk + 1) * CHUNK_PAGES, n_pages), resident)
            known_chunk = chunk
        hole = False
        if resident[page % CHUNK_PAGES] % 2 == 0:
            data = _next_data(fd, page, n_pages)
            if data < 0:
                return False
            hole = data > page
        differs = not shadow.is_zero[page] if hole else _hash_differs(ram, shadow.key, shadow.hashes, page)
        if differs:
            _store_page(shadow, ram, page, hole, now_s)
            state[CHANGED] += 1
            shadow.heat[page] = HOT_PATIENCE
        else:
            shadow.heat[page] -= 1
            if shadow.heat[page] == 0:
                state[N_HOT] -= 1
                hot[cursor] = hot[state[N_HOT]]
                continue
        cursor += 1
    state[HOT_CURSOR] = cursor
    state[CHECKED] += count
    return True


@compiled(nogil=False)
def take_pending(shadow: Shadow, out_pages: U32, out_words: U64, start_page: int) -> tuple[int, int, float]:
    """Copies pending pages out, from `start_page` on and around, until `out_pages` is full.

    Gives how many, the page to start from next time, and when the oldest of these changes was seen. A page that the
    scanner is writing at this moment stays pending. Keeps the interpreter lock: it is the window's thread that calls,
    which could wait longer to get it back than the copy takes.
    """
    n_pages = len(shadow.version)
    n_chunks = len(shadow.chunk_version)
    first_chunk = start_page // CHUNK_PAGES
    count = 0
    oldest_s = np.inf
    # One more than there are chunks: the first one is visited from its middle, and at last from its beginning.
    for step in range(n_chunks + 1):
        chunk = (first_chunk + step) % n_chunks
        chunk_version = load_acquire_u32(np.uintp(shadow.chunk_version.ctypes.data + chunk * 4))
        if chunk_version == shadow.chunk_taken[chunk]:
            continue
        first = start_page if step == 0 else chunk * CHUNK_PAGES
        whole = first % CHUNK_PAGES == 0
        for page in range(first, min((chunk + 1) * CHUNK_PAGES, n_pages)):
            version_address = np.uintp(shadow.version.ctypes.data + page * 4)
            version = load_acquire_u32(version_address)
            if version == shadow.taken[page]:
                continue
            if version % 2:
                whole = False
                continue
            if count == len(out_pages):
                return count, page, oldest_s
            for i in range(WORDS_A_PAGE):
                out_words[count * WORDS_A_PAGE + i] = shadow.words[page * WORDS_A_PAGE + i]
            seen_s = shadow.first_seen_s[page]
            fence()
            if load_acquire_u32(version_address) != version:
                whole = False
                continue
            store_release_u32(np.uintp(shadow.taken.ctypes.data + page * 4), version)
            out_pages[count] = page
            count += 1
            oldest_s = min(oldest_s, seen_s)
        if whole:
            shadow.chunk_taken[chunk] = chunk_version
    return count, start_page, oldest_s


@compiled(nogil=True)
def copy_changed(ram: U64, copy: U64, first_page: int, stop_page: int, changed: U8) -> int:
    """Brings pages of `copy` up to date with RAM; marks those that differed, and says how many did."""
    count = 0
    for page in range(first_page, stop_page):
        if not _page_equals(ram, copy, page):
            for i in range(page * WORDS_A_PAGE, (page + 1) * WORDS_A_PAGE):
                copy[i] = ram[i]
            changed[page] = 1
            count += 1
    return count
