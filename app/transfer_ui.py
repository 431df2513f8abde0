"""What the transfer function's panel remembers of the person before it; nothing that undo covers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TransferUi:
    """Belongs to the main thread."""

    channel: str = ""
    """Whose transfer function was shown last."""
    selected: int | None = None
    """The point that the keys are about."""
    grabbed: tuple[float, float] | None = None
    """How far from the dragged point the pointer took it, in logical pixels; None while none is dragged."""
    changed: bool = False
    """Whether the drag has moved its point yet."""
    stepped: tuple[int, float] = (-1, 0.0)
    """The point that the arrows moved last, and when: a run of steps is one undo."""
    name: str = ""
    """What is typed as the name to save under."""
    naming: bool = False
    """The field for the name has just been opened."""
