"""`glassbox attach`: look into a QEMU that someone else started with shared memory."""

import argparse
from pathlib import Path

from app.commands.run import describe
from app.commands.window import open_window
from app.output import format_bytes, print_json, print_text
from app.screen import screen_problem
from app.window_options import WindowOptions
from bridge.machine.manager import MachineManager


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("socket", type=Path, metavar="QMP_SOCKET", help="the QEMU's QMP unix socket")
    parser.add_argument("--name", help="what to call the machine (default: its process or socket name)")
    parser.add_argument("--json", action="store_true", help="print what was found as one JSON object; open no window")


def run(options: argparse.Namespace) -> int:
    """Open the window on the attached machine, or only say what it is. The machine is never stopped by leaving."""
    if not options.json and screen_problem() is None:
        return open_window(WindowOptions(attach=options.socket.absolute(), machine_name=options.name))
    manager = MachineManager()
    try:
        machine = manager.attach(options.socket.absolute(), name=options.name)
        if options.json:
            print_json(describe(machine))
        else:
            info = machine.info
            print_text(f"{info.name}: {format_bytes(info.ram_bytes)} of shared RAM, {info.state}, pid {info.pid}")
            print_text(f"No window: {screen_problem()}")
    finally:
        manager.close()
    return 0
