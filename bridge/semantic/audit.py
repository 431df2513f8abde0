"""Audit log: who asked what of which machine, and what came of it; append-only, each record chained to the one before.

One JSON object a line, ASCII only, so that a terminal can show it. `hash` is the SHA-256 of the rest of the record in
canonical form, and `previous` is the hash of the record before: whoever changes, removes, adds or reorders records has
to make every later one anew. `audit.head` beside it says where the chain ends, so that cutting its end off shows too.
This makes tampering evident to whoever kept a hash; it cannot keep out somebody who may write all of the files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge.machine.directories import state_dir

LOG_NAME = "audit.jsonl"
START = "0" * 64
"""What the first record of all has before it."""
MAX_TEXT, MAX_ITEMS, MAX_DEPTH = 2000, 40, 4
MAX_LINE_BYTES = 256 << 10
SEGMENT_BYTES = 64 << 20
"""A log that has grown to this is put aside under a number, and a new one goes on with the chain."""
TORN = "audit.torn"
"""What a record is about that stands after a line which was cut off, as by a full disk: it names what is left of it."""
CUT = "audit.cut"
"""What a record is about that is written where records before it are gone: no later record makes good for them."""
_MOST_JUNK = 100
_UNENDED = b"\0"  # no record begins so
_SEGMENT = re.compile(r"audit-(\d{6})\.jsonl")

Json = None | bool | int | float | str | list[Any] | dict[str, Any]


class AuditFailed(Exception):
    """The log cannot be written or read; the message says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log."""

    number: int
    time: str
    """ISO 8601, UTC."""
    who: str
    what: str
    detail: Mapping[str, Json]
    result: str
    previous: str
    hash: str

    def document(self) -> dict[str, Json]:
        """It as it stands in the log."""
        return {
            "number": self.number,
            "time": self.time,
            "who": self.who,
            "what": self.what,
            "detail": dict(self.detail),
            "result": self.result,
            "previous": self.previous,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the whole chain found."""

    good: bool
    n_records: int
    first: int
    """Number of the first record that is there; above 1 where earlier segments were taken away."""
    problem: str = ""
    """What is wrong and where, in a sentence; empty where the chain holds."""
    head: str = START
    """Hash of the last good record: keep it elsewhere, and nobody can rewrite what is before it unseen."""


class AuditLog:
    """Appends records. Safe to use from several threads and processes at once."""

    def __init__(self, path: Path | None = None, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.path = path or state_dir() / LOG_NAME
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()

    def record(self, who: str, what: str, detail: Mapping[str, Any] | None = None, result: str = "done") -> Record:
        """Append a record and return it.

        `detail` is cut to what JSON and the bounds of this log allow, and says so where it was. Raises AuditFailed.
        """
        with self._lock, self._held():
            try:
                return self._append(_text(who), _text(what), _bounded_object(detail or {}), _text(result))
            except OSError as error:
                raise AuditFailed(f"The audit log {self.path} cannot be written: {error.strerror or error}.") from error

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """No other process appends during the body. The lock has a file of its own, as logs are renamed."""
        try:
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditFailed(f"The audit log {self.path} cannot be opened: {error.strerror or error}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _append(self, who: str, what: str, detail: dict[str, Json], result: str) -> Record:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.open(self.path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(log).st_mode):
                raise AuditFailed(f"The audit log {self.path} is not a file.")
            number, before, rest = self._end(log)
            after = b""
            told, digest = read_head(self.path)
            missing = told - number
            if rest == _UNENDED:
                after = b"\n"
            elif rest:
                # What a full disk or a kill cut off stays, and is accounted for.
                cut = rest.removesuffix(b"\n")
                note: dict[str, Json] = {"bytes": len(cut), "sha256": hashlib.sha256(cut).hexdigest()}
                mended = _made(number + 1, "audit", TORN, note, "noted", before)
                self._write(log, mended, after=b"" if rest.endswith(b"\n") else b"\n")
                number, before = mended.number, mended.hash
            if missing > 0:
                gone = _made(number + 1, "audit", CUT, {"records": missing, "head": digest}, "noted", before)
                self._write(log, gone, after=after)
                number, before, after = gone.number, gone.hash, b""
            made = _made(number + 1, who, what, detail, result, before)
            self._write(log, made, after=after)
            if os.fstat(log).st_size >= self._segment_bytes:
                self.path.rename(self.path.with_name(f"audit-{_next_segment(self.path.parent):06d}.jsonl"))
            return made
        finally:
            os.close(log)

    def _write(self, log: int, made: Record, after: bytes = b"") -> None:
        line = after + _line(made)
        if os.write(log, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        head = self.path.with_suffix(".head")
        fresh = head.with_suffix(f".head-{os.getpid()}")
        fresh.write_text(f"{made.number} {made.hash}\n", "ascii")
        fresh.chmod(0o600)
        fresh.replace(head)

    def _end(self, log: int) -> tuple[int, str, bytes]:
        """Number and hash of the last record, and the bytes that stand after it and are none: see _last_record."""
        size = os.fstat(log).st_size
        tail = os.pread(log, MAX_LINE_BYTES, max(0, size - MAX_LINE_BYTES))
        found, rest = _last_record(tail)
        if found is None and (earlier := _segments(self.path.parent)) and self.path.name == LOG_NAME:
            with earlier[-1].open("rb") as file:
                file.seek(max(0, earlier[-1].stat().st_size - MAX_LINE_BYTES))
                found, _ = _last_record(file.read(MAX_LINE_BYTES))
        # Where nothing can be read the head says where the chain was, and `verify` what is wrong.
        number, digest = read_head(self.path) if found is None else (found.number, found.hash)
        return number, digest, rest


def records(path: Path | None = None, last: int = 1000) -> list[Record]:
    """The last records of the log, the newest last; lines that are none are passed over. Raises AuditFailed."""
    found: list[Record] = []
    for _, line in _lines(path or state_dir() / LOG_NAME):
        if (one := _parsed(line)) is not None:
            found.append(one)
            if len(found) >= 2 * last:
                del found[:-last]
    return found[-last:]


def verify(path: Path | None = None) -> Verdict:
    """Check the whole chain, earlier segments included. Raises AuditFailed where there is no log to read."""
    path = path or state_dir() / LOG_NAME
    number, digest = read_head(path)
    first, count, before, reached = 0, 0, START, number == 0
    junk: list[bytes] = []

    def bad(problem: str) -> Verdict:
        return Verdict(good=False, n_records=count, first=first, problem=problem, head=before)

    for place, line in _lines(path):
        found = _parsed(line)
        if found is None:
            junk.append(line)
            if len(junk) > _MOST_JUNK:
                return bad(f"{place}: is no record, nor are the {_MOST_JUNK} lines before it.")
            continue
        if found.hash != _hash(found):
            return bad(f"{place}: record {found.number} was changed: its hash is not that of what it says.")
        if not count:
            first = found.number
            if found.number < 1 or (found.number == 1 and found.previous != START):
                return bad(f"{place}: the chain does not begin with this record.")
        elif found.number != first + count or found.previous != before:
            return bad(f"{place}: record {found.number} does not follow on record {first + count - 1}.")
        if (found.who, found.what) == ("audit", CUT):
            return bad(f"{place}: {found.detail.get('records')} records that were written before it are gone.")
        if junk:
            cut = hashlib.sha256(b"\n".join(junk)).hexdigest()
            if found.what != TORN or found.detail.get("sha256") != cut:
                return bad(f"{place}: the line before it is no record, and this one does not account for it.")
            junk = []
        count, before = count + 1, found.hash
        reached |= (found.number, found.hash) == (number, digest)
    if junk:
        return bad(f"{path.name}: its last line is no record. It was cut off, or written by somebody else.")
    if not reached:
        there = f"The chain ends with record {first + count - 1}" if count else "No record is there"
        return bad(f"{there}, but record {number} was written.")
    if not number and count > 1:
        return bad(f"{path.with_suffix('.head').name}, which says where the chain ends, is gone.")
    return Verdict(good=True, n_records=count, first=first, head=before)


def read_head(path: Path) -> tuple[int, str]:
    """Number and hash of the record that was written last, by the file beside the log; 0 and START where it is gone."""
    try:
        with path.with_suffix(".head").open("rb") as file:
            number, digest = file.read(200).decode("ascii").split()
        if len(digest) == 64 and number.isdecimal():
            return int(number), digest
    except (OSError, ValueError):
        pass
    return 0, START


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("audit-*.jsonl") if _SEGMENT.fullmatch(path.name))


def _next_segment(folder: Path) -> int:
    earlier = _segments(folder)
    return int(earlier[-1].name[6:12]) + 1 if earlier else 1


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a log and the segments before it, each with its place; at most MAX_LINE_BYTES of each."""
    files = [*(_segments(path.parent) if path.name == LOG_NAME else []), *([path] if path.exists() else [])]
    if not files:
        raise AuditFailed(f"There is no audit log at {path}.")
    for file in files:
        try:
            with file.open("rb") as lines:
                number = 0
                while line := lines.readline(MAX_LINE_BYTES):
                    number += 1
                    yield f"{file.name}, line {number}", line.rstrip(b"\n")
        except OSError as error:
            raise AuditFailed(f"The audit log {file} cannot be read: {error.strerror or error}.") from error


def _made(number: int, who: str, what: str, detail: dict[str, Json], result: str, previous: str) -> Record:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    made = Record(number, now, who, what, detail, result, previous, "")
    return Record(number, now, who, what, detail, result, previous, _hash(made))


def _hash(record: Record) -> str:
    document = record.document()
    del document["hash"]
    return hashlib.sha256(_canonical(document)).hexdigest()


def _line(record: Record) -> bytes:
    return _canonical(record.document()) + b"\n"


def _canonical(document: Mapping[str, Json]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode(
        "ascii"
    )


def _parsed(line: bytes) -> Record | None:
    try:
        document = json.loads(line)
        record = Record(**document)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (record.time, record.who, record.what, record.result, record.previous, record.hash)
    if type(record.number) is not int or not isinstance(record.detail, dict):
        return None
    if not all(isinstance(text, str) for text in texts):
        return None
    # One form only: another spelling of the same record would have the same hash.
    try:
        return record if _canonical(document) == line else None
    except (ValueError, RecursionError):
        return None


def _last_record(tail: bytes) -> tuple[Record | None, bytes]:
    """The last record in the end of a log, and what stands behind it; _UNENDED where only its line's end is missing."""
    if (found := _parsed(tail[tail.rfind(b"\n") + 1 :])) is not None:
        return found, _UNENDED
    end = len(tail)
    while (line_end := tail.rfind(b"\n", 0, end)) >= 0:
        start = tail.rfind(b"\n", 0, line_end) + 1
        if (found := _parsed(tail[start:line_end])) is not None:
            return found, tail[line_end + 1 :]
        end = line_end
    return None, tail


def _text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _bounded_object(detail: Mapping[str, Any]) -> dict[str, Json]:
    bounded = _bounded(dict(detail), MAX_DEPTH)
    assert isinstance(bounded, dict)
    if len(_canonical(bounded)) > MAX_LINE_BYTES // 2:
        return {"left out": f"{len(detail)} values that are too long together"}
    return bounded


def _bounded(value: Any, depth: int) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 64 else _text(hex(value))
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)  # JSON has no infinity
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping) and depth:
        items = list(value.items())
        kept = {_text(str(key)): _bounded(item, depth - 1) for key, item in items[:MAX_ITEMS]}
        return kept if len(items) <= MAX_ITEMS else {**kept, "…": f"{len(items) - MAX_ITEMS:,} more"}
    if isinstance(value, list | tuple) and depth:
        cut = [_bounded(item, depth - 1) for item in value[:MAX_ITEMS]]
        return cut if len(value) <= MAX_ITEMS else [*cut, f"… {len(value) - MAX_ITEMS:,} more"]
    if isinstance(value, bytes):
        return _text(value.hex())
    return f"({type(value).__name__})"  # deeper than anybody reads, or nothing that JSON knows
