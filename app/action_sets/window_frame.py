"""What actions need of the window itself, and what it says of all that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from app.action_sets.look import OWN
from app.action_sets.machines import describe_machine
from app.action_sets.views import describe_selection
from app.execution_ui import describe as describe_trace
from app.learning_ui import describe as describe_learning
from app.people import describe_process
from app.session import Session
from app.slicing import to_json


class Frame(Protocol):
    """What the actions need of the window itself."""

    def request_quit(self) -> None: ...
    def reset_layout(self) -> None: ...
    def toggle_fullscreen(self) -> bool: ...
    def leave_console(self) -> bool: ...
    def screenshot(self, path: Path) -> None: ...
    def resize(self, width: int, height: int) -> None: ...
    def describe(self) -> dict[str, Any]: ...


def describe_window(session: Session, frame: Frame) -> dict[str, Any]:
    """What a window shows, as JSON values: for scripts and tests."""
    state = session.state
    stats = state.frames.stats()
    return {
        **frame.describe(),
        "machines": [describe_machine(session, m.name) for m in state.manager.machines()],
        "current": state.current,
        "orphans": [r.name for r in state.orphans],
        "selection": describe_selection(session),
        "chosen": None if state.chosen is None else state.chosen.describe(),
        "hover": state.stage.paddr(state.hover) if state.hover is not None else None,
        "camera": {
            "azimuth_degrees": state.stage.camera.azimuth_degrees,
            "elevation_degrees": state.stage.camera.elevation_degrees,
            "distance": state.stage.camera.distance,
            "target": list(state.stage.camera.target),
            "flying": state.stage.view.camera.flying,
        },
        "volumes": {
            name: {"bytes": size, "uploaded_pages": state.stage.feeds[name].stats.uploaded_pages}
            for name, size in state.stage.volumes().items()
        },
        "frames": {
            "count": stats.frames,
            "fps": stats.fps,
            "work_p50_s": stats.work_p50_s,
            "work_p99_s": stats.work_p99_s,
            "interval_p50_s": stats.interval_p50_s,
            "interval_p99_s": stats.interval_p99_s,
        },
        "jobs": [
            {"number": j.number, "title": j.title, "state": j.state.value, "note": j.note, "fraction": j.fraction}
            for j in state.jobs.shown()
        ],
        "toasts": [{"level": t.level.value, "title": t.title, "detail": t.detail} for t in state.toasts.shown()],
        "overlay": state.overlay,
        "process": describe_process(state),
        "trace": describe_trace(state),
        "learning": describe_learning(state),
        "slices": {machine: to_json(slicing) for machine, slicing in state.slicings.all()},
        "search": {"open": state.search.open, "text": state.search.text},
        "settings": {
            "theme": state.settings.theme,
            "mode": state.stage.view.look.mode,
            "channel": state.stage.view.look.channel,
            "palette": state.stage.view.look.palette or OWN,
        },
        "device": state.device_label,
        "software": state.is_software,
        "touring": session.greeting.touring,
    }
