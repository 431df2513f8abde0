"""Scene: the picture that interfaces may look at and change: highlights, the camera, and what it all looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class SceneError(Exception):
    """The picture cannot be changed or taken so; the message says why."""


class NoSuchHighlight(SceneError):
    """There is no highlight of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no highlight {name[:80]!r}.")


@dataclass(frozen=True, slots=True)
class Highlight:
    """A set of pages that glows in the volume under a name."""

    name: str
    machine: str
    colour: str
    """`#rrggbb`."""
    visible: bool
    pages: int | None
    """How many; None until they are known."""
    query: str
    """What it was asked for by; empty for pages that were named themselves."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the volume is looked at from: an orbit around a point of the world."""

    target: tuple[float, float, float]
    azimuth_degrees: float
    elevation_degrees: float
    distance: float


class Scene(Protocol):
    """Methods may be called from several threads. All raise SceneError."""

    def highlights(self) -> tuple[Highlight, ...]:
        """All, in the order of the legend."""

    def add(self, machine: str, query: str, *, name: str | None, colour: str | None) -> Highlight:
        """Light up the answer to a query."""

    def change(self, name: str, *, visible: bool | None, colour: str | None, new_name: str | None) -> Highlight:
        """Show or hide, recolour or rename one. Raises NoSuchHighlight."""

    def remove(self, name: str) -> None:
        """Let one go out. Raises NoSuchHighlight."""

    def camera(self) -> Camera:
        """Where it is now."""

    def look_from(self, changes: dict[str, Any]) -> Camera:
        """Move it: some of Camera's members."""

    def shot(self, machine: str | None, size: tuple[int, int]) -> bytes:
        """A PNG of the volume as it is shown."""
