"""Heat in a picture of `glassbox shot`: what a machine runs, loads or stores for a while, or did when recorded."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.failures import CommandFailed, UsageError
from app.trace_channels import EXECUTED, LOADED, STORED, TITLES, UNITS
from app.watched import duration
from bridge.machine.machine import Machine
from bridge.trace.modes import Mode, Wish
from bridge.trace.page_heat import PageHeat, Touched
from bridge.trace.visit import traced, traced_own

if TYPE_CHECKING:
    from bridge.memory.physical_map import PhysicalMap
    from bridge.trace.session import TraceSession

HEATS = {"executed": EXECUTED, "loads": LOADED, "stores": STORED}
SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ShotHeat:
    """Which heat is asked for, over how long or of which recording."""

    channel: str
    seconds: float = SECONDS
    recording: Path | None = None

    def of(self, machine: str | Machine | None, physical_map: PhysicalMap, n_pages: int) -> NDArray[np.float64]:
        """(n_pages,) how much was done in each page. `machine`: None where nothing runs.

        Raises CommandFailed, BadRecording, NoSuchMachine, TraceError.
        """
        if self.recording is not None:
            return recorded_heat(self.recording, n_pages)[self.channel]
        if machine is None:
            raise CommandFailed("nothing runs in a dump: name a machine, or a recording with --recording FILE")
        with traced(machine) if isinstance(machine, str) else traced_own(machine) as session:
            touched = watched_for(session, physical_map, self.seconds)
        if self.channel == EXECUTED:
            return touched.executed
        return (touched.loads if self.channel == LOADED else touched.stores).astype(np.float64)


def watched_for(session: TraceSession, physical_map: PhysicalMap, seconds: float) -> Touched:
    """What is done in so long. Raises TraceError, MachineError."""
    session.set(Wish(Mode.HEAT))
    heat = PageHeat(session)
    heat.take(physical_map)
    time.sleep(seconds)
    return heat.take(physical_map)


def recorded_heat(path: Path, n_pages: int) -> dict[str, NDArray[np.float64]]:
    """By channel what a recording holds, for a machine of so many pages. Raises BadRecording, CommandFailed."""
    from bridge.trace.recorded import Recording  # loads Parquet's library, which takes a while

    recording = Recording.open(path)
    if recording.pages != n_pages:
        raise CommandFailed(
            f"{path} was recorded of a machine of {recording.pages:,} pages, and this one has {n_pages:,}."
        )
    heat = recording.heat()
    by_channel = {EXECUTED: heat.executed, LOADED: heat.loads, STORED: heat.stores}
    return {channel: counts.astype(np.float64) for channel, counts in by_channel.items()}


def add_heat_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    told = ", ".join(f"{word}: {UNITS[channel]}" for word, channel in HEATS.items())
    parser.add_argument("--trace", choices=tuple(HEATS), help=f"colour pages by what is done in them ({told})")
    parser.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        metavar="TIME",
        help=f"how long that is watched: {SECONDS:g}s by default",
    )
    parser.add_argument(
        "--recording", type=Path, metavar="FILE.parquet", help="what `trace record` saved of it, instead of watching"
    )


def heat_from_options(options: argparse.Namespace) -> ShotHeat | None:
    """What the options ask for. Raises UsageError."""
    if options.trace is None:
        if options.seconds is not None or options.recording is not None:
            raise UsageError("--for and --recording belong to --trace")
        return None
    if options.window:
        raise UsageError("--trace draws the volume alone: leave out --window")
    if options.channel is not None:
        raise UsageError(f"--trace shows {TITLES[HEATS[options.trace]]}, --channel another channel: give one of them")
    if options.dump is not None and options.recording is None:
        raise UsageError("nothing runs in a dump: name a machine, or a recording with --recording FILE")
    if options.seconds is not None and options.recording is not None:
        raise UsageError("a recording is as long as it is: leave out --for")
    return ShotHeat(HEATS[options.trace], options.seconds or SECONDS, options.recording)
