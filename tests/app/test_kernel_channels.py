"""What is seen of a guest's kernel becomes channels of its volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.kernel_channels import (
    _SHOWN,
    CLASS_CHANNEL,
    CLASS_LABELS,
    CLASS_PALETTE,
    PROCESS_CHANNEL,
    SAFE_PALETTE,
    ShownChannels,
    offer_palettes,
    show_channels,
    shown_classes,
    shown_processes,
)
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part
from bridge.kernel.worker import Assignment, Sighting, Watch
from bridge.memory.ram import GuestRam
from render.bricks import BrickStore
from render.device import request_device
from render.palettes import oklab_from_linear, palette_names, palette_table


@pytest.fixture(scope="module")
def ram(demo_dump: Path) -> Iterator[GuestRam]:
    ram = GuestRam.open(demo_dump)
    yield ram
    ram.close()


@pytest.fixture(scope="module")
def sighting(ram: GuestRam) -> Sighting:
    watch = Watch(Assignment(ram.path, ram.physical_map, 0.1, 1.0))
    seen = watch.look()
    watch.ram.close()
    assert not seen.problem
    return seen


@pytest.fixture
def store(ram: GuestRam) -> Iterator[BrickStore]:
    device, _ = request_device()
    store = BrickStore(device, ram.size_bytes)
    offer_palettes()
    yield store
    store.destroy()


def test_every_class_has_a_name_and_a_colour_of_its_own() -> None:
    assert set(_SHOWN) == set(PageClass)
    offer_palettes()
    table = palette_table(CLASS_PALETTE)[0, : len(CLASS_LABELS)]
    distances = np.linalg.norm(table[:, None] - table[None, :], axis=2) + np.eye(len(CLASS_LABELS))
    assert distances.min() > 0.01
    assert CLASS_PALETTE not in palette_names(), "it makes sense for classes only"


# How people see colours, in linear light, severity 1.0: Machado, Oliveira and Fernandes, "A physiologically-based model
# for simulation of color vision deficiency" (2009), table 1.
_SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("sight", _SEEN)
def test_the_safe_colours_of_classes_are_told_apart_by_everyone(sight: str) -> None:
    offer_palettes()

    def least(palette: str) -> float:
        colours = palette_table(palette)[0, : len(CLASS_LABELS)].astype(np.float64)
        lab = oklab_from_linear(np.clip(colours @ np.array(_SEEN[sight]).T, 0.0, 1.0))
        apart = np.linalg.norm(lab[:, None] - lab[None, :], axis=2) + np.eye(len(lab))
        return float(apart.min())

    assert least(SAFE_PALETTE) > 0.085
    assert least(SAFE_PALETTE) > 2 * least(CLASS_PALETTE)


def test_pages_are_shown_by_class_and_by_part(sighting: Sighting) -> None:
    shown = shown_classes(sighting)
    assert sighting.classes is not None
    assert sighting.parts is not None
    heap, free = CLASS_LABELS.index("Heaps"), CLASS_LABELS.index("Free")
    assert (shown[sighting.classes == PageClass.FREE] == free).all()
    ours = (sighting.parts == Part.HEAP) & (sighting.classes == PageClass.ANONYMOUS)
    assert ours.sum() > 10
    assert (shown[ours] == heap).all()
    # What a process maps of the kernel's own stays the kernel's.
    kernels = np.isin(sighting.classes, (PageClass.KERNEL_TEXT, PageClass.SLAB, PageClass.PAGE_TABLE))
    assert not np.isin(shown[kernels], [heap, CLASS_LABELS.index("Program code")]).any()


def test_pages_are_shown_by_process(sighting: Sighting) -> None:
    owners, labels = shown_processes(sighting)
    assert sighting.processes is not None
    assert sighting.first_owner is not None
    assert labels[0] == "Nobody"
    index = sighting.processes.names.index("allocator")
    number = next(number for number, label in labels.items() if label.startswith("allocator ("))
    np.testing.assert_array_equal(owners == number, sighting.first_owner == index)
    assert ((owners == 0) == (sighting.first_owner == -1)).all()
    names = [label.split(" (")[0] for label in list(labels.values())[1:3]]
    rss = [int(sighting.processes.rss_bytes[sighting.processes.names.index(name)]) for name in names]
    assert rss[0] >= rss[1], "the largest come first"


def test_more_processes_than_categories_are_others(sighting: Sighting) -> None:
    tasks = sighting.processes
    assert tasks is not None
    assert sighting.first_owner is not None
    n = 300
    many = dataclasses.replace(
        tasks,
        pids=np.arange(n),
        names=("many",) * n,
        rss_bytes=np.arange(n, 0, -1),
        addresses=np.arange(n, dtype=np.uint64),
        start_ns=np.arange(n),
    )
    seen = dataclasses.replace(sighting, processes=many, first_owner=np.array([-1, 0, 253, 254, 299], np.int32))
    owners, labels = shown_processes(seen)
    assert owners[[0, 3, 4]].tolist() == [0, 255, 255]
    assert 0 < owners[1] != owners[2] > 0
    assert sorted(labels) == list(range(256)), "as many as there are colours"
    assert labels[255] == "Others"


def test_what_is_shown_is_worked_out_again_only_where_a_look_says_something_else(sighting: Sighting) -> None:
    assert sighting.classes is not None
    assert sighting.processes is not None
    assert sighting.first_owner is not None
    shown = ShownChannels()
    classes, (owners, labels) = shown.classes(sighting), shown.processes(sighting)
    again = dataclasses.replace(sighting, taken_s=1.0)
    assert shown.classes(again) is classes
    assert shown.processes(again)[0] is owners
    moved = np.where(np.arange(len(owners)) == 0, PageClass.SLAB, sighting.classes).astype(np.uint8)
    grown = dataclasses.replace(sighting.processes, rss_bytes=2 * sighting.processes.rss_bytes)
    nobodys = np.full_like(sighting.first_owner, -1)
    for other in (
        dataclasses.replace(sighting, classes=moved),
        dataclasses.replace(sighting, processes=grown),
        dataclasses.replace(sighting, first_owner=nobodys),
        sighting,
    ):
        np.testing.assert_array_equal(shown.classes(other), shown_classes(other))
        np.testing.assert_array_equal(shown.processes(other)[0], shown_processes(other)[0])
        assert shown.processes(other)[1] == shown_processes(other)[1]
    assert shown.processes(sighting)[1] == labels


def test_channels_follow_what_is_seen(store: BrickStore, sighting: Sighting) -> None:
    show_channels(store, sighting)
    assert store.attribute(CLASS_CHANNEL).palette == CLASS_PALETTE
    np.testing.assert_array_equal(store.attribute(CLASS_CHANNEL).values, shown_classes(sighting))
    assert store.attribute(PROCESS_CHANNEL).title == "Process"
    revision = store.revision
    show_channels(store, sighting)
    assert store.revision == revision, "what is the same is not sent again"
    show_channels(store, Sighting(0.0, 0.0, "gone"))
    assert not store.attribute(CLASS_CHANNEL).values.any(), "nothing is known of a kernel that is gone"
    revision = store.revision
    show_channels(store, Sighting(0.0, 0.0, "gone"))
    assert store.revision == revision
