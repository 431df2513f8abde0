"""`glassbox vol PLUGIN NAME`: a plugin of Volatility 3 on a running machine or a dump, in a process of its own."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.exit_codes import ExitCode
from app.failures import CommandFailed, ComponentMissing, UsageError
from app.kernel_source import settle_source
from app.output import format_table, print_error, print_json, print_text, progress_printer
from app.volatility_table import csv_of, document_of, is_number, table_rows, unique_names
from app.widgets.plain_text import plain
from bridge.kernel.volatility_engine.records import ROW_LIMIT, TIME_LIMIT_S, Option, Plugin, PluginList, Target
from bridge.kernel.volatility_engine.service import Run, Volatility
from bridge.machine.discovery import find_record, open_ram

_OWN = ("--dump", "--types", "--output", "--time-limit", "--row-limit")
"""Options of this command that are followed by a value."""
_POLL_S = 0.05


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare what is the same for all plugins."""
    parser.add_argument("plugin", nargs="?", metavar="PLUGIN", help="linux.pslist, or short: pslist")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the machine's name")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="a RAM dump instead: raw, ELF core or LiME")
    parser.add_argument("--list", action="store_true", help="list the plugins that are installed")
    parser.add_argument("--types", type=Path, metavar="FILE", help="an ISF or vmlinux, for kernels that carry no types")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where files go that the plugin writes")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT_S, metavar="SECONDS", help="%(default).0f")
    parser.add_argument("--row-limit", type=int, default=ROW_LIMIT, metavar="ROWS", help="%(default)s")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print the table as CSV")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments, the plugin's own options among them."""
    from bridge.kernel.volatility_engine.plugins import NoSuchPlugin, described

    name = _plugin_name(arguments)
    plugin: Plugin | None = None
    if name is not None:
        try:
            plugin = described(name)
        except NoSuchPlugin as error:
            parser.error(str(error))
        parser.description = plugin.description
        group = parser.add_argument_group(f"options of {plugin.name}")
        for option in plugin.options:
            _declare(group, option, {flag for action in parser._actions for flag in action.option_strings})
    options = parser.parse_args(arguments)
    options.options = {} if plugin is None else _given(plugin, options)
    return options


def _plugin_name(arguments: Sequence[str]) -> str | None:
    """The first argument that is neither an option nor the value of one."""
    before = ""
    for argument in arguments:
        if not argument.startswith("-") and before not in _OWN:
            return argument
        before = argument
    return None


def _declare(group: argparse._ArgumentGroup, option: Option, taken: set[str]) -> None:
    flag = f"--{option.name}"
    if flag in taken:
        flag = f"--plugin-{option.name}"  # `--dump` of many plugins, which makes them write files
    text = option.description.replace("%", "%%")
    common: dict[str, Any] = {"dest": f"option_{option.name}", "help": text}
    if option.kind == "bool":
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, **common)
    elif option.kind == "choice":
        group.add_argument(flag, choices=option.choices, **common)
    elif option.kind == "ints":
        group.add_argument(flag, action="extend", type=_integers, metavar="N[,N…]", **common)
    elif option.kind == "texts":
        group.add_argument(flag, action="append", metavar="TEXT", **common)
    elif option.kind == "int":
        group.add_argument(flag, type=_integer, metavar="N", **common)
    else:
        group.add_argument(flag, metavar="TEXT", **common)


def _integer(text: str) -> int:
    return int(text, 0)


def _integers(text: str) -> list[int]:
    return [int(part, 0) for part in text.split(",") if part]


def _given(plugin: Plugin, options: argparse.Namespace) -> dict[str, Any]:
    given = {option.name: getattr(options, f"option_{option.name}") for option in plugin.options}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }


def run(options: argparse.Namespace) -> int:
    """Run the plugin and print its table, or the list. Raises UsageError, NoSuchMachine, CommandFailed."""
    volatility = Volatility()
    try:
        if options.list:
            return _list(volatility.wait_installed(), as_json=options.json)
        if options.plugin is None:
            raise UsageError("name a plugin, or --list them")
        settle_source(options)
        if options.output is not None and not options.output.is_dir():
            raise UsageError(f"{options.output} is no folder")
        if options.time_limit <= 0 or options.row_limit <= 0:
            raise UsageError("limits must be more than zero")
        done = volatility.run(
            _target(options),
            options.plugin,
            options.options,
            time_limit_s=options.time_limit,
            row_limit=options.row_limit,
            folder=None if options.output is None else options.output.absolute(),
        )
        _wait(done)
        return _print(done, options)
    finally:
        volatility.close()


def _target(options: argparse.Namespace) -> Target:
    types = None if options.types is None else options.types.absolute()
    if options.dump is not None:
        return Target(options.dump.absolute(), None, types)
    ram = open_ram(find_record(options.name))
    try:
        return Target(ram.path, ram.physical_map, types)
    finally:
        ram.close()


def _wait(done: Run) -> None:
    report = progress_printer()
    told = None
    while not done.done.wait(_POLL_S):
        progress = done.progress
        if progress is not None and progress is not told and time.monotonic() - done.started_s > 1.0:
            told = progress
            percent = f", {progress.fraction:.0%}" if progress.fraction else ""
            report(f"{plain(progress.step) or 'Running'}{percent}", progress.fraction)


def _print(done: Run, options: argparse.Namespace) -> int:
    finished = done.finished
    assert finished is not None
    if not done.columns:
        raise CommandFailed(finished.problem or "the plugin gave no table")
    if options.json:
        print_json({"source": options.name or options.dump.name, **document_of(done)})
    elif options.csv:
        print_text(csv_of(done).rstrip("\n"))
    else:
        right = frozenset(index for index, column in enumerate(done.columns) if is_number(column))
        header = tuple(plain(name).upper() for name in unique_names(done.columns))
        print_text(format_table(header, table_rows(done), right=right))
    for note in finished.notes:
        print_error(plain(note))
    for name in finished.files:
        print_error(f"wrote {plain(str(options.output / name))}")
    if not finished.problem:
        return ExitCode.DONE
    print_error(finished.problem)
    return ExitCode.DONE if len(done.rows) >= options.row_limit else ExitCode.FAILED


def _list(installed: PluginList, *, as_json: bool) -> int:
    if not installed.plugins:
        raise ComponentMissing(installed.problem)
    if as_json:
        plugins = [
            {
                "name": plugin.name,
                "description": plugin.description,
                "options": [
                    {"name": option.name, "kind": option.kind, "description": option.description}
                    for option in plugin.options
                ],
            }
            for plugin in installed.plugins
        ]
        print_json({"version": installed.version, "problem": installed.problem, "plugins": plugins})
        return ExitCode.DONE
    table = [(plugin.name, plugin.description) for plugin in installed.plugins]
    print_text(format_table(("PLUGIN", "WHAT IT SHOWS"), table))
    print_text(f"Volatility {installed.version}. {installed.problem}".rstrip())
    return ExitCode.DONE
