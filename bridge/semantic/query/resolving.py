"""Resolving: which of the things that are there a word names, if need be loosely; what was assumed is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from bridge.semantic.query.model import Kind, Subject
from bridge.semantic.query.names import NO_NAMES, Names, ProcessName
from bridge.semantic.query.texts import quote, shown

LIKELY = 82.0
"""Of 100: from here on a name is taken for one that is spelt a little differently (rapidfuzz's ratio)."""
POSSIBLE = 50.0
"""From here on it is offered."""
SHORTEST_FUZZY = 4
"""Of three letters, one wrong makes another word."""
DELETED = " (deleted)"
_ORDER = (Kind.PROCESS, Kind.MODULE, Kind.SLAB, Kind.FILE, Kind.SYMBOL)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a word names."""

    subject: Subject
    assumed: str = ""
    """How that was found, in a sentence, where it was not by its own name."""


def in_role(spoken: str, candidates: Sequence[str], names: Names) -> Resolved | None:
    """The process that does what people call by a role. None where none of its programs runs."""
    running = [name for name in candidates if _processes(names, lambda one, name=name: one.name == name[:15])]  # type: ignore[misc]
    for name in running:
        also = "".join(f", and not {other}" for other in running[1:])
        return Resolved(Subject(Kind.PROCESS, name[:15]), f"{_written(spoken)} is taken for the process {name}{also}.")
    for name in candidates:
        for one in _processes(names, lambda one, name=name: _program(one) == name):  # type: ignore[misc]
            return Resolved(
                Subject(Kind.PROCESS, one.pid), f"{_written(spoken)} is taken for process {one.pid}, {shown(one.name)}."
            )
    return None


def first_process(spoken: str, names: Names) -> Resolved:
    """Process 1."""
    name = next((f", {shown(one.name)}" for one in names.processes if one.pid == 1), "")
    return Resolved(Subject(Kind.PROCESS, 1), f"{_written(spoken)} is taken for process 1{name}.")


def by_name(spoken: str, names: Names, kinds: Iterable[Kind] = _ORDER, *, nearly: bool = True) -> Resolved | None:
    """The thing of one of some kinds that a word names: exactly, else whatever its case, else by a part of it, else
    (`nearly`) by how it is spelt. None where nothing is near.
    """
    wanted = tuple(kind for kind in _ORDER if kind in set(kinds))
    exact = [kind for kind in wanted if _is_there(kind, spoken, names)]
    if exact:
        others = ", nor the ".join(str(kind) for kind in exact[1:])
        told = f"{_written(spoken)} is taken for the {exact[0]} of that name, not the {others}." if others else ""
        return Resolved(Subject(exact[0], spoken), told)
    folded = spoken.casefold()
    for look in (_same_letters, _part):
        for kind in wanted:
            if (found := look(kind, folded, names)) is not None:
                return _told(spoken, kind, found)
    if Kind.PROCESS in wanted and (running := _processes(names, lambda one: _program(one).casefold() == folded)):
        one = running[0]
        told = f"{_written(spoken)} is taken for process {one.pid}, {shown(one.name)}, which runs it."
        return Resolved(Subject(Kind.PROCESS, one.pid), told)
    if not nearly or len(spoken) < SHORTEST_FUZZY:
        return None
    best = max(
        ((score, -_ORDER.index(kind), kind, name) for kind in wanted for name, score in near(spoken, kind, names, 1)),
        key=lambda found: found[:2],
        default=None,
    )
    return None if best is None or best[0] < LIKELY else _told(spoken, best[2], best[3])


def near(spoken: str, kind: Kind, names: Names, limit: int) -> list[tuple[str, float]]:
    """The names of a kind most like a word, and how like of 100; the best first, equal ones by name."""
    if kind is Kind.SYMBOL:
        known: Iterable[str] = names.symbols(spoken[: max(3, len(spoken) * 2 // 3)], 200)
    else:
        known = sorted(set(all_of(kind, names)))
    texts = {name: (name.rpartition("/")[2] if kind is Kind.FILE else name).casefold() for name in known}
    found = process.extract(spoken.casefold(), texts, scorer=fuzz.ratio, limit=limit, score_cutoff=POSSIBLE)
    return [(name, score) for _, score, name in found]


def all_of(kind: Kind, names: Names) -> Sequence[str]:
    """All names of a kind, but of symbols."""
    if kind is Kind.PROCESS:
        return [one.name for one in names.processes]
    return {Kind.MODULE: names.modules, Kind.SLAB: names.slabs, Kind.FILE: names.files}.get(kind, ())


def knows(kind: Kind, names: Names) -> bool:
    """Whether anything is known of a kind's names: else every name is believed."""
    if kind is Kind.SYMBOL:
        return names.find_symbol is not NO_NAMES.find_symbol
    return bool(all_of(kind, names))


def _is_there(kind: Kind, spoken: str, names: Names) -> bool:
    if kind is Kind.SYMBOL:
        return names.find_symbol(spoken) is not None
    return spoken in all_of(kind, names)


def _same_letters(kind: Kind, folded: str, names: Names) -> str | None:
    loose = folded.replace("-", "_")
    return next((name for name in all_of(kind, names) if name.casefold().replace("-", "_") == loose), None)


def _part(kind: Kind, folded: str, names: Names) -> str | None:
    """A file by the last part of its path, with or without what follows its first dot: libc of /lib/libc.so.6."""
    if kind is not Kind.FILE:
        return None
    lasts = [(name, name.casefold().removesuffix(DELETED).rpartition("/")[2]) for name in names.files]
    ends = [name for name, last in lasts if last == folded] or [
        name for name, last in lasts if last.partition(".")[0] == folded and folded
    ]
    return min(ends, key=lambda name: (len(name), name), default=None)


def _told(spoken: str, kind: Kind, name: str) -> Resolved:
    return Resolved(Subject(kind, name), f"{_written(spoken)} is taken for the {kind} {shown(name)}.")


def _program(one: ProcessName) -> str:
    """The program that a process runs, by its command line: `nginx` of `/usr/sbin/nginx -g daemon`."""
    first = one.command_line.partition(" ")[0]
    return first.rstrip(":").rpartition("/")[2]


def _processes(names: Names, fits: Callable[[ProcessName], bool]) -> list[ProcessName]:
    return [one for one in names.processes if fits(one)]


def _written(spoken: str) -> str:
    return quote(shown(spoken, 60))
