"""Notices: what the user is told of, as a toast and in the log; the one place where errors end."""

from __future__ import annotations

import logging

from app.actions import ActionError
from app.toasts import ToastLevel, Toasts, Way
from bridge.kernel.errors import KernelError
from bridge.machine.errors import MachineError
from bridge.machine.guest import GuestError
from bridge.memory.errors import GuestMemoryError
from bridge.semantic.store.errors import StoreError
from render.errors import RenderError

_FORESEEN = (MachineError, GuestError, GuestMemoryError, KernelError, StoreError, RenderError, ActionError, OSError)
_LONGEST_HEAD = 90
logger = logging.getLogger("window")


def describe(error: BaseException) -> str:
    """Return an error in words: its own for the foreseen, with its kind for a defect of ours."""
    text = str(error).strip()
    if isinstance(error, _FORESEEN) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Notices:
    """Belongs to the main thread."""

    def __init__(self, toasts: Toasts) -> None:
        self._toasts = toasts

    def report(self, error: BaseException, title: str = "", *ways: Way) -> None:
        """Show and log an error. The one place where errors end."""
        text = describe(error)
        if isinstance(error, _FORESEEN):
            logger.error("%s", f"{title}: {text}" if title else text)
        else:
            logger.error("%s", title or "A defect in Glassbox", exc_info=error)
        head, detail = (title, text) if title else _headline(text)
        self._toasts.add(ToastLevel.ERROR, head, detail, *ways, Way("Show log", "window.show", {"panel": "Log"}))

    def warn(self, title: str, detail: str = "", *ways: Way) -> None:
        """Show and log something that the user should know."""
        logger.warning("%s", f"{title}: {detail}" if detail else title)
        self._toasts.add(ToastLevel.WARN, title, detail, *ways)

    def tell(self, title: str, detail: str = "", *, good: bool = False) -> None:
        """Show and log good news."""
        logger.info("%s", f"{title}: {detail}" if detail else title)
        self._toasts.add(ToastLevel.GOOD if good else ToastLevel.INFO, title, detail)


def _headline(text: str) -> tuple[str, str]:
    """Split an error's words into a headline and the rest."""
    head, stop, rest = text.partition(". ")
    if len(head) <= _LONGEST_HEAD:
        return head.rstrip("."), rest if stop else ""
    return "That did not work", text
