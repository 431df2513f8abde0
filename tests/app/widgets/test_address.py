"""The address label: it is written in full, can be clicked, and its menu copies it."""

from collections.abc import Callable

from app.widgets.address import address_label
from app.widgets.follow import FollowedAddress
from tests.app.widgets.harness import Harness


def test_click_and_copy(stage: Callable[..., Harness]) -> None:
    clicks: list[bool] = []
    harness = stage(
        lambda h: clicks.append(address_label(h.theme, 0x7C00, digits=8, tooltip="Where the boot sector lies"))
    )
    harness.frame(2)
    harness.click(30, 20)
    assert clicks.count(True) == 1
    harness.frame(60)  # the tooltip comes
    harness.click(30, 20, button=1)
    harness.frame(2)
    harness.click(60, 40)
    assert harness.clipboard == "0x00007c00"
    assert clicks.count(True) == 1


def test_only_news_moves_a_view() -> None:
    followed = FollowedAddress()
    assert followed.news(5) == 5
    assert followed.news(5) is None
    followed.emit(7)
    assert followed.news(5) is None  # not adopted: nothing happens
    assert followed.news(7) is None  # adopted late: it was ours
    assert followed.news(5) == 5
    assert followed.news(7) == 7  # and the next time it is news
    assert followed.news(None) is None
