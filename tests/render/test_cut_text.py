"""What people write for planes and clip boxes, and what is said when it makes no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.cut import Cut, Plane, layer_of, plane_range
from render.cut_text import MAX_TEXT, cut_from_arguments, parse_clip, parse_plane
from render.errors import BadCut

SHAPE = (512, 256, 128)


@pytest.mark.parametrize(
    ("text", "plane"),
    [
        ("x=128", Plane("x", 128.0)),
        ("y=50%", Plane("y", 128.0)),
        ("z=0x40", Plane("z", 64.0)),
        (" Z = 12.5 ", Plane("z", 12.5)),
        ("x=512", Plane("x", 512.0)),
        ("x=0%", Plane("x", 0.0)),
        ("oblique=0", Plane("oblique", 0.0)),
        ("oblique=-20@30,45", Plane("oblique", -20.0, 30.0, 45.0)),
        ("oblique=100%@90,0", Plane("oblique", 128.0, 90.0, 0.0)),
        ("oblique=0%@0,90", Plane("oblique", -64.0, 0.0, 90.0)),
    ],
)
def test_planes(text: str, plane: Plane) -> None:
    assert parse_plane(text).plane(SHAPE) == plane


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is no slice plane"),
        ("w=3", "is no slice plane"),
        ("x", "is no slice plane"),
        ("x=" + "1" * MAX_TEXT, "is no slice plane"),
        ("x=", "has no position"),
        ("x=nan", "has no position"),
        ("x=1e300", "has no position"),
        ("x=101%", "has no position"),
        ("x=-1%", "has no position"),
        ("x=3@4,5", "only an oblique plane has angles"),
        ("oblique=0@4", "after @ come"),
        ("oblique=0@4,91", "after @ come"),
        ("oblique=0@400,0", "after @ come"),
        ("oblique=0@1,2,3", "after @ come"),
        ("oblique=0@a,b", "after @ come"),
    ],
)
def test_slips_in_planes_are_told_with_the_way_out(text: str, match: str) -> None:
    with pytest.raises(BadCut, match=match):
        parse_plane(text)


@pytest.mark.parametrize("text", ["x=513", "x=-1", "oblique=-65@0,90", "z=0x81"])
def test_planes_beside_the_volume(text: str) -> None:
    with pytest.raises(BadCut, match="lies outside of"):
        parse_plane(text).plane(SHAPE)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("0:64,:,25%:75%", ((0.0, 0.0, 32.0), (64.0, 256.0, 96.0))),
        ("16:,:0x10,:", ((16.0, 0.0, 0.0), (512.0, 16.0, 128.0))),
        (" 1.5 : 2 , : , : ", ((1.5, 0.0, 0.0), (2.0, 256.0, 128.0))),
    ],
)
def test_clips(text: str, box: object) -> None:
    assert parse_clip(text).box(SHAPE) == box


@pytest.mark.parametrize("text", ["", "1:2", "1:2,3:4", "1:2,3:4,5:6,7:8", "a:b,:,:", "1,2,3", "1:2:3,:,:", "," * 300])
def test_slips_in_clips(text: str) -> None:
    with pytest.raises(BadCut, match="write x0:x1,y0:y1,z0:z1"):
        parse_clip(text)


@pytest.mark.parametrize(("text", "match"), [("5:5,:,:", "nothing"), (":,9:3,:", "nothing"), (":,:,0:129", "outside")])
def test_clips_that_hold_nothing(text: str, match: str) -> None:
    with pytest.raises(BadCut, match=match):
        parse_clip(text).box(SHAPE)


def test_a_whole_cut() -> None:
    cut = cut_from_arguments(["x=128", "z=50%"], ":64,:,:", SHAPE)
    assert cut == Cut((Plane("x", 128.0), Plane("z", 64.0)), ((0.0, 0.0, 0.0), (64.0, 256.0, 128.0)))
    assert cut_from_arguments([], None, SHAPE) == Cut()
    with pytest.raises(BadCut, match="at most one plane"):
        cut_from_arguments(["x=1", "x=2"], None, SHAPE)


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for parse in (parse_plane, parse_clip):
        try:
            parse(text)
        except BadCut as error:
            assert "write" in str(error) or "come" in str(error)  # noqa: PT017 - any other error must fail


@given(st.floats(-400, 400), st.floats(-90, 90))
def test_the_range_of_an_oblique_plane_ends_at_the_volumes_corners(azimuth: float, elevation: float) -> None:
    plane = Plane("oblique", 0.0, azimuth, elevation)
    corners = [
        sum(c * (s if b else -s) / 2 for c, s, b in zip(plane.normal, SHAPE, (i & 1, i & 2, i & 4), strict=True))
        for i in range(8)
    ]
    assert plane_range(plane, SHAPE) == pytest.approx((min(corners), max(corners)))


def test_the_layer_of_a_plane() -> None:
    assert [layer_of(Plane("y", p), SHAPE) for p in (-3.0, 0.0, 0.99, 1.0, 255.5, 256.0, 900.0)] == [
        0, 0, 0, 1, 255, 255, 255,
    ]  # fmt: skip
