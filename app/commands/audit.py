"""`glassbox audit`: check the chain of the audit log, or show its last records."""

import argparse
from pathlib import Path

from app.output import format_table, print_json, print_text
from bridge.semantic.audit import Record, Verdict, records, verify

_LAST = 20


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the two things that can be asked for."""
    todo = parser.add_subparsers(dest="todo", required=True, metavar="verify | show")
    check = todo.add_parser("verify", help="check that no record was changed, removed, added or moved")
    show = todo.add_parser("show", help="print the last records")
    show.add_argument("--last", type=int, default=_LAST, metavar="N", help=f"how many ({_LAST})")
    for one in (check, show):
        one.add_argument("file", type=Path, nargs="?", help="another log than this user's own")
        one.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what was asked for; 1 where the chain is broken. Raises AuditFailed where there is no log."""
    if options.todo == "show":
        _show(records(options.file, max(1, options.last)), as_json=options.json)
        return 0
    verdict = verify(options.file)
    _tell(verdict, as_json=options.json)
    return 0 if verdict.good else 1


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "ok": verdict.good,
                "records": verdict.n_records,
                "first": verdict.first,
                "head": verdict.head,
                "problem": verdict.problem,
            }
        )
        return
    if not verdict.good:
        print_text(f"The chain is broken after {verdict.n_records:,} good records. {verdict.problem}")
        return
    earlier = f" It begins with record {verdict.first:,}: what was before it is not here." if verdict.first > 1 else ""
    print_text(f"The chain holds: {verdict.n_records:,} records.{earlier}\nIts last hash is {verdict.head}")


def _show(found: list[Record], *, as_json: bool) -> None:
    if as_json:
        print_json({"records": [record.document() for record in found]})
        return
    rows = [
        (
            f"{one.number}",
            one.time[:19].replace("T", " "),
            _clean(one.who),
            _clean(one.what),
            _said(one),
            _clean(one.result),
        )
        for one in found
    ]
    print_text(format_table(("NUMBER", "TIME (UTC)", "WHO", "WHAT", "DETAIL", "RESULT"), rows, right=frozenset({0})))


def _said(record: Record) -> str:
    said = ", ".join(f"{key}: {value}" for key, value in record.detail.items())
    return _clean(said if len(said) <= 80 else said[:79] + "…")


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
