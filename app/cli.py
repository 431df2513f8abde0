"""The command line: which commands exist, and how an error becomes an exit code and a sentence."""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.exit_codes import ExitCode
from app.output import print_error

# One module a command family; imported only when it is used, so that `./glassbox list` does not load the GPU stack.
_COMMANDS: dict[str, tuple[str, str]] = {
    "window": ("app.commands.window", "open the window (what ./glassbox does by itself)"),
    "run": ("app.commands.run", "start a machine without the window"),
    "attach": ("app.commands.attach", "look into a QEMU that someone else started"),
    "list": ("app.commands.machines", "list the machines"),
    "stop": ("app.commands.machines", "stop a machine"),
    "pause": ("app.commands.machines", "pause a machine"),
    "resume": ("app.commands.machines", "let a paused machine go on"),
    "reset": ("app.commands.machines", "press a machine's reset button"),
    "read": ("app.commands.read", "print bytes of a machine's physical memory"),
    "hot": ("app.commands.hot", "show where a running guest's time goes, block by block"),
    "trace": ("app.commands.trace", "record what a running guest executes, and read recordings"),
    "find": ("app.commands.find", "answer a question about a guest: sshd, kernel stacks, 78 56 34 12 …"),
    "ps": ("app.commands.kernel", "list a guest's processes, from its RAM alone"),
    "maps": ("app.commands.kernel", "show the memory map of a guest's process"),
    "files": ("app.commands.kernel_lists", "list the open files of a guest's process"),
    "sockets": ("app.commands.kernel_lists", "list the sockets that a guest's processes hold open"),
    "mounts": ("app.commands.kernel_lists", "list what a guest has mounted"),
    "modules": ("app.commands.kernel_lists", "list a guest kernel's modules"),
    "slabs": ("app.commands.kernel_lists", "list a guest kernel's slab caches"),
    "log": ("app.commands.kernel_lists", "print a guest kernel's log"),
    "stack": ("app.commands.kernel_lists", "show the kernel stack of a guest's sleeping thread"),
    "pages": ("app.commands.kernel_pages", "count a guest's pages by what they hold and whose they are"),
    "where": ("app.commands.kernel", "say what an address is and whose"),
    "symbols": ("app.commands.kernel", "list a guest kernel's symbols"),
    "sql": ("app.commands.sql", "ask what is known of machines, and was, by a SELECT"),
    "vol": ("app.commands.volatility", "run a Volatility 3 plugin on a guest"),
    "voxel": ("app.commands.space", "say which voxel shows an address"),
    "address": ("app.commands.space", "say which address a voxel shows"),
    "shot": ("app.commands.shot", "save a picture of the volume or of the whole window"),
    "serve": ("app.commands.serve", "serve REST to this user's programs on this machine"),
    "mcp": ("app.commands.mcp", "serve tools for language models on standard input and output"),
    "do": ("app.commands.do", "call an action of the running window by name"),
    "pixel": ("app.commands.pixel", "prove x86 code equal to microcode; learn a machine's loops, and take them over"),
    "bench": ("app.commands.bench", "measure, and hold the figures against their bars"),
    "audit": ("app.commands.audit", "check or show the log of who asked what of which machine"),
    "guests": ("app.commands.guests", "list the guests that can be started, or prepare them now"),
    "qemu": ("app.commands.qemu", "say which QEMU is used, or fetch a newer one for this user alone"),
    "doctor": ("app.commands.doctor", "check every ingredient and say how to fix what is missing"),
}
_AUDITED = frozenset(_COMMANDS) - {
    *("window", "do"),  # they record what is done in the window themselves
    *(
        "list",
        "voxel",
        "address",
        "bench",
        "guests",
        "qemu",
        "doctor",
        "audit",
        "pixel",
    ),  # nothing of a guest is asked for
}
_AUDITED_PARTS = frozenset({("pixel", "learn"), ("pixel", "run")})
"""Of commands that ask nothing of a guest otherwise."""
_LONG = frozenset({"run", "attach", "serve", "mcp"})
"""Commands that last as long as what they started: their beginning is recorded too."""
_EPILOG = """exit codes: 0 done · 1 failed · 2 usage · 3 no such machine · 4 a component is missing
Every command takes --help. Without a command, the window opens with the demo guest."""


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code (see ExitCode). Usage errors exit by argparse with 2."""
    arguments = list(argv)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "window")
    name = arguments[0]
    if name not in _COMMANDS:
        _overview().parse_args(arguments)  # prints help, version, or the usage error, and exits
        return ExitCode.USAGE  # pragma: no cover - argparse has left already
    module = importlib.import_module(_COMMANDS[name][0])
    title = _COMMANDS[name][1]
    parser = argparse.ArgumentParser(prog=f"glassbox {name}", description=f"{title[:1].upper()}{title[1:]}.")
    module.configure(parser, name)
    parse = getattr(module, "parse", argparse.ArgumentParser.parse_args)
    options = parse(parser, arguments[1:])
    # A terminal that goes away or a supervisor that asks must leave no machine behind: end by the ordinary way out.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    if name not in _AUDITED and (name, getattr(options, "todo", None)) not in _AUDITED_PARTS:
        return run_guarded(module, options)
    if name in _LONG:
        _record(name, options, "begun")
    code, told = _guarded(module, options)
    _record(name, options, "done" if code == ExitCode.DONE else f"exit code {int(code)}", told)
    return code


def run_guarded(module: object, options: argparse.Namespace) -> int:
    """Run a command module's `run(options)` and turn its typed errors into an exit code and one sentence."""
    return _guarded(module, options)[0]


def _guarded(module: object, options: argparse.Namespace) -> tuple[int, str]:
    """The exit code, and the sentence that was said, if there was one."""
    from app.failures import exit_code_of

    as_json = bool(getattr(options, "json", False))
    try:
        return int(module.run(options)), ""  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        print_error("interrupted")
        return ExitCode.FAILED, ""
    except BrokenPipeError:
        sys.stderr.close()  # the reader has left; say nothing more
        return ExitCode.FAILED, ""
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        print_error(str(error), as_json=as_json)
        return code, str(error)


def _record(name: str, options: argparse.Namespace, result: str, told: str = "") -> None:
    """Tell the audit log. Where it cannot be written the user is told, and what was asked for is done all the same.

    `told`: what the command has said already: folders that cannot be made are no news then.
    """
    from bridge.semantic.audit import AuditFailed, AuditLog

    plain = (str, int, float, list, Path)
    given = {key: value for key, value in vars(options).items() if isinstance(value, plain) and value is not False}
    asked = {key: _as_text(value) for key, value in given.items()}
    try:
        AuditLog().record("cli", name, asked, result)
    except (AuditFailed, OSError) as error:
        if str(error) != told:
            print_error(str(error))


def _as_text(value: Any) -> Any:
    """What was given, with files by their whole path: the log is read elsewhere."""
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _overview() -> argparse.ArgumentParser:
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("glassbox")
    except PackageNotFoundError:
        release = "from source"
    lines = "\n".join(f"  {name:<8} {text}" for name, (_, text) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="glassbox",
        description="Makes a running machine transparent: every byte of its RAM, live, as a voxel.\n\ncommands:\n"
        + lines,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="glassbox [COMMAND] [options]",
    )
    parser.add_argument("--version", action="version", version=f"glassbox {release}")
    parser.add_argument("command", choices=list(_COMMANDS), metavar="COMMAND", help=argparse.SUPPRESS)
    return parser
