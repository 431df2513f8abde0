"""Actions on the volumes as things in the world: where they stand, and how addresses are laid in them."""

from __future__ import annotations

import time
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.session import Session
from render.arrangement import SNAP
from render.curves import CURVES

VIEW = "View"
FARTHEST = 1 << 20
"""Voxels from the middle of the world: farther away a volume would be lost, and depth with it."""


def volume_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, stage = session.state, session.state.stage

    def move(machine: str, x: float, y: float, z: float = 0.0) -> dict[str, Any]:
        if max(abs(x), abs(y), abs(z)) > FARTHEST:
            raise BadArguments(f"x, y and z must lie between -{FARTHEST:,} and {FARTHEST:,} voxels")
        before = state.look()
        if not stage.move(machine, (x, y, z)):
            raise BadArguments(f"another volume stands there; {machine} needs {SNAP} voxels of room around it")
        state.history.record(before)
        stage.forget_rest()
        return places()

    def arrange() -> dict[str, Any]:
        state.remember()
        stage.arrange()
        stage.fit(None, time.monotonic())
        session.end_tour()
        stage.forget_rest()
        return places()

    def places() -> dict[str, Any]:
        return {name: list(origin) for name, origin in stage.origins().items()}

    def set_curve(curve: str) -> None:
        session.change(curve=curve)
        stage.forget_rest()

    def needs_volume() -> str | None:
        return None if stage.feeds else "No machine's memory is shown"

    def needs_several() -> str | None:
        return None if len(stage.feeds) > 1 else "There is only one volume" if stage.feeds else needs_volume()

    machine = Param("machine", "choice", required=True, choices=lambda: list(stage.feeds))
    return [
        Action(
            id="view.move_volume",
            title="Move a volume",
            category=VIEW,
            run=move,
            params=(
                machine,
                Param("x", "number", required=True, help="voxels, of its low corner; snaps to the grid"),
                Param("y", "number", required=True),
                Param("z", "number"),
            ),
            why_not=needs_volume,
            icon=icons.ICON_FA_UP_DOWN_LEFT_RIGHT,
            in_palette=False,
            help="Alt and a drag do the same",
        ),
        Action(
            id="view.arrange",
            title="Arrange the volumes in a grid",
            category=VIEW,
            run=arrange,
            why_not=needs_several,
            icon=icons.ICON_FA_TABLE_CELLS_LARGE,
            help="Alt and a drag move a volume by hand",
            keywords="layout order cubes machines",
        ),
        Action(
            id="view.curve",
            title="Lay addresses along…",
            category=VIEW,
            run=set_curve,
            params=(Param("curve", "choice", required=True, choices=lambda: list(CURVES)),),
            icon=icons.ICON_FA_BEZIER_CURVE,
            help="How the bytes of a machine are laid in space",
            keywords="hilbert morton linear order layout curve z-order raster",
        ),
        Action(
            id="view.volumes",
            title="Say where the volumes stand",
            category=VIEW,
            run=places,
            why_not=needs_volume,
            in_palette=False,
        ),
    ]
