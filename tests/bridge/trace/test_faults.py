"""The shared memory goes while a guest is traced: the guest runs on, and who traces it is told."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest

from bridge.machine.states import MachineState
from bridge.trace.errors import TraceError
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Policy, Wish
from bridge.trace.ring import newest
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
    wait_until,
)
from tests.bridge.trace.conftest import DONE, GO, WAITED, Counting, counting  # noqa: F401 - a fixture

SIDES = sum(layout()[name].itemsize for name in ("header", "reader_side", "plugin_side"))


def changed(counting: Counting, before: int) -> bool:  # noqa: F811
    return counting.word(DONE) != before


def runs_on(counting: Counting) -> None:  # noqa: F811
    """Have it count, twice, without a look at its trace."""
    for _ in range(2):
        before = counting.word(DONE)
        counting.write(GO, b"\1")
        wait_until(partial(changed, counting, before))
    assert counting.machine.info.state is MachineState.RUNNING


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("left", [0, -(-SIDES // 4096) * 4096], ids=["nothing", "its sides"])
def test_memory_that_is_cut_short_ends_the_trace_and_not_the_machine(
    counting: Counting,  # noqa: F811
    mode: Mode,
    left: int,
) -> None:
    session, memory = counting.trace, counting.trace.memory
    session.set(Wish(mode, policy=Policy.OVERWRITE))
    reader = session.rings()[0]
    os.truncate(memory.path, left)
    assert not memory.whole
    runs_on(counting)
    first = np.zeros(1, np.int64)
    for call in (
        session.counts,
        session.samples,
        session.hits,
        lambda: session.last_touches(first),
        lambda: session.set(Wish()),
        reader.views,
        reader.read,
        lambda: newest(memory, 0),
    ):
        with pytest.raises(TraceError, match=r"was cut short, or .* is full"):
            call()
    assert not session.ended
    counting.machine.pause()
    counting.machine.resume()
    runs_on(counting)
    if left:  # what the plugin does, is still told there
        wait_until(lambda: int(memory.plugin["parts"]) == 0)
        if mode is not Mode.OFF:
            assert int(memory.plugin["faults"]) > 0


def test_a_machine_whose_trace_was_deleted_is_traced_on(counting: Counting) -> None:  # noqa: F811
    counting.trace.memory.path.unlink()
    counting.trace.set(Wish(Mode.HEAT))
    counting.count()
    assert int(counting.trace.counts().total.sum()) > 0
    assert counting.word(WAITED) > 0
