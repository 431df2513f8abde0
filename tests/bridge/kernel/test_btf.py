"""Type information: a section made by hand, the live kernel's own, and damaged ones."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.btf import Btf, Kind
from bridge.kernel.errors import BadTypes, KernelError, MissingType
from tests.bridge.kernel.conftest import LiveGuest


class Section:
    """Makes a BTF section, a record at a time; ids count from one."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""
        self.count = 0

    def string(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str = "", third: int = 0, *rest: int, vlen: int = 0, flag: bool = False) -> int:
        info = vlen | kind << 24 | flag << 31
        words = (self.string(name), info, third, *rest)
        self.types += struct.pack(f"<{len(words)}I", *(word & 0xFFFF_FFFF for word in words))
        self.count += 1
        return self.count

    def struct(
        self, name: str, size: int, *members: tuple[str, int, int], kind: int = Kind.STRUCT, flag: bool = False
    ) -> int:
        rest = [word for member, type_id, place in members for word in (self.string(member), type_id, place)]
        return self.add(kind, name, size, *rest, vlen=len(members), flag=flag)

    def bytes(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + self.types + self.strings


def sample() -> Section:
    """int, a list_head, a struct with an anonymous union, bit fields, an array and a typedef of itself."""
    s = Section()
    integer = s.add(Kind.INT, "int", 4, 32)
    pointer = s.add(Kind.POINTER, "", 3)
    lists = s.struct("list_head", 16, ("next", pointer, 0), ("prev", pointer, 64))
    const = s.add(Kind.CONST, "", integer)
    typedef = s.add(Kind.TYPEDEF, "number_t", const)
    array = s.add(Kind.ARRAY, "", 0, typedef, integer, 6)
    union = s.struct("", 16, ("inner", lists, 0), ("alias", integer, 64), kind=Kind.UNION)
    s.struct("thing", 64, ("first", integer, 0), ("", union, 64), ("many", array, 192), ("list", lists, 384))
    s.struct("bits", 4, ("low", integer, 3 << 24), ("high", integer, 5 << 24 | 3), flag=True)
    s.add(Kind.ENUM, "colour", 4, s.string("RED"), 1, s.string("MINUS"), -1, vlen=2, flag=True)
    s.add(Kind.ENUM64, "wide", 8, s.string("BIG"), 5, 1, vlen=1)
    anonymous = s.struct("", 8, ("member", integer, 0))
    s.add(Kind.TYPEDEF, "nameless_t", anonymous)
    return s


def test_members_sizes_and_enumerators() -> None:
    types = Btf(sample().bytes())
    assert types.offset("thing", "first") == 0
    assert types.offset("thing", "inner.prev") == 16
    assert types.offset("thing", "alias") == 16
    assert types.offset("thing", "list.prev") == 56
    assert types.size(types.member("thing", "many").type_id) == 24
    assert types.array(types.member("thing", "many").type_id) == (5, 6)
    assert types.size(types.member("list_head", "next").type_id) == 8
    assert types.struct_size("thing") == 64
    low, high = types.member("bits", "low"), types.member("bits", "high")
    assert (low.bit_offset, low.bit_size, high.bit_offset, high.bit_size) == (0, 3, 3, 5)
    assert (types.enumerator("RED"), types.enumerator("MINUS"), types.enumerator("BIG")) == (1, -1, (1 << 32) + 5)
    assert types.enumerator("BLUE") is None
    assert types.offset("nameless_t", "member") == 0
    assert types.name(types.struct("thing")) == "thing"
    assert types.name(0) == "void"
    assert types.has("thing", "alias")
    assert not types.has("thing", "alias.deeper")
    assert not types.has("nothing")
    with pytest.raises(MissingType, match=r"member thing\.missing"):
        types.member("thing", "missing")
    with pytest.raises(MissingType, match="array"):
        types.array(1)
    assert list(types.members(1)) == []
    assert types.enumerators(1) == {}
    assert len(types) == 14


def test_circles_end() -> None:
    s = Section()
    s.add(Kind.TYPEDEF, "a", 2)
    s.add(Kind.TYPEDEF, "b", 1)
    s.add(Kind.ARRAY, "", 0, 3, 3, 2)
    s.struct("snake", 8, ("", 4, 0))
    types = Btf(s.bytes())
    with pytest.raises(BadTypes, match="circles"):
        types.resolve(1)
    with pytest.raises(BadTypes, match="circles"):
        types.size(3)
    with pytest.raises(BadTypes, match="circles"):
        types.layout(4)


def one_record(info: int) -> bytes:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1)
    return header + struct.pack("<3I", 0, info, 0) + b"\0"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (b"", "0 bytes"),
        (b"\x9f\xeb\x02\x00" + bytes(20), "magic number and version 1"),
        (sample().bytes()[:-1], "beyond its section"),
        (one_record(25 << 24), "kind 25"),
        (one_record(4 << 24 | 9), "do not end"),
    ],
)
def test_sections_that_do_not_hold_together(section: bytes, words: str) -> None:
    with pytest.raises(BadTypes, match=words):
        Btf(section)


def exercise(types: Btf) -> None:
    for struct_name in ("thing", "bits", "list_head", "nameless_t"):
        for path in ("first", "inner.prev", "many", "low", "member"):
            try:
                types.size(types.member(struct_name, path).type_id)
            except KernelError:
                continue
    types.enumerator("RED")


@given(st.data())
@settings(max_examples=200)
def test_damaged_sections_raise_or_answer(data: st.DataObject) -> None:
    section = bytearray(sample().bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        section[data.draw(st.integers(0, len(section) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KernelError):
        exercise(Btf(bytes(section)))


def test_the_live_kernels_types_agree_with_its_own_note(live: LiveGuest) -> None:
    """VMCOREINFO states some offsets and sizes that the compiler knew: BTF must say the same."""
    types, info = live.kernel.types, live.kernel.info
    assert types is not None
    assert info is not None
    compared = 0
    for name, value in info.numbers.items():
        kind, _, what = name.rstrip(")").partition("(")
        if kind == "SIZE" and types.has(what):
            assert types.struct_size(what) == value, name
        elif kind == "OFFSET" and types.has(*what.split(".", 1)):
            assert types.offset(*what.split(".", 1)) == value, name
        else:
            continue
        compared += 1
    assert compared > 40


def test_the_live_kernels_types_survive_damage(live: LiveGuest) -> None:
    """Bytes of the real section flipped, hundreds of times: an answer or a typed error, soon."""
    space, symbols = live.kernel.space, live.kernel.symbols
    start, stop = symbols.address("__start_BTF"), symbols.address("__stop_BTF")
    section = np.frombuffer(space.read(start, stop - start), np.uint8)
    rng = np.random.default_rng(11)
    survived = 0
    for _ in range(60):
        damaged = section.copy()
        at = rng.integers(0, len(damaged), 1 + int(rng.integers(0, 200)))
        damaged[at] = rng.integers(0, 256, len(at), np.uint8)
        try:
            types = Btf(damaged.tobytes())
            types.offset("task_struct", "mm")
            types.struct_size("page")
            survived += 1
        except KernelError:
            continue
    assert survived > 0


def test_where_records_begin_is_believed_only_where_they_do() -> None:
    section = sample().bytes()
    types = Btf(section)
    again = Btf(section, types.starts)
    assert again.starts is types.starts, "it was not worked out again"
    assert len(again) == len(types)
    starts = types.starts
    wrong: list[Any] = [starts[1:], starts[:-1], starts[::-1], -starts, starts + 1, starts[:0], starts.astype(np.int64)]
    wrong += [np.full_like(starts, value) for value in (0, 2**31 - 1, -(2**31))]
    wrong += [np.where(np.arange(len(starts)) == at, starts + 1, starts).astype(np.int32) for at in range(len(starts))]
    wrong += [np.append(starts, starts[-1:] + 3), starts.reshape(1, -1)]
    for each in wrong:
        other = Btf(section, each)
        assert other.starts is not each
        assert other.starts.tolist() == starts.tolist()
