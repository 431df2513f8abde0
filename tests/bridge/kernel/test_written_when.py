"""Questions about a time, held against processes of a live guest that write at known times: what is known to have been
written then, by them, and nothing that others wrote or that they wrote at another time.

The window's clock is set by hand, so that no machine is too slow for what is said of seconds here.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from app import page_ages, window_world
from app.page_ages import PageAges
from app.window_world import WindowWorld
from bridge.kernel.desk import QUESTIONS, Desk
from bridge.kernel.snapshot import Introspector
from bridge.memory.scanner import Scanner
from bridge.memory.shadow import create_shadow
from bridge.semantic.query import answering
from bridge.semantic.query.answering import NotWatched, answer_query
from bridge.semantic.query.desk_world import names_of, no_rules
from bridge.semantic.query.model import Understood
from bridge.semantic.query.parser import understand
from tests.bridge.kernel.conftest import LiveGuest

_NOON = datetime.datetime(2026, 3, 4, 12, 0, 0).astimezone().timestamp()
_LIMIT_S = 120.0


@dataclass
class Clock:
    """Seconds since noon, moved by hand. Stands for the module time."""

    now_s: float = 0.0

    def time(self) -> float:
        return _NOON + self.now_s

    def monotonic(self) -> float:
        return self.now_s

    perf_counter = monotonic


class Watch:
    """A machine that is watched as the window does."""

    def __init__(self, live: LiveGuest, clock: Clock) -> None:
        self.live, self.clock = live, clock
        self._shadow = create_shadow(live.ram)
        self.scanner = Scanner(live.ram, self._shadow, budget_bytes_per_s=np.inf, core_share=1.0)
        self.desk = Desk(Introspector(live.kernel))
        self.ages = PageAges(live.ram.n_pages)
        self.look()
        self.ages.begin()

    def look(self) -> set[int]:
        """Look at all of RAM: the pages that were written since the last time."""
        before = self._shadow.version.copy()
        self.scanner.look(time.monotonic(), 1.0, 1e6)
        written = np.flatnonzero(self._shadow.version != before).astype(np.uint32)
        self.ages.write(written)
        return set(written.tolist())

    def run(self, name: str, pages: set[int], now_s: float) -> None:
        """Let a program of the guest work at that time, until any of these pages was seen to be written."""
        self.look()  # what was written until now was so at the time that it was
        self.clock.now_s = now_s
        self.live.shell.run(f"killall -CONT {name}")
        try:
            deadline_s = time.monotonic() + _LIMIT_S
            while not self.look() & pages:
                assert time.monotonic() < deadline_s, f"{name} never wrote any of {len(pages)} pages"
                time.sleep(0.05)
        finally:
            self.live.shell.run(f"killall -STOP {name}")
        self.look()

    def ask(self, text: str) -> dict[int | None, set[int]]:
        """Pages by process."""
        self.desk.snapshot = self.desk.introspector.look()
        understood = understand(text, names_of(self.desk))
        assert isinstance(understood, Understood), understood

        def ask(question: str, *arguments: object) -> object:
            return QUESTIONS[question](self.desk, *arguments)

        world = WindowWorld(ask, self.live.ram, self.ages, no_rules, lambda: False)
        found: dict[int | None, set[int]] = {}
        for match in answer_query(understood.query, world).matches:
            found.setdefault(match.pid, set()).update(match.pages.tolist())
        return {pid: pages for pid, pages in found.items() if pages}


@pytest.fixture
def watch(live: LiveGuest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    clock = Clock()
    for module in (page_ages, window_world, answering):
        monkeypatch.setattr(module, "time", clock)
    watch = Watch(live, clock)
    yield watch
    watch.scanner.close()


def test_what_was_written_when_and_by_whom(live: LiveGuest, watch: Watch) -> None:
    counter, allocator = (int(live.shell.run(f"pidof {name}")) for name in ("counter", "allocator"))
    said = re.search(r"0x(\w+)", live.shell.run("cat /run/counter"))  # where its page lies, by its own pagemap
    assert said is not None
    known = int(said[1], 16) >> 12
    heap = watch.ask("heap of allocator")[allocator]

    watch.run("allocator", heap, now_s=100)
    watch.run("counter", {known}, now_s=200)
    watch.clock.now_s = 203

    # One writes now, the other did so before.
    recent = watch.ask(f"which pages did PID {counter} write in the last 5 s")
    assert recent.keys() == {counter}
    assert known in recent[counter]
    assert not watch.ask(f"which pages did PID {allocator} write in the last 5 s")
    assert known in watch.ask("counter changed since 12:03")[counter]
    assert not watch.ask("allocator changed since 12:03:00")
    earlier = watch.ask("allocator changed since 12:01:00")
    assert earlier.keys() == {allocator}
    assert earlier[allocator] & heap
    assert known not in earlier[allocator]
    assert watch.ask("heap of allocator written in the last 2 minutes")[allocator] <= watch.ask("heap")[allocator]
    # Of everything that was written, the page has its own name, and is not told of when that is longer ago.
    assert known in watch.ask("what changed in the last 5 s")[counter]
    watch.clock.now_s = 210
    assert not watch.ask("counter written within 5 s")
    assert known in watch.ask("counter written within 10 s")[counter]
    # Nobody watched before noon.
    for text in ("counter written within 211 s", "counter changed since 11:59:59"):
        with pytest.raises(NotWatched, match=r"only for the last 210\.0 s"):
            watch.ask(text)
