"""A folder of JSON files, each sealed by a key of this user: an HMAC over all of it, which says who wrote it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.pixelcpu.errors import PixelError

MOST_BYTES = 1 << 18
_KEY_BYTES = 32


class BadEntry(PixelError):
    """A file that is no entry of the folder, or says what cannot be."""


class SealedFolder:
    """Made when the first file is written. Whatever a file holds is data that somebody else may have written."""

    def __init__(self, folder: Path, key_file: Path) -> None:
        """`key_file`: made when it is first needed, for this user's eyes only."""
        self.folder, self._key_file = folder, key_file

    def read(self, name: str) -> tuple[dict[str, Any], bool]:
        """A file's object without its seal, and whether that is right. Raises BadEntry, FileNotFoundError."""
        file = self.folder / name
        if file.exists() and not file.is_file():
            raise BadEntry(f"{name} is no file.")
        try:
            with file.open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
            content = json.loads(data) if len(data) <= MOST_BYTES else None
            seal = content.pop("seal", None) if isinstance(content, dict) else None
            right = self._seal(content)
        except FileNotFoundError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise BadEntry(f"{name} cannot be read: {error}.") from error
        if not isinstance(content, dict):
            raise BadEntry(f"{name} is no object.")
        return content, isinstance(seal, str) and hmac.compare_digest(seal.encode("utf-8", "replace"), right.encode())

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file, sealed, and whole or not at all. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({**content, "seal": self._seal(content)}, indent=1) + "\n"
        descriptor, part = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(part).replace(self.folder / name)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def forget(self, name: str) -> None:
        """Remove a file, if it is there and can be."""
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def files(self) -> list[Path]:
        """Its JSON files, by name."""
        return sorted(self.folder.glob("*.json"))

    def _seal(self, content: Any) -> str:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        self._key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
        key = self._key_file.read_bytes()[: _KEY_BYTES + 1]
        if len(key) != _KEY_BYTES:
            self._key_file.unlink()  # cut short when it was written: what it sealed is proved again
            return self._key()
        return key
