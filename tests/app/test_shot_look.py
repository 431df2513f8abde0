"""What `glassbox shot` is asked to show: every slip is a sentence that names what there is; what is right is drawn."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.failures import CommandFailed, UsageError
from app.kernel_channels import CHANNEL_TRANSFERS, SAFE_PALETTE
from app.offscreen import window_screenshot
from app.shot import _volume_picture
from app.shot_kernel import Highlighted, look_at_kernel
from app.shot_look import CameraText, ShotLook, add_look_options, look_from_options
from app.transfer_presets import TransferPresets
from app.window_options import WindowOptions
from bridge.kernel.page_classes import PageClass
from bridge.memory.ram import GuestRam
from render.camera import CameraState
from render.cut import WHOLE, Plane
from render.look import Look
from render.palettes import remove_palette
from render.transfer import TRANSFERS, Transfer
from tests.app.conftest import Person, make_guest


def parse(*words: str) -> ShotLook:
    parser = argparse.ArgumentParser(prog="shot")
    add_look_options(parser)
    return look_from_options(parser.parse_args(words))


@pytest.mark.usefixtures("homes")
def test_nothing_said_is_nothing_changed() -> None:
    look = parse()
    assert look == ShotLook()
    before = Look(mode="mip", channel="heat", palette="magma")
    assert look.look(before) == before
    assert look.cut((64, 64, 32)) is WHOLE


@pytest.mark.usefixtures("homes")
def test_every_option_is_understood() -> None:
    look = parse(
        *("--mode", "translucent", "--channel", "entropy", "--palette", "batlow", "--transfer", "High"),
        *("--curve", "morton", "--slice", "x=50%", "--slice", "oblique=-3@30,45", "--clip", "0:32,:,25%:75%"),
        *("--camera=-30,20,900",),
    )
    shown = look.look(Look())
    assert (shown.mode, shown.channel, shown.palette) == ("translucent", "entropy", "batlow")
    assert shown.transfer == TRANSFERS["High"]
    assert look.curve == "morton"
    cut = look.cut((64, 64, 32))
    assert list(cut.planes) == [Plane("x", 32.0), Plane("oblique", -3.0, 30.0, 45.0)]
    assert cut.clip == ((0.0, 0.0, 8.0), (32.0, 64.0, 24.0))
    fitted = CameraState(target=(1, 2, 3), distance=77)
    assert look.camera is not None
    assert look.camera.state(fitted) == CameraState((1, 2, 3), 900, -30, 20)
    assert CameraText(1, 2).state(fitted).distance == 77


@pytest.mark.usefixtures("homes")
def test_another_channel_begins_with_its_own_palette() -> None:
    assert parse("--channel", "heat").look(Look(palette="ice")).palette == ""
    assert parse("--mode", "mip").look(Look(palette="ice")).palette == "ice"


def test_what_the_user_has_saved_can_be_named(homes: Path) -> None:
    config = homes / "config" / "glassbox"
    (config / "palettes").mkdir(parents=True)
    (config / "palettes" / "lava.txt").write_text("#000\n#f00\n")
    TransferPresets(config).save("mine", Transfer(((0, 0.5), (1, 0.25))))
    try:
        look = parse("--palette", "lava", "--transfer", "mine").look(Look())
    finally:
        remove_palette("lava")
    assert look.palette == "lava"
    assert look.transfer.points == ((0, 0.5), (1, 0.25))


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--channel", "colour"), "content, value, entropy, heat"),
        (("--palette", "pink"), "viridis"),
        (("--transfer", "steep"), "Everything, Even, High"),
        (("--mode", "slice"), "--slice"),
        (("--slice", "x=1", "--slice", "x=2"), "one plane along x, not 2"),
    ],
)
def test_names_that_there_are_not_are_told_what_there_is(words: tuple[str, ...], names: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert names in str(caught.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--mode", "glow"), "translucent"),
        (("--curve", "peano"), "hilbert"),
        (("--slice", "w=3"), "x=128"),
        (("--slice", "x"), "x=128"),
        (("--clip", "1:2"), "x0:x1"),
        (("--camera", "1"), "AZIMUTH,ELEVATION,DISTANCE"),
        (("--camera", "a,b"), "AZIMUTH,ELEVATION,DISTANCE"),
        (("--camera", "1,2,nan"), "AZIMUTH,ELEVATION,DISTANCE"),
        (("--camera", "400,0"), "-360 to 360"),
        (("--camera", "0,91"), "-90 to 90"),
        (("--camera", "0,0,0"), "1 to 1,000,000"),
        (("--camera", "0,0,1e9"), "1 to 1,000,000"),
    ],
)
def test_values_that_are_none_are_usage_errors(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parse(*words)
    assert left.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize(("words", "says"), [(("--slice", "z=33"), "z: 33"), (("--clip", "0:65,:,:"), "x: 65")])
def test_a_cut_outside_says_how_large_the_volume_is(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words).cut((64, 64, 32))
    assert says in str(caught.value)
    assert "64 x 64 x 32 voxels" in str(caught.value)


def test_a_window_is_shown_as_asked(homes: Path) -> None:
    """The same guest twice: whole, and its left half alone in grey."""
    options = WindowOptions(guest=make_guest(homes), size=(960, 560), tour=False)
    whole = window_screenshot(options, look=parse("--camera", "0,0"))
    look = parse(
        "--channel", "value", "--palette", "grey", "--clip", ":,0:50%,:", "--camera", "0,0", "--curve", "linear"
    )
    half = window_screenshot(options, look=look)
    assert whole.shape == half.shape == (560, 960, 4)
    assert (whole != half).any()
    assert not list((homes / "config").rglob("settings.json"))  # for this picture alone


def test_an_open_window_takes_every_choice(host: Person) -> None:
    session, state = host.window.session, host.state
    look = parse(
        *("--mode", "mip", "--channel", "entropy", "--palette", "magma", "--slice", "z=3", "--clip", "0:50%,:,:"),
        *("--camera", "30,10,500"),
    )
    look.prepare(session)
    look.arrange(session)
    host.frame(3)
    assert (state.stage.view.look.mode, state.stage.view.look.channel, state.stage.view.look.palette) == (
        *("mip", "entropy", "magma"),
    )
    cut = state.stage.view.cut("tiny")
    side = state.stage.feeds["tiny"].store.shape_voxels
    assert list(cut.planes) == [Plane("z", 3.0)]
    assert cut.clip == ((0.0, 0.0, 0.0), (side[0] / 2, float(side[1]), float(side[2])))
    assert state.stage.camera.distance == 500
    assert state.stage.camera.azimuth_degrees == 30
    assert np.isfinite(host.offscreen.picture()).all()


# What needs the guest's kernel


@pytest.mark.usefixtures("homes")
def test_what_is_lit_up_is_understood() -> None:
    look = parse("--highlight", "process=412", "--channel", "class", "--palette", SAFE_PALETTE)
    assert look.highlight == Highlighted("process", 412)
    assert look.asks_kernel
    shown = look.look(Look())
    assert (shown.channel, shown.palette) == ("class", SAFE_PALETTE)
    assert shown.transfer == CHANNEL_TRANSFERS["class"], "what is free is nearly transparent"
    assert parse("--channel", "process").asks_kernel
    assert not parse("--channel", "heat").asks_kernel


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--highlight", "412"), "is not KIND=KEY"),
        (("--highlight", "proces=412"), "none of process, region"),
        (("--highlight", "process=sshd"), "it is PID"),
    ],
)
def test_what_cannot_be_lit_up_says_why(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("homes")
def test_a_channels_own_palette_is_no_other_channels() -> None:
    with pytest.raises(UsageError, match="is none of"):
        parse("--channel", "heat", "--palette", SAFE_PALETTE)


@pytest.fixture
def guest_ram(demo_dump: Path) -> Iterator[GuestRam]:
    ram = GuestRam.open(demo_dump)
    yield ram
    ram.close()


def test_one_look_at_a_kernel_is_enough(guest_ram: GuestRam) -> None:
    seen = look_at_kernel(guest_ram, Highlighted("slab", "dentry"))
    assert seen.title == "dentry"
    assert seen.pages is not None
    assert seen.sighting.classes is not None
    assert (seen.sighting.classes[seen.pages] == PageClass.SLAB).all()
    by_class = look_at_kernel(guest_ram, Highlighted("class", int(PageClass.SLAB)))
    assert by_class.pages is not None
    assert set(seen.pages) < set(by_class.pages)
    assert look_at_kernel(guest_ram, None).pages is None
    with pytest.raises(CommandFailed, match="There is no process 99999"):
        look_at_kernel(guest_ram, Highlighted("process", 99999))
    with pytest.raises(CommandFailed, match="has no pages in memory"):
        look_at_kernel(guest_ram, Highlighted("category", "Heaps of 99999"))


def test_the_answer_to_a_question_is_lit_up(guest_ram: GuestRam) -> None:
    seen = look_at_kernel(guest_ram, None, "slab dentry", "demo")
    assert seen.title == 'slab "dentry"'
    expected = look_at_kernel(guest_ram, Highlighted("slab", "dentry")).pages
    assert seen.pages is not None
    assert expected is not None
    assert seen.pages.tolist() == expected.tolist()
    with pytest.raises(UsageError, match="Nothing here is called"):
        look_at_kernel(guest_ram, None, "nobodyknowsthis", "demo")
    with pytest.raises(CommandFailed, match=r"has no pages in memory\. There is no process 99999 now"):
        look_at_kernel(guest_ram, None, "process 99999", "demo")


def test_what_is_lit_up_is_said_once() -> None:
    assert parse("--find", "kernel stacks").asks_kernel
    with pytest.raises(UsageError, match="give one of them"):
        parse("--find", "kernel stacks", "--highlight", "slab=dentry")


def test_no_kernel_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.ram").write_bytes(bytes(1 << 20))
    ram = GuestRam.open(tmp_path / "empty.ram")
    with pytest.raises(CommandFailed, match="No running Linux kernel"):
        look_at_kernel(ram, None)
    ram.close()


@pytest.mark.usefixtures("homes")
def test_a_picture_lights_up_what_was_asked_for(guest_ram: GuestRam) -> None:
    """Page tables alone are bright; the picture without them is another one."""
    look = parse("--channel", "class", "--highlight", "class=page_table", "--camera=-52,24")
    lit = _volume_picture("demo", guest_ram, (240, 160), look)[..., :3].astype(int)
    usual = parse("--channel", "class", "--camera=-52,24")
    plain = _volume_picture("demo", guest_ram, (240, 160), usual)[..., :3].astype(int)
    bright = plain.max(axis=2) > 120  # what of the volume is not dark anyway
    assert bright.mean() > 0.05
    assert lit[bright].mean() < 0.75 * plain[bright].mean(), "the rest dims"
    table_yellow = (lit[..., 0] > 200) & (lit[..., 1] > 190) & (lit[..., 2] > 100)
    assert table_yellow.sum() > 5
    near = _volume_picture("demo", guest_ram, (240, 160), parse("--channel", "class", "--highlight", "slab=dentry"))
    assert (near[..., :3] != lit).any(), "without a camera of one's own it goes there"


def test_a_windows_picture_lights_up_what_was_asked_for(person: Person, demo_dump: Path) -> None:
    """The same steps as for a picture of a window, with a dump for a machine."""
    look = parse("--channel", "class", "--palette", SAFE_PALETTE, "--mode", "mip", "--highlight", "slab=dentry")
    look.prepare(person.window.session)
    person.run("machine.open_dump", str(demo_dump), "guest")
    person.until(lambda: "guest" in person.state.stage.feeds, "it should be shown")
    person.offscreen.meet_kernels(60.0)
    look.arrange(person.window.session)
    person.offscreen.light_up(60.0)
    shown = person.state.stage.view.look
    assert (shown.mode, shown.channel, shown.palette) == ("mip", "class", SAFE_PALETTE)
    assert person.state.chosen is not None
    assert person.state.chosen.told.startswith("dentry: ")
    replace(look, highlight=Highlighted("slab", "nothing")).arrange(person.window.session)
    with pytest.raises(CommandFailed, match="There is no slab cache 'nothing'"):
        person.offscreen.light_up(60.0)


def test_a_window_whose_guest_has_no_kernel_says_so(host: Person) -> None:
    with pytest.raises(CommandFailed, match=r"tiny: .*No running Linux kernel"):
        host.offscreen.meet_kernels(60.0)
