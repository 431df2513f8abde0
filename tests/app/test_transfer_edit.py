"""Editing transfer functions: whatever is done to the points, they stay a transfer function."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.action_sets.look import text_from_transfer, transfer_from_text
from app.actions import BadArguments
from app.transfer_edit import SNAP, added, added_after, moved, removed, snapped, value_text
from render.channels import CHANNELS, ChannelInfo
from render.transfer import MAX_POINTS, TRANSFERS, Transfer

unit = st.floats(0, 1)
anywhere = st.floats(-2, 3)
transfers = st.lists(st.tuples(unit, unit), min_size=2, max_size=MAX_POINTS).map(
    lambda points: Transfer(tuple(sorted(points, key=lambda point: point[0])))
)


@given(transfers, st.data(), st.tuples(anywhere, anywhere), st.booleans())
def test_a_moved_point_stays_between_its_neighbours(
    transfer: Transfer, data: st.DataObject, to: tuple[float, float], snap: bool
) -> None:
    index = data.draw(st.integers(0, len(transfer.points) - 1))
    after = moved(transfer, index, to, snap=snap)
    assert [p for i, p in enumerate(after.points) if i != index] == [
        p for i, p in enumerate(transfer.points) if i != index
    ]
    low = transfer.points[index - 1][0] if index else 0.0
    high = transfer.points[index + 1][0] if index + 1 < len(transfer.points) else 1.0
    if low + SNAP < to[0] < high - SNAP and SNAP < to[1] < 1 - SNAP:
        assert after.points[index] == to


@given(transfers, st.tuples(anywhere, anywhere))
def test_an_added_point_is_there_and_goes_again(transfer: Transfer, point: tuple[float, float]) -> None:
    found = added(transfer, point)
    if len(transfer.points) == MAX_POINTS:
        assert found is None
        return
    assert found is not None
    more, index = found
    assert more.points[index] == (snapped(point[0]), snapped(point[1]))
    assert removed(more, index) == transfer


@given(transfers, st.data())
def test_a_point_added_halfway_changes_no_opacity(transfer: Transfer, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(transfer.points) - 1))
    found = added_after(transfer, index)
    if found is None:
        assert len(transfer.points) == MAX_POINTS
        return
    more, new = found
    assert len(more.points) == len(transfer.points) + 1
    assert 0 < new < len(more.points) - 1
    scalars = [p[0] for p in transfer.points]
    if len(set(scalars)) == len(scalars) and min(np.diff(scalars)) > 1e-6:
        assert np.allclose(more.opacities(), transfer.opacities(), atol=1e-5)


def test_two_points_are_the_least() -> None:
    two = TRANSFERS["Even"]
    assert removed(two, 0) is None
    three = added(two, (0.5, 0.5))
    assert three is not None
    assert removed(three[0], 1) == two


def test_ends_are_easy_to_hit() -> None:
    assert [snapped(v) for v in (-3, 0.011, 0.013, 0.5, 0.987, 0.989, 7)] == [0, 0, 0.013, 0.5, 0.987, 1, 1]


@given(transfers)
def test_text_says_a_transfer_function_exactly(transfer: Transfer) -> None:
    assert transfer_from_text(text_from_transfer(transfer)) == transfer


@pytest.mark.parametrize("text", ["", "0:0", "1:0 0:1", "0:0 1", "0:0 1:nan", "a:b c:d", "0:0:0 1:1", "0:0 " * 40])
def test_text_that_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadArguments, match="points"):
        transfer_from_text(text)


def test_values_are_said_in_the_channels_own_unit() -> None:
    assert value_text("value", CHANNELS["value"], 128 / 255) == "0x80"
    assert value_text("content", CHANNELS["value"], 1.0) == "0xff"
    assert value_text("entropy", CHANNELS["entropy"], 0.5) == "4 bits/byte"
    assert value_text("heat", CHANNELS["heat"], 3 / 7) == "7.0 writes"
    assert value_text("heat", CHANNELS["heat"], 1.0) == "127 writes"
    named = ChannelInfo("Owner", kind="categorical", labels=("free", "kernel"))
    assert value_text("owner", named, 1 / 255) == "kernel"
    assert value_text("owner", named, 9 / 255) == "9"
    assert value_text("age", ChannelInfo("Age", unit="s", low=10, high=20), 0.25) == "12.5 s"
