"""Texts in a process: found though they go on in pages that lie elsewhere in RAM, and in that process alone."""

from __future__ import annotations

from bridge.kernel.desk import Desk
from bridge.kernel.snapshot import Introspector
from bridge.semantic.query.answering import Result, answer_query
from bridge.semantic.query.desk_world import DeskWorld
from bridge.semantic.query.model import Kind, Query, Relation, Subject, Target
from tests.bridge.kernel.conftest import LiveGuest


def ask(live: LiveGuest, subject: Subject, pid: int, relation: Relation = Relation.MEMORY) -> Result:
    desk = Desk(Introspector(live.kernel))
    within = Target(Subject(Kind.PROCESS, pid), relation)
    return answer_query(Query(Target(subject), within=within), DeskWorld(desk, live.ram, still=False))


def test_a_text_longer_than_what_is_left_of_its_page_is_found_in_the_process_that_has_it(live: LiveGuest) -> None:
    """Three texts, one after the other in the process's memory: of 12,000 bytes some lie where two pages meet."""
    texts = ["\n".join(map(str, range(first, first + 800))) for first in (3000, 3800, 4600)]
    told = "rm -f /run/told; sh -c 'x=$(seq 1 9000); : >/run/told; while :; do sleep 1000; done' >/dev/null 2>&1 &"
    pid = int(
        live.shell.run(f"{told} until [ -e /run/told ] && grep -q do_wait /proc/$!/stack; do sleep 0.1; done; echo $!")
    )
    try:
        n_pages = []
        for text in texts:
            result = ask(live, Subject(Kind.TEXT, text), pid)
            assert result.matches, "the shell keeps what it was told"
            for match in result.matches:
                parts = [live.ram.read_physical(start, length).tobytes() for start, length in match.ranges.tolist()]
                assert b"".join(parts) == text.encode()
                n_pages.append(len(match.pages))
            assert not ask(live, Subject(Kind.TEXT, text), 1).matches
        assert max(n_pages) >= 2
        expression = Subject(Kind.REGEX, "3000\n(\\d{4}\n){799}")
        (match, *_) = ask(live, expression, pid).matches
        assert match.ranges[:, 1].sum() == 4000
    finally:
        live.shell.run(f"kill {pid}; true")


def test_a_part_of_a_process_is_searched_alone(live: LiveGuest) -> None:
    """The environment lies in the stack (Linux puts it there at exec), not in the code."""
    pid = live.shell.start("MARK=q8w7e6r5 sleep 1000 >/dev/null 2>&1")
    try:
        mark = Subject(Kind.TEXT, "MARK=q8w7e6r5")
        (match,) = ask(live, mark, pid, Relation.STACK).matches
        assert match.pid == pid
        assert not ask(live, mark, pid, Relation.CODE).matches
        assert not ask(live, mark, 1, Relation.STACK).matches
        # A thread of the kernel has no memory of its own but its stack: nothing goes wrong.
        assert not ask(live, mark, 2).matches
    finally:
        live.shell.run(f"kill {pid}; true")
