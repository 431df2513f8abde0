"""Which QEMU is used: its path, its version, and whether it is new enough."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bridge.machine.directories import cache_path
from bridge.machine.errors import QemuMissing

PROGRAM = "qemu-system-x86_64"
# The first release whose plugin interface (version 4) and migration to files serve us.
OLDEST_VERSION = (9, 1)
_VERSION = re.compile(r"QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """An installed QEMU."""

    path: Path
    version: tuple[int, int, int]
    description: str
    """Its first line on --version, which names the package build too."""
    identity: str
    """Changes whenever the file does."""


def fetched_program() -> Path:
    """Where the program is that `fetched_qemu` makes for this user, if it has been asked to."""
    return cache_path() / "qemu" / PROGRAM


def find_qemu() -> QemuBinary:
    """The QEMU to use: what GLASSBOX_QEMU names, else one that was fetched, else PATH's. Raises `QemuMissing`."""
    wanted = os.environ.get("GLASSBOX_QEMU", "")
    if not wanted and fetched_program().exists():
        try:
            return identify(fetched_program())
        except QemuMissing as error:
            fix = "./glassbox qemu fetch mends it; ./glassbox qemu remove goes back to the system's."
            raise QemuMissing(f"The QEMU that was fetched is broken: {error.found} {fix}") from error
    found = shutil.which(wanted or PROGRAM)
    if found is None:
        raise QemuMissing(f"QEMU is not there: {wanted or PROGRAM} was not found.")
    return identify(Path(found).resolve())


def identify(path: Path) -> QemuBinary:
    """What the program at ``path`` says of itself; raises `QemuMissing` when it is no QEMU, or too old a one."""
    try:
        status = path.stat()
    except OSError as error:
        raise QemuMissing(f"QEMU at {path} cannot be used: {error.strerror}.") from error
    return _identify(path, f"{path}:{status.st_size}:{status.st_mtime_ns}")


# Asking takes some 20 ms, and a launch would ask each time.
@functools.lru_cache(maxsize=8)
def _identify(path: Path, identity: str) -> QemuBinary:
    try:
        answer = subprocess.run(
            [str(path), "--version"], capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QemuMissing(f"{path} does not run: {error}.") from error
    first_line = answer.stdout.decode("utf-8", "replace").partition("\n")[0]
    match = _VERSION.match(first_line)
    if match is None:
        raise QemuMissing(f"{path} does not say that it is QEMU (it said {first_line[:80]!r}).")
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    if version[:2] < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise QemuMissing(f"{path} is QEMU {match[1]}.{match[2]}; {oldest} or newer is needed.")
    return QemuBinary(path, version, first_line, identity)
