"""The flame graph's boxes, and what a history, rows and leaves are made of, as sums of known numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.execution_ui import told
from app.flame import OTHERS, boxes, under
from app.hot_rows import (
    BRIEF,
    NOBODY,
    Decoder,
    Leaf,
    LoopsOf,
    hot_rows,
    hottest_numbers,
    leaves_of,
    listing_of,
    neighbours,
)
from app.trace_costs import told_cost
from app.trace_history import BLOCKS_S, LINES, MOST_PROCESSES, SPARK_BUCKETS, Heat, History
from bridge.trace.instructions import decode
from bridge.trace.layout import layout
from bridge.trace.modes import Mode
from bridge.trace.session import Counts

NONE = layout().constants["NONE"]
LEAVES = (
    Leaf("gzip (9)", "busybox", 1, "+0x10", 60.0),
    Leaf("gzip (9)", "busybox", 2, "+0x20", 20.0),
    Leaf("gzip (9)", "clear_page", 3, "+0x0", 10.0),
    Leaf("a", "x", 4, "+0x0", 9.0),
    Leaf("kernel", "idle", 5, "+0x0", 1.0),
)


def at(found: tuple[Any, ...], *path: str) -> Any:
    return next(box for box in found if box.path == path)


def test_each_box_lies_in_what_it_is_a_part_of() -> None:
    found = boxes(LEAVES)
    assert [box.path for box in found if box.depth == 1] == [("a",), ("gzip (9)",), ("kernel",)]  # by name
    for box in found[1:]:
        above = at(found, *box.path[:-1])
        assert above.start <= box.start
        assert box.start + box.width <= above.start + above.width + 1e-9
        assert box.width == pytest.approx(box.weight / 100)
    assert at(found, "gzip (9)", "busybox", "+0x10").block == 1
    assert under(found, 1, 0.5) is at(found, "gzip (9)")
    assert under(found, 3, 0.0901) is at(found, "gzip (9)", "busybox", "+0x10")
    assert under(found, 9, 0.5) is None


def test_closer_is_wider_and_what_is_gone_is_left() -> None:
    found = boxes(LEAVES, ("gzip (9)", "busybox"))
    assert [(box.path, box.width) for box in found[:3]] == [
        ((), 1.0),
        (("gzip (9)",), 1.0),
        (("gzip (9)", "busybox"), 1.0),
    ]
    assert at(found, "gzip (9)", "busybox", "+0x20").width == pytest.approx(0.25)
    assert boxes(LEAVES, ("gzip (9)", "gone", "+0x1")) == boxes(LEAVES, ("gzip (9)",))
    assert boxes(LEAVES, ("nobody",)) == boxes(LEAVES)
    assert boxes(()) == ()


def test_what_is_too_narrow_is_one_box() -> None:
    found = boxes(LEAVES, least=0.05)
    assert ("kernel",) not in [box.path for box in found]  # one percent: not even the box of those is wide enough
    many = tuple(Leaf("p", f"s{n:03}", n + 1, "+0x0", 1.0) for n in range(100))
    found = boxes(many, least=0.02)
    others = at(found, "p", OTHERS)
    assert (others.hidden, others.weight, others.width) == (100, 100.0, 1.0)


# History


def block(physical: int, size: int = 4, instructions: int = 2, virtual: int | None = None) -> NDArray[Any]:
    made = np.zeros((), layout()["block"])
    made["physical"], made["bytes"], made["instructions"] = physical, size, instructions
    made["virtual_first"] = physical if virtual is None else virtual
    return made


BLOCKS = np.array(
    [block(0), block(0x7C00), block(0x7C04, virtual=0xFFFFFFFF81000004), block(0x20000), block(NONE, virtual=0x5000)]
)


def counts(*entered: int, at_s: float) -> Counts:
    known = len(entered)
    return Counts(BLOCKS[:known].copy(), np.array([entered], np.uint64), round(at_s * 1e9))


def samples(*pairs: tuple[int, int]) -> NDArray[Any]:
    made = np.zeros(len(pairs), layout()["sample"])
    made["block"], made["task"] = [one for one, _ in pairs], [task for _, task in pairs]
    return made


NO_SAMPLES = samples()


def test_lines_are_rates_between_looks() -> None:
    history = History()
    history.take(counts(0, 5, 7, at_s=10), NO_SAMPLES)
    times, lines = history.lines()
    assert (len(times), lines.shape) == (0, (0, len(LINES)))
    history.take(counts(0, 25, 7, 10, 1, at_s=12), NO_SAMPLES)  # two blocks are new
    times, lines = history.lines()
    assert times.tolist() == [0.0]
    named = dict(zip(LINES, lines[0].tolist(), strict=True))
    assert named["blocks"] == (20 + 10 + 1) / 2
    assert named["instructions"] == (20 + 10 + 1) * 2 / 2
    assert named["code_pages"] == 2  # what is not in RAM has no page
    history.take(counts(0, 1, 1, 1, 1, at_s=13), NO_SAMPLES)  # the machine was started anew
    assert history.lines()[1][-1, 1] == 0
    assert history.lines()[0].tolist() == [-1.0, 0.0]


def test_loads_and_stores_wrap_and_pages_are_distinct_within_a_second() -> None:
    history = History()

    def heat(*loads: int) -> Heat:
        return Heat(np.array(loads, np.uint32), np.zeros(len(loads), np.uint32))

    most = (1 << 32) - 1
    for step, one in enumerate((heat(most, 0, 0), heat(4, 0, 0), heat(4, 1, 0), heat(4, 2, 0), heat(4, 3, 0))):
        history.take(counts(0, step, at_s=step / 2), NO_SAMPLES, one)
    lines = history.lines()[1]
    loads, touched = lines[:, LINES.index("loads")], lines[:, LINES.index("touched_pages")]
    assert loads.tolist() == [10, 2, 2, 2]
    assert touched.tolist() == [1, 2, 1, 1]
    history.take(counts(0, 9, at_s=3), NO_SAMPLES, None, records=100)
    history.take(counts(0, 9, at_s=4), NO_SAMPLES, None, records=600)
    last = dict(zip(LINES, history.lines()[1][-1].tolist(), strict=True))
    assert (last["loads"], last["touched_pages"], last["records"]) == (0, 0, 500)


def test_what_is_old_is_forgotten() -> None:
    history = History()
    for second in range(400):
        history.take(counts(0, second, at_s=second), NO_SAMPLES)
    assert len(history.slices) == BLOCKS_S + 1
    assert history.lines()[0][0] == -300
    assert history.over(5).entered.tolist() == [0, 5]
    assert history.over(5).seconds == 5
    assert history.over(1000).entered[1] == BLOCKS_S + 1


def test_a_process_is_known_by_who_had_the_task_then() -> None:
    history = History()
    history.take(counts(0, 0, 0, at_s=0), NO_SAMPLES)
    history.take(counts(0, 1, 1, at_s=1), samples((1, 70), (1, 0), (2, 71), (9, 70)))  # a block that is not known yet
    history.name({70: "gzip (9)"}.get)  # type: ignore[arg-type]
    history.take(counts(0, 2, 2, at_s=9), samples((1, 70)))
    history.name({70: "sh (10)"}.get)  # type: ignore[arg-type]
    span = history.over(60)
    assert span.samples == 4
    assert [span.processes[one] for one in span.whose.tolist()] == ["gzip (9)", "", "?", "sh (10)"]
    for number in range(MOST_PROCESSES):
        history.name({71: f"p{number}", 70: "late"}.get)  # type: ignore[arg-type]
        history.slices[-1].tasks[:] = 71
        history.slices[-1].whose[:] = 1
    history.name(lambda _: "")
    span = history.over(60)
    assert len(span.processes) <= 8
    assert [span.processes[one] for one in span.whose.tolist()][:3] == ["gzip (9)", "", "?"]


# Rows, leaves, listing


def busy_history() -> History:
    history = History()
    history.take(counts(0, 0, 0, 0, 0, at_s=0), NO_SAMPLES)
    seen = [(1, 70)] * 60 + [(2, 70)] * 30 + [(2, 0)] * 10 + [(3, 71)] * 20 + [(0, 0)] * 40
    history.take(counts(0, 6, 3, 2, 1, at_s=1), samples(*seen))
    history.name({70: "gzip (9)"}.get)  # type: ignore[arg-type]
    return history


NOP = decode(b"\x90", 0)
PLACES = {1: ("busybox + 0x10", "init (1)"), 2: ("memcpy", "kernel"), 3: ("", "")}


def test_rows_are_by_samples_where_there_are_enough() -> None:
    history = busy_history()
    span = history.over(5)
    assert (span.by_samples, span.idle_share) == (True, 0.25)
    numbers = hottest_numbers(span)
    assert numbers.tolist() == [1, 2, 3]
    rows = hot_rows(history, span, numbers, lambda _: NOP, LoopsOf({1: 2}, frozenset({1})), PLACES)
    assert [row.share for row in rows] == [0.5, pytest.approx(1 / 3), pytest.approx(1 / 6)]
    assert [row.process for row in rows] == ["gzip (9)", "gzip (9)", BRIEF]
    assert [(row.loop_depth, row.heads_loop) for row in rows] == [(2, True), (0, False), (0, False)]
    assert rows[0].document()["disassembly"] == ["nop"]
    assert rows[0].spark == (*[0.0] * (SPARK_BUCKETS - 1), 0.5)
    assert rows[0].document()["symbol"] == "busybox + 0x10"
    assert rows[1].pc == 0xFFFFFFFF81000004


def test_leaves_are_by_process_that_ran() -> None:
    leaves = leaves_of(busy_history().over(5), PLACES)
    assert [(leaf.process, leaf.symbol, leaf.label, leaf.weight) for leaf in leaves] == [
        ("gzip (9)", "busybox", "+0x10", 60.0),
        ("gzip (9)", "memcpy", "+0x0", 30.0),
        (BRIEF, "Page 0x20000", "0x20000", 20.0),
        ("kernel", "memcpy", "+0x0", 10.0),
    ]
    few = leaves_of(busy_history().over(5), PLACES, most=1)
    assert {leaf.process: leaf.weight for leaf in few if not leaf.block} == {
        "gzip (9)": 30.0,
        BRIEF: 20.0,
        "kernel": 10.0,
    }
    assert at(boxes(few), "kernel", "Other code").weight == 10


def test_a_guest_that_idles_is_told_of_by_instructions() -> None:
    history = History()
    history.take(counts(0, 0, 0, 0, 0, at_s=0), NO_SAMPLES)
    history.take(counts(0, 6, 3, 0, 1, at_s=1), samples((1, 0)))
    span = history.over(5)
    assert not span.by_samples
    numbers = hottest_numbers(span)
    rows = hot_rows(history, span, numbers, lambda _: NOP, LoopsOf(), {})
    assert [(row.number, row.share, row.physical) for row in rows] == [
        (1, 0.6, 0x7C00),
        (2, 0.3, 0x7C04),
        (4, 0.1, None),
    ]
    assert rows[0].spark[-1] == 0.6
    assert [leaf.process for leaf in leaves_of(span, {})] == [NOBODY] * 3


def test_a_listing_goes_on_as_far_as_code_ran() -> None:
    history = History()
    history.take(counts(0, 0, 0, 0, 0, at_s=0), NO_SAMPLES)
    history.take(counts(0, 6, 3, 2, 1, at_s=1), NO_SAMPLES)
    span, decoder = history.over(5), Decoder()
    asked: list[int] = []

    def decoded(number: int) -> Any:
        def code_of(one: NDArray[Any]) -> bytes:
            asked.append(int(one["physical"]))
            return b"\x90\x90\x90\xc3"

        return decoder.decoded(number, span.blocks[number], code_of)

    listing = listing_of(span, 1, decoded)
    assert listing is not None
    assert [(line.block, line.physical, line.text, line.count) for line in listing.lines] == [
        *[(1, 0x7C00 + n, "nop", 6) for n in range(3)],
        (1, 0x7C03, "ret", 6),
        *[(2, 0x7C04 + n, "nop", 3) for n in range(3)],
        (2, 0x7C07, "ret", 3),
    ]
    assert listing_of(span, 1, decoded) == listing
    assert asked == [0x7C00, 0x7C04]  # each once
    alone = listing_of(span, 3, decoded)
    assert alone is not None
    assert [line.physical for line in alone.lines] == [0x20000, 0x20001, 0x20002, 0x20003]
    assert listing_of(span, 4, decoded) is None  # not in RAM
    assert listing_of(span, 99, decoded) is None
    assert neighbours(span, np.array([1])) == [1, 2]


def test_figures_are_short() -> None:
    assert [told(value) for value in (0, 9_999, 12_345, 1_234_567, 45_600_000, 312e6, 7.25e9)] == [
        *("0", "9,999", "12.3 k", "1.23 M", "45.6 M", "312 M", "7.25 G"),
    ]
    assert all(told_cost(mode).endswith("x") for mode in Mode)
    assert float(told_cost(Mode.COUNTERS)[:-1]) <= float(told_cost(Mode.HEAT)[:-1])
