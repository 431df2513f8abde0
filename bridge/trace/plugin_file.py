"""Which of the built plugins a QEMU takes. Each version of QEMU's plugin interface has its own; QEMU is asked, once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.machine.command_line import escape
from bridge.machine.kept_answers import keep_answer, kept_answer
from bridge.machine.qemu_binary import QemuBinary

BUILT = Path(__file__).parents[2] / "tcg_plugin" / "build"
_NAME = re.compile(r"glassbox-api(\d+)\.so")
_TRIAL_LIMIT_S = 20.0
_CACHE = "plugin-probe.json"


@dataclass(frozen=True, slots=True)
class PluginChoice:
    """The plugin for a QEMU, or why there is none."""

    path: Path | None
    reason: str
    """A sentence."""


def plugin_for(qemu: QemuBinary, built: Path = BUILT) -> PluginChoice:
    """The newest plugin that this QEMU loads. Takes some 50 ms the first time for a QEMU and a build, then nothing."""
    plugins = sorted(
        (path for path in built.glob("glassbox-api*.so") if _NAME.fullmatch(path.name)), key=_api_of, reverse=True
    )
    if not plugins:
        return PluginChoice(None, "The plugin is not built (./glassbox builds it; it needs a C compiler and make).")
    asked = {"qemu": qemu.identity, "plugins": [f"{path}:{path.stat().st_mtime_ns}" for path in plugins]}
    kept = kept_answer(_CACHE, asked)
    known = None if kept is None else _choice_from(kept)
    if known is None:
        try:
            known = _try(qemu, plugins)
        except (OSError, subprocess.TimeoutExpired) as error:
            # It may be the host that has much else to do: that is not kept, and tried again at the next start.
            return PluginChoice(None, f"{qemu.path} could not be tried out with the plugin: {error}.")
        keep_answer(_CACHE, asked, {"path": None if known.path is None else str(known.path), "reason": known.reason})
    return known


def _choice_from(kept: Mapping[str, Any]) -> PluginChoice | None:
    path, reason = kept.get("path"), kept.get("reason")
    if not isinstance(reason, str) or not isinstance(path, str | None):
        return None
    return PluginChoice(None if path is None else Path(path), reason)


def _api_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def _try(qemu: QemuBinary, plugins: list[Path]) -> PluginChoice:
    said = ""
    for path in plugins:
        # Without options the plugin does nothing; QEMU refuses one of another interface before it looks at them.
        arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-accel", "tcg"]
        arguments += ["-monitor", "stdio", "-plugin", escape(str(path))]
        ended = subprocess.run(
            [str(qemu.path), *arguments], input=b"quit\n", capture_output=True, timeout=_TRIAL_LIMIT_S, check=False
        )
        if ended.returncode == 0:
            return PluginChoice(path, f"{qemu.path} takes {path.name}")
        lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        said = said or (lines[-1][:200] if lines else f"it ended with {ended.returncode}")
    return PluginChoice(None, f"{qemu.path} takes none of the plugins that are built; it said: {said}")
