"""Performance panel: how long frames take and how fast memory is compared and uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.layout import PERFORMANCE
from app.output import format_bytes

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(PERFORMANCE) as visible:
        if not visible:
            return
        stats = state.frame_stats
        label = ui.theme.px(34)
        with ui.bold():
            ui.text("Frames", ui.theme.text_dim)
        for name, value in (
            ("Drawing", f"{stats.work_p50_s * 1000:.1f} ms, p99 {stats.work_p99_s * 1000:.1f} ms"),
            ("Apart", f"{stats.interval_p50_s * 1000:.1f} ms, p99 {stats.interval_p99_s * 1000:.1f} ms"),
            ("Rate", f"{stats.fps:.0f} per second"),
        ):
            ui.row(name, label)
            ui.text(value)
        recent = [s * 1000 for s in state.frames.recent_work(60)]
        ui.sparkline(recent, (imgui.get_content_region_avail().x, ui.theme.px(12)), max([16.7, *recent]))
        for machine in state.manager.machines():
            feed = state.stage.feeds.get(machine.name)
            if feed is None:
                continue
            ui.gap(3)
            with ui.bold():
                ui.text(machine.name, ui.theme.text_dim)
            figures = feed.stats
            for name, value in (
                ("Compared", f"{format_bytes(figures.scan.bytes_per_s)}/s"),
                ("Written", f"{figures.scan.dirty_pages_per_s:,.0f} pages/s"),
                ("Seen within", f"{figures.scan.worst_age_s * 1000:,.0f} ms"),
                ("Waiting", f"{figures.scan.pending_pages:,} pages"),
                ("Uploaded", f"{figures.uploaded_pages:,} pages"),
                ("Upload speed", f"{format_bytes(figures.upload_bytes_per_s)}/s"),
            ):
                ui.row(name, label)
                ui.text(value)
