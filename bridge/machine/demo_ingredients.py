"""Choose and fetch the packages that the guest "demo" is made of, and remember the choice.

What was fetched once stays usable: making the guest again needs neither a network nor apt's lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.machine.guest import GuestIngredientMissing
from bridge.machine.packages import Cancelled, Package, Progress, depends, fetch, locate, require_apt

# The small kernels for virtual machines first: Debian's, then Ubuntu's; then each distribution's general one.
KERNEL_PACKAGES = (
    "linux-image-cloud-amd64",
    "linux-image-kvm",
    "linux-image-virtual",
    "linux-image-amd64",
    "linux-image-generic",
)
SHELL_PACKAGE = "busybox-static"
SSH_PACKAGE = "dropbear-bin"

# Debian up to trixie: linux-image holds all; later linux-image, linux-binary, linux-modules. Ubuntu: image, modules.
_KERNEL_PART = re.compile(r"linux-(image|binary|modules)-.*")
_DEPTH = 6
_LIBRARY_PACKAGE = re.compile(r"(lib|zlib).*")
_CHOICE_FILE = "choice.json"
_CHOICE_FORMAT = 2
_LISTS_FIX = "Update apt's lists: sudo apt-get update"


@dataclass(frozen=True, slots=True)
class Ingredients:
    """The package files that the guest is made of."""

    kernel: tuple[Path, ...]
    shell: Path
    ssh: Path
    libraries: tuple[Path, ...]


def fetch_ingredients(
    directory: Path, *, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> Ingredients:
    """Have the packages in ``directory``: those of last time while they are intact, else what apt offers now.

    Raises `GuestIngredientMissing` or `GuestCancelled`.
    """
    remembered = _remembered(directory)
    if remembered and all(package.is_intact(directory / package.file_name) for package in remembered):
        return _sorted({package.name: directory / package.file_name for package in remembered})
    if progress:
        progress("Looking up the guest's packages", 0.0)
    packages = locate(choose_packages())
    paths = fetch(packages, directory, progress=progress, cancelled=cancelled)
    _remember(directory, packages)
    return _sorted(paths)


def choose_packages() -> tuple[str, ...]:
    """Names of the packages to fetch; raises `GuestIngredientMissing` when apt does not know them."""
    require_apt()
    known = _lookup((*KERNEL_PACKAGES, SHELL_PACKAGE, SSH_PACKAGE))
    kernel: tuple[str, ...] = ()
    for meta in KERNEL_PACKAGES:
        if not kernel and meta in known:
            kernel = tuple(name for name in _reachable(meta, known, _KERNEL_PART) if name in known)
    missing = [name for name in (SHELL_PACKAGE, SSH_PACKAGE) if name not in known]
    if not kernel:
        missing.insert(0, KERNEL_PACKAGES[0])
    if missing:
        raise GuestIngredientMissing(missing, "apt knows no such packages.", _LISTS_FIX)
    return (*kernel, SHELL_PACKAGE, SSH_PACKAGE, *_reachable(SSH_PACKAGE, known, _LIBRARY_PACKAGE))


def _lookup(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What ``names`` depend on, and what that depends on, as far as it may belong into the guest."""
    known: dict[str, tuple[str, ...]] = {}
    asked: set[str] = set()
    waiting = list(names)
    for _ in range(_DEPTH):
        known.update(depends(waiting))
        asked.update(waiting)
        needs = {need for name in waiting for need in known.get(name, ())}
        waiting = sorted(
            need for need in needs - asked if _KERNEL_PART.fullmatch(need) or _LIBRARY_PACKAGE.fullmatch(need)
        )
        if not waiting:
            break
    return known


def _reachable(start: str, known: Mapping[str, tuple[str, ...]], kind: re.Pattern[str]) -> tuple[str, ...]:
    """The packages of one ``kind`` that ``start`` depends on, directly or through each other, without itself."""
    found: dict[str, None] = {}
    waiting = [start]
    while waiting:
        for need in known.get(waiting.pop(0), ()):
            if kind.fullmatch(need) and need not in found:
                found[need] = None
                waiting.append(need)
    return tuple(found)


def _sorted(paths: Mapping[str, Path]) -> Ingredients:
    kernel = {name: path for name, path in paths.items() if _KERNEL_PART.fullmatch(name)}
    return Ingredients(
        kernel=tuple(kernel.values()),
        shell=paths[SHELL_PACKAGE],
        ssh=paths[SSH_PACKAGE],
        libraries=tuple(
            path for name, path in paths.items() if name not in (SHELL_PACKAGE, SSH_PACKAGE) and name not in kernel
        ),
    )


def _remember(directory: Path, packages: tuple[Package, ...]) -> None:
    choice = {"format": _CHOICE_FORMAT, "packages": [asdict(package) for package in packages]}
    unfinished = directory / f"{_CHOICE_FILE}.new"
    unfinished.write_text(json.dumps(choice, indent=1))
    unfinished.replace(directory / _CHOICE_FILE)
    kept = {package.file_name for package in packages}
    for old in directory.glob("*.deb"):
        if old.name not in kept:
            old.unlink()


def _remembered(directory: Path) -> tuple[Package, ...] | None:
    """What `_remember` wrote; ``None`` when there is nothing, or nothing that can be understood."""
    try:
        choice = json.loads((directory / _CHOICE_FILE).read_bytes())
        if choice["format"] != _CHOICE_FORMAT:
            return None
        packages = tuple(Package.from_record(entry) for entry in choice["packages"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    names = {package.name for package in packages}
    is_whole = {SHELL_PACKAGE, SSH_PACKAGE} <= names and any(_KERNEL_PART.fullmatch(name) for name in names)
    return packages if is_whole else None
