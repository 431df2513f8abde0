"""Window scene: the picture of the running window, looked at and changed by its actions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.control import SOCKET_NAME, ControlError, is_listening, send_action
from bridge.machine.directories import runtime_dir
from bridge.semantic.scene import Camera, Highlight, NoSuchHighlight, SceneError

_LIMIT_S = 30.0
MAX_PICTURE_BYTES = 64 << 20


def window_listens() -> bool:
    """Whether this user has a window open."""
    return is_listening(runtime_dir() / SOCKET_NAME)


class WindowScene:
    """See Scene. The window may end at any time, and another take its place."""

    def highlights(self) -> tuple[Highlight, ...]:
        """All, in the order of the legend."""
        return tuple(_highlight(one) for one in _do("highlight.list"))

    def add(self, machine: str, query: str, *, name: str | None, colour: str | None) -> Highlight:
        """Light up the answer to a query."""
        args = {"text": query, "machine": machine, "name": name, "colour": colour}
        return _highlight(_do("query.highlight", {key: value for key, value in args.items() if value is not None}))

    def change(self, name: str, *, visible: bool | None, colour: str | None, new_name: str | None) -> Highlight:
        """Show or hide, recolour or rename one."""
        self._named(name)
        if visible is not None:
            _do("highlight.toggle", {"name": name, "shown": visible})
        if colour is not None:
            _do("highlight.recolour", {"name": name, "colour": colour})
        if new_name is not None:
            name = str(_do("highlight.rename", {"name": name, "to": new_name}))
        return self._named(name)

    def remove(self, name: str) -> None:
        """Let one go out."""
        self._named(name)
        _do("highlight.remove", {"name": name})

    def camera(self) -> Camera:
        """Where it is now."""
        return self.look_from({})

    def look_from(self, changes: dict[str, Any]) -> Camera:
        """Move it."""
        names = {"azimuth_degrees": "azimuth", "elevation_degrees": "elevation", "distance": "distance"}
        args = {short: changes[name] for name, short in names.items() if name in changes}
        if "target" in changes:
            args |= dict(zip(("x", "y", "z"), changes["target"], strict=True))
        now = _do("view.camera", args)
        x, y, z = now["target"]
        return Camera((x, y, z), now["azimuth_degrees"], now["elevation_degrees"], now["distance"])

    def shot(self, machine: str | None, size: tuple[int, int]) -> bytes:
        """A PNG of the volume as it is shown."""
        with tempfile.TemporaryDirectory(dir=runtime_dir(), prefix="shot-") as folder:
            path = Path(folder) / "volume.png"
            args: dict[str, Any] = {"path": str(path), "width": size[0], "height": size[1]}
            _do("view.picture", args if machine is None else {**args, "machine": machine})
            with path.open("rb") as file:
                return file.read(MAX_PICTURE_BYTES)

    def _named(self, name: str) -> Highlight:
        found = next((one for one in self.highlights() if one.name == name), None)
        if found is None:
            raise NoSuchHighlight(name)
        return found


def _do(action: str, args: Mapping[str, Any] | None = None) -> Any:
    try:
        reply = send_action(action, args or {}, timeout_s=_LIMIT_S)
    except ControlError as error:
        raise SceneError(str(error)) from None
    if not reply.get("ok"):
        raise SceneError(str(reply.get("error", "The window gave no reason.")))
    return reply.get("result")


def _highlight(told: Any) -> Highlight:
    pages = told.get("pages")
    return Highlight(told["name"], told["machine"], told["colour"], told["visible"], pages, told.get("query", ""))
