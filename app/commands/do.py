"""`glassbox do`: call an action of the running window by name; this is how scripts and tests drive it."""

import argparse
import json
from pathlib import Path

from app.control import send_action
from app.failures import CommandFailed, UsageError
from app.output import print_json, print_text


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("action", nargs="?", help="the action's name; without one, all are listed")
    parser.add_argument("args", nargs="*", metavar="[NAME=]VALUE", help="arguments, in order or by name")
    parser.add_argument("--socket", type=Path, help="control socket of the window (default: this user's window)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Send the action and print its result. Returns 0; CommandFailed with the window's own sentence when it refuses."""
    reply = send_action(options.action or "actions.list", parse_arguments(options.args), socket=options.socket)
    if not reply.get("ok"):
        raise CommandFailed(str(reply.get("error", "the window gave no reason")))
    if options.json:
        print_json(reply)
    elif options.action is None:
        for action in reply["result"]:
            print_text(f"{action['id']:<28} {action['title']}")
    elif reply.get("result") is not None:
        result = reply["result"]
        print_text(result if isinstance(result, str) else json.dumps(result, indent=2))
    return 0


def parse_arguments(words: list[str]) -> dict[str, object] | list[object]:
    """Return positional words as a list, or ``name=value`` words as a dict; a mixture raises UsageError.

    A value that is a JSON number, boolean or null is taken as such; everything else stays text.
    """
    named = [word for word in words if "=" in word and word.split("=", 1)[0].isidentifier()]
    if not named:
        return [_value(word) for word in words]
    if len(named) != len(words):
        raise UsageError("give all arguments by name (NAME=VALUE) or all in order, not mixed")
    return {name: _value(text) for name, text in (word.split("=", 1) for word in words)}


def _value(text: str) -> object:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool | type(None)) else text
