"""Writer rows: what a table says of who wrote some bytes: instruction, function, process, age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.trace.writers import Access

if TYPE_CHECKING:
    from app.state import AppState
    from app.watching import Told

MOST_NAMES = 4096
NAMES_EVERY_S = 1.0
Spot = tuple[int | None, int]
"""Of an instruction: physical and virtual address."""


@dataclass(frozen=True, slots=True)
class WriterRow:
    """One access, with names."""

    number: int
    """0 is the newest."""
    access: Access
    symbol: str
    process: str
    age_s: float
    """When the table was made."""

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        one = self.access
        return {
            "age_s": round(self.age_s, 6),
            "pc": one.pc,
            "code": one.code,
            "instruction": one.text,
            "symbol": self.symbol,
            "process": self.process,
            "address": one.physical,
            "size": one.size,
            "value": one.value,
            "store": one.is_store,
            "vcpu": one.vcpu,
        }


class SpotNames:
    """What lies at instructions of one machine, asked for once each."""

    def __init__(self) -> None:
        self._known: dict[Spot, tuple[str, str]] = {}

    def of(self, state: AppState, machine: str, accesses: Sequence[Access]) -> Mapping[Spot, tuple[str, str]]:
        """Symbol or part, and whose it is, by spot: as many as are known by now. For each frame that shows them."""
        wanted = tuple(dict.fromkeys(spot for one in accesses if (spot := (one.code, one.pc)) not in self._known))
        if wanted:
            answer = state.kernels.ask(machine, "code_places", wanted, now_s=state.now_s, every_s=NAMES_EVERY_S)
            if answer is not None and not answer.problem:
                if len(self._known) > MOST_NAMES:
                    self._known.clear()
                self._known.update(zip(wanted, answer.value, strict=False))
        return self._known


def writer_rows(
    told: Told, names: Mapping[Spot, tuple[str, str]], processes: Mapping[int, str], now_ns: int
) -> tuple[WriterRow, ...]:
    """The rows of an answer. `processes`: by the word that names a task; where that is not known, whose code it is."""
    rows = []
    for number, one in enumerate(told.accesses):
        symbol, owner = names.get((one.code, one.pc), ("", ""))
        process = processes.get(one.task, "") or owner
        rows.append(WriterRow(number, one, symbol, process, max(0, now_ns - one.at_ns) / 1e9))
    return tuple(rows)


def told_age(seconds: float) -> str:
    """An age as one reads it in a narrow column: `120 ms`, `4.2 s`, `3 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def told_value(one: Access) -> str:
    """What was written, as wide as it was."""
    if one.value is None:
        return ""
    digits = 2 * min(one.size, 8)
    return f"{'…' if one.size > 8 else ''}{one.value & ((1 << 4 * digits) - 1):0{digits}x}"
