"""What the window is asked to do at its start: which machine to open, and how; free of GPU and imgui imports."""

from dataclasses import dataclass
from pathlib import Path

from bridge.machine.guest import Guest

DEFAULT_SIZE = (1440, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOptions:
    """The start of a window. At most one of `guest_name`, `guest` and `attach` is set; none means: no machine yet."""

    guest_name: str | None = None
    """A guest of the catalogue, assembled and launched in the background."""
    guest: Guest | None = None
    """A guest of the user's own, already described."""
    machine_name: str | None = None
    ram_bytes: int | None = None
    cold: bool = False
    network: bool = False
    dumps: tuple[Path, ...] = ()
    """RAM dumps to look at like paused machines, beside what else is opened."""
    session: Path | None = None
    """A saved session to open; nothing is started for it."""
    attach: Path | None = None
    """QMP socket of a QEMU that someone else started."""
    size: tuple[int, int] = DEFAULT_SIZE
    """Logical size of the window in pixels …"""
    size_is_asked: bool = False
    """… that the user asked for, whatever was kept from the last run."""
    tour: bool = True
    """Greet with the slow quarter turn and the hints."""

    def first_size(self, kept: tuple[int, int]) -> tuple[int, int]:
        """The size that the window opens with, where the last one had `kept`; 0, 0: that is not known."""
        return self.size if self.size_is_asked or 0 in kept else kept
