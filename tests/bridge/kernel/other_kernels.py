"""Kernels that the machine's own suite does not have: from other suites of the same mirror.

No mirror is named here: where the machine's apt gets its packages from, the other suites are. A kernel that was fetched
once stays in the user's cache, as the demo guest's packages do.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.machine.apt_suites import SuiteMissing, suite_config
from bridge.machine.guest import GuestIngredientMissing
from bridge.machine.packages import depends, fetch, locate, read_files

_KERNEL_PATH = re.compile(r"(usr/lib/modules/[^/]+/vmlinuz|boot/vmlinuz-.*)")
_KERNEL_PACKAGE = re.compile(r"linux-(image|binary)-\d.*")


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
    with tempfile.TemporaryDirectory(dir=directory) as work:
        try:
            config = suite_config(wanted.suite, Path(work)) if wanted.suite else None
            paths = fetch(locate([_kernel_package(wanted, config)], config), Path(work), config=config)
        except (SuiteMissing, GuestIngredientMissing) as error:
            pytest.skip(f"{wanted.package} of {wanted.suite or 'this suite'} is not to be had: {error}")
        (package,) = paths.values()
        (content,) = read_files(package, lambda path: _KERNEL_PATH.fullmatch(path) is not None).values()
        unfinished = Path(work) / image.name
        unfinished.write_bytes(content)
        unfinished.replace(image)
    return image


def _kernel_package(wanted: Wanted, config: Path | None) -> str:
    """The package that holds the kernel: behind a meta-package, and since Linux 6.19 behind one more."""
    name = wanted.package
    for _ in range(3):
        needs = depends([name], config).get(name, ())
        following = [need for need in needs if _KERNEL_PACKAGE.fullmatch(need)]
        if not following:
            break
        name = following[0]
    return name
