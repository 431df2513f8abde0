"""Actions on the volumes as things in the world: where they stand, and how addresses are laid in them."""

from __future__ import annotations

import time
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.session import Session
from app.settings import MAX_FRAME_MS, MAX_MEMORY_MIB, MIN_FRAME_MS, MIN_MEMORY_MIB
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
        if not stage.places.move(machine, (x, y, z)):
            raise BadArguments(f"another volume stands there; {machine} needs {SNAP} voxels of room around it")
        state.history.record(before)
        stage.panes.forget_rest()
        return places()

    def arrange() -> dict[str, Any]:
        state.remember()
        stage.places.arrange()
        stage.fit(None, time.monotonic())
        session.greeting.end()
        stage.panes.forget_rest()
        return places()

    def places() -> dict[str, Any]:
        return {name: list(origin) for name, origin in stage.places.now().items()}

    def set_curve(curve: str) -> None:
        session.kept.change(curve=curve)
        stage.panes.forget_rest()

    def frame_budget(ms: float) -> float:
        if ms and not MIN_FRAME_MS <= ms <= MAX_FRAME_MS:
            raise BadArguments(f"ms: it must lie between {MIN_FRAME_MS:g} and {MAX_FRAME_MS:g}, or be 0: automatic")
        session.kept.change(frame_budget_ms=ms)
        return stage.frame_budget_s * 1000

    def memory_budget(size: int) -> int:
        mib = size >> 20
        if size and not MIN_MEMORY_MIB <= mib <= MAX_MEMORY_MIB:
            raise BadArguments(f"size: at least {MIN_MEMORY_MIB} MiB are needed; 0 is automatic")
        session.kept.change(memory_budget_mib=mib)
        return stage.feeds.memory_use().budget

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
            id="view.frame_budget",
            title="Frame budget…",
            category=VIEW,
            run=frame_budget,
            params=(Param("ms", "number", required=True, help="milliseconds; 0: what suits the adapter"),),
            icon=icons.ICON_FA_GAUGE_HIGH,
            help="How long a frame may take while anything moves",
            keywords="performance fps smooth resolution",
        ),
        Action(
            id="view.memory_budget",
            title="GPU memory budget…",
            category=VIEW,
            run=memory_budget,
            params=(Param("size", "size", required=True, help="such as 2G; 0: half of what the adapter has"),),
            icon=icons.ICON_FA_MEMORY,
            help="What all volumes together may hold on the GPU; pages far from view are kept coarse where it is short",
            keywords="vram performance",
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
