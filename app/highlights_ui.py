"""What the list of highlights remembers of the person before it; nothing that undo covers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class HighlightsUi:
    """Belongs to the main thread."""

    renaming: tuple[str, str] | None = None
    """Machine and name of the highlight whose name is being typed."""
    text: str = ""
    focus: bool = False
    """Take the keyboard in the next frame."""
    picked: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The colour in the open picker, sRGB."""
    folded: bool = False
