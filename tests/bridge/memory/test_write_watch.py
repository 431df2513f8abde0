"""A span of time is watched by two sweeps: what changed in it is told, what was there before is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bridge.memory.ram import GuestRam
from bridge.memory.write_watch import watch_writes


def test_what_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(range(256)) * 16 * 40)
    ram = GuestRam.open(path)
    asked = 0

    def write_and_wait() -> bool:
        """Asked between the sweeps: somebody writes to two pages, and one gets the bytes that it had."""
        nonlocal asked
        asked += 1
        with path.open("r+b", buffering=0) as file:
            for page, value in ((3, b"new"), (39, b"too"), (7, bytes(range(3)))):
                file.seek(page * 4096)
                file.write(value)
        return asked > 1

    mask = watch_writes(ram, 60.0, write_and_wait)
    assert np.flatnonzero(mask).tolist() == [3, 39]
    assert asked == 2
    assert not watch_writes(ram, 0.001).any()
    ram.close()
