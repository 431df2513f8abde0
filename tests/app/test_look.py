"""How bytes are shown: actions, keys, top bar, legend and settings, in a window with a real guest."""

import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.action_sets.look import KIND_NAMES, OWN
from app.actions import ActionDisabled, BadArguments
from app.offscreen import OffscreenWindow
from app.panels import legend as legend_panel
from app.settings import SETTINGS_FILE
from app.widgets.gradient import STEPS, strip_of
from app.widgets.ticks import place_ticks
from app.window_options import WindowOptions
from render.content import Kind
from render.look import MODES, Look
from render.palettes import CATEGORICAL, PALETTES
from render.transfer import TRANSFERS
from tests.app.conftest import SIZE, Person


def shown(person: Person) -> Look:
    return person.state.stage.view.look


def unfolded(person: Person) -> bool:
    return person.state.settings.show_legend


def legend_window(person: Person) -> imgui.internal.Window:
    """The card or button in the volume's corner."""
    found = [w for w in imgui.get_current_context().windows if "/legend_" in w.name and w.was_active]
    assert len(found) == 1, [w.name for w in found]
    return found[0]


# Actions and keys


def test_keys_go_round_modes_and_channels_and_undo_goes_back(host: Person) -> None:
    seen = []
    for _ in MODES:
        host.key("t", text="t")
        seen.append(shown(host).mode)
    assert seen == [*MODES[1:], MODES[0]]
    channels = host.state.stage.view.channels()
    assert channels[:4] == ("content", "value", "entropy", "heat")
    for channel in (*channels[1:], channels[0]):
        host.key("c", text="c")
        assert shown(host).channel == channel
    host.key("z", "Control")
    assert shown(host).channel == channels[-1]
    host.key("z", "Control")
    host.key("y", "Control")
    assert shown(host).channel == channels[-1]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_an_action_and_a_picture(host: Person, mode: str) -> None:
    before = host.offscreen.picture()
    host.run(f"view.draw_{mode}")
    host.state.stage.panes.finish(time.monotonic())
    host.frame(3)
    assert shown(host).mode == mode
    assert host.state.settings.mode == mode
    if mode != "solid":
        assert (host.offscreen.picture() != before).any()


def test_each_channel_keeps_its_own_palette_and_transfer_function(host: Person) -> None:
    host.run("view.channel", "entropy")
    host.run("view.palette", "magma")
    host.run("view.transfer", "High")
    host.run("view.channel", "heat")
    assert shown(host).palette == ""
    assert shown(host).transfer == TRANSFERS["Everything"]
    host.run("view.channel", "entropy")
    assert shown(host).palette == "magma"
    assert shown(host).transfer == TRANSFERS["High"]
    host.run("view.palette", OWN)
    host.run("view.transfer", "Everything")
    assert host.state.settings.palettes == {}
    assert host.state.settings.transfers == {}


def test_numbers_are_bounded_and_undone(host: Person) -> None:
    with pytest.raises(ActionDisabled, match="translucent"):
        host.state.actions.run("view.opacity", ["0.5"])
    host.run("view.mode", "translucent")
    assert host.run("view.opacity", 7) == 1.0
    assert host.run("view.opacity", -1) == 0.001
    assert shown(host).opacity == 0.001
    host.key("z", "Control")
    assert shown(host).opacity == 1.0
    store = host.state.stage.feeds["tiny"].store
    assert host.run("view.half_life", 0.5) == 0.5
    assert store.half_life_s == 0.5
    host.key("z", "Control")
    assert store.half_life_s == 5.0
    assert host.run("view.half_life", 1e9) == 600
    for wrong in ("nan", "inf", "soon"):
        with pytest.raises(BadArguments):
            host.state.actions.run("view.half_life", [wrong])
    host.run("view.pyramid", "max")
    assert shown(host).pyramid == "max"


def test_kinds_are_hidden_shown_and_shown_alone(host: Person) -> None:
    with pytest.raises(ActionDisabled, match="hidden"):
        host.state.actions.run("view.show_all_kinds")
    assert host.run("view.hide_kind", "text") is True
    assert host.run("view.hide_kind", "code", True) is True
    assert shown(host).hidden_kinds == {Kind.TEXT, Kind.CODE}
    assert host.state.settings.hidden_kinds == ("text", "code")
    assert host.run("view.hide_kind", "text") is False
    host.run("view.solo_kind", "data")
    assert shown(host).hidden_kinds == {Kind[name.upper()] for name in KIND_NAMES} - {Kind.DATA}
    host.run("view.solo_kind", "data")
    assert not shown(host).hidden_kinds
    host.run("view.hide_kind", "text")
    host.run("view.show_all_kinds")
    assert not shown(host).hidden_kinds


def test_scripts_can_ask_how_bytes_are_shown(host: Person) -> None:
    host.run("view.channel", "entropy")
    host.run("transfer.points", "0:0 1:0.5")
    found = host.run("view.look")
    assert isinstance(found, dict)
    assert json.loads(json.dumps(found)) == found
    assert found["channel"] == "entropy"
    assert found["unit"] == "bits/byte"
    assert found["palette"] == OWN
    assert found["transfer"] == {"name": None, "points": [[0, 0], [1, 0.5]]}
    assert found["legend"] == ["0", "2", "4", "6", "8"]
    host.run("view.channel", "content")
    found = host.run("view.look")
    assert isinstance(found, dict)
    assert "Machine code" in found["legend"]


def test_a_look_is_kept_between_runs(homes: Path) -> None:
    options = WindowOptions(size=SIZE, tour=False)
    with OffscreenWindow(options) as offscreen:
        person = Person(offscreen)
        person.frame(4)
        person.run("view.channel", "entropy")
        person.run("view.palette", "batlow")
        person.run("view.mode", "mip")
        person.run("view.hide_kind", "random")
        person.run("view.half_life", 60)
        kept = shown(person)
    assert (homes / "config" / "glassbox" / SETTINGS_FILE).exists()
    with OffscreenWindow(options) as offscreen:
        assert shown(Person(offscreen)) == kept
        assert offscreen.window.state.stage.feeds.half_life_s == 60


def test_settings_from_before_channels_still_load(homes: Path) -> None:
    folder = homes / "config" / "glassbox"
    folder.mkdir(parents=True)
    (folder / SETTINGS_FILE).write_text('{"theme": "light", "mode": "first hit", "palette": "ember"}')
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        look = offscreen.window.state.stage.view.look
        assert (look.mode, look.channel, look.palette) == ("solid", "content", "ember")
        assert offscreen.window.state.settings.theme == "light"
        assert not offscreen.window.state.toasts.shown()


# Palettes of the user's


def test_a_palette_file_is_offered_followed_and_its_slips_are_told_once(host: Person) -> None:
    folder = host.window.session.kept.folder / "palettes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lava.txt").write_text("#000000\n#ff0000\n")
    (folder / "torn.txt").write_text("#000000\nnan nan\n")
    names = host.run("view.refresh_palettes")
    assert isinstance(names, list)
    assert names[-1] == "lava"
    assert host.toasts() == ["A palette of yours could not be read"]
    assert "Line 2" in host.state.toasts.shown()[0].detail
    host.run("view.refresh_palettes")
    assert host.state.toasts.shown()[0].count == 1
    host.run("view.channel", "value")
    host.run("view.palette", "lava")
    red = host.state.stage.view.legend().gradient
    assert red is not None
    assert red[255].tolist() == [255, 0, 0]
    (folder / "lava.txt").write_text("#000000\n#0000ff\n#0000ff\n")
    host.run("view.refresh_palettes")
    blue = host.state.stage.view.legend().gradient
    assert blue is not None
    assert blue[255].tolist() == [0, 0, 255]
    assert shown(host).palette == "lava"
    for path in folder.iterdir():
        path.unlink()
    host.run("view.refresh_palettes")
    assert shown(host).palette == ""
    assert host.state.stage.palettes == PALETTES


def test_every_palette_has_a_strip() -> None:
    for name in PALETTES:
        colours, blocks = strip_of(name)
        assert blocks == (name in CATEGORICAL or name == "content")
        assert len(colours) == (STEPS + 1 if not blocks else 7 if name == "content" else 8)
        assert all(0 <= part <= 1 for colour in colours for part in colour)
        assert strip_of(name)[0] is colours


# Top bar


def controls(person: Person) -> dict[str, float]:
    """Where in a window of SIZE the controls of the top bar lie, found by walking along it."""
    found: dict[str, float] = {}
    for x in range(SIZE[0] - 30, SIZE[0] // 3, -6):
        person.move(x, 24)
        person.frame(1)
        hovered = imgui.get_current_context().hovered_id
        bar = imgui.internal.find_window_by_name("##top bar")
        for name in ("##channel", "##palette", f"{icons.ICON_FA_SLIDERS}##finer"):
            if hovered and hovered == bar.get_id(name):
                found.setdefault(name, x - 12)  # not at its very edge
    return found


def test_the_menus_of_the_bar_choose_channel_and_palette(host: Person) -> None:
    places = controls(host)
    host.click(places["##channel"], 24)
    host.frame(3)
    popup = imgui.internal.find_window_by_name(next(_popups()))
    host.click(popup.pos.x + 60, popup.pos.y + 6 + 32 * 2 + 16)  # the third line: entropy
    assert shown(host).channel == "entropy"
    host.frame(3)
    host.click(places["##palette"], 24)
    host.frame(3)
    popup = imgui.internal.find_window_by_name(next(_popups()))
    host.click(popup.pos.x + 60, popup.pos.y + 6 + 32 + 32 + 8)  # the first one after the channel's own: ember
    assert shown(host).palette == "ember"
    host.frame(3)
    host.click(places["##palette"], 24)
    host.frame(3)
    popup = imgui.internal.find_window_by_name(next(_popups()))
    host.click(popup.pos.x + 60, popup.pos.y + 6 + 16)
    assert shown(host).palette == ""


def test_what_is_finer_is_in_a_popup(host: Person) -> None:
    host.run("view.mode", "translucent")
    host.run("view.hide_kind", "text")
    host.click(controls(host)[f"{icons.ICON_FA_SLIDERS}##finer"], 24)
    host.frame(3)
    popup = imgui.internal.find_window_by_name(next(_popups()))
    left, top = popup.pos.x + 36 * 4, popup.pos.y + 14
    before = shown(host).opacity
    host.drag((left + 60, top + 14), (left + 160, top + 14))
    assert shown(host).opacity > before
    host.state.actions.run("edit.undo")
    assert shown(host).opacity == before  # the whole drag is one step
    row = 28 + 8
    host.drag((left + 110, top + row + 14), (left + 150, top + row + 14))
    assert host.state.settings.half_life_s > 5
    wanted = imgui.internal.find_window_by_name(popup.name).get_id("Highest##pyramid1")
    seen = {}
    for x in range(0, 240, 12):
        host.move(left + x, top + 2 * row + 14)
        host.frame(2)
        seen[x] = imgui.get_current_context().hovered_id == wanted
    assert any(seen.values()), seen
    host.click(left + next(x for x, there in seen.items() if there) + 12, top + 2 * row + 14)
    assert shown(host).pyramid == "max"
    host.frame(2)
    assert host.popup_open()
    host.key("Escape")
    host.frame(3)


def _popups() -> Iterator[str]:
    return (
        w.name for w in reversed(imgui.get_current_context().windows) if w.was_active and w.name.startswith("##Popup")
    )


# Legend


def test_the_legend_hides_a_kind_by_a_click_and_shows_it_alone_by_two(host: Person) -> None:
    host.run("window.resize", 1280, 800)
    host.frame(6)
    card = legend_window(host)
    x, first = card.pos.x + 30, card.pos.y + 8 + 24 + 10
    host.click(x, first + 2 * 20)  # after "Nearly empty" and "Data": text
    assert shown(host).hidden_kinds == {Kind.TEXT}
    host.key("z", "Control")
    assert not shown(host).hidden_kinds
    time.sleep(0.4)  # so that it is no double click
    host.click(x, first + 20, times=2)
    assert shown(host).hidden_kinds == set(Kind) - {Kind.ZERO, Kind.DATA}
    host.key("z", "Control")
    assert not shown(host).hidden_kinds  # both clicks together are one step
    assert host.selected() is None  # the picture below was not clicked


def test_the_legend_folds_and_makes_way_in_a_small_view(host: Person) -> None:
    host.run("window.resize", 1280, 800)
    host.frame(6)
    assert legend_window(host).size.y > 100
    host.key("k", text="k")
    host.frame(3)
    assert not unfolded(host)
    button = legend_window(host)
    assert button.size.y < 40
    host.click(button.pos.x + 14, button.pos.y + 14)
    assert unfolded(host)
    host.run("window.resize", 640, 420)
    host.frame(6)
    small = legend_window(host)
    assert small.size.y < 40
    host.click(small.pos.x + 14, small.pos.y + 14)
    host.frame(3)
    assert host.popup_open()
    host.key("Escape")
    host.frame(3)


@pytest.mark.parametrize("channel", ["content", "value", "entropy", "heat", "owner", "age"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_channel_has_a_legend_that_lies_within_its_view(host: Person, channel: str, theme: str) -> None:
    host.run("window.resize", 1280, 800)
    store = host.state.stage.feeds["tiny"].store
    labels = [f"A rather long owner's name, number {n}" for n in range(40)]
    numbers = (np.arange(store.n_pages) % 40).astype(np.uint8)
    store.set_attribute("owner", numbers, kind="categorical", labels=labels)
    store.set_attribute("age", numbers.astype(np.float32), unit="s")
    if channel not in host.state.stage.view.channels():
        pytest.skip("attributes are no channels of the view yet")
    host.frame(2)
    host.window.session.kept.change(theme=theme)
    host.run("view.channel", channel)
    host.run("view.hide_kind", "text", True)
    host.frame(4)
    card = legend_window(host)
    x, y, width, height = host.state.volume_rect
    assert x < card.pos.x
    assert card.pos.x + card.size.x < x + width * 0.6
    assert y < card.pos.y
    assert card.pos.y + card.size.y < y + height
    if channel in ("value", "entropy", "heat"):  # the last line shows all kinds again
        host.click(card.pos.x + 40, card.pos.y + card.size.y - 16)
        assert not shown(host).hidden_kinds


def test_a_palette_of_values_has_a_legend_of_values(host: Person) -> None:
    """In the channel of kinds, too: with a sequential palette all kinds have the same colours, which tell bytes."""
    host.run("view.palette", "grey")
    found = legend_panel.legend_of_view(host.state.stage.view)
    assert found.gradient is not None
    assert found.title == "Byte value"
    host.run("view.palette", OWN)
    assert legend_panel.legend_of_view(host.state.stage.view).gradient is None


def test_without_memory_there_is_no_legend(person: Person) -> None:
    assert not [w for w in imgui.get_current_context().windows if "/legend_" in w.name and w.was_active]
    assert person.state.settings.show_legend


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 60)), min_size=1, max_size=12), st.floats(60, 400), st.floats(0, 8)
)
def test_numbers_below_a_scale_never_touch(ticks: list[tuple[float, float]], room: float, gap: float) -> None:
    ticks = sorted(ticks)
    named = [(share, str(i), width) for i, (share, width) in enumerate(ticks)]
    placed = place_ticks(named, room, gap)
    assert placed
    spans = sorted((left, left + ticks[int(text)][1]) for _, text, left in placed)
    assert spans[0][0] >= 0
    assert spans[-1][1] <= room + 1e-6
    assert all(b[0] >= a[1] + gap - 1e-6 for a, b in itertools.pairwise(spans))
    assert named[0][1] in [text for _, text, _ in placed]
    for share, text, left in placed:
        width = ticks[int(text)][1]
        centred = share * room - width / 2
        assert math.isclose(left, min(max(centred, 0), room - width), abs_tol=1e-6)
