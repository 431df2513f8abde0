"""A harness per test, closed afterwards."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.app.widgets.harness import Harness


@pytest.fixture
def stage() -> Iterator[Callable[..., Harness]]:
    """Return a function that opens a `Harness`; all are closed at the end."""
    opened: list[Harness] = []

    def open_stage(draw: Callable[[Harness], None], **options: Any) -> Harness:
        opened.append(Harness(draw, **options))
        return opened[-1]

    yield open_stage
    for harness in opened:
        harness.close()
