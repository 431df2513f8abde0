"""What bytes may mean: compared with struct; copied text is read back by other means."""

import ast
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.widgets.byte_source import ByteSource
from app.widgets.byte_values import ascii_text, copy_text, interpretations, pointer_text


@given(st.binary(min_size=8, max_size=8))
def test_numbers_equal_struct(data: bytes) -> None:
    found = dict(interpretations(data))
    for name, form in (("8", "B"), ("16", "H"), ("32", "I"), ("64", "Q")):
        unsigned = struct.unpack_from("<" + form, data)[0]
        signed = struct.unpack_from("<" + form.lower(), data)[0]
        first, *rest = found["u" + name].split()
        assert int(first.replace(",", "")) == unsigned
        assert not rest or int(rest[0], 16) == unsigned
        assert (int(found["i" + name].replace(",", "")) if "i" + name in found else unsigned) == signed
    for name, form in (("f32", "f"), ("f64", "d")):
        value = struct.unpack_from("<" + form, data)[0]
        assert float(found[name]) == pytest.approx(value, rel=1e-6, nan_ok=True)
    assert int(found["pointer"].split()[0], 16) == struct.unpack("<Q", data)[0]


def test_short_data_gives_fewer() -> None:
    assert [name for name, _ in interpretations(b"\x01\x02\x03")] == ["u8", "u16"]
    assert interpretations(b"") == []


@pytest.mark.parametrize(
    ("value", "half"),
    [
        (0x7FFF_FFFF_FFFF, "user half"),
        (0xFFFF_8000_0000_0000, "kernel half"),
        (0x8000_0000_0000, "canonical with 5-level paging"),
        (0xFF00_0000_0000_0000, "canonical with 5-level paging"),
        (1 << 56, "not canonical"),
        ((1 << 64) - (1 << 56) - 1, "not canonical"),
    ],
)
def test_a_pointer_says_where_it_lies(value: int, half: str) -> None:
    assert pointer_text(value) == f"0x{value:016x}  {half}"


@given(st.binary(max_size=60))
def test_copied_bytes_read_back(data: bytes) -> None:
    assert bytes.fromhex(copy_text(data, "hex")) == data
    assert ast.literal_eval(copy_text(data, "Python bytes")) == data
    assert bytes(int(n, 16) for n in re.findall(r"0x[0-9a-f]{2}", copy_text(data, "C array"))) == data
    text = copy_text(data, "ASCII")
    assert len(text) == len(data)
    assert all(char == "." or ord(char) == byte for char, byte in zip(text, data, strict=True))
    assert ascii_text(b"a\x7f\xff\n~") == "a...~"


def test_rows_survive_holes_and_short_reads() -> None:
    memory = bytes(range(64))

    def read(address: int, length: int) -> bytes:
        if address < 32 < address + length or 32 <= address < 48:
            raise LookupError
        return memory[address : address + length]

    source = ByteSource(read)
    assert source.rows(0, 16, 2, 64) == [memory[:16], memory[16:32]]
    assert source.rows(0, 16, 4, 60) == [memory[:16], memory[16:32], None, memory[48:60]]
    assert source.rows(64, 16, 4, 64) == []
    assert source.piece(48, 32) is None  # a reader that gives less than was asked for
    with pytest.raises(LookupError):
        ByteSource(read, (KeyError,)).piece(32, 1)
