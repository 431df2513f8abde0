"""Sight: one look at a machine as far as a question needs it, and what is to be said beside the answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from bridge.kernel.errors import KernelError
from bridge.kernel.owned import Glance
from bridge.kernel.page_classes import PageClass
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.semantic.query.found import Groups, grouped
from bridge.semantic.query.model import Subject
from bridge.semantic.query.naming import Namer, Processes
from bridge.semantic.query.results import I64, U32
from bridge.semantic.query.texts import shown
from bridge.semantic.query.world import Mask, World


class Sight:
    """Belongs to one question."""

    def __init__(self, world: World, written: Mask | None) -> None:
        """`written`: the pages that count, where it was asked for what was written then."""
        self.world = world
        self.written = written
        self.look: Glance = world.ask("glance")
        self.namer = Namer(self.look)
        self.notes: list[str] = []
        self.complete = True
        """Whether no search met a limit."""

    @property
    def called(self) -> Processes:
        """What processes are called."""
        return self.namer.processes

    @property
    def map(self) -> PhysicalMap:
        """Where pages lie for the guest."""
        return self.world.physical_map

    def ask(self, question: str, *arguments: Any) -> Any:
        """The answer to one of `desk.QUESTIONS`. Raises KernelError."""
        return self.world.ask(question, *arguments)

    def ask_or_note(self, question: str, *arguments: Any) -> Any:
        """The same; None, and a note that says why, where there is none: what it is about has ended since the look."""
        try:
            return self.ask(question, *arguments)
        except KernelError as error:
            self.note(shown(str(error)))
            return None

    def note(self, sentence: str) -> None:
        """Say something with the answer."""
        self.notes.append(sentence)

    def indices(self, subject: Subject) -> I64:
        """Which of the processes are meant."""
        processes = self.look.processes
        if subject.value is None:
            return np.arange(len(processes))
        if isinstance(subject.value, int):
            found = np.flatnonzero(processes.pids == subject.value)
        else:
            found = np.flatnonzero([name == subject.value for name in processes.names])
        if not len(found):
            self.note(f"There is no {shown(str(subject))} now.")
        return found

    def by_subject(self, classes: tuple[PageClass, ...]) -> Groups:
        """The pages of some classes by what they are of."""
        pages = np.flatnonzero(np.isin(self.look.classes, classes)).astype(np.uint32)
        subjects = self.look.details.subjects[pages]
        return grouped(subjects, pages, int(subjects.max(initial=-1)) + 1)

    def of_nobody(self, page_class: PageClass) -> U32:
        """(n,) the pages of a class of which it is not known what they are of."""
        return np.flatnonzero((self.look.classes == page_class) & (self.look.details.subjects < 0)).astype(np.uint32)

    def pages_at(self, paddrs: I64) -> U32:
        """(n,) the page of the RAM file of each physical address."""
        offsets = self.map.offset_from_paddr(paddrs.astype(np.uint64))
        return (np.maximum(offsets, 0) // PAGE_BYTES).astype(np.uint32)
