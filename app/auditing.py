"""Auditing: tells the audit log what was asked and done in the window, in a thread, so that no frame waits."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from typing import Any

from bridge.semantic.audit import AuditFailed, AuditLog

AUDITED = frozenset(
    {
        *(f"machine.{verb}" for verb in ("launch", "attach", "open_dump", "toggle", "pause", "resume", "reset")),
        *(f"machine.{verb}" for verb in ("stop", "detach", "adopt", "stop_orphan")),
        *("query.ask", "query.again", "query.highlight", "query.consult", "llm.use", "llm.off"),
        *("session.save", "session.open", "bookmark.go", "bookmark.paste"),
        *("choose.pages_of", "kernel.look_frozen", "kernel.use_types"),
        *("sql.run", "sql.export", "volatility.run", "volatility.export"),
        *("server.start", "server.stop", "console.send", "window.screenshot"),
    }
)
"""Actions that ask something of a guest, change a machine, or carry out what was seen; not what moves the view only."""
MOST_WAITING = 10_000
WINDOW, SCRIPT = "window", "window script"
_Told = tuple[str, str, Mapping[str, Any], str]
_END: _Told = ("", "", {}, "")

logger = logging.getLogger("window")


class Auditor:
    """Records in the order in which it is told. Belongs to the main thread."""

    def __init__(self, log: AuditLog | None = None) -> None:
        self._log = log
        self._waiting: queue.Queue[_Told] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def tell(self, who: str, action: str, args: Mapping[str, Any], result: str) -> None:
        """Record an action if it is one of AUDITED."""
        if action not in AUDITED:
            return
        try:
            self._waiting.put_nowait((who, action, dict(args), result))
        except queue.Full:
            logger.warning("The audit log is so slow that “%s” is missing in it.", action)

    def close(self) -> None:
        """Wait until all is written."""
        self._waiting.put(_END)
        self._thread.join()

    def _write(self) -> None:
        problem = ""
        while (told := self._waiting.get()) is not _END:
            try:
                self._log = self._log or AuditLog()
                self._log.record(*told)
                problem = ""
            except (AuditFailed, OSError) as error:
                if str(error) != problem:  # once, not with every action
                    logger.warning("%s", error)
                problem = str(error)
