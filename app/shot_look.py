"""What `glassbox shot` is asked to show: mode, channel, palette, cuts, camera; checked before anything runs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.chosen import BadKey, Chosen, title_of
from app.failures import UsageError
from app.kernel_channels import CHANNEL_PALETTES, CHANNEL_TRANSFERS
from app.shot_kernel import HIGHLIGHT_FORM, Highlighted, parse_highlight
from app.transfer_presets import TransferPresets
from app.user_palettes import UserPalettes
from bridge.machine.directories import config_dir
from render.channels import CHANNELS
from render.curves import CURVES
from render.cut import WHOLE, Cut
from render.cut_text import CLIP_FORM, PLANE_FORMS, ClipText, PlaneText, parse_clip, parse_plane
from render.errors import BadCut
from render.look import MODES, Look, Mode
from render.palettes import palette_names
from render.transfer import Transfer

if TYPE_CHECKING:
    from app.session import Session
    from render.camera import CameraState

CAMERA_FORM = "AZIMUTH,ELEVATION,DISTANCE in degrees and voxels, such as 30,20,900; without DISTANCE all is in view"
MAX_DISTANCE = 1e6
_CHANNELS = (*CHANNELS, *CHANNEL_TRANSFERS)


@dataclass(frozen=True, slots=True)
class CameraText:
    """Where the camera should stand; without a distance all volumes are in view."""

    azimuth_degrees: float
    elevation_degrees: float
    distance: float | None = None

    def state(self, fitted: CameraState) -> CameraState:
        """The camera's state, given the one from which all is in view."""
        distance = fitted.distance if self.distance is None else self.distance
        return replace(
            fitted, azimuth_degrees=self.azimuth_degrees, elevation_degrees=self.elevation_degrees, distance=distance
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotLook:
    """What was asked for; None: as it is by default, or in the window as it was left."""

    mode: Mode | None = None
    channel: str | None = None
    palette: str | None = None
    transfer: Transfer | None = None
    curve: str | None = None
    planes: tuple[PlaneText, ...] = ()
    clip: ClipText | None = None
    camera: CameraText | None = None
    highlight: Highlighted | None = None
    find: str | None = None
    """A question whose answer is lit up; see docs/queries.md."""

    @property
    def asks_kernel(self) -> bool:
        """Whether the guest's kernel has to be looked at for the picture."""
        return self.highlight is not None or self.find is not None or self.channel in CHANNEL_TRANSFERS

    def look(self, before: Look) -> Look:
        """How bytes are shown. Another channel than before begins with its own palette."""
        channel = before.channel if self.channel is None else self.channel
        palette = before.palette if channel == before.channel else ""
        transfer = before.transfer if channel == before.channel else CHANNEL_TRANSFERS.get(channel, before.transfer)
        return replace(
            before,
            mode=before.mode if self.mode is None else self.mode,
            channel=channel,
            palette=palette if self.palette is None else self.palette,
            transfer=transfer if self.transfer is None else self.transfer,
        )

    def cut(self, shape: tuple[int, int, int]) -> Cut:
        """How a volume of a shape is cut. Raises UsageError where a plane or the box lies outside."""
        try:
            planes = tuple(plane.plane(shape) for plane in self.planes)
            return Cut(planes, None if self.clip is None else self.clip.box(shape)) if planes or self.clip else WHOLE
        except BadCut as error:
            raise UsageError(f"{error} The volume has {' x '.join(map(str, shape))} voxels.") from None

    def prepare(self, session: Session) -> None:
        """Have a window show bytes so, before it shows any. For that window alone: nothing is kept."""
        if self.curve is not None:
            session.kept.change(curve=self.curve)
        if self.channel in CHANNEL_TRANSFERS:  # there once the kernel was looked at; settings wait for it
            session.kept.change(channel=self.channel)
        elif self.channel is not None:
            session.looks.show_channel(self.channel)
        if not self.asks_kernel:
            session.looks.show(self.look(session.state.stage.view.look), remember=False)

    def arrange(self, session: Session) -> None:
        """Cut the volumes and place the camera of a window that shows them. Raises UsageError."""
        stage, slicings = session.state.stage, session.state.slicings
        if self.asks_kernel:
            session.looks.show(self.look(stage.view.look), remember=False)
        if self.highlight is not None:
            one, name = self.highlight, next(iter(stage.feeds))
            title = title_of(one.kind, one.key, session.state.kernels.sighting(name))
            session.navigation.choose(Chosen(name, one.kind, one.key, title), remember=False, fly=self.camera is None)
        for name, feed in stage.feeds.items():
            shape = feed.store.shape_voxels
            cut = self.cut(shape)
            if cut is WHOLE:
                continue
            slicing = replace(slicings.get(stage, name), shown=frozenset())
            for plane in cut.planes:
                slicing = slicing.with_plane(plane)
            if cut.clip is not None:
                slicing = slicing.with_clip(cut.clip)
            slicings.set(stage, name, slicing)
        if self.camera is not None:
            camera = stage.view.camera
            camera.skip()
            camera.fit()
            camera.state = self.camera.state(camera.state)


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("how bytes are shown")
    group.add_argument("--mode", choices=MODES, help="first hit, translucent, maximum intensity, or slices only")
    group.add_argument("--channel", metavar="NAME", help=f"what becomes colour: {', '.join(_CHANNELS)}")
    group.add_argument("--palette", metavar="NAME", help=f"its colours: {', '.join(palette_names())}, or yours")
    group.add_argument("--transfer", metavar="NAME", help="a transfer function: how opaque each value is")
    group.add_argument("--curve", choices=tuple(CURVES), help="how addresses are laid in space")
    group.add_argument(
        "--slice",
        metavar="AXIS=POSITION",
        action="append",
        default=[],
        type=_plane,
        help=PLANE_FORMS.replace("%", "%%"),
    )
    group.add_argument(
        "--highlight",
        metavar="KIND=KEY",
        type=_highlight,
        help=f"light up the pages of something in the guest, and look there: {HIGHLIGHT_FORM}",
    )
    group.add_argument(
        "--find", metavar="QUERY", help='light up what a question finds, such as "heap of sshd", and look there'
    )
    group.add_argument("--clip", metavar="BOX", type=_clip, help=CLIP_FORM.replace("%", "%%"))
    group.add_argument(
        "--camera", metavar="AZ,EL,DIST", type=_camera, help=f"{CAMERA_FORM}; a negative one as --camera=-30,20"
    )


def look_from_options(options: argparse.Namespace) -> ShotLook:
    """What the options ask for. Raises UsageError, which names what there is."""
    config = config_dir()
    UserPalettes(config).refresh()
    presets = TransferPresets(config)
    presets.load()
    planes: list[PlaneText] = options.slice
    axes = [plane.axis for plane in planes]
    if twice := next((axis for axis in axes if axes.count(axis) > 1), None):
        raise UsageError(f"--slice: there can be one plane along {twice}, not {axes.count(twice)}")
    if options.mode == "slice" and not planes:
        raise UsageError(f"--mode slice shows slice planes alone: name one by --slice, such as {PLANE_FORMS}")
    if options.find is not None and options.highlight is not None:
        raise UsageError("--find and --highlight both say what is lit up: give one of them")
    _one_of("--channel", options.channel, _CHANNELS)
    _one_of("--palette", options.palette, (*palette_names(), *CHANNEL_PALETTES.get(options.channel, ())))
    name = _one_of("--transfer", options.transfer, presets.names())
    return ShotLook(
        mode=options.mode,
        channel=options.channel,
        palette=options.palette,
        transfer=None if name is None else presets.get(name),
        curve=options.curve,
        planes=tuple(planes),
        clip=options.clip,
        camera=options.camera,
        highlight=options.highlight,
        find=options.find,
    )


def _one_of(option: str, name: str | None, known: Sequence[str]) -> str | None:
    if name is not None and name not in known:
        raise UsageError(f"{option}: {name[:40]!r} is none of {', '.join(known)}")
    return name


def _plane(text: str) -> PlaneText:
    try:
        return parse_plane(text)
    except BadCut as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _highlight(text: str) -> Highlighted:
    try:
        return parse_highlight(text)
    except BadKey as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _clip(text: str) -> ClipText:
    try:
        return parse_clip(text)
    except BadCut as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _camera(text: str) -> CameraText:
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) not in (2, 3) or not all(map(math.isfinite, parts)):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not {CAMERA_FORM}")
    azimuth, elevation = parts[:2]
    if abs(azimuth) > 360 or abs(elevation) > 90:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: azimuth lies within -360 to 360, elevation within -90 to 90")
    distance = parts[2] if len(parts) == 3 else None
    if distance is not None and not 1 <= distance <= MAX_DISTANCE:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: the distance lies within 1 to {MAX_DISTANCE:,.0f} voxels")
    return CameraText(azimuth, elevation, distance)
