"""A machine's directory and its record: what another Glassbox needs to find it, use it, or clean up after it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.machine.directories import runtime_dir
from bridge.machine.errors import MachineError, NameInvalid, NameTaken
from bridge.machine.processes import ProcessIdentity, find_process
from bridge.machine.ram_file import is_ram_file_name, remove_ram_file
from bridge.machine.states import Accelerator

LONGEST_NAME = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_RECORD_FILE = "machine.json"
_LARGEST_RECORD = 64 << 10
_LOCK_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """What `machine.json` says of a machine."""

    name: str
    guest: str
    ram_path: Path
    ram_bytes: int
    accelerator: Accelerator
    accelerator_reason: str
    detached: bool
    warm: bool
    ready: bool
    ready_marker: bytes | None
    started_at_s: float
    directory: Path
    qemu: ProcessIdentity | None
    owner: ProcessIdentity | None

    @property
    def qmp_socket(self) -> Path:
        """The owner's monitor."""
        return self.directory / "qmp.sock"

    @property
    def control_socket(self) -> Path:
        """The monitor for short visits by anybody else (of this user)."""
        return self.directory / "control.sock"

    @property
    def console_socket(self) -> Path:
        """The guest's serial line."""
        return self.directory / "console.sock"

    @property
    def console_log(self) -> Path:
        """What the guest has printed, its last part."""
        return self.directory / "console.log"

    @property
    def qemu_log(self) -> Path:
        """What QEMU itself has printed."""
        return self.directory / "qemu.log"

    @property
    def qemu_alive(self) -> bool:
        """True while QEMU runs."""
        return self.qemu is not None and self.qemu.alive

    @property
    def owner_alive(self) -> bool:
        """True while the Glassbox that owns it runs."""
        return self.owner is not None and self.owner.alive

    def ram_problem(self) -> str:
        """What is wrong with the RAM file, in a sentence or two; empty when nothing is."""
        if self.ram_path.exists():
            return ""
        return (
            f"Its RAM file {self.ram_path} was deleted. Who has it open goes on seeing the memory; nobody else can "
            "look into it any more. Stop the machine when you are done."
        )

    def replace(self, **changes: Any) -> MachineRecord:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def save(self) -> None:
        """Write the record, whole or not at all. Raises OSError."""
        document = {
            "version": 1,
            "name": self.name,
            "guest": self.guest,
            "ram_path": str(self.ram_path),
            "ram_bytes": self.ram_bytes,
            "accelerator": self.accelerator,
            "accelerator_reason": self.accelerator_reason,
            "detached": self.detached,
            "warm": self.warm,
            "ready": self.ready,
            "ready_marker": None if self.ready_marker is None else self.ready_marker.hex(),
            "started_at_s": self.started_at_s,
            "qemu": None if self.qemu is None else dataclasses.astuple(self.qemu),
            "owner": None if self.owner is None else dataclasses.astuple(self.owner),
        }
        partial = self.directory / f".{_RECORD_FILE}.{os.getpid()}"
        try:
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            partial.replace(self.directory / _RECORD_FILE)
        finally:
            partial.unlink(missing_ok=True)

    def remove_files(self) -> None:
        """Remove the RAM file and the directory with all that is in it. Only for a machine whose QEMU has ended."""
        remove_ram_file(self.ram_path)
        remove_machine_directory(self.directory)


def load_record(directory: Path) -> MachineRecord | None:
    """The record in a machine's directory; None when there is none or it makes no sense."""
    try:
        with (directory / _RECORD_FILE).open("rb") as file:
            text = file.read(_LARGEST_RECORD + 1)
        if len(text) > _LARGEST_RECORD:
            return None
        return _parse(json.loads(text), directory)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _parse(document: Any, directory: Path) -> MachineRecord:
    ram_path = Path(_text(document["ram_path"]))
    accelerator: Accelerator = "kvm" if document["accelerator"] == "kvm" else "tcg"
    marker = document["ready_marker"]
    if document["version"] != 1 or document["name"] != directory.name or not is_ram_file_name(ram_path.name):
        raise ValueError("not a record of this machine")
    return MachineRecord(
        name=directory.name,
        guest=_text(document["guest"]),
        ram_path=ram_path,
        ram_bytes=_number(document["ram_bytes"]),
        accelerator=accelerator,
        accelerator_reason=_text(document["accelerator_reason"]),
        detached=bool(document["detached"]),
        warm=bool(document["warm"]),
        ready=bool(document["ready"]),
        ready_marker=None if marker is None else bytes.fromhex(marker),
        started_at_s=float(document["started_at_s"]),
        directory=directory,
        qemu=_process(document["qemu"]),
        owner=_process(document["owner"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise TypeError("a number expected")
    return value


def _process(value: Any) -> ProcessIdentity | None:
    if value is None:
        return None
    pid, start_ticks, boot = value
    return ProcessIdentity(_number(pid), _number(start_ticks), _text(boot))


def is_valid_name(name: str) -> bool:
    """Say whether a machine can be called so."""
    return _NAME.fullmatch(name) is not None


@contextlib.contextmanager
def runtime_lock() -> Iterator[Path]:
    """Hold the runtime directory for a moment: names are claimed, owners change and leftovers go only under it."""
    directory = runtime_dir()
    fd = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MachineError(
                        f"Another Glassbox has held {directory}/.lock for {_LOCK_WAIT_S:.0f} s. It seems to hang; "
                        f"end it."
                    ) from None
                time.sleep(0.005)
        yield directory
    finally:
        os.close(fd)


def machine_directories() -> list[Path]:
    """The directories of all machines in the runtime directory, by name."""
    entries = (entry for entry in runtime_dir().iterdir() if is_valid_name(entry.name))
    return sorted(entry for entry in entries if entry.is_dir() and not entry.is_symlink())


def claim_directory(wanted: str | None, guest: str, taken: Collection[str] = ()) -> Path:
    """Make the directory of a new machine, and with it take its name. To be called under `runtime_lock`.

    Without a wanted name it is the guest's, or that and a number. `taken` are names in use otherwise. Raises
    `NameInvalid`, or `NameTaken`.
    """
    runtime = runtime_dir()
    if wanted is not None:
        if not is_valid_name(wanted):
            raise NameInvalid(wanted)
        if wanted in taken:
            raise NameTaken(wanted)
        path = runtime / wanted
        if path.is_dir() and not path.is_symlink():
            remove_if_dead(path)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            raise NameTaken(wanted) from None
        return path
    base = re.sub(r"[^a-z0-9._-]", "-", guest.lower()).lstrip("._-")[: LONGEST_NAME - 5] or "machine"
    for number in range(1, 10_000):
        with contextlib.suppress(NameTaken):
            return claim_directory(base if number == 1 else f"{base}-{number}", guest, taken)
    raise NameTaken(base, "and 9,999 more like it are running already")


def remove_if_dead(directory: Path) -> MachineRecord | None:
    """Remove a machine's files when neither its QEMU nor its owner lives. To be called under `runtime_lock`.

    Returns the record of what was removed or, where QEMU lives on unrecorded (its Glassbox was killed while
    starting it), records it. None when nothing was removed.
    """
    record = load_record(directory)
    if record is None:
        # Under the lock no machine is without a record: this one's Glassbox was killed in between, before QEMU.
        # A record that is there but makes no sense may belong to a QEMU that lives.
        if find_process("memory-backend-file", f"/glassbox-{os.getuid()}-{directory.name}-") is None:
            remove_machine_directory(directory)
        return None
    if record.qemu_alive or record.owner_alive:
        return None
    if record.qemu is None:
        qemu = find_process("memory-backend-file", str(record.ram_path))
        if qemu is not None:
            record.replace(qemu=qemu).save()
            return None
    record.remove_files()
    return record


def remove_machine_directory(directory: Path) -> None:
    """Remove a machine's directory and all that is in it; one that is gone is no error."""
    shutil.rmtree(directory, ignore_errors=True)
