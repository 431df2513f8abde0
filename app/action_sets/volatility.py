"""Actions on Volatility: choose and run its plugins, end a run, keep what it found; types that the user supplies."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, BadArguments, Param
from app.layout import VOLATILITY
from app.session import Session
from app.toasts import ToastLevel
from app.user_paths import path_argument
from app.volatility_table import csv_of, document_of, json_of
from app.volatility_ui import Result, option_value, parse_options
from bridge.kernel.errors import KernelError
from bridge.kernel.supplied_types import load_types
from bridge.kernel.volatility_engine.records import Plugin, Target

CATEGORY = "Kernel"
MAX_SCRIPT_ROWS = 100_000


def volatility_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state
    ui = state.volatility

    def names() -> list[str]:
        installed = ui.worker.installed
        return [] if installed is None else [plugin.name for plugin in installed.plugins]

    def needs_memory() -> str | None:
        if state.current is None or state.current not in state.stage.feeds:
            return "No machine's memory is shown"
        return None

    def needs_run() -> str | None:
        return None if ui.result is not None and ui.result.run.running else "No plugin runs"

    def needs_table() -> str | None:
        return None if ui.result is not None and ui.result.run.columns else "There is no table yet"

    def chosen() -> Plugin:
        plugin = ui.chosen()
        if plugin is None:
            raise BadArguments(f"plugin: {ui.plugin} is not installed")
        return plugin

    def choose(plugin: str) -> None:
        ui.worker.wait_installed()
        if plugin not in names():
            raise BadArguments(f"plugin: {plugin[:60]!r} is not installed")
        ui.plugin = plugin
        session.kept.change(show_volatility=True)
        state.focus_panel = VOLATILITY

    def run(plugin: str | None = None, options: str | None = None, machine: str | None = None) -> None:
        if plugin is not None:
            choose(plugin)
        name = machine or state.current
        feed = None if name is None else state.stage.feeds.get(name)
        if feed is None or name is None:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        wanted = chosen()
        try:
            if options is None:
                typed = ui.values.get(wanted.name, {})
                given = {o.name: option_value(o, typed[o.name]) for o in wanted.options if o.name in typed}
            else:
                given = parse_options(wanted, options)
        except ValueError as error:
            raise BadArguments(f"options: {error}") from None
        given = {key: value for key, value in given.items() if value is not None}
        if ui.result is not None:
            ui.worker.cancel(ui.result.run)
        target = Target(feed.ram.path, feed.ram.physical_map, session.kept.types_file())
        ui.result = Result(ui.worker.run(target, wanted.name, given), name)

    def cancel() -> None:
        if ui.result is not None:
            ui.worker.cancel(ui.result.run)

    def export(path: str) -> str:
        result = _result(ui.result)
        target = path_argument(path).absolute()
        text = json_of(result.run) if target.suffix == ".json" else csv_of(result.run)
        if target.suffix not in (".json", ".csv"):
            raise BadArguments("path: the name must end in .csv or .json")
        target.write_text(text, encoding="utf-8")
        state.toasts.add(ToastLevel.GOOD, f"{len(result.rows):,} rows written", str(target))
        return str(target)

    def copy() -> str:
        result = _result(ui.result)
        if result.table is not None:
            result.table.model.view(result.rows)
        text = csv_of(result.run) if result.table is None else result.table.model.csv()
        imgui.set_clipboard_text(text)
        return text

    def rows(limit: int = 1000) -> dict[str, Any]:
        result = _result(ui.result)
        document = document_of(result.run)
        kept = document["rows"][: max(0, min(limit, MAX_SCRIPT_ROWS))]
        return {**document, "machine": result.machine, "running": result.run.running, "rows": kept}

    def use_types(path: str = "") -> str:
        text = path.strip()
        if text:
            file = path_argument(text).absolute()
            try:
                load_types(file)
            except KernelError as error:
                raise BadArguments(f"path: {error}") from None
            text = str(file)
        session.kept.change(types_file=text)
        ui.types_path = text
        return text

    return [
        Action(
            id="volatility.choose",
            title="Show the Volatility plugin…",
            category=CATEGORY,
            run=choose,
            params=(Param("plugin", required=True, choices=names),),
            icon=icons.ICON_FA_MICROSCOPE,
            keywords="vol forensics malware pslist",
        ),
        Action(
            id="volatility.run",
            title="Run the Volatility plugin",
            category=CATEGORY,
            run=run,
            params=(
                Param("plugin", choices=names),
                Param("options", help='pid=1,2 threads=yes name="a b"'),
                Param("machine", "choice", choices=lambda: list(state.stage.feeds)),
            ),
            why_not=needs_memory,
            icon=icons.ICON_FA_PLAY,
            help="In a process of its own: it reads the machine's memory, and changes nothing",
        ),
        Action(
            id="volatility.cancel",
            title="End the Volatility plugin",
            category=CATEGORY,
            run=cancel,
            why_not=needs_run,
            icon=icons.ICON_FA_STOP,
            help="What it found until now stays",
        ),
        Action(
            id="volatility.export",
            title="Save the Volatility table…",
            category=CATEGORY,
            run=export,
            params=(Param("path", required=True, help="a file that ends in .csv or .json"),),
            why_not=needs_table,
            icon=icons.ICON_FA_FILE_EXPORT,
        ),
        Action(
            id="volatility.copy",
            title="Copy the Volatility table as CSV",
            category=CATEGORY,
            run=copy,
            why_not=needs_table,
            icon=icons.ICON_FA_COPY,
            help="What is shown, in this order",
        ),
        Action(
            id="volatility.rows",
            title="Say what the Volatility table holds",
            category=CATEGORY,
            run=rows,
            params=(Param("limit", "integer"),),
            why_not=needs_table,
            in_palette=False,
        ),
        Action(
            id="kernel.use_types",
            title="Use the types in the file…",
            category=CATEGORY,
            run=use_types,
            params=(Param("path", help="an ISF (json, json.xz) or a vmlinux; nothing: forget the file"),),
            icon=icons.ICON_FA_FILE_IMPORT,
            help="For kernels that carry no types (BTF)",
            keywords="isf vmlinux dwarf debug symbols",
        ),
    ]


def _result(result: Result | None) -> Result:
    if result is None or not result.run.columns:
        raise BadArguments("there is no table yet")
    result.follow()
    return result
