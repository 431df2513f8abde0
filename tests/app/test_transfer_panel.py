"""The transfer function's panel: points are dragged, added and removed by mouse and keys, saved by name, and undone."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from imgui_bundle import imgui
from numpy.typing import NDArray

from app.layout import TRANSFER
from render.transfer import MAX_POINTS, TRANSFERS, Transfer
from tests.app.conftest import Person


class Editor:
    """The panel as a person sees it: where its points are."""

    def __init__(self, host: Person) -> None:
        self.host = host
        self.window = imgui.internal.find_window_by_name(TRANSFER)
        low, high = self._edges()
        self.left, self.top, self.right, self.low = low[0], low[1], high[0], high[1]

    def _edges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The upper left and the lower right corner of the plot's invisible button, without its margin."""
        plot = self.window.get_id("plot")
        host, window = self.host, self.window
        x = window.pos.x + window.size.x / 2
        y = window.pos.y + window.size.y / 2

        def over(px: float, py: float) -> bool:
            host.move(px, py)
            host.frame(2)
            return bool(imgui.get_current_context().hovered_id == plot)

        def last(inside: float, outside: float, here: Callable[[int], bool]) -> int:
            """The last pixel on the way from `inside` to `outside` that is still over it."""
            within, beyond = int(inside), int(outside)
            while abs(beyond - within) > 1:
                middle = (within + beyond) // 2
                within, beyond = (middle, beyond) if here(middle) else (within, middle)
            return within

        assert over(x, y)
        left = last(x, window.pos.x - 1, lambda px: over(px, y))
        top = last(y, window.pos.y - 1, lambda py: over(x, py))
        right = last(x, window.pos.x + window.size.x + 1, lambda px: over(px, y))
        low = last(y, window.pos.y + window.size.y + 1, lambda py: over(x, py))
        return (left + 6, top + 6), (right + 1 - 6, low + 1 - 6)

    def at(self, scalar: float, opacity: float) -> tuple[float, float]:
        return self.left + scalar * (self.right - self.left), self.top + (1 - opacity) * (self.low - self.top)

    def set(self, points: str) -> None:
        self.host.run("transfer.points", points)
        self.host.frame(2)

    def count(self) -> int:
        return len(self.transfer.points)

    @property
    def selected(self) -> int | None:
        return self.host.state.transfer.selected

    @property
    def transfer(self) -> Transfer:
        return self.host.state.stage.view.look.transfer


@pytest.fixture(scope="module")
def _kept() -> dict[str, Editor]:
    return {}


@pytest.fixture
def editor(host: Person, _kept: dict[str, Editor]) -> Iterator[Editor]:
    host.run("window.resize", 1280, 900)
    host.window.reset_layout()
    host.frame(8)
    host.run("window.show", TRANSFER)
    host.run("view.channel", "value")
    host.state.transfer.selected = None
    host.frame(4)
    if "editor" not in _kept:
        _kept["editor"] = Editor(host)
    yield _kept["editor"]
    host.run("window.toggle_transfer")


def near(point: tuple[float, float], expected: tuple[float, float]) -> bool:
    return point == pytest.approx(expected, abs=0.02)


def test_a_point_is_dragged_between_its_neighbours_and_a_drag_is_one_undo(editor: Editor) -> None:
    host = editor.host
    editor.set("0:0 0.5:0.5 0.75:0.5 1:1")
    before = editor.transfer
    host.drag(editor.at(0.5, 0.5), editor.at(0.625, 0.9))
    assert near(editor.transfer.points[1], (0.625, 0.9))
    assert editor.selected == 1
    host.drag(editor.at(*editor.transfer.points[1]), editor.at(0.95, 0.2))
    assert near(editor.transfer.points[1], (0.75, 0.2))  # no further than the next one
    host.key("z", "Control")
    host.key("z", "Control")
    assert editor.transfer == before
    host.drag(editor.at(1, 1), editor.at(0.995, 0.006))
    assert editor.transfer.points[3] == (1, 0)  # the ends are easy to hit


def test_double_click_adds_right_click_and_delete_remove(editor: Editor) -> None:
    host = editor.host
    editor.set("0:0 1:1")
    time.sleep(0.4)
    host.click(*editor.at(0.3, 0.8), times=2)
    assert editor.count() == 3
    assert near(editor.transfer.points[1], (0.3, 0.8))
    time.sleep(0.4)
    host.click(*editor.at(0.6, 0.4), times=2)
    assert near(editor.transfer.points[2], (0.6, 0.4))
    host.click(*editor.at(*editor.transfer.points[1]), button=2)
    assert [near(p, q) for p, q in zip(editor.transfer.points, ((0, 0), (0.6, 0.4), (1, 1)), strict=True)] == [True] * 3
    time.sleep(0.4)
    host.click(*editor.at(*editor.transfer.points[1]))
    host.key("Delete")
    assert list(editor.transfer.points) == [(0, 0), (1, 1)]
    time.sleep(0.4)
    host.click(*editor.at(0, 0))
    host.key("Delete")
    assert editor.count() == 2  # the last two stay
    host.key("z", "Control")
    assert editor.count() == 3


def test_the_keyboard_does_it_all_and_leaves_the_camera_alone(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    host = editor.host
    monkeypatch.setattr("app.panels.transfer.RUN_S", 60.0)  # a key takes a second where much else is done
    editor.set("0:0 0.5:0.5 1:1")
    time.sleep(0.4)
    host.click(*editor.at(0.9, 0.1))  # nothing there: the panel has the keys
    camera = host.state.stage.camera
    assert [editor.selected] == [None]
    host.key("Tab")
    host.key("Tab")
    assert editor.selected == 1
    before = len(host.state.history._past)
    for _ in range(5):
        host.key("ArrowRight")
    host.key("ArrowUp")
    assert editor.transfer.points[1] == pytest.approx((0.5 + 5 / 255, 0.51))
    assert len(host.state.history._past) == before + 1  # a run of steps is one undo
    host.key("ArrowDown", "Shift")
    assert editor.transfer.points[1][1] == pytest.approx(0.41)
    host.key("ArrowLeft", "Shift")
    assert editor.transfer.points[1][0] == pytest.approx(0.5 + 5 / 255 - 16 / 255)
    host.key("Insert")
    assert editor.count() == 4
    assert editor.selected == 2
    host.key("End")
    assert editor.selected == 3
    host.key("Home")
    assert editor.selected == 0
    host.key("Tab", "Shift")
    assert editor.selected == 3
    host.key("Backspace")
    assert editor.count() == 3
    assert host.state.stage.camera == camera
    host.click(*host.middle)  # the volume has them again
    host.key("ArrowLeft")
    assert host.state.stage.camera != camera


def test_there_is_a_most_of_points(editor: Editor) -> None:
    full = " ".join(f"{i / (MAX_POINTS - 1)!r}:{i % 2}" for i in range(MAX_POINTS))
    editor.set(full)
    before = editor.transfer
    time.sleep(0.4)
    editor.host.click(*editor.at(0.5, 0.5), times=2)
    assert editor.transfer == before
    editor.host.key("Tab")
    editor.host.key("Insert")
    assert editor.transfer == before


def test_presets_are_chosen_saved_and_deleted(editor: Editor) -> None:
    host = editor.host
    editor.set("0:0.25 0.5:0.75 1:0")
    mine = editor.transfer
    save = (editor.window.pos.x + 12 + 160 + 4 + 14, _bar_y(editor))
    host.click(*save)
    host.frame(3)
    assert host.popup_open()
    host.type("hump")
    host.key("Enter")
    host.frame(3)
    assert host.state.presets.own == {"hump": mine}
    assert not host.popup_open()
    assert host.state.stage.view.look.transfer == mine
    host.run("view.transfer", "Low")
    assert editor.transfer == TRANSFERS["Low"]
    host.run("view.transfer", "hump")
    assert editor.transfer == mine
    host.frame(3)
    host.click(save[0] + 28, save[1])
    assert host.state.presets.own == {}
    assert editor.transfer == mine  # what is shown stays
    host.click(save[0] - 100, save[1])  # the list of presets
    host.frame(3)
    assert host.popup_open()
    host.key("Escape")
    host.frame(3)


def _bar_y(editor: Editor) -> float:
    return editor.top - 36


@pytest.mark.parametrize("channel", ["content", "value", "entropy", "heat"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_histogram_of_every_channel_is_drawn(editor: Editor, channel: str, theme: str) -> None:
    host = editor.host
    host.window.session.kept.change(theme=theme)
    host.run("view.channel", channel)
    host.state.transfer.selected = 0
    feeds = host.state.stage.feeds
    host.until(lambda: host.state.histograms.of(feeds, channel) is not None, "its values should be counted")
    host.move(*editor.at(0.5, 0.5))
    host.frame(3)
    with_bars = _plot(editor)
    kept, feeds._feeds = feeds._feeds, {}
    try:
        host.window._ui.state.histograms.of({}, channel)
        host.window.frame(present=False)
        host.window.frame(present=False)
        without = _plot(editor)
    finally:
        feeds._feeds = kept
    assert (with_bars != without).any()


def _plot(editor: Editor) -> NDArray[np.uint8]:
    picture = editor.host.offscreen.picture()
    return picture[int(editor.top) : int(editor.low), int(editor.left) : int(editor.right)]


def test_a_panel_without_room_for_a_plot_still_draws(host: Person) -> None:
    host.run("window.resize", 640, 300)
    host.run("window.show", TRANSFER)
    host.frame(8)
    assert host.toasts() == []
    host.run("window.toggle_transfer")


def test_without_a_machine_the_line_is_edited_all_the_same(person: Person) -> None:
    person.run("window.show", TRANSFER)
    person.frame(6)
    person.run("transfer.points", "0:1 1:0")
    assert list(person.state.stage.view.look.transfer.points) == [(0, 1), (1, 0)]
    assert person.state.settings.transfers == {"content": ((0, 1), (1, 0))}
    assert person.toasts() == []
