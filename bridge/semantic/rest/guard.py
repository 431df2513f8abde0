"""Guard: who may speak to the interface, how much and how often, before anything of it runs.

Loopback only: a Host that is not this machine's own is refused, so that a page in a browser cannot reach it by a name
that it rebinds. A token is required for everything. Requests are bounded in size, rate and time to arrive, and what
nobody waits for any more is told so.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

Scope = dict[str, Any]

MAX_BODY_BYTES = 64 << 10
BODY_LIMIT_S = 10.0
"""For a request to arrive whole, once its head has."""
RATE_PER_S, BURST = 50.0, 200.0
_OWN_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class Bucket:
    """A token bucket: so many requests a second, and so many at once after a rest."""

    def __init__(self, rate_per_s: float = RATE_PER_S, burst: float = BURST) -> None:
        self._rate, self._burst = rate_per_s, burst
        self._left, self._then_s = burst, time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take one; 0, or how many seconds to wait before there is one."""
        with self._lock:
            now_s = time.monotonic()
            self._left = min(self._burst, self._left + (now_s - self._then_s) * self._rate)
            self._then_s = now_s
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) / self._rate


class Guard:
    """ASGI middleware."""

    def __init__(
        self,
        app: Any,
        tokens: Mapping[str, str],
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_limit_s: float = BODY_LIMIT_S,
        rate_per_s: float = RATE_PER_S,
        burst: float = BURST,
    ) -> None:
        """`tokens`: who each belongs to, by token."""
        self._app = app
        self._tokens = {token.encode(): who for token, who in tokens.items()}
        self._max_body_bytes, self._body_limit_s = max_body_bytes, body_limit_s
        self._buckets = {who: Bucket(rate_per_s, burst) for who in tokens.values()}
        self._strangers = Bucket(rate_per_s, burst)  # guessing is slow

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if _OWN_HOST.fullmatch(headers.get(b"host", b"")) is None:
            await _refuse(send, 421, "This interface answers to this machine's own names only: 127.0.0.1, localhost.")
            return
        who = self._who(headers.get(b"authorization", b""))
        bucket = self._strangers if who is None else self._buckets[who]
        wait_s = bucket.take()
        if wait_s:
            await _refuse(send, 429, f"Too many requests: wait {wait_s:.1f} s.", {"retry-after": str(int(wait_s) + 1)})
            return
        if who is None:
            why = "A token is required: Authorization: Bearer TOKEN. `glassbox serve` says where it is."
            await _refuse(send, 401, why, {"www-authenticate": "Bearer"})
            return
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self._max_body_bytes:
            await _refuse(send, 413, f"A request has at most {self._max_body_bytes:,} bytes.")
            return
        try:
            async with asyncio.timeout(self._body_limit_s):
                body, whole = await _body(receive, self._max_body_bytes)
        except TimeoutError:
            await _refuse(send, 408, f"The request did not arrive whole within {self._body_limit_s:g} s.")
            return
        if not whole:
            await _refuse(send, 413, f"A request has at most {self._max_body_bytes:,} bytes.")
            return
        client = _Client(body, receive)
        scope["who"], scope["gone"] = who, client.gone
        listening = asyncio.create_task(client.listen())
        try:
            await self._app(scope, client.receive, send)
        finally:
            listening.cancel()

    def _who(self, header: bytes) -> str | None:
        scheme, _, token = header.partition(b" ")
        found = None
        for known, who in self._tokens.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(known, token.strip()):
                found = who
        return found if scheme.lower() == b"bearer" else None


class _Client:
    """Who sent a request: gives its body again, and tells also threads when it has gone."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._left = asyncio.Event()
        self.gone = threading.Event()

    async def listen(self) -> None:
        """Wait until the client has gone, or has its answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone.set()
        self._left.set()

    async def receive(self) -> Any:
        """What the application is given."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}


async def _body(receive: Any, limit: int) -> tuple[bytes, bool]:
    """What a client sends, and whether that was all within the limit."""
    pieces = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(pieces), True
        pieces += message.get("body", b"")
        if len(pieces) > limit:
            return b"", False
        if not message.get("more_body", False):
            return bytes(pieces), True


async def _refuse(send: Any, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"detail": why}).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
