"""Command palette: which actions and addresses a typed text could mean, best first. Pure logic; a panel draws it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.actions import Action, ActionRegistry
from app.numbers import BadNumber, parse_address

MAX_ENTRIES = 60
MAX_QUERY = 60
_BARE_HEX = re.compile(r"[0-9a-fA-F]{1,16}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the palette: an action with arguments; `action` is its name."""

    title: str
    detail: str
    action: str
    args: Mapping[str, object] = field(default_factory=dict)
    icon: str = ""
    shortcut: str = ""
    disabled: str | None = None  # why it cannot be run now
    matched: tuple[int, ...] = ()  # positions in `title` to set off
    fills: str = ""  # instead of running, put this into the search box, so that it can go on there
    completes: bool = False  # Tab takes it


def fuzzy_match(needle: str, text: str) -> tuple[float, tuple[int, ...]] | None:
    """Return a score and the matched positions when `needle` names `text`, else None.

    Every word of the needle is sought by itself: whole, or as beginnings of words ("gota" for "Go to address").
    Beginnings score higher, and shorter texts win ties.
    """
    lowered = text.lower()
    total, positions = 0.0, set[int]()
    for word in needle.lower().split():
        found = _match_word(word, lowered)
        if found is None:
            return None
        total += found[0]
        positions.update(found[1])
    return total - len(text) * 0.01, tuple(sorted(positions))


def _match_word(word: str, text: str) -> tuple[float, list[int]] | None:
    start = text.find(word)
    best = -1
    while start >= 0:
        if best < 0 or (_begins_word(text, start) and not _begins_word(text, best)):
            best = start
        start = text.find(word, start + 1)
    if best >= 0:
        return 3.0 * len(word) + (6.0 if _begins_word(text, best) else 0.0), list(range(best, best + len(word)))
    positions = _match_beginnings(word, text, 0, follows=False)
    return None if positions is None else (2.5 * len(word), positions)


def _match_beginnings(word: str, text: str, at: int, *, follows: bool) -> list[int] | None:
    """Return where the letters of `word` lie in `text[at:]`, each at a word's beginning or right after the one before.

    `follows`: the letter at `at` comes right after a matched one. "gota" finds "GO To Address".
    """
    if not word:
        return []
    for index in range(at, len(text)):
        if text[index] == word[0] and (_begins_word(text, index) or (follows and index == at)):
            rest = _match_beginnings(word[1:], text, index + 1, follows=True)
            if rest is not None:
                return [index, *rest]
    return None


def _begins_word(text: str, index: int) -> bool:
    return index == 0 or not text[index - 1].isalnum()


def entries_for(query: str, actions: ActionRegistry, *, can_go: str | None = None) -> list[Entry]:
    """Return what `query` could mean, best first: addresses, then actions with one argument filled in, then actions.

    `can_go` is the reason why no address can be gone to now, or None.
    """
    text = query[:MAX_QUERY].strip()
    found = list(_addresses(text, can_go))
    scored: list[tuple[float, int, Entry]] = []
    for order, action in enumerate(actions):
        if action.in_palette:
            scored.extend((score, -order, entry) for score, entry in _action_entries(action, text))
    scored.sort(key=lambda item: (item[2].disabled is None, item[0], item[1]), reverse=True)
    found.extend(entry for _, _, entry in scored)
    return found[:MAX_ENTRIES]


def _addresses(text: str, can_go: str | None) -> list[Entry]:
    if not text or text[0] not in "0123456789abcdefABCDEF":
        return []
    meanings: dict[int, str] = {}
    with contextlib.suppress(BadNumber):
        meanings[parse_address(text)] = "as written"
    compact = text.replace("_", "").replace(" ", "")
    if _BARE_HEX.fullmatch(compact) and (any(c.isdigit() for c in compact) or len(compact) >= 4):
        meanings.setdefault(int(compact, 16), "hexadecimal")
        if compact.isdecimal():
            meanings[int(compact)] = f"decimal {int(compact):,}"
    return [
        Entry(f"Go to {value:#x}", f"Physical address, {how}", "view.go_to", {"address": value}, disabled=can_go)
        for value, how in meanings.items()
        if value < 1 << 64
    ]


def _action_entries(action: Action, text: str) -> list[tuple[float, Entry]]:
    reason = action.why_not()
    required = [p for p in action.params if p.required]
    shortcut = action.shortcuts[0] if action.shortcuts else ""
    plain = Entry(action.title, action.category, action.id, {}, action.icon, shortcut, reason)
    entries: list[tuple[str, Entry]] = []
    if not required:
        entries.append((action.title, plain))
    elif len(required) == 1 and required[0].choices is not None:
        param = required[0]
        for value in param.choices() if param.choices else ():
            title = f"{action.title.removesuffix('…')} {value}"
            entries.append(
                (title, Entry(title, action.category, action.id, {param.name: value}, action.icon, "", reason))
            )
    elif len(required) == 1:
        # The argument is typed after the action's name: choosing the line puts the name into the search box.
        name, _, value = text.partition(" ")
        if name.lower() == action.id and value.strip():
            title = f"{action.title.removesuffix('…')} {value.strip()}"
            return [(100.0, replace(plain, title=title, args={required[0].name: value.strip()}))]
        detail = f"{action.category} · then type the {required[0].name}"
        entries.append((action.title, replace(plain, detail=detail, fills=f"{action.id} ")))
    scored: list[tuple[float, Entry]] = []
    for title, entry in entries:
        if not text:
            scored.append((0.0, entry))
        elif (hit := fuzzy_match(text, title)) is not None:
            scored.append((hit[0] + 2, replace(entry, matched=hit[1])))
        elif (hit := fuzzy_match(text, f"{action.category} {title} {action.id} {action.keywords}")) is not None:
            scored.append((hit[0] - 4, entry))
    return scored
