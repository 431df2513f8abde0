"""The library of templates: kept between runs, bounded, and worth nothing where somebody else wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.pixelcpu import template_library
from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.sealed import SealedFolder
from bridge.pixelcpu.template_library import TemplateLibrary
from bridge.pixelcpu.templates import Outline, Template, outline_of, template_of


def one(first: int = 3, second: int = 5, width: int = 64) -> tuple[Outline, Template]:
    text = f"shl.{width} r4, r4, {first}\nshl.{width} r4, r4, {second}"
    outline = outline_of(assemble(text).instructions)
    template = template_of(outline, assemble(f"shl.{width}! r4, r4, {first + second}").instructions)
    assert template is not None
    return outline, template


def library(folder: Path) -> TemplateLibrary:
    return TemplateLibrary(folder / "templates", folder / "key")


def test_what_was_kept_is_found_by_the_cluster(tmp_path: Path) -> None:
    outline, template = one()
    assert library(tmp_path).find(outline) is None
    library(tmp_path).keep(outline, template)
    other, _ = one(7, 9)
    assert library(tmp_path).find(other) == template
    assert library(tmp_path).find(one(width=32)[0]) is None
    (file,) = (tmp_path / "templates").glob("*.json")
    assert file.stem == outline.name
    assert file.stat().st_mode & 0o777 == 0o600


def changed(content: dict[str, Any], what: str, value: Any) -> dict[str, Any]:
    return {**content, "parts": [{**content["parts"][0], what: value}]}


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("opcode", 0),
        ("opcode", 4.0),
        ("opcode", True),
        ("opcode", "4"),
        ("opcode", []),
        ("d", 32),
        ("b", -1),
        ("a", None),
        ("formulas", 7),
        ("formulas", [["no such thing", 0, 0]]),
        ("formulas", [["same", 0]]),
        ("formulas", [["same", 1 << 70, 0]]),
        ("formulas", [["same", 0, 1e300]]),
        ("formulas", [[["same"], 0, 0]]),
    ],
)
def test_what_cannot_be_is_forgotten_even_with_a_seal(tmp_path: Path, what: str, value: Any) -> None:
    outline, template = one()
    library(tmp_path).keep(outline, template)
    folder, name = SealedFolder(tmp_path / "templates", tmp_path / "key"), f"{outline.name}.json"
    content, sealed = folder.read(name)
    assert sealed
    folder.write(name, changed(content, what, value))
    assert library(tmp_path).find(outline) is None
    assert not (tmp_path / "templates" / name).exists()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"version": 1},
        {"version": 0, "parts": []},
        {"version": 1, "parts": {}},
        {"version": 1, "parts": [7]},
        {"version": 1, "parts": [{}] * 1000},
    ],
)
def test_what_is_no_template_is_forgotten(tmp_path: Path, content: dict[str, Any]) -> None:
    outline, _ = one()
    SealedFolder(tmp_path / "templates", tmp_path / "key").write(f"{outline.name}.json", content)
    assert library(tmp_path).find(outline) is None
    assert list((tmp_path / "templates").iterdir()) == []


def test_without_the_seal_it_is_forgotten(tmp_path: Path) -> None:
    outline, template = one()
    library(tmp_path).keep(outline, template)
    (file,) = (tmp_path / "templates").glob("*.json")
    content = json.loads(file.read_text())
    content["parts"][0]["sets_flags"] = False
    file.write_text(json.dumps(content))
    assert library(tmp_path).find(outline) is None
    assert not file.exists()


def test_the_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_library, "MOST_ENTRIES", 2)
    for width in (8, 16, 32):
        library(tmp_path).keep(*one(width=width))
    assert len(list((tmp_path / "templates").glob("*.json"))) == 2
    assert library(tmp_path).find(one(width=32)[0]) == one(width=32)[1]
