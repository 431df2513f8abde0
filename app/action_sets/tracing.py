"""Actions on the trace of a machine: what its plugin watches, and what the Execution panel shows of that."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, ActionError, BadArguments, Param
from app.execution_ui import CODE, SPANS_S, VIEWS, look_of, tracer_of, why_nothing_runs
from app.jobs import Job, JobState
from app.layout import EXECUTION
from app.session import Session
from app.shot_heat import HEATS, recorded_heat
from app.trace_channels import RECORDED, TITLES, show_heat
from app.trace_costs import COSTS, told_cost
from app.trace_looks import Look
from app.tracing import Tracer
from app.user_paths import path_argument
from bridge.trace.modes import Mode

CATEGORY = "Execution"
LIMIT_S = 10.0
_POLL_S = 0.05
MAX_ROWS = 200


class NoTrace(ActionError):
    """Nothing is traced; the message says why."""


def trace_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def why_not(machine: str | None = None) -> str | None:
        return why_nothing_runs(state, machine) or None

    def needs_look() -> str | None:
        return None if look_of(state) is not None else why_not() or "Nothing is traced: choose a mode first"

    def tracer_named(machine: str | None) -> Tracer:
        if (reason := why_not(machine)) is not None:
            raise NoTrace(reason)
        found = state.tracers.of(machine or state.current)
        assert found is not None
        return found

    def set_mode(mode: str, machine: str | None = None) -> dict[str, Any]:
        tracer = tracer_named(machine)
        tracer.set_mode(Mode(mode))
        return {"machine": tracer.machine.name, "mode": mode, "expected_cost": COSTS[Mode(mode)]}

    def show(view: str | None = None) -> None:
        if view is not None:
            state.execution.view = view
        session.kept.change(show_execution=True)
        state.focus_panel = EXECUTION

    def span(seconds: str) -> None:
        state.execution.span_s = int(seconds)

    def hold() -> bool:
        ui = state.execution
        ui.held = None if ui.held is not None else look_of(state)
        return ui.held is not None

    def choose(block: int, go: bool = False) -> int | None:
        look = look_of(state)
        row = next((row for row in look.rows if row.number == block), None) if look is not None else None
        physical = row.physical if row is not None else _physical(look, block)
        state.execution.chosen = block
        state.execution.table.selected = block
        if go:
            state.execution.view = CODE
        machine = tracer_of(state)
        if physical is not None and machine is not None and machine.machine.name in state.stage.feeds:
            (session.navigation.go_to if go else _selects(session))(physical, machine.machine.name)
        return physical

    def load(path: str, channel: str = "executed", machine: str | None = None) -> Job:
        name, file = machine or state.current or "", path_argument(path)
        if name not in state.stage.feeds:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        if not file.is_absolute():
            raise BadArguments("path: it begins with / or ~, for the window has no working folder")
        n_pages = state.stage.feeds[name].store.n_pages

        def shown(job: Job) -> None:
            if job.state is not JobState.DONE or name not in state.stage.feeds:
                return
            found, store = job.result, state.stage.feeds[name].store
            if store.n_pages != n_pages:
                return
            for one, heat in found.items():
                title, top = f"Recorded {TITLES[one].lower()}", max(1.0, float(heat.max(initial=0)))
                show_heat(store, one, heat, name=RECORDED[one], title=title, top=top)
            job.result = {
                "machine": name,
                "pages": {word: int(np.count_nonzero(found[one])) for word, one in HEATS.items()},
                "channel": RECORDED[HEATS[channel]],
            }
            session.looks.show_channel(RECORDED[HEATS[channel]])

        return state.jobs.start(f"Reading {file.name}", lambda _job: recorded_heat(file, n_pages), on_end=shown)

    def hot(limit: int = 20, machine: str | None = None) -> Job:
        tracer = tracer_named(machine)
        if tracer.mode is Mode.OFF:
            raise NoTrace("Nothing is traced: choose a mode first (trace.mode counters)")
        if tracer is not tracer_of(state):
            raise NoTrace(f"{tracer.machine.name} is not the machine that is shown")
        if not 1 <= limit <= MAX_ROWS:
            raise BadArguments(f"limit: it lies between 1 and {MAX_ROWS}")
        state.execution.wanted_s = state.now_s

        def work(job: Job) -> dict[str, Any]:
            deadline = time.monotonic() + LIMIT_S
            while True:
                job.check()
                look = tracer.latest()
                if look is not None and look.rows:
                    return described(tracer, look, limit)
                if tracer.mode is Mode.OFF or time.monotonic() > deadline:
                    if look is None:
                        raise NoTrace(tracer.problem or "Nothing was seen")
                    return described(tracer, look, limit)  # a paused guest runs no code
                time.sleep(_POLL_S)

        return state.jobs.start("Looking for hot code", work, quiet=True)

    modes = Param("mode", "choice", required=True, choices=lambda: [str(mode) for mode in Mode])
    machines = Param("machine", "choice", choices=lambda: [m.name for m in state.manager.machines()])
    costs = ", ".join(f"{mode} {told_cost(mode)}" for mode in Mode)
    return [
        Action(
            id="trace.mode",
            title="Watch execution…",
            category=CATEGORY,
            run=set_mode,
            params=(modes, machines),
            why_not=why_not,
            icon=icons.ICON_FA_GAUGE_HIGH,
            help=f"What is counted while the guest runs. Its work then takes about: {costs}",
            keywords="trace hot profile count heat counters off execution blocks plugin",
        ),
        Action(
            id="trace.show",
            title="Show where the time goes",
            category=CATEGORY,
            run=show,
            params=(Param("view", "choice", choices=lambda: list(VIEWS)),),
            icon=icons.ICON_FA_FIRE,
            keywords="hot paths flame graph execution profile time lines sampling disassembly counts",
        ),
        Action(
            id="trace.span",
            title="Seconds that hot code is told of…",
            category=CATEGORY,
            run=span,
            params=(Param("seconds", "choice", required=True, choices=lambda: [str(s) for s in SPANS_S]),),
            icon=icons.ICON_FA_CLOCK,
        ),
        Action(
            id="trace.hold",
            title="Hold what is shown of execution, or follow it",
            category=CATEGORY,
            run=hold,
            why_not=needs_look,
            icon=icons.ICON_FA_PAUSE,
            help="The guest runs on, and so does what is counted",
        ),
        Action(
            id="trace.choose",
            title="Select a block of code by its number",
            category=CATEGORY,
            run=choose,
            params=(Param("block", "integer", required=True), Param("go", "flag")),
            why_not=needs_look,
            in_palette=False,
        ),
        Action(
            id="trace.import",
            title="Show the heat of a recording…",
            category=CATEGORY,
            run=load,
            params=(
                Param("path", required=True, help="of a file that `trace record` saved"),
                Param("channel", "choice", choices=lambda: list(HEATS), help="which one is shown: executed"),
                Param("machine", "choice", choices=lambda: list(state.stage.feeds)),
            ),
            why_not=lambda: None if state.stage.feeds else "No machine's memory is shown",
            icon=icons.ICON_FA_FILE_IMPORT,
            help="What was executed, loaded and stored while it was recorded, as channels of the volume",
            keywords="parquet recording heat map open load execution",
        ),
        Action(
            id="trace.hot",
            title="Say where the guest's time goes",
            category=CATEGORY,
            run=hot,
            params=(Param("limit", "integer"), machines),
            why_not=why_not,
            in_palette=False,
        ),
    ]


def _selects(session: Session) -> Any:
    return lambda physical, machine: session.navigation.select(session.navigation.place_of(physical, machine))


def _physical(look: Look | None, block: int) -> int | None:
    """Where a block lies that is in no row of the table."""
    if look is None or not 0 < block < len(look.span.blocks):
        raise BadArguments("block: there is none of that number")
    leaf = int(look.span.blocks[block]["physical"])
    return None if leaf == (1 << 64) - 1 else leaf


def described(tracer: Tracer, look: Look, limit: int) -> dict[str, Any]:
    """A look as JSON values."""
    return {
        "machine": tracer.machine.name,
        "mode": str(look.mode),
        "seconds": round(look.span.seconds, 3),
        "by_samples": look.span.by_samples,
        "samples": len(look.span.busy),
        "idle_share": round(look.span.idle_share, 4),
        "entered": int(look.span.entered.sum()),
        "lost": look.lost,
        "rows": [row.document() for row in look.rows[:limit]],
    }
