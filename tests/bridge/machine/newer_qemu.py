"""A QEMU that is new enough for plugin API 7, fetched as a user would fetch it; the user's cache keeps it for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.machine.fetched_qemu import QemuNotFetched, fetch_qemu
from bridge.machine.guest_cache import lock
from bridge.machine.qemu_binary import fetched_program


def have_newer_qemu(cache: Path) -> Path:
    """Its path; skips the test, saying why, where it cannot be had."""
    directory = cache / "glassbox" / "test-qemu"  # not where the user's own would be
    with pytest.MonkeyPatch.context() as patch, lock(directory):
        patch.setenv("XDG_CACHE_HOME", str(directory))
        if not fetched_program().exists():
            try:
                fetch_qemu()
            except QemuNotFetched as error:
                pytest.skip(str(error))
        return fetched_program()
