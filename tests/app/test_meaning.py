"""What a text means by names that were found a while ago, and when they are found anew."""

from __future__ import annotations

import pytest

from app.queries import meant
from bridge.semantic.query.model import NotUnderstood, Understood
from bridge.semantic.query.names import Names, ProcessName

BEFORE = Names((ProcessName(7, "dropbear"),))
NOW = Names((ProcessName(7, "dropbear"), ProcessName(9, "nginx")))


def test_names_that_settle_it_are_not_found_anew() -> None:
    def never() -> Names:
        raise AssertionError("they were found anew")

    understood = meant("heap of dropbear", BEFORE, never)
    assert isinstance(understood, Understood)
    assert understood.assumed == ()


@pytest.mark.parametrize("text", ["heap of nginx", "ssh daemon", "heap of nothere", ""])
@pytest.mark.parametrize("known", [BEFORE, None])
def test_what_they_leave_open_is_read_by_the_names_of_now(text: str, known: Names | None) -> None:
    asked = []

    def fresh() -> Names:
        asked.append(text)
        return NOW

    assert meant(text, known, fresh) == meant(text, None, lambda: NOW)
    assert asked == [text]


def test_what_is_not_there_even_now_is_not_understood() -> None:
    assert isinstance(meant("heap of nothere", BEFORE, lambda: NOW), NotUnderstood)
