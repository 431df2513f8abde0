"""Live: a program of what a guest runs in a while, with samples, and with measured edges where they are wanted."""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from bridge.trace.follows import FollowCounter
from bridge.trace.modes import Mode, Policy, Recorded, Wish
from bridge.trace.program import Program
from bridge.trace.session import TraceSession

_POLL_S = 0.002


def watch_program(session: TraceSession, seconds: float, *, edges: bool) -> tuple[Program, NDArray[Any]]:
    """Watch for so long. Returns the program and (n,) of `sample`. The session's mode is left as it is then.

    `edges`: record each block's entry, which slows the guest down several times; else blocks are counted and
    sampled, and edges are what their code says. Raises TraceError, MachineError.
    """
    follows: FollowCounter | None = None
    if edges:
        session.set(Wish(Mode.TRACE, frozenset({Recorded.BLOCKS}), Policy.DROP))
        follows = FollowCounter(len(session.memory.blocks))
    else:
        session.set(Wish(Mode.TIME))
    before, _ = session.counts(), session.samples()
    if follows is None:
        time.sleep(seconds)
    else:
        _follow(session, follows, seconds)
    after, (samples, _) = session.counts(), session.samples()
    return Program.from_counts(after, session.code_of, before, follows), samples


def _follow(session: TraceSession, follows: FollowCounter, seconds: float) -> None:
    readers = session.rings()
    for reader in readers:
        reader.done(reader.waiting())  # what is older was not counted as of this while
    deadline = time.monotonic() + seconds
    while (now := time.monotonic()) < deadline:
        taken = 0
        for reader in readers:
            views = reader.views()
            follows.feed(views.records, int(session.memory.plugin["tsc_hz"]))
            reader.done(len(views.records))
            taken += len(views.records)
        if taken < session.memory.ring_records // 8:  # in small pieces most of the time would be ours
            time.sleep(min(_POLL_S, max(0.0, deadline - now)))
