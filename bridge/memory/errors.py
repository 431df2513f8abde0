"""Errors of guest memory: each says what was tried, what was found, and what to do."""

from __future__ import annotations

from pathlib import Path


class GuestMemoryError(Exception):
    """Anything that can go wrong with a guest's RAM; the base of all errors here."""


class InvalidAddress(GuestMemoryError):
    """A range that is not, as one piece, in the RAM of the machine.

    `size` is the size of the machine's RAM in bytes; `hint` says where RAM is, or what to do.
    """

    def __init__(self, address: int, length: int, size: int, hint: str = "") -> None:
        self.address = address
        self.length = length
        self.size = size
        where = f"{address:#x}" if length == 1 else f"{length:,} bytes at {address:#x}"
        super().__init__(f"No RAM at {where} in this machine of {size:,} bytes." + (f" {hint}" if hint else ""))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle their message as the argument; these take facts.
        return _rebuild, (type(self), str(self), self.__dict__)


class _PathError(GuestMemoryError):
    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), self.__dict__)


class FileNotFound(_PathError):
    """The RAM file is not there: the machine has ended, or never shared its memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, f"The RAM file {path} does not exist. Has the machine ended? List machines and try again."
        )


class DumpNotFound(FileNotFound):
    """There is no dump of that name."""

    def __init__(self, path: Path) -> None:
        _PathError.__init__(self, path, f"There is no dump {path}. Check its path.")


class PermissionDenied(_PathError):
    """The RAM file belongs to somebody else."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, f"The RAM file {path} may not be read. Run Glassbox as the user who started the machine."
        )


class MapFailed(_PathError):
    """The RAM file exists and may be read, but cannot be mapped, or no longer is what it was."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(path, f"The RAM file {path} cannot be used: {reason}")


class RamClosed(_PathError):
    """The mapping was closed; open the file again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, f"The mapping of {path} is closed. Open the machine's RAM again.")


class PhysicalMapUnreadable(GuestMemoryError):
    """QEMU's account of its memory map could not be understood, or does not fit the RAM file."""


def _rebuild(kind: type[GuestMemoryError], message: str, state: dict[str, object]) -> GuestMemoryError:
    error = kind.__new__(kind, message)
    error.__dict__.update(state)
    return error
