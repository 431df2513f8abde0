"""What the list of highlights remembers of the person before it; nothing that undo covers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class HighlightsUi:
    """Belongs to the main thread."""

    renaming: tuple[str, str, str] | None = None
    """The view on whose card a name is being typed, and machine and name of the highlight that has it now."""
    text: str = ""
    focus: bool = False
    """Take the keyboard in the next frame."""
    picked: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The colour in the open picker, sRGB."""
    folded: dict[str, bool] = field(default_factory=dict)
    """Whether the card is folded into a button, by view; of the others the first one's alone is open."""
