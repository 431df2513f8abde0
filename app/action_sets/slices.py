"""Actions on slice planes and the clip box: set, show, step, bring to the selected byte, clip."""

from __future__ import annotations

from functools import partial
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.action_sets.views import describe_selection
from app.actions import Action, BadArguments, Param
from app.place import Place
from app.session import Session
from app.slicing import Slicing, bounded_box, box_around, to_json, whole_box
from app.voxels import place_of_voxel
from render.curves import BRICK_SIDE
from render.cut import AXES, Axis, Plane
from render.cut_text import parse_clip, parse_plane
from render.planes import Shape, moved_to, plane_through, voxel_middle

SLICES = "Slices"
AROUND_VOXELS = 64
MAX_AROUND = 4096
PAGE_STEP = BRICK_SIDE
"""A page is a brick: so many voxels along an axis."""


def slice_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state
    stage = state.stage

    def needs_volume() -> str | None:
        return None if stage.feeds else "No machine's memory is shown"

    def needs_selection() -> str | None:
        return None if state.selection is not None else "No byte is selected"

    def needs_plane() -> str | None:
        if needs_volume() is not None:
            return needs_volume()
        shown = any(slicing.shown for _, slicing in state.slicings.all())
        return None if shown else "No slice plane is shown"

    def needs_clip() -> str | None:
        if needs_volume() is not None:
            return needs_volume()
        return None if any(slicing.clipping for _, slicing in state.slicings.all()) else "Nothing is clipped"

    def named(machine: str | None) -> str:
        name = machine or state.current
        if name is None or name not in stage.feeds:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        return name

    def shape_of(machine: str) -> Shape:
        return stage.feeds[machine].store.shape_voxels

    def apply(machine: str, slicing: Slicing) -> dict[str, Any]:
        state.remember()
        state.slicings.set(stage, machine, slicing)
        stage.panes.forget_rest()
        return to_json(state.slicings.get(stage, machine))

    def axis_of(text: str | None) -> Axis:
        return next((axis for axis in AXES if axis == text), state.slices.axis)

    def set_plane(
        axis: str,
        position: str,
        machine: str | None = None,
        azimuth: float | None = None,
        elevation: float | None = None,
    ) -> dict[str, Any]:
        name = named(machine)
        slicing = state.slicings.get(stage, name)
        wanted = parse_plane(f"{axis}={position}")
        old = slicing.plane(wanted.axis)
        turned = "@" in position
        plane = Plane(
            wanted.axis,
            0.0,
            wanted.azimuth_degrees if turned else old.azimuth_degrees if azimuth is None else azimuth,
            wanted.elevation_degrees if turned else old.elevation_degrees if elevation is None else elevation,
        )
        if plane.axis != "oblique" and (azimuth, elevation) != (None, None):
            raise BadArguments("azimuth: only an oblique plane has angles")
        return apply(name, slicing.with_plane(wanted.at_angles(plane).plane(shape_of(name))))

    def toggle(axis: str | None = None, machine: str | None = None) -> dict[str, Any]:
        name, which = named(machine), axis_of(axis)
        slicing = state.slicings.get(stage, name)
        return apply(name, slicing.with_shown(which, which not in slicing.shown))

    def hide(axis: str | None = None, machine: str | None = None) -> dict[str, Any]:
        name = named(machine)
        slicing = state.slicings.get(stage, name)
        for which in AXES if axis is None else (axis_of(axis),):
            slicing = slicing.with_shown(which, False)
        return apply(name, slicing)

    def three(machine: str | None = None) -> dict[str, Any]:
        name = named(machine)
        return apply(name, state.slicings.get(stage, name).with_three())

    def turn(azimuth: float, elevation: float, machine: str | None = None) -> dict[str, Any]:
        if not (-360 <= azimuth <= 360 and -90 <= elevation <= 90):
            raise BadArguments("azimuth lies from -360 to 360 degrees, and elevation from -90 to 90")
        name = named(machine)
        slicing = state.slicings.get(stage, name)
        plane = Plane("oblique", slicing.plane("oblique").position, azimuth, elevation)
        return apply(name, slicing.with_plane(moved_to(plane, plane.position, shape_of(name))))

    def step(voxels: float, axis: str | None = None, machine: str | None = None) -> dict[str, Any]:
        name = named(machine)
        slicing = state.slicings.get(stage, name)
        plane = slicing.plane(axis_of(axis))
        moved = moved_to(plane, plane.position + voxels, shape_of(name))
        return apply(name, slicing.with_plane(moved, shown=False))

    def slice_here(axis: str | None = None, machine: str | None = None, offset: int | None = None) -> dict[str, Any]:
        name, voxel = where(machine, offset)
        slicing = state.slicings.get(stage, name)
        for which in AXES[:3] if axis is None else (axis_of(axis),):
            plane = plane_through(slicing.plane(which), voxel_middle(voxel), shape_of(name))
            slicing = slicing.with_plane(plane)
        return apply(name, slicing)

    def where(machine: str | None, offset: int | None) -> tuple[str, tuple[int, int, int]]:
        if offset is not None:
            name = named(machine)
            if not 0 <= offset < stage.feeds[name].ram.size_bytes:
                raise BadArguments(f"offset: {offset:#x} lies outside the RAM of {name}")
            place = Place(name, offset)
        elif state.selection is not None:
            place = state.selection
        else:
            raise BadArguments("no byte is selected; name one")
        return place.machine, stage.voxel(place)

    def select_voxel(x: int, y: int, z: int, machine: str | None = None) -> dict[str, Any] | None:
        name = named(machine)
        place = place_of_voxel(stage, name, (x, y, z))
        if place is None:
            raise BadArguments(f"{x}, {y}, {z} is no voxel of {name} that holds a byte")
        session.navigation.select(place)
        return describe_selection(session)

    def show_flat(axis: str) -> None:
        state.slices.axis = axis_of(axis)

    def clip(box: str, machine: str | None = None) -> dict[str, Any]:
        name = named(machine)
        wanted = bounded_box(parse_clip(box).box(shape_of(name)), shape_of(name))
        assert wanted is not None  # it lies in the volume, so that whole voxels of it do
        return apply(name, state.slicings.get(stage, name).with_clip(wanted))

    def clip_to(side: int, machine: str | None = None, offset: int | None = None) -> dict[str, Any]:
        if not 1 <= side <= MAX_AROUND:
            raise BadArguments(f"voxels: it must lie between 1 and {MAX_AROUND:,}")
        name, voxel = where(machine, offset)
        return apply(name, state.slicings.get(stage, name).with_clip(box_around(voxel, side, shape_of(name))))

    def clip_page(machine: str | None = None, offset: int | None = None) -> dict[str, Any]:
        name, voxel = where(machine, offset)
        corner = tuple(v // BRICK_SIDE * BRICK_SIDE for v in voxel)
        box = (
            (float(corner[0]), float(corner[1]), float(corner[2])),
            (float(corner[0] + BRICK_SIDE), float(corner[1] + BRICK_SIDE), float(corner[2] + BRICK_SIDE)),
        )
        return apply(name, state.slicings.get(stage, name).with_clip(box))

    def clip_toggle(machine: str | None = None) -> dict[str, Any]:
        name = named(machine)
        slicing = state.slicings.get(stage, name)
        return apply(name, slicing.with_clipping(not slicing.clipping))

    def clip_reset(machine: str | None = None) -> dict[str, Any]:
        name = named(machine)
        return apply(name, state.slicings.get(stage, name).with_clip(whole_box(shape_of(name))).with_clipping(False))

    def listing() -> dict[str, Any]:
        return {name: to_json(state.slicings.get(stage, name)) for name in stage.feeds}

    machine = Param("machine", "choice", choices=lambda: list(stage.feeds))
    axis = Param("axis", "choice", choices=lambda: AXES, help="x (YZ), y (XZ), z (XY) or oblique")
    needed_axis = Param("axis", "choice", required=True, choices=lambda: AXES, help=axis.help)
    offset = Param("offset", "address", help="a byte of its RAM file; the selected one when left out")
    action = partial(Action, category=SLICES)
    of_volume = partial(action, why_not=needs_volume)
    return [
        of_volume(
            id="view.slice",
            title="Slice at…",
            run=set_plane,
            params=(
                needed_axis,
                Param("position", required=True, help="in voxels along the normal: 128, 0x80 or 50%"),
                machine,
                Param("azimuth", "number", help="degrees, oblique only"),
                Param("elevation", "number", help="degrees, oblique only"),
            ),
            icon=icons.ICON_FA_LAYER_GROUP,
            keywords="plane cut section",
        ),
        action(
            id="view.slice_here",
            title="Slice through the selected byte",
            run=slice_here,
            params=(axis, machine, offset),
            shortcuts=("Shift+X",),
            why_not=needs_selection,
            icon=icons.ICON_FA_CROSSHAIRS,
            help="Brings the three planes to it",
            keywords="plane cut section move",
        ),
        of_volume(
            id="view.slice_at",
            title="Slice through a byte",
            run=slice_here,
            params=(axis, machine, offset),
            icon=icons.ICON_FA_LAYER_GROUP,
            in_palette=False,
        ),
        of_volume(
            id="view.slice_toggle",
            title="Show or hide the slice plane…",
            run=toggle,
            params=(axis, machine),
            icon=icons.ICON_FA_LAYER_GROUP,
        ),
        of_volume(
            id="view.slice_three",
            title="Show three slice planes",
            run=three,
            params=(machine,),
            icon=icons.ICON_FA_LAYER_GROUP,
            help="XY, XZ and YZ where they stood last",
            keywords="plane cut section orthogonal",
        ),
        action(
            id="view.slice_off",
            title="Hide all slice planes",
            run=hide,
            params=(axis, machine),
            why_not=needs_plane,
            icon=icons.ICON_FA_EYE_SLASH,
        ),
        of_volume(
            id="view.slice_angles",
            title="Turn the oblique plane…",
            run=turn,
            params=(Param("azimuth", "number", required=True), Param("elevation", "number", required=True), machine),
            icon=icons.ICON_FA_ROTATE,
        ),
        action(
            id="view.slice_flat",
            title="Show the flat picture of…",
            run=show_flat,
            params=(needed_axis,),
            icon=icons.ICON_FA_TABLE_CELLS_LARGE,
        ),
        of_volume(
            id="view.select_voxel",
            title="Select the byte at a voxel…",
            run=select_voxel,
            params=(*(Param(name, "integer", required=True) for name in "xyz"), machine),
            icon=icons.ICON_FA_CROSSHAIRS,
        ),
        of_volume(
            id="view.slice_step",
            title="Step the slice plane by voxels…",
            run=step,
            params=(Param("voxels", "number", required=True), axis, machine),
            in_palette=False,
        ),
        *(
            of_volume(
                id=f"view.slice_{name}",
                title=title,
                run=lambda voxels=voxels: step(voxels),
                shortcuts=(key,),
                in_palette=False,
            )
            for name, title, voxels, key in (
                ("page_up", "Slice a page farther", PAGE_STEP, "PageUp"),
                ("page_down", "Slice a page nearer", -PAGE_STEP, "PageDown"),
                ("voxel_up", "Slice a voxel farther", 1, "Shift+PageUp"),
                ("voxel_down", "Slice a voxel nearer", -1, "Shift+PageDown"),
            )
        ),
        of_volume(
            id="view.clip",
            title="Clip to the box…",
            run=clip,
            params=(
                Param("box", required=True, help="x0:x1,y0:y1,z0:z1 in voxels or %; an end may be left out"),
                machine,
            ),
            icon=icons.ICON_FA_CROP_SIMPLE,
            keywords="crop cut",
        ),
        action(
            id="view.clip_page",
            title="Clip to the selected byte's page",
            run=clip_page,
            params=(machine, offset),
            why_not=needs_selection,
            icon=icons.ICON_FA_CROP_SIMPLE,
            keywords="crop cut",
        ),
        action(
            id="view.clip_around",
            title="Clip to what is around the selected byte",
            run=lambda voxels=AROUND_VOXELS, machine=None, offset=None: clip_to(voxels, machine, offset),
            params=(
                Param("voxels", "integer", help=f"a side of the box, {AROUND_VOXELS} when left out"),
                machine,
                offset,
            ),
            why_not=needs_selection,
            icon=icons.ICON_FA_CROP_SIMPLE,
            keywords="crop cut",
        ),
        of_volume(
            id="view.clip_toggle",
            title="Clip or show the whole volume",
            run=clip_toggle,
            params=(machine,),
            icon=icons.ICON_FA_CROP,
            keywords="crop cut box",
        ),
        action(
            id="view.clip_off",
            title="Reset the clip box",
            run=clip_reset,
            params=(machine,),
            why_not=needs_clip,
            icon=icons.ICON_FA_EXPAND,
        ),
        action(
            id="view.slices",
            title="Say how the machines are cut",
            run=listing,
            in_palette=False,
        ),
    ]
