"""Endpoint: one exchange with an OpenAI-compatible chat endpoint, bounded; what comes back is untrusted."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

MAX_REPLY_BYTES = 1 << 20
MAX_CALLS = 8
"""Of tools in one reply; the rest is passed over."""
MAX_TEXT = 20_000


class ModelError(Exception):
    """The model gave no answer that can be used; the message says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is, and which."""

    url: str
    """Up to `/v1`, as its maker writes it."""
    model: str
    key: str = ""
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


def exchange(endpoint: Endpoint, messages: list[Message], tools: list[dict[str, Any]], deadline_s: float) -> Reply:
    """Send a conversation and return what the model says next, until `deadline_s` of time.monotonic().

    Raises ModelError.
    """
    import httpx  # a tenth of a second, which a window without a model need not spend

    body = {"model": endpoint.model, "messages": messages, "tools": tools, "temperature": 0, "stream": False}
    headers = {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise ModelError("The model took too long.")
    try:
        url = endpoint.url.rstrip("/") + "/chat/completions"
        with (
            httpx.Client(timeout=httpx.Timeout(left_s, connect=min(5.0, left_s)), trust_env=False) as client,
            client.stream("POST", url, json=body, headers=headers) as response,
        ):
            data = bytearray()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_REPLY_BYTES:
                    raise ModelError(f"The model at {endpoint.url} answers with more than {MAX_REPLY_BYTES >> 20} MiB.")
                if time.monotonic() > deadline_s:
                    raise ModelError("The model took too long.")
            if response.status_code != httpx.codes.OK:
                raise ModelError(_refusal(endpoint, response.status_code, bytes(data)))
    except httpx.TimeoutException:
        raise ModelError("The model took too long.") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
        raise ModelError(f"No model can be reached at {endpoint.url} ({clean(str(error), 200)}).") from None
    return _reply(bytes(data))


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
        identity, function = str(asked["id"])[:200], asked["function"]
        tool, arguments = str(function["name"])[:200], function["arguments"]
    except (LookupError, TypeError):
        return Call("", "", {}, "This is no call of a tool.")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return Call(identity, tool, {}, "The arguments of a tool are a JSON object.")
    return Call(identity, tool, parsed)
