"""What `glassbox shot` is asked to show: every slip is a sentence that names what there is; what is right is drawn."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from app.failures import UsageError
from app.offscreen import window_screenshot
from app.shot_look import CameraText, ShotLook, add_look_options, look_from_options
from app.transfer_presets import TransferPresets
from app.window_options import WindowOptions
from render.camera import CameraState
from render.cut import WHOLE, Plane
from render.look import Look
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
    look = parse("--palette", "lava", "--transfer", "mine").look(Look())
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
