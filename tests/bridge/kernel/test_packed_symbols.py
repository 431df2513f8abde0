"""A symbol table crosses processes whole, and another one is told from it."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bridge.kernel.desk import Desk, Question, answer
from bridge.kernel.kallsyms import Symbols
from bridge.kernel.packed_symbols import pack
from bridge.kernel.snapshot import Introspector
from bridge.kernel.space import KERNEL_MAP
from tests.bridge.kernel.conftest import LiveGuest


@given(
    st.lists(st.tuples(st.text(max_size=12), st.integers(0, (1 << 64) - 1), st.sampled_from(b"tTdDbB")), max_size=20)
)
def test_what_is_packed_comes_out_again(rows: list[tuple[str, int, int]]) -> None:
    names = tuple(name for name, _, _ in rows)
    symbols = Symbols(
        names, np.array([at for _, at, _ in rows], np.uint64), np.array([kind for _, _, kind in rows], np.uint8)
    )
    packed = pack(symbols)
    back = pickle.loads(pickle.dumps(packed)).unpack()
    assert len(back.names) == len(names)
    for name, other in zip(names, back.names, strict=True):
        assert other == name.replace("\n", "\ufffd").encode(errors="replace").decode()
    np.testing.assert_array_equal(back.addresses, symbols.addresses)
    np.testing.assert_array_equal(back.types, symbols.types)
    if rows:
        moved = Symbols(names, symbols.addresses ^ np.uint64(0x20_0000), symbols.types)
        assert pack(moved).fingerprint != packed.fingerprint, "the same kernel, booted to another place"
    assert packed.fingerprint


def test_the_desk_hands_symbols_over_once(live: LiveGuest) -> None:
    desk = Desk(Introspector(live.kernel))
    packed = desk.symbol_table()
    assert packed is not None
    assert packed.unpack().names == live.kernel.symbols.symbols.names
    assert desk.symbol_table(packed.fingerprint) is None
    assert desk.symbol_table(packed.fingerprint ^ 1) is packed
    assert desk.find_symbol("schedule") == live.kernel.symbols.find("schedule")
    assert answer(desk, Question(1, "find_symbol", ("no such symbol",)), "").value is None


def test_kernel_mappings_are_found_from_physical_memory(live: LiveGuest) -> None:
    with live.shell.held():  # stacks of threads come and go among them
        mappings_are_found(live)


def mappings_are_found(live: LiveGuest) -> None:
    desk = Desk(Introspector(live.kernel))
    space = live.kernel.space
    text = live.kernel.symbols.address("schedule")
    paddr = desk.physical(text, None)
    found = desk.kernel_vaddr(paddr)
    assert found is not None
    assert found == text
    mappings = desk.snapshot.page_map.kernel_mappings
    vmalloc = np.flatnonzero((mappings.vaddrs < KERNEL_MAP) & (mappings.sizes == 4096))
    assert space.direct_map is not None
    seen = 0
    for at in vmalloc[:: max(1, len(vmalloc) // 200)].tolist():
        vaddr, paddr = int(mappings.vaddrs[at]), int(mappings.paddrs[at])
        if vaddr - paddr == space.direct_map:
            continue
        told = desk.kernel_vaddr(paddr + 0x123)
        assert told is not None
        assert desk.physical(told, None) == paddr + 0x123
        seen += 1
    assert seen > 20
    assert desk.kernel_vaddr(1 << 50) is None
