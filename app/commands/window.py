"""`glassbox` itself: open the window, or without a screen say so and save the same scene as a picture."""

import argparse
import sys
from pathlib import Path

from app.commands.argument_types import picture_size
from app.commands.guest_options import add_guest_options, has_own_media, resolve_guest
from app.failures import UsageError
from app.screen import HOW_TO_GET_A_WINDOW, screen_problem
from app.window_options import DEFAULT_SIZE, WindowOptions

FALLBACK_PICTURE = Path("glassbox.png")


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("--guest", metavar="NAME", help="the guest to start with (default: demo); none: start empty")
    add_guest_options(parser)
    parser.add_argument(
        "--dump",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="look at a RAM dump (raw, ELF core or LiME) as at a paused machine; may be given several times",
    )
    parser.add_argument(
        "--session", type=Path, metavar="FILE", help="open a saved session; nothing is started for it by itself"
    )
    parser.add_argument("--size", type=picture_size, metavar="WxH", help="window size; else that of the last run")


def run(options: argparse.Namespace) -> int:
    """Open the window and stay until it is closed. Returns its exit code."""
    own = has_own_media(options)
    if own and options.guest is not None:
        raise UsageError("give --guest or --kernel, --disk … of your own, not both")
    without_demo = bool(options.dump) or options.session is not None
    window = WindowOptions(
        guest=resolve_guest(options, None) if own else None,
        guest_name=None if own or options.guest == "none" else options.guest or (None if without_demo else "demo"),
        dumps=tuple(path.absolute() for path in options.dump),
        session=None if options.session is None else options.session.absolute(),
        machine_name=options.name,
        ram_bytes=options.ram,
        cold=options.cold,
        network=options.network,
        size=options.size or DEFAULT_SIZE,
        size_is_asked=options.size is not None,
    )
    return open_window(window)


def open_window(options: WindowOptions) -> int:
    """Run the window; where there is no screen, say so, save the scene as a picture, and tell how to get a window."""
    problem = screen_problem()
    if problem is None:
        from app.native_loop import run_window

        run_window(options)
        return 0
    from app.shot import ShotRequest, take_shot

    sys.stderr.write(f"glassbox: {problem}; drawing the scene off-screen instead\n")
    target = FALLBACK_PICTURE.absolute()
    take_shot(ShotRequest(options=options, out=target, size=options.size, window=False))
    sys.stderr.write(f"glassbox: saved {target}\n{HOW_TO_GET_A_WINDOW}\n")
    return 0
