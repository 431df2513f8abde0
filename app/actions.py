"""Actions: everything the user can do, by name; menus, keys, palette, toolbar and control socket all come from here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.jobs import Job
from app.numbers import BadNumber, parse_address, parse_size

ParamKind = Literal["text", "number", "integer", "address", "size", "flag", "choice"]
MAX_TEXT_ARGUMENT = 16_384


class ActionError(Exception):
    """An action could not be run; the message is for people."""


class UnknownAction(ActionError):
    """There is no action of that name."""

    def __init__(self, name: str, close: Sequence[str]) -> None:
        hint = f" Did you mean {' or '.join(close)}?" if close else " `actions.list` names them all."
        super().__init__(f"There is no action “{name[:80]}”.{hint}")
        self.name = name


class ActionDisabled(ActionError):
    """The action makes no sense now; the message says why."""


class BadArguments(ActionError):
    """The arguments do not fit; the message says which and what would."""


@dataclass(frozen=True, slots=True)
class Param:
    """One argument of an action."""

    name: str
    kind: ParamKind = "text"
    required: bool = False
    choices: Callable[[], Sequence[str]] | None = None  # for "choice"; also what the palette offers for "text"
    help: str = ""

    def convert(self, value: object) -> object:
        """Return `value`, as it came from a person, a script or a panel, in the param's own type.

        Raises BadArguments.
        """
        try:
            return self._convert(value)
        except (BadNumber, ValueError, OverflowError) as error:
            raise BadArguments(f"{self.name}: {error}") from None

    def _convert(self, value: object) -> object:
        if self.kind == "flag":
            if isinstance(value, bool):
                return value
            word = str(value).casefold()
            if word in ("1", "true", "yes", "on"):
                return True
            if word in ("0", "false", "no", "off"):
                return False
            raise ValueError(f"{str(value)[:40]!r} is neither on nor off")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"it must be a {self.kind}, not {type(value).__name__}")  # noqa: TRY004 - one kind of error
        if self.kind in ("address", "size"):
            if isinstance(value, str):
                return parse_address(value) if self.kind == "address" else parse_size(value)
            if value != int(value) or value < 0:
                raise ValueError(f"{value} is not a {self.kind}")
            return int(value)
        if self.kind == "integer":
            return int(value, 0) if isinstance(value, str) else _whole(value)
        if self.kind == "number":
            number = float(value)
            if number != number or abs(number) == float("inf"):
                raise ValueError(f"{value} is not a finite number")
            return number
        text = str(value)
        if len(text) > MAX_TEXT_ARGUMENT:
            raise ValueError(f"it is longer than {MAX_TEXT_ARGUMENT:,} characters")
        if self.kind == "choice" and self.choices is not None and text not in (known := self.choices()):
            alike = [choice for choice in known if choice.casefold() == text.casefold()]
            if len(alike) != 1:
                raise ValueError(f"{text[:40]!r} is none of {', '.join(known) or 'none now'}")
            return alike[0]
        return text


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError(f"{value} is not a whole number")
    return int(value)


def _always() -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something the user can do. `run` takes the converted arguments by name."""

    id: str  # "machine.launch"
    title: str  # sentence case; ends in … when more input follows
    category: str
    run: Callable[..., Any]
    params: tuple[Param, ...] = ()
    shortcuts: tuple[str, ...] = ()  # "Ctrl+K"; see app.shortcuts
    why_not: Callable[[], str | None] = _always  # None: it can be run now; else the reason why it cannot
    icon: str = ""
    in_palette: bool = True
    help: str = ""
    keywords: str = ""  # further words that the palette finds it by

    @property
    def enabled(self) -> bool:
        return self.why_not() is None

    @property
    def needs_input(self) -> bool:
        return any(p.required for p in self.params)

    def bind(self, args: Mapping[str, object] | Sequence[object]) -> dict[str, object]:
        """Return the arguments by name, converted. Positions follow `params`. Raises BadArguments."""
        if isinstance(args, Mapping):
            given = {str(k): v for k, v in args.items()}
        else:
            if len(args) > len(self.params):
                raise BadArguments(f"{self.id} takes {self._usage()}; {len(args)} arguments are too many")
            given = {p.name: v for p, v in zip(self.params, args, strict=False)}
        bound: dict[str, object] = {}
        for param in self.params:
            value = given.pop(param.name, None)
            if value is not None:
                bound[param.name] = param.convert(value)
            elif param.required:
                raise BadArguments(f"{self.id} needs “{param.name}”; it takes {self._usage()}")
        if given:
            raise BadArguments(f"{self.id} knows no “{next(iter(given))[:40]}”; it takes {self._usage()}")
        return bound

    def _usage(self) -> str:
        words = [p.name if p.required else f"[{p.name}]" for p in self.params]
        return " ".join(words) if words else "no arguments"

    def describe(self) -> dict[str, object]:
        """Return what a script needs to know of it, as JSON values."""
        return {
            "id": self.id,
            "title": self.title,
            "category": self.category,
            "shortcuts": list(self.shortcuts),
            "enabled": self.enabled,
            "params": [{"name": p.name, "kind": p.kind, "required": p.required, "help": p.help} for p in self.params],
            "help": self.help,
        }


@dataclass(slots=True)
class ActionRegistry:
    """All actions, in the order in which they were added."""

    tell: Callable[[str, str, Mapping[str, Any], str], None] | None = None
    """Told who ran which action with which arguments, and what came of it."""
    _actions: dict[str, Action] = field(default_factory=dict)
    _by_shortcut: dict[str, Action] = field(default_factory=dict)

    def add(self, *actions: Action) -> None:
        """Register actions. A name or shortcut that is taken is a defect of ours: ValueError."""
        for action in actions:
            if action.id in self._actions:
                raise ValueError(f"two actions are called {action.id}")
            for shortcut in action.shortcuts:
                if shortcut in self._by_shortcut:
                    raise ValueError(f"{shortcut} is both {self._by_shortcut[shortcut].id} and {action.id}")
                self._by_shortcut[shortcut] = action
            self._actions[action.id] = action

    def __iter__(self) -> Iterator[Action]:
        return iter(self._actions.values())

    def __contains__(self, name: str) -> bool:
        return name in self._actions

    def get(self, name: str) -> Action:
        """Return the action called `name`. Raises UnknownAction."""
        try:
            return self._actions[name]
        except KeyError:
            close = difflib.get_close_matches(name[:80], self._actions, n=2)
            raise UnknownAction(name, close) from None

    def for_shortcut(self, shortcut: str) -> Action | None:
        """Return the action of a key chord such as "Ctrl+K"."""
        return self._by_shortcut.get(shortcut)

    def run(self, name: str, args: Mapping[str, object] | Sequence[object] = (), *, who: str = "window") -> Any:
        """Run an action and return its result: JSON values, or a Job for what takes long.

        Raises UnknownAction, ActionDisabled, BadArguments, and what the action itself raises.
        """
        action = self.get(name)
        if (reason := action.why_not()) is not None:
            raise ActionDisabled(f"{action.title.removesuffix('…')}: {reason}")
        bound = action.bind(args)
        try:
            result = action.run(**bound)
        except Exception as error:
            self._told(who, name, bound, f"failed: {error}")
            raise
        self._told(who, name, bound, "begun" if isinstance(result, Job) else "done")
        return result

    def _told(self, who: str, name: str, bound: Mapping[str, object], result: str) -> None:
        if self.tell is not None:
            self.tell(who, name, bound, result)
