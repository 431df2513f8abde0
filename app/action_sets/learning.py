"""Actions on a machine's hottest loops: have them proved, done by kernels, or compared; and what is known of them."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, ActionError, BadArguments, Param
from app.layout import LEARNING
from app.learning import MachineLearner, Way
from app.learning_ui import SIDES, describe, learner_of, why_not_learned
from app.loop_documents import loop_document
from app.session import Session

CATEGORY = "Execution"
MAX_ROWS = 256


class NotLearned(ActionError):
    """Nothing is learned; the message says why."""


def learning_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def why_not(machine: str | None = None) -> str | None:
        return why_not_learned(state, machine) or None

    def learner_named(machine: str | None) -> MachineLearner:
        found = state.learners.of(machine or state.current)
        if found is None or found.why_not:
            raise NotLearned(why_not_learned(state, machine))
        return found

    def set_way(way: str, machine: str | None = None) -> dict[str, Any]:
        learner = learner_named(machine)
        learner.set_way(Way(way))
        return {"machine": learner.machine.name, "way": way}

    def show(side: str | None = None) -> None:
        if side is not None:
            state.learning.side = side
        session.kept.change(show_learning=True)
        state.focus_panel = LEARNING

    def choose(loop: str) -> str:
        learner = learner_of(state)
        learnt = None if learner is None else learner.latest()
        hashes = [] if learnt is None else [one.candidate.x86_hash for one in learnt.look.entries]
        found = [one for one in hashes if one.startswith(loop)] if loop else []
        if len(found) != 1:
            raise BadArguments("loop: there is none whose hash begins so" if not found else "loop: several begin so")
        state.learning.chosen = state.learning.table.selected = found[0]
        return found[0]

    def loops(limit: int = 64) -> dict[str, Any]:
        if not 1 <= limit <= MAX_ROWS:
            raise BadArguments(f"limit: it lies between 1 and {MAX_ROWS}")
        document, learner = describe(state), learner_of(state)
        if document is None or learner is None:
            raise NotLearned(why_not() or "No machine runs here")
        learnt = learner.latest()
        entries = () if learnt is None else learnt.look.entries[:limit]
        takes_over = learnt is not None and learnt.way is not Way.LEARN
        return {**document, "entries": [loop_document(one, takes_over=takes_over) for one in entries]}

    machines = Param("machine", "choice", choices=lambda: [m.name for m in state.manager.machines()])
    return [
        Action(
            id="learning.way",
            title="Learn the hottest loops, or have kernels do them…",
            category=CATEGORY,
            run=set_way,
            params=(Param("way", "choice", required=True, choices=lambda: [str(way) for way in Way]), machines),
            why_not=why_not,
            icon=icons.ICON_FA_MICROCHIP,
            help="learn: they are proved; take over: kernels do them; verify: kernels are compared with QEMU",
            keywords="pixel cpu kernels prove hybrid speed accelerate verify take over off",
        ),
        Action(
            id="learning.show",
            title="Show what is learned of the hottest loops",
            category=CATEGORY,
            run=show,
            params=(Param("side", "choice", choices=lambda: list(SIDES)),),
            icon=icons.ICON_FA_GRADUATION_CAP,
            keywords="pixel cpu kernels proof microcode log",
        ),
        Action(
            id="learning.choose",
            title="Choose a loop by the hash of its code",
            category=CATEGORY,
            run=choose,
            params=(Param("loop", required=True),),
            why_not=why_not,
            in_palette=False,
        ),
        Action(
            id="learning.loops",
            title="Say what is known of the hottest loops",
            category=CATEGORY,
            run=loops,
            params=(Param("limit", "integer"),),
            why_not=why_not,
            in_palette=False,
        ),
    ]
