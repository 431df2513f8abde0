"""What the Volatility panel shows now: which plugin with which options, its run, and the table of that."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from app.volatility_table import cell_text, is_number, unique_names
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import RecordTable
from bridge.kernel.volatility_engine import records as vol
from bridge.kernel.volatility_engine.service import Run, Volatility

Row = tuple[int, int, tuple[vol.Cell, ...]]
"""Which it is, how deep it stands in the tree, its cells."""
_WIDTH_UNITS = {"int": 14.0, "hex": 32.0, "float": 20.0, "bool": 14.0, "time": 38.0}
_LOWEST = -(1 << 80)


@dataclass(slots=True)
class Result:
    """A run, and its table."""

    run: Run
    machine: str
    table: RecordTable[Row] | None = None
    """None until its columns are known."""
    rows: tuple[Row, ...] = ()

    def follow(self) -> None:
        """Take in what came since."""
        run = self.run
        if self.table is None and run.columns:
            self.table = RecordTable("volatility", RecordModel(_columns(run), lambda row: row[0]))
        count = len(run.depths)
        if count != len(self.rows):
            start = len(self.rows)
            new = zip(range(start, count), run.depths[start:count], run.rows[start:count], strict=True)
            self.rows = (*self.rows, *new)


@dataclass(slots=True)
class VolatilityUi:
    """The panel's state on the main thread. The worker starts when the panel is first shown."""

    worker: Volatility = field(default_factory=Volatility)
    plugin: str = "linux.pslist"
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is typed for each plugin's options."""
    needle: str = ""
    result: Result | None = None
    n_news: int = 0
    types_path: str = ""
    save_path: str = ""
    seen: str = ""
    """The plugin that the list was scrolled to last."""

    def chosen(self) -> vol.Plugin | None:
        """The chosen plugin; None while it is not known what is installed, or it is not."""
        installed = self.worker.installed
        if installed is None:
            return None
        return next((plugin for plugin in installed.plugins if plugin.name == self.plugin), None)

    def pump(self) -> bool:
        """Take in what the worker said since; whether there was anything."""
        news = self.worker.n_news != self.n_news
        self.n_news = self.worker.n_news
        if news and self.result is not None:
            self.result.follow()
        return news


def _columns(run: Run) -> tuple[Column[Row], ...]:
    kinds = run.columns
    named = next((index for index, kind in enumerate(kinds) if kind.kind == "text"), 0)
    """The column whose text is set in as the rows of a tree are."""
    return tuple(
        Column[Row](
            name,
            _sorted_by(index, kind),
            _shown(index, kind),
            _WIDTH_UNITS.get(kind.kind, 0.0),
            right=is_number(kind),
            mono=kind.kind in ("hex", "bytes", "code"),
            tone=_tone(index),
            indent=(lambda row: row[1]) if index == named else None,
        )
        for index, (name, kind) in enumerate(zip(unique_names(kinds), kinds, strict=True))
    )


def _sorted_by(index: int, column: vol.Column) -> Any:
    numeric = is_number(column) or column.kind == "bool"

    def value(row: Row) -> Any:
        cell = row[2][index]
        if numeric:
            return cell if isinstance(cell, int | float) else _LOWEST
        return "" if cell is None else str(cell)

    return value


def _shown(index: int, column: vol.Column) -> Any:
    return lambda row: cell_text(column, row[2][index])


def _tone(index: int) -> Any:
    return lambda row: "faint" if row[2][index] is None else "text"


def parse_options(plugin: vol.Plugin, text: str) -> dict[str, Any]:
    """Options out of a line as one types it: `pid=1,2 threads=yes name="a b"`. Raises ValueError."""
    known = {option.name: option for option in plugin.options}
    given: dict[str, Any] = {}
    for part in shlex.split(text):
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(f"{plugin.name} has no option {name[:40]!r}, but {', '.join(known) or 'none at all'}")
        given[name] = option_value(known[name], value or "yes")
    return given


def option_value(option: vol.Option, typed: Any) -> Any:
    """An option's value from what was typed or ticked; None where nothing was. Raises ValueError."""
    if isinstance(typed, bool):
        return typed
    text = str(typed).strip()
    if not text:
        return None
    try:
        if option.kind == "bool":
            return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}[text.casefold()]
        if option.kind == "int":
            return int(text, 0)
        if option.kind == "ints":
            return tuple(int(part, 0) for part in text.replace(",", " ").split())
    except (KeyError, ValueError):
        wanted = {"bool": "yes or no", "int": "a number"}.get(option.kind, "numbers")
        raise ValueError(f"{option.name} takes {wanted}, not {text[:40]!r}") from None
    if option.kind == "texts":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text
