"""The guest "boot-sector": its assembly, and what it leaves in which place of RAM, for whoever checks the chain.

The truth is ``assets/guests/boot_sector.S``; the constants here state the same, so that a test can compare every
byte without a guest agent: the first and the last page of every whole MiB of usable RAM say where they lie.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bridge.machine.guest import GIB, MIB, GuestIngredientMissing

SOURCE = Path(__file__).resolve().parents[2] / "assets" / "guests" / "boot_sector.S"

SOURCES = (SOURCE, Path(__file__))
"""What the image is made from: when one changes, it is made anew."""

BANNER = b"Glassbox\x1b[0m boot sector\r\nRAM is signed, the timer counts at 0x11008.\r\n"
"""Ends what the guest prints on its serial console, when every signed page is in place."""

SIGNATURE = b"GLASSBOX"
SIGNED_LOW_ADDRESS = 0x10000
"""A signed page in low memory, below the first MiB that is signed by rule."""
COUNTER_PAGE_ADDRESS = 0x11000
"""Holds `SIGNATURE`, then the 64-bit count of timer interrupts, 18.2 a second."""
COUNTER_ADDRESS = COUNTER_PAGE_ADDRESS + 8
LOAD_ADDRESS = 0x7C00
"""Where the BIOS puts the sector: its 512 bytes are in RAM as they are in the file."""
SECTOR_BYTES = 512
IMAGE_BYTES = 1440 * 1024
"""The sector lies on a 3.5 inch floppy's worth of zeroes: from less, SeaBIOS does not read an AHCI disk."""

_PAGE_BYTES = 4096
_CELL_BYTES = 16
_HIGH_START = 4 * GIB
# Where RAM is split, and from which size on (QEMU: hw/i386/pc_piix.c, hw/i386/pc_q35.c).
_SPLIT = {"pc": (0xE0000000, 0xC0000000), "q35": (0xB0000000, 0x80000000)}


def signed_page(address: int) -> bytes:
    """The 4096 bytes of the signed page at guest-physical ``address``: each 16-byte cell names its own address."""
    return b"".join(
        SIGNATURE + cell.to_bytes(8, "little") for cell in range(address, address + _PAGE_BYTES, _CELL_BYTES)
    )


def ram_ends(ram_bytes: int, machine_type: str = "pc") -> tuple[int, int]:
    """The guest-physical ends of RAM below and above 4 GiB; the second is 4 GiB where nothing lies above."""
    threshold, split = _SPLIT[machine_type]
    low_end = split if ram_bytes >= threshold else ram_bytes
    return low_end, _HIGH_START + ram_bytes - low_end


def signed_addresses(ram_bytes: int, machine_type: str = "pc") -> Iterator[int]:
    """Guest-physical addresses of all signed pages of a machine with ``ram_bytes`` (a whole number of MiB)."""
    low_end, high_end = ram_ends(ram_bytes, machine_type)
    yield SIGNED_LOW_ADDRESS
    # The BIOS keeps a part of the last MiB below 4 GiB for its own tables, so that one is not whole.
    for start, end in ((MIB, low_end - MIB), (_HIGH_START, high_end)):
        for address in range(start, end, MIB):
            yield address
            yield address + MIB - _PAGE_BYTES


def known_bytes(ram_bytes: int, machine_type: str = "pc") -> Iterator[tuple[int, bytes]]:
    """(guest-physical address, content) of all that the guest leaves and does not change again."""
    for address in signed_addresses(ram_bytes, machine_type):
        yield address, signed_page(address)
    yield COUNTER_PAGE_ADDRESS, SIGNATURE


def assemble(source: Path, work: Path) -> bytes:
    """An image of ``source`` that boots as floppy or as disk; ``work`` is an empty directory to assemble in.

    Raises `GuestIngredientMissing` without an assembler and a linker.
    """
    missing = [tool for tool in ("as", "ld") if shutil.which(tool) is None]
    if missing:
        raise GuestIngredientMissing(
            ["binutils"], f"No {' and no '.join(missing)} is installed.", "Install it: sudo apt-get install binutils"
        )
    code = work / "boot_sector.o"
    sector = work / "boot_sector.img"
    _run("as", "--64", "-o", str(code), str(source))
    _run("ld", "-m", "elf_x86_64", "--oformat", "binary", "-Ttext", hex(LOAD_ADDRESS), "-o", str(sector), str(code))
    content = sector.read_bytes()
    if len(content) != SECTOR_BYTES:
        raise GuestIngredientMissing(
            ["binutils"],
            f"The assembler made {len(content)} bytes of {source}, not {SECTOR_BYTES}.",
            "Restore the file from the repository.",
        )
    return content.ljust(IMAGE_BYTES, b"\0")


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise GuestIngredientMissing(
            ["binutils"],
            f"`{' '.join(command)}` failed: {result.stderr.strip()}.",
            "Check that the assembler makes code for x86-64.",
        )
