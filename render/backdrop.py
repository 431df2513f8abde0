"""The colours around the volume, for a dark and for a light window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Background:
    """The colours around the volume; "#rrggbb" each."""

    top: str
    bottom: str
    middle: str
    line: str
    text: str
    selection: str
    hover: str
    flash: str
    sheet: str
    """Zero bytes on a slice plane."""
    accent: str
    """What is lit up and has no colour of its own."""
    plate: str
    """What names in the picture stand on."""
    plate_text: str
    planes: tuple[str, str, str, str]
    """The edges of the x, y, z and oblique planes."""
    light: float
    """How much of the volume's light falls on the ground."""
    shadow: float
    """How much it dims the ground around it."""


DARK = Background(
    top="#0b101d",
    bottom="#04060b",
    middle="#101a2e",
    line="#51607e",
    text="#8b98b4",
    selection="#ffd166",
    hover="#cdd7ee",
    flash="#ffe2a8",
    sheet="#172036",
    accent="#7cc4ff",
    plate="#0a0f1b",
    plate_text="#e4eaf6",
    planes=("#ff7a70", "#45d69a", "#4cb8ff", "#f2b24c"),
    light=0.22,
    shadow=0.0,
)
LIGHT = Background(
    top="#f4f6fa",
    bottom="#dfe4ec",
    middle="#ffffff",
    line="#8a95aa",
    text="#56617a",
    selection="#b4460a",
    hover="#33405c",
    flash="#ffffff",
    sheet="#f7f9fc",
    accent="#0a5fd0",
    plate="#ffffff",
    plate_text="#1c2536",
    planes=("#c32b36", "#0b7d4f", "#0a66c9", "#945600"),
    light=0.06,
    shadow=0.22,
)
BACKGROUNDS = {"dark": DARK, "light": LIGHT}
