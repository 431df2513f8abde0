"""Actions on questions: ask one, light the answer up, keep it lit, copy it, say what was found."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, BadArguments, Param
from app.consulting import LOCAL_URL, checked_endpoint
from app.found_rows import FoundRow, ranges_text
from app.jobs import Job
from app.queries import Asked
from app.readings import read
from app.session import Session

QUESTIONS = "Questions"


def query_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, queries, answers = session.state, session.state.queries, session.answers

    def needs_volume() -> str | None:
        return None if state.stage.feeds else "No machine's memory is shown"

    def needs_latest() -> str | None:
        return None if queries.latest is not None else "Nothing was asked yet"

    def needs_answer() -> str | None:
        shown = queries.shown
        return None if shown is not None and shown.result is not None else "There is no answer"

    def needs_match() -> str | None:
        shown = queries.shown
        return needs_answer() or (None if shown is not None and shown.rows else "Nothing was found")

    def needs_running() -> str | None:
        return None if queries.latest is not None and queries.latest.running else "Nothing is being asked"

    def named(machine: str | None) -> str:
        name = machine or state.current
        if name is None or name not in state.stage.feeds:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        return name

    def answered() -> Asked:
        shown = queries.shown
        assert shown is not None
        return shown

    def row(index: int) -> FoundRow:
        rows = answered().rows
        if not 0 <= index < len(rows):
            raise BadArguments(f"index: {index} is none of the {len(rows):,} matches, which count from 0")
        return rows[index]

    def ask(text: str, machine: str | None = None) -> Job:
        return answers.ask(text, named(machine))

    def again() -> Job:
        assert queries.latest is not None
        return answers.ask(queries.latest.text, queries.latest.machine)

    def highlight(
        text: str, machine: str | None = None, name: str | None = None, colour: str | None = None, fly: bool = True
    ) -> Job:
        return answers.highlight(text, named(machine), name or "", colour or "", fly=fly)

    def light(index: int | None = None, fly: bool = True) -> None:
        if index is None:
            answers.light_all(answered(), fly=fly)
        else:
            answers.light(answered(), row(index), fly=fly)

    def keep(index: int | None = None) -> dict[str, Any]:
        return answers.keep(answered(), None if index is None else row(index)).describe()

    def go(index: int) -> None:
        answers.go(answered(), row(index))

    def copy(index: int | None = None) -> str:
        if index is not None:
            text = ranges_text(row(index).match)
        else:
            model = state.results.table.model
            model.view(answered().rows)
            text = model.csv()
        imgui.set_clipboard_text(text)
        return text

    def show(number: int) -> dict[str, Any]:
        shown = queries.show(number)
        answers.show_panel()
        return shown.summary()

    def describe() -> dict[str, Any] | None:
        return None if queries.latest is None else queries.latest.describe()

    def history() -> list[dict[str, Any]]:
        return [{"number": o.number, "machine": o.machine, "text": o.text, "query": o.title} for o in queries.history]

    def complete(text: str, machine: str | None = None) -> Job:
        name = named(machine)
        names = queries.names_for_job(name)
        return state.jobs.start("Reading", lambda _job: read(text, name, names()).describe(), quiet=True)

    def needs_model() -> str | None:
        if not state.settings.llm_url:
            return "No language model is set up; see “Set up a language model…”"
        return needs_volume()

    def consult(question: str, machine: str | None = None) -> Job:
        return session.consultant.ask(question, named(machine))

    def stop_consulting() -> None:
        session.consultant.cancel()

    def set_up() -> None:
        form, settings = state.model_form, state.settings
        form.url, form.model, form.problem = settings.llm_url or LOCAL_URL, settings.llm_model, ""
        state.show_overlay("model")

    def use_model(url: str, model: str) -> None:
        url, model = checked_endpoint(url, model)
        session.kept.change(llm_url=url, llm_model=model)

    def use_none() -> None:
        session.consultant.cancel()
        session.kept.change(llm_url="")

    def edit(text: str) -> None:
        state.search.text = state.search.put = text
        state.search.focus = True

    machine = Param("machine", "choice", choices=lambda: list(state.stage.feeds))
    text = Param("text", required=True, help="such as: heap of sshd")
    one = Param("index", "integer", required=True, help="which of the matches, from 0")
    any_one = Param("index", "integer", help="which of the matches, from 0; all unless it is said")
    fly = Param("fly", "flag", help="fly there; on unless it is said")
    return [
        Action(
            id="query.ask",
            title="Ask…",
            category=QUESTIONS,
            run=ask,
            params=(text, machine),
            why_not=needs_volume,
            icon=icons.ICON_FA_CIRCLE_QUESTION,
            in_palette=False,  # the search box asks by itself
            help="The answer lights up, the rest dims, the camera goes there, and the results list it",
        ),
        Action(
            id="query.again",
            title="Ask again",
            category=QUESTIONS,
            run=again,
            why_not=needs_latest,
            icon=icons.ICON_FA_ROTATE,
            help="The same question, of the machine as it is now",
            keywords="query question refresh repeat",
        ),
        Action(
            id="query.cancel",
            title="Stop looking for an answer",
            category=QUESTIONS,
            run=queries.cancel,
            why_not=needs_running,
            icon=icons.ICON_FA_STOP,
            keywords="query question cancel",
        ),
        Action(
            id="query.light",
            title="Light the answer up",
            category=QUESTIONS,
            run=light,
            params=(any_one, fly),
            why_not=needs_match,
            icon=icons.ICON_FA_HIGHLIGHTER,
            keywords="query question results show",
        ),
        Action(
            id="query.keep",
            title="Keep the answer lit",
            category=QUESTIONS,
            run=keep,
            params=(any_one,),
            why_not=needs_match,
            icon=icons.ICON_FA_THUMBTACK,
            help="As a highlight with a colour of its own, beside what is asked next",
            keywords="query question results pin highlight",
        ),
        Action(
            id="query.go",
            title="Go to what was found",
            category=QUESTIONS,
            run=go,
            params=(one,),
            why_not=needs_answer,
            icon=icons.ICON_FA_LOCATION_CROSSHAIRS,
            in_palette=False,
            help="Selects its first byte and flies there",
        ),
        Action(
            id="query.copy",
            title="Copy the answer as CSV",
            category=QUESTIONS,
            run=copy,
            params=(any_one,),
            why_not=needs_match,
            icon=icons.ICON_FA_COPY,
            help="Of one match: its ranges of physical addresses",
            keywords="query question results clipboard",
        ),
        Action(
            id="query.highlight",
            title="Ask, and keep the answer lit…",
            category=QUESTIONS,
            run=highlight,
            params=(text, machine, Param("name", help="what to call it"), Param("colour", help="#rrggbb"), fly),
            why_not=needs_volume,
            icon=icons.ICON_FA_HIGHLIGHTER,
            in_palette=False,
            help="For programs: it takes no other question's place, and reads no file",
        ),
        Action(
            id="query.show",
            title="Show an earlier answer",
            category=QUESTIONS,
            run=show,
            params=(Param("number", "integer", required=True, help="as query.history says"),),
            why_not=needs_latest,
            icon=icons.ICON_FA_CLOCK_ROTATE_LEFT,
            in_palette=False,
        ),
        Action(
            id="query.edit",
            title="Put a question into the search box",
            category=QUESTIONS,
            run=edit,
            params=(text,),
            icon=icons.ICON_FA_PEN,
            in_palette=False,
        ),
        Action(
            id="query.consult",
            title="Ask the language model…",
            category=QUESTIONS,
            run=consult,
            params=(Param("question", required=True, help="in your own words"), machine),
            why_not=needs_model,
            icon=icons.ICON_FA_COMMENT_DOTS,
            in_palette=False,  # the search box offers it
            help="It answers by questions of the query language, which are shown; nothing else is reached",
        ),
        Action(
            id="query.consult_stop",
            title="Stop the language model",
            category=QUESTIONS,
            run=stop_consulting,
            why_not=lambda: None if state.consulting is not None and state.consulting.running else "None is asked",
            icon=icons.ICON_FA_STOP,
        ),
        Action(
            id="query.consulted",
            title="Say what the language model asked and said",
            category=QUESTIONS,
            run=lambda: None if state.consulting is None else state.consulting.describe(),
            in_palette=False,
        ),
        Action(
            id="llm.set_up",
            title="Set up a language model…",
            category=QUESTIONS,
            run=set_up,
            icon=icons.ICON_FA_GEAR,
            help="Any OpenAI-compatible endpoint, such as a local one; none is asked until you do",
            keywords="llm ai gpt ollama endpoint",
        ),
        Action(
            id="llm.use",
            title="Use a language model",
            category=QUESTIONS,
            run=use_model,
            params=(Param("url", required=True, help=f"such as {LOCAL_URL}"), Param("model", required=True)),
            in_palette=False,
        ),
        Action(
            id="llm.off",
            title="Use no language model",
            category=QUESTIONS,
            run=use_none,
            why_not=lambda: None if state.settings.llm_url else "None is set up",
            icon=icons.ICON_FA_XMARK,
            keywords="llm ai off",
        ),
        Action(
            id="query.describe",
            title="Say what was asked and found",
            category=QUESTIONS,
            run=describe,
            in_palette=False,
        ),
        Action(
            id="query.history",
            title="Say what was asked before",
            category=QUESTIONS,
            run=history,
            in_palette=False,
        ),
        Action(
            id="query.complete",
            title="Say how a question is understood, and how it may go on",
            category=QUESTIONS,
            run=complete,
            params=(text, machine),
            why_not=needs_volume,
            in_palette=False,
        ),
    ]
