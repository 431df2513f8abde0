"""How numbers are written for people: addresses, sizes, counts, shares."""

from __future__ import annotations

_SIZE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def address_digits(end: int) -> int:
    """Return how many hex digits addresses below `end` take, in steps of four, at least eight."""
    return max(8, -(-max(end - 1, 0).bit_length() // 16) * 4)


def format_address(address: int, digits: int = 0) -> str:
    """Return `0x…`, padded to `digits`."""
    return f"0x{address:0{digits}x}"


def format_count(count: int) -> str:
    """Return a count with thousands separators."""
    return f"{count:,}"


def format_size(size_bytes: int) -> str:
    """Return a size with its binary unit and three significant digits: `512 bytes`, `12.4 MiB`, `1 GiB`."""
    if abs(size_bytes) < 1024:
        return "1 byte" if size_bytes == 1 else f"{size_bytes:,} bytes"
    value, unit = float(size_bytes), 0
    while unit < len(_SIZE_UNITS) - 1 and abs(value) >= 1023.5:
        value /= 1024
        unit += 1
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {_SIZE_UNITS[unit]}"


def format_percent(share: float) -> str:
    """Return a share 0..1 in per cent: `0.4 %`, `37 %`."""
    percent = share * 100
    return f"{percent:.1f} %" if 0 < abs(percent) < 9.95 else f"{percent:.0f} %"


def format_duration(seconds: float) -> str:
    """Return a time span in the unit that reads best: `340 µs`, `12 ms`, `4.2 s`, `3 min 07 s`, `2 h 05 min`."""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
