"""Session files and bookmarks as text: they come back as they were, and what is hostile is refused in a sentence."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bookmarks import missing_of
from app.chosen import printable
from app.highlights import COLOURS, QUERY, Highlight
from app.session_file import (
    MAX_TEXT,
    MOST_BOOKMARKS,
    SCHEME,
    BadSession,
    Bookmark,
    Named,
    SessionFile,
    Stand,
    bookmark_document,
    bookmark_from,
    bookmark_in,
    document_of,
    load_session,
    save_session,
    session_from,
    text_of,
)
from app.settings import MAX_FILE_BYTES, Settings

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40).filter(
    lambda text: text == printable(text)
)
NUMBERS = st.floats(-1e6, 1e6)
STANDS = st.builds(Stand, st.tuples(NUMBERS, NUMBERS, NUMBERS), NUMBERS, st.floats(-90, 90), st.floats(1, 1e6))
LOOKS = st.builds(
    Settings,
    mode=st.sampled_from(["solid", "translucent"]),
    opacity=st.floats(0.01, 1),
    dim=st.floats(0, 1),
    palettes=st.dictionaries(NAMES, NAMES, max_size=3),
)
HIGHLIGHTS = st.builds(
    lambda machine, name, colour, query, visible: Highlight(machine, name, colour, QUERY, "", query, visible),
    *(NAMES, NAMES, st.sampled_from(COLOURS), st.text(min_size=1, max_size=60), st.booleans()),
)
BOOKMARKS = st.builds(
    Bookmark, NAMES, NAMES, st.text(max_size=100), STANDS, LOOKS, st.lists(HIGHLIGHTS, max_size=3).map(tuple)
)
SESSIONS = st.builds(
    SessionFile,
    st.lists(st.builds(Named, NAMES, NAMES, st.just("/tmp/a dump.raw")), max_size=3, unique_by=lambda m: m.name).map(
        tuple
    ),
    NAMES,
    st.lists(BOOKMARKS, max_size=3, unique_by=lambda b: b.name).map(tuple),
    st.lists(HIGHLIGHTS, max_size=3).map(tuple),
    st.none() | STANDS,
    LOOKS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(SESSIONS)
def test_a_session_comes_back_as_it_was(session: SessionFile) -> None:
    assert session_from(json.loads(json.dumps(document_of(session)))) == session


@given(BOOKMARKS)
def test_a_bookmark_comes_back_from_its_text(bookmark: Bookmark) -> None:
    text = text_of(bookmark)
    assert bookmark_in(f"  {text}\n") == bookmark
    assert "\n" not in text
    assert bookmark_in(json.dumps(bookmark_document(bookmark))) == bookmark


@given(SESSIONS, st.data())
def test_a_session_with_anything_in_any_place_is_read_or_refused(session: SessionFile, data: st.DataObject) -> None:
    document: Any = json.loads(json.dumps(document_of(session)))
    at = document
    while isinstance(at, dict | list) and at:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or data.draw(st.booleans()):
            at[key] = data.draw(JSON)
            break
        at = at[key]
    with contextlib.suppress(BadSession):
        found = session_from(document)
        assert session_from(json.loads(json.dumps(document_of(found)))) == found


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: SCHEME + base64.urlsafe_b64encode(b).decode()))
def test_any_text_is_a_bookmark_or_refused(text: str) -> None:
    with pytest.raises(BadSession):
        bookmark_in(text)


STAND = Stand((1.0, 2.0, 3.0), 10.0, 20.0, 300.0)
PLAIN = Bookmark("name", "demo", "kernel stacks", STAND)


def test_text_that_is_too_long_or_a_bomb_is_refused() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b"[" * (1 << 24), 9)).decode()
    for text in (SCHEME + bomb, "{" * MAX_TEXT, SCHEME + "A" * MAX_TEXT, '{"a":' * 3000):
        with pytest.raises(BadSession):
            bookmark_in(text)
    twice = zlib.compress(json.dumps(bookmark_document(PLAIN)).encode()) + b"more"
    with pytest.raises(BadSession, match="more than"):
        bookmark_in(SCHEME + base64.urlsafe_b64encode(twice).decode())
    many = tuple(
        Highlight("demo", f"{i}", COLOURS[0], QUERY, "", hashlib.sha512(b"%d" % i).hexdigest()) for i in range(200)
    )
    with pytest.raises(BadSession, match="save the session"):
        text_of(Bookmark("name", "demo", "", STAND, highlights=many))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "not empty"),
        ({"name": "a\x1b[31m"}, "printable"),
        ({"query": "x" * 10_001}, "10,000"),
        ({"extra": 1}, "not known"),
        ({"camera": None}, "object"),
        ({"camera": {**document_of(SessionFile(camera=STAND))["camera"], "distance": float("nan")}}, "between"),
        ({"camera": {**document_of(SessionFile(camera=STAND))["camera"], "target": [1, 2]}}, "three numbers"),
        ({"look": {"mode": "rm -rf"}}, "lacks"),
        ({"highlights": [{"machine": "demo"}]}, "highlight"),
        ({"highlights": {}}, "list"),
    ],
)
def test_a_bookmark_of_another_form_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSession, match=said):
        bookmark_from({**bookmark_document(PLAIN), **change})


def test_a_session_of_another_form_is_refused(tmp_path: Path) -> None:
    good = document_of(SessionFile((Named("demo", "demo"),), "demo", (PLAIN,)))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"version": 2}, "version 2"),
        ({"version": True}, "version True"),
        ({"kind": "other"}, "kind"),
        ({"bookmarks": [bookmark_document(PLAIN)] * 2}, "one name"),
        ({"bookmarks": [bookmark_document(PLAIN)] * (MOST_BOOKMARKS + 1)}, "at most"),
        ({"machines": [{"name": "a", "guest": "", "dump": ""}] * 2}, "one name"),
        ({"machines": [{"name": "a", "guest": "", "dump": "/a\n"}]}, "printable"),
    ]
    for change, said in wrong:
        with pytest.raises(BadSession, match=said):
            session_from({**good, **change})
    path = tmp_path / "s.json"
    for content in (b"\xff\xfe", b"[" * 50_000, b" " * (MAX_FILE_BYTES + 1), b"{}"):
        path.write_bytes(content)
        with pytest.raises(BadSession, match=r"s\.json"):
            load_session(path)
    save_session(path, session_from(good))
    assert load_session(path).bookmarks == (PLAIN,)


def test_a_path_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would hold the window still until somebody writes into it
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"no plain file|Is a directory"):
            load_session(path)


def test_what_is_missing_is_said_in_a_sentence() -> None:
    machines = tuple(Named(f"m{i}", "demo" if i % 2 else "", "" if i % 2 else f"/d{i}") for i in range(6))
    session = SessionFile((*machines, Named("bare")))
    assert missing_of(session, {one.name for one in session.machines}) == ""
    assert missing_of(SessionFile(machines[:2]), {"m1"}).startswith("m0 (the dump /d0) is not shown")
    assert "m3 (the guest demo) and 3 more are not shown" in missing_of(session, set())
