"""The plugin under a QEMU of plugin API 7, which the system may not have: what it tells is as exact there.

The tests are those of `test_counting`, run again with a QEMU that was fetched.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.machine.qemu_binary import find_qemu
from bridge.trace.plugin_file import plugin_for
from tests.bridge.machine.newer_qemu import have_newer_qemu
from tests.bridge.trace.conftest import Counting
from tests.bridge.trace.test_counting import (  # noqa: F401 - run again here
    test_blocks_are_counted_exactly,
    test_each_access_is_recorded_once,
    test_heat_is_the_number_of_loads_and_stores,
    test_modes_change_within_milliseconds_and_often,
    test_registers_are_told_at_each_block,
    test_who_wrote_a_page_is_known,
)


@pytest.fixture(autouse=True)
def _newer_qemu(guest_cache: Path, private_directories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSBOX_QEMU", str(have_newer_qemu(guest_cache)))


def test_it_takes_the_newest_plugin(counting: Counting) -> None:
    assert find_qemu().version >= (11, 1)
    choice = plugin_for(find_qemu())
    assert choice.path is not None
    assert choice.path.name == "glassbox-api7.so"
    assert counting.trace.memory.plugin["api"] == 7
