"""The options by which every command names a guest: one of the catalogue, or a kernel and media of the user's own."""

import argparse
from pathlib import Path

from app.commands.argument_types import ram_size
from app.failures import UsageError
from app.output import progress_printer
from bridge.machine.catalogue import find_guest, own_guest
from bridge.machine.guest import Guest

_OWN = ("kernel", "initrd", "append", "disk", "cdrom", "floppy")


def add_guest_options(parser: argparse.ArgumentParser) -> None:
    """Declare --kernel … --floppy, --ram, --cold, --network and --name."""
    own = parser.add_argument_group("a guest of your own")
    own.add_argument("--kernel", type=Path, metavar="FILE", help="Linux kernel: bzImage, or ELF with a PVH entry")
    own.add_argument("--initrd", type=Path, metavar="FILE", help="initial RAM disk for the kernel")
    own.add_argument("--append", default=None, metavar="TEXT", help="kernel command line")
    own.add_argument("--disk", type=Path, metavar="FILE", help="disk image (raw or qcow2)")
    own.add_argument("--cdrom", type=Path, metavar="FILE", help="CD or DVD image")
    own.add_argument("--floppy", type=Path, metavar="FILE", help="floppy or boot sector image")
    parser.add_argument("--ram", type=ram_size, metavar="SIZE", help="guest RAM, such as 96M, 512M or 4G")
    parser.add_argument("--name", help="what to call the machine (default: the guest's name)")
    parser.add_argument("--cold", action="store_true", help="boot anew instead of resuming the saved state")
    parser.add_argument("--network", action="store_true", help="give the guest a network card (off by default)")


def has_own_media(options: argparse.Namespace) -> bool:
    """Say whether any of --kernel … --floppy was given."""
    return any(getattr(options, field) is not None for field in _OWN)


def resolve_guest(options: argparse.Namespace, name: str | None) -> Guest:
    """Return the guest that `name` or the own-media options mean; assembles the built-in one at need.

    Raises UsageError when both or neither are given, GuestError when the description or a file is bad.
    """
    if has_own_media(options):
        if name is not None:
            raise UsageError(f"name a guest ({name}) or give --kernel, --disk … of your own, not both")
        media = {field: getattr(options, field) for field in _OWN if getattr(options, field) is not None}
        return own_guest(**media)
    if name is None:
        raise UsageError("name a guest (see ./glassbox guests), or give --kernel, --disk, --cdrom or --floppy")
    return find_guest(name, progress=progress_printer())
