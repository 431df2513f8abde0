"""Regular expressions and YARA rules: what one pass over memory would find, in processes that cannot take for ever."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from multiprocessing.connection import Connection

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.semantic.search import expressions
from bridge.semantic.search.expressions import ExpressionSearch, Limits
from bridge.semantic.search.found import Found
from bridge.semantic.search.pattern import BadPattern, Pattern, PatternKind
from bridge.semantic.search.places import Places, VirtualPages, physical_places
from bridge.semantic.search.results import Hits
from bridge.semantic.search.searcher import Searcher
from bridge.semantic.search.windows import joined_windows, overlapping_windows
from tests.bridge.semantic.search.memory import ram_of, spans

SMALL = Limits(longest=40, regex_window=700, yara_window=3 * PAGE_BYTES)
"""So that many windows meet in a small memory."""


def regex(value: str, *, ignore_case: bool = False) -> Pattern:
    return Pattern(PatternKind.REGEX, value, ignore_case=ignore_case)


def yara(value: str) -> Pattern:
    return Pattern(PatternKind.YARA, value)


def in_one_pass(expression: str, memory: bytes, flags: int = 0) -> list[tuple[int, int]]:
    return [(m.start(), m.end() - m.start()) for m in re.finditer(expression.encode(), memory, flags) if m.group()]


# ----- windows


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 500), max_size=12),
    joined=st.lists(st.booleans(), min_size=12, max_size=12),
    chunk=st.integers(1, 200),
    longest=st.integers(1, 100),
)
def test_windows_cover_everything_once_and_show_what_belongs_around_it(
    lengths: list[int], joined: list[bool], chunk: int, longest: int
) -> None:
    goes_on = np.array([False, *joined[: len(lengths) - 1]][: len(lengths)], np.uint8)
    starts = np.cumsum([0, *lengths], dtype=np.int64)
    places = Places(starts[:-1], starts, goes_on)
    stretch_of = np.repeat(np.cumsum(goes_on == 0), lengths)
    at = 0
    windows = list(joined_windows(places, chunk, longest))
    for index, window in enumerate(windows):
        assert sum(span.high - span.low for span in window.spans) <= chunk + 2 * longest + 1
        for span in window.spans:
            assert span.begin == at
            assert span.low <= span.begin < span.until <= span.high
            at = span.until
            assert len(set(stretch_of[span.low : span.high].tolist())) == 1
            begin, end = (int(edge) for edge in np.flatnonzero(stretch_of == stretch_of[span.begin])[[0, -1]])
            assert span.low <= max(begin, span.begin - longest)
            assert span.high >= min(end + 1, span.until + longest + 1)
        last = window.spans[-1].until
        goes = index + 1 < len(windows) and bool(stretch_of[last] == stretch_of[last - 1])
        assert window.goes_on == goes
    assert at == places.n_bytes


@given(n_bytes=st.integers(1, 400), overlap=st.integers(1, 20), more=st.integers(1, 50))
def test_overlapping_windows_have_every_match_in_one_of_them(n_bytes: int, overlap: int, more: int) -> None:
    places = Places(np.zeros(1, np.int64), np.array([0, n_bytes]), np.zeros(1, np.uint8))
    windows = list(overlapping_windows(places, overlap + more, overlap))
    at = 0
    for window in windows:
        (span,) = window.spans
        assert span.low == span.begin == at
        assert span.high - span.low <= overlap + more
        assert window.goes_on == (span.high < n_bytes)
        at = span.until
    assert at == n_bytes
    for begin in range(n_bytes):
        end = min(begin + overlap, n_bytes)
        assert any(w.spans[0].low <= begin and end <= w.spans[0].high for w in windows)


# ----- expressions


@pytest.mark.parametrize(
    "expression",
    [
        "a+b?",
        "(?:ab|ba){2,5}",
        r"^[ab]+$|\n(?=a)",
        r"(?m)^a[ab]{0,20}b$",
        r"(?<=b)a{1,3}(?!b)",
        r"\ba.{0,30}b",
        r"(?s)b.{0,37}?aa",
        r"([ab])\1{2,}",
    ],
)
def test_matches_are_those_of_one_pass_however_memory_is_cut(expression: str) -> None:
    """Dense matches over some hundred windows: many begin in one and end in the next."""
    memory = np.random.default_rng(3).choice(np.frombuffer(b"ab\nab c", np.uint8), 12 * PAGE_BYTES).tobytes()
    expected = in_one_pass(expression, memory)
    assert max(length for _, length in expected) <= SMALL.longest, "else one pass is another thing"
    assert len(expected) > 150
    with ram_of(memory) as (_, ram):
        result = Searcher(ram, limits=SMALL).search(regex(expression), limit=100_000)
    assert spans(result) == expected
    assert (result.complete, result.notes, result.names) == (True, (), (expression,))
    assert result.searched_bytes == len(memory)


def test_a_match_that_is_too_long_is_cut_where_it_is_however_memory_is() -> None:
    """A long match ends where it may be longest; what cannot be that short is none."""
    memory = bytearray(b"." * 8 * PAGE_BYTES)
    for at in range(0, len(memory) - 200, 331):
        memory[at : at + 100] = b"x" + b"y" * 98 + b"z"
    with ram_of(memory) as (_, ram):
        found = {
            expression: spans(Searcher(ram, limits=SMALL).search(regex(expression)))
            for expression in ("xy+", "xy+z", "y{30,}z", "x[^z]*z|xyy")
        }
    places = list(range(0, len(memory) - 200, 331))
    assert found["xy+"] == [(at, 40) for at in places]
    assert found["xy+z"] == []
    assert found["y{30,}z"] == [(at + 60, 40) for at in places], "the first place from which it is short enough"
    assert found["x[^z]*z|xyy"] == [(at, 3) for at in places]


def test_an_expression_ignores_case_and_takes_bytes_and_flags() -> None:
    memory = b"Key=\xff\xfe\0 kEY=\n\nab KEY=" + "ключ".encode()
    with ram_of(memory) as (_, ram):
        searcher = Searcher(ram)
        assert spans(searcher.search(regex("key=", ignore_case=True))) == [(0, 4), (8, 4), (17, 4)]
        assert spans(searcher.search(regex(r"\xff[\x00-\xff]\x00"))) == [(4, 3)]
        assert spans(searcher.search(regex("ключ"))) == [(21, 8)]
        assert spans(searcher.search(regex("(?s)=.{2}ab"))) == [(11, 5)]
        invalid = b"\xff\xfe".decode("utf-8", "surrogateescape")
        assert spans(searcher.search(regex(invalid))) == [(4, 2)]
        assert spans(searcher.search(regex(r"\b|(?=K)"))) == [], "nothing is found nowhere"


def test_matches_lie_where_pages_are_joined_and_nowhere_else() -> None:
    pages = np.zeros((6, PAGE_BYTES), np.uint8)
    pages[4, -3:], pages[1, :3] = list(b"sec"), list(b"ret")
    virtual = VirtualPages(np.array([0x9000, 0x5000, 0x4000], np.uint64), np.array([2, 1, 4], np.uint32))
    chosen = np.array([False, True, False, False, True, False])
    for pattern in (regex("sec?ret"), yara('rule r { strings: $a = "secret" condition: $a }')):
        with ram_of(pages.tobytes()) as (_, ram):
            result = Searcher(ram).search(pattern, virtual)
            assert len(Searcher(ram).search(pattern, chosen)) == 0
        assert result.vaddrs is not None
        assert result.vaddrs.tolist() == [0x4FFD]
        assert result.parts.tolist() == [[0, 5 * PAGE_BYTES - 3, 3], [0, PAGE_BYTES, 3]]
    # Neither does YARA's own order of windows join what is not: pages 4 and 1 the other way round.
    other_way = VirtualPages(np.array([0x9000, 0x5000], np.uint64), np.array([1, 4], np.uint32))
    with ram_of(pages.tobytes()) as (_, ram):
        for pattern in (regex("secret"), yara('rule r { strings: $a = "secret" condition: $a }')):
            assert len(Searcher(ram).search(pattern, other_way)) == 0


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(", r"no regular expression: missing \), unterminated subpattern at position 0\.$"),
        ("a*", "everywhere: write a"),
        ("|a", "everywhere"),
        ("(" * 1500 + "a" + ")" * 1500, "no regular expression: maximum recursion depth"),
        ("a{99999999999999}", "no regular expression: the repetition number is too large"),
    ],
)
def test_an_expression_that_is_none_is_refused_in_a_sentence(expression: str, why: str) -> None:
    with ram_of(b"a") as (_, ram), pytest.raises(BadPattern, match=why):
        Searcher(ram).search(regex(expression))
    assert_nothing_runs()


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+$"])
def test_an_expression_that_would_take_for_ever_is_ended_and_keeps_what_was_found(expression: str) -> None:
    data = np.zeros(400 * PAGE_BYTES, np.uint8)
    data[300 * PAGE_BYTES :] = ord("a")
    data[300 * PAGE_BYTES + 5000] = ord("!")
    first = f"here|{expression}"
    data[50:54] = list(b"here")
    limits = Limits(window_s=1.0)
    with ram_of(data) as (_, ram):
        for _ in range(5):
            result = Searcher(ram, limits=limits).search(regex(first))
            ended_at = re.search(r"memory from 0x(\w+) on", " ".join(result.notes))
            if ended_at is not None and int(ended_at[1], 16) > 200 * PAGE_BYTES:
                break  # else it had no turn for a second, where there was nothing to do
    assert spans(result)[0] == (50, 4)
    assert not result.complete
    (note,) = result.notes
    assert re.fullmatch(
        r"It was ended: 1 s were not enough for 5\d\d KiB of memory from 0x\w+ on\. Write it so that .*\.", note
    )
    assert_nothing_runs()


def test_an_expression_that_wants_too_much_memory_is_ended() -> None:
    with ram_of(b"ab" * (64 * PAGE_BYTES)) as (_, ram):
        limits = Limits(memory_bytes=4 << 20, window_s=60)
        result = Searcher(ram, limits=limits).search(regex("((a|b)(a|b))+?c"))
    assert result.notes == ("It was ended: it takes more memory than it may have.",)
    assert_nothing_runs()


def test_all_of_it_has_its_time_too_and_so_has_the_start() -> None:
    with ram_of(b"\0" * 64 * PAGE_BYTES) as (_, ram):
        result = Searcher(ram, limits=Limits(total_s=0.0)).search(regex("abc"))
        assert result.notes == ("It was ended after 0 s. Search less memory, or for less.",)
        with pytest.raises(BadPattern, match="Preparing the pattern takes longer than 0 s"):
            Searcher(ram, limits=Limits(start_s=0.0)).search(regex("abc"))
    assert_nothing_runs()


def test_a_limit_gives_the_first_ones() -> None:
    with ram_of(b"ab." * 8000) as (_, ram):
        for limit in (1, 300, 7999):
            result = Searcher(ram, limits=SMALL).search(regex("ab"), limit=limit)
            assert result.offsets.tolist() == list(range(0, 3 * limit, 3))
            assert result.notes == (f"These are the first {limit:,}; there are more.",)
        assert Searcher(ram, limits=SMALL).search(regex("ab"), limit=8000).complete
    assert_nothing_runs()


def test_a_search_is_cancelled_at_any_stage_and_leaves_no_process() -> None:
    with ram_of(b"ab." * 8000) as (_, ram):
        for stage in (0, 1, 3):
            batches: list[Hits] = []
            asked: list[int] = []

            def cancelled(stage: int = stage, batches: list[Hits] = batches, asked: list[int] = asked) -> bool:
                asked.append(1)
                return len(asked) > 1 if stage == 0 else len(batches) >= stage

            result = Searcher(ram, limits=SMALL).search(regex("ab"), found=batches.append, cancelled=cancelled)
            assert (result.complete, result.notes) == (False, ("It was cancelled.",))
            assert len(batches) >= min(stage, 1)
            assert sum(map(len, batches)) == len(result) < 8000
            assert_nothing_runs()


def test_what_changes_before_it_is_delivered_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = ExpressionSearch._checked
    for pattern in (regex("[a-z]+ secret"), yara("rule r { strings: $a = /[a-z]{3} secret/ condition: $a }")):
        with ram_of(b"old secret, new secret") as (file, ram):

            def overwritten_meanwhile(self: ExpressionSearch, *arguments: object) -> Found:
                file.pages[0, 0] = 0
                return checked(self, *arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(ExpressionSearch, "_checked", overwritten_meanwhile)
            result = Searcher(ram).search(pattern)
        assert spans(result) == [(12, 10)]
        assert result.gone == 1


def test_a_file_that_shrinks_is_said() -> None:
    data = np.zeros(64 * PAGE_BYTES, np.uint8)
    data[100:104] = data[-100:-96] = list(b"here")
    with ram_of(data) as (file, ram):
        os.truncate(file.path, 16 * PAGE_BYTES)
        for pattern in (regex("here"), yara('rule r { strings: $a = "here" condition: $a }')):
            result = Searcher(ram).search(pattern)
            assert spans(result) == [(100, 4)]
            assert not result.complete
            assert "has become shorter" in result.notes[0]


def test_a_process_that_crashes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the pattern is compiled, and one in the midst of a window."""
    real = subprocess.Popen

    def ends_at_once(arguments: list[str], **options: object) -> object:
        return real([sys.executable, "-c", ""], **options)  # type: ignore[call-overload]

    with ram_of(b"here" * 1024) as (_, ram):
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", ends_at_once)
            with pytest.raises(BadPattern, match="or crashes"):
                Searcher(ram).search(regex("here"))
        give = ExpressionSearch._give

        def and_kill(self: ExpressionSearch, child: expressions._Child, *arguments: object) -> None:
            child._process.kill()
            child._process.wait()
            give(self, child, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(ExpressionSearch, "_give", and_kill)
        result = Searcher(ram).search(regex("here"))
    assert result.notes == ("It was ended: its process crashed.",)
    assert_nothing_runs()


def test_the_process_ends_with_who_asked() -> None:
    ours, theirs = socket.socketpair()
    window = os.memfd_create("window")
    os.ftruncate(window, PAGE_BYTES)
    with theirs, ours:
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from bridge.semantic.search.expression_child import main; main()",
                *map(str, (theirs.fileno(), window, PAGE_BYTES)),
            ],
            pass_fds=(theirs.fileno(), window),
        )
        os.close(window)
        theirs.close()
        connection = Connection(ours.detach())
        job = {"kind": "regex", "value": "x", "ignore_case": False, "longest": 9, "memory_bytes": 1 << 28}
        connection.send_bytes(json.dumps(job).encode())
        assert json.loads(connection.recv_bytes()) == {"ready": True}
        connection.close()
        assert child.wait(240) == 0


# ----- rules


def test_rules_find_their_strings_by_name_in_order_each_once() -> None:
    memory = np.full(16 * PAGE_BYTES, ord("."), np.uint8)
    # Around the edges of windows of three pages, less 40 bytes that overlap, in both encodings.
    step = SMALL.yara_window - SMALL.longest
    places = sorted({edge + shift for edge in range(step, 15 * PAGE_BYTES, step) for shift in (-60, -40, -3, 37, 90)})
    for place in places:
        memory[place : place + 6] = list(b"Secret")
    memory[100:112] = list(b"s\0e\0c\0r\0e\0t\0")
    rules = """
        rule Words : tag { meta: author = "x" strings: $word = "secret" ascii wide nocase $hex = { 65 63 7? ?? 74 }
            condition: any of them }
        rule Never { strings: $no = "nowhere at all" condition: $no }
        rule Always { condition: filesize > 0 }
    """
    with ram_of(memory) as (_, ram):
        result = Searcher(ram, limits=SMALL).search(yara(rules))
    found = [(int(at), int(n), result.names[which]) for (at, n), which in zip(spans(result), result.which, strict=True)]
    expected = [(100, 12, "Words:$word")]
    for place in places:
        expected += [(place, 6, "Words:$word"), (place + 1, 5, "Words:$hex")]
    assert found == expected
    assert result.complete
    assert "These rules match by their conditions alone, nowhere in particular: Always." in result.notes
    assert any(note.startswith("Rules were judged for each 12 KiB") for note in result.notes)


def test_rules_are_judged_for_all_memory_that_fits_at_once() -> None:
    memory = b"first".ljust(5 * PAGE_BYTES, b"\0") + b"second"
    both = yara('rule Both { strings: $a = "first" $b = "second" condition: $a and $b and filesize > 20000 }')
    with ram_of(memory) as (_, ram):
        result = Searcher(ram).search(both)
        assert [result.names[which] for which in result.which] == ["Both:$a", "Both:$b"]
        assert result.notes == ()
        assert len(Searcher(ram, limits=SMALL).search(both)) == 0


def test_a_rules_strings_may_lie_anywhere_in_a_machine() -> None:
    """All of them, and how many: a condition is judged for all memory together, not for the pieces it is read in."""
    data = np.zeros(160 << 20, np.uint8)
    for place, text in ((5, b"first"), (70 << 20, b"second"), ((159 << 20) + 7, b"third"), (150 << 20, b"first")):
        data[place : place + len(text)] = np.frombuffer(text, np.uint8)
    rules = """
        rule All { strings: $a = "first" $b = "second" $c = "third" condition: all of them }
        rule Twice { strings: $a = "first" condition: #a == 2 }
        rule Thrice { strings: $a = "first" condition: #a == 3 }
        rule Without { strings: $a = "first" $b = "second" condition: $a and not $b }
    """
    with ram_of(data) as (_, ram):
        result = Searcher(ram).search(yara(rules))
    found = sorted((int(at), result.names[which]) for at, which in zip(result.offsets, result.which, strict=True))
    firsts = [(place, name) for place in (5, 150 << 20) for name in ("All:$a", "Twice:$a")]
    assert found == sorted([*firsts, (70 << 20, "All:$b"), ((159 << 20) + 7, "All:$c")])
    assert result.notes == ()
    assert result.complete


def test_rules_find_nothing_where_there_is_nothing() -> None:
    with ram_of(b"here") as (_, ram):
        result = Searcher(ram).search(yara('rule r { strings: $a = "here" condition: $a }'), np.zeros(1, np.bool_))
        assert (len(result), result.complete, result.total_bytes) == (0, True, 0)
        with pytest.raises(BadPattern, match="syntax error"):
            Searcher(ram).search(yara("rule {"), np.zeros(1, np.bool_))


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ('include "/etc/passwd"', "include statements not allowed"),
        ('include "../../x.yar" rule a { condition: true }', "include statements not allowed"),
        ("rule x {", r"syntax error \(line:1:9\)\.$"),
        ("no rules", "syntax error"),
        ('import "nothing" rule a { condition: true }', "unknown module"),
        ("rule a { condition: nothing }", "unknown identifier"),
        ("rule \0 { condition: true }", "syntax error"),
    ],
)
def test_hostile_rules_are_refused_in_a_sentence(rules: str, why: str) -> None:
    with ram_of(b"root:x:0:0") as (_, ram), pytest.raises(BadPattern, match=why) as caught:
        Searcher(ram).search(yara(rules))
    assert "root:" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_nothing_runs()


def test_rules_that_would_take_for_ever_are_ended() -> None:
    inner = "for all j in (0..filesize - 1): (uint8(i) + uint8(j) >= 0)"
    endless = f"rule z {{ condition: for all i in (0..filesize - 1): ({inner}) }}"
    with ram_of(b"a" * 64 * PAGE_BYTES) as (_, ram):
        result = Searcher(ram, limits=Limits(window_s=1.0)).search(yara(endless))
    assert not result.complete
    assert result.notes[0].startswith("It was ended: 1 s were not enough for 256 KiB of memory from 0x0 on.")
    assert_nothing_runs()


def test_rules_give_no_more_than_was_asked_for() -> None:
    with ram_of(b"ab" * 4096) as (_, ram):
        result = Searcher(ram).search(yara('rule r { strings: $a = "ab" condition: $a }'), limit=100)
    assert result.offsets.tolist() == list(range(0, 200, 2))
    assert result.notes == ("These are the first 100; there are more.",)


def test_positions_of_a_window_are_those_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short stretches share a window; each match is told where it lies, and none crosses from one to the next."""
    pages = np.zeros((64, PAGE_BYTES), np.uint8)
    pages[:, :4] = list(b"head")
    pages[:, -4:] = list(b"tail")
    every_other = np.arange(64) % 2 == 0
    with ram_of(pages) as (_, ram):
        limits = Limits(longest=64, regex_window=10 * PAGE_BYTES)
        places = physical_places(PhysicalMap.flat(pages.nbytes), pages.nbytes, every_other)
        assert len(list(joined_windows(places, limits.regex_window, limits.longest))) == 4
        result = Searcher(ram, limits=limits).search(regex("tailhead|head|tail"), every_other)
    expected = [at for page in range(0, 64, 2) for at in (page * PAGE_BYTES, (page + 1) * PAGE_BYTES - 4)]
    assert result.offsets.tolist() == expected
    assert set(result.lengths.tolist()) == {4}


def assert_nothing_runs() -> None:
    """No process of a search outlives it."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.ZombieProcess):  # a detached machine of another test that has ended
            assert "expression_child" not in " ".join(child.cmdline())
