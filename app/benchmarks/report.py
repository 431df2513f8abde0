"""What a benchmark says: figures beside their bars, and the machine that they were measured on."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.output import format_bytes, format_table

_PACKAGES = ("numpy", "numba", "wgpu", "pygfx")


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure is held against."""

    limit: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        """Whether `value` is on the right side. A figure that is no number never is."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


def at_least(limit: float) -> Bar:
    """A bar for figures of which more is better."""
    return Bar(limit, at_least=True)


def at_most(limit: float) -> Bar:
    """A bar for figures of which less is better."""
    return Bar(limit, at_least=False)


class NotMeasured(Exception):
    """What a figure needs is not here; its words say what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure; or, with `value` None, why there is none."""

    name: str
    value: float | None
    unit: str
    bar: Bar | None = None
    why: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the bar is met; None without a bar or without a figure."""
        return None if self.bar is None or self.value is None else self.bar.is_met(self.value)

    def as_json(self) -> dict[str, Any]:
        """The form of `--json`: the bar as text such as ">= 0.8"; null for what there is not, and why."""
        found = {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": None if self.bar is None else str(self.bar),
            "ok": self.ok,
        }
        return found if self.value is not None else {**found, "not_measured": self.why}

    def as_row(self) -> tuple[str, ...]:
        """Name, value, unit, bar, and whether it is met, for people."""
        if self.value is None:
            return self.name, "-", self.unit, "" if self.bar is None else str(self.bar), f"not measured: {self.why}"
        mark = {None: "", True: "ok", False: "missed"}[self.ok]
        return self.name, _figure(self.value), self.unit, "" if self.bar is None else str(self.bar), mark


def describe_environment() -> dict[str, Any]:
    """The facts about this machine that figures depend on."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": format_bytes(psutil.virtual_memory().total),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


@dataclass(frozen=True, slots=True)
class Report:
    """All that one benchmark measured. `notes` say how, and what was left out and why."""

    bench: str
    results: tuple[Result, ...]
    environment: Mapping[str, Any] = field(default_factory=describe_environment)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The form of `--json`."""
        return {
            "bench": self.bench,
            "environment": {**self.environment, "notes": list(self.notes)},
            "results": [result.as_json() for result in self.results],
        }

    def as_text(self) -> str:
        """A table, the machine, and the notes, for people."""
        rows = [result.as_row() for result in self.results]
        table = format_table((f"bench {self.bench}", "value", "unit", "bar", ""), rows, right=frozenset({1}))
        machine = ", ".join(f"{key} {value}" for key, value in self.environment.items())
        return "\n".join([table, "", f"Measured on: {machine}.", *self.notes])


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _figure(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
