"""Actions on machines: launch, attach, adopt, pause, resume, reset, stop, select."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.jobs import Job
from app.session import Session
from app.user_paths import path_argument
from bridge.machine.catalogue import guest_names
from bridge.machine.states import MachineState

CATEGORY = "Machine"


def machine_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def names() -> Sequence[str]:
        return [m.name for m in state.manager.machines()]

    def orphan_names() -> Sequence[str]:
        return [r.name for r in state.orphans]

    def in_state(*wanted: MachineState) -> Callable[[], str | None]:
        def why_not() -> str | None:
            machine = state.machine()
            if machine is None:
                return "There is no machine"
            found = machine.info.state
            if machine.info.dump:
                return f"{machine.name} is a dump: it stands still"
            return None if found in wanted else f"{machine.name} is {found.value}"

        return why_not

    def any_machine() -> str | None:
        return None if state.manager.machines() else "There is no machine"

    def live_machine() -> str | None:
        machine = state.machine()
        if machine is not None and machine.info.dump:
            return f"{machine.name} is a dump: nothing runs that could be let go"
        return any_machine()

    def any_orphan() -> str | None:
        return None if state.orphans else "No machine runs without a window"

    def toggle(machine: str | None = None) -> Job:
        found = session.state.require_machine(machine)
        if found.info.state is MachineState.PAUSED:
            return session.machines.operate("resume", "Resuming", found.name)
        return session.machines.operate("pause", "Pausing", found.name)

    def launch(
        guest: str,
        ram: int | None = None,
        name: str | None = None,
        cold: bool | None = None,
        network: bool | None = None,
        detach: bool = False,
    ) -> Job:
        return session.machines.launch(guest, name=name, ram_bytes=ram, cold=cold, network=network, detach=detach)

    def attach(socket: str, name: str | None = None) -> Job:
        return session.machines.attach(path_argument(socket).absolute(), name)

    def cancel(job: int) -> bool:
        found = state.jobs.get(job)
        if found is None:
            raise BadArguments(f"no job {job} is under way")
        return found.cancel()

    def listing() -> list[dict[str, Any]]:
        return [describe_machine(session, m.name) for m in state.manager.machines()]

    def operate(verb: str, doing: str, machine: str | None = None) -> Job:
        return session.machines.operate(verb, doing, machine)

    which = Param("machine", "choice", choices=names, help="the current machine when left out")
    running, paused, starting = MachineState.RUNNING, MachineState.PAUSED, MachineState.STARTING
    action = partial(Action, category=CATEGORY)
    of_machine = partial(action, why_not=any_machine)
    return [
        action(
            id="machine.launch",
            title="Launch…",
            run=launch,
            params=(
                Param("guest", "choice", required=True, choices=guest_names),
                Param("ram", "size", help="such as 128M; as described when left out"),
                Param("name"),
                Param("cold", "flag", help="boot anew even where a saved state could be resumed"),
                Param("network", "flag"),
                Param("detach", "flag", help="the machine outlives the window"),
            ),
            icon=icons.ICON_FA_PLAY,
            keywords="start boot run guest",
        ),
        action(
            id="machine.launch_dialog",
            title="Launch with choices…",
            run=lambda: session.state.show_overlay("launch"),
            shortcuts=("Ctrl+N",),
            icon=icons.ICON_FA_PLAY,
            help="Choose a guest, its memory, and how it starts",
            keywords="start boot run guest new",
        ),
        action(
            id="machine.attach_dialog",
            title="Attach…",
            run=lambda: session.state.show_overlay("attach"),
            shortcuts=("Ctrl+Shift+N",),
            icon=icons.ICON_FA_PLUG,
            help="Look into a QEMU that someone else started",
            keywords="qemu qmp connect",
        ),
        action(
            id="machine.attach",
            title="Attach to the QMP socket…",
            run=attach,
            params=(Param("socket", required=True), Param("name")),
            icon=icons.ICON_FA_PLUG,
        ),
        action(
            id="machine.toggle",
            title="Pause or resume",
            run=toggle,
            params=(which,),
            shortcuts=("Space",),
            why_not=in_state(running, paused),
            icon=icons.ICON_FA_PAUSE,
        ),
        *(
            of_machine(
                id=f"machine.{verb}",
                title=verb.capitalize(),
                run=partial(operate, verb, doing),
                params=(which,),
                icon=icon,
                in_palette=False,
            )
            for verb, doing, icon in (
                ("pause", "Pausing", icons.ICON_FA_PAUSE),
                ("resume", "Resuming", icons.ICON_FA_PLAY),
            )
        ),
        action(
            id="machine.reset",
            title="Reset",
            run=partial(operate, "reset", "Resetting"),
            params=(which,),
            why_not=in_state(running, paused, starting),
            icon=icons.ICON_FA_ROTATE_LEFT,
            keywords="reboot restart",
        ),
        of_machine(
            id="machine.stop",
            title="Stop",
            run=lambda machine=None: session.machines.stop(machine),
            params=(which,),
            icon=icons.ICON_FA_STOP,
            help="A dump is closed",
            keywords="quit kill power off close dump",
        ),
        action(
            id="machine.detach",
            title="Let go",
            run=lambda machine=None: session.machines.detach(machine),
            params=(which,),
            why_not=live_machine,
            icon=icons.ICON_FA_LINK_SLASH,
            help="The machine runs on without this window",
            keywords="detach release leave",
        ),
        of_machine(
            id="machine.select",
            title="Show machine…",
            run=session.machines.select_machine,
            params=(Param("machine", "choice", required=True, choices=names),),
            icon=icons.ICON_FA_MICROCHIP,
        ),
        action(
            id="machine.adopt",
            title="Adopt…",
            run=session.machines.adopt,
            params=(Param("machine", "choice", required=True, choices=orphan_names),),
            why_not=any_orphan,
            icon=icons.ICON_FA_HAND_HOLDING,
            help="Take over a machine that runs without a window",
        ),
        action(
            id="machine.stop_orphan",
            title="Stop a machine that was found…",
            run=session.machines.stop_orphan,
            params=(Param("machine", "choice", required=True, choices=orphan_names),),
            why_not=any_orphan,
            icon=icons.ICON_FA_STOP,
        ),
        Action(id="machine.list", title="List machines", category=CATEGORY, run=listing, in_palette=False),
        action(
            id="job.cancel",
            title="Cancel a job…",
            run=cancel,
            params=(Param("job", "integer", required=True),),
            in_palette=False,
        ),
    ]


def describe_machine(session: Session, name: str) -> dict[str, Any]:
    """Return what a script may know of a machine, as JSON values."""
    machine = session.state.require_machine(name)
    info = machine.info
    vital = session.state.vitals.get(name)
    usage = vital.usage if vital is not None else None
    return {
        "name": info.name,
        "guest": info.guest,
        "state": info.state.value,
        "accelerator": info.accelerator,
        "dump": info.dump,
        "pid": info.pid,
        "ram_bytes": info.ram_bytes,
        "attached": info.attached,
        "warm": info.warm,
        "message": info.message,
        "shown": name in session.state.stage.feeds,
        "cpu_percent": usage.cpu_percent if usage else None,
        "rss_bytes": usage.rss_bytes if usage else None,
        "uptime_s": usage.uptime_s if usage else None,
    }
