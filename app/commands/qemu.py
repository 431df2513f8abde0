"""`glassbox qemu`: which QEMU is used; `fetch` has a newer one for this user alone, `remove` goes back."""

import argparse

from app.output import print_json, print_text, progress_printer
from bridge.machine.fetched_qemu import fetch_qemu, remove_qemu
from bridge.machine.qemu_binary import QemuBinary, fetched_program, find_qemu

_PARTS = ("fetch", "remove")


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument(
        "part",
        nargs="?",
        choices=_PARTS,
        help="fetch: take QEMU 11.1 or newer from the distribution's newer packages into the cache, and use it from "
        "now on (plugins can then change a guest's registers); remove: use the system's again",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Say which QEMU is used, after doing what was asked for. Returns 0."""
    if options.part == "fetch":
        fetch_qemu(progress=progress_printer())
    elif options.part == "remove" and not remove_qemu() and not options.json:
        print_text("None was fetched.")
    found = find_qemu()
    if options.json:
        print_json(
            {
                "path": str(found.path),
                "version": ".".join(map(str, found.version)),
                "description": found.description,
                "fetched": _is_fetched(found),
            }
        )
    else:
        print_text(f"{found.description}\n{found.path}{' (fetched)' if _is_fetched(found) else ''}")
    return 0


def _is_fetched(found: QemuBinary) -> bool:
    return found.path == fetched_program()
