"""What a stop at a loop is worth: how many rounds pay for one, how many a call may have, and how long to leave a place.

Pure arithmetic on times that somebody else measured. A stop costs some tenths of a millisecond, and while there is a
breakpoint QEMU runs all code of its page slowly: so one is only there while it pays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

LONGEST_CALL_S = 0.015
"""A call is cut to what takes so long by what it took of late; on pages that are new here it takes some times that."""
WORTH_A_LOOK = 20_000
"""Rounds; in fewer no call pays, whatever a round is."""
NEVER = 1 << 62
"""Rounds: QEMU is as fast."""
FIRST_MOST = 1 << 18
HIDDEN_S = 0.0002
"""Of a stop, that is over when it is told: QEMU's threads wait for each other."""
_GUESSED_CALL_S = 0.001
_MARGIN = 1.5
_FIRST_CALLS = 6
_ENOUGH_ROUNDS = 4096
_MOST_MEASUREMENTS = 3
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.01, 5.0
_EAGER_WAIT_S = 0.005
_WINDOW_S, _PAIRS = 0.1, 3
_WATCHED = 10
"""Windows: so far back it is looked whether a page goes on to pay."""
_GAIN = 1.05
_FIRST_TERM_S, _LONGEST_TERM_S = 1.0, 30.0
_PATIENCE = 8


@dataclass(slots=True)
class Economy:
    """Of one kernel."""

    eager: bool = False
    """Calls are made whether they pay or not."""
    round_s: float = 0.0
    """That a round takes under QEMU, at least; 0: not known …"""
    guessed_s: float = 0.0
    """… and this is what a loop that always ends too soon to be measured takes at most: to decide by, not to tell."""
    kernel_s: float = 0.0
    """That it takes in a call of many rounds, of late; 0: not known …"""
    best_s: float = 0.0
    """… and at least."""
    call_s: float = 0.0
    """That a call takes besides, at least; 0: not known."""
    measurements: int = 0
    calls: int = 0

    @property
    def wants_measurement(self) -> bool:
        """Whether to find out what QEMU takes."""
        return not self.eager and self.measurements < _MOST_MEASUREMENTS

    def measured(self, rounds: int, seconds: float, *, ended: bool) -> None:
        """QEMU did so many rounds in so long, or fewer: `ended` is true where it had left the loop by then."""
        self.measurements += 1
        took_s = seconds / max(1, rounds)
        if not ended:
            self.round_s = min(self.round_s, took_s) if self.round_s else took_s
        elif self.measurements == _MOST_MEASUREMENTS and not self.round_s:
            self.guessed_s = took_s / 2  # somewhere in that time

    @property
    def least_rounds(self) -> int:
        """Fewer do not pay."""
        if self.eager:
            return 2
        round_s = self.round_s or self.guessed_s
        if not round_s:
            return WORTH_A_LOOK
        if self.calls < _FIRST_CALLS:  # they are slow: nothing of the guest's memory is mapped here yet
            return WORTH_A_LOOK
        gain_s = round_s - self.best_s
        if gain_s <= round_s / 8:
            return NEVER
        return max(2, int(_MARGIN * (self.call_s or _GUESSED_CALL_S) / gain_s))

    @property
    def most_rounds(self) -> int:
        """More are cut into several calls."""
        return FIRST_MOST if not self.kernel_s else max(2, int(LONGEST_CALL_S / self.kernel_s))

    def called(self, rounds: int, kernel_s: float, whole_s: float) -> None:
        """A call was made; `kernel_s` of `whole_s` went by in the kernel, with its page walks."""
        self.calls += 1
        besides_s = max(0.0, whole_s - kernel_s)
        self.call_s = min(self.call_s, besides_s) if self.call_s else besides_s
        if rounds >= _ENOUGH_ROUNDS:
            # What it took of late counts for how long a call may be; a host that was busy once is forgotten.
            each_s = kernel_s / rounds
            self.best_s = min(self.best_s, each_s) if self.best_s else each_s
            self.kernel_s = each_s if not self.kernel_s else (self.kernel_s + each_s) / 2


@dataclass(slots=True)
class Site:
    """A place where a loop is, and whether a breakpoint is there."""

    address: int
    slot: int
    code_hash: int
    n_instructions: int
    """Of a round."""
    eager: bool = False
    armed: bool = False
    due_s: float = 0.0
    """When it is to be armed, while it is not."""
    dead: bool = False
    """Its kernel is gone: the breakpoint goes with the next stop."""
    _wait_s: float = _FIRST_WAIT_S
    _in_vain: int = 0

    @property
    def page(self) -> int:
        """The number of its page."""
        return self.address >> 12

    def paid(self) -> None:
        """A call was worth it."""
        self._wait_s, self._in_vain = _FIRST_WAIT_S, 0

    def refused(self, now_s: float, *, soon: bool) -> bool:
        """A stop was in vain; `soon`: it may go better a round later. Returns whether the breakpoint is to go."""
        self._in_vain += 1
        if soon and self._in_vain < _PATIENCE:
            return False
        self._in_vain = 0
        self.due_s = now_s + (_EAGER_WAIT_S if self.eager else self._wait_s)
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return True


@dataclass(slots=True)
class _Page:
    pays: bool = False
    until_s: float = 0.0
    """Until when that is taken to be so."""
    term_s: float = _FIRST_TERM_S
    falls: int = 0
    """How often it paid in a trial, and then did not for all of its term."""
    without: float = 0.0
    """Instructions a second that were done without its breakpoints, when it was tried."""
    marks: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_WATCHED + 1))
    """While it pays: how many were done when, of late."""

    def falls_behind(self, done: int, now_s: float) -> bool:
        """Whether the guest comes less far with its breakpoints of late than it did without; asked each window."""
        self.marks.append((done, now_s))
        at, since_s = self.marks[0]
        return len(self.marks) > _PAIRS and done - at < _GAIN * self.without * (now_s - since_s)


class Trials:
    """Which pages' breakpoints pay: those with which the guest comes further in the same time than without.

    All code of a page with a breakpoint is slow, not only the loop. So a page is tried: some short windows without and
    with its breakpoints, in turns, and in each it is counted how many instructions were done, by kernels too. What came
    of it holds for a while, each time for longer. A program has phases, which a trial may not meet: while breakpoints
    are kept that is looked at all the time, and they go as soon as the guest falls behind what it did without.
    """

    def __init__(self, *, eager: bool = False) -> None:
        """`eager`: all pay."""
        self._eager = eager
        self._pages: dict[int, _Page] = {}
        self._tried: int | None = None
        self._window, self._ends_s, self._watches_s = 0, 0.0, 0.0
        self._mark = (0, 0.0)
        self._done: list[list[float]] = []

    def allows(self, page: int) -> bool:
        """Whether breakpoints may be in this page now."""
        if self._tried == page:
            return self._window % 2 == 1
        return self._eager or (page in self._pages and self._pages[page].pays)

    def tick(self, now_s: float, pages: Collection[int], instructions: Callable[[], int]) -> bool:
        """Go on with what is tried; `pages` are those that there are. True: what is allowed may be another now."""
        if self._eager:
            return False
        self._pages = {page: self._pages.get(page, _Page()) for page in sorted(pages)}
        if self._tried is None:
            return self._begin(now_s, instructions) or self._watch(now_s, instructions)
        if self._tried in self._pages and now_s < self._ends_s:
            return False
        at, since_s = self._mark
        self._mark = instructions(), now_s
        self._done[self._window % 2][0] += self._mark[0] - at
        self._done[self._window % 2][1] += now_s - since_s
        self._window, self._ends_s = self._window + 1, now_s + _WINDOW_S
        if self._tried not in self._pages or self._window == 2 * _PAIRS:
            self._end(now_s)
        return True

    def begin_again(self) -> None:
        """The guest stood for another reason: what is tried now is told nothing by how far it came."""
        self._tried = None
        self._forget_marks()

    def wakes_s(self) -> float:
        """When `tick` has something to do."""
        if self._tried is not None:
            return self._ends_s
        watched_s = self._watches_s if any(one.pays for one in self._pages.values()) else float("inf")
        return min(watched_s, min((one.until_s for one in self._pages.values()), default=float("inf")))

    def _watch(self, now_s: float, instructions: Callable[[], int]) -> bool:
        paying = [one for one in self._pages.values() if one.pays]
        if not paying or now_s < self._watches_s:
            return False
        done, self._watches_s = instructions(), now_s + _WINDOW_S
        slow = [one for one in paying if one.falls_behind(done, now_s)]
        for one in slow:
            one.falls, one.pays = one.falls + 1, False
            one.until_s = now_s + min(_FIRST_TERM_S * 2.0**one.falls, _LONGEST_TERM_S)
        return bool(slow)

    def _begin(self, now_s: float, instructions: Callable[[], int]) -> bool:
        due = [page for page, one in self._pages.items() if now_s >= one.until_s]
        if not due:
            return False
        self._tried = min(due, key=lambda page: self._pages[page].until_s)
        self._window, self._ends_s = 0, now_s + _WINDOW_S
        self._done = [[0.0, 0.0], [0.0, 0.0]]
        self._mark = instructions(), now_s
        self._forget_marks()
        return True

    def _forget_marks(self) -> None:
        for one in self._pages.values():
            one.marks.clear()

    def _end(self, now_s: float) -> None:
        page = self._pages.get(self._tried) if self._tried is not None else None
        self._tried = None
        if page is None:
            return
        without, with_them = (count / seconds if seconds else 0.0 for count, seconds in self._done)
        pays = with_them > _GAIN * without
        if page.pays:
            page.falls = 0  # it did all its term long
        page.without = without
        page.term_s = min(2 * page.term_s, _LONGEST_TERM_S) if pays == page.pays else _FIRST_TERM_S
        page.pays, page.until_s = pays, now_s + page.term_s
