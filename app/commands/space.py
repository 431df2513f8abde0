"""`glassbox voxel` and `glassbox address`: the map between RAM and space, with no machine needed."""

import argparse

import numpy as np

from app.failures import UsageError
from app.numbers import parse_address
from app.output import print_json, print_text
from render.curves import CURVES

DEFAULT_ORDER = 10  # 1024^3: every guest up to 1 GiB
_ORDERS = range(4, 17)


def configure(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options."""
    if command == "voxel":
        parser.add_argument("address", metavar="ADDRESS", help="offset in RAM, such as 0x7c00 or 16M")
    else:
        # One argument each: argparse cannot name a missing one of a group.
        for axis in "xyz":
            parser.add_argument(axis, metavar=axis.upper(), help=f"the voxel's {axis}")
    parser.add_argument("--order", type=int, default=DEFAULT_ORDER, help="curve order: the cube's side is 2^ORDER (10)")
    parser.add_argument(
        "--curve", choices=tuple(CURVES), default="hilbert", help="how addresses are laid in space (hilbert)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def run(options: argparse.Namespace) -> int:
    """Print the voxel of an address, or the address of a voxel. Returns 0; UsageError when outside the cube."""
    if options.order not in _ORDERS:
        raise UsageError(f"order {options.order} is not between {_ORDERS.start} and {_ORDERS.stop - 1}")
    words = [options.address] if options.command == "voxel" else [options.x, options.y, options.z]
    numbers = [parse_address(text) for text in words]
    side = 1 << options.order
    curve = CURVES[options.curve]
    if options.command == "voxel":
        if numbers[0] >= side**3:
            raise UsageError(f"address 0x{numbers[0]:x} is beyond the {side}^3 cube; a larger --order holds it")
        address = numbers[0]
        voxel = [int(v) for v in curve.voxel_from_address(np.array(numbers, np.uint64), options.order)[0]]
    else:
        if max(numbers) >= side:
            raise UsageError(f"voxel {tuple(numbers)} is outside the {side}^3 cube; a larger --order holds it")
        voxel = numbers
        address = int(curve.address_from_voxel(np.array([voxel], np.uint32), options.order)[0])
    if options.json:
        print_json(
            {
                "address": address,
                "voxel": voxel,
                "page": address >> 12,
                "order": options.order,
                "curve": options.curve,
            }
        )
    elif options.command == "voxel":
        print_text(" ".join(str(v) for v in voxel))
    else:
        print_text(f"0x{address:x}")
    return 0
