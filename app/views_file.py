"""Views file: which views are open, which are linked, and where volumes were put, kept between runs."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.layout import VOLUME
from app.settings import MAX_FILE_BYTES, Settings, settings_from_json, write_atomically
from bridge.machine.plain_files import open_plain

if TYPE_CHECKING:
    from app.stage import Stage
    from render.arrangement import Point
    from render.look import Look
    from render.view import VolumeView

FILE = "views.json"
MAX_PLACES = 64
"""Of the machines that were put somewhere last; others find their own place again."""
MAX_NAME = 200
FARTHEST = 1 << 20
LOOK_KEYS = ("mode", "channel", "palettes", "transfers", "opacity", "hidden_kinds", "pyramid", "dim")
"""Of the settings: what makes up a look."""

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
    looks: Mapping[str, Settings] = field(default_factory=dict)  # how each view shows bytes, as settings tell of it


def views_of(stage: Stage, settings_of: Callable[[Look], Settings]) -> Views:
    """Return what there is now; `settings_of`: default settings that tell of a look."""
    places = dict(list(stage.places.kept.items())[-MAX_PLACES:])
    linked = frozenset(pane.name for pane in stage.panes if pane.linked)
    return Views(
        tuple(pane.name for pane in stage.panes),
        linked,
        stage.active.name,
        places,
        {pane.name: settings_of(pane.view.look) for pane in stage.panes},
    )


def restore(stage: Stage, views: Views, look_from: Callable[[Settings, VolumeView], Look]) -> None:
    """Open and link the views, with their looks, and remember the places. For a stage with its first view only."""
    stage.places.kept.update(views.places)
    for name in views.names[1:]:
        stage.panes.open(name)
    for name, settings in views.looks.items():
        view = stage.panes.named(name).view
        view.look = look_from(settings, view)
    for name in views.names:
        stage.panes.named(name).linked = name in views.linked
    stage.panes.activate(views.active)


def load_views(folder: Path, known: tuple[str, ...]) -> Views:
    """Return what was kept in `folder`; `known`: what views can be called.

    A file that cannot be understood costs the arrangement, no more: it is logged and left.
    """
    path = folder / FILE
    try:
        with open_plain(path) as stream:
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
        "looks": {name: {key: asdict(settings)[key] for key in LOOK_KEYS} for name, settings in views.looks.items()},
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
    looks = document.get("looks", {})
    if not isinstance(looks, Mapping) or any(name not in names for name in looks):
        raise BadViews("“looks” is no object with a look a view")
    return Views(
        names,
        frozenset(linked),
        active,
        {_name(name): _point(value) for name, value in places.items()},
        {name: _look(value) for name, value in looks.items()},
    )


def _look(value: Any) -> Settings:
    if not isinstance(value, Mapping):
        raise BadViews(f"{json.dumps(value)[:60]} is no look")
    return settings_from_json({key: value[key] for key in LOOK_KEYS if key in value})


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
