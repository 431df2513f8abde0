"""`glassbox sql "SELECT …"`: what is known of machines, by the running window's database or by one look of its own."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.commands.argument_types import row_limit
from app.exit_codes import ExitCode
from app.failures import CommandFailed, UsageError
from app.kernel_source import add_source_arguments, kernel_source
from app.output import format_table, print_error, print_json, print_text, printable
from app.sql_text import cell_text, csv_of, document_of, right_columns
from bridge.semantic.store.reader import ROW_LIMIT, TIME_LIMIT_S, ReadOnly, Table

_NEWEST = "last"
_ALL = 1 << 40


parse = argparse.ArgumentParser.parse_intermixed_args  # the machine may be named after an option too


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("query", nargs="?", metavar="SELECT", help="one SELECT; --schema says of what")
    add_source_arguments(parser)
    parser.add_argument(
        "--session", metavar="FILE", help="the database of another window or of an earlier run; “last”: the newest"
    )
    parser.add_argument("--sessions", action="store_true", help="list the databases that are kept")
    parser.add_argument("--schema", action="store_true", help="print every table and column with what it means")
    parser.add_argument("--csv", action="store_true", help="print the table as CSV")
    parser.add_argument(
        "--limit",
        type=row_limit,
        default=ROW_LIMIT,
        metavar="N",
        help=f"rows at most, {ROW_LIMIT:,} by default; 0: all",
    )
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT_S, metavar="SECONDS", help=f"{TIME_LIMIT_S:g} by default"
    )


def run(options: argparse.Namespace) -> int:
    """Ask and print. Raises UsageError, NoSuchMachine, KernelError, StoreError, CommandFailed."""
    if options.schema:
        from bridge.semantic.store.schema import HOW_TO_READ, documentation

        print_text(f"{HOW_TO_READ}\n\n{documentation()}")
        return ExitCode.DONE
    if options.sessions:
        return _list(as_json=options.json)
    if options.query is None:
        raise UsageError('write a query, as in: glassbox sql "SELECT name, pid FROM now_processes"; or --schema')
    if options.json and options.csv:
        raise UsageError("choose --json or --csv")
    if options.time_limit <= 0:
        raise UsageError("the time limit must be more than zero")
    with _database(options) as (path, source), ReadOnly(path) as store:
        table = store.query(options.query, options.limit or _ALL, options.time_limit)
    _print(table, source, options)
    return ExitCode.DONE


@contextlib.contextmanager
def _database(options: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """The database that is asked, and what it is of."""
    if options.session is not None and (options.name is not None or options.dump is not None):
        raise UsageError("name a machine, a dump or a session, not two of them")
    if options.name is None and options.dump is None:
        path = _session(options.session)
        yield path, path.stem
        return
    from bridge.kernel.desk import Desk
    from bridge.semantic.store.one_look import write_one_look

    with kernel_source(options) as source, tempfile.TemporaryDirectory(prefix="glassbox-sql-") as folder:
        desk, path = Desk(source.introspector()), Path(folder) / "look.db"
        desk.snapshot = source.look()
        write_one_look(path, source.name, desk, is_dump=source.still)
        yield path, source.name


def _session(named: str | None) -> Path:
    """The database of a session: the one that is named, or that of the running window."""
    from bridge.semantic.store.sessions import sessions

    if named is not None and named != _NEWEST:
        return Path(named)
    found = sessions()
    if named == _NEWEST and found:
        return found[0].path
    running = [session for session in found if session.is_open]
    if named is None and running:
        return running[0].path
    if named == _NEWEST:
        raise CommandFailed("No session was kept yet. Open a window, or name a machine or --dump FILE.")
    raise CommandFailed(
        "No window has anything written down now. Name a machine or --dump FILE for a look at it, or --session last "
        "for what the last window knew."
    )


def _print(table: Table, source: str, options: argparse.Namespace) -> None:
    if options.json:
        print_json(document_of(table, source))
    elif options.csv:
        print_text(csv_of(table.columns, table.rows).rstrip("\n"))
    elif not table.rows:
        print_text("no rows")
    else:
        names = tuple(printable(name) for name in table.columns)
        rows = [
            tuple(printable(cell_text(name, cell)) for name, cell in zip(table.columns, row, strict=True))
            for row in table.rows
        ]
        print_text(format_table(names, rows, right=right_columns(table)))
    if table.truncated and not options.json:
        print_error(f"there are more than these {len(table.rows):,} rows; --limit shows more")


def _list(*, as_json: bool) -> int:
    from app.output import format_bytes
    from bridge.semantic.store.sessions import sessions

    found = sessions()
    if as_json:
        rows = [{"path": str(one.path), "size_bytes": one.size_bytes, "open": one.is_open} for one in found]
        print_json({"sessions": rows})
    elif not found:
        print_text("no sessions")
    else:
        table = [(str(one.path), format_bytes(one.size_bytes), "open" if one.is_open else "") for one in found]
        print_text(format_table(("DATABASE", "SIZE", ""), table, right=frozenset({1})))
    return ExitCode.DONE
