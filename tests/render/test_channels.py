"""Channels and legends: what is said of a look's colours is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from render.attributes import PageAttribute
from render.channels import CHANNELS, HEAT_TOP, ChannelInfo, colors_of, info_of_attribute, legend_of, palette_of
from render.content import KIND_TITLES, Kind
from render.errors import BadLook
from render.look import Look
from render.look_table import extinctions_of, opacities_of
from render.palettes import CATEGORICAL, add_palette, palette_table, remove_palette, srgb_from_linear
from render.transfer import TRANSFERS
from tests.render.conftest import MakeStore, MakeView


def test_the_legend_of_content_names_kinds_in_their_colours() -> None:
    legend = legend_of(Look(hidden_kinds=frozenset({Kind.TEXT})), CHANNELS["content"])
    assert [entry.label for entry in legend.entries] == [KIND_TITLES[kind] for kind in list(Kind)[1:]]
    assert [entry.label for entry in legend.entries if entry.hidden] == ["Text"]
    assert legend.gradient is None
    text = next(entry for entry in legend.entries if entry.label == "Text")
    assert text.color[0] > text.color[1] > text.color[2], "amber"


@pytest.mark.parametrize("channel", ["value", "entropy", "heat"])
def test_the_legend_of_a_scalar_is_its_palette(channel: str) -> None:
    look = Look(channel=channel)
    info = CHANNELS[channel]
    legend = legend_of(look, info)
    assert legend.gradient is not None
    linear = palette_table(palette_of(look, info))[0].astype(float)
    np.testing.assert_array_equal(legend.gradient, np.round(srgb_from_linear(linear) * 255))
    assert legend.ticks[0][0] == 0
    assert legend.ticks[-1][0] == pytest.approx(1)
    assert [place for place, _ in legend.ticks] == sorted(place for place, _ in legend.ticks)
    assert (legend.low, legend.high) == (info.low, info.high)


def test_heats_ticks_lie_where_the_shader_puts_them() -> None:
    ticks = {int(text): place for place, text in CHANNELS["heat"].ticks}
    for writes, place in ticks.items():
        assert place == pytest.approx(np.log2(1 + writes) / np.log2(1 + HEAT_TOP))


def test_palettes_follow_the_channel_until_one_is_named() -> None:
    info = CHANNELS["entropy"]
    assert palette_of(Look(channel="entropy"), info) == "viridis"
    assert palette_of(Look(channel="entropy", palette="content"), info) == "viridis", "kinds have no say here"
    assert palette_of(Look(channel="entropy", palette="ice"), info) == "ice"
    assert palette_of(Look(), CHANNELS["content"]) == "content"
    assert palette_of(Look(channel="owner"), ChannelInfo("owner", kind="categorical")) == CATEGORICAL[0]
    assert palette_of(Look(channel="age"), ChannelInfo("age")) == "cividis"


def test_a_palette_that_is_gone_is_the_channels_own() -> None:
    add_palette("mine", np.array([[0, 0, 0], [1.0, 1, 1]]))
    look = Look(channel="value", palette="mine")
    np.testing.assert_array_equal(colors_of(look, CHANNELS["value"]), palette_table("mine"))
    remove_palette("mine")
    np.testing.assert_array_equal(colors_of(look, CHANNELS["value"]), palette_table("aurora"))


def attribute(device: wgpu.GPUDevice, **changes: object) -> PageAttribute:
    given: dict[str, object] = {
        "name": "owner",
        "texture": None,
        "kind": "categorical",
        "low": 0.0,
        "high": 255.0,
        "labels": {0: "free", 2: "kernel"},
        "unit": "",
        "values": np.array([0, 3, 2], np.uint8),
        "title": "owner",
        "palette": "",
    }
    return PageAttribute(**{**given, **changes})  # type: ignore[arg-type]


def test_attributes_have_their_own_legends(device: wgpu.GPUDevice) -> None:
    info = info_of_attribute(attribute(device))
    assert (info.title, info.kind, info.per_page, info.labels) == (
        "owner",
        "categorical",
        True,
        ("free", "1", "kernel", "3"),
    )
    look = Look(channel="owner", transfer=TRANSFERS["High"])
    legend = legend_of(look, info)
    assert [entry.label for entry in legend.entries] == list(info.labels)
    assert all(entry.hidden for entry in legend.entries), "the transfer function hides low scalars"
    assert len({entry.color for entry in legend.entries}) == 4
    age = info_of_attribute(attribute(device, kind="scalar", low=10.0, high=30.0, labels={}, unit="s"))
    assert [text for _, text in legend_of(Look(channel="age"), age).ticks] == ["10", "20", "30"]


def test_opacity_is_corrected_for_length() -> None:
    """Over two voxels' lengths as much is kept as over one and one more."""
    look = Look(channel="value", opacity=0.3)
    kept = np.exp(-extinctions_of(look).astype(float))
    np.testing.assert_allclose(1 - kept, 0.3 * opacities_of(look), atol=1e-6)
    assert opacities_of(look)[0] == 0, "zero bytes are never shown"
    assert opacities_of(Look(channel="entropy"))[0] > 0, "a page of no entropy is"
    assert np.isfinite(extinctions_of(Look(opacity=1.0, transfer=TRANSFERS["Even"]))).all()


def test_a_view_offers_attributes_and_survives_their_end(make_view: MakeView, make_store: MakeStore) -> None:
    """Two owners in two colours; another attribute value changes the picture; without it all is drawn as zero."""
    store = make_store(np.full(64 * 4096, 99, np.uint8))
    view = make_view()
    view.add_volume("m", store)
    assert view.channels() == tuple(CHANNELS)
    with pytest.raises(BadLook, match="owner"):
        view.look = Look(channel="owner")
    with pytest.raises(KeyError):
        view.channel_info("owner")
    owners = (np.arange(64) // 32).astype(np.uint8)
    store.set_attribute("owner", owners, kind="categorical", labels=["a", "b"])
    assert view.channels() == (*CHANNELS, "owner")
    revision = store.revision
    view.look = Look(channel="owner", transfer=TRANSFERS["Even"])
    view.finish(0.0)
    two = view.screenshot().astype(int)
    assert store.revision == revision, "no look uploads anything"
    assert [entry.label for entry in view.legend().entries] == ["a", "b"]
    store.set_attribute("owner", np.zeros(64, np.uint8), kind="categorical", labels=["a", "b"])
    assert view.draw(0.0), "a change of what is looked at is drawn"
    view.finish(0.0)
    one = view.screenshot().astype(int)
    assert (np.abs(one - two).max(axis=-1) > 30).sum() > 1000
    store.remove_attribute("owner")
    view.finish(0.0)
    assert view.legend().title == "owner"
    assert (np.abs(view.screenshot().astype(int) - one).max(axis=-1) > 30).sum() < 500


def test_heat_is_seen_to_cool(make_view: MakeView, make_store: MakeStore) -> None:
    """A page that is written glows in the heat's colours, less and less, and in the end looks like its neighbours."""
    content = np.full(64 * 4096, 99, np.uint8)
    store = make_store(content)
    store.half_life_s = 0.5
    view = make_view((160, 120))
    view.add_volume("m", store)
    view.look = Look(channel="heat", transfer=TRANSFERS["Even"])
    view.finish(100.0)
    assert not view.draw(100.0)
    cold = view.screenshot().astype(int)
    store.upload(np.arange(64, dtype=np.uint32), content.reshape(-1, 4096))
    light = []
    for now in (100.1, 100.8, 101.6, 103.0):
        view.draw(now)
        view.finish(now)
        light.append(int((view.screenshot().astype(int) - cold)[..., :3].sum()))
    assert light[0] > light[1] > light[2] > light[3] >= 0
    for now in np.arange(103.1, 115.0, 0.5):
        view.draw(float(now))
        view.finish(float(now))
    assert np.abs(view.screenshot().astype(int) - cold).max() <= 1
    assert not view.draw(116.0)


def test_heat_that_was_there_before_the_view_cools_too(make_view: MakeView, make_store: MakeStore) -> None:
    content = np.full(64 * 4096, 99, np.uint8)
    store = make_store(content)
    store.half_life_s = 0.5
    store.clock_s = 99.9
    store.upload(np.arange(64, dtype=np.uint32), content.reshape(-1, 4096))
    view = make_view((160, 120))
    view.add_volume("m", store)
    view.look = Look(channel="heat", transfer=TRANSFERS["Even"])
    view.finish(100.0)
    hot = view.screenshot().astype(int)
    for _ in range(8):  # the sharp picture is there; the next step of cooling makes it out of date
        view.draw(101.5)
    view.finish(101.5)
    assert np.abs(view.screenshot().astype(int) - hot)[..., :3].sum() > 10_000
