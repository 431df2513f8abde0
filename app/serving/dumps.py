"""Dumps that are served: files by names that can stand in an address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from app.failures import UsageError

_LONGEST = 64


def named_dumps(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by name. Raises UsageError where one is missing, or two would have one name."""
    named: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
        name = re.sub(r"[^A-Za-z0-9._-]", "-", path.stem)[:_LONGEST] or "dump"
        if name in named:
            raise UsageError(f"two dumps would be called {name}: {named[name]} and {path}")
        named[name] = path.absolute()
    return named
