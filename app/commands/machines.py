"""`glassbox list`, `stop`, `pause`, `resume`, `reset`: machines of any owner, through their control sockets."""

import argparse

from app.output import format_bytes, format_duration, format_table, print_json, print_text
from bridge.machine.discovery import MachineSummary, command_machine, stop_machine, summarise_machines

_DONE = {"stop": "stopped", "pause": "paused", "resume": "running", "reset": "reset"}


def configure(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the options."""
    if command != "list":
        parser.add_argument("name", help="the machine's name, as ./glassbox list prints it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def run(options: argparse.Namespace) -> int:
    """List the machines, or do the one thing to the named machine. Returns 0; NoSuchMachine when there is none."""
    if options.command == "list":
        _list(as_json=options.json)
        return 0
    if options.command == "stop":
        stop_machine(options.name)
    else:
        command_machine(options.name, options.command)
    if options.json:
        print_json({"ok": True, "name": options.name, "did": options.command})
    else:
        print_text(f"{options.name} {_DONE[options.command]}")
    return 0


def _list(*, as_json: bool) -> None:
    machines = summarise_machines()
    if as_json:
        print_json({"machines": [_document(machine) for machine in machines]})
        return
    if not machines:
        print_text("No machine is running. ./glassbox opens the window; ./glassbox run demo --detach starts one.")
        return
    header = ("NAME", "STATE", "GUEST", "CPU", "RAM", "UPTIME", "ACCEL", "PID", "OWNER")
    rows = [
        (
            m.name,
            m.state,
            m.guest,
            f"{m.cpu_percent:.0f} %",
            format_bytes(m.ram_bytes),
            format_duration(m.uptime_s),
            m.accelerator.upper(),
            str(m.pid),
            m.ownership,
        )
        for m in machines
    ]
    print_text(format_table(header, rows, right=frozenset({3, 4, 5, 7})))
    for machine in machines:
        if machine.message:
            print_text(f"{machine.name}: {machine.message}")


def _document(machine: MachineSummary) -> dict[str, object]:
    return {
        "name": machine.name,
        "state": machine.state,
        "guest": machine.guest,
        "cpu_percent": machine.cpu_percent,
        "ram_bytes": machine.ram_bytes,
        "rss_bytes": machine.rss_bytes,
        "uptime_s": machine.uptime_s,
        "accelerator": machine.accelerator,
        "pid": machine.pid,
        "ownership": machine.ownership,
        "message": machine.message,
    }
