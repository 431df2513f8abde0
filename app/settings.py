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
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app.theme import MAX_SCALE, MIN_SCALE
from bridge.machine.plain_files import open_plain
from render.content import Kind
from render.curves import CURVES
from render.errors import BadTransfer
from render.look import MODES, PYRAMIDS, Mode, Pyramid
from render.transfer import Point, Transfer

SETTINGS_FILE = "settings.json"
LAYOUT_FILE = "layout.ini"
MAX_FILE_BYTES = 1 << 20  # both files are a few KiB; a larger one is not ours
LAYOUT_MARK = "; glassbox layout "

MIN_FRAME_MS, MAX_FRAME_MS = 4.0, 200.0
MIN_MEMORY_MIB, MAX_MEMORY_MIB = 64, 1 << 20
MIN_WIDTH, MIN_HEIGHT = 320, 240
MIN_STORE_MIB = 32  # the symbols of one kernel take fourteen

MAX_NAME = 80
MAX_CHANNELS = 256
MIN_OPACITY = 0.001  # below it nothing would be seen
MIN_HALF_LIFE_S, MAX_HALF_LIFE_S = 0.1, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is kept between runs."""

    theme: str = "dark"
    ui_scale: float = 1.0
    mode: Mode = "solid"
    curve: str = "hilbert"  # how addresses are laid in space
    frame_budget_ms: float = 0.0  # 0: what suits the adapter
    memory_budget_mib: int = 0  # of the GPU's memory; 0: half of it
    channel: str = "content"
    palettes: dict[str, str] = field(default_factory=dict)  # channel -> palette; none: the channel's own
    transfers: dict[str, tuple[Point, ...]] = field(default_factory=dict)  # channel -> points; none: "Everything"
    opacity: float = 0.08
    pyramid: Pyramid = "mean"
    dim: float = 0.85  # how far other pages give way while some are lit up
    hidden_kinds: tuple[str, ...] = ()
    half_life_s: float = 5.0
    show_legend: bool = True
    consistent_frame: bool = False  # machines are held still while their kernels are looked at
    types_file: str = ""  # an ISF or vmlinux for kernels that carry no types
    store: bool = True  # what is seen of machines is written down, to be asked by SQL
    store_mib: int = 256  # of one session's database
    store_minutes: int = 60  # how far back it goes
    sessions_kept: int = 10  # the newest databases
    sessions_mib: int = 1024  # of all of them together
    llm_url: str = ""  # of an OpenAI-compatible endpoint; empty: no model is ever asked
    llm_model: str = ""
    bits: int = 64  # how the inspector decodes instructions
    greeted: bool = False  # the first-start tour and hints were shown
    window_width: int = 0  # 0: not known yet
    window_height: int = 0
    show_machines: bool = True
    show_inspector: bool = True
    show_console: bool = True
    show_log: bool = True
    show_kernel: bool = True
    show_performance: bool = False
    show_slices: bool = False
    show_transfer: bool = False
    show_statistics: bool = False
    show_volatility: bool = False
    show_sql: bool = False
    show_execution: bool = True
    show_flow: bool = False
    show_learning: bool = False
    show_pixel_cpu: bool = False
    show_results: bool = False
    show_processes: bool = True
    show_memory_map: bool = False
    show_files: bool = False
    show_stack: bool = False


class BadSettings(ValueError):
    """A settings file holds something that cannot be meant; the message says what."""


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "theme": lambda v: v in ("dark", "light"),
    "ui_scale": lambda v: MIN_SCALE <= v <= MAX_SCALE,
    "mode": lambda v: v in MODES,
    "curve": lambda v: v in CURVES,
    "frame_budget_ms": lambda v: v == 0 or MIN_FRAME_MS <= v <= MAX_FRAME_MS,
    "memory_budget_mib": lambda v: v == 0 or MIN_MEMORY_MIB <= v <= MAX_MEMORY_MIB,
    "channel": lambda v: 0 < len(v) <= MAX_NAME,
    "palettes": lambda v: len(v) <= MAX_CHANNELS and all(map(_is_name, (*v, *v.values()))),
    "transfers": lambda v: len(v) <= MAX_CHANNELS and all(_is_name(name) and _is_transfer(v[name]) for name in v),
    "opacity": lambda v: MIN_OPACITY <= v <= 1.0,
    "dim": lambda v: 0.0 <= v <= 1.0,
    "pyramid": lambda v: v in PYRAMIDS,
    "hidden_kinds": lambda v: list(v) == [kind.name.lower() for kind in Kind if kind.name.lower() in v],
    "half_life_s": lambda v: MIN_HALF_LIFE_S <= v <= MAX_HALF_LIFE_S,
    "types_file": lambda v: len(v) <= 4096 and "\0" not in v,
    "store_mib": lambda v: MIN_STORE_MIB <= v <= 1 << 20,
    "store_minutes": lambda v: 1 <= v <= 7 * 24 * 60,
    "sessions_kept": lambda v: 1 <= v <= 10_000,
    "sessions_mib": lambda v: MIN_STORE_MIB <= v <= 1 << 22,
    "llm_url": lambda v: len(v) <= 500 and v.isprintable(),
    "llm_model": lambda v: len(v) <= 200 and v.isprintable(),
    "bits": lambda v: v in (16, 32, 64),
    "window_width": lambda v: v == 0 or MIN_WIDTH <= v <= 16384,
    "window_height": lambda v: v == 0 or MIN_HEIGHT <= v <= 16384,
}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def _is_transfer(value: object) -> bool:
    try:
        Transfer(value)  # type: ignore[arg-type]
    except (BadTransfer, TypeError, OverflowError):
        return False
    return True


def _frozen(value: Any) -> Any:
    """Return JSON's lists as tuples."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {name: _frozen(part) for name, part in value.items()}
    return value


def _renamed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an earlier version wrote under the names of this one."""
    if "palette" in document and "palettes" not in document:
        palette = document["palette"]
        if not isinstance(palette, str):
            raise BadSettings(f"“palette” cannot be {json.dumps(palette)[:60]}")
        document = {**document, "palettes": {"content": palette} if palette not in ("", "content") else {}}
    if document.get("mode") == "first hit":
        document = {**document, "mode": "solid"}
    return document


def settings_from_json(document: object) -> Settings:
    """Return the settings in a parsed JSON document. Unknown names are ignored (a newer version wrote them).

    Raises BadSettings.
    """
    if not isinstance(document, Mapping):
        raise BadSettings("it does not hold one JSON object")
    document = _renamed(document)
    defaults = Settings()
    known: dict[str, Any] = {}
    for one in fields(Settings):
        if one.name not in document:
            continue
        value, default = _frozen(document[one.name]), getattr(defaults, one.name)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 1 << 53 else None
        if type(value) is not type(default) or not _CHECKS.get(one.name, lambda _v: True)(value):
            raise BadSettings(f"“{one.name}” cannot be {json.dumps(value)[:60]}")
        known[one.name] = value
    return replace(defaults, **known)


def load_settings(folder: Path) -> tuple[Settings, str | None]:
    """Return the settings kept in `folder`, and a sentence for the user when they had to be given up."""
    path = folder / SETTINGS_FILE
    try:
        return settings_from_json(json.loads(read_bounded(path))), None
    except FileNotFoundError:
        return Settings(), None
    except (OSError, ValueError, RecursionError) as error:
        return Settings(), set_aside(path, "saved settings", error)


def save_settings(folder: Path, settings: Settings) -> None:
    """Write the settings into `folder`, atomically. Raises OSError."""
    write_atomically(folder / SETTINGS_FILE, json.dumps(asdict(settings), indent=2) + "\n")


def load_layout(folder: Path) -> tuple[str | None, str | None]:
    """Return the panel layout (ImGui's ini text) kept in `folder`, or None, and a sentence when it was given up.

    The text carries its own checksum: ImGui believes what it reads, and a half-written dock tree would hide panels.
    """
    path = folder / LAYOUT_FILE
    try:
        text = read_bounded(path)
        head, _, body = text.partition("\n")
        if not head.startswith(LAYOUT_MARK):
            raise BadSettings("it was not written by Glassbox")
        if head[len(LAYOUT_MARK) :].strip() != _checksum(body):
            raise BadSettings("its checksum does not fit")
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        return None, set_aside(path, "saved panel layout", error)
    return body, None


def save_layout(folder: Path, ini: str) -> None:
    """Write the panel layout into `folder`, atomically. Raises OSError."""
    write_atomically(folder / LAYOUT_FILE, f"{LAYOUT_MARK}{_checksum(ini)}\n{ini}")


def forget_layout(folder: Path) -> None:
    """Remove the kept panel layout."""
    (folder / LAYOUT_FILE).unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by a file that holds `text`; readers see the old or the new content, never a part."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


def read_bounded(path: Path) -> str:
    """Return a small file's text. Raises OSError, BadSettings, UnicodeDecodeError."""
    with open_plain(path) as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BadSettings(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
    return data.decode()


def set_aside(path: Path, what: str, error: Exception, instead: str = "The defaults are used") -> str:
    """Keep a file that cannot be used under another name; returns a sentence for the user."""
    broken = path.with_name(path.name + ".broken")
    try:
        path.replace(broken)
    except OSError:
        return f"The {what} could not be read: {_why(error)}. {instead}."
    return f"The {what} could not be used: {_why(error)}. {instead}; the old file is now {broken}."


def _why(error: Exception) -> str:
    """Say why a file cannot be used, in a person's words: those of parsers are for programmers."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno} is no JSON from column {error.colno} on"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is no text in UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
