"""What can go wrong with a machine: each error says what was tried, what was found, and what to do."""

from __future__ import annotations

import signal
from pathlib import Path


class MachineError(Exception):
    """A machine could not do what it was asked to. The message is for people."""


class NoSuchMachine(MachineError):
    """No machine runs under this name."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        there = f"There are: {', '.join(known)}." if known else "No machine is running."
        super().__init__(f"No machine is called '{name}'. {there}")
        self.name = name
        self.known = known


class NameTaken(MachineError):
    """A machine of this name runs already."""

    def __init__(self, name: str, detail: str = "is running already") -> None:
        super().__init__(f"A machine called '{name}' {detail}. Stop it, or choose another name.")
        self.name = name


class NameInvalid(MachineError):
    """A name that cannot be a machine's."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:64]!r} cannot be a machine's name. Use 1 to 32 lower-case letters, digits, '.', '_' and '-', "
            f"beginning with a letter or digit."
        )
        self.name = name


class MachineOwned(MachineError):
    """Another living Glassbox owns the machine."""

    def __init__(self, name: str, owner_pid: int) -> None:
        super().__init__(
            f"'{name}' belongs to the Glassbox with process id {owner_pid}. Use it there, or close that one first; "
            f"stop, pause and read work from anywhere."
        )
        self.name = name
        self.owner_pid = owner_pid


class RamSizeInvalid(MachineError):
    """A RAM size that the guest cannot have."""

    def __init__(self, guest: str, ram_bytes: int, min_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"{guest} cannot have {ram_bytes:,} bytes of RAM. Choose whole MiB from {min_bytes >> 20:,} to "
            f"{max_bytes >> 20:,} MiB."
        )
        self.ram_bytes = ram_bytes
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes


class QemuMissing(MachineError):
    """No QEMU was found, or what was found is none."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found} Run ./glassbox doctor to see what is missing; on Debian and Ubuntu: apt install qemu-system-x86."
        )
        self.found = found


class QemuFailed(MachineError):
    """QEMU ended when it should not have. `exit_code` is negative for a signal, None when it is not known."""

    def __init__(self, doing: str, exit_code: int | None, last_lines: tuple[str, ...]) -> None:
        said = "It said: " + " / ".join(last_lines) if last_lines else "It said nothing."
        super().__init__(f"QEMU {describe_exit(exit_code)} {doing}. {said}")
        self.exit_code = exit_code
        self.last_lines = last_lines


class SharedMemoryMissing(MachineError):
    """A QEMU whose RAM cannot be looked into, since it is not shared with other processes."""

    def __init__(self, found: str, ram_bytes: int | None = None) -> None:
        size = f"{ram_bytes >> 20}M" if ram_bytes else "SIZE"
        self.options = (
            f"-object memory-backend-file,id=ram,size={size},mem-path=/dev/shm/NAME,share=on",
            "-machine memory-backend=ram",
        )
        super().__init__(
            f"This QEMU does not share its guest's RAM: {found}. Start it with these two options added: "
            f"{self.options[0]} and {self.options[1]}"
        )
        self.found = found


class ShmFull(MachineError):
    """Too little room for the guest's RAM."""

    def __init__(self, need_bytes: int, free_bytes: int, path: Path) -> None:
        super().__init__(
            f"The guest needs {need_bytes >> 20:,} MiB in {path}, and {free_bytes >> 20:,} MiB are free. Give it less "
            f"RAM, stop another machine, or make room: mount -o remount,size=SIZE {path} (in a container: --shm-size)."
        )
        self.need_bytes = need_bytes
        self.free_bytes = free_bytes
        self.path = path


class SocketTaken(MachineError):
    """A QMP socket that does not answer, since it serves another client or QEMU hangs."""

    def __init__(self, path: Path, waited_s: float) -> None:
        super().__init__(
            f"{path} accepted the connection but said nothing within {waited_s:.0f} s. QEMU serves one client a "
            f"socket: close the other one, give this QEMU a second -qmp socket, or see whether it hangs."
        )
        self.path = path


class NotQmp(MachineError):
    """Something that is no QMP socket, or no socket at all."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"{path} is no QMP socket that can be used: {found}.")
        self.path = path
        self.found = found


class QmpTimeout(MachineError):
    """QEMU did not answer a command in time."""

    def __init__(self, machine: str, command: str, timeout_s: float) -> None:
        super().__init__(
            f"{machine}: QEMU did not answer '{command}' within {timeout_s:g} s. It is busy or hangs; try again, or "
            f"stop the machine."
        )
        self.command = command
        self.timeout_s = timeout_s


class QmpCommandFailed(MachineError):
    """QEMU refused a command; `error_class` and `reason` are its own words."""

    def __init__(self, machine: str, command: str, error_class: str, reason: str) -> None:
        super().__init__(f"{machine}: QEMU refused '{command}': {reason}")
        self.command = command
        self.error_class = error_class
        self.reason = reason


class MachineGone(MachineError):
    """The machine has ended, or its QEMU can no longer be talked to."""

    def __init__(self, name: str, detail: str = "has ended") -> None:
        super().__init__(f"The machine '{name}' {detail}.")
        self.name = name


class MachineNotOurs(MachineError):
    """What only the one who started a machine may do to it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' was started by someone else and is only attached. Detach it, or end it there.")
        self.name = name


class LaunchCancelled(MachineError):
    """The launch was given up because the caller asked for that."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The start of '{name}' was cancelled.")
        self.name = name


class WrongThread(MachineError):
    """A blocking call on the thread that would have to answer it."""

    def __init__(self) -> None:
        super().__init__(
            "A blocking machine call was made from an event callback, which runs on the thread that would answer it. "
            "Hand the work to another thread."
        )


class NoDirectory(OSError):
    """A folder of Glassbox's own is not there and cannot be made."""

    def __init__(self, path: Path, error: OSError, variable: str) -> None:
        super().__init__(error.errno, error.strerror, str(path))
        self.variable = variable

    def __str__(self) -> str:
        return (
            f"The folder {self.filename} cannot be made: {self.strerror}. Make the folder it is in writable for you, "
            f"or let {self.variable} name another."
        )


class UnsafeDirectory(MachineError):
    """A directory that must be private is not: it is a link, or another user's, or cannot be made."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"The directory {path} must be one of your own with mode 0700, but {found}. "
            f"Remove it, or let XDG_RUNTIME_DIR (what runs) or XDG_STATE_HOME (what is kept) lead elsewhere."
        )
        self.path = path
        self.found = found


def describe_exit(exit_code: int | None) -> str:
    """How a process ended, as the verb of a sentence."""
    if exit_code is None:
        return "vanished"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}"
