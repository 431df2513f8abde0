"""Views file: which views are open, which are linked, and where volumes were put, kept between runs."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.layout import VOLUME
from app.settings import MAX_FILE_BYTES, write_atomically

if TYPE_CHECKING:
    from app.stage import Stage
    from render.arrangement import Point

FILE = "views.json"
MAX_PLACES = 64
"""Of the machines that were put somewhere last; others find their own place again."""
MAX_NAME = 200
FARTHEST = 1 << 20

logger = logging.getLogger("window")


class BadViews(ValueError):
    """A views file holds something that cannot be meant; the message says what."""


@dataclass(frozen=True, slots=True)
class Views:
    """What is kept."""

    names: tuple[str, ...] = (VOLUME,)
    linked: frozenset[str] = frozenset()
    active: str = VOLUME
    places: Mapping[str, Point] = field(default_factory=dict)


def views_of(stage: Stage) -> Views:
    """Return what there is now."""
    places = dict(list(stage.places.items())[-MAX_PLACES:])
    linked = frozenset(pane.name for pane in stage.panes if pane.linked)
    return Views(tuple(pane.name for pane in stage.panes), linked, stage.active.name, places)


def restore(stage: Stage, views: Views) -> None:
    """Open and link the views, and remember the places. For a stage with its first view only."""
    stage.places.update(views.places)
    for name in views.names[1:]:
        stage.open_pane(name)
    for name in views.names:
        stage.pane(name).linked = name in views.linked
    stage.activate(views.active)


def load_views(folder: Path, known: tuple[str, ...]) -> Views:
    """Return what was kept in `folder`; `known`: what views can be called.

    A file that cannot be understood costs the arrangement, no more: it is logged and left.
    """
    path = folder / FILE
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadViews(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
        return views_from_json(json.loads(data), known)
    except FileNotFoundError:
        return Views()
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("the saved views in %s could not be used: %s", path, error)
        return Views()


def save_views(folder: Path, views: Views) -> None:
    """Write them, atomically. Raises OSError."""
    document = {
        "views": list(views.names),
        "linked": sorted(views.linked),
        "active": views.active,
        "places": {name: list(place) for name, place in views.places.items()},
    }
    write_atomically(folder / FILE, json.dumps(document, indent=2) + "\n")


def views_from_json(document: object, known: tuple[str, ...]) -> Views:
    """Return the views in a parsed JSON document. Raises BadViews."""
    if not isinstance(document, Mapping):
        raise BadViews("it does not hold one JSON object")
    names = _names(document.get("views", [VOLUME]), known)
    if not names or names[0] != VOLUME or len(set(names)) != len(names):
        raise BadViews(f"“views” must begin with {VOLUME} and name each once")
    linked = _names(document.get("linked", []), names)
    if len(set(linked)) == 1:
        raise BadViews("a view cannot be linked with none")
    active = document.get("active", VOLUME)
    if active not in names:
        raise BadViews(f"“active” cannot be {json.dumps(active)[:60]}")
    places = document.get("places", {})
    if not isinstance(places, Mapping) or len(places) > MAX_PLACES:
        raise BadViews(f"“places” is no object of up to {MAX_PLACES} entries")
    return Views(names, frozenset(linked), active, {_name(name): _point(value) for name, value in places.items()})


def _names(value: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(value, list) or any(name not in known for name in value):
        raise BadViews(f"{json.dumps(value)[:60]} is no list of {', '.join(known)}")
    return tuple(value)


def _name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise BadViews("a machine's name is empty or too long")
    return name


def _point(value: Any) -> Point:
    numbers = value if isinstance(value, list) and len(value) == 3 else ()
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise BadViews(f"{json.dumps(value)[:60]} is no place")
    x, y, z = (float(n) if abs(n) <= FARTHEST else math.nan for n in numbers)
    if math.isnan(x + y + z):
        raise BadViews(f"{json.dumps(value)[:60]} lies too far away")
    return x, y, z
