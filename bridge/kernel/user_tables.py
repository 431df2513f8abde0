"""The page tables of all processes: what they map, walked once or, the same object while it stays the same, often."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from bridge.kernel.paging import MAX_LEAVES, Mappings, walk_all
from bridge.memory.physical import PhysicalReader

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_LEAST_ROOM = 4096


@dataclass(frozen=True, slots=True)
class Leaves:
    """What is mapped, by root and address. Parallel arrays (n,)."""

    vaddrs: U64
    paddrs: U64
    levels: U8
    """0 for a page of 4 KiB, 1 for 2 MiB, 2 for 1 GiB."""
    starts: I64
    """(k + 1,): the leaves of root i are starts[i] to starts[i + 1]."""


@dataclass(frozen=True, slots=True)
class UserTables:
    """The user half of the page tables under some roots (k,)."""

    leaves: Leaves
    tables: U64
    """(m,) physical addresses of the tables themselves, the roots among them, ascending, each once."""
    table_spaces: I64
    """(m,) under which root each table was found first."""
    table_levels: U8
    """(m,) 0 for tables of pages of 4 KiB, up to levels - 1 for a root."""

    @classmethod
    def of(cls, found: Mappings, n_roots: int) -> UserTables:
        """What a walk of the user half found."""
        levels = np.searchsorted([1 << 12, 1 << 21, 1 << 30], found.sizes).astype(np.uint8)
        starts = np.searchsorted(found.spaces, np.arange(n_roots + 1))
        leaves = Leaves(found.vaddrs, found.paddrs, levels, starts)
        return cls(leaves, found.tables, found.table_spaces, found.table_levels)

    def tables_of(self, kept: npt.NDArray[np.bool_]) -> UserTables:
        """The same without the tables of the roots (k,) that are not kept. What is mapped there stays."""
        chosen = kept[self.table_spaces]
        return replace(
            self,
            tables=self.tables[chosen],
            table_spaces=self.table_spaces[chosen],
            table_levels=self.table_levels[chosen],
        )


def read_user_tables(reader: PhysicalReader, roots: U64, levels: int) -> UserTables:
    """Walk the tables under `roots` (k,) once."""
    return UserTables.of(walk_all(reader, roots, levels, half="user"), len(roots))


@dataclass(frozen=True, slots=True)
class _Walk:
    """What the compiled walk found, and under which roots (k,). Tables are as they were met."""

    roots: U64
    vaddrs: U64
    paddrs: U64
    leaf_levels: U8
    leaf_starts: I64
    tables: U64
    table_levels: U8
    table_starts: I64

    def kept(self) -> _Walk:
        """The same in arrays of its own."""
        return replace(self, **{field.name: getattr(self, field.name).copy() for field in fields(self)})

    def user_tables(self) -> UserTables:
        """The same as `read_user_tables` says it."""
        spaces = np.repeat(np.arange(len(self.roots)), np.diff(self.table_starts))
        # As if they were found a level at a time: of tables that are there twice the first one counts.
        order = np.argsort(-self.table_levels.astype(np.int8), kind="stable")
        tables, places = np.unique(self.tables[order], return_index=True)
        first = order[places]
        leaves = Leaves(self.vaddrs, self.paddrs, self.leaf_levels, self.leaf_starts)
        return UserTables(leaves, tables, spaces[first], self.table_levels[first])


class UserTableReader:
    """Walks the tables of many processes again and again, with compiled code.

    Each walk reads every table anew, so that it cannot miss a change; only what follows from the tables is kept.
    """

    def __init__(self, reader: PhysicalReader, levels: int) -> None:
        from bridge.kernel import table_loops  # not above: it loads a compiler

        self._loops = table_loops
        self._reader = reader
        self._levels = levels
        self._roots: U64 = np.zeros(0, np.uint64)
        self._starts = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._found: UserTables | None = None
        self._make_room(_LEAST_ROOM, _LEAST_ROOM)

    def read(self, roots: U64) -> UserTables:
        """As `read_user_tables`; the same object as before where the tables say the same."""
        if not np.array_equal(roots, self._roots):
            self._roots, self._found = roots.copy(), None
            self._starts = np.zeros(len(roots) + 1, np.int64), np.zeros(len(roots) + 1, np.int64)
        walk, changed = self._walk(roots)
        if walk is None:
            self._found = None
            return read_user_tables(self._reader, roots, self._levels)
        if changed or self._found is None:
            self._found = walk.kept().user_tables()
        return self._found

    def _make_room(self, n_leaves: int, n_tables: int) -> None:
        self._vaddrs, self._paddrs = np.zeros(n_leaves, np.uint64), np.zeros(n_leaves, np.uint64)
        self._leaf_levels = np.zeros(n_leaves, np.uint8)
        self._tables, self._table_levels = np.zeros(n_tables, np.uint64), np.zeros(n_tables, np.uint8)

    def _walk(self, roots: U64) -> tuple[_Walk | None, bool]:
        """What was found, and whether it is another than the last time for these roots. None where there is more than a
        sane guest has, or RAM lies in a way that is not provided for.
        """
        reader = self._reader
        if not reader.is_aligned:
            return None, True
        leaf_starts, table_starts = self._starts
        all_changed = False
        while True:
            ended, n_leaves, n_tables, changed = self._loops.walk_user(
                reader.all_words,
                reader.region_table,
                roots,
                self._levels,
                reader.n_pages,
                MAX_LEAVES * reader.n_pages,
                self._vaddrs,
                self._paddrs,
                self._leaf_levels,
                leaf_starts,
                self._tables,
                self._table_levels,
                table_starts,
            )
            if ended != self._loops.NO_ROOM:
                break
            all_changed = True
            self._make_room(max(2 * n_leaves + 512, len(self._vaddrs)), max(2 * n_tables, len(self._tables)))
        if ended != self._loops.WALKED:
            return None, True
        walk = _Walk(
            roots,
            self._vaddrs[:n_leaves],
            self._paddrs[:n_leaves],
            self._leaf_levels[:n_leaves],
            leaf_starts,
            self._tables[:n_tables],
            self._table_levels[:n_tables],
            table_starts,
        )
        return walk, changed or all_changed
