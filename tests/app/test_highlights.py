"""Highlights: what they are of, how they are written down and read, and the list of them in a window."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.chosen import Chosen, Pages
from app.highlight_list import csv_of
from app.highlights import (
    COLOURS,
    MAX_NAME,
    MAX_RANGES,
    MOST_HIGHLIGHTS,
    BadHighlight,
    Highlight,
    checked_colour,
    free_name,
    from_document,
    holding,
    next_colour,
    of_chosen,
    pages_of_ranges,
    parse_ranges,
    ranges_of_pages,
    ranges_text,
    replaced,
    shown_again,
)
from app.history import History
from app.kept_highlights import FILE, MAX_MACHINES, Kept, KeptHighlights, document_of, kept_from
from app.lighting import index_of_sets, lit_sets
from app.panels.highlights import CARD_UNITS, hex_of, rgba_of
from app.settings import Settings
from bridge.memory.physical_map import PhysicalMap, RamRegion
from render.palettes import linear_from_hex
from tests.app.conftest import SIZE, Person, dump_window

TWO_PARTS = PhysicalMap(
    64 * 4096, (RamRegion(0, 0, 32 * 4096, "low"), RamRegion(1 << 32, 32 * 4096, 32 * 4096, "high"))
)


def pages(*numbers: int) -> Pages:
    return np.array(numbers, np.uint32)


def highlight(name: str = "one", found: Pages | None = None, **more: Any) -> Highlight:
    return Highlight("m", name, "#102030", "slab", "dentry", pages=found, **more)


# What they are of


def test_ranges_are_read_and_written_back() -> None:
    ranges = parse_ranges(" 0x1000 + 4096,1048576+0x20")
    assert ranges == ((0x1000, 4096), (0x100000, 32))
    assert parse_ranges(ranges_text(ranges)) == ranges


@pytest.mark.parametrize(
    "text", ["", "0x1000", "0x1000+", "-1+4096", "0+0", "0x1000+0x1000,", f"{(1 << 64) - 1}+2", "1+1;2+2", "²+1"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(BadHighlight, match=r"no range|reaches beyond"):
        parse_ranges(text)
    with pytest.raises(BadHighlight, match="too many"):
        parse_ranges(",".join(["0+1"] * (MAX_RANGES + 1)))


def test_ranges_light_the_pages_that_they_touch() -> None:
    ranges = ((4095, 2), ((1 << 32) + 4096 * 31 + 1, 1 << 40), (0x8000_0000, 4096))
    np.testing.assert_array_equal(pages_of_ranges(ranges, TWO_PARTS, 64), [0, 1, 63])
    assert len(pages_of_ranges(((31 * 4096, 1 << 33),), TWO_PARTS, 64)) == 33, "over the hole between the parts"


@given(st.sets(st.integers(0, 63)))
def test_pages_as_ranges_are_the_same_pages(numbers: set[int]) -> None:
    found = ranges_of_pages(np.array(sorted(numbers), np.uint32), TWO_PARTS)
    again = pages_of_ranges(tuple((int(start), int(length)) for start, length in found), TWO_PARTS, 64)
    assert again.tolist() == sorted(numbers)
    ends = found[:-1].sum(axis=1)
    assert (found[1:, 0] > ends).all(), "what is adjacent is one range"
    assert found[:, 1].sum() == 4096 * len(numbers)


# As documents


@pytest.mark.parametrize(
    "one",
    [
        highlight(),
        Highlight("m", "Heap", "#ffffff", "region", (412, 0x7F0000, 0x7F1000), visible=False),
        Highlight("m", "What it wrote", "#abcdef", "query", query="written by sshd in 5 s"),
        Highlight("m", "Two", "#000000", "ranges", (0x1000, 4096, 0x9000, 1)),
        Highlight("m", "Class", "#000000", "class", 10),
    ],
)
def test_a_document_says_all_that_is_meant(one: Highlight) -> None:
    document = json.loads(json.dumps(one.document()))
    assert from_document(document) == one
    assert from_document(document).pages is None
    known = dataclasses.replace(one, pages=pages(1, 2))
    assert known == one
    assert known.describe() == {**document, "pages": 2, "bytes": 8192, "problem": ""}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": None}, "machine is text, not nothing"),
        ({"machine": ""}, "not empty"),
        ({"name": 7}, "name is text, not int"),
        ({"name": "x" * (MAX_NAME + 1)}, f"at most {MAX_NAME}"),
        ({"name": "a\x1b[31m"}, "printable"),
        ({"colour": "red"}, "no colour"),
        ({"colour": "#12345g"}, "no colour"),
        ({"colour": "#1234567"}, "no colour"),
        ({"kind": "slabs"}, "'slabs' is none of process.*or ranges"),
        ({"kind": "process", "key": "sshd"}, "it is PID"),
        ({"kind": "ranges", "key": "all"}, "no range"),
        ({"kind": "query", "query": ""}, "has a query"),
        ({"query": "x" * 10_001}, "10,000"),
        ({"key": ["dentry"]}, "key is text, not list"),
        ({"visible": 1}, "true or false, not int"),
    ],
)
def test_a_hostile_document_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadHighlight, match=said):
        from_document({**highlight().document(), **change})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_document_does_harm(document: object) -> None:
    with pytest.raises(BadHighlight):
        from_document(document)


# Lists of them


def test_names_and_colours_are_free_ones() -> None:
    listed = [highlight("sshd"), highlight("sshd 2"), dataclasses.replace(highlight("other"), machine="n")]
    assert free_name(listed, "m", "sshd") == "sshd 3"
    assert free_name(listed, "m", "other") == "other"
    assert free_name(listed, "m", "  ") == "Pages"
    assert free_name(listed, "m", "a\nb\x1b") == "a\ufffdb\ufffd"
    long = free_name([highlight("x" * MAX_NAME)], "m", "x" * 500)
    assert len(long) == MAX_NAME
    assert long.endswith("x 2")
    many: list[Highlight] = []
    for _ in range(2 * len(COLOURS) + 1):
        many.append(dataclasses.replace(highlight(), colour=next_colour(many)))
    assert {one.colour for one in many[: len(COLOURS)]} == set(COLOURS)
    assert many[len(COLOURS)].colour == COLOURS[0]
    assert checked_colour(" #ABCDEF ") == "#abcdef"


def test_the_colours_are_far_apart() -> None:
    """Any two, and each from white and from the dark ground that names and lines stand on."""
    values = np.array([rgba_of(colour)[:3] for colour in (*COLOURS, "#ffffff", "#0a0f1b")])
    apart = np.abs(values[:, None] - values[None]).sum(axis=2)
    assert apart[~np.eye(len(values), dtype=bool)].min() > 0.2
    assert all(hex_of(rgba_of(colour)[:3]) == colour for colour in COLOURS)


def test_a_page_is_of_the_smallest_that_holds_it() -> None:
    small, large = highlight("small", pages(4, 9)), highlight("large", pages(1, 4, 5))
    hidden = highlight("hidden", pages(4), visible=False)
    listed = [large, small, hidden, highlight("unknown"), dataclasses.replace(small, machine="n")]
    assert holding(listed, "m", 4) == [small, large]
    assert holding(listed, "m", 5) == [large]
    assert holding(listed, "m", 10) == []
    sets = lit_sets("m", Chosen("m", "slab", "x", "x", pages(9)), (small, large, hidden), (0.1, 0.2, 0.3))
    assert [found.tolist() for found, _ in sets] == [[1, 4, 5], [4, 9], [9]], "from the back to the front"
    assert sets[0][1][:3] == linear_from_hex("#102030")
    assert sets[2][1][:3] == (0.1, 0.2, 0.3)
    index = index_of_sets([found for found, _ in sets], 12)
    assert index is not None
    assert index.tolist() == [0, 1, 0, 0, 2, 1, 0, 0, 0, 3, 0, 0]
    assert index_of_sets([], 12) is None


def test_undo_brings_back_what_was_meant_with_the_pages_of_now() -> None:
    now = (highlight("a", pages(7)), highlight("b", pages(8)))
    wanted = (highlight("a", pages(1), visible=False), highlight("gone", pages(2)))
    again = shown_again(now, wanted)
    assert again == wanted
    assert [one.pages.tolist() for one in again if one.pages is not None] == [[7], [2]]
    assert replaced(now, now[0], None) == now[1:]
    assert replaced(now, now[1], wanted[1]) == (now[0], wanted[1])


def test_they_tell_themselves() -> None:
    assert highlight().told == "Looking for its pages"
    assert highlight(problem="It has ended.").told == "It has ended."
    assert highlight("a", pages()).told == "No pages in memory"
    assert highlight("a", pages(1)).told == "4 KiB, 1 page"
    kept = of_chosen(Chosen("m", "slab", "dentry", "dentry", pages(1)), "one", "#102030")
    assert kept == highlight()
    assert kept.pages is not None


def test_names_of_guests_are_no_formulas_in_a_spreadsheet() -> None:
    told = [{"machine": "m", "name": name, "ranges": [[4096, 8192]]} for name in ("=cmd|x", 'a,"b', "+1", "ok", "-2")]
    rows = list(csv.reader(csv_of(told).splitlines()))
    assert rows[0] == ["machine", "highlight", "start", "length_bytes"]
    assert [row[1] for row in rows[1:]] == ["'=cmd|x", 'a,"b', "'+1", "ok", "'-2"]
    assert rows[1][2:] == ["0x1000", "8192"]


# In the window


@pytest.fixture(scope="module")
def _dump_window(demo_dump: Path) -> Iterator[Person]:
    with dump_window(demo_dump, SIZE) as someone:
        yield someone


@pytest.fixture
def looker(_dump_window: Person) -> Person:
    """A window that shows the dump of a demo guest, put in order for each test."""
    someone, state = _dump_window, _dump_window.state
    someone.window.host.make_current()
    someone.window.session.kept.change(**dataclasses.asdict(Settings()))
    someone.window.session.highlights.clear()
    someone.window.session.navigation.choose(None)
    state.highlights_ui.renaming = None
    state.highlights_ui.folded.clear()
    state.stage.view.camera.skip()
    state.stage.view.camera.fit()
    state.history = History()
    state.toasts.dismiss()
    someone.frame(4)
    return someone


def known(person: Person, name: str) -> Highlight:
    """A highlight, as soon as its pages are known."""

    def found() -> Highlight:
        return person.window.session.highlights.named(name)

    person.until(lambda: found().pages is not None or bool(found().problem), "its pages")
    return found()


def shown(person: Person) -> dict[int, list[int]]:
    """The pages that the volume shows lit up, by the number of what lights them."""
    index = person.state.stage.feeds["guest"].store.highlight.index
    return {} if index is None else {int(k): np.flatnonzero(index == k).tolist() for k in np.unique(index) if k}


def chosen_pages(person: Person) -> Pages | None:
    """What is chosen, as soon as its pages are known."""
    return None if person.state.chosen is None else person.state.chosen.pages


def names(person: Person) -> list[str]:
    return [one.name for one in person.state.highlights]


def test_several_are_lit_at_once_each_in_its_colour(looker: Person) -> None:
    told = looker.run("highlight.add", "class", "page_table", "guest", None, "#ff0000", False)
    assert isinstance(told, dict)
    assert told["colour"] == "#ff0000"
    looker.run("highlight.add", "slab", "dentry", "guest", "Names of files", None, False)
    looker.run("highlight.add", "ranges", "0x100000+8192", "guest", None, None, False)
    looker.run("choose.pages_of", "class", "kernel_stack", "guest", None, False)
    tables, dentries = known(looker, names(looker)[0]), known(looker, "Names of files")
    first = known(looker, "0x100000")
    looker.until(lambda: chosen_pages(looker) is not None, "the selection")
    looker.frame(3)
    assert first.pages is not None
    assert first.pages.tolist() == [256, 257]
    lit = shown(looker)
    assert sum(map(len, lit.values())) >= len(tables.pages)  # type: ignore[arg-type]
    assert {tuple(found) for found in lit.values()} >= {(256, 257), tuple(dentries.pages.tolist())}  # type: ignore[union-attr]
    colours = looker.state.stage.feeds["guest"].store.highlight.colours
    assert len(colours) == 4
    assert any(np.allclose(colour[:3], linear_from_hex("#ff0000"), atol=1e-6) for colour in colours)
    placed = {callout.key for callout in looker.state.stage.view.names.placed}
    assert placed == {"chosen", *(f"guest/{name}" for name in names(looker))}
    looker.run("highlight.toggle", "Names of files")
    looker.frame(2)
    assert tuple(dentries.pages.tolist()) not in {tuple(found) for found in shown(looker).values()}  # type: ignore[union-attr]
    looker.run("highlight.clear")
    looker.run("choose.clear")
    looker.frame(2)
    assert shown(looker) == {}


def test_what_is_chosen_can_be_kept_and_undone(looker: Person) -> None:
    with pytest.raises(ActionDisabled, match="Nothing is chosen"):
        looker.run("highlight.keep")
    looker.run("choose.pages_of", "slab", "dentry", "guest", None, False)
    looker.until(lambda: chosen_pages(looker) is not None, "its pages")
    before = shown(looker)
    looker.key("h")
    assert names(looker) == ["dentry"]
    assert chosen_pages(looker) is None
    assert shown(looker) == before, "it stays lit"
    looker.run("choose.pages_of", "slab", "dentry", "guest", None, False)
    looker.run("highlight.keep", "Again", "#00ff00")
    assert names(looker) == ["dentry", "Again"]
    looker.key("z", "Control")
    assert names(looker) == ["dentry"]
    assert looker.state.chosen is not None, "it is chosen again"
    looker.key("z", "Control")
    looker.key("z", "Control")
    assert names(looker) == []
    assert looker.state.chosen is not None
    looker.key("Z", "Control", "Shift")
    assert names(looker) == ["dentry"]
    assert known(looker, "dentry").pages is not None


def test_they_are_renamed_recoloured_removed_and_flown_to(looker: Person) -> None:
    for name in ("a", "b"):
        looker.run("highlight.add", "class", "kernel_stack", "guest", name, None, False)
    known(looker, "a")
    assert looker.run("highlight.rename", "b", "a") == "a 2"
    assert looker.run("highlight.recolour", "a", "#ABCDEF") == "#abcdef"
    for argument in ("blue", "#12345"):
        with pytest.raises(BadArguments, match="no colour"):
            looker.run("highlight.recolour", "a", argument)
    assert looker.run("highlight.toggle", "a", False) is False
    assert looker.run("highlight.toggle", "a") is True
    before = looker.state.stage.camera
    looker.run("highlight.fly", "a")
    looker.until(lambda: not looker.state.stage.view.camera.flying, "the flight should end")
    assert looker.state.stage.camera != before
    looker.run("highlight.remove", "a")
    assert names(looker) == ["a 2"]
    with pytest.raises(BadArguments, match="'a' is none of a 2"):
        looker.run("highlight.remove", "a")
    listed = looker.run("highlight.list")
    assert isinstance(listed, list)
    assert [one["name"] for one in listed] == ["a 2"]
    looker.run("highlight.clear")
    for action in ("highlight.clear", "highlight.export"):
        with pytest.raises(ActionDisabled, match="no highlights"):
            looker.run(action)


def test_a_program_gives_pages_itself(looker: Person) -> None:
    """As the answer to a query: what is no page of the guest is left out, and they can be replaced."""
    listed = looker.window.session.highlights
    n_pages = looker.state.stage.feeds["guest"].store.n_pages
    found = listed.add(
        "guest", query="what I asked", pages=np.array([9, 3, 3, n_pages, 2**32 - 1], np.uint32), fly=False
    )
    assert (found.name, found.kind, found.query) == ("what I asked", "query", "what I asked")
    assert found.pages is not None
    assert found.pages.tolist() == [3, 9]
    listed.set_pages("what I asked", pages(11))
    looker.frame(2)
    assert list(shown(looker).values()) == [[11]]
    document = listed.named("what I asked").document()
    listed.restore([from_document(document), from_document(document)])
    looker.frame(2)
    assert names(looker) == ["what I asked", "what I asked 2"]
    assert "Ask again" in listed.named("what I asked").problem
    elsewhere = from_document({**document, "machine": "gone", "kind": "slab", "key": "dentry"})
    listed.restore([elsewhere])
    looker.frame(3)
    assert listed.named("what I asked").problem == "The memory of gone is not shown"
    with pytest.raises(BadArguments, match="memory of gone"):
        listed.set_pages("what I asked", pages(1))
    for wrong, said in (
        ({"machine": "gone"}, "memory of gone is not shown"),
        ({"kind": "slabs", "key": "x"}, "none of process"),
        ({"query": "x" * 10_001, "pages": pages(1)}, "too long"),
        ({"pages": pages(1), "colour": "red"}, "no colour"),
    ):
        with pytest.raises(BadArguments, match=said):
            listed.add(**{"machine": "guest", **wrong})  # type: ignore[arg-type]


def test_why_one_is_not_known_is_what_is_so_now(looker: Person) -> None:
    """A machine that is shown again is not said to be missing, and what stays as it is is no news in every frame."""
    navigation = looker.window.session.navigation
    here = Highlight("guest", "asked", "#123456", "query", query="no such thing", problem="The memory is not shown")
    away = dataclasses.replace(here, machine="gone", name="away", pages=pages(1))
    navigation.light((here, away))
    assert [one.problem for one in looker.state.highlights] == [
        "Ask again to see what it finds now",
        "The memory of gone is not shown",
    ]
    assert all(one.pages is None for one in looker.state.highlights)
    assert not navigation.follow_chosen()


# Kept between runs


def kept_again(looker: Person) -> KeptHighlights:
    """What another run would know, of the files that this one left."""
    session = looker.window.session
    again = KeptHighlights(looker.state, session.highlights, session.kept, session.notices)
    again.load()
    return again


def test_they_are_lit_again_in_the_next_run(looker: Person) -> None:
    session = looker.window.session
    for kind, key in (("slab", "dentry"), ("process", "1"), ("ranges", "0x100000+8192")):
        looker.run("highlight.add", kind, key, "guest", kind, None, False)
    looker.run("highlight.toggle", "slab")
    path, written = session.kept.folder / FILE, looker.state.highlights
    told = [one.document() for one in written]

    def kept_in_the_file() -> object:
        machines = json.loads(path.read_text())["machines"] if path.exists() else []
        return machines[-1]["highlights"] if machines else None

    looker.until(lambda: kept_in_the_file() == told, "they are written when they rest")
    session.navigation.light((Highlight("elsewhere", "kept", "#123456", "slab", "dentry"),))
    kept_again(looker).follow()
    assert names(looker) == ["kept", "slab", "process", "ranges"]
    assert looker.state.highlights[1:] == written, "in their colours, and hidden where they were"
    kept_again(looker).follow()
    assert len(looker.state.highlights) == 4, "where something of the machine is lit already it stays as it is"
    looker.run("highlight.clear")
    session.kept_highlights.save()
    kept_again(looker).follow()
    assert names(looker) == [], "what was taken away stays away"


def test_a_guest_started_anew_has_no_highlights_of_other_processes(looker: Person) -> None:
    session = looker.window.session
    for kind, key in (("process", "1"), ("category", "Heaps of 1"), ("category", "Heaps"), ("tables", "0")):
        looker.run("highlight.add", kind, key, "guest", f"{kind} {key}", None, False)
    session.kept_highlights.save()
    path = session.kept.folder / FILE
    document = json.loads(path.read_text())
    document["machines"][0]["started_at_s"] += 1.0
    looker.run("highlight.clear")
    session.kept_highlights.save()
    path.write_text(json.dumps(document))
    kept_again(looker).follow()
    assert names(looker) == ["category Heaps"]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"version": 2, "machines": []},
        {"version": 1, "machines": {}},
        {"version": 1, "machines": [[]]},
        {"version": 1, "machines": [{"name": "", "started_at_s": 1, "highlights": []}]},
        {"version": 1, "machines": [{"name": "m", "started_at_s": True, "highlights": []}]},
        {"version": 1, "machines": [{"name": "m", "started_at_s": float("nan"), "highlights": []}]},
        {"version": 1, "machines": [{"name": "m", "started_at_s": 1, "highlights": [{}] * 300}]},
        {"version": 1, "machines": [{"name": "m", "started_at_s": 1, "highlights": [{"name": 1}]}]},
        {"version": 1, "machines": [{"name": "n", "started_at_s": 1, "highlights": [highlight().document()]}]},
        {"version": 1, "machines": [{"name": f"m{i}", "started_at_s": 1, "highlights": []} for i in range(33)]},
    ],
)
def test_a_hostile_file_of_highlights_is_refused(wrong: object) -> None:
    with pytest.raises(BadHighlight):
        kept_from(wrong)


def test_a_broken_file_of_highlights_is_set_aside(looker: Person) -> None:
    session = looker.window.session
    path = session.kept.folder / FILE
    path.write_text("[" * 100_000)
    kept_again(looker).follow()
    assert "Your highlights were set aside" in looker.toasts()
    assert not path.exists()
    assert names(looker) == []
    path.mkdir()  # cannot be replaced by a file
    try:
        looker.run("highlight.add", "slab", "dentry", "guest", None, None, False)
        session.kept_highlights.follow()
        session.kept_highlights.save()
        assert "The highlights could not be saved" in looker.toasts()
    finally:
        path.rmdir()


def test_kept_highlights_are_bounded(looker: Person) -> None:
    many = {f"m{i}": Kept(1.0, (dataclasses.replace(highlight(), machine=f"m{i}"),)) for i in range(MAX_MACHINES)}
    session = looker.window.session
    (session.kept.folder / FILE).write_text(json.dumps(document_of(many)))
    again = kept_again(looker)
    looker.run("highlight.add", "slab", "dentry", "guest", None, None, False)
    again.follow()
    again.save()
    kept = kept_from(json.loads((session.kept.folder / FILE).read_text()))
    assert list(kept) == [*(f"m{i}" for i in range(1, MAX_MACHINES)), "guest"]


# In the window


def test_there_is_an_end_to_them(looker: Person) -> None:
    listed = looker.window.session.highlights
    one = Highlight("guest", "p", "#123456", "ranges", (0, 4096))
    listed.restore([dataclasses.replace(one, key=(4096 * i, 4096)) for i in range(MOST_HIGHLIGHTS + 20)])
    looker.frame(3)
    assert len(looker.state.highlights) == MOST_HIGHLIGHTS
    assert len(shown(looker)) == MOST_HIGHLIGHTS
    looker.run("choose.pages_of", "class", "kernel_stack", "guest", None, False)
    looker.until(lambda: chosen_pages(looker) is not None, "its pages")
    looker.frame(2)
    assert max(shown(looker)) == MOST_HIGHLIGHTS + 1
    with pytest.raises(BadArguments, match="254 highlights already"):
        listed.add("guest", kind="slab", key="dentry")
    with pytest.raises(BadArguments, match="254 highlights already"):
        looker.run("highlight.keep")


def test_their_addresses_are_written_to_new_files_alone(looker: Person, tmp_path: Path) -> None:
    looker.run("highlight.add", "ranges", "0x100000+0x3000,0x200000+1", "guest", "=two", "#123456", False)
    looker.run("highlight.add", "ranges", "0+4096", "guest", "zero", None, False)
    looker.frame(2)
    to = tmp_path / "out.json"
    written = looker.run("highlight.export", str(to))
    assert written == {"path": str(to), "highlights": 2, "ranges": 3}
    document = json.loads(to.read_text())["highlights"]
    assert document[0]["ranges"] == [[0x100000, 0x3000], [0x200000, 0x1000]]
    assert from_document(document[0]) == looker.state.highlights[0]
    looker.run("highlight.export", str(tmp_path / "one.CSV"), "=two")
    rows = list(csv.reader((tmp_path / "one.CSV").read_text().splitlines()))
    assert rows[1:] == [["guest", "'=two", "0x100000", "12288"], ["guest", "'=two", "0x200000", "4096"]]
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "victim")
    for path, said in (
        (to, "is there already"),
        (link, "is there already"),
        (tmp_path / "out.txt", "ends in .json or .csv"),
        ("out.json", "begins with / or ~"),
        (tmp_path / "none" / "out.json", "cannot be written"),
    ):
        with pytest.raises(BadArguments, match=said):
            looker.run("highlight.export", str(path))
    assert not (tmp_path / "victim").exists()


def test_the_card_lists_them_and_its_buttons_work(looker: Person) -> None:
    """A click flies there, a double click renames; eye, cross and swatch do what they look like."""
    looker.run("highlight.add", "class", "kernel_stack", "guest", "Stacks of the kernel", "#f0944d", False)
    looker.run("choose.pages_of", "slab", "dentry", "guest", None, False)
    known(looker, "Stacks of the kernel")
    looker.frame(3)
    card = looker.state.stage.view.names.reserved[-1]
    unit = looker.window._ui.theme.px(1)
    x, y, *_ = looker.state.stage.panes[0].rect
    left, top = x + card[0], y + card[1]

    def row(index: int) -> float:
        return top + (2 + 6.5 + 6.5 * (index + 0.5)) * unit

    right = x + card[2] - 2 * unit
    looker.move(left + 20 * unit, row(1))
    looker.frame(3)
    looker.click(right - 9 * unit, row(1))
    looker.frame(2)
    assert not looker.state.highlights[0].visible
    looker.click(right - 3 * unit, row(0))
    looker.frame(2)
    assert looker.state.chosen is None, "its cross"
    looker.click(left + 4 * unit, row(0))
    looker.frame(3)
    assert looker.popup_open()
    looker.key("Escape")
    looker.frame(2)
    looker.run("highlight.toggle", "Stacks of the kernel", True)
    before = looker.state.stage.camera
    looker.click(left + 20 * unit, row(0))
    looker.until(lambda: looker.state.stage.camera != before, "the flight")


class Card:
    """Where things are on the card of a view that is open there."""

    def __init__(self, looker: Person, view: int = 0) -> None:
        self.unit = looker.window._ui.theme.px(1)
        pane = looker.state.stage.panes[view]
        left, top, right, _ = pane.view.names.reserved[-1]
        self.left, self.top, self.right = pane.rect[0] + left, pane.rect[1] + top, pane.rect[0] + right

    def row(self, index: int) -> tuple[float, float]:
        """The name of a row."""
        return self.left + 20 * self.unit, self.top + (2 + 6.5 + 6.5 * (index + 0.5)) * self.unit

    def swatch(self, index: int) -> tuple[float, float]:
        return self.left + 4 * self.unit, self.row(index)[1]

    @property
    def chevron(self) -> tuple[float, float]:
        return self.right - 4 * self.unit, self.top + 4 * self.unit


def popup(looker: Person) -> tuple[float, float, float, float]:
    """Corner and size of the menu that was opened last."""
    looker.frame(3)
    stack = imgui.get_current_context().open_popup_stack
    assert stack.size(), "a menu should be open"
    window = stack[stack.size() - 1].window
    return window.pos.x, window.pos.y, window.size.x, window.size.y


def renaming(looker: Person) -> tuple[str, str, str] | None:
    """The view, machine and name of what is being renamed."""
    return looker.state.highlights_ui.renaming


def test_the_card_renames_recolours_and_folds(looker: Person) -> None:
    looker.run("highlight.add", "class", "kernel_stack", "guest", "Stacks", "#f0944d", False)
    known(looker, "Stacks")
    looker.frame(3)
    card, unit = Card(looker), looker.window._ui.theme.px(1)
    looker.click(*card.row(0), times=2)
    looker.frame(2)
    looker.type("new")
    looker.key("Enter")
    assert names(looker) == ["new"]
    looker.click(*card.row(0), button=2)
    x, y, _, height = popup(looker)
    line = (height - 16.5 * unit - 1) / 5
    looker.click(x + 10 * unit, y + 2 * unit + 2 * (line + 2.5 * unit) + line / 2)
    looker.frame(2)
    assert renaming(looker) == (looker.state.stage.panes[0].name, "guest", "new")
    looker.type("lost")
    looker.key("Escape")
    looker.frame(2)
    assert renaming(looker) is None
    assert names(looker) == ["new"], "Escape leaves it as it was"
    looker.click(*card.swatch(0))
    x, y, *_ = popup(looker)
    looker.click(x + (3 + 2 * 8 + 3.25) * unit, y + 6.25 * unit)
    assert looker.state.highlights[0].colour == COLOURS[2]
    looker.click(*card.swatch(0))
    x, y, *_ = popup(looker)
    looker.click(x + 20 * unit, y + (3 + 16 + 12) * unit)
    looker.frame(2)
    assert looker.state.highlights[0].colour not in COLOURS, "any other colour, from the picker"
    looker.key("Escape")
    looker.frame(2)
    reserved = len(looker.state.stage.view.names.reserved)
    looker.click(*card.chevron)
    looker.frame(2)
    assert len(looker.state.stage.view.names.reserved) == reserved - 1, "names may stand where the card was"
    looker.click(card.left + 3 * unit, card.top + 3 * unit)
    looker.frame(2)
    assert len(looker.state.stage.view.names.reserved) == reserved


def test_every_view_has_the_card_or_a_button_for_it(looker: Person) -> None:
    """Where there is no room for the card, as in two narrow views, its button opens it as a menu."""
    looker.run("highlight.add", "class", "kernel_stack", "guest", "Stacks", "#f0944d", False)
    looker.run("choose.pages_of", "slab", "dentry", "guest", None, False)
    known(looker, "Stacks")
    looker.run("view.split")
    try:
        looker.frame(4)
        unit = looker.window._ui.theme.px(1)
        for pane in tuple(looker.state.stage.panes):
            x, y, *_ = pane.rect
            looker.click(x + 6.5 * unit, y + 6.5 * unit)
            left, top, width, _ = popup(looker)
            assert width >= CARD_UNITS * unit
            looker.run("view.fit")
            looker.state.stage.view.camera.skip()
            whole = looker.state.stage.camera
            looker.click(left + 20 * unit, top + (2 + 6.5 + 6.5 * 0.5) * unit)
            looker.until(lambda whole=whole: looker.state.stage.camera != whole, "a flight to what is chosen")  # type: ignore[misc]
            looker.state.stage.view.camera.skip()
            looker.key("Escape")
            looker.frame(2)
            assert not looker.popup_open()
    finally:
        looker.run("view.close")
        looker.frame(3)
    assert looker.state.stage.view.names.reserved
