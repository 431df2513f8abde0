"""Numbers for people: checked against their own meaning, over all magnitudes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.widgets.format import (
    address_digits,
    format_address,
    format_count,
    format_duration,
    format_percent,
    format_size,
)

_UNITS = {"byte": 1, "bytes": 1} | {f"{p}iB": 1 << 10 * i for i, p in enumerate("KMGTPE", start=1)}


@given(st.integers(0, (1 << 64) - 1))
def test_a_size_reads_back_to_within_a_percent(size_bytes: int) -> None:
    number, unit = format_size(size_bytes).split(" ")
    value = float(number.replace(",", "")) * _UNITS[unit]
    assert value == pytest.approx(size_bytes, rel=0.0051)
    assert float(number.replace(",", "")) < 1024


def test_sizes_and_counts() -> None:
    assert format_size(0) == "0 bytes"
    assert format_size(1) == "1 byte"
    assert format_size(1023) == "1,023 bytes"
    assert format_size(1 << 20) == "1 MiB"
    assert format_size(int(12.4 * (1 << 20))) == "12.4 MiB"
    assert format_size((1 << 20) - 1) == "1 MiB"
    assert format_size(100 << 10) == "100 KiB"
    assert format_count(3170) == "3,170"


@given(st.integers(1, 1 << 64))
def test_address_digits_hold_every_address(end: int) -> None:
    digits = address_digits(end)
    assert len(f"{end - 1:x}") <= digits <= 16
    assert digits >= 8
    assert int(format_address(end - 1, digits), 16) == end - 1


def test_percent_and_duration() -> None:
    assert [format_percent(x) for x in (0, 0.004, 0.37, 1.5)] == ["0 %", "0.4 %", "37 %", "150 %"]
    assert [format_duration(x) for x in (340e-6, 0.012, 4.23, 187, 7500)] == [
        *("340 µs", "12 ms", "4.2 s", "3 min 07 s", "2 h 05 min")
    ]


@given(st.floats(0, 1e6))
def test_no_duration_shows_sixty_of_a_unit(seconds: float) -> None:
    text = format_duration(seconds)
    assert not re.search(r"\b60 (min|s)|\b1000 |\b60\.0", text)
