"""What a guest executes, loads and stores becomes channels of its volume, which cool as time goes by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from app.look_settings import kept_of
from app.settings import Settings
from app.trace_channels import EXECUTED, LOADED, STORED, TITLES, TOP, TraceChannels, TraceHeat
from app.tracing import Tracer, Tracers, TracerState
from app.transfer_edit import value_text
from bridge.machine.guest import MIB
from bridge.trace.modes import Mode
from bridge.trace.page_heat import Touched
from render.bricks import BrickStore
from render.channels import info_of_attribute
from render.device import request_device
from tests.app.test_tracing import until
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
)
from tests.bridge.trace.conftest import COUNTER, LOOP_AT, ROUNDS, Counting, counting  # noqa: F401 - a fixture


@pytest.fixture
def store() -> Iterator[BrickStore]:
    device, _ = request_device()
    store = BrickStore(device, 16 * MIB)
    yield store
    store.destroy()


def touched(executed: float, loads: int = 0, stores: int = 0, seconds: float = 0.0) -> Touched:
    """All of it in the first of two pages."""
    nothing = np.zeros(2, np.uint32)
    heat = [nothing.copy(), nothing.copy()]
    heat[0][0], heat[1][0] = loads, stores
    return Touched(np.array([executed, 0.0]), heat[0], heat[1], 1, seconds)


def test_heat_halves_in_its_half_life_and_grows_with_what_is_touched(counting: Counting) -> None:  # noqa: F811
    heat = TraceHeat(Tracer(counting.machine))
    heat.half_life_s = 2.0
    assert heat.latest() == (0, {})
    heat.add(touched(800), with_accesses=False)
    heat.add(touched(100, loads=7, seconds=2.0), with_accesses=False)
    number, found = heat.latest()
    assert number == 2
    assert {name: values.tolist() for name, values in found.items()} == {EXECUTED: [500, 0]}
    heat.add(touched(0, loads=8, stores=4, seconds=4.0), with_accesses=True)
    heat.add(touched(0, seconds=2.0), with_accesses=False)  # another mode: what was hot cools
    _, found = heat.latest()
    assert {name: values.tolist() for name, values in found.items()} == {
        EXECUTED: [62.5, 0],
        LOADED: [4, 0],
        STORED: [2, 0],
    }


def test_channels_come_with_what_they_show_and_follow_while_they_are_looked_at(
    counting: Counting,  # noqa: F811
    store: BrickStore,
) -> None:
    name, tracers, channels = counting.machine.name, Tracers(), TraceChannels()
    tracers.sync([counting.machine])
    tracer = tracers.of(name)
    assert tracer is not None

    def follow(*looked_at: str) -> bool:
        return channels.follow(tracers, {name: store}, frozenset(looked_at))

    store.half_life_s = 1e6  # so that nothing cools while the guest counts
    assert not follow()
    assert store.attributes == ()
    tracer.set_mode(Mode.COUNTERS)
    until(lambda: follow() and EXECUTED in store.attributes)
    assert LOADED not in store.attributes
    code = LOOP_AT >> 12
    until(lambda: follow(EXECUTED) and store.attribute(EXECUTED).values[code] > 0)
    assert np.flatnonzero(store.attribute(EXECUTED).values).tolist() == [code]
    tracer.set_mode(Mode.HEAT)
    until(lambda: follow(EXECUTED) and STORED in store.attributes)
    counting.count()
    page = COUNTER >> 12
    until(lambda: follow(LOADED, STORED) and store.attribute(STORED).values[page] >= ROUNDS * 0.999)
    assert store.attribute(LOADED).values[page] == pytest.approx(ROUNDS, rel=1e-3)
    info = info_of_attribute(store.attribute(STORED))
    assert (info.title, info.unit, info.high, info.logarithmic) == (TITLES[STORED], "stores", TOP, True)
    assert [text for _, text in info.ticks] == ["0", "1", "1 K", "1 M", "1 G"]
    assert value_text(STORED, info, info.ticks[2][0]) == "1,000 stores"
    tracer.set_mode(Mode.OFF)
    until(lambda: tracer.state is TracerState.OFF)
    until(lambda: not follow(STORED))
    assert store.attribute(STORED).values[page] > 0, "what was seen last stays"
    assert not channels.follow(tracers, {}, frozenset())
    tracers.close()


def test_what_is_not_touched_recedes_unless_the_user_says_otherwise() -> None:
    _, transfer = kept_of(Settings(), EXECUTED)
    opacities = transfer.opacities()
    assert 0 < opacities[0] < 0.05
    assert opacities[255] == 1
