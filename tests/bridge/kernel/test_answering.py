"""Answers that the cookbook does not ask for: of the kernel, of addresses, in time, and of what is missing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bridge.kernel.desk import Desk
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Introspector
from bridge.semantic.query import answering
from bridge.semantic.query.answering import NotWatched, Result, answer_query
from bridge.semantic.query.desk_world import DeskWorld, no_rules
from bridge.semantic.query.model import BadQuery, Kind, Relation, Verb
from bridge.semantic.query.parser import parse
from tests.bridge.kernel.conftest import LiveGuest


class Watched(DeskWorld):
    """A machine of which somebody knows what was written: every second page."""

    def written(self, within_s: float) -> npt.NDArray[np.bool_]:
        every_second: npt.NDArray[np.bool_] = np.arange(self.n_pages) % 2 == 0
        return every_second

    def changed_since(self, time_s: float) -> npt.NDArray[np.bool_]:
        return self.written(0.0)


@pytest.fixture(scope="module")
def desk(live: LiveGuest) -> Desk:
    return Desk(Introspector(live.kernel))


def ask(live: LiveGuest, desk: Desk, text: str) -> Result:
    return answer_query(parse(text), Watched(desk, live.ram, still=False))


def test_the_kernels_own_memory(live: LiveGuest, desk: Desk) -> None:
    classes = desk.snapshot.page_map.classes
    everything = ask(live, desk, "everything")
    assert len(everything.pages) == int((classes != PageClass.HOLE).sum())
    kernel = ask(live, desk, "kernel")
    code, data = ask(live, desk, "code of kernel"), ask(live, desk, "data of kernel")
    assert set(code.pages.tolist()) | set(data.pages.tolist()) < set(kernel.pages.tolist())
    assert {match.page_class for match in code.matches} <= {"Kernel code", "Modules"}
    stacks = ask(live, desk, "kernel stack of kernel")
    assert (classes[stacks.pages] == PageClass.KERNEL_STACK).all()
    tables = ask(live, desk, "page tables of kernel")
    assert [match.label for match in tables.matches] == ["page tables of the kernel"]


def test_only_what_was_written_and_only_there(live: LiveGuest, desk: Desk) -> None:
    for _ in range(30):  # a process that runs comes by pages, and loses some
        whole = ask(live, desk, "process 1")
        half = ask(live, desk, "process 1 written within 5 s")
        if ask(live, desk, "process 1").pages.tolist() == whole.pages.tolist():
            break
    assert half.pages.tolist() == [page for page in whole.pages.tolist() if page % 2 == 0]
    since = ask(live, desk, "everything changed since 14:05:00")
    assert all(page % 2 == 0 for page in since.pages.tolist())
    assert len({match.label for match in since.matches}) == len(since.matches) > 20
    inside = ask(live, desk, "class file in process 1")
    assert set(inside.pages.tolist()) <= set(whole.pages.tolist())
    assert ask(live, desk, 'text "root:" in process 2').count == 0


def test_addresses_of_all_kinds(live: LiveGuest, desk: Desk) -> None:
    many = ask(live, desk, "address 0x1000000..0x1002fff")
    assert many.pages.tolist() == [0x1000, 0x1001, 0x1002]
    [owner] = ask(live, desk, "owners of address 0x1000000").matches
    assert (owner.label, owner.pid) == ("Kernel code", None)
    long = ask(live, desk, "address 0xffffffff81000000..0xffffffff810fffff")
    assert long.pages.tolist() == list(range(0x1000, 0x1100))
    mapped = ask(live, desk, "address 0x400000..0x4fffff in process 1")
    assert len(mapped.pages) > 64
    assert set(mapped.pages.tolist()) <= set(ask(live, desk, "process 1").pages.tolist())
    nowhere = ask(live, desk, "go to address 0x7f0000000000")
    assert not len(nowhere.pages)
    assert nowhere.notes[0].endswith("say of which process: address 0x7f0000000000 in process 1.")
    assert "nowhere to go" in nowhere.notes[1]


def test_what_there_is_not_is_said(live: LiveGuest, desk: Desk) -> None:
    for text, said in (
        ("process 999999", "There is no process 999999 now."),
        ('module "nothere"', "No module called nothere has pages in memory now."),
        ('slab "nothere"', "No slab called nothere has pages in memory now."),
        ('file "/no/where"', "No page of /no/where is in memory."),
        ('symbol "no_such_symbol"', "The kernel has no symbol no_such_symbol."),
        ('symbol "fixed_percpu_data"', "is in the area of each CPU"),
    ):
        result = ask(live, desk, text)
        assert result.count == 0
        assert said in result.notes[0]
        assert result.complete


def test_a_slab_caches_other_name_leads_to_it(live: LiveGuest, desk: Desk) -> None:
    merged = next(cache for cache in desk.slabs() if cache.aliases and cache.slabs)
    result = ask(live, desk, f'slab "{merged.aliases[0]}"')
    assert [match.label for match in result.matches] == [f"slab {merged.name}"]
    assert result.notes == (f"The kernel keeps {merged.aliases[0]} together with others in {merged.name}.",)


def test_answers_are_bounded_and_can_be_cancelled(live: LiveGuest, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = answer_query(parse("every process"), DeskWorld(desk, live.ram, still=False, cancelled=lambda: True))
    assert (cancelled.count, cancelled.complete) == (0, False)
    assert "cancelled" in cancelled.notes[0]
    monkeypatch.setattr(answering, "MAX_MATCHES", 3)
    bounded = ask(live, desk, "every process")
    assert (bounded.count, bounded.complete) == (3, False)
    assert "there are more" in bounded.notes[0]


def test_what_nobody_watched_is_not_known(live: LiveGuest, desk: Desk) -> None:
    running = DeskWorld(desk, live.ram, still=False)
    with pytest.raises(NotWatched, match="from now on only"):
        answer_query(parse("everything changed since 14:05:00"), running)
    with pytest.raises(NotWatched, match=r"only for the last 600.0 s"):
        answer_query(parse("everything written within 3600 s"), running)
    still = DeskWorld(desk, live.ram, still=True)
    for time in ("changed since 14:05:00", "written within 5 s"):
        assert not answer_query(parse(f"everything {time}"), still).count
    with pytest.raises(BadQuery, match="have to be given themselves"):
        no_rules("/etc/passwd")


def test_comparing_says_how_much_each_has(live: LiveGuest, desk: Desk) -> None:
    result = ask(live, desk, "compare process 1 with process 1")
    compared = result.document()["comparison"]
    assert compared["left"]["pages"] == compared["right"]["pages"] == compared["both"] == len(result.pages) > 0


FORMS = {
    "every process": "process",
    "kernel": "class",
    "everything": "class",
    "every file": "file",
    "every slab": "slab",
    "class slab": "class",
    "heap of process 1": "heap",
    "stack of process 1": "stack",
    "code of process 1": "program code",
    "data of process 1": "file data",
    "other memory of process 1": "other memory",
    "regions of process 1": "region",
    "kernel stack of process 1": "kernel stack",
    "page tables of process 1": "page tables",
    "threads of process 1": "thread",
    "children of process 1": "process",
    'files of process "journal"': "file",
    "sockets of every process": "socket",
    "owners of process 1": "owner",
    'owners of file "/bin/busybox"': "owner",
    'memory shared between process 1 and process "sh"': "file",
    'symbol "jiffies"': "symbol",
    "address 0x1000000": "address",
    "bytes 7f 45 4c 4? in process 1": "hit",
    'text "ROOT:" ignoring case in file "/etc/passwd"': "hit",
    'regex /ro+t:[^:]*:0/ in file "/etc/passwd"': "hit",
    r'yara "rule r { strings: $a = \"root:\" condition: $a }" in file "/etc/passwd"': "hit",
}
"""Each form of subject and relation that docs/queries.md documents, and the kind of things that it finds. Modules are
asked for in the cookbook, times in test_written_when.py."""


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_answered_and_every_verb_finds_the_same(live: LiveGuest, desk: Desk, form: str) -> None:
    shown = ask(live, desk, f"show {form}")
    assert FORMS[form] in {match.kind for match in shown.matches}
    assert len(shown.pages)
    assert str(parse(str(shown.query))) == str(shown.query)
    for verb in ("highlight", "hide", "count", "go to"):
        result = ask(live, desk, f"{verb} {form}")
        assert result.query.verb == verb
        assert result.pages.tolist() == shown.pages.tolist()
        assert [match.label for match in result.matches] == [match.label for match in shown.matches]


def test_every_subject_relation_and_verb_is_among_the_forms() -> None:
    queries = [parse(form) for form in FORMS]
    assert {query.subject.kind for query in queries} == set(Kind) - {Kind.MODULE}
    assert {query.relation for query in queries} == set(Relation)
    assert {Verb.COMPARE, Verb.SHOW, "highlight", "hide", "count", "go to"} == set(Verb)
