"""Statistics: shares of memory that add up, and the panel that draws them and takes clicks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import imgui

from app.actions import BadArguments
from app.chosen import PAGE_BYTES, parse_key, seen_pages
from app.kernel_channels import CLASS_CHANNEL, CLASS_LABELS, SAFE_PALETTE, shown_classes
from app.layout import INSPECTOR, STATISTICS
from app.memory_shares import MAX_PARTS, Share, shares_of
from app.panels import statistics
from app.panels.statistics import LEAST_AREA, category_colours, lay, ordered, text_on, told
from app.statistics_ui import Cell
from app.theme import Rgba
from app.widgets.treemap import Rect
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part
from bridge.kernel.worker import Sighting
from render.palettes import linear_from_hex
from tests.app.conftest import SIZE, Person
from tests.app.test_chosen import _dump_window, known, lit, looker, sighting  # noqa: F401 - fixtures

# Shares


def test_shares_add_up_and_each_can_be_chosen(looker: Person, sighting: Sighting) -> None:  # noqa: F811
    shares = shares_of(sighting)
    shown = shown_classes(sighting)
    assert sum(share.n_pages for share in shares) == len(shown)
    assert [share.n_pages for share in shares] == sorted((share.n_pages for share in shares), reverse=True)
    divided = set()
    for share in shares:
        assert share.title == CLASS_LABELS[share.category]
        assert share.n_pages == (shown == share.category).sum()
        pages = seen_pages(sighting, share.kind, share.key)
        assert pages is not None
        assert len(pages) == share.n_pages
        if share.parts:
            divided.add(share.title)
            assert sum(part.n_pages for part in share.parts) == share.n_pages
            assert all(part.category == share.category for part in share.parts)
            sizes = [part.n_pages for part in share.parts]
            assert sizes == sorted(sizes, reverse=True)
    assert {"Slabs", "Heaps", "Stacks", "Page tables", "Kernel stacks", "Program code"} <= divided
    # What a click on a part lights up is at least that part; of caches and stacks, exactly it.
    for title, exact in (("Slabs", True), ("Kernel stacks", True), ("Heaps", True), ("Program code", False)):
        part = next(share for share in shares if share.title == title).parts[0]
        looker.run("choose.pages_of", part.kind, str(part.key), "guest", None, False)
        one = known(looker)
        assert one.pages is not None
        assert len(one.pages) == part.n_pages if exact else len(one.pages) >= part.n_pages


def test_many_parts_are_summed_up(sighting: Sighting) -> None:  # noqa: F811
    assert sighting.processes is not None
    assert sighting.first_owner is not None
    n = MAX_PARTS + 50
    tasks = dataclasses.replace(
        sighting.processes,
        pids=np.arange(1, n + 1),
        names=tuple(f"p{i}" for i in range(n)),
        addresses=np.zeros(n, np.uint64),
    )
    assert sighting.classes is not None
    assert sighting.parts is not None
    classes, kinds, owners = sighting.classes.copy(), sighting.parts.copy(), sighting.first_owner.copy()
    classes[:1000], kinds[:1000] = PageClass.ANONYMOUS, Part.HEAP
    heaps = np.flatnonzero((classes == PageClass.ANONYMOUS) & (kinds == Part.HEAP))
    owners[heaps] = np.arange(len(heaps)) % n
    seen = dataclasses.replace(
        sighting, processes=tasks, classes=classes, parts=kinds, first_owner=owners.astype(np.int32)
    )
    heaps = np.flatnonzero(shown_classes(seen) == CLASS_LABELS.index("Heaps"))
    parts = next(share for share in shares_of(seen) if share.title == "Heaps").parts
    assert len(parts) == MAX_PARTS + 1
    others = next(part for part in parts if part.title == "Others")
    assert others.kind == "", "nothing that could be lit up"
    assert sum(part.n_pages for part in parts) == len(heaps)
    nobody = dataclasses.replace(seen, first_owner=np.full(len(owners), -1, np.int32))
    (only,) = next(share for share in shares_of(nobody) if share.title == "Heaps").parts
    assert (only.title, only.n_pages) == ("Not told apart", len(heaps))


def test_what_is_not_known_is_not_divided(sighting: Sighting) -> None:  # noqa: F811
    assert shares_of(Sighting(0.0, 0.0, "gone")) == ()
    bare = dataclasses.replace(sighting, processes=None, details=None)
    assert all(share.parts == () for share in shares_of(bare))


# What is drawn where

AMOUNTS = st.lists(st.integers(1, 5000), min_size=1, max_size=12).map(lambda one: sorted(one, reverse=True))


def share_of(n_pages: int, category: int = 0, parts: tuple[Share, ...] = ()) -> Share:
    return Share(f"s{n_pages}", n_pages, category, "category", CLASS_LABELS[category], parts)


@given(amounts=AMOUNTS, width=st.floats(20, 900), height=st.floats(20, 500))
def test_parts_lie_in_their_categories(amounts: list[int], width: float, height: float) -> None:
    shares = tuple(share_of(sum(amounts), i, tuple(share_of(n, i) for n in amounts)) for i in range(3))
    cells = lay(shares, Rect(0, 0, width, height), 18.0, 2.0)
    around: Cell | None = None
    for cell in cells:
        assert cell.rect.width * cell.rect.height >= LEAST_AREA
        if cell.parent is None:
            around = cell
        else:
            assert around is not None
            assert cell.parent is around.share
            low, high = around.rect, cell.rect
            assert high.x >= low.x - 1e-6
            assert high.y >= low.y + around.head - 1e-6
            assert high.x + high.width <= low.x + low.width + 1e-6
            assert high.y + high.height <= low.y + low.height + 1e-6
    assert len([cell for cell in cells if cell.parent is None]) == 3 or width * height < 900


def test_a_category_of_one_part_is_one_rectangle() -> None:
    cells = lay((share_of(10, 0, (share_of(10),)),), Rect(0, 0, 100, 100), 18.0, 2.0)
    assert len(cells) == 1


def test_rows_are_ordered_as_asked() -> None:
    shares = tuple(Share(title, n, 0, "", "") for title, n in (("b", 3), ("C", 9), ("a", 3)))
    assert [s.title for s in ordered(shares, by_title=False, descending=True)] == ["C", "a", "b"]
    assert [s.title for s in ordered(shares, by_title=False, descending=False)] == ["a", "b", "C"]
    assert [s.title for s in ordered(shares, by_title=True, descending=False)] == ["a", "b", "C"]
    assert [s.title for s in ordered(shares, by_title=True, descending=True)] == ["C", "b", "a"]


def test_amounts_and_inks() -> None:
    assert told(share_of(1), 4) == "4 KiB  ·  1 page  ·  25.0% of memory"
    assert told(share_of(3170), 32768) == "12.4 MiB  ·  3,170 pages  ·  9.7% of memory"
    assert text_on(Rgba(1, 1, 0.4)) == statistics.DARK_TEXT
    assert text_on(Rgba(0.1, 0.1, 0.3)) == statistics.LIGHT_TEXT


# The panel


def panel(person: Person) -> tuple[float, float, float, float]:
    window = imgui.internal.find_window_by_name(STATISTICS)
    return window.pos.x, window.pos.y, window.size.x, window.size.y


def show(person: Person) -> None:
    person.run("window.show", STATISTICS)
    person.frame(6)


def roomy(person: Person, width: int = 1600, height: int = 1000) -> None:
    """Show the panel in a large window, with room for all that it has."""
    person.run("window.resize", width, height)
    person.frame(2)
    person.window.reset_layout()
    person.frame(8)
    person.state.to_dock.append((STATISTICS, INSPECTOR, True))
    show(person)
    person.frame(4)


def place_of(person: Person, cell: Cell) -> tuple[float, float]:
    """Where a cell's heading, or its middle, lies in the window."""
    left, top = person.state.statistics.drawn_at
    rect = cell.rect
    return left + rect.x + rect.width / 2, top + rect.y + (cell.head / 2 if cell.head else rect.height / 2)


def test_a_click_on_the_picture_lights_a_category_or_a_part(looker: Person) -> None:  # noqa: F811
    show(looker)
    kept = looker.state.statistics
    assert kept.shares
    slabs = next(cell for cell in kept.cells if cell.share.title == "Slabs")
    part = next(cell for cell in kept.cells if cell.parent is not None and cell.parent.title == "Slabs")
    looker.click(*place_of(looker, part))
    one = known(looker)
    assert (one.kind, one.key) == ("slab", part.share.key)
    assert lit(looker)
    free = next(cell for cell in kept.cells if cell.share.title == "Free")
    looker.click(*place_of(looker, free))
    one = known(looker)
    assert (one.kind, one.key) == ("category", "Free")
    assert one.size_bytes == free.share.n_pages * PAGE_BYTES
    assert slabs.rect != free.rect


def test_free_memory_can_be_left_out(looker: Person) -> None:  # noqa: F811
    show(looker)
    kept = looker.state.statistics
    before = next(cell.rect for cell in kept.cells if cell.share.title == "Slabs")
    assert looker.run("statistics.free", False) is False
    looker.frame(3)
    assert all(cell.share.title != "Free" for cell in kept.cells)
    after = next(cell.rect for cell in kept.cells if cell.share.title == "Slabs")
    assert after.width * after.height > before.width * before.height
    assert looker.run("statistics.free") is True


def test_a_right_click_offers_what_can_be_done(looker: Person) -> None:  # noqa: F811
    show(looker)
    free = next(cell for cell in looker.state.statistics.cells if cell.share.title == "Free")
    looker.click(*place_of(looker, free), button=2)
    assert looker.popup_open()
    looker.key("Escape")
    assert looker.state.chosen is None


def test_it_is_told_to_scripts(looker: Person, sighting: Sighting) -> None:  # noqa: F811
    rows = looker.run("statistics.describe")
    assert isinstance(rows, list)
    assert sum(row["pages"] for row in rows) == len(shown_classes(sighting))
    for row in rows:
        assert parse_key(row["kind"], row["key"]) == row["title"]
    heaps = next(row for row in rows if row["title"] == "Heaps")
    pages = seen_pages(sighting, heaps["parts"][0]["kind"], heaps["parts"][0]["key"])
    assert pages is not None
    assert len(pages) == heaps["parts"][0]["pages"]


def test_colours_are_those_of_the_volume(looker: Person) -> None:  # noqa: F811
    usual = category_colours(looker.state)
    assert len(usual) == len(CLASS_LABELS)
    looker.run("view.channel", CLASS_CHANNEL)
    looker.run("view.palette", SAFE_PALETTE)
    assert looker.state.settings.palettes[CLASS_CHANNEL] == SAFE_PALETTE
    assert category_colours(looker.state) != usual
    looker.run("view.channel", "content")
    with pytest.raises(BadArguments, match="is none of"):
        looker.run("view.palette", SAFE_PALETTE)


def test_it_says_what_it_waits_for(person: Person) -> None:
    person.run("window.show", STATISTICS)
    person.frame(6)
    assert not person.state.toasts.shown()
    with pytest.raises(BadArguments, match="no kernel is known"):
        person.run("statistics.describe")


def test_a_guest_without_a_kernel_is_no_error(host: Person) -> None:
    host.run("window.show", STATISTICS)
    host.until(lambda: host.state.kernels.sighting("tiny") is not None, "a kernel should be looked for")
    host.frame(6)
    assert not host.state.toasts.shown()
    with pytest.raises(BadArguments, match="No running Linux kernel"):
        host.run("statistics.describe")
    host.run("choose.pages_of", "class", "slab")
    host.until(lambda: host.state.chosen is not None and bool(host.state.chosen.problem), "that should be said")
    host.frame(3)
    host.run("choose.clear")


def table_of(person: Person) -> imgui.internal.Window:
    """The window in which the table of shares scrolls."""
    windows = imgui.get_current_context().windows
    return next(w for w in windows if w.was_active and STATISTICS in w.name and "shares" in w.name)


def click_rows(person: Person, wanted: str, start: float = 0.0) -> float:
    """Click down the table's first column until something of this kind or title is chosen; returns how far down."""
    window = table_of(person)
    for down in np.arange(start or 24.0, window.size.y - 2, 6.0).tolist():
        person.click(window.pos.x + 70, window.pos.y + down)
        one = person.state.chosen
        if one is not None and wanted in (one.title, one.kind):
            return float(down)
    raise AssertionError(f"no row of {wanted}; last was {person.state.chosen}")


def test_a_row_lights_a_category_and_opens_to_its_parts(looker: Person) -> None:  # noqa: F811
    roomy(looker, 1600, 1200)
    down = click_rows(looker, "Slabs")
    window = table_of(looker)
    looker.click(window.pos.x + 14, window.pos.y + down + 3)  # the arrow
    looker.frame(3)
    assert click_rows(looker, "slab", down + 12) > down, "its largest cache lies below it"
    looker.click(window.pos.x + 14, window.pos.y + down + 3)  # fold it again
    looker.click(window.pos.x + 70, window.pos.y + down, button=2)
    assert looker.popup_open()
    menu = next(w for w in reversed(imgui.get_current_context().windows) if w.was_active and "##Popup" in w.name)
    looker.click(menu.pos.x + 40, menu.pos.y + 46)
    assert looker.state.chosen is not None
    assert looker.state.chosen.title == "Slabs"
    looker.run("window.resize", *SIZE)


def test_the_header_sorts(looker: Person) -> None:  # noqa: F811
    roomy(looker)
    window = table_of(looker)

    def first() -> str:
        looker.run("choose.clear") if looker.state.chosen is not None else None
        looker.click(window.pos.x + 70, window.pos.y + 36)
        assert looker.state.chosen is not None
        return looker.state.chosen.title

    titles = sorted((share.title for share in looker.state.statistics.shares), key=str.casefold)
    by_size = first()
    assert by_size == looker.state.statistics.shares[0].title
    looker.click(window.pos.x + 30, window.pos.y + 10)
    looker.frame(3)
    assert first() == titles[0]
    looker.click(window.pos.x + 30, window.pos.y + 10)
    looker.frame(3)
    assert first() == titles[-1]
    looker.click(window.pos.x + window.size.x - 30, window.pos.y + 10)  # the share, most first
    looker.frame(3)
    assert first() == by_size
    looker.run("window.resize", *SIZE)


def test_a_tall_panel_has_its_table_below(looker: Person) -> None:  # noqa: F811
    looker.window.reset_layout()
    looker.frame(6)
    show(looker)
    assert table_of(looker).pos.x > looker.state.statistics.drawn_at[0] + 20
    roomy(looker)
    below = table_of(looker)
    assert below.pos.x < looker.state.statistics.drawn_at[0] + 20
    assert below.pos.y > looker.state.statistics.drawn_at[1] + 40
    looker.run("window.resize", *SIZE)
    looker.window.reset_layout()


def test_it_is_drawn_in_light_and_with_what_is_chosen(looker: Person) -> None:  # noqa: F811
    """The chosen category has an edge of the accent in the picture, and the light of that theme's in the volume."""
    roomy(looker)
    looker.run("choose.pages_of", "category", "Slabs", "guest", None, False)
    looker.run("window.toggle_theme")
    looker.frame(8)
    accent = np.array(looker.window._ui.theme.accent[:3]) * 255
    cell = next(cell for cell in looker.state.statistics.cells if cell.share.title == "Slabs")
    left, top = looker.state.statistics.drawn_at
    x, y = round(left + cell.rect.x), round(top + cell.rect.y)
    picture = looker.offscreen.picture()[..., :3].astype(float)
    edge = picture[y - 2 : y + 3, x : x + round(cell.rect.width)]
    assert (np.abs(edge - accent).max(axis=2) < 12).sum() > cell.rect.width / 2
    lit = looker.state.stage.feeds["guest"].store.highlight.colours
    np.testing.assert_allclose(lit[0, :3], linear_from_hex("#0a5fd0"), atol=1e-6)
    looker.run("window.toggle_theme")
