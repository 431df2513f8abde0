"""Question entries: what the search box offers of a text that may be a question. Pure logic; a panel draws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from imgui_bundle import icons_fontawesome_6 as icons

from app.chosen import printable
from app.command_palette import MAX_ENTRIES, Entry
from app.readings import Reading
from bridge.semantic.query.model import Kind, Understood, Verb

MOST_COMPLETIONS, MOST_NEAREST, MOST_RECENT = 5, 3, 6
FIRST_ACTIONS = 3
"""Of those whose names begin with what was typed: they stand before a question."""
MODEL_AT = 3
"""How far down the language model is offered at most."""
LEAST = 3
"""Characters of what is taken for a question that is not understood."""
STARTERS = ("every process", "kernel stacks", "what was written in the last 5 s")
_BYTES = re.compile(r"[0-9a-fA-F?]{2}([ ,]+[0-9a-fA-F?]{2})+")


def question_entries(text: str, reading: Reading | None) -> list[Entry]:
    """The question that `text` is, then how it may go on, then what is nearest to what is none. `reading` may be of an
    earlier text: what still fits is kept, so that nothing flickers.
    """
    typed = text.strip()
    if reading is None or not typed:
        return []
    found: list[Entry] = []
    if isinstance(reading.meant, Understood) and reading.text.strip() == typed:
        found.append(_ask(text, reading.meant))
    going_on = [
        one
        for one in reading.completions
        if one.text.casefold().startswith(typed.casefold()) or reading.text == text
        if one.text.strip().casefold() != typed.casefold()
    ]
    for one in going_on[:MOST_COMPLETIONS]:
        detail = one.note or one.kind
        found.append(
            Entry(
                printable(one.text), detail, "query.ask", icon=icons.ICON_FA_ARROW_RIGHT, fills=one.text, completes=True
            )
        )
    if not isinstance(reading.meant, Understood) and len(typed) >= LEAST:
        offered = {entry.fills for entry in found}
        nearest = [one.removeprefix(f"{Verb.SHOW} ") for one in reading.meant.nearest[:MOST_NEAREST]]
        found += [
            Entry(printable(one), "nearest", "query.ask", icon=icons.ICON_FA_LIGHTBULB, fills=one)
            for one in nearest
            if one not in offered
        ]
    return found


def _ask(text: str, meant: Understood) -> Entry:
    said = str(meant.query).removeprefix(f"{Verb.SHOW} ")
    note = " ".join(meant.assumed)
    return Entry(
        f"Ask: {printable(said)}", note or "a question", "query.ask", {"text": text}, icons.ICON_FA_CIRCLE_QUESTION
    )


def recent_entries(asked: Iterable[str]) -> list[Entry]:
    """Questions that were asked before, the newest first, each once; with none, a few to begin with."""
    texts = list(dict.fromkeys(asked))[:MOST_RECENT]
    if not texts:
        return [
            Entry(f"Ask: {one}", "for example", "query.ask", {"text": one}, icons.ICON_FA_CIRCLE_QUESTION)
            for one in STARTERS
        ]
    return [
        Entry(printable(one), "asked before", "query.ask", {"text": one}, icons.ICON_FA_CLOCK_ROTATE_LEFT)
        for one in texts
    ]


def in_order(text: str, questions: Sequence[Entry], others: Sequence[Entry], reading: Reading | None) -> list[Entry]:
    """Both kinds together, the likeliest first.

    Addresses come first, but for bytes in groups. An action whose name begins as the text does comes before a question
    of one word, and behind one of several.
    """
    typed = text.strip().casefold()
    if not typed:
        return [*questions, *others][:MAX_ENTRIES]
    going = [entry for entry in others if _goes(entry)]
    meant = [entry for entry in others if _named(entry, typed)][:FIRST_ACTIONS]
    rest = [entry for entry in others if entry not in going and entry not in meant]
    asks = [entry for entry in questions if not entry.fills]
    further = [entry for entry in questions if entry.fills and entry.completes]
    nearest = [entry for entry in questions if entry.fills and not entry.completes]
    if _BYTES.fullmatch(text.strip()) and _kind(reading) is Kind.BYTES:
        head = [*asks, *going, *meant]
    elif comes_first(text, others):
        head = [*going, *meant, *asks]
    else:
        head = [*asks, *meant]  # several words are rather a question than the beginning of a name
    return [*head, *further, *rest, *nearest][:MAX_ENTRIES]


def with_model(found: Sequence[Entry], text: str, model: str) -> list[Entry]:
    """The entries, and one that asks the language model: behind what is known to be meant, before what is a guess."""
    typed = text.strip()
    at = next((i for i, entry in enumerate(found) if entry.fills and not entry.completes), len(found))
    at = min(at, MODEL_AT)
    title = f"Ask the model: {printable(typed)}"
    asks = Entry(title, printable(model), "query.consult", {"question": typed}, icons.ICON_FA_COMMENT_DOTS)
    return [*found[:at], asks, *found[at:]]


def paste_entry(text: str) -> Entry:
    """What a bookmark that was pasted into the search box offers."""
    icon = icons.ICON_FA_BOOKMARK
    return Entry("Take in this bookmark", "nothing of it is asked yet", "bookmark.paste", {"text": text}, icon)


def comes_first(text: str, others: Sequence[Entry]) -> bool:
    """Whether an address or an action is what is meant, whatever question the text may be."""
    typed = text.strip().casefold()
    if _BYTES.fullmatch(text.strip()):
        return False
    named = [entry.title.casefold() for entry in others if _named(entry, typed)]
    return any(_goes(entry) for entry in others) or typed in named or (bool(named) and " " not in typed)


def _named(entry: Entry, typed: str) -> bool:
    return entry.title.casefold().startswith(typed) and entry.disabled is None


def _goes(entry: Entry) -> bool:
    return entry.action == "view.go_to" and "address" in entry.args


def _kind(reading: Reading | None) -> Kind | None:
    return reading.meant.query.subject.kind if reading is not None and isinstance(reading.meant, Understood) else None


def problem_of(text: str, reading: Reading | None) -> str:
    """Why a text is no question, in a sentence; empty where it is one, or that is not known yet."""
    if reading is None or reading.text != text or isinstance(reading.meant, Understood) or len(text.strip()) < LEAST:
        return ""
    return reading.meant.problem


def ghost_of(text: str, entries: Sequence[Entry]) -> str:
    """What Tab would add to a text, where it only adds."""
    first = next((entry.fills for entry in entries if entry.completes), "")
    return printable(first[len(text) :]) if text and first.startswith(text) else ""
