"""Symbol tables in all their historical layouts, made by an encoder of our own, found with and without help."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.errors import BadSymbolTable, KernelError, NotMapped
from bridge.kernel.kallsyms import Effort, Symbols, Tables, read_symbols
from bridge.kernel.kallsyms_search import find_tables
from bridge.kernel.symbols import SymbolTable

BASE = 0xFFFF_FFFF_8100_0000
TOKENS = [bytes([i]) if 33 <= i < 127 else b"tok%d_" % i for i in range(256)]
TOKENS[0x80], TOKENS[0x81] = b"sys_", b"init"


def encode(name: str) -> bytes:
    data, out = name.encode(), bytearray()
    while data:
        for code in (0x80, 0x81):
            if data.startswith(TOKENS[code]):
                out.append(code)
                data = data[len(TOKENS[code]) :]
                break
        else:
            out.append(data[0])
            data = data[1:]
    length = len(out)
    return (bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])) + bytes(out)


ORDERS = ["before", "after", "relative to place", "relative and packed", "relative and packed, odd"]


class Image:
    """Read-only data of a kernel, with its tables in one of the orders."""

    def __init__(self, symbols: list[tuple[int, str, str]], order: str, percpu: bool = False) -> None:
        self.data = bytearray(b"\x90" * 64)
        count = len(symbols)
        names = b"".join(encode(kind + name) for _, kind, name in symbols)
        encoded = [encode(kind + name) for _, kind, name in symbols]
        places = np.cumsum([0] + [len(e) for e in encoded[:-1]])
        markers = places[::256].astype("<u4").tobytes()
        table = b"".join(token + b"\0" for token in TOKENS)
        index = np.cumsum([0] + [len(t) + 1 for t in TOKENS[:-1]]).astype("<u2").tobytes()
        base = min(a for a, _, _ in symbols if a > 1 << 32)
        at: dict[str, int] = {}
        alignment = 4 if "packed" in order else 8
        if order == "relative and packed, odd":
            self.data += bytes(4)

        def put(name: str, data: bytes) -> None:
            self.data += b"\0" * (-len(self.data) % alignment)
            at[name] = len(self.data)
            self.data += data

        def offsets() -> None:
            if "relative" in order:
                start = len(self.data) + -len(self.data) % alignment
                values = [(a - (BASE + start + 4 * i)) for i, (a, _, _) in enumerate(symbols)]
                put("offsets", np.array(values, "<i4").tobytes())
                return
            if percpu:
                values = [a if a < 1 << 32 else base - 1 - a for a, _, _ in symbols]
                put("offsets", np.array(values, "<i4").tobytes())
            else:
                put("offsets", np.array([a - base for a, _, _ in symbols], "<u4").tobytes())
            put("relative_base", base.to_bytes(8, "little"))

        if order == "before":
            offsets()
        put("num_syms", count.to_bytes(4, "little"))
        put("names", names)
        put("markers", markers)
        if order == "before":
            put("seqs", bytes(3 * count))
        put("token_table", table)
        put("token_index", index)
        if order != "before":
            offsets()
        self.data += b"\x90" * 4096
        self.tables = Tables(
            BASE + at["num_syms"],
            BASE + at["names"],
            BASE + at["token_table"],
            BASE + at["token_index"],
            BASE + at["offsets"],
            BASE + at["relative_base"] if "relative_base" in at else None,
        )

    def read(self, vaddr: int, length: int) -> bytes:
        if not vaddr >= BASE or vaddr + length > BASE + len(self.data):
            raise NotMapped(vaddr)
        return bytes(self.data[vaddr - BASE : vaddr - BASE + length])


name = st.text("abcdefgsys_init.0123456789", min_size=1, max_size=200)
kind = st.sampled_from("TtDdRrBb")


@given(
    st.lists(st.tuples(st.integers(0, 1 << 26), kind, name), min_size=1, max_size=40),
    st.sampled_from(ORDERS),
)
@settings(max_examples=60)
def test_what_is_encoded_is_decoded(found: list[tuple[int, str, str]], order: str) -> None:
    symbols = sorted((BASE + offset, kind, name) for offset, kind, name in found)
    image = Image(symbols, order)
    decoded = read_symbols(image.read, image.tables)
    assert list(decoded.names) == [name for _, _, name in symbols]
    assert decoded.addresses.tolist() == [address for address, _, _ in symbols]
    assert [chr(t) for t in decoded.types.tolist()] == [kind for _, kind, _ in symbols]


def many(n: int) -> list[tuple[int, str, str]]:
    return [(BASE + 16 * i, "t", f"sys_function_{i}") for i in range(n)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [5000, 5120])
def test_tables_are_found_by_their_looks(order: str, n: int) -> None:
    image = Image(many(n), order)
    assert image.tables in find_tables(bytes(image.data), BASE)


def test_per_cpu_symbols_are_absolute() -> None:
    symbols = [(0, "A", "fixed_percpu_data"), (0x1F000, "A", "cpu_number"), *many(4)]
    image = Image(symbols, "before", percpu=True)
    assert read_symbols(image.read, image.tables).addresses.tolist() == [a for a, _, _ in symbols]


def test_nothing_is_found_in_noise() -> None:
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, 1 << 20, np.uint8).tobytes()
    assert list(find_tables(noise, 0)) == []
    digits = b"".join(b"%d\0" % i for i in range(10))
    assert list(find_tables(noise[:5000] + digits + noise[5000:9000], 0)) == []
    assert list(find_tables(digits, 0)) == []


def fakes(n: int, pad: int) -> bytes:
    """`n` token tables with their indices, each as good as a kernel's, and nothing else of one."""
    tokens = b"".join(b"%c\0" % max(code, 1) for code in range(256))
    index = np.arange(0, 512, 2).astype("<u2").tobytes()
    return (bytes(8) + tokens + index).ljust(pad, b"\0") * n


def test_a_search_among_copies_of_what_it_looks_for_ends() -> None:
    """A guest may fill its memory with token tables, and with numbers that names could follow."""
    effort = Effort(matches=100, steps=1 << 22)
    names = (5000).to_bytes(4, "little") + b"\1" * 400
    assert list(find_tables(names * 5000 + fakes(200, 2048), 0, effort)) == []
    assert effort.steps <= 0, "each number is one that 5,000 names could follow, again and again"
    assert effort.matches > 90, "no more of them are tried then"
    effort = Effort(matches=100)
    assert list(find_tables(fakes(500, 2048), 0, effort)) == []
    assert effort.matches == 0


def test_no_more_tables_are_given_out_than_anybody_can_try() -> None:
    image = Image(many(5000), ORDERS[0])
    effort = Effort(tables=2)
    assert len(list(find_tables(bytes(image.data) * 4, BASE, effort))) == 2
    assert list(find_tables(bytes(image.data), BASE, effort)) == []


@given(st.data())
@settings(max_examples=150)
def test_damage_is_said(data: st.DataObject) -> None:
    """Any bytes changed: either symbols come out, or a typed error; never anything else."""
    image = Image(many(300), "after")
    for _ in range(data.draw(st.integers(1, 6))):
        image.data[data.draw(st.integers(0, len(image.data) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KernelError):
        assert len(read_symbols(image.read, image.tables).names) >= 1


def test_impossible_tables() -> None:
    image = Image(many(300), "after")
    with pytest.raises(BadSymbolTable, match="says 2,425,393,296 symbols"):
        read_symbols(image.read, replace(image.tables, num_syms=image.tables.offsets + 400 * 4 + 100))
    names = image.tables.names
    image.data[image.tables.token_index - BASE] = 1
    with pytest.raises(BadSymbolTable, match="ascend"):
        read_symbols(image.read, image.tables)
    with pytest.raises(KernelError):
        read_symbols(image.read, replace(image.tables, names=names + 1))


def test_symbols_by_name_and_place() -> None:
    names = ("cpu_number", "__pfx_start", "start", "start", "middle")
    addresses = np.array([0x100, BASE, BASE, BASE + 0x40, BASE + 0x80], np.uint64)
    table = SymbolTable(Symbols(names, addresses, np.full(5, ord("T"), np.uint8)))
    assert table.find("start") == BASE, "the first of a name wins"
    assert table.find("nothing") is None
    with pytest.raises(KernelError, match="no symbol 'nothing'"):
        table.address("nothing")
    assert str(table.place(BASE + 3)) == "start + 0x3"
    assert str(table.place(BASE + 0x90)) == "middle + 0x10"
    assert table.place(BASE + (2 << 20)) is None, "too far behind the last"
    assert table.place(BASE - 1) is None, "per-cpu symbols name no place"
    assert table.place(0) is None
    assert len(table) == 5
