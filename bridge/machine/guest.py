"""What a guest is: the description of something that can be launched, and what can be wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Something that can be launched. Every path is absolute; ``None`` means that the guest does not use it."""

    name: str
    title: str
    ram_bytes: int
    min_ram_bytes: int
    max_ram_bytes: int
    machine_type: str
    """QEMU's name of the board: ``pc``, ``q35`` or ``microvm``."""
    cpus: int
    kernel: Path | None
    initrd: Path | None
    append: str
    """The kernel's command line."""
    disk: Path | None
    cdrom: Path | None
    floppy: Path | None
    network: bool
    ready_marker: bytes | None
    """Bytes on the serial console that say "it is up"; ``None`` when nothing is known about that."""
    keeps_state: bool
    """Its state is saved after the first boot and resumed later."""


class GuestError(Exception):
    """A guest cannot be launched as described. The message says what was tried, found, and what to do."""


class UnknownGuest(GuestError):
    """No built-in guest and no description of the user's has this name."""

    def __init__(self, name: str, known: Sequence[str], suggestion: str | None = None) -> None:
        hint = f" Did you mean '{suggestion}'?" if suggestion else ""
        super().__init__(f"No guest is called '{name}'.{hint} Known guests: {', '.join(known) or 'none'}.")
        self.name = name
        self.known = tuple(known)
        self.suggestion = suggestion


class GuestFileNotFound(GuestError):
    """A file that the guest needs is not there, is no regular file, or cannot be read."""

    def __init__(self, path: Path, role: str, reason: str) -> None:
        super().__init__(f"The guest's {role} {path} {reason}.")
        self.path = path
        self.role = role
        self.reason = reason


class GuestKernelInvalid(GuestError):
    """A kernel file that QEMU could not start: damaged, cut short, or no kernel at all."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is no kernel that can be started: {reason}.")
        self.path = path
        self.reason = reason


class GuestDescriptionError(GuestError):
    """A guest description or option that says something impossible; ``line`` counts from 1, 0 is the whole file."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line = line
        self.message = message


class GuestOptionError(GuestError):
    """Options that make no guest together, such as an initrd without a kernel."""


class GuestIngredientMissing(GuestError):
    """Packages or tools that a built-in guest is made of could not be had."""

    def __init__(self, packages: Sequence[str], reason: str, fix: str) -> None:
        super().__init__(f"Missing for this guest: {', '.join(packages)}. {reason} {fix}")
        self.packages = tuple(packages)
        self.reason = reason
        self.fix = fix


class GuestCancelled(GuestError):
    """The caller asked to stop while the guest was being assembled; what was downloaded is kept for the next time."""
