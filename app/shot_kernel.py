"""What a picture takes from the guest's kernel: the channels of page classes and processes, and pages to light up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.chosen import KINDS, MAX_TITLE, BadKey, Key, Pages, parse_key, seen_pages, title_of
from app.failures import CommandFailed
from bridge.kernel.desk import Question
from bridge.kernel.worker import Assignment, Watch

if TYPE_CHECKING:
    from bridge.kernel.desk import Desk
    from bridge.kernel.worker import Sighting
    from bridge.memory.ram import GuestRam

HIGHLIGHT_FORM = "; ".join(f"{kind}={form}" for kind, form in KINDS.items())


@dataclass(frozen=True, slots=True)
class Highlighted:
    """What is to be lit up, as `choose.pages_of` takes it."""

    kind: str
    key: Key


def parse_highlight(text: str) -> Highlighted:
    """What KIND=KEY means. Raises BadKey."""
    kind, equals, key = text.partition("=")
    if not equals:
        raise BadKey(f"{text[:60]!r} is not KIND=KEY, where KIND is one of {', '.join(KINDS)}")
    return Highlighted(kind.strip(), parse_key(kind.strip(), key))


@dataclass(frozen=True, slots=True)
class KernelLook:
    """What one look at a kernel gave for a picture."""

    sighting: Sighting
    title: str = ""
    pages: Pages | None = None
    """(n,) to be lit up."""


def look_at_kernel(
    ram: GuestRam, highlighted: Highlighted | None, asked: str | None = None, label: str = ""
) -> KernelLook:
    """Look once, and answer what is asked of the machine of that name, if anything is.

    Raises CommandFailed where no kernel is found, or what is to be lit up has no pages; UsageError for a question that
    is not understood.
    """
    watch = Watch(Assignment(ram.path, ram.physical_map, 0.0, 1.0))
    try:
        sighting = watch.look()
        if sighting.problem:
            raise CommandFailed(sighting.problem)
        if asked is not None and watch.desk is not None:
            return _answered(watch.desk, watch.ram, sighting, asked, label)
        if highlighted is None:
            return KernelLook(sighting)
        kind, key = highlighted.kind, highlighted.key
        pages = seen_pages(sighting, kind, key)
        if pages is None:
            answer = watch.answer(Question(0, "pages_of", (kind, key)))
            if answer.problem:
                raise CommandFailed(answer.problem)
            pages = np.asarray(answer.value)
        title = title_of(kind, key, sighting)
        if not len(pages):
            raise CommandFailed(f"{title} has no pages in memory.")
        return KernelLook(sighting, title, pages)
    finally:
        watch.ram.close()


def _answered(desk: Desk, ram: GuestRam, sighting: Sighting, asked: str, label: str) -> KernelLook:
    from app.commands.find import answered  # it loads what answers questions

    result, _ = answered(desk, ram, asked, label, still=False)
    title = str(result.query).removeprefix("show ")
    if not len(result.pages):
        raise CommandFailed(" ".join([f"{title} has no pages in memory.", *result.notes]))
    return KernelLook(sighting, title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…", result.pages)
