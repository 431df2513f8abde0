"""Actions on the view: camera, selection, going to an address, undo."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, BadArguments, Param
from app.layout import INSPECTOR
from app.place import Place
from app.session import Session
from app.user_paths import path_argument
from app.view_picture import save_picture, view_picture
from render.camera import AXIS_VIEWS, CameraState

VIEW, SELECTION = "View", "Selection"
STEP_DEGREES = 7.5
ZOOM_STEP = 1.25
FARTHEST = 1 << 20
MOST_PIXELS = 4096
AXIS_KEYS = dict(zip(("+x", "-x", "+y", "-y", "+z", "-z"), "123456", strict=True))


def view_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state
    stage = state.stage

    def needs_volume() -> str | None:
        return None if stage.feeds else "No machine's memory is shown"

    def needs_selection() -> str | None:
        return None if state.selection is not None else "No byte is selected"

    def moved() -> None:
        session.greeting.end()
        stage.panes.forget_rest()

    def orbit(right: float, up: float = 0.0) -> None:
        state.remember()
        stage.view.camera.orbit(right, up)
        moved()

    def pan(right: float, up: float = 0.0) -> None:
        state.remember()
        stage.view.camera.pan(right, up)
        moved()

    def zoom(factor: float) -> None:
        if not 0.001 <= factor <= 1000:
            raise BadArguments("factor: it must lie between 0.001 and 1000")
        state.remember()
        stage.view.camera.zoom(factor)
        moved()

    def fit(machine: str | None = None) -> None:
        if machine is not None and machine not in stage.feeds:
            raise BadArguments(f"the memory of {machine} is not shown")
        state.remember()
        stage.fit(machine, time.monotonic())
        moved()

    def axis_view(axis: str) -> None:
        state.remember()
        stage.view.camera.axis_view(axis, time.monotonic())
        moved()

    def place(machine: str | None, offset: int) -> Place:
        name = machine or state.current
        if name is None or name not in stage.feeds:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        if not 0 <= offset < stage.feeds[name].ram.size_bytes:
            raise BadArguments(f"offset: {offset:#x} lies outside the RAM of {name}")
        return Place(name, offset)

    def pick(x: float, y: float) -> dict[str, Any] | None:
        session.greeting.end()
        session.navigation.select(stage.pick(x, y))
        return describe_selection(session)

    def select(address: int, machine: str | None = None) -> dict[str, Any] | None:
        session.navigation.select(session.navigation.place_of(address, machine))
        return describe_selection(session)

    def go_to(address: int, machine: str | None = None) -> dict[str, Any] | None:
        session.navigation.go_to(address, machine)
        return describe_selection(session)

    def fly_to(machine: str | None = None, offset: int | None = None) -> None:
        target = state.selection if offset is None else place(machine, offset)
        if target is None:
            raise BadArguments("no byte is selected; name one")
        session.navigation.fly_to(target)

    def show_in_hex(machine: str | None = None, offset: int | None = None) -> None:
        if offset is not None:
            session.navigation.select(place(machine, offset))
        state.focus_panel = INSPECTOR

    def ask_address() -> None:
        state.focus_panel = INSPECTOR
        state.focus_address = True

    def copy_address() -> str:
        assert state.selection is not None
        address = stage.paddr(state.selection)
        text = f"{address:#x}" if address is not None else f"{state.selection.offset:#x}"
        imgui.set_clipboard_text(text)
        return text

    def camera(
        azimuth: float | None = None,
        elevation: float | None = None,
        distance: float | None = None,
        x: float | None = None,
        y: float | None = None,
        z: float | None = None,
    ) -> dict[str, Any]:
        given = (azimuth, elevation, distance, x, y, z)
        if any(one is not None for one in given):
            if any(one is not None and abs(one) > FARTHEST for one in given):
                raise BadArguments(f"no number may be greater than {FARTHEST:,}")
            now: CameraState = stage.camera
            at = [float(b) if a is None else a for a, b in zip((x, y, z), now.target, strict=True)]
            state.remember()
            stage.view.camera.skip()
            stage.view.camera.state = dataclasses.replace(
                now,
                target=(at[0], at[1], at[2]),
                azimuth_degrees=now.azimuth_degrees if azimuth is None else azimuth,
                elevation_degrees=now.elevation_degrees if elevation is None else max(-90.0, min(90.0, elevation)),
                distance=now.distance if distance is None else max(1.0, distance),
            )
            moved()
        return dataclasses.asdict(stage.camera)

    def picture(
        path: str, width: int | None = None, height: int | None = None, machine: str | None = None
    ) -> dict[str, Any]:
        target = path_argument(path).absolute()
        if target.suffix.lower() != ".png":
            raise BadArguments("path: a picture's name ends in .png")
        if not target.parent.is_dir():
            raise BadArguments(f"path: {target.parent} is no directory")
        as_shown = stage.view.size_px
        size = (width or as_shown[0], height or as_shown[1])
        if not (16 <= size[0] <= MOST_PIXELS and 16 <= size[1] <= MOST_PIXELS):
            raise BadArguments(f"width and height lie between 16 and {MOST_PIXELS:,}")
        save_picture(view_picture(stage, size, machine), target)
        return {"path": str(target), "width": size[0], "height": size[1]}

    machine = Param("machine", "choice", choices=lambda: list(stage.feeds))
    address = Param("address", "address", required=True)
    steps = [
        ("left", "Left", "A", -STEP_DEGREES, 0.0),
        ("right", "Right", "D", STEP_DEGREES, 0.0),
        ("up", "Up", "W", 0.0, STEP_DEGREES),
        ("down", "Down", "S", 0.0, -STEP_DEGREES),
    ]
    return [
        Action(
            id="view.fit",
            title="Fit to view",
            category=VIEW,
            run=fit,
            params=(machine,),
            shortcuts=("F",),
            why_not=needs_volume,
            icon=icons.ICON_FA_EXPAND,
            help="Show all volumes whole",
            keywords="whole all reset home",
        ),
        Action(
            id="view.go_to",
            title="Go to address…",
            category=SELECTION,
            run=go_to,
            params=(address, machine),
            why_not=needs_volume,
            icon=icons.ICON_FA_LOCATION_CROSSHAIRS,
            keywords="jump find physical",
        ),
        Action(
            id="view.go_to_dialog",
            title="Type an address…",
            category=SELECTION,
            run=ask_address,
            shortcuts=("G", "Ctrl+G"),
            why_not=needs_volume,
            icon=icons.ICON_FA_LOCATION_CROSSHAIRS,
            in_palette=False,
        ),
        Action(
            id="view.select",
            title="Select the byte at…",
            category=SELECTION,
            run=select,
            params=(address, machine),
            why_not=needs_volume,
            icon=icons.ICON_FA_CROSSHAIRS,
        ),
        Action(
            id="view.pick",
            title="Select what is under a point of the volume",
            category=SELECTION,
            run=pick,
            params=(Param("x", "number", required=True), Param("y", "number", required=True)),
            why_not=needs_volume,
            in_palette=False,
        ),
        Action(
            id="selection.fly_to",
            title="Fly to the selected byte",
            category=SELECTION,
            run=fly_to,
            shortcuts=("Enter",),
            why_not=needs_selection,
            icon=icons.ICON_FA_PAPER_PLANE,
        ),
        Action(
            id="view.fly_to",
            title="Fly to a byte",
            category=SELECTION,
            run=fly_to,
            params=(machine, Param("offset", "address")),
            why_not=needs_volume,
            icon=icons.ICON_FA_PAPER_PLANE,
            in_palette=False,
        ),
        Action(
            id="view.show_in_hex",
            title="Show in hex",
            category=SELECTION,
            run=show_in_hex,
            params=(machine, Param("offset", "address")),
            why_not=needs_volume,
            icon=icons.ICON_FA_TABLE_CELLS,
        ),
        Action(
            id="selection.copy_address",
            title="Copy the address",
            category=SELECTION,
            run=copy_address,
            shortcuts=("Ctrl+C",),
            why_not=needs_selection,
            icon=icons.ICON_FA_COPY,
        ),
        Action(
            id="selection.clear",
            title="Select nothing",
            category=SELECTION,
            run=lambda: session.navigation.select(None),
            why_not=needs_selection,
            icon=icons.ICON_FA_XMARK,
        ),
        Action(
            id="edit.undo",
            title="Undo",
            category=SELECTION,
            run=lambda: session.navigation.time_travel(forward=False),
            shortcuts=("Ctrl+Z",),
            why_not=lambda: None if state.history.can_undo else "There is nothing to undo",
            icon=icons.ICON_FA_ROTATE_LEFT,
            help="Brings back the selection, where the camera stood and how bytes were shown",
        ),
        Action(
            id="edit.redo",
            title="Redo",
            category=SELECTION,
            run=lambda: session.navigation.time_travel(forward=True),
            shortcuts=("Ctrl+Shift+Z", "Ctrl+Y"),
            why_not=lambda: None if state.history.can_redo else "There is nothing to redo",
            icon=icons.ICON_FA_ROTATE_RIGHT,
        ),
        Action(
            id="view.axis",
            title="Look along…",
            category=VIEW,
            run=axis_view,
            params=(Param("axis", "choice", required=True, choices=lambda: list(AXIS_VIEWS)),),
            why_not=needs_volume,
            icon=icons.ICON_FA_CUBE,
        ),
        *(
            Action(
                id=f"view.axis_{'plus' if axis[0] == '+' else 'minus'}_{axis[1]}",
                title=f"Look along {axis}",
                category=VIEW,
                run=lambda axis=axis: axis_view(axis),
                shortcuts=(key,),
                why_not=needs_volume,
                icon=icons.ICON_FA_CUBE,
                in_palette=False,
            )
            for axis, key in AXIS_KEYS.items()
        ),
        *(
            Action(
                id=f"view.orbit_{name}",
                title=f"Orbit {name}",
                category=VIEW,
                run=lambda right=right, up=up: orbit(right, up),
                shortcuts=(arrow, letter),
                why_not=needs_volume,
                in_palette=False,
            )
            for name, arrow, letter, right, up in steps
        ),
        *(
            Action(
                id=f"view.zoom_{name}",
                title=f"Zoom {name}",
                category=VIEW,
                run=partial(zoom, factor),
                shortcuts=(key,),
                why_not=needs_volume,
                icon=icon,
            )
            for name, factor, key, icon in (
                ("in", ZOOM_STEP, "+", icons.ICON_FA_MAGNIFYING_GLASS_PLUS),
                ("out", 1 / ZOOM_STEP, "-", icons.ICON_FA_MAGNIFYING_GLASS_MINUS),
            )
        ),
        *(
            Action(
                id=f"volume.{name}",
                title=title,
                category=VIEW,
                run=move,
                params=(Param("right", "number", required=True), Param("up", "number")),
                in_palette=False,
            )
            for name, title, move in (
                ("orbit", "Orbit by degrees", orbit),
                ("pan", "Pan by shares of the picture's height", pan),
            )
        ),
        Action(
            id="volume.zoom",
            title="Zoom by a factor",
            category=VIEW,
            run=zoom,
            params=(Param("factor", "number", required=True),),
            in_palette=False,
        ),
        Action(
            id="view.camera",
            title="Say or set where the camera stands",
            category=VIEW,
            run=camera,
            params=(
                *(Param("azimuth", "number"), Param("elevation", "number"), Param("distance", "number")),
                *(Param(axis, "number", help="of the point that is looked at, in voxels") for axis in "xyz"),
            ),
            in_palette=False,
        ),
        Action(
            id="view.picture",
            title="Save a picture of the volume…",
            category=VIEW,
            run=picture,
            params=(
                Param("path", required=True, help="a file that ends in .png"),
                Param("width", "integer", help="in pixels; as the view is unless it is said"),
                Param("height", "integer"),
                Param("machine", "choice", choices=lambda: list(stage.feeds), help="alone; all unless it is said"),
            ),
            why_not=needs_volume,
            icon=icons.ICON_FA_CAMERA,
            help="What the view shows, without panels, as sharp as it gets",
        ),
    ]


def describe_selection(session: Session) -> dict[str, Any] | None:
    """Return the selected byte as JSON values."""
    place = session.state.selection
    ram = session.state.stage.ram(place.machine) if place is not None else None
    if place is None or ram is None:
        return None
    return {
        "machine": place.machine,
        "offset": place.offset,
        "address": session.state.stage.paddr(place),
        "voxel": list(session.state.stage.voxel(place)),
        "value": int(ram.bytes[place.offset]),
    }
