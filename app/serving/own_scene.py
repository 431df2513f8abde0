"""Own scene: highlights and a camera without a window; a picture is drawn off-screen when it is asked for."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bridge.memory.ram import GuestRam
from bridge.semantic.access import Access
from bridge.semantic.asking import Asking
from bridge.semantic.scene import Camera, Highlight, NoSuchHighlight, SceneError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_HIGHLIGHTS = 64
_COLOURS = ("#f0944d", "#3fb68b", "#c47af0", "#e3567a", "#3da5d9", "#a8b820", "#e07ad0", "#2fb5b5")


@dataclass(frozen=True, slots=True)
class _Lit:
    highlight: Highlight
    pages: npt.NDArray[np.uint32]


class OwnScene:
    """See Scene. Its highlights show what a question found when it was asked."""

    def __init__(self, access: Access, asking: Asking) -> None:
        self._access, self._asking = access, asking
        self._lit: dict[str, _Lit] = {}
        self._camera: Camera | None = None  # None: all is seen
        self._lock = threading.Lock()
        self._drawing = threading.Lock()

    def highlights(self) -> tuple[Highlight, ...]:
        """All, the oldest first."""
        with self._lock:
            return tuple(one.highlight for one in self._lit.values())

    def add(self, machine: str, query: str, *, name: str | None, colour: str | None) -> Highlight:
        """Light up the answer to a query, as it is now. Raises as Asking does, and SceneError."""
        result = self._asking.reply(machine, query).result
        with self._lock:
            if len(self._lit) >= MOST_HIGHLIGHTS:
                raise SceneError(f"There are {MOST_HIGHLIGHTS} highlights already: remove some.")
            wanted = name or str(result.query).removeprefix("show ")[:60]
            made_name, count = wanted, 1
            while made_name in self._lit:
                count += 1
                made_name = f"{wanted} {count}"
            used = {one.highlight.colour for one in self._lit.values()}
            free = next((one for one in _COLOURS if one not in used), _COLOURS[len(self._lit) % len(_COLOURS)])
            made = Highlight(made_name, machine, colour or free, True, len(result.pages), str(result.query))
            self._lit[made_name] = _Lit(made, result.pages)
            return made

    def change(self, name: str, *, visible: bool | None, colour: str | None, new_name: str | None) -> Highlight:
        """Show or hide, recolour or rename one."""
        with self._lock:
            before = self._lit.get(name)
            if before is None:
                raise NoSuchHighlight(name)
            if new_name is not None and new_name != name and new_name in self._lit:
                raise SceneError(f"There is a highlight {new_name[:80]!r} already.")
            old = before.highlight
            shown = old.visible if visible is None else visible
            made = replace(old, visible=shown, colour=colour or old.colour, name=new_name or name)
            changed = _Lit(made, before.pages)
            self._lit = {one.highlight.name: one for one in (changed if k == name else v for k, v in self._lit.items())}
            return made

    def remove(self, name: str) -> None:
        """Let one go out."""
        with self._lock:
            if self._lit.pop(name, None) is None:
                raise NoSuchHighlight(name)

    def camera(self) -> Camera:
        """Where it is now; before anything was drawn, where a picture of 64 MiB would be taken from."""
        with self._lock:
            return self._camera or Camera((128.0, 128.0, 128.0), 30.0, 20.0, 900.0)

    def look_from(self, changes: dict[str, Any]) -> Camera:
        """Move it."""
        at = replace(self.camera(), **changes)
        with self._lock:
            self._camera = at
        return at

    def shot(self, machine: str | None, size: tuple[int, int]) -> bytes:
        """A PNG of a machine's volume with its highlights. Takes seconds; one is drawn at a time."""
        names = self._access.names()
        if machine is None:
            if len(names) != 1:
                raise SceneError(f"Name a machine: there are {', '.join(names) or 'none'}.")
            machine = names[0]
        with self._lock:
            shown = [one for one in self._lit.values() if one.highlight.machine == machine and one.highlight.visible]
            camera = self._camera
        from app.serving.picture import draw

        sighting = self._access.sighting(machine)
        with self._access.ram(machine) as shared:
            ram = GuestRam.open(shared.path, shared.physical_map)  # others may ask while it is drawn
        lit = [(one.highlight, one.pages) for one in shown]
        try:
            with self._drawing:
                picture, used = draw(machine, ram, size, sighting, lit, camera)
        finally:
            ram.close()
        with self._lock:
            self._camera = self._camera or used
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(picture[..., :3]).save(stream, format="PNG")
        return stream.getvalue()
