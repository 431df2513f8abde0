"""The user's own palettes: each a file in the config directory's folder `palettes`, offered by its name.

Files are looked at anew when they change. A file that is no palette is told of once, with the line that is wrong.
"""

from __future__ import annotations

from pathlib import Path

from app.settings import MAX_NAME
from render.errors import BadPalette
from render.palette_text import MOST_TEXT, colors_from_text
from render.palettes import add_palette, remove_palette

FOLDER = "palettes"
MAX_FILES = 200
MAX_BYTES = 4 * MOST_TEXT  # no text of that many characters is longer

_Stamp = tuple[int, int]


class UserPalettes:
    """Follows the folder. Belongs to the main thread."""

    def __init__(self, config: Path) -> None:
        self.folder = config / FOLDER
        self._seen: dict[str, _Stamp] = {}
        self._offered: dict[str, str] = {}  # file -> palette
        self._told: str | None = None  # what was wrong with the folder when it was looked at last

    def refresh(self) -> tuple[set[str], list[str]]:
        """Offer what the folder holds now.

        Returns the palettes that changed or are gone, and a sentence for each file that is new or changed and none.
        """
        changed: set[str] = set()
        problems: list[str] = []
        found, problem = self._files()
        if problem and problem != self._told:
            problems.append(problem)
        self._told = problem
        for name in [name for name in self._seen if name not in found]:
            changed |= self._forget(name)
        for name, stamp in found.items():
            if self._seen.get(name) == stamp:
                continue
            changed |= self._forget(name)
            self._seen[name] = stamp
            try:
                add_palette(self._offer(name), colors_from_text(_read(self.folder / name)))
            except (BadPalette, OSError) as error:
                self._offered.pop(name, None)
                problems.append(f"{self.folder / name}: {error}")
        return changed, problems

    def _files(self) -> tuple[dict[str, _Stamp], str | None]:
        """The folder's files with what tells that they changed, and what is wrong with the folder itself."""
        try:
            paths = sorted(path for path in self.folder.iterdir() if not path.name.startswith(".") and path.is_file())
            stamps = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths[:MAX_FILES]}
        except FileNotFoundError:
            return {}, None
        except OSError as error:
            return {}, f"{self.folder} could not be read: {error}"
        if len(paths) > MAX_FILES:
            return stamps, f"{self.folder} holds {len(paths):,} files; the first {MAX_FILES} by name are offered."
        return stamps, None

    def _offer(self, file: str) -> str:
        """The name of a file's palette; what another file has taken is refused."""
        name = Path(file).stem
        if not name.isprintable() or len(name) > MAX_NAME:
            raise BadPalette(f"A palette's name has at most {MAX_NAME} characters that can be printed.")
        other = next((known for known, taken in self._offered.items() if taken == name), None)
        if other is not None:
            raise BadPalette(f"{other} has the name {name!r} already.")
        self._offered[file] = name
        return name

    def _forget(self, file: str) -> set[str]:
        """Offer a file's palette no longer; returns its name, if it had one."""
        self._seen.pop(file, None)
        name = self._offered.pop(file, None)
        if name is None:
            return set()
        remove_palette(name)
        return {name}


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadPalette(f"A palette file has at most {MOST_TEXT:,} characters; this one is larger.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadPalette(f"Line {line} is not UTF-8 text.") from None
