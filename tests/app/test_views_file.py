"""Which views are open, what is linked and where volumes stand: kept between runs, and broken files cost no more."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.look_settings import settings_with_look
from app.panes import pane_names
from app.settings import Settings
from app.views_file import FARTHEST, FILE, MAX_PLACES, Views, load_views, save_views, views_from_json
from render.content import Kind
from render.look import Look
from render.transfer import Transfer

KNOWN = pane_names()
places = st.dictionaries(
    st.text(min_size=1, max_size=30),
    st.tuples(*[st.integers(-FARTHEST, FARTHEST).map(float)] * 3),
    max_size=5,
)


@given(st.integers(1, len(KNOWN)), st.booleans(), places, st.data())
def test_what_is_saved_is_loaded(count: int, linked: bool, where: dict[str, Any], data: st.DataObject) -> None:
    names = KNOWN[:count]
    views = Views(names, frozenset(names[:2] if linked and count > 1 else ()), data.draw(st.sampled_from(names)), where)
    document = {
        "views": list(views.names),
        "linked": sorted(views.linked),
        "active": views.active,
        "places": {name: list(place) for name, place in where.items()},
    }
    assert views_from_json(json.loads(json.dumps(document)), KNOWN) == views


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load_views(tmp_path, KNOWN) == Views()
    look = Look(
        mode="mip",
        channel="entropy",
        palette="viridis",
        transfer=Transfer(((0.0, 0.0), (0.5, 0.25), (1.0, 1.0))),
        hidden_kinds=frozenset({Kind.ZERO}),
    )
    looks = {KNOWN[1]: settings_with_look(Settings(), look)}
    views = Views(KNOWN[:3], frozenset(KNOWN[1:3]), KNOWN[2], {"demo": (32.0, -64.0, 0.0)}, looks)
    save_views(tmp_path, views)
    assert load_views(tmp_path, KNOWN) == views


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"views": []},
        {"views": "Volume"},
        {"views": ["Volume 2"]},
        {"views": ["Volume", "Volume"]},
        {"views": ["Volume", "Console"]},
        {"views": ["Volume", 2]},
        {"views": ["Volume", ["Volume 2"]]},
        {"linked": ["Volume"]},
        {"linked": ["Volume", "Volume"]},
        {"linked": ["Volume 2", "Volume"]},
        {"active": "Volume 2"},
        {"active": None},
        {"places": []},
        {"places": {"a": [1, 2]}},
        {"places": {"a": [1, 2, True]}},
        {"places": {"a": [1, 2, "3"]}},
        {"places": {"a": [1, 2, 1e300]}},
        {"places": {"a": [1, 2, float("nan")]}},
        {"places": {"": [1, 2, 3]}},
        {"places": {"a" * 500: [1, 2, 3]}},
        {"looks": []},
        {"looks": {"Volume 2": {}}},
        {"looks": {"Volume": []}},
        {"looks": {"Volume": {"mode": "pretty"}}},
        {"looks": {"Volume": {"opacity": [1]}}},
        {"places": {str(i): [0, 0, 0] for i in range(MAX_PLACES + 1)}},
    ],
)
def test_what_cannot_be_meant_is_refused_and_costs_only_the_arrangement(document: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - BadViews, or BadSettings for a look
        views_from_json(document, KNOWN)
    (tmp_path / FILE).write_text(json.dumps(document))
    assert load_views(tmp_path, KNOWN) == Views()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20), b"1e999"])
def test_a_broken_file_is_left_and_the_window_opens(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert load_views(tmp_path, KNOWN) == Views()
    assert (tmp_path / FILE).read_bytes() == content
