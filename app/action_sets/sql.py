"""Actions on what is written down: ask it by SQL, keep the answer, end a query."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, BadArguments, Param
from app.jobs import Job, JobState
from app.layout import SQL
from app.notices import describe
from app.session import Session
from app.settings import BadSettings, settings_from_json
from app.sql_text import csv_of, document_of
from app.sql_ui import Answer, answer_of
from app.toasts import ToastLevel
from app.user_paths import path_argument
from bridge.semantic.store.examples import EXAMPLES
from bridge.semantic.store.reader import ReadOnly

CATEGORY = "Kernel"
MAX_ROWS = 100_000
"""That the panel shows of one answer."""
TIME_LIMIT_S = 60.0
"""A query can be ended by hand, so it may take longer than one of a script."""
SCRIPT_ROWS = 1000
LIMITS = {
    "store": "whether what is seen is written down at all",
    "store_mib": "MiB that one window's database may take",
    "store_minutes": "minutes that it goes back",
    "sessions_kept": "how many databases are kept",
    "sessions_mib": "MiB that all of them may take",
}
"""Settings, and what they say."""


def sql_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state
    ui = state.sql

    def needs_database() -> str | None:
        if ui.path is not None:
            return None
        if not ui.records:
            return "Nothing is written down: the setting “store” is off"
        return ui.problem or "Nothing is known of any kernel yet"

    def needs_query() -> str | None:
        return None if ui.job is not None else "No query is under way"

    def needs_answer() -> str | None:
        return None if ui.answer is not None else "There is no table yet"

    def answer() -> Answer:
        if ui.answer is None:
            raise BadArguments("there is no table yet")
        return ui.answer

    def show() -> None:
        session.kept.change(show_sql=True)
        state.focus_panel = SQL

    def run(query: str | None = None) -> Job:
        if query is not None:
            ui.show(query)
            show()
        sql, path = ui.text, ui.path
        assert path is not None
        if ui.job is not None:
            ui.job.cancel()
        made: list[Answer] = []

        def work(job: Job) -> dict[str, Any]:
            with ReadOnly(path) as store:
                table = store.query(sql, MAX_ROWS, TIME_LIMIT_S, cancelled=job.cancelled)
            made.append(answer_of(sql, table))
            return _document(made[0], path, SCRIPT_ROWS)

        def end(job: Job) -> None:
            if ui.job is not job:
                return  # another one was asked meanwhile
            ui.job = None
            if job.state is JobState.DONE:
                ui.answer, ui.failure = made[0], ""
            elif job.state is JobState.FAILED and job.error is not None:
                ui.failure = describe(job.error)

        ui.job = state.jobs.start("Asking by SQL", work, on_end=end, quiet=True)
        return ui.job

    def cancel() -> None:
        if ui.job is not None:
            ui.job.cancel()

    def example(title: str) -> None:
        ui.show(next(one.sql for one in EXAMPLES if one.title == title))
        show()
        if needs_database() is None:
            run()

    def export(path: str) -> str:
        found = answer()
        target = path_argument(path).absolute()
        if target.suffix not in (".json", ".csv"):
            raise BadArguments("path: the name must end in .csv or .json")
        if target.suffix == ".json":
            text = json.dumps(document_of(found.table, ui.path.stem if ui.path else ""), indent=1) + "\n"
        else:
            text = csv_of(found.table.columns, found.table.rows)
        target.write_text(text, encoding="utf-8")
        state.toasts.add(ToastLevel.GOOD, f"{len(found.rows):,} rows written", str(target))
        return str(target)

    def copy() -> str:
        found = answer()
        found.shown.model.view(found.rows)
        text = found.shown.model.csv()
        imgui.set_clipboard_text(text)
        return text

    def rows(limit: int = SCRIPT_ROWS) -> dict[str, Any]:
        document: dict[str, Any] = {"path": str(ui.path or ""), "failure": ui.failure, "running": ui.job is not None}
        if ui.answer is not None and ui.path is not None:
            document |= _document(ui.answer, ui.path, max(0, min(limit, MAX_ROWS)))
        return document

    def limits(**wanted: Any) -> dict[str, Any]:
        document = {**asdict(state.settings), **wanted}
        try:
            settings_from_json(json.loads(json.dumps(document)))
        except BadSettings as error:
            raise BadArguments(str(error)) from None
        session.kept.change(**wanted)
        return {name: getattr(state.settings, name) for name in LIMITS}

    return [
        Action(
            id="sql.show",
            title="Ask by SQL",
            category=CATEGORY,
            run=show,
            icon=icons.ICON_FA_DATABASE,
            keywords="database query select table history sqlite",
            help="What is known of all machines of this window, and was",
        ),
        Action(
            id="sql.run",
            title="Run the SQL query",
            category=CATEGORY,
            run=run,
            params=(Param("query", help="one SELECT; what stands in the panel unless it is said"),),
            why_not=needs_database,
            icon=icons.ICON_FA_PLAY,
            help="It only reads; docs/sql.md says of what",
        ),
        Action(
            id="sql.cancel",
            title="End the SQL query",
            category=CATEGORY,
            run=cancel,
            why_not=needs_query,
            icon=icons.ICON_FA_STOP,
        ),
        Action(
            id="sql.example",
            title="Ask the example by SQL…",
            category=CATEGORY,
            run=example,
            params=(Param("title", "choice", required=True, choices=lambda: [one.title for one in EXAMPLES]),),
            icon=icons.ICON_FA_LIGHTBULB,
        ),
        Action(
            id="sql.export",
            title="Save the SQL table…",
            category=CATEGORY,
            run=export,
            params=(Param("path", required=True, help="a file that ends in .csv or .json"),),
            why_not=needs_answer,
            icon=icons.ICON_FA_FILE_EXPORT,
        ),
        Action(
            id="sql.copy",
            title="Copy the SQL table as CSV",
            category=CATEGORY,
            run=copy,
            why_not=needs_answer,
            icon=icons.ICON_FA_COPY,
            help="What is shown, in this order",
        ),
        Action(
            id="sql.limits",
            title="Set how much is written down…",
            category=CATEGORY,
            run=limits,
            params=tuple(map(_limit, LIMITS)),
            icon=icons.ICON_FA_DATABASE,
            help="From the next window on",
            keywords="database size history sessions keep store",
        ),
        Action(
            id="sql.rows",
            title="Say what the SQL table holds",
            category=CATEGORY,
            run=rows,
            params=(Param("limit", "integer"),),
            in_palette=False,
        ),
    ]


def _limit(name: str) -> Param:
    return Param(name, "flag" if name == "store" else "integer", help=LIMITS[name])


def _document(answer: Answer, path: Path, limit: int) -> dict[str, Any]:
    document = document_of(answer.table, path.stem)
    return {**document, "total": len(answer.rows), "rows": document["rows"][:limit]}
