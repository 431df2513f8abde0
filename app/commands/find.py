"""`glassbox find`: what a question finds in a guest, from its RAM alone."""

from __future__ import annotations

import argparse
import io

from app.failures import CommandFailed, UsageError
from app.kernel_source import KernelSource, add_source_arguments, kernel_source
from app.output import format_bytes, format_table, print_json, print_note, print_text
from bridge.kernel.desk import Desk
from bridge.machine.plain_files import open_plain, user_path
from bridge.memory.physical import HoldsRam
from bridge.semantic.query.answering import answer_query
from bridge.semantic.query.desk_world import DeskWorld, names_of
from bridge.semantic.query.model import MAX_RULES, BadQuery, NotUnderstood, Query, Understood, Verb
from bridge.semantic.query.parser import understand
from bridge.semantic.query.results import Match, Matches, Result
from bridge.semantic.search.pattern import BadPattern

_ROWS = 200
_RANGES = 3


parse = argparse.ArgumentParser.parse_intermixed_args  # the machine may be named after an option too


def configure(parser: argparse.ArgumentParser, _command: str) -> None:
    """Declare the options."""
    parser.add_argument("query", metavar="QUERY", help='what is asked, such as "heap of sshd"; see docs/queries.md')
    add_source_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Answer and print. Returns 0; NoSuchMachine, UsageError for what is not understood, KernelError."""
    with kernel_source(options) as source:
        result, assumed = find(source, options.query)
    if options.json:
        print_json({**result.document(), "assumed": list(assumed)})
        return 0
    for sentence in assumed:
        print_note(sentence)
    print_text(told(result))
    for sentence in result.notes:
        print_note(sentence)
    return 0


def find(source: KernelSource, text: str) -> tuple[Result, tuple[str, ...]]:
    """The answer to a question, and what was assumed. Raises UsageError, KernelError."""
    desk = Desk(source.introspector())
    desk.snapshot = desk.introspector.look(frozen=source.still)
    return answered(desk, source.kernel.reader.ram, text, source.name, still=source.still)


def answered(desk: Desk, ram: HoldsRam, text: str, machine: str, *, still: bool) -> tuple[Result, tuple[str, ...]]:
    """The same, of a machine that was looked at."""
    understood = understood_text(desk, text, machine)
    world = DeskWorld(
        desk,
        ram,
        still=still,
        rules=rules_of,
        watching=lambda seconds: print_note(f"watching for {seconds:g} s"),
    )
    try:
        return answer_query(understood.query, world), understood.assumed
    except (BadPattern, BadQuery) as error:
        raise UsageError(str(error)) from None


def understood_text(desk: Desk, text: str, machine: str) -> Understood:
    """What a question means in a machine. Raises UsageError, which says what is like it."""
    understood = understand(text, names_of(desk, (machine,)))
    if isinstance(understood, NotUnderstood):
        raise UsageError(problem_told(understood))
    asked = understood.query.machine
    if asked is not None and asked != machine:
        raise UsageError(f"the question is about another machine than {machine}: name that, or leave it out")
    return understood


def problem_told(problem: NotUnderstood) -> str:
    """Why a text is not understood, and what is like it."""
    like = "".join(f"\n  {text}" for text in problem.nearest)
    return problem.problem + (f" What can be asked, among others:{like}" if like else "")


def rules_of(path: str) -> str:
    """The YARA rules in a file. Raises CommandFailed."""
    try:
        with io.TextIOWrapper(open_plain(user_path(path)), encoding="utf-8") as file:
            text = file.read(MAX_RULES + 1)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"The rules {path!r} cannot be read: {error}.") from None
    if len(text) > MAX_RULES:
        raise CommandFailed(f"The rules {path!r} have more than {MAX_RULES:,} characters.")
    return text


def told(result: Result) -> str:
    """An answer as lines for people."""
    query = result.query
    lines = [] if query.verb is Verb.COUNT or not result.matches else [_table(result.matches), ""]
    if result.comparison is not None:
        one = result.comparison
        lines += [
            format_table(
                ("COMPARED", "PAGES"),
                [
                    (one.left, f"{one.left_pages:,}"),
                    (one.right, f"{one.right_pages:,}"),
                    ("in both", f"{one.both_pages:,}"),
                ],
                right=frozenset({1}),
            ),
            "",
        ]
    lines.append(_sum(query, result))
    return "\n".join(lines)


def _table(matches: Matches) -> str:
    rows = [
        (
            one.label,
            one.kind,
            f"{len(one.pages):,}",
            format_bytes(4096.0 * len(one.pages)) if len(one.pages) else "-",
            one.page_class,
            _places(one),
        )
        for one in matches[:_ROWS]
    ]
    table = format_table(("MATCH", "KIND", "PAGES", "SIZE", "CLASS", "PHYSICAL"), rows, right=frozenset({2, 3}))
    return table if len(matches) <= _ROWS else f"{table}\n… and {len(matches) - _ROWS:,} more"


def _places(match: Match) -> str:
    shown = ", ".join(f"{start:#x}+{length:#x}" for start, length in match.ranges[:_RANGES].tolist())
    return shown if len(match.ranges) <= _RANGES else f"{shown}, and {len(match.ranges) - _RANGES:,} more"


def _sum(query: Query, result: Result) -> str:
    matches = "1 match" if result.count == 1 else f"{result.count:,} matches" if result.count else "nothing found"
    if not len(result.pages):
        return f"{query}: {matches}"
    pages = "1 page" if len(result.pages) == 1 else f"{len(result.pages):,} pages"
    took = f"{result.elapsed_s * 1000:.0f} ms"
    return f"{query}: {matches}, {pages}, {format_bytes(4096.0 * len(result.pages))}, in {took}"
