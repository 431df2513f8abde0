"""Numbers as people write them on a command line or in a search box: addresses and sizes."""

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(?P<count>\d+)\s*(?P<unit>[KMGT]?)(?:I?B)?", re.IGNORECASE)
_HEX_DIGITS = re.compile(r"[0-9a-f]+", re.IGNORECASE)
ADDRESS_LIMIT = 1 << 64


class BadNumber(ValueError):
    """A text that is no number of the asked kind; the message says which forms are."""

    def __init__(self, text: str, wanted: str) -> None:
        super().__init__(f"{text!r} is not {wanted}")
        self.text = text


def parse_address(text: str) -> int:
    """Return the address that `text` writes: ``0x7c00``, ``7c00h``, ``31744``, ``1M`` or ``ffff_8000``-style groups.

    Raises BadNumber. The result is below 2**64.
    """
    compact = text.strip().replace("_", "").replace(",", "")
    wanted = "an address (such as 0x7c00, 31744 or 16M)"
    if compact.lower().startswith("0x") and _HEX_DIGITS.fullmatch(compact[2:]):
        value = int(compact[2:], 16)
    elif compact.lower().endswith("h") and _HEX_DIGITS.fullmatch(compact[:-1]):
        value = int(compact[:-1], 16)
    else:
        value = _scaled(compact, text, wanted)
    if value >= ADDRESS_LIMIT:
        raise BadNumber(text, "below 2^64")
    return value


def parse_size(text: str) -> int:
    """Return the number of bytes that `text` writes: ``4096``, ``96M``, ``4G``, ``128MiB``. Raises BadNumber."""
    return _scaled(text.strip(), text, "a size (such as 4096, 96M or 4G)")


def _scaled(compact: str, text: str, wanted: str) -> int:
    match = _SIZE.fullmatch(compact)
    if match is None or len(compact) > 24:
        raise BadNumber(text, wanted)
    return int(match["count"]) * _UNITS[match["unit"].upper()]
