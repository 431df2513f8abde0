"""Subjects of a question: a process, a file, a class, an address, bytes …, named in any of the ways that people do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bridge.semantic.query.model import CLASS_WORDS, LISTED, MAX_PID, Kind, Subject
from bridge.semantic.query.names import Names
from bridge.semantic.query.reader import Reader
from bridge.semantic.query.resolving import Resolved, by_name, first_process, in_role, knows
from bridge.semantic.query.texts import quote, shown
from bridge.semantic.query.tokens import Token, Type
from bridge.semantic.query.vocabulary import Concept
from bridge.semantic.search.pattern import parse_pattern

_HEX_PAIR = re.compile(r"[0-9a-fA-F?]{2}")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{3,16}")
"""Too long for one byte that is written so."""
_HEX_RUN = re.compile(r"(?:0x|\\x)?(?:[0-9a-fA-F?]{2})+|0x[0-9a-fA-F]{1,40}|(?:\\x[0-9a-fA-F]{2})+")
_HEX_LONG = re.compile(r"(?=.*[0-9])(?:[0-9a-fA-F]{2})+")
_SIZES = {"byte": 1, "bytes": 1, "b": 1, "kib": 1 << 10, "kb": 1 << 10, "k": 1 << 10, "mib": 1 << 20, "mb": 1 << 20}
_SIZES |= {"page": 4096, "pages": 4096, "gib": 1 << 30, "gb": 1 << 30}
_PFN = frozenset({"pfn", "frame", "page"})
_NUMBERED = frozenset({"frame", "number", "no", "nr"})
_PLACES = frozenset({"in", "inside", "within"})
_MAX_NAME_WORDS = 4
_TEXTUAL = (Type.STRING, Type.WORD, Type.PATH, Type.NUMBER, Type.ADDRESS)


class NotClear(ValueError):
    """A question that is not understood; the message says why, in a sentence."""

    def __init__(self, problem: str, token: Token | None = None) -> None:
        super().__init__(problem)
        self.token = token
        """What was not understood."""


class SubjectReader:
    """Reads subjects where a reader stands. What it takes for something else than was said, it adds to `assumed`."""

    def __init__(self, reader: Reader, names: Names, assumed: list[str], searching: bool) -> None:
        self._reader = reader
        self._names = names
        self._assumed = assumed
        self._searching = searching

    def begins_pattern(self) -> bool:
        """Whether `text` here is a text that is looked for, and not a program's code: something in quotes follows, or
        a word that names nothing.
        """
        meaning = self._reader.meaning(Concept.KIND)
        if meaning is None or meaning.value is not Kind.TEXT:
            return False
        after = self._reader.following()
        if after is None:
            return False
        if after.type is Type.WORD:
            return after.word not in ("of", "in", "from", "for") and by_name(after.text, self._names) is None
        return after.type in (Type.STRING, Type.PATH)

    def begins_frame(self) -> bool:
        """Whether `page` here is one of a number: `page 4660`, `page frame 4660`, `page 0x1234000`."""
        tokens, at = self._reader.tokens, self._reader.at
        if tokens[at].word != "page":
            return False
        following = next((token for token in tokens[at + 1 :] if token.word not in _NUMBERED), None)
        return following is not None and following.type in (Type.NUMBER, Type.ADDRESS)

    def read(self, kind: Kind | None = None) -> Subject:
        """The subject here; `kind`: what a bare name can only be of. Raises NotClear, BadQuery."""
        reader = self._reader
        reader.skip()
        reader.take_any(Concept.EVERY) if reader.meaning(Concept.EVERY) else None
        if (subject := self._written_out()) is not None:
            return subject
        if (plural := reader.take(Concept.PLURAL)) is not None:
            assert isinstance(plural.value, Kind)
            return Subject(plural.value)
        if reader.meaning(Concept.CLASS) is not None and not self._is_kind_with_value():
            found = reader.take(Concept.CLASS)
            assert found is not None
            assert isinstance(found.value, str)
            return Subject(Kind.CLASS, found.value)
        if (meaning := reader.take(Concept.KIND)) is not None:
            assert isinstance(meaning.value, Kind)
            return self._of_kind(meaning.value)
        if (person := self._role()) is not None:
            return person
        return self._named(kind)

    # ----- what is written as such

    def _written_out(self) -> Subject | None:
        """Bytes, numbers, addresses, paths, texts in quotes and regular expressions."""
        reader = self._reader
        if (pattern := self._hex_pairs()) is not None:
            return pattern
        if (token := reader.value(Type.ADDRESS)) is not None:
            return self._address(token)
        if (token := reader.value(Type.NUMBER)) is not None:
            return self._number(token)
        if (token := reader.value(Type.REGEX)) is not None:
            return self._pattern(Kind.REGEX, token)
        if (token := reader.value(Type.PATH)) is not None:
            return self._path(token)
        if (token := reader.value(Type.STRING)) is not None:
            return self._quoted(token)
        return self._frame()

    def _hex_pairs(self) -> Subject | None:
        """`78 56 34 12`: two or more, and nothing else is left but a place to look in."""
        pairs = []
        for token in self._reader.tokens[self._reader.at :]:
            if not _HEX_PAIR.fullmatch(token.text) or token.type not in (Type.WORD, Type.NUMBER):
                break
            pairs.append(token.text.lower())
        if len(pairs) < 2:
            return None
        self._reader.at += len(pairs)
        return Subject(Kind.BYTES, " ".join(pairs))

    def _address(self, token: Token) -> Subject:
        length = token.span
        if length < 1:
            raise NotClear(f"The range {shown(token.text, 60)} ends before it begins.", token)
        reader = self._reader
        before = reader.at
        if length == 1 and (count := reader.value(Type.NUMBER)) is not None:
            unit = reader.token
            if unit is not None and unit.word in _SIZES:
                reader.at += 1
                length = count.number * _SIZES[unit.word]
            else:
                reader.at = before
        return Subject(Kind.ADDRESS, (token.number, length))

    def _number(self, token: Token) -> Subject:
        """`64 bytes at 0x1234`, else the number of a process."""
        reader = self._reader
        before = reader.at
        unit = reader.token
        if unit is not None and unit.word in _SIZES:
            reader.at += 1
            reader.take_any(Concept.OF)
            while reader.token is not None and reader.token.word in ("at", "from", "starting", "address"):
                reader.at += 1
            place = reader.value(Type.ADDRESS, Type.NUMBER)
            if place is not None:
                return Subject(Kind.ADDRESS, (place.number, token.number * _SIZES[unit.word]))
            reader.at = before
        if token.number > MAX_PID:
            return Subject(Kind.ADDRESS, (token.number, 1))
        self._assumed.append(f"{token.number} is taken for the number of a process.")
        return Subject(Kind.PROCESS, token.number)

    def _frame(self) -> Subject | None:
        """`pfn 42`, `page frame 42`, `page 42`: the page of that number. `page 0x1234000`: the page at that address."""
        reader = self._reader
        token = reader.token
        if token is None or token.word not in _PFN:
            return None
        before, by_number = reader.at, token.word != "page"
        reader.at += 1
        while reader.token is not None and reader.token.word in _NUMBERED:
            by_number = True
            reader.at += 1
        number = reader.value(Type.NUMBER, Type.ADDRESS)
        if number is None or number.span != 1:
            reader.at = before
            return None
        if not by_number and number.type is Type.ADDRESS:
            return Subject(Kind.ADDRESS, (number.number & ~4095, 4096))
        if not by_number:
            self._assumed.append(f"{number.number} is taken for the number of a page frame.")
        return Subject(Kind.ADDRESS, (number.number * 4096, 4096))

    def _quoted(self, token: Token) -> Subject:
        """What is in quotes is meant exactly: a name, if there is such a thing, else a text."""
        if not token.text:
            raise NotClear('Between the quotes "" stands nothing.', token)
        found = by_name(token.text, self._names)
        if found is not None and found.subject.value == token.text:
            return self._taken(found)
        self._assumed.append(f"{quote(shown(token.text, 60))} is taken for a text to look for.")
        return self._pattern(Kind.TEXT, token)

    def _path(self, token: Token) -> Subject:
        if token.text in self._names.files:
            return Subject(Kind.FILE, token.text)
        found = by_name(token.text.rstrip("/").rpartition("/")[2] or token.text, self._names, (Kind.FILE,))
        exact = found is not None and str(found.subject.value).endswith(token.text)
        return self._taken(found) if exact and found is not None else Subject(Kind.FILE, token.text)

    # ----- by kind

    def _is_kind_with_value(self) -> bool:
        """Whether a phrase that is a class, too, is a kind here: something follows that it can be of."""
        return self._reader.meaning(Concept.KIND) is not None and self._reader.following() is not None

    def _of_kind(self, kind: Kind) -> Subject:
        reader = self._reader
        if kind in (Kind.KERNEL, Kind.EVERYTHING):
            return Subject(kind)
        if kind is Kind.CLASS:
            return self._class()
        if kind is Kind.BYTES:
            return self._bytes()
        if kind in (Kind.TEXT, Kind.REGEX, Kind.YARA):
            return self._looked_for(kind)
        reader.take(Concept.OF)
        if kind is not Kind.SYMBOL:
            self._skip_to_value()
        if kind is Kind.ADDRESS:
            return self._place()
        if kind is Kind.PROCESS and (number := reader.value(Type.NUMBER)) is not None:
            return Subject(kind, number.number)
        if kind is Kind.PROCESS and (person := self._role()) is not None:
            return person
        if (text := reader.value(Type.STRING)) is not None:
            if not text.text:
                raise NotClear('Between the quotes "" stands nothing.', text)
            return Subject(kind, text.text)
        if kind is Kind.FILE and (path := reader.value(Type.PATH)) is not None:
            return self._path(path)
        token = reader.token
        if token is not None and (not reader.is_known or kind is not Kind.PROCESS):
            return self._named(kind)
        if kind in LISTED:
            return Subject(kind)
        raise NotClear(f"Which {kind}?")

    def _skip_to_value(self) -> None:
        """Pass over `with the number`, `named`, `called`."""
        reader = self._reader
        reader.skip()
        while reader.token is not None and reader.token.word in ("number", "id", "no", "nr", "cache"):
            reader.at += 1

    def _place(self) -> Subject:
        reader = self._reader
        if (token := reader.value(Type.ADDRESS)) is not None:
            return self._address(token)
        if (number := reader.value(Type.NUMBER)) is not None:
            return self._address(number)
        if reader.token is None:
            raise NotClear("Which address? Such as address 0x1234.")
        return self.read()  # the address of a symbol

    def _class(self) -> Subject:
        reader = self._reader
        if (text := reader.value(Type.STRING)) is not None:
            return Subject(Kind.CLASS, text.text.casefold().replace("_", " ").replace("-", " "))
        words = [token.word.replace("_", " ").replace("-", " ") for token in reader.tokens[reader.at : reader.at + 3]]
        for count in range(len(words), 0, -1):
            if " ".join(words[:count]) in CLASS_WORDS:
                reader.at += count
                return Subject(Kind.CLASS, " ".join(words[:count]))
        if (found := reader.take(Concept.CLASS)) is not None:
            assert isinstance(found.value, str)
            return Subject(Kind.CLASS, found.value)
        raise NotClear(f"Which class of pages? There are {', '.join(CLASS_WORDS)}.", reader.token)

    def _bytes(self) -> Subject:
        reader = self._reader
        reader.take(Concept.OF)
        if (text := reader.value(Type.STRING)) is not None:
            pieces = text.text.split()
        else:
            pieces = []
            while (token := reader.token) is not None and _HEX_RUN.fullmatch(token.text):
                pieces.append(token.text)
                reader.at += 1
        if not pieces and reader.token is not None and reader.token.type is Type.ADDRESS:
            return self._place()
        if len(pieces) == 1 and _NUMBER.fullmatch(pieces[0]):
            value = parse_pattern(pieces[0]).value
            self._assumed.append(f"{pieces[0]} is taken for a number, which memory has lowest byte first: {value}.")
            return Subject(Kind.BYTES, value)
        digits = "".join(_digits(piece) for piece in pieces).lower()
        if not digits or len(digits) % 2 or not re.fullmatch(r"[0-9a-f?]+", digits):
            raise NotClear("Which bytes? They are written as 78 56 34 12; a ? stands for any half byte.", reader.token)
        return Subject(Kind.BYTES, " ".join(digits[i : i + 2] for i in range(0, len(digits), 2)))

    def _looked_for(self, kind: Kind) -> Subject:
        reader = self._reader
        while kind is not Kind.YARA and (more := reader.meaning(Concept.KIND)) is not None:
            if more.value not in (Kind.TEXT, Kind.REGEX) or reader.following() is None:
                break
            reader.take(Concept.KIND)
        if kind is Kind.REGEX and (token := reader.value(Type.REGEX)) is not None:
            return self._pattern(kind, token)
        token = reader.value(*_TEXTUAL)
        if token is None or not token.text:
            example = {Kind.TEXT: 'text "root:"', Kind.REGEX: "regex /[a-z]+@[a-z]+/", Kind.YARA: "yara rules.yar"}
            raise NotClear(f"Which {kind}? Such as {example[kind]}.", token)
        return self._pattern(kind, token)

    def _pattern(self, kind: Kind, token: Token) -> Subject:
        ignoring = token.ignore_case
        self._reader.skip()
        if kind is not Kind.YARA and self._reader.take(Concept.IGNORING_CASE) is not None:
            ignoring = True
        return Subject(kind, token.text, ignoring)

    # ----- by name

    def _role(self) -> Subject | None:
        """Who does what is said: `SSH daemon`, `init`. None where no such words stand here."""
        reader = self._reader
        before = reader.at
        role, init = reader.meaning(Concept.ROLE), reader.meaning(Concept.INIT)
        if role is None and init is None:
            return None
        reader.take(Concept.ROLE if role is not None else Concept.INIT)
        spoken = " ".join(token.text for token in reader.tokens[before : reader.at])
        exact = by_name(spoken, self._names)
        if exact is not None and exact.subject.value == spoken and exact.subject.kind is Kind.PROCESS:
            return self._taken(exact)
        if role is None:
            return self._taken(first_process(spoken, self._names))
        assert isinstance(role.value, tuple)
        found = in_role(spoken, role.value, self._names)
        if found is not None:
            return self._taken(found)
        if not knows(Kind.PROCESS, self._names):
            return Subject(Kind.PROCESS, role.value[0])
        raise NotClear(f"No {spoken} ({', '.join(role.value)}) runs in this machine now.", reader.tokens[before])

    def _named(self, kind: Kind | None) -> Subject:
        """What a word, or a few, name, of one kind or of any."""
        reader = self._reader
        run = self._run(kind)
        if not run:
            token = reader.token
            raise NotClear(
                "Of what?" if token is None else f"{quote(shown(token.text, 40))} is not understood here.", token
            )
        if kind is None and (told := self._named_before_kind(run)) is not None:
            return told
        for count in range(len(run), 0, -1):
            words = [token.text for token in run[:count]]
            for spoken in dict.fromkeys((" ".join(words), "-".join(words), "_".join(words))):
                kinds = _KINDS if kind is None else (kind,)
                found = by_name(spoken, self._names, kinds, nearly=kind is not None or not self._searching)
                if found is not None:
                    reader.at += count
                    return self._taken(found)
        if kind is None and (pattern := self._long_bytes(run[0])) is not None:
            return pattern
        if kind is not None and not knows(kind, self._names):
            reader.at += 1
            return Subject(kind, run[0].text)
        if kind is None and self._searching:
            reader.at += len(run)
            text = " ".join(token.text for token in run)
            self._assumed.append(f"{quote(shown(text, 60))} names nothing: it is taken for a text to look for.")
            return Subject(Kind.TEXT, text)
        what = "Nothing" if kind is None else f"No {kind}"
        raise NotClear(f"{what} here is called {quote(shown(run[0].text, 60))}.", run[0])

    def _named_before_kind(self, run: list[Token]) -> Subject | None:
        """`the dentry cache`, `the ext4 module`: a name, then what it is of. None where that is not said."""
        reader = self._reader
        before, rest = reader.at, run
        reader.at += len(run)
        meaning = reader.take(Concept.KIND)
        if (
            meaning is not None
            and isinstance(meaning.value, Kind)
            and meaning.value in _KINDS
            and (reader.done or reader.token is None)
        ):
            kind: Kind = meaning.value
        elif len(run) > 1 and run[-1].word == "cache":
            kind, rest = Kind.SLAB, run[:-1]
        else:
            reader.at = before
            return None
        after = reader.at if rest is run else before + len(run)
        for words in (run, rest):
            text = [token.text for token in words]
            for spoken in dict.fromkeys((" ".join(text), "-".join(text), "_".join(text))):
                if (found := by_name(spoken, self._names, (kind,), nearly=words is rest)) is not None:
                    reader.at = after
                    return self._taken(found)
        reader.at = before
        return None

    def _long_bytes(self, token: Token) -> Subject | None:
        """`7f454c46`: pairs of digits written together, where nothing has that name."""
        if len(token.text) < 8 or not _HEX_LONG.fullmatch(token.text):
            return None
        self._reader.at += 1
        value = " ".join(token.text.lower()[i : i + 2] for i in range(0, len(token.text), 2))
        self._assumed.append(f"{token.text} is taken for bytes, in this order.")
        return Subject(Kind.BYTES, value)

    def _run(self, kind: Kind | None) -> list[Token]:
        """The words here that may be a name: those that mean nothing else, and behind a kind the first in any case."""
        tokens = self._reader.tokens
        found: list[Token] = []
        at = self._reader.at
        while at < len(tokens) and len(found) < _MAX_NAME_WORDS and tokens[at].type in (Type.WORD, Type.PATH):
            if tokens[at].word in _PLACES or ((found or kind is None) and Reader(tokens[at : at + 1]).is_known):
                break
            found.append(tokens[at])
            at += 1
        return found

    def _taken(self, found: Resolved) -> Subject:
        if found.assumed:
            self._assumed.append(found.assumed)
        return found.subject


_KINDS: Iterable[Kind] = (Kind.PROCESS, Kind.MODULE, Kind.SLAB, Kind.FILE, Kind.SYMBOL)


def _digits(piece: str) -> str:
    if piece.startswith("\\x"):
        return piece.replace("\\x", "")
    digits = piece.removeprefix("0x")
    return "0" + digits if len(digits) % 2 and piece.startswith("0x") else digits
