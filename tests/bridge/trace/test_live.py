"""A guest whose loop is known: its edges are measured as often as it goes round, and its flow graph shows it."""

from __future__ import annotations

import threading

import numpy as np

from bridge.trace.flow_view import flow_around, flow_view
from bridge.trace.hot import Naming, Weights
from bridge.trace.live import watch_program
from bridge.trace.paths import hot_paths
from bridge.trace.profile import stacks_of
from tests.bridge.trace.conftest import DONE, GO, LOOP_AT, WAIT_AT, WAITED, Counting
from tests.bridge.trace.test_hot import Nobody


def test_the_loops_edges_are_counted(counting: Counting) -> None:
    counting.count()  # what is translated on the way is behind it
    ended = threading.Event()

    def have_it_count() -> None:
        while not ended.wait(0.02):
            counting.write(GO, b"\1")

    thread = threading.Thread(target=have_it_count)
    thread.start()
    try:
        for _ in range(10):  # on a busy host it may not come round in that time
            before = counting.word(DONE)
            program, samples = watch_program(counting.trace, 1.5, edges=True)
            if counting.word(DONE) > before + 3:
                break
    finally:
        ended.set()
        thread.join()
    (loop,) = program.holding(LOOP_AT + 5)[program.starts[program.holding(LOOP_AT + 5)] == LOOP_AT].tolist()
    waiting = program.within(WAIT_AT, 1).tolist()
    edges = program.edges
    assert edges.measured
    taken = int(edges.counts[(edges.sources == loop) & (edges.targets == loop)].sum())
    # Records may be dropped while nobody reads, and are not made up.
    assert 0 < taken < int(program.entered[loop])
    assert program.loops.heads[loop] == loop
    weights = Weights.of(program, samples[:0])
    assert weights.by == "records"
    naming = Naming(program, Nobody(), {})
    view = flow_around(program, np.array([loop]), 0, "the loop", weights, naming)
    assert [node.number for node in view.nodes] == [loop]
    assert [(edge.source, edge.target, edge.back) for edge in view.edges] == [(loop, loop, True)]
    whole = flow_around(program, np.array([loop]), 9, "all", weights, naming)
    assert {loop, *waiting} <= {node.number for node in whole.nodes}
    assert whole.document()["edges"][0]["count"] > 0
    assert [path.blocks for path in hot_paths(program, weights.values, 100) if loop in path.blocks] == [(loop,)]
    stacks = stacks_of(program, weights, naming, 1e9)
    told = {stack.frames[1].name: stack for stack in stacks}["loop"]
    assert [frame.name for frame in told.frames] == ["firmware", "loop", f"loop ({LOOP_AT:#x})"]
    assert told.entered == int(program.entered[loop])


def test_without_edges_they_are_what_the_code_says(counting: Counting) -> None:
    for _ in range(10):
        before = counting.word(WAITED)
        program, samples = watch_program(counting.trace, 0.3, edges=False)
        if counting.word(WAITED) > before + 1000:
            break
    (waiting,) = program.within(WAIT_AT, 1).tolist()
    assert not program.edges.measured
    weights = Weights.of(program, samples)
    view = flow_view(program, [waiting], "waiting", weights, Naming(program, Nobody()))
    assert [(edge.source, edge.target, edge.back) for edge in view.edges] == [(waiting, waiting, True)]
    assert view.document()["edges"][0]["count"] is None
