"""`glassbox shot`: an off-screen picture of a machine's volume, or of the whole window with its panels."""

import argparse
from pathlib import Path

from app.commands.argument_types import picture_size
from app.commands.guest_options import add_guest_options, has_own_media, resolve_guest
from app.failures import UsageError
from app.output import format_bytes, print_json, print_text
from app.shot import ShotRequest, take_shot
from app.shot_heat import add_heat_options, heat_from_options
from app.shot_look import add_look_options, look_from_options
from app.window_options import WindowOptions
from bridge.machine.discovery import find_record


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("machine", nargs="?", help="a running machine (see ./glassbox list)")
    parser.add_argument("--guest", metavar="NAME", help="start this guest for the picture, and stop it afterwards")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="of a RAM dump instead: raw, ELF core or LiME")
    add_guest_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="where to save the picture")
    parser.add_argument("--size", type=picture_size, default=(1280, 720), metavar="WxH", help="picture size (1280x720)")
    parser.add_argument("--window", action="store_true", help="the whole window with its panels")
    add_look_options(parser)
    add_heat_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Take the picture. Returns 0."""
    own = has_own_media(options)
    named = sum((options.machine is not None, options.guest is not None or own, options.dump is not None))
    if named > 1:
        raise UsageError("name a running machine, a guest to start or a dump, only one of them")
    if not named:
        raise UsageError("name a running machine, --dump FILE, or --guest demo to start one for the picture")
    if not options.out.absolute().parent.is_dir():
        raise UsageError(f"{options.out.absolute().parent} is no directory")
    heat = heat_from_options(options)
    look = look_from_options(options)  # before anything starts: a slip should be told at once
    if options.machine is not None:
        find_record(options.machine)  # before the GPU starts: NoSuchMachine should come at once
    window = WindowOptions(
        guest_name=options.guest,
        guest=resolve_guest(options, None) if own else None,
        machine_name=options.name,
        dumps=() if options.dump is None else (options.dump.absolute(),),
        ram_bytes=options.ram,
        cold=options.cold,
        network=options.network,
        size=options.size,
        tour=False,
    )
    request = ShotRequest(
        options=window,
        out=options.out,
        size=options.size,
        window=options.window,
        machine=options.machine,
        look=look,
        heat=heat,
    )
    take_shot(request)
    if options.json:
        print_json({"ok": True, "out": str(request.out.absolute()), "size": list(request.size)})
    else:
        print_text(f"saved {request.out} ({format_bytes(request.out.stat().st_size)})")
    return 0
