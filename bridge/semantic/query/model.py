"""The typed query: verb, subject, relation, time, and the one text that says exactly that; see docs/queries.md."""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from enum import StrEnum

from bridge.kernel.page_classes import PageClass
from bridge.semantic.query.texts import numbered, quote

MAX_NAME = 4096
"""Characters of a name, a path, a pattern: PATH_MAX. YARA rules may be longer."""
MAX_RULES = 1 << 16
MAX_PID = 1 << 22
"""PID_MAX_LIMIT on 64 bits (include/linux/threads.h)."""
MAX_WITHIN_S = 86_400.0
PAGE_BYTES = 4096
_HEX_BYTES = re.compile(r"[0-9a-f?]{2}(?: [0-9a-f?]{2})*")


class Verb(StrEnum):
    """What is to be done with what was found."""

    SHOW = "show"
    HIGHLIGHT = "highlight"
    HIDE = "hide"
    COUNT = "count"
    COMPARE = "compare"
    GO_TO = "go to"


class Kind(StrEnum):
    """What a subject is."""

    PROCESS = "process"
    FILE = "file"
    MODULE = "module"
    SLAB = "slab"
    SYMBOL = "symbol"
    CLASS = "class"
    ADDRESS = "address"
    BYTES = "bytes"
    TEXT = "text"
    REGEX = "regex"
    YARA = "yara"
    KERNEL = "kernel"
    EVERYTHING = "everything"


class Relation(StrEnum):
    """What of a subject is meant."""

    MEMORY = "memory"
    """All of it."""
    HEAP = "heap"
    STACK = "stack"
    CODE = "code"
    DATA = "data"
    OTHER = "other memory"
    """What is mapped, but is neither heap, stack, code nor a file's data."""
    REGIONS = "regions"
    """Each range of its memory map by itself."""
    KERNEL_STACK = "kernel stack"
    PAGE_TABLES = "page tables"
    THREADS = "threads"
    CHILDREN = "children"
    FILES = "files"
    SOCKETS = "sockets"
    OWNERS = "owners"
    """The processes that map it."""
    SHARED = "shared"
    """What two subjects both map."""


class Changing(StrEnum):
    """How a span of time is said."""

    WRITTEN = "written within"
    CHANGED = "changed since"


PATTERNS = frozenset({Kind.BYTES, Kind.TEXT, Kind.REGEX, Kind.YARA})
"""What is searched for in the bytes themselves."""
LISTED = frozenset({Kind.PROCESS, Kind.FILE, Kind.MODULE, Kind.SLAB})
"""Kinds that can be asked for all together: `every process`."""
CLASS_WORDS: dict[str, PageClass] = {page_class.name.lower().replace("_", " "): page_class for page_class in PageClass}
"""How a class of pages is written: `page table`, `free per cpu`."""

_OF: dict[Kind, frozenset[Relation]] = {
    Kind.PROCESS: frozenset(Relation),
    Kind.EVERYTHING: frozenset({Relation.MEMORY, Relation.PAGE_TABLES, Relation.OWNERS}),
    Kind.KERNEL: frozenset(
        {Relation.MEMORY, Relation.CODE, Relation.DATA, Relation.KERNEL_STACK, Relation.PAGE_TABLES}
    ),
}
_OF_OTHERS = frozenset({Relation.MEMORY, Relation.OWNERS})


class BadQuery(ValueError):
    """Parts that do not go together; the message says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about. Raises BadQuery when it is made of what makes no sense."""

    kind: Kind
    value: int | str | tuple[int, int] | None = None
    """process: pid, name, or None for every one · file: path · module, slab, symbol: name (None: every one, not of
    symbols) · class: one of CLASS_WORDS · address: (first, length in bytes) · bytes: `78 56 ?? 12` · text, regex: what
    is looked for · yara: rules, or the path of a file of them · kernel, everything: None.
    """
    ignore_case: bool = False
    """Of text and regex."""

    def __post_init__(self) -> None:
        if self.kind is Kind.REGEX and isinstance(self.value, str):
            object.__setattr__(self, "value", slashable(self.value))
        if why := self._problem():
            raise BadQuery(why)

    def _problem(self) -> str:
        kind, value = self.kind, self.value
        if self.ignore_case and kind not in (Kind.TEXT, Kind.REGEX):
            return f"Upper and lower case mean nothing to a {kind}."
        if kind in (Kind.KERNEL, Kind.EVERYTHING):
            return "" if value is None else f"There is only one {kind}."
        if value is None:
            return "" if kind in LISTED else f"A {kind} has to be named."
        if kind is Kind.ADDRESS:
            if not isinstance(value, tuple) or len(value) != 2 or not all(type(part) is int for part in value):
                return "An address is its first byte and a length."
            start, length = value
            fits = start >= 0 and length >= 1 and start + length <= 1 << 64
            return "" if fits else f"There are no {length:,} bytes at {start:#x}."
        if kind is Kind.PROCESS and type(value) is int:
            return "" if 0 <= value <= MAX_PID else f"No process has the number {value}."
        if not isinstance(value, str) or not value:
            return f"A {kind} has to be named by a text."
        if len(value) > (MAX_RULES if kind is Kind.YARA else MAX_NAME):
            return f"A {kind} of {len(value):,} characters is too long."
        if kind is Kind.BYTES and not (_HEX_BYTES.fullmatch(value) and value.strip("? ")):
            return "Bytes are written as 78 56 34 12; a ? stands for any half byte."
        if kind is Kind.REGEX and re.search(r"(?<!\\)(?:\\\\)*\\$", value):
            return "A regular expression cannot end in a single backslash."
        if kind is Kind.CLASS and value not in CLASS_WORDS:
            return f"Pages have no class {quote(value[:40])}; there are {', '.join(CLASS_WORDS)}."
        return ""

    @property
    def is_every(self) -> bool:
        """Whether all of a kind are meant."""
        return self.value is None and self.kind in LISTED

    def __str__(self) -> str:
        kind, value = self.kind, self.value
        if kind in (Kind.KERNEL, Kind.EVERYTHING):
            return str(kind)
        if value is None:
            return f"every {kind}"
        if isinstance(value, tuple):
            start, length = value
            return f"address {start:#x}" if length == 1 else f"address {start:#x}..{start + length - 1:#x}"
        if isinstance(value, int) or kind is Kind.BYTES:
            return f"{kind} {value}"
        if kind is Kind.CLASS:
            return f"class {value}"
        written = f"/{value}/" if kind is Kind.REGEX else quote(value)
        return f"{kind} {written}" + (" ignoring case" if self.ignore_case else "")


@dataclass(frozen=True, slots=True)
class Target:
    """Something of a subject. Raises BadQuery for what a subject does not have."""

    subject: Subject
    relation: Relation = Relation.MEMORY
    other: Subject | None = None
    """With whom it is shared."""

    def __post_init__(self) -> None:
        if self.relation not in _OF.get(self.subject.kind, _OF_OTHERS):
            raise BadQuery(f"There is no such thing as the {self.relation} of {self.subject}.")
        if (self.relation is Relation.SHARED) != (self.other is not None):
            raise BadQuery("What is shared is shared between two.")
        if self.other is not None and self.other.kind is not Kind.PROCESS:
            raise BadQuery(f"Memory is shared between processes, not with {self.other}.")

    def __str__(self) -> str:
        if self.relation is Relation.MEMORY:
            return str(self.subject)
        if self.other is not None:
            return f"memory shared between {self.subject} and {self.other}"
        return f"{self.relation} of {self.subject}"


@dataclass(frozen=True, slots=True)
class When:
    """Only what was written in a span of time. Raises BadQuery."""

    how: Changing
    within_s: float | None = None
    """Written within: how far back, in seconds, greater than 0, to the millisecond."""
    since: str | None = None
    """Changed since: an hour of this day or the one before, `14:05:00`, by this machine's clock."""

    def __post_init__(self) -> None:
        if self.how is Changing.WRITTEN:
            if self.since is not None or self.within_s is None:
                raise BadQuery("Written within takes a number of seconds.")
            if not (math.isfinite(self.within_s) and 0 < self.within_s <= MAX_WITHIN_S):
                raise BadQuery(f"What was written is known for a day at most, not for {self.within_s:g} s.")
            object.__setattr__(self, "within_s", max(round(self.within_s, 3), 0.001))
        elif self.within_s is not None or self.since is None or not _is_time(self.since):
            raise BadQuery("Changed since takes a time of day, such as 14:05:00.")

    def since_s(self, now_s: float) -> float:
        """The instant from which on, as time.time() counts; `now_s` is that time now."""
        if self.within_s is not None:
            return now_s - self.within_s
        assert self.since is not None
        now = datetime.datetime.fromtimestamp(now_s).astimezone()
        hour, minute, second = map(int, self.since.split(":"))
        then = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (then if then <= now else then - datetime.timedelta(days=1)).timestamp()

    def __str__(self) -> str:
        if self.within_s is None:
            return f"{self.how} {self.since}"
        return f"{self.how} {self.within_s:.3f}".rstrip("0").rstrip(".") + " s"


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `str` of it is its normalised text, which `parser.understand` reads back as an equal query."""

    target: Target
    verb: Verb = Verb.SHOW
    within: Target | None = None
    """Only there: `text "root:" in heap of process 42`, `address 0x7f00 in process 42`."""
    against: Target | None = None
    """What a target is compared with."""
    when: When | None = None
    machine: str | None = None

    def __post_init__(self) -> None:
        if (self.verb is Verb.COMPARE) != (self.against is not None):
            raise BadQuery("Compare takes two things: compare heap of process 1 with heap of process 42.")
        if self.machine is not None and not 0 < len(self.machine) <= MAX_NAME:
            raise BadQuery("A machine has to be named.")

    @property
    def subject(self) -> Subject:
        """Whom or what it is about."""
        return self.target.subject

    @property
    def relation(self) -> Relation:
        """What of the subject."""
        return self.target.relation

    def __str__(self) -> str:
        words = [str(self.verb), str(self.target)]
        if self.against is not None:
            # "Heap of A with B" are two heaps: that all of B is meant is said.
            whole = self.against.relation is Relation.MEMORY is not self.target.relation
            words += ["with", f"memory of {self.against}" if whole else str(self.against)]
        if self.within is not None:
            words += ["in", str(self.within)]
        if self.when is not None:
            words.append(str(self.when))
        if self.machine is not None:
            words += ["on", quote(self.machine)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Understood:
    """A text that means a query."""

    query: Query
    assumed: tuple[str, ...] = ()
    """What was taken for what, in sentences: `SSH daemon is taken for the process dropbear.`"""


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A text that means none."""

    problem: str
    """In a sentence."""
    nearest: tuple[str, ...] = ()
    """Texts that can be understood, the most likely first."""


def slashable(pattern: str) -> str:
    """The same regular expression, so that it can stand between slashes on one line: slashes in it are escaped, and so
    is what cannot be printed.
    """

    def safe(found: re.Match[str]) -> str:
        character = found[0][-1]
        if found[0] == "/":
            return r"\/"
        return found[0] if character.isprintable() else numbered(character)

    return re.sub(r"\\.|[^\\]", safe, pattern, flags=re.DOTALL)


def _is_time(text: str) -> bool:
    parts = re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d", text)
    return parts is not None
