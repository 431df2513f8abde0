"""Small parts: following a selection, and what a hidden widget may ask for."""

from collections.abc import Callable

from app.widgets.disassembly import DisassemblyView
from app.widgets.follow import FollowedAddress
from app.widgets.hexview import HexView
from app.widgets.terminal import TerminalWidget
from tests.app.widgets.harness import Harness


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


def test_a_hidden_widget_wants_nothing(stage: Callable[..., Harness]) -> None:
    memory = bytearray(4096)
    terminal = TerminalWidget(lambda _: (8, b"\x1b[5nabcd"), lambda _: None)
    hex_view, listing = HexView(), DisassemblyView()
    hidden = False

    def draw(h: Harness) -> None:
        if not hidden:
            terminal.draw(h.theme, (600, 100))
            hex_view.draw(h.theme, lambda a, n: memory[a : a + n], base=0, size_bytes=4096, size=(600, 150))
            listing.draw(h.theme, lambda a, n: memory[a : a + n], 0, size_bytes=4096, size=(600, 150))

    harness = stage(draw)
    terminal.focus()
    harness.frame(3)
    memory[5] = 1
    harness.frame()

    def wants() -> list[bool]:
        return [terminal.wants_keyboard, terminal.next_redraw_s is not None, hex_view.animating, listing.animating]

    assert wants() == [True] * 4
    hidden = True
    harness.frame(2)
    assert wants() == [False] * 4
    hidden = False
    harness.click(100, 150)
    assert not terminal.wants_keyboard, "the hex view has it"
