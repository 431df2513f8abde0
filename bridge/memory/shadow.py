"""The shadow of a guest's RAM: the arrays where scanner and consumer meet; how, is told in `bridge.memory.scan`."""

from __future__ import annotations

import mmap
import secrets
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bridge.memory.physical_map import PAGE_BYTES

CHUNK_PAGES = 64
WORDS_A_PAGE = PAGE_BYTES // 8

_MAP_NORESERVE = 0x4000  # asm-generic/mman.h; Python does not name it


class Shadow(NamedTuple):
    """What is known of each page. Each array has one writer."""

    words: npt.NDArray[np.uint64]  # (n_pages * 512,) the bytes as last seen; scanner
    is_zero: npt.NDArray[np.uint8]  # (n_pages,) 1 where `words` is zero, perhaps never touched; scanner
    hashes: npt.NDArray[np.uint64]  # (n_pages, 2) low and high half of the hash of `words`; scanner
    key: npt.NDArray[np.uint64]  # (512,) secret key of the hash; nobody
    version: npt.NDArray[np.uint32]  # (n_pages,) even: at rest, odd: being written; scanner
    chunk_version: npt.NDArray[np.uint32]  # (n_chunks,) raised after each change in a chunk; scanner
    first_seen_s: npt.NDArray[np.float64]  # (n_pages,) when a page last became pending; scanner
    heat: npt.NDArray[np.uint8]  # (n_pages,) looks without a change until a page is no longer hot; scanner
    taken: npt.NDArray[np.uint32]  # (n_pages,) the version that the consumer has; consumer
    chunk_taken: npt.NDArray[np.uint32]  # (n_chunks,) the chunk version of which it has every page; consumer

    def n_pending(self) -> int:
        """How many pages the consumer does not have as they are."""
        return int(np.count_nonzero(self.version != self.taken))


class RamSize(Protocol):
    """What a shadow must know of RAM."""

    @property
    def n_pages(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...


def create_shadow(ram: RamSize) -> Shadow:
    """A shadow in which all of RAM is zero and nothing is pending."""
    n_pages, n_chunks = ram.n_pages, -(-ram.n_pages // CHUNK_PAGES)
    # Address space, not memory: a page of it exists once RAM has something there. Huge pages would undo that.
    memory = mmap.mmap(-1, ram.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    key = np.frombuffer(secrets.token_bytes(PAGE_BYTES), np.uint64).copy()
    hashes = np.empty((n_pages, 2), np.uint64)
    hashes[:] = hash_of_page(np.zeros(WORDS_A_PAGE, np.uint64), key)
    return Shadow(
        words=np.frombuffer(memory, np.uint64),
        is_zero=np.ones(n_pages, np.uint8),
        hashes=hashes,
        key=key,
        version=np.zeros(n_pages, np.uint32),
        chunk_version=np.zeros(n_chunks, np.uint32),
        first_seen_s=np.zeros(n_pages, np.float64),
        heat=np.zeros(n_pages, np.uint8),
        taken=np.zeros(n_pages, np.uint32),
        chunk_taken=np.zeros(n_chunks, np.uint32),
    )


def hash_of_page(words: npt.NDArray[np.uint64], key: npt.NDArray[np.uint64]) -> tuple[int, int]:
    """NH of one page, (512,) uint64, as (low, high) 64 bits: the definition, slowly."""
    total = 0
    for i in range(0, WORDS_A_PAGE, 2):
        left = (int(words[i]) + int(key[i])) % (1 << 64)
        right = (int(words[i + 1]) + int(key[i + 1])) % (1 << 64)
        total += left * right
    return total % (1 << 64), (total >> 64) % (1 << 64)
