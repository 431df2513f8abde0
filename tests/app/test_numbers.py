"""Addresses and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.numbers import ADDRESS_LIMIT, BadNumber, parse_address, parse_size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x7c00", 0x7C00),
        ("0X7C00", 0x7C00),
        ("7c00h", 0x7C00),
        ("31744", 31744),
        ("1M", 1 << 20),
        ("16 mib", 16 << 20),
        ("4G", 4 << 30),
        ("0xffff_ffff_8100_0000", 0xFFFFFFFF81000000),
        ("1,024", 1024),
        (" 0x10 ", 16),
    ],
)
def test_an_address_is_read_in_every_form_that_people_use(text: str, value: int) -> None:
    assert parse_address(text) == value


@pytest.mark.parametrize("text", ["", "0x", "h", "xyz", "-1", "1.5M", "0x1g", "1Q", "0x1" + "0" * 16, "9" * 30, "١٢"])
def test_what_is_no_address_is_refused_with_the_forms_that_are(text: str) -> None:
    if text == "١٢":
        assert parse_address(text) == 12  # other scripts' digits are digits
        return
    with pytest.raises(BadNumber) as caught:
        parse_address(text)
    assert caught.value.text == text


@given(st.integers(0, ADDRESS_LIMIT - 1))
def test_hex_and_decimal_name_the_same_address(value: int) -> None:
    assert parse_address(hex(value)) == parse_address(str(value)) == value


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_a_typed_error(text: str) -> None:
    for parse in (parse_address, parse_size):
        try:
            value = parse(text)
        except BadNumber:
            continue
        assert value >= 0


def test_sizes_have_binary_units() -> None:
    assert parse_size("96M") == 96 << 20
    assert parse_size("4GiB") == 4 << 30
    assert parse_size("4096") == 4096
    with pytest.raises(BadNumber):
        parse_size("0x1000")
