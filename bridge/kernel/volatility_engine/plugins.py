"""The catalogue of Volatility 3's plugins for Linux, with what each lets one choose.

Loads Volatility: for the worker and the command line, not for the window.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import volatility3.plugins
from volatility3 import framework
from volatility3.framework import constants, deprecation
from volatility3.framework.configuration import requirements

from bridge.kernel.errors import KernelError
from bridge.kernel.volatility_engine.records import Cell, Option, Plugin, PluginList

_PREFIX = "linux."
_SIMPLE: tuple[tuple[type[Any], str], ...] = (
    (requirements.BooleanRequirement, "bool"),
    (requirements.IntRequirement, "int"),
    (requirements.StringRequirement, "text"),
    (requirements.URIRequirement, "text"),
)


class NoSuchPlugin(KernelError):
    """No plugin of that name is installed, or one of its options is given wrongly."""


def plugin_classes() -> dict[str, type[Any]]:
    """Every installed plugin for Linux by its short name; those that only forward to another of a new name are left
    out.
    """
    return {
        _short(name): kind for name, kind in _loaded().items() if not issubclass(kind, deprecation.PluginRenameClass)
    }


def _short(name: str) -> str:
    """A name without its class where that says no more than the module: linux.pslist, but linux.proc.Maps."""
    module, _, last = name.rpartition(".")
    says = module.rpartition(".")[2].replace("_", "")
    return module if last.replace("_", "").lower() == says else name


def _loaded() -> dict[str, type[Any]]:
    _import()
    return {name: kind for name, kind in framework.list_plugins().items() if name.startswith(_PREFIX)}


@cache
def _import() -> tuple[str, ...]:
    """Import all plugins once; the names of those for Linux that cannot be imported."""
    found = framework.import_files(volatility3.plugins, ignore_errors=True)
    return tuple(name.removeprefix("volatility3.plugins.") for name in found if ".linux." in name)


def list_plugins() -> PluginList:
    """What is installed, in order of name."""
    failures = _import()
    plugins = tuple(
        Plugin(name, _first_sentence(kind), tuple(map(_option, _options(kind))))
        for name, kind in sorted(plugin_classes().items())
    )
    problem = f"Not loaded, as packages that they need are missing: {', '.join(failures)}." if failures else ""
    return PluginList(constants.PACKAGE_VERSION, plugins, problem)


def find_plugin(name: str) -> tuple[str, type[Any]]:
    """A plugin by its name as `vol` takes it: short, with its class, without `linux.`. Raises NoSuchPlugin."""
    classes, loaded = plugin_classes(), _loaded()
    for candidate in (name, f"{_PREFIX}{name}"):
        for table in (classes, loaded):
            if candidate in table:
                return candidate, table[candidate]
        starting = [known for known in classes if known.startswith(candidate + ".")]
        if len(starting) == 1:
            return starting[0], classes[starting[0]]
        old = [known for known in loaded if known.startswith(candidate + ".")]
        if len(old) == 1:
            return old[0], loaded[old[0]]
    ending = [known for known in classes if known.endswith(f".{name}")]
    if len(ending) == 1:
        return ending[0], classes[ending[0]]
    raise NoSuchPlugin(f"There is no plugin {name!r}; `glassbox vol --list` lists what is installed.")


def described(name: str) -> Plugin:
    """A plugin and its options. Raises NoSuchPlugin."""
    found, kind = find_plugin(name)
    return Plugin(found, _first_sentence(kind), tuple(map(_option, _options(kind))))


def _first_sentence(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _options(kind: type[Any]) -> list[Any]:
    wanted = (*(simple for simple, _ in _SIMPLE), requirements.ListRequirement, requirements.ChoiceRequirement)
    return [requirement for requirement in kind.get_requirements() if isinstance(requirement, wanted)]


def _option(requirement: Any) -> Option:
    choices: tuple[str, ...] = ()
    if isinstance(requirement, requirements.ListRequirement):
        kind = "ints" if requirement.element_type is int else "texts"
    elif isinstance(requirement, requirements.ChoiceRequirement):
        kind, choices = "choice", tuple(requirement.choices)
    else:
        kind = next(word for simple, word in _SIMPLE if isinstance(requirement, simple))
    said = requirement.default
    default: Cell | tuple[Cell, ...] = tuple(said) if isinstance(said, list) else said
    description = " ".join((requirement.description or "").split())
    return Option(requirement.name, kind, description, default, bool(requirement.optional), choices)


def checked(plugin: Plugin, given: dict[str, Any]) -> dict[str, Any]:
    """Options as Volatility wants them: those of `given` that say something.

    Raises NoSuchPlugin for one that the plugin does not have, or whose value is of another kind, or that is missing.
    """
    known = {option.name: option for option in plugin.options}
    values: dict[str, Any] = {}
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            raise NoSuchPlugin(f"{plugin.name} has no option {name!r}.")
        if value is None or value in ("", ()):
            continue
        values[name] = _value(plugin, option, value)
    for option in plugin.options:
        if option.name not in values and not option.optional and option.default in (None, ()):
            raise NoSuchPlugin(f"{plugin.name} needs its option {option.name!r}: {option.description}")
    return values


_INSTANCE: dict[str, type[Any]] = {"bool": bool, "int": int, "text": str, "choice": str, "ints": int, "texts": str}


def _value(plugin: Plugin, option: Option, value: Any) -> Any:
    many = option.kind in ("ints", "texts")
    ones = value if many and isinstance(value, tuple) else (value,)
    wanted = _INSTANCE[option.kind]
    fits = all(isinstance(one, wanted) and isinstance(one, bool) == (wanted is bool) for one in ones)
    if not fits or many != isinstance(value, tuple) or (option.choices and value not in option.choices):
        words = f"one of {', '.join(option.choices)}" if option.choices else option.kind
        raise NoSuchPlugin(f"{plugin.name}'s option {option.name!r} takes {words}, not {value!r}.")
    return list(value) if many else value
