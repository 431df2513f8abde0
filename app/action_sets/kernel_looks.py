"""Actions on how a kernel is looked at: whether its machine is held still for each look, and one such look now."""

from __future__ import annotations

from collections.abc import Sequence

from imgui_bundle import icons_fontawesome_6 as icons

from app.action_sets.machines import CATEGORY
from app.actions import Action, BadArguments, Param
from app.jobs import Job, JobState
from app.session import Session
from bridge.kernel.frozen import look_frozen
from bridge.machine.machine import Machine
from bridge.machine.states import MachineState


def kernel_look_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def names() -> Sequence[str]:
        return [m.name for m in state.manager.machines() if m.info.state is MachineState.RUNNING]

    def toggle() -> bool:
        session.kept.change(consistent_frame=not state.settings.consistent_frame)
        return state.settings.consistent_frame

    def look(machine: str | None = None) -> Job:
        found = session.state.require_machine(machine)
        watcher = state.kernels.watcher(found.name)
        if not isinstance(found, Machine) or found.info.state is not MachineState.RUNNING or watcher is None:
            raise BadArguments(f"{found.name} does not run: each look at it is consistent as it is")

        def work(_job: Job) -> dict[str, float]:
            looked = look_frozen(watcher, found.briefly_held)
            return {"held_ms": round(1000 * looked.held_s, 2), "looked_ms": round(1000 * looked.looked_s, 2)}

        def end(job: Job) -> None:
            if job.state is JobState.FAILED and job.error is not None:
                session.notices.report(job.error, f"{found.name} could not be looked at while it stands still")

        return state.jobs.start(f"Looking at {found.name}", work, on_end=end, can_cancel=False)

    def any_running() -> str | None:
        return None if names() else "No machine runs"

    return [
        Action(
            id="kernel.consistent_frame",
            title="Turn consistent frames on or off",
            category=CATEGORY,
            run=toggle,
            icon=icons.ICON_FA_SNOWFLAKE,
            help="Hold the machine still for some milliseconds at each look at its kernel, so that all is of one"
            " instant",
            keywords="pause freeze hold snapshot atomic",
        ),
        Action(
            id="kernel.look_frozen",
            title="Look at the kernel while the machine stands still",
            category=CATEGORY,
            run=look,
            params=(Param("machine", choices=names),),
            why_not=any_running,
            icon=icons.ICON_FA_CAMERA,
            help="Hold the machine for some milliseconds, look, and let it go on",
        ),
    ]
