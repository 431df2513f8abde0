"""A dump that is asked of, a picture that is only numbers, and questions that have one answer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.semantic.access import Access
from bridge.semantic.audit import AuditLog
from bridge.semantic.scene import Camera, Highlight, NoSuchHighlight

NAME = "guest"


class PlainScene:
    """A scene without a picture behind it: what interfaces do with one is what is tested here."""

    def __init__(self) -> None:
        self.lit: dict[str, Highlight] = {}
        self.at = Camera((0.0, 0.0, 0.0), 30.0, 20.0, 100.0)

    def highlights(self) -> tuple[Highlight, ...]:
        return tuple(self.lit.values())

    def add(self, machine: str, query: str, *, name: str | None, colour: str | None) -> Highlight:
        made = Highlight(name or query[:64], machine, colour or "#ffcc00", True, 12, query)
        self.lit[made.name] = made
        return made

    def change(self, name: str, *, visible: bool | None, colour: str | None, new_name: str | None) -> Highlight:
        if name not in self.lit:
            raise NoSuchHighlight(name)
        before = self.lit.pop(name)
        shown = before.visible if visible is None else visible
        made = replace(before, visible=shown, colour=colour or before.colour, name=new_name or before.name)
        self.lit[made.name] = made
        return made

    def remove(self, name: str) -> None:
        if self.lit.pop(name, None) is None:
            raise NoSuchHighlight(name)

    def camera(self) -> Camera:
        return self.at

    def look_from(self, changes: dict[str, Any]) -> Camera:
        self.at = replace(self.at, **changes)
        return self.at

    def shot(self, machine: str | None, size: tuple[int, int]) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + bytes(size[0] % 256)


@pytest.fixture(scope="package")
def access(demo_dump: Path) -> Iterator[Access]:
    opened = Access({NAME: demo_dump})
    yield opened
    opened.close()


@pytest.fixture
def scene() -> PlainScene:
    return PlainScene()


@pytest.fixture
def audit(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.jsonl")
