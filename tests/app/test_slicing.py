"""How a machine is cut, as a value and as a file that may hold anything; and the range slider's arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.panels.sheets import along_line
from app.slicing import (
    BadSlicing,
    Slicing,
    bounded_box,
    box_around,
    first_slicing,
    fitted,
    from_json,
    to_json,
    whole_box,
)
from app.slicings import FILE, MAX_MACHINES, Slicings
from app.stage import Stage
from app.widgets.range_slider import BOTH, HIGH, LOW, moved_span
from render.camera import Box
from render.cut import AXES, Cut, Plane
from render.look import Look

SHAPE = (512, 256, 128)
BOX: Box = ((1.0, 2.0, 3.0), (10.0, 20.0, 30.0))


def test_at_first_nothing_is_cut() -> None:
    slicing = first_slicing(SHAPE)
    assert slicing.cut(SHAPE) == Cut()
    assert [slicing.plane(axis).position for axis in AXES] == [256.0, 128.0, 64.0, 0.0]


def test_planes_and_box_keep_their_places_while_they_are_off() -> None:
    slicing = first_slicing(SHAPE).with_plane(Plane("y", 7.0)).with_clip(BOX)
    assert slicing.cut(SHAPE) == Cut((Plane("y", 7.0),), BOX)
    off = slicing.with_shown("y", False).with_clipping(False)
    assert off.cut(SHAPE) == Cut()
    assert off.with_shown("y", True).with_clipping(True) == slicing
    moved = off.with_plane(Plane("y", 9.0), shown=False)
    assert not moved.shown
    assert moved.plane("y").position == 9.0
    assert slicing.with_three().shown == {"x", "y", "z"}
    assert slicing.with_clip(whole_box(SHAPE)).cut(SHAPE).clip is None, "a box around everything clips nothing"


@given(st.tuples(*(st.integers(0, side - 1) for side in SHAPE)), st.integers(1, 600))
def test_a_box_around_a_voxel_holds_it_and_lies_in_the_volume(voxel: tuple[int, int, int], side: int) -> None:
    low, high = box_around(voxel, side, SHAPE)
    for axis in range(3):
        assert 0 <= low[axis] <= voxel[axis] < high[axis] <= SHAPE[axis]
        assert high[axis] - low[axis] == min(side, SHAPE[axis])


def test_boxes_are_brought_into_the_volume_and_onto_whole_voxels() -> None:
    assert bounded_box(((-5.0, 0.5, 3.2), (9.1, 300.0, 4.0)), SHAPE) == ((0.0, 0.0, 3.0), (10.0, 256.0, 4.0))
    assert bounded_box(((600.0, 0.0, 0.0), (700.0, 9.0, 9.0)), SHAPE) is None


def test_a_slicing_of_a_larger_machine_is_fitted() -> None:
    large = first_slicing((1024, 1024, 1024)).with_plane(Plane("x", 1000.0)).with_clip(((900.0,) * 3, (1000.0,) * 3))
    small = fitted(large, SHAPE)
    assert small.plane("x").position == 511.0
    assert (small.clip, small.clipping) == (whole_box(SHAPE), False)
    assert fitted(small, SHAPE) == small


slicings = st.builds(
    Slicing,
    st.tuples(
        *(st.builds(Plane, st.just(axis), st.floats(0, 512)) for axis in AXES[:3]),
        st.builds(Plane, st.just("oblique"), st.floats(-400, 400), st.floats(-180, 180), st.floats(-90, 90)),
    ),
    st.frozensets(st.sampled_from(AXES)),
    st.just(BOX),
    st.booleans(),
)


@given(slicings)
def test_json_and_back(slicing: Slicing) -> None:
    assert from_json(json.loads(json.dumps(to_json(slicing)))) == slicing


GOOD = to_json(first_slicing(SHAPE))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**GOOD, "planes": None},
        {**GOOD, "planes": {"x": [1, 2, 3]}},
        {**GOOD, "planes": {**GOOD["planes"], "x": [1, 2]}},
        {**GOOD, "planes": {**GOOD["planes"], "x": ["1", 2, 3]}},
        {**GOOD, "planes": {**GOOD["planes"], "x": [True, 0, 0]}},
        {**GOOD, "planes": {**GOOD["planes"], "x": [float("nan"), 0, 0]}},
        {**GOOD, "planes": {**GOOD["planes"], "x": [1e300, 0, 0]}},
        {**GOOD, "shown": ["w"]},
        {**GOOD, "shown": "xyz"},
        {**GOOD, "shown": [[]]},
        {**GOOD, "clip": [[0, 0, 0]]},
        {**GOOD, "clip": [[0, 0, 0], [1, 1, 0]]},
        {**GOOD, "clip": [[0, 0, 0], "abc"]},
    ],
)
def test_what_cannot_be_meant_is_refused(document: object) -> None:
    with pytest.raises(BadSlicing):
        from_json(document)


class Volume:
    """A view that is only asked for its cut."""

    def __init__(self, mode: str = "solid") -> None:
        self.look = Look(mode=cast(Any, mode))
        self.shown: dict[str, Cut] = {}

    def cut(self, machine: str) -> Cut:
        return self.shown.get(machine, Cut())

    def set_cut(self, machine: str, cut: Cut) -> None:
        self.shown[machine] = cut


def stage_with(*machines: str, panes: int = 1) -> Stage:
    """A stage's feeds and panes, without a GPU: which view cuts what is all that is asked of them here."""
    feed = SimpleNamespace(store=SimpleNamespace(shape_voxels=SHAPE))
    return cast(
        Stage,
        SimpleNamespace(
            feeds=dict.fromkeys(machines, feed),
            panes=[SimpleNamespace(name=f"Volume {i}", view=Volume()) for i in range(panes)],
        ),
    )


def cuts(stage: Stage, machine: str) -> list[Cut]:
    return [pane.view.cut(machine) for pane in stage.panes]


def test_every_view_follows_and_a_machine_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    stage = stage_with("a", "b", panes=2)
    all_ = Slicings(tmp_path, keep=False)
    all_.follow(stage)
    all_.set(stage, "a", all_.get(stage, "a").with_plane(Plane("x", 5.0)))
    assert cuts(stage, "a") == [Cut((Plane("x", 5.0),))] * 2
    assert cuts(stage, "b") == [Cut()] * 2
    before = all_.all()
    all_.set(stage, "a", all_.get(stage, "a").with_shown("x", False))
    assert cuts(stage, "a") == [Cut()] * 2
    all_.restore(stage, before)
    assert cuts(stage, "a") == [Cut((Plane("x", 5.0),))] * 2
    del cast(Any, stage.feeds)["a"]
    all_.follow(stage)
    assert [machine for machine, _ in all_.all()] == ["b"]
    all_.restore(stage, before)
    with pytest.raises(KeyError):
        all_.get(stage, "a")


def test_a_view_that_begins_to_show_only_planes_gets_some(tmp_path: Path) -> None:
    stage = stage_with("a")
    all_ = Slicings(tmp_path, keep=False)
    all_.follow(stage)
    stage.panes[0].view.look = Look(mode="slice")
    all_.follow(stage)
    assert all_.get(stage, "a").shown == {"x", "y", "z"}
    hidden = all_.get(stage, "a")
    for axis in AXES:
        hidden = hidden.with_shown(axis, False)
    all_.set(stage, "a", hidden)
    all_.follow(stage)
    assert not all_.get(stage, "a").shown, "who hides them all has meant it"


def test_kept_between_runs(tmp_path: Path) -> None:
    stage = stage_with("a")
    first = Slicings(tmp_path, keep=True)
    assert first.quiet_s() == 0.0
    wanted = first.get(stage, "a").with_plane(Plane("z", 9.0)).with_clip(BOX)
    first.set(stage, "a", wanted)
    assert first.quiet_s() >= 0.0
    first.save()
    assert Slicings(tmp_path, keep=True).get(stage, "a") == wanted
    assert Slicings(tmp_path, keep=False).get(stage, "a") == first_slicing(SHAPE)
    (tmp_path / FILE).unlink()
    first.save()
    assert not (tmp_path / FILE).exists(), "nothing changed since"


def test_only_so_many_machines_are_kept(tmp_path: Path) -> None:
    names = [f"m{i}" for i in range(MAX_MACHINES + 3)]
    stage = stage_with(*names)
    all_ = Slicings(tmp_path, keep=True)
    for name in names:
        all_.set(stage, name, all_.get(stage, name).with_plane(Plane("x", 1.0)))
    all_.save()
    assert list(json.loads((tmp_path / FILE).read_text())) == names[3:]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', "[" * 100_000, "9" * (2 << 20), '{"a": {"planes": 1}}'])
def test_a_broken_file_costs_only_the_places(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text(text)
    stage = stage_with("a")
    assert Slicings(tmp_path, keep=True).get(stage, "a") == first_slicing(SHAPE)
    assert "could not be used" in caplog.text


@given(st.sampled_from([LOW, BOTH, HIGH]), st.integers(0, 99), st.integers(1, 100), st.integers(-300, 300))
def test_a_span_never_empties_nor_leaves(what: str, low: int, length: int, by: int) -> None:
    start = low, min(100, low + length)
    a, b = moved_span(what, start, by, 100)
    assert 0 <= a < b <= 100
    if what == BOTH:
        assert b - a == start[1] - start[0]
    elif what == LOW:
        assert b == start[1]
    else:
        assert a == start[0]
    assert moved_span(what, start, 0, 100) == start


@given(st.floats(-50, 50), st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_dragged_point_follows_the_pointer_along_the_line(along: float, aim: tuple[float, float, float]) -> None:
    """A ray that is aimed at a point of the line comes nearest to it there."""
    through, direction = np.array([3.0, 4.0, 5.0]), np.array([0.6, 0.0, 0.8])
    start = np.array([200.0, -300.0, 100.0]) + aim
    found = along_line(through, direction, start, through + direction * along - start)
    assert found == pytest.approx(along, abs=1e-6)


def test_along_a_line_that_is_looked_at_head_on_there_is_no_answer() -> None:
    normal = np.array([0.0, 0.0, 1.0])
    assert along_line(np.zeros(3), normal, np.array([0.0, 0.1, 50.0]), np.array([0.0, 0.0, -1.0])) is None
