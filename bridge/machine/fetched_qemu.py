"""A newer QEMU than the system's, for this user alone: fetched from the distribution's packages into the cache.

What is kept runs with its own loader and libraries, as the system's may be older than it needs. Nothing is installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.machine.apt_suites import SuiteMissing, own_config, suite_config
from bridge.machine.elf_interpreter import with_interpreter
from bridge.machine.errors import MachineError
from bridge.machine.guest import GuestIngredientMissing
from bridge.machine.guest_cache import lock
from bridge.machine.packages import (
    Cancelled,
    Progress,
    candidate_version,
    fetch,
    locate_with_all_they_need,
    missing_tools,
)
from bridge.machine.qemu_binary import PROGRAM, QemuBinary, fetched_program, identify
from bridge.machine.shared_objects import NotAnElfProgram, needed_libraries

PACKAGE = "qemu-system-x86"
WANTED_VERSION = (11, 1)
"""The first release whose plugins can change a guest's registers and say where it goes on (plugin API 7)."""
SUITES = ("testing", "unstable")
"""Where to look when the system's own suites have none that is new enough; the calmer one first."""

_VERSION = re.compile(r"(?:\d+:)?(\d+)\.(\d+)")
_LOADER = "ld-linux-x86-64.so.2"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib64", "lib64", "usr/lib", "lib")
_FIRMWARE = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")
_FIRMWARE_NAMES = ("*.bin", "*.rom")
_MOST_LIBRARIES = 400


class QemuNotFetched(MachineError):
    """No newer QEMU could be had."""


def fetch_qemu(*, progress: Progress | None = None, cancelled: Cancelled | None = None) -> QemuBinary:
    """Fetch the newest QEMU of this machine's mirror that is `WANTED_VERSION` or newer, and use it from now on.

    Some 55 MB come from the mirror, 80 MB stay in the cache. What an interrupted run has fetched is used again.
    Raises `QemuNotFetched`; `GuestCancelled` when asked to stop.
    """
    if missing_tools():
        raise QemuNotFetched(
            "A newer QEMU is taken from Debian's packages, and this system has no apt. Set GLASSBOX_QEMU to one's path."
        )
    say = progress or (lambda _sentence, _share: None)
    parent = fetched_program().parent
    with lock(parent, cancelled):
        say("Looking for a newer QEMU", 0.0)
        config, version = _look(parent / "apt")
        try:
            packages = locate_with_all_they_need(PACKAGE, config)
            what = f"QEMU {version}"
            files = fetch(packages, parent / "packages", progress=say, cancelled=cancelled, config=config, what=what)
        except GuestIngredientMissing as error:
            named = ", ".join(error.packages[:4]) + (" …" if len(error.packages) > 4 else "")
            raise QemuNotFetched(f"QEMU could not be fetched ({named}). {error.reason} {error.fix}") from error
        say(f"Unpacking QEMU {version}", 0.9)
        try:
            program = _unpack(list(files.values()), parent, re.sub(r"[^0-9A-Za-z.+-]", "-", version))
        except (NotAnElfProgram, OSError, subprocess.CalledProcessError) as error:
            raise QemuNotFetched(f"QEMU {version} was fetched, but could not be unpacked: {error}.") from error
        found = identify(program)
        for left in ("apt", "packages"):
            shutil.rmtree(parent / left, ignore_errors=True)
        say(f"QEMU {'.'.join(map(str, found.version))} is used from now on", 1.0)
    return found


def remove_qemu() -> bool:
    """Go back to the system's QEMU. Whether there was a fetched one; machines that run on it run on."""
    parent = fetched_program().parent
    there = fetched_program().exists()
    if parent.exists():
        with lock(parent):
            fetched_program().unlink(missing_ok=True)
            for directory in parent.iterdir():
                if directory.is_dir():
                    shutil.rmtree(directory, ignore_errors=True)
    return there


def _look(directory: Path) -> tuple[Path, str]:
    """The apt configuration that offers a QEMU that is new enough, and the version of its package."""
    seen = []
    for suite in ("", *SUITES):
        try:
            config = suite_config(suite, directory / suite) if suite else own_config(directory / "own")
        except SuiteMissing as error:
            seen.append(str(error))
            continue
        version = candidate_version(PACKAGE, config)
        match = _VERSION.match(version)
        if match is not None and (int(match[1]), int(match[2])) >= WANTED_VERSION:
            return config, version.partition(":")[2] or version
        seen.append(f"{suite or 'The system'} has {version or 'none'}.")
    wanted = ".".join(map(str, WANTED_VERSION))
    raise QemuNotFetched(f"No QEMU {wanted} or newer was found. {' '.join(seen)}")


def _unpack(packages: Sequence[Path], parent: Path, version: str) -> Path:
    """Make ``parent``/``version`` from the packages, and the program that starts it; returns that."""
    with tempfile.TemporaryDirectory(prefix=".work-", dir=parent) as work:
        tree, made = Path(work) / "tree", Path(work) / "made"
        for package in packages:
            subprocess.run(
                ["dpkg-deb", "--extract", str(package), str(tree)],
                check=True,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        for name in ("bin", "lib", "share"):
            (made / name).mkdir(parents=True)
        target = parent / version
        program = _inside(tree, f"usr/bin/{PROGRAM}").read_bytes()
        for name, path in _libraries(tree, program):
            shutil.copyfile(path, made / "lib" / name)
            (made / "lib" / name).chmod(0o755)  # the loader is one of them, and is run
        for directory in _FIRMWARE:
            for pattern in _FIRMWARE_NAMES:
                for path in sorted((tree / directory).glob(pattern)):
                    with contextlib.suppress(FileNotFoundError):  # a link to what no package brought
                        shutil.copyfile(_inside(tree, str(path.relative_to(tree))), made / "share" / path.name)
        started = made / "bin" / PROGRAM
        started.write_bytes(with_interpreter(program, os.fsencode(target / "lib" / _LOADER)))
        started.chmod(0o755)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(target)
        made.rename(target)
    start = fetched_program()
    unfinished = start.with_name(f".{start.name}.{os.getpid()}")
    unfinished.write_text(_script(target))
    unfinished.chmod(0o755)
    unfinished.replace(start)
    for other in parent.iterdir():
        if other.is_dir() and (other / "bin" / PROGRAM).exists() and other != target:
            shutil.rmtree(other, ignore_errors=True)
    return start


def _script(target: Path) -> str:
    """A shell script, as the loader has to be told where the libraries are, and QEMU where its firmware is."""
    library, share, program = (shlex.quote(str(target / part)) for part in ("lib", "share", f"bin/{PROGRAM}"))
    return (
        "#!/bin/sh\n# Made by `glassbox qemu fetch`: QEMU with its own loader and libraries.\n"
        f'LD_LIBRARY_PATH={library}\nexport LD_LIBRARY_PATH\nexec {program} -L {share} "$@"\n'
    )


def _libraries(tree: Path, program: bytes) -> Iterator[tuple[str, Path]]:
    """Name and file of each library that ``program`` and its libraries ask for, and of the loader."""
    waiting, known = [_LOADER, *needed_libraries(program)], set()
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        known.add(name)
        found = None
        for directory in _LIBRARIES:
            with contextlib.suppress(FileNotFoundError):
                found = found or _inside(tree, f"{directory}/{name}")
        if found is None or len(known) > _MOST_LIBRARIES or "/" in name:
            raise NotAnElfProgram(f"{name}, which it asks for, is in none of the packages")
        waiting += needed_libraries(found.read_bytes())
        yield name, found


def _inside(tree: Path, path: str) -> Path:
    """The file at ``path`` of ``tree``, links followed as if ``tree`` were the root; raises `FileNotFoundError`."""
    left, at = [part for part in path.split("/") if part], list[str]()
    for _ in range(256):
        if not left:
            break
        part = left.pop(0)
        if part == "..":
            at = at[:-1]
            continue
        step = tree.joinpath(*at, part)
        if part == "." or not step.is_symlink():
            at += [] if part == "." else [part]
            continue
        target = str(step.readlink())
        at = [] if target.startswith("/") else at
        left = [each for each in target.split("/") if each] + left
    found = tree.joinpath(*at)
    if left or not found.is_file():
        raise FileNotFoundError(f"{path} is in none of the packages")
    return found
