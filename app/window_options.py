"""What the window is asked to do at its start: which machine to open, and how; free of GPU and imgui imports."""

from dataclasses import dataclass
from pathlib import Path

from bridge.machine.guest import Guest


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
    size: tuple[int, int] = (1440, 900)
    """Logical size of the window in pixels, where no size was kept from the last run."""
    tour: bool = True
    """Greet with the slow quarter turn and the hints."""
