"""Questions: where interfaces have texts of the query language answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from bridge.kernel.errors import KernelError


class NotUnderstood(KernelError):
    """A text that is no query; `nearest` are some that are."""

    def __init__(self, problem: str, nearest: tuple[str, ...]) -> None:
        hint = f" Nearest: {'; '.join(nearest)}." if nearest else ""
        super().__init__(problem + hint)
        self.nearest = nearest


class Questions(Protocol):
    """Methods may be called from several threads."""

    def answer(self, machine: str, text: str, *, cancelled: Callable[[], bool] = ...) -> dict[str, Any]:
        """What `find --json` prints, or as much of it as there was when nobody waited for it any more.

        Raises NotUnderstood, NoSuchMachine, KernelError.
        """
