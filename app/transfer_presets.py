"""Transfer functions by name: the built-in ones, and the user's own, kept in one file of the config directory.

A file that cannot be understood never stops the program: it is set aside, and the caller gets a sentence to show.
"""

from __future__ import annotations

import json
from pathlib import Path

from app.actions import BadArguments
from app.settings import MAX_NAME, BadSettings, read_bounded, set_aside, write_atomically
from render.errors import BadTransfer
from render.transfer import TRANSFERS, Transfer

FILE = "transfers.json"
MAX_PRESETS = 200


class TransferPresets:
    """The presets that there are. Belongs to the main thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.own: dict[str, Transfer] = {}
        """The user's, in the order of their names."""

    def load(self) -> str | None:
        """Read the user's presets; returns a sentence when the file had to be given up."""
        try:
            self.own = _presets_from_json(json.loads(read_bounded(self._path)))
        except FileNotFoundError:
            self.own = {}
        except (OSError, ValueError, RecursionError) as error:
            self.own = {}
            return set_aside(self._path, "saved transfer functions", error, "The built-in ones are there")
        return None

    def names(self) -> tuple[str, ...]:
        """All names, the built-in ones first."""
        return (*TRANSFERS, *self.own)

    def get(self, name: str) -> Transfer:
        """Raises KeyError."""
        return TRANSFERS[name] if name in TRANSFERS else self.own[name]

    def name_of(self, transfer: Transfer) -> str | None:
        """What a transfer function is called, if it has a name."""
        return next((name for name in self.names() if self.get(name) == transfer), None)

    def save(self, name: str, transfer: Transfer) -> str:
        """Keep a transfer function under a name, which may replace one of the user's; returns the name as kept.

        Raises BadArguments, OSError.
        """
        name = " ".join(name.split())
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise BadArguments(f"name: it has 1 to {MAX_NAME} characters that can be printed")
        if name.lower() in (known.lower() for known in TRANSFERS):
            raise BadArguments(f"name: “{name}” is a built-in one; choose another name")
        own = {**self.own, name: transfer}
        if len(own) > MAX_PRESETS:
            raise BadArguments(f"there are {MAX_PRESETS} of your own already; delete one first")
        self._write(own)
        return name

    def delete(self, name: str) -> None:
        """Forget one of the user's. Raises BadArguments, OSError."""
        if name not in self.own:
            reason = "is a built-in one" if name in TRANSFERS else "is none of yours"
            raise BadArguments(f"name: “{name[:MAX_NAME]}” {reason}")
        self._write({known: transfer for known, transfer in self.own.items() if known != name})

    def _write(self, own: dict[str, Transfer]) -> None:
        own = dict(sorted(own.items(), key=lambda item: item[0].lower()))
        document = {name: [list(point) for point in transfer.points] for name, transfer in own.items()}
        write_atomically(self._path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        self.own = own


def _presets_from_json(document: object) -> dict[str, Transfer]:
    """Raises BadSettings that says which preset is wrong, and how."""
    if not isinstance(document, dict):
        raise BadSettings("it does not hold one JSON object")
    if len(document) > MAX_PRESETS:
        raise BadSettings(f"it holds {len(document):,} presets; {MAX_PRESETS} is the most")
    presets: dict[str, Transfer] = {}
    for name, points in document.items():
        if not 0 < len(name) <= MAX_NAME or name in TRANSFERS:
            raise BadSettings(f"“{name[:40]}” cannot be a preset's name")
        try:
            presets[name] = Transfer(tuple((float(scalar), float(opacity)) for scalar, opacity in points))
        except BadTransfer as error:
            raise BadSettings(f"“{name[:40]}”: {str(error).rstrip('.')}") from None
        except (TypeError, ValueError, OverflowError):
            raise BadSettings(f"“{name[:40]}” is not a list of pairs of numbers") from None
    return presets
