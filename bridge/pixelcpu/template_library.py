"""The library of templates: a sealed JSON file for each cluster, named by its outline's hash, kept between runs.

A file without this user's seal, or that says what cannot be, is forgotten. What is left is a hint still: all that comes
of it is proved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.pixelcpu.isa import BY_OPCODE, N_REGISTERS
from bridge.pixelcpu.sealed import BadEntry, SealedFolder
from bridge.pixelcpu.templates import FORMULAS, MOST_INSTRUCTIONS, Formula, Outline, Part, Template

VERSION = 1
MOST_ENTRIES = 4096
_MOST_FORMULAS = 16
_WORD = 1 << 64


class TemplateLibrary:
    """The templates of one folder, which is made when the first is kept. The latest 4,096 are."""

    def __init__(self, folder: Path, key_file: Path) -> None:
        """`key_file`: of the seal; a `Library` may have the same one."""
        self._files = SealedFolder(folder, key_file)

    def find(self, outline: Outline, /) -> Template | None:
        """That of its cluster; None where there is none that can be relied on."""
        name, template = f"{outline.name}.json", None
        try:
            content, sealed = self._files.read(name)
            if sealed:
                template = _template(content, name)
        except FileNotFoundError:
            return None
        except BadEntry:
            pass
        if template is None:
            self._files.forget(name)
        return template

    def keep(self, outline: Outline, template: Template) -> None:
        """Write what was found for a cluster, whole or not at all; the oldest makes room. Raises OSError."""
        files = self._files.files()
        if len(files) >= MOST_ENTRIES:
            with contextlib.suppress(OSError):
                self._files.forget(min(files, key=lambda file: file.stat().st_mtime_ns).name)
        parts = [
            {**asdict(part), "formulas": ways} for part, ways in zip(template.parts, template.formulas, strict=True)
        ]
        self._files.write(f"{outline.name}.json", {"version": VERSION, "parts": parts})


def _template(content: Mapping[str, Any], name: str) -> Template:
    """Raises BadEntry."""
    try:
        if content["version"] != VERSION:
            raise BadEntry(f"{name} is of another version.")
        parts = content["parts"]
        if not isinstance(parts, list) or len(parts) > MOST_INSTRUCTIONS:
            raise BadEntry(f"{name} has no parts, or too many.")
        return Template(
            tuple(
                Part(
                    _among(one["opcode"], BY_OPCODE),
                    bool(one["sets_flags"]),
                    *(_among(one[field], range(N_REGISTERS)) for field in "dba"),
                )
                for one in parts
            ),
            tuple(tuple(_formula(*way) for way in one["formulas"][:_MOST_FORMULAS]) for one in parts),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadEntry(f"{name} is no template: {error}.") from error


def _formula(made: Any, one: Any, other: Any) -> Formula:
    return _among(made, FORMULAS), _among(one, range(-_WORD, _WORD)), _among(other, range(MOST_INSTRUCTIONS))


def _among(value: Any, known: Any) -> Any:
    if type(value) not in (int, str) or value not in known:
        raise ValueError(f"{value!r} is not among what there is")
    return value
