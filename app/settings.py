"""Settings: what the user chose and what is kept between runs, saved whole or not at all.

A file that cannot be understood never stops the program: the defaults are used, the broken file is kept beside it for
inspection, and the caller gets a sentence to show.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from app.theme import MAX_SCALE, MIN_SCALE
from render.curves import CURVES
from render.look import Mode

SETTINGS_FILE = "settings.json"
LAYOUT_FILE = "layout.ini"
MAX_FILE_BYTES = 1 << 20  # both files are a few KiB; a larger one is not ours
LAYOUT_MARK = "; glassbox layout "

MIN_FRAME_MS, MAX_FRAME_MS = 4.0, 200.0
MIN_MEMORY_MIB = 64

MODES: tuple[Mode, ...] = ("solid", "translucent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is kept between runs."""

    theme: str = "dark"
    ui_scale: float = 1.0
    mode: Mode = "solid"
    palette: str = ""  # empty: the view's own default
    curve: str = "hilbert"  # how addresses are laid in space
    frame_budget_ms: float = 0.0  # 0: what suits the adapter
    memory_budget_mib: int = 0  # of the GPU's memory; 0: half of it
    bits: int = 64  # how the inspector decodes instructions
    greeted: bool = False  # the first-start tour and hints were shown
    window_width: int = 0  # 0: not known yet
    window_height: int = 0
    show_machines: bool = True
    show_inspector: bool = True
    show_console: bool = True
    show_log: bool = True
    show_performance: bool = False
    show_slices: bool = False


class BadSettings(ValueError):
    """A settings file holds something that cannot be meant; the message says what."""


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "theme": lambda v: v in ("dark", "light"),
    "ui_scale": lambda v: MIN_SCALE <= v <= MAX_SCALE,
    "mode": lambda v: v in MODES,
    "palette": lambda v: len(v) <= 40,
    "curve": lambda v: v in CURVES,
    "frame_budget_ms": lambda v: v == 0 or MIN_FRAME_MS <= v <= MAX_FRAME_MS,
    "memory_budget_mib": lambda v: v == 0 or MIN_MEMORY_MIB <= v <= 1 << 20,
    "bits": lambda v: v in (16, 32, 64),
    "window_width": lambda v: v == 0 or 320 <= v <= 16384,
    "window_height": lambda v: v == 0 or 240 <= v <= 16384,
}


def settings_from_json(document: object) -> Settings:
    """Return the settings in a parsed JSON document. Unknown names are ignored (a newer version wrote them).

    Raises BadSettings.
    """
    if not isinstance(document, Mapping):
        raise BadSettings("it does not hold one JSON object")
    defaults = Settings()
    known: dict[str, Any] = {}
    for field in fields(Settings):
        if field.name not in document:
            continue
        value, default = document[field.name], getattr(defaults, field.name)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default) or not _CHECKS.get(field.name, lambda _v: True)(value):
            raise BadSettings(f"“{field.name}” cannot be {json.dumps(value)[:60]}")
        known[field.name] = value
    return replace(defaults, **known)


def load_settings(folder: Path) -> tuple[Settings, str | None]:
    """Return the settings kept in `folder`, and a sentence for the user when they had to be given up."""
    path = folder / SETTINGS_FILE
    try:
        return settings_from_json(json.loads(_read_bounded(path))), None
    except FileNotFoundError:
        return Settings(), None
    except (OSError, ValueError, RecursionError) as error:
        return Settings(), _set_aside(path, "settings", error)


def save_settings(folder: Path, settings: Settings) -> None:
    """Write the settings into `folder`, atomically. Raises OSError."""
    write_atomically(folder / SETTINGS_FILE, json.dumps(asdict(settings), indent=2) + "\n")


def load_layout(folder: Path) -> tuple[str | None, str | None]:
    """Return the panel layout (ImGui's ini text) kept in `folder`, or None, and a sentence when it was given up.

    The text carries its own checksum: ImGui believes what it reads, and a half-written dock tree would hide panels.
    """
    path = folder / LAYOUT_FILE
    try:
        text = _read_bounded(path)
        head, _, body = text.partition("\n")
        if not head.startswith(LAYOUT_MARK):
            raise BadSettings("it was not written by Glassbox")
        if head[len(LAYOUT_MARK) :].strip() != _checksum(body):
            raise BadSettings("its checksum does not fit")
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        return None, _set_aside(path, "panel layout", error)
    return body, None


def save_layout(folder: Path, ini: str) -> None:
    """Write the panel layout into `folder`, atomically. Raises OSError."""
    write_atomically(folder / LAYOUT_FILE, f"{LAYOUT_MARK}{_checksum(ini)}\n{ini}")


def forget_layout(folder: Path) -> None:
    """Remove the kept panel layout."""
    (folder / LAYOUT_FILE).unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by a file that holds `text`; readers see the old or the new content, never a part."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_bounded(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BadSettings(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
    return data.decode()


def _set_aside(path: Path, what: str, error: Exception) -> str:
    broken = path.with_name(path.name + ".broken")
    try:
        path.replace(broken)
    except OSError:
        return f"The saved {what} could not be read ({error}). The defaults are used."
    return f"The saved {what} could not be used: {error}. The defaults are used; the old file is now {broken}."
