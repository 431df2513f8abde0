"""`glassbox run`: start a machine without the window; its console on this terminal, or detached."""

import argparse
import sys
import threading

from app.commands.console_session import ConsoleSession
from app.commands.guest_options import add_guest_options, resolve_guest
from app.output import format_bytes, print_json, print_text, progress_printer
from app.waiting import READY_LIMIT_S
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager

SAVE_LIMIT_S = 10.0


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("guest", nargs="?", help="a guest of the catalogue, such as demo or boot-sector")
    add_guest_options(parser)
    parser.add_argument("--detach", action="store_true", help="leave it running and return")
    parser.add_argument("--json", action="store_true", help="print one JSON object when it has started")


def run(options: argparse.Namespace) -> int:
    """Launch, say what runs, and stay with the console until the guest or the user ends it. Returns 0."""
    guest = resolve_guest(options, options.guest)
    manager = MachineManager()
    saved = threading.Event()
    manager.subscribe(lambda event: saved.set() if event.kind == "SAVED" else None)
    try:
        machine = manager.launch(
            guest,
            name=options.name,
            ram_bytes=options.ram,
            cold=options.cold,
            detach=options.detach,
            network=options.network,
            progress=None if options.json else progress_printer(),
        )
        if options.detach and guest.ready_marker is not None:
            _wait_until_up(machine, saved if guest.keeps_state and not machine.info.warm else None)
        if options.json:
            print_json(describe(machine))
        else:
            print_text(_sentence(machine, detached=options.detach))
        if not options.detach:
            ConsoleSession(machine, interactive=not options.json).run()
    finally:
        manager.close()
    return 0


def _wait_until_up(machine: Machine, saved: threading.Event | None) -> None:
    """Come back when the guest is up, as whoever starts it in a script expects, and its state is kept for next time."""
    if not machine.wait_ready(READY_LIMIT_S):
        sys.stderr.write(f"glassbox: {machine.name} runs, but said nothing of being up in {READY_LIMIT_S:.0f} s\n")
    elif saved is not None:
        saved.wait(SAVE_LIMIT_S)


def describe(machine: Machine) -> dict[str, object]:
    """Return the machine as the JSON that `run`, `list` and `attach` print."""
    info = machine.info
    return {
        "ok": True,
        "name": info.name,
        "guest": info.guest,
        "state": str(info.state),
        "accelerator": info.accelerator,
        "accelerator_reason": info.accelerator_reason,
        "pid": info.pid,
        "ram_bytes": info.ram_bytes,
        "ram_path": None if machine.ram is None else str(machine.ram.path),
        "warm": info.warm,
        "attached": info.attached,
    }


def _sentence(machine: Machine, *, detached: bool) -> str:
    info = machine.info
    how = "resumed" if info.warm else "started"
    tail = f"; ./glassbox stop {info.name} ends it" if detached else "; Ctrl+] ends it"
    return f"{info.name} {how}: {info.guest}, {format_bytes(info.ram_bytes)}, {info.accelerator.upper()}{tail}"
