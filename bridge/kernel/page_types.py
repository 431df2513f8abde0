"""How one kernel marks its page frames: which bits and values of `struct page` mean what.

The marks moved over the years; each form is told by what the kernel's types and its VMCOREINFO say, never by version:
page types as cleared bits under 0xf0000000 (macros, so only VMCOREINFO has them), as cleared bits under 0x80000000
(enum pagetype with PG_buddy), and as a number in the top byte (enum pagetype with PGTY_buddy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf
from bridge.kernel.errors import MissingType
from bridge.kernel.kernel import Kernel

U32 = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

_OLD_BUDDY, _OLD_BASE = 0x80, 0xF000_0000


@dataclass(frozen=True, slots=True)
class PageTypes:
    """Tests on `page_type` (the word that is `_mapcount` for pages that can be mapped)."""

    values: dict[str, tuple[int, int]]
    """name ("buddy", "slab", "table", …) -> (mask, value): the type is set where page_type & mask == value."""

    @classmethod
    def of(cls, kernel: Kernel) -> PageTypes:
        """The forms are described in the module."""
        assert kernel.types is not None
        types = kernel.types
        names = ("buddy", "offline", "table", "guard", "hugetlb", "slab", "large_kmalloc")
        # Linux commit 4ffca5a96678 ("mm: support only one page_type per page", in v6.12).
        numbered = {name: types.enumerator(f"PGTY_{name}") for name in names}
        if numbered["buddy"] is not None:
            return cls({name: (0xFF00_0000, value << 24) for name, value in numbered.items() if value is not None})
        # Linux commit 8b881763b746 ("mm: make page_mapcount() return zero for typed pages …", in v6.10).
        bits = {name: types.enumerator(f"PG_{name}") for name in names}
        buddy = bits["buddy"]
        if buddy is not None and buddy > 0xFFFF:
            base = 0x8000_0000
            return cls({name: (base | bit, base) for name, bit in bits.items() if bit is not None and bit > 0xFFFF})
        numbers = kernel.info.numbers if kernel.info else {}
        value = numbers.get("PAGE_BUDDY_MAPCOUNT_VALUE", ~_OLD_BUDDY) & 0xFFFF_FFFF
        bit = ~value & 0x0FFF_FFFF
        return cls({"buddy": (_OLD_BASE | bit, _OLD_BASE)})

    def with_tables(self, known: U32) -> PageTypes:
        """The same, and how page tables are marked, where no kernel type says so: as most of those that are known to be
        tables, by walking them, are marked. `known` is their page_type (n,).
        """
        marked = known[(known & np.uint32(_OLD_BASE)) == np.uint32(_OLD_BASE)]
        marked = marked[marked != np.uint32(0xFFFF_FFFF)]
        if "table" in self.values or not len(marked) or 2 * len(marked) < len(known):
            return self
        values, counts = np.unique(marked, return_counts=True)
        bit = ~int(values[np.argmax(counts)]) & 0x0FFF_FFFF
        return PageTypes({**self.values, "table": (_OLD_BASE | bit, _OLD_BASE)})

    def test(self, name: str, page_types: U32) -> Mask:
        """Whether pages (n,) are of a type; none is if the kernel has no such type."""
        if name not in self.values:
            return np.zeros(len(page_types), np.bool_)
        mask, value = self.values[name]
        found: Mask = (page_types & np.uint32(mask)) == np.uint32(value)
        return found


@dataclass(frozen=True, slots=True)
class PageLayout:
    """Where the members of `struct page` and its other names (folio, slab, ptdesc) lie, and the flags' bits."""

    page_bytes: int
    flags: int
    compound_head: int
    mapping: int
    index: int
    private: int
    page_type: int
    refcount: int
    slab_cache: int
    bits: dict[str, int]
    """name ("reserved", "slab", "lru", "head", "swapbacked", …) -> bit number of the flags, where the kernel has it."""

    @classmethod
    def of(cls, types: Btf) -> PageLayout:
        """Raises MissingType for a kernel that has none of the known forms."""

        def first(*places: tuple[str, str]) -> int:
            for struct, path in places:
                if types.has(struct, path):
                    return types.offset(struct, path)
            raise MissingType(f"member {' or '.join(f'{struct}.{path}' for struct, path in places)}")

        found = {name: types.enumerator(f"PG_{name}") for name in ("slab", "reserved", "head", "lru", "swapbacked")}
        return cls(
            page_bytes=types.struct_size("page"),
            flags=first(("page", "flags")),
            compound_head=first(("page", "compound_head"), ("page", "compound_info")),
            # Linux commit of v6.17: page.mapping became __folio_mapping; folio.mapping is at the same place.
            mapping=first(("page", "mapping"), ("page", "__folio_mapping"), ("folio", "mapping")),
            index=first(("page", "index"), ("page", "__folio_index"), ("folio", "index")),
            private=first(("page", "private")),
            page_type=first(("page", "page_type"), ("page", "_mapcount")),
            refcount=first(("page", "_refcount")),
            # Linux commit d122019bf061 ("mm: Split slab into its own type", in v5.17).
            slab_cache=first(("slab", "slab_cache"), ("page", "slab_cache")),
            bits={name: bit for name, bit in found.items() if bit is not None and bit < 64},
        )
