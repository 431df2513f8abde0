"""Session file: bookmarks, highlights, machines by name, camera and look, as JSON that anybody may have written.

Nothing in it is ever carried out: a machine is named, not started; a question is text, asked when the user goes there.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from app.chosen import printable
from app.highlights import MAX_QUERY, MOST_HIGHLIGHTS, BadHighlight, Highlight, Highlights, from_document
from app.settings import BadSettings, Settings, read_bounded, settings_from_json, write_atomically
from app.views_file import LOOK_KEYS

VERSION = 1
MARK = "glassbox-session"
SCHEME = "glassbox://bookmark/"
MAX_NAME, MAX_PATH = 80, 4096
MOST_BOOKMARKS, MOST_MACHINES = 500, 64
MAX_TEXT = 16_000
"""Characters of a bookmark as text: as many as an action takes."""
MAX_UNPACKED = 1 << 18
FARTHEST = float(1 << 20)
T = TypeVar("T")


class BadSession(ValueError):
    """A session, or a bookmark, holds what cannot be meant; the message says what."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the camera stands."""

    target: tuple[float, float, float]
    azimuth_degrees: float
    elevation_degrees: float
    distance: float


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A question with how its answer was looked at."""

    name: str
    machine: str
    query: str
    """May be empty: a place is kept, nothing is asked."""
    camera: Stand
    look: Settings = field(default_factory=Settings)
    """Default settings that tell of the look."""
    highlights: Highlights = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A machine that a session is about."""

    name: str
    guest: str = ""
    """A guest of the catalogue, or what it was called."""
    dump: str = ""
    """The file that it is a dump of."""


@dataclass(frozen=True, slots=True)
class SessionFile:
    """All of it."""

    machines: tuple[Named, ...] = ()
    current: str = ""
    bookmarks: tuple[Bookmark, ...] = ()
    highlights: Highlights = ()
    camera: Stand | None = None
    look: Settings = field(default_factory=Settings)


# Writing


def document_of(session: SessionFile) -> dict[str, Any]:
    """It as JSON values."""
    return {
        "kind": MARK,
        "version": VERSION,
        "machines": [asdict(one) for one in session.machines],
        "current": session.current,
        "bookmarks": [bookmark_document(one) for one in session.bookmarks],
        "highlights": [one.document() for one in session.highlights],
        "camera": None if session.camera is None else asdict(session.camera),
        "look": look_document(session.look),
    }


def bookmark_document(bookmark: Bookmark) -> dict[str, Any]:
    """A bookmark as JSON values."""
    return {
        "name": bookmark.name,
        "machine": bookmark.machine,
        "query": bookmark.query,
        "camera": asdict(bookmark.camera),
        "look": look_document(bookmark.look),
        "highlights": [one.document() for one in bookmark.highlights],
    }


def look_document(look: Settings) -> dict[str, Any]:
    """What of settings makes up a look, as JSON values."""
    told = asdict(look)
    return {key: told[key] for key in LOOK_KEYS}


def save_session(path: Path, session: SessionFile) -> None:
    """Write a session, whole or not at all. Raises OSError."""
    write_atomically(path, json.dumps(document_of(session), indent=1) + "\n")


def text_of(bookmark: Bookmark) -> str:
    """A bookmark in one line, to be sent and pasted. Raises BadSession where it is too long for that."""
    packed = zlib.compress(json.dumps(bookmark_document(bookmark), separators=(",", ":")).encode(), 9)
    text = SCHEME + base64.urlsafe_b64encode(packed).decode().rstrip("=")
    if len(text) > MAX_TEXT:
        raise BadSession(f"The bookmark “{bookmark.name}” is too long to be sent as text: save the session instead.")
    return text


# Reading


def load_session(path: Path) -> SessionFile:
    """Read a session. Raises BadSession, OSError."""
    try:
        document = json.loads(read_bounded(path))
    except BadSettings as error:
        raise BadSession(f"{path.name} is no session: {error}.") from None
    except (ValueError, RecursionError):
        raise BadSession(f"{path.name} is no session: it is not JSON.") from None
    try:
        return session_from(document)
    except BadSession as error:
        raise BadSession(f"{path.name} cannot be opened. {error}") from None


def session_from(document: object) -> SessionFile:
    """The session that a document tells of. Raises BadSession."""
    members = ("kind", "version", "machines", "current", "bookmarks", "highlights", "camera", "look")
    told = _object(document, "A session", members)
    if told["kind"] != MARK:
        raise BadSession(f"A session's kind is {MARK}.")
    if told["version"] != VERSION or isinstance(told["version"], bool):
        raise BadSession(f"It is of version {_short(told['version'])}; this Glassbox reads version {VERSION}.")
    machines = _list(told["machines"], "machines", MOST_MACHINES, _machine)
    if len({one.name for one in machines}) != len(machines):
        raise BadSession("Two machines have one name.")
    return SessionFile(
        machines,
        _name(told["current"], "The current machine", may_lack=True),
        _bookmarks(told["bookmarks"]),
        _list(told["highlights"], "highlights", MOST_HIGHLIGHTS, _highlight),
        None if told["camera"] is None else _stand(told["camera"]),
        _look(told["look"]),
    )


def bookmark_from(document: object) -> Bookmark:
    """The bookmark that a document tells of. Raises BadSession."""
    told = _object(document, "A bookmark", ("name", "machine", "query", "camera", "look", "highlights"))
    return Bookmark(
        _name(told["name"], "A bookmark's name"),
        _name(told["machine"], "A bookmark's machine"),
        _text(told["query"], "A bookmark's query", MAX_QUERY),
        _stand(told["camera"]),
        _look(told["look"]),
        _list(told["highlights"], "highlights", MOST_HIGHLIGHTS, _highlight),
    )


def bookmark_in(text: str) -> Bookmark:
    """The bookmark that a line is, or the JSON of one. Raises BadSession."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise BadSession(f"A bookmark as text has at most {MAX_TEXT:,} characters.")
    if text.startswith(SCHEME):
        packed = text.removeprefix(SCHEME)
        try:
            data = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(data, MAX_UNPACKED).decode()
            if not unpacking.eof or unpacking.unused_data:
                raise BadSession("The bookmark is cut off, or holds more than a bookmark.")
        except (binascii.Error, zlib.error, UnicodeDecodeError, ValueError) as error:
            raise (
                error if isinstance(error, BadSession) else BadSession("The text of the bookmark is damaged.")
            ) from None
    elif not text.startswith("{"):
        raise BadSession(f"A bookmark begins with {SCHEME}, or is a JSON object.")
    try:
        return bookmark_from(json.loads(text))
    except (json.JSONDecodeError, RecursionError):
        raise BadSession("The text of the bookmark is damaged.") from None


def bookmarks_from(document: object) -> tuple[Bookmark, ...]:
    """The bookmarks of a file that holds nothing else. Raises BadSession."""
    return _bookmarks(_object(document, "The file", ("version", "bookmarks"))["bookmarks"])


def _bookmarks(value: object) -> tuple[Bookmark, ...]:
    found = _list(value, "bookmarks", MOST_BOOKMARKS, bookmark_from)
    if len({one.name for one in found}) != len(found):
        raise BadSession("Two bookmarks have one name.")
    return found


def _object(value: object, what: str, members: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadSession(f"{what} is an object.")
    lacking = [member for member in members if member not in value]
    more = [str(member) for member in value if member not in members]
    if lacking or more:
        said = f"lacks {', '.join(lacking)}" if lacking else f"has {_short(more[0])}, which is not known"
        raise BadSession(f"{what} {said}.")
    return value


def _list(value: object, what: str, most: int, one: Callable[[object], T]) -> tuple[T, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise BadSession(f"The {what} are a list of at most {most}.")
    return tuple(one(part) for part in value)


def _text(value: object, what: str, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise BadSession(f"{what} is text of at most {most:,} characters.")
    return value


def _name(value: object, what: str, *, may_lack: bool = False) -> str:
    text = _text(value, what, MAX_NAME)
    if text != printable(text) or (not text and not may_lack):
        raise BadSession(f"{what} is printable, and not empty.")
    return text


def _machine(value: object) -> Named:
    told = _object(value, "A machine", tuple(one.name for one in fields(Named)))
    dump = _text(told["dump"], "A dump's path", MAX_PATH)
    if dump != "".join(c for c in dump if c.isprintable()):
        raise BadSession("A dump's path is printable.")
    return Named(_name(told["name"], "A machine's name"), _name(told["guest"], "A guest", may_lack=True), dump)


def _highlight(value: object) -> Highlight:
    try:
        return from_document(value)
    except BadHighlight as error:
        raise BadSession(str(error)) from None


def _look(value: object) -> Settings:
    told = _object(value, "A look", LOOK_KEYS)
    try:
        return settings_from_json(dict(told))
    except (BadSettings, TypeError, ValueError, OverflowError) as error:
        raise BadSession(f"A look cannot be so: {error}.") from None


def _stand(value: object) -> Stand:
    told = _object(value, "A camera", tuple(one.name for one in fields(Stand)))
    target = told["target"]
    if not isinstance(target, list | tuple) or len(target) != 3:
        raise BadSession("A camera's target is three numbers.")
    x, y, z = (_number(part, -FARTHEST, FARTHEST) for part in target)
    return Stand(
        (x, y, z),
        _number(told["azimuth_degrees"], -FARTHEST, FARTHEST),
        _number(told["elevation_degrees"], -90.0, 90.0),
        _number(told["distance"], 1.0, FARTHEST),
    )


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or math.isnan(value):
        raise BadSession(f"A camera's numbers lie between {low:g} and {high:g}, unlike {_short(value)}.")
    return float(value)


def _short(value: object) -> str:
    return printable(repr(value)[:40])
