"""A dump as a machine that stands still: whatever can be asked of a machine can be asked of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Never

from bridge.machine.console import Console
from bridge.machine.errors import MachineError
from bridge.machine.records import is_valid_name
from bridge.machine.states import EventCallback, MachineInfo, MachineState, Usage
from bridge.machine.usage_meter import NOTHING
from bridge.memory.dump_ram import DumpRam, open_dump_ram
from bridge.memory.ram import GuestRam

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_LONGEST_STEM = 28  # of the 32 characters of a name: the rest is for a number


class DumpStandsStill(MachineError):
    """A dump was asked for what only a running machine can do."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' is a dump: it stands still. Launch or attach to a machine for that.")
        self.name = name


class OpenedDump:
    """A dump that is looked at like a paused machine. Get one from `MachineManager.open_dump`. Thread-safe."""

    record = None
    backend = ""
    ready = True
    detached = False

    def __init__(self, name: str, path: Path, opened: DumpRam) -> None:
        self.name = name
        self.path = path
        self.console = Console(name)
        self.ram: GuestRam | None = opened.ram
        self._info = MachineInfo(
            name=name,
            guest=path.name,
            state=MachineState.PAUSED,
            accelerator="none",
            accelerator_reason="A dump does not run.",
            pid=None,
            ram_bytes=opened.ram.size_bytes,
            started_at_s=path.stat().st_mtime,
            attached=False,
            warm=False,
            message="The file ends before what its headers promise: what is missing is not shown."
            if opened.truncated
            else "",
            dump=opened.kind,
        )

    def rename(self, name: str) -> None:
        """Call it otherwise: for its manager, before anybody sees it."""
        self.name, self.console = name, Console(name)
        self._info = dataclasses.replace(self._info, name=name)

    @property
    def info(self) -> MachineInfo:
        """The facts; they do not change."""
        return self._info

    def usage(self) -> Usage:
        """Nothing: no process runs."""
        return NOTHING

    def wait_ready(self, timeout_s: float) -> bool:  # noqa: ARG002 - as a machine's
        """True at once: it does not change any more."""
        return True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Do nothing: it stands still anyway."""
        yield

    def subscribe(self, callback: EventCallback) -> Callable[[], None]:  # noqa: ARG002 - as a machine's
        """Take a callback that is never called, for nothing ever happens."""
        return lambda: None

    def refresh_physical_map(self) -> None:
        """Do nothing: where its RAM lies is written in it."""

    def pause(self) -> None:
        """Do nothing: it stands still."""

    def resume(self) -> None:
        """Raise DumpStandsStill."""
        self._refuse()

    def reset(self) -> None:
        """Raise DumpStandsStill."""
        self._refuse()

    def stop(self, *, timeout_s: float = 0) -> None:  # noqa: ARG002 - as a machine's
        """Raise DumpStandsStill: a dump is closed, by `MachineManager.remove`."""
        self._refuse()

    def qmp(self, command: str, /, **arguments: Any) -> Any:  # noqa: ARG002 - as a machine's
        """Raise DumpStandsStill."""
        self._refuse()

    def release_ram(self) -> None:
        """Give the RAM up."""
        ram, self.ram = self.ram, None
        if ram is not None:
            ram.close()

    def _refuse(self) -> Never:
        raise DumpStandsStill(self.name)


def open_dump(path: Path, name: str, progress: Callable[[str, float], None] | None) -> OpenedDump:
    """Open a dump under a name. Raises GuestMemoryError, OSError."""
    return OpenedDump(name, path.absolute(), open_dump_ram(path, progress=progress))


def name_for_dump(path: Path, taken: Collection[str]) -> str:
    """What a dump is called when nobody says: its file's name, as far as a machine may be called so, and a number."""
    letters = "".join(c if c in _NAME_CHARACTERS else "-" for c in path.stem.lower()).strip("-._")
    stem = letters[:_LONGEST_STEM]
    if not is_valid_name(stem):
        stem = "dump"
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name
