"""Endpoint: one exchange with an OpenAI-compatible chat endpoint, bounded; what comes back is untrusted."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_REPLY_BYTES = 1 << 20
MAX_CALLS = 8
"""Of tools in one reply; the rest is passed over."""
MAX_TEXT = 20_000
_LEAST_KEY = 8
"""Characters from which on a key is no ordinary word."""
_LOOK_S = 0.05
_TOO_LONG = "The model took too long."


class ModelError(Exception):
    """The model gave no answer that can be used; the message says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is, and which."""

    url: str
    """Up to `/v1`, as its maker writes it."""
    model: str
    key: str = field(default="", repr=False)
    """Sent as a bearer token; empty: none is."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model wants called."""

    identity: str
    tool: str
    arguments: dict[str, Any]
    problem: str = ""
    """Why its arguments make no sense."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model says."""

    text: str
    calls: tuple[Call, ...]


Message = dict[str, Any]


def exchange(
    endpoint: Endpoint,
    messages: list[Message],
    tools: list[dict[str, Any]],
    deadline_s: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> Reply:
    """Send a conversation and return what the model says next, until `deadline_s` of time.monotonic().

    No redirect is followed: the key goes where the user sent it, and nowhere else. Raises ModelError.
    """
    import httpx  # a tenth of a second, which a window without a model need not spend

    body = {"model": endpoint.model, "messages": messages, "tools": tools, "temperature": 0, "stream": False}
    # What is packed could be a thousand times as large when it is unpacked.
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if endpoint.key:
        headers["authorization"] = f"Bearer {endpoint.key}"
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise ModelError(_TOO_LONG)
    url = endpoint.url.rstrip("/") + "/chat/completions"
    guarded = _Guarded(deadline_s, cancelled)
    try:
        with (
            guarded,
            httpx.Client(
                timeout=httpx.Timeout(left_s, connect=min(5.0, left_s)),
                trust_env=False,
                verify=url[:6].lower() == "https:",  # reading all authorities takes longer than all else
            ) as client,
            client.stream(
                # ASCII: what is no character has no other form.
                "POST",
                url,
                content=json.dumps(body).encode(),
                headers=headers,
                extensions={"trace": guarded.watch},
            ) as response,
        ):
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise ModelError(f"The model at {endpoint.url} answers in a form that it was not asked for.")
            data = bytearray()
            for piece in response.iter_raw():
                data += piece
                if len(data) > MAX_REPLY_BYTES:
                    raise ModelError(f"The model at {endpoint.url} answers with more than {MAX_REPLY_BYTES >> 20} MiB.")
        if guarded.why:
            raise ModelError(guarded.why)
    except httpx.TimeoutException:
        raise ModelError(guarded.why or _TOO_LONG) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        why = guarded.why or f"No model can be reached at {endpoint.url} ({clean(str(error), 200)})."
        raise ModelError(why) from None
    told = bytes(data)
    if len(endpoint.key) >= _LEAST_KEY:  # an endpoint may repeat it, and what it says is shown and written down
        told = told.replace(endpoint.key.encode("utf-8", "surrogateescape"), b"(the key)")
    if response.status_code != httpx.codes.OK:
        raise ModelError(_refusal(endpoint, response.status_code, told))
    return _reply(told)


class _Guarded:
    """Ends an exchange when its time is over, or when nobody wants it any more: its connection is shut from outside.

    Limits of single reads do not end what sends a byte of a header a second, or interim answers without end.
    """

    def __init__(self, deadline_s: float, cancelled: Callable[[], bool]) -> None:
        self._deadline_s, self._cancelled = deadline_s, cancelled
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._wait, name="model's time", daemon=True)
        self.why = ""
        """Why it was ended; empty while it was not."""

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Take down which connection is spoken through: httpx's trace."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.why:
                    self._shut()

    def _wait(self) -> None:
        while not self._over.wait(_LOOK_S):
            late = time.monotonic() > self._deadline_s
            if late or self._cancelled():
                with self._lock:
                    self.why = _TOO_LONG if late else "It was cancelled."
                    self._shut()
                return

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Guarded:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """A model's words as they can be shown: bounded, printable, with line breaks."""
    kept = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def _refusal(endpoint: Endpoint, status: int, data: bytes) -> str:
    try:
        said = str(json.loads(data)["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        said = ""
    why = f": {clean(said, 300)}" if said else ""
    return f"The model at {endpoint.url} refuses, with status {status}{why}."


def _reply(data: bytes) -> Reply:
    try:
        message = json.loads(data)["choices"][0]["message"]
        text, asked = message.get("content"), message.get("tool_calls")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError("The model's answer is not that of an OpenAI-compatible endpoint.") from None
    calls = [_call(one) for one in asked[:MAX_CALLS]] if isinstance(asked, list) else []
    return Reply(clean(text) if isinstance(text, str) else "", tuple(calls))


def _call(asked: Any) -> Call:
    try:
        identity, function = clean(str(asked["id"]), 200), asked["function"]
        tool, arguments = clean(str(function["name"]), 200), function["arguments"]
    except (LookupError, TypeError):
        return Call("", "", {}, "This is no call of a tool.")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return Call(identity, tool, {}, "The arguments of a tool are a JSON object.")
    return Call(identity, tool, parsed)
