"""Look settings: how a view shows its bytes, as the settings keep it, and the other way round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.kernel_channels import CHANNEL_TRANSFERS
from app.settings import Settings
from app.trace_channels import TRACE_TRANSFERS
from render.content import Kind
from render.look import Look
from render.palettes import is_palette
from render.transfer import EVERYTHING, Transfer
from render.view import VolumeView


def look_from_settings(settings: Settings, view: VolumeView) -> Look:
    """Return how `view` should show bytes. A channel that it has not, or not yet, gives way to the content."""
    channel = settings.channel if settings.channel in view.channels() else "content"
    palette, transfer = kept_of(settings, channel)
    return Look(
        mode=settings.mode,
        channel=channel,
        palette=palette,
        transfer=transfer,
        opacity=settings.opacity,
        hidden_kinds=frozenset(Kind[name.upper()] for name in settings.hidden_kinds),
        pyramid=settings.pyramid,
        dim=settings.dim,
    )


def settings_with_look(settings: Settings, look: Look) -> Settings:
    """Return settings that tell of `look`: the other way round, for when another view becomes the active one."""
    return replace(settings, **settings_of(settings, look))


def settings_of(settings: Settings, look: Look) -> dict[str, Any]:
    """Return what changes in the settings when they are to tell of `look`."""
    palettes = {**settings.palettes, look.channel: look.palette}
    transfers = {**settings.transfers, look.channel: look.transfer.points}
    return {
        "mode": look.mode,
        "channel": look.channel,
        "palettes": {channel: palette for channel, palette in palettes.items() if palette},
        "transfers": {channel: points for channel, points in transfers.items() if points != EVERYTHING.points},
        "opacity": look.opacity,
        "hidden_kinds": tuple(kind.name.lower() for kind in Kind if kind in look.hidden_kinds),
        "pyramid": look.pyramid,
        "dim": look.dim,
    }


def kept_of(settings: Settings, channel: str) -> tuple[str, Transfer]:
    """Return the palette and the transfer function that a channel had last."""
    palette = settings.palettes.get(channel, "")
    points = settings.transfers.get(channel)
    usual = {**CHANNEL_TRANSFERS, **TRACE_TRANSFERS}.get(channel, EVERYTHING)
    return palette if is_palette(palette) else "", usual if points is None else Transfer(points)
