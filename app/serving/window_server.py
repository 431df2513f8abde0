"""Window server: REST beside an open window, in a process of its own, so that no frame ever waits for a client."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app.failures import CommandFailed

START_LIMIT_S = 60.0
END_LIMIT_S = 5.0
_MAX_SAID = 4096


class WindowServer:
    """One child process, `glassbox serve`, which ends with its standard input, and so with this process too."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self.url = ""
        """Empty while it is not served."""
        self.token_file = ""

    @property
    def serves(self) -> bool:
        """Whether programs can ask."""
        return bool(self.url) and self._child is not None and self._child.poll() is None

    def start(
        self, port: int, dumps: Sequence[Path] = (), cancelled: Callable[[], bool] = lambda: False
    ) -> dict[str, str]:
        """Serve, and return address and token's file. For a job: it takes seconds. Raises CommandFailed."""
        with self._lock:
            if self.serves:
                return self.describe()
            named = [word for path in dumps for word in ("--dump", str(path))]
            command = [sys.executable, "-P", "-m", "app", "serve", "--port", str(port), "--follow-input", "--json"]
            pipe = subprocess.PIPE
            child = subprocess.Popen(
                [*command, *named],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                text=True,
                cwd=Path(__file__).resolve().parents[2],
            )
            watchdog = threading.Timer(START_LIMIT_S, child.kill)
            watchdog.start()
            try:
                told = self._told(child)
            finally:
                watchdog.cancel()
            if "url" not in told or cancelled():
                child.kill()
                said = child.communicate()[1][-_MAX_SAID:].strip()
                raise CommandFailed(told.get("error") or said or "The server gave no sign of life.")
            self._child, self.url, self.token_file = child, told["url"], told["token_file"]
            threading.Thread(target=self._drain, args=(child,), name="server's words", daemon=True).start()
            return self.describe()

    def describe(self) -> dict[str, str]:
        """Where it is, as JSON values; empty texts while it is not."""
        return {"url": self.url, "token_file": self.token_file} if self.serves else {"url": "", "token_file": ""}

    def stop(self) -> None:
        """Serve no more."""
        with self._lock:
            child, self._child, self.url, self.token_file = self._child, None, "", ""
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @staticmethod
    def _told(child: subprocess.Popen[str]) -> dict[str, str]:
        """What it says when it serves; empty where it ends before."""
        assert child.stdout is not None
        said = ""
        for line in child.stdout:
            said += line
            if line == "}\n":
                told: dict[str, str] = json.loads(said)
                return told
        return {}

    @staticmethod
    def _drain(child: subprocess.Popen[str]) -> None:
        assert child.stderr is not None
        for _ in child.stderr:  # nobody reads it; a full pipe would stop it
            pass
