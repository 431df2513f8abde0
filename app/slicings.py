"""Slicings: those of all machines by name, kept between runs in a small file, and brought to all views."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import MAX_FILE_BYTES, write_atomically
from app.slicing import BadSlicing, Slicing, first_slicing, fitted, from_json, to_json
from bridge.machine.plain_files import open_plain

if TYPE_CHECKING:
    from app.stage import Stage

FILE = "slices.json"
MAX_MACHINES = 32
"""Those that were cut last; others begin anew."""

logger = logging.getLogger("window")


class Slicings:
    """Belongs to the main thread."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self._path = folder / FILE
        self._keep = keep
        self._kept: dict[str, Slicing] = _load(self._path) if keep else {}
        self._live: dict[str, Slicing] = {}
        self._changed_s: float | None = None
        self._only_planes: set[tuple[str, str]] = set()
        self._offered: dict[str, tuple[Slicing, Slicing]] = {}  # machine -> how it was cut before, and since

    def get(self, stage: Stage, machine: str) -> Slicing:
        """How a shown machine is cut. Raises KeyError where it is not shown."""
        shape = stage.feeds[machine].store.shape_voxels
        if machine not in self._live:
            kept = self._kept.get(machine)
            self._live[machine] = first_slicing(shape) if kept is None else fitted(kept, shape)
        return self._live[machine]

    def set(self, stage: Stage, machine: str, slicing: Slicing) -> None:
        """Cut a shown machine otherwise, in all views. Raises KeyError where it is not shown."""
        self._live[machine] = fitted(slicing, stage.feeds[machine].store.shape_voxels)
        self._kept.pop(machine, None)
        self._kept[machine] = self._live[machine]  # the last one cut is the last to be forgotten
        while len(self._kept) > MAX_MACHINES:
            del self._kept[next(iter(self._kept))]
        self._changed_s = time.monotonic()
        self.follow(stage)

    def follow(self, stage: Stage) -> None:
        """Have every view cut its volumes as they should be, also those that came since; forget who is gone."""
        for machine in [name for name in self._live if name not in stage.feeds]:
            del self._live[machine]
            self._offered.pop(machine, None)
            self._only_planes = {key for key in self._only_planes if key[1] != machine}
        for machine, feed in stage.feeds.items():
            self._offer_planes(stage, machine)
            cut = self.get(stage, machine).cut(feed.store.shape_voxels)
            for pane in stage.panes:
                if pane.view.cut(machine) != cut:
                    pane.view.set_cut(machine, cut)

    def _offer_planes(self, stage: Stage, machine: str) -> None:
        """Where a view begins to draw nothing but planes and there is none, show three, until no view does so: planes
        that nobody asked for would stand in the way of all else. What was done to them meanwhile makes them asked for.
        """
        now = self.get(stage, machine)
        for pane in stage.panes:
            key = pane.name, machine
            if pane.view.look.mode != "slice":
                self._only_planes.discard(key)
            elif key not in self._only_planes:
                self._only_planes.add(key)
                if not now.shown:
                    self._offered[machine] = now, now.with_three()
                    self._live[machine] = now = now.with_three()
        if machine in self._offered and not any(name == machine for _, name in self._only_planes):
            before, offered = self._offered.pop(machine)
            if now == offered:
                self._live[machine] = before

    def all(self) -> tuple[tuple[str, Slicing], ...]:
        """Those of the shown machines, for undo."""
        return tuple(sorted(self._live.items()))

    def restore(self, stage: Stage, slicings: tuple[tuple[str, Slicing], ...]) -> None:
        """Bring those back that are still shown."""
        for machine, slicing in slicings:
            if machine in stage.feeds and self.get(stage, machine) != slicing:
                self.set(stage, machine, slicing)

    def quiet_s(self) -> float:
        """How long ago the last change was that is not saved; 0 where all is."""
        return 0.0 if self._changed_s is None else time.monotonic() - self._changed_s

    def save(self) -> None:
        """Write what changed. Raises OSError."""
        changed, self._changed_s = self._changed_s, None
        if self._keep and changed is not None:
            document = {machine: to_json(slicing) for machine, slicing in self._kept.items()}
            write_atomically(self._path, json.dumps(document) + "\n")


def _load(path: Path) -> dict[str, Slicing]:
    """What was kept. A file that cannot be understood costs the places of planes, no more: it is logged and left."""
    try:
        with open_plain(path) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadSlicing(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
        document = json.loads(data)
        if not isinstance(document, dict):
            raise BadSlicing("it does not hold one JSON object")
        entries = list(document.items())[-MAX_MACHINES:]
        return {machine: from_json(entry) for machine, entry in entries}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("the saved slice planes in %s could not be used: %s", path, error)
        return {}
