"""Addresses as they are written."""

from hypothesis import given
from hypothesis import strategies as st

from app.widgets.format import address_digits, format_address


@given(st.integers(1, 1 << 64))
def test_address_digits_hold_every_address(end: int) -> None:
    digits = address_digits(end)
    assert len(f"{end - 1:x}") <= digits <= 16
    assert digits >= 8
    assert int(format_address(end - 1, digits), 16) == end - 1
    assert len(format_address(0, digits)) == 2 + digits
