"""Kept answers: what a trial of this system told, kept in the cache until what was asked changes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from bridge.machine.directories import cache_path


def kept_answer(name: str, asked: Mapping[str, object]) -> Mapping[str, Any] | None:
    """What was answered to exactly this; None where nothing is kept, or what is kept is nothing that `keep` wrote."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        document = json.loads((cache_path() / name).read_text(encoding="utf-8"))
        if document["asked"] == asked and isinstance(document["answer"], dict):
            answer: Mapping[str, Any] = document["answer"]
            return answer
    return None


def keep_answer(name: str, asked: Mapping[str, object], answer: Mapping[str, Any]) -> None:
    """Keep an answer, in the place of an older one. Where that cannot be, it is only asked again."""
    cache = cache_path() / name
    partial = cache.with_name(f".{name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.write_text(json.dumps({"asked": asked, "answer": answer}) + "\n")
        partial.replace(cache)
