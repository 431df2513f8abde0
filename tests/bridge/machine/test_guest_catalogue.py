"""The catalogue: built-in guests, the user's own, and what a recipe and a description make together."""

from pathlib import Path

import pytest

from bridge.machine.catalogue import BUILT_IN, describe_guest, describe_guests, find_guest, guest_names, user_guests_dir
from bridge.machine.descriptions import RECIPES, read_description
from bridge.machine.guest import GIB, MIB, GuestDescriptionError, GuestFileNotFound, GuestKernelInvalid, UnknownGuest
from tests.bridge.machine.kernel_files import elf


@pytest.fixture
def own() -> Path:
    directory = user_guests_dir()
    directory.mkdir(parents=True)
    return directory


def test_without_own_guests_there_are_the_built_in_ones() -> None:
    assert guest_names() == ("boot-sector", "demo")
    assert set(RECIPES) == set(guest_names())


def test_every_built_in_description_is_sound() -> None:
    for name in RECIPES:
        description = read_description(BUILT_IN / f"{name}.toml")
        assert description.recipe == name
        assert description.guest.ready_marker


def test_own_guests_come_after_the_built_in_ones(own: Path) -> None:
    (own / "zeta.toml").write_text('kernel = "k"\ntitle = "My system"\nram = "64M"')
    (own / "alpha.toml").write_text("kernel = ")
    (own / "notes.txt").write_text("no guest")
    (own / "k").write_bytes(elf())
    assert guest_names() == ("boot-sector", "demo", "alpha", "zeta")
    guest = find_guest("zeta")
    assert (guest.name, guest.kernel, guest.ram_bytes) == ("zeta", own / "k", 64 * MIB)
    with pytest.raises(GuestDescriptionError, match=r"alpha\.toml:1:"):
        find_guest("alpha")
    summaries = {summary.name: summary for summary in describe_guests()}
    assert (summaries["zeta"].title, summaries["zeta"].ram_bytes, summaries["zeta"].problem) == (
        "My system",
        64 * MIB,
        "",
    )
    assert "alpha.toml:1" in summaries["alpha"].problem
    assert [summaries[name].built_in for name in guest_names()] == [True, True, False, False]


def test_an_own_guests_files_are_looked_at(own: Path) -> None:
    (own / "mine.toml").write_text('kernel = "k"')
    with pytest.raises(GuestFileNotFound, match="does not exist"):
        find_guest("mine")
    (own / "k").write_bytes(b"text")
    with pytest.raises(GuestKernelInvalid):
        find_guest("mine")
    assert "no kernel that can be started" in {s.name: s.problem for s in describe_guests()}["mine"]


def test_a_name_that_is_nobodys(own: Path) -> None:
    with pytest.raises(UnknownGuest, match=r"'dmeo'. Did you mean 'demo'\? Known guests: boot-sector, demo") as caught:
        find_guest("dmeo")
    assert caught.value.suggestion == "demo"
    with pytest.raises(UnknownGuest, match=r"'zzz'\. Known"):
        describe_guest("zzz")
    with pytest.raises(UnknownGuest):
        find_guest("../../etc/passwd")


def test_a_built_in_name_cannot_be_taken(own: Path) -> None:
    (own / "demo.toml").write_text('disk = "d"')
    assert guest_names() == ("boot-sector", "demo")
    with pytest.raises(GuestDescriptionError, match="name of a built-in guest; rename the file"):
        find_guest("demo")


def test_the_boot_sector_is_assembled_once_and_again_when_damaged() -> None:
    before = {summary.name: summary.problem for summary in describe_guests()}
    assert before["boot-sector"] == "It is assembled when it is first launched."
    said: list[str] = []
    guest = find_guest("boot-sector", progress=lambda sentence, _share: said.append(sentence))
    assert said == ["Assembling the boot sector", "The guest is assembled"]
    assert guest.floppy
    content = guest.floppy.read_bytes()
    assert len(content) == 1440 * 1024
    assert find_guest("boot-sector", progress=lambda *_: pytest.fail("assembled twice")) == guest
    assert {summary.name: summary.problem for summary in describe_guests()}["boot-sector"] == ""
    guest.floppy.write_bytes(content[:511] + b"?" + content[512:])
    assert find_guest("boot-sector") == guest
    assert guest.floppy.read_bytes() == content


def test_a_recipe_is_the_base_of_an_own_guest(own: Path) -> None:
    (own / "big.toml").write_text('recipe = "boot-sector"\nram = "1G"\nmachine = "pc"\ntitle = "Big"')
    base, big = find_guest("boot-sector"), find_guest("big")
    assert (big.name, big.title, big.ram_bytes) == ("big", "Big", GIB)
    assert (big.floppy, big.ready_marker, big.max_ram_bytes) == (base.floppy, base.ready_marker, base.max_ram_bytes)
    assert {summary.name: summary.ram_bytes for summary in describe_guests()}["big"] == GIB


def test_an_own_part_replaces_the_recipes(own: Path) -> None:
    (own / "other.toml").write_text('recipe = "boot-sector"\nfloppy = "f.img"\nready_marker = "hello"')
    (own / "f.img").write_bytes(bytes(512))
    guest = find_guest("other")
    assert (guest.floppy, guest.ready_marker) == (own / "f.img", b"hello")


def test_a_recipe_cannot_make_what_cannot_be(own: Path) -> None:
    (own / "odd.toml").write_text('recipe = "boot-sector"\nmachine = "microvm"')
    with pytest.raises(GuestDescriptionError, match="microvm"):
        find_guest("odd")
    (own / "small.toml").write_text('recipe = "boot-sector"\nram = "2M"')
    with pytest.raises(GuestDescriptionError, match=r"small\.toml:2: .* from 4M to 4096M"):
        find_guest("small")
