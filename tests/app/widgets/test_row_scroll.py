"""The scroll bar of rows: exact at both ends for row counts that no float can hold."""

from collections.abc import Callable

import pytest
from imgui_bundle import imgui

from app.widgets.row_scroll import RowScrollbar
from tests.app.widgets.harness import Harness

HEIGHT = 400


class _Bar:
    def __init__(self, total: int, visible: int) -> None:
        self.bar, self.total, self.visible, self.first = RowScrollbar(), total, visible, 0

    def draw(self, stage: Harness) -> None:
        self.first = self.bar.draw(stage.theme, imgui.ImVec2(20, 20), HEIGHT, self.total, self.visible, self.first)


@pytest.mark.parametrize("total", [100, 1 << 28, 1 << 60])
def test_a_drag_reaches_both_ends_exactly(stage: Callable[..., Harness], total: int) -> None:
    bar = _Bar(total, 30)
    harness = stage(bar.draw)
    harness.frame(2)
    harness.drag((25, 22), (25, 1000))
    assert bar.first == total - 30
    harness.drag((25, 418), (25, -50))
    assert bar.first == 0


def test_the_middle_is_the_middle_and_a_touch_moves_nothing(stage: Callable[..., Harness]) -> None:
    total = 1 << 60
    bar = _Bar(total, 30)
    harness = stage(bar.draw)
    harness.frame(2)
    harness.click(25, 20 + HEIGHT / 2)
    assert bar.first == pytest.approx(total / 2, rel=0.01)
    bar.first = before = total // 3 + 12_345
    harness.frame()
    harness.click(25, 20 + HEIGHT * bar.first / total)
    assert bar.first == before  # taken inside the thumb


def test_nothing_to_scroll_asks_for_nothing(stage: Callable[..., Harness]) -> None:
    bar = _Bar(10, 30)
    harness = stage(bar.draw)
    harness.drag((25, 22), (25, 300))
    assert bar.first == 0
    assert not bar.bar.held
