"""`glassbox read`: bytes of a machine's physical memory, as a hex dump, JSON, or raw."""

import argparse

from app.failures import UsageError
from app.numbers import parse_address, parse_size
from app.output import print_json, print_text, write_bytes
from bridge.machine.discovery import find_record, open_ram

LONGEST_DUMP = 64 << 20  # as text; --raw writes any length
_ROW = 16


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("name", help="the machine's name")
    parser.add_argument("address", help="guest-physical address, such as 0x7c00 or 1M")
    parser.add_argument("length", help="number of bytes, such as 512 or 4K")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object")
    how.add_argument("--raw", action="store_true", help="write the bytes themselves to standard output")


def run(options: argparse.Namespace) -> int:
    """Read and print. Returns 0; NoSuchMachine, InvalidAddress, UsageError."""
    address, length = parse_address(options.address), parse_size(options.length)
    if not options.raw and length > LONGEST_DUMP:
        raise UsageError(f"{length:,} bytes are too many to print; use --raw, or at most {LONGEST_DUMP:,}")
    ram = open_ram(find_record(options.name))
    try:
        data = bytes(ram.read_physical(address, length)) if not options.raw else b""
        if options.raw:
            with ram.read_physical(address, length) as view:
                write_bytes(view)
        elif options.json:
            print_json({"name": options.name, "address": address, "length": length, "hex": data.hex()})
        else:
            print_text(hex_dump(address, data))
    finally:
        ram.close()
    return 0


def hex_dump(address: int, data: bytes) -> str:
    """Return `data` in rows of 16: address, hex in two groups of eight, and printable characters."""
    lines = []
    for start in range(0, len(data), _ROW):
        row = data[start : start + _ROW]
        cells = [f"{byte:02x}" for byte in row] + ["  "] * (_ROW - len(row))
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{address + start:010x}  {' '.join(cells[:8])}  {' '.join(cells[8:])}  {text}")
    return "\n".join(lines)
