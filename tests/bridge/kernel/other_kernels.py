"""Kernels that the machine's own suite does not have: from other suites of the same mirror, each by an apt of its own.

No mirror is named here: where the machine's apt gets its packages from, the other suites are. A kernel that was fetched
once stays in the user's cache, as the demo guest's packages do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.machine.guest import GuestIngredientMissing
from bridge.machine.packages import depends, fetch, locate, read_files

_KERNEL_PATH = re.compile(r"(usr/lib/modules/[^/]+/vmlinuz|boot/vmlinuz-.*)")
_KERNEL_PACKAGE = re.compile(r"linux-(image|binary)-\d.*")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A kernel, by what apt calls it. An empty suite is the machine's own."""

    suite: str
    package: str = "linux-image-cloud-amd64"


def have_kernel(wanted: Wanted, cache: Path) -> Path:
    """The bzImage, fetched where it is not in the cache yet; skips the test, saying why, where it cannot be had."""
    directory = cache / "glassbox" / "test-kernels" / f"{wanted.suite or 'own'}-{wanted.package}"
    image = directory / "vmlinuz"
    if image.exists():
        return image
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as work, pytest.MonkeyPatch.context() as patch:
        if wanted.suite:
            patch.setenv("APT_CONFIG", str(_private_apt(wanted.suite, Path(work))))
        try:
            paths = fetch(locate([_kernel_package(wanted)]), Path(work))
        except GuestIngredientMissing as error:
            pytest.skip(f"{wanted.package} of {wanted.suite or 'this suite'} is not to be had: {error}")
        (package,) = paths.values()
        (content,) = read_files(package, lambda path: _KERNEL_PATH.fullmatch(path) is not None).values()
        unfinished = Path(work) / image.name
        unfinished.write_bytes(content)
        unfinished.replace(image)
    return image


def _kernel_package(wanted: Wanted) -> str:
    """The package that holds the kernel: behind a meta-package, and since Linux 6.19 behind one more."""
    name = wanted.package
    for _ in range(3):
        needs = depends([name]).get(name, ())
        following = [need for need in needs if _KERNEL_PACKAGE.fullmatch(need)]
        if not following:
            break
        name = following[0]
    return name


def _private_apt(suite: str, directory: Path) -> Path:
    """An apt configuration that knows one suite of the machine's own mirror; skips where there is none."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt here to fetch another kernel with")
    found = _run("apt-get", "indextargets", "--format", "$(ORIGIN) $(SITE)", "Created-By: Packages").stdout
    sites = [line.partition(" ")[2] for line in found.splitlines() if line.startswith("Debian ")]
    if not sites:
        pytest.skip("apt knows no mirror of Debian to fetch another kernel from")
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "status").touch()
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    (directory / "sources.list").write_text(f"deb {signed}{min(sites, key=len)} {suite} main\n")
    config = directory / "apt.conf"
    config.write_text(
        f'Dir::Etc::SourceList "{directory}/sources.list";\nDir::Etc::SourceParts "/dev/null";\n'
        f'Dir::Etc::Preferences "/dev/null";\nDir::Etc::PreferencesParts "/dev/null";\n'
        f'Dir::State::lists "{directory}/lists";\nDir::State::status "{directory}/status";\n'
        f'Dir::Cache "{directory}";\nDir::Cache::archives "{directory}/archives";\n'
        'APT::Architecture "amd64";\nAcquire::Languages "none";\nAPT::Sandbox::User "root";\n'
        # Suites that get no updates any more have lists that say so.
        'Acquire::Check-Valid-Until "false";\nAcquire::Retries "2";\nAcquire::http::Timeout "20";\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APT_CONFIG", str(config))
        updated = _run("apt-get", "update", "-q")
    if updated.returncode or "E: " in updated.stderr or "W: " in updated.stderr:
        pytest.skip(f"the mirror has no {suite}: {updated.stderr.strip()[-300:]}")
    return config


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
