"""Actions on how bytes are shown: mode, channel, palette, opacity, transfer function, hidden kinds, write heat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.kernel_channels import CHANNEL_PALETTES
from app.session import Session
from app.settings import MAX_HALF_LIFE_S, MIN_HALF_LIFE_S, MIN_OPACITY
from render.content import KIND_TITLES, Kind
from render.errors import BadTransfer
from render.look import MODE_TITLES, MODES, PYRAMIDS, Mode
from render.transfer import MAX_POINTS, Transfer

LOOK = "Look"
OWN = "own"  # what the channel's own palette is called in an action

MODE_ICONS: dict[Mode, str] = {
    "solid": icons.ICON_FA_CUBE,
    "translucent": icons.ICON_FA_CLOUD,
    "mip": icons.ICON_FA_MOUNTAIN,
    "slice": icons.ICON_FA_LAYER_GROUP,
}
MODE_HELP: dict[Mode, str] = {
    "solid": "Opaque: the nearest byte that is not zero, lit so that shape shows",
    "translucent": "Light passes through: dense memory glows",
    "mip": "The highest value along each line of sight: nothing hides what stands out",
    "slice": "Only the slice planes, a pixel a byte",
}
_MODE_WORDS: dict[Mode, str] = {
    "solid": "opaque surface nearest",
    "translucent": "transparent glow see through density",
    "mip": "mip intensity projection brightest highest",
    "slice": "planes cut cross section",
}
PYRAMID_TITLES = {"mean": "Mean", "max": "Highest", "representative": "One of them"}
PYRAMID_HELP = {
    "mean": "Bytes too small to be told apart show their mean",
    "max": "Bytes too small to be told apart show the highest of them",
    "representative": "Bytes too small to be told apart show one of them: colours stay those of real bytes",
}
KIND_NAMES = tuple(kind.name.lower() for kind in Kind if kind != Kind.ZERO)


def look_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, stage = session.state, session.state.stage

    def change(*, remember: bool = True, **changes: Any) -> None:
        session.looks.show(replace(stage.view.look, **changes), remember=remember)

    def mode(mode: str) -> None:
        change(mode=mode)

    def next_of(names: tuple[str, ...], name: str) -> str:
        return names[(names.index(name) + 1) % len(names)]

    def next_mode() -> str:
        name = next_of(MODES, stage.view.look.mode)
        mode(name)
        return name

    def channel(channel: str) -> None:
        if channel != stage.view.look.channel:
            session.looks.show_channel(channel)

    def next_channel() -> str:
        name = next_of(stage.view.channels(), stage.view.look.channel)
        channel(name)
        return name

    def channels() -> tuple[str, ...]:
        return stage.view.channels()  # of the view that is active by then

    def palette(palette: str) -> None:
        change(palette="" if palette == OWN else palette)

    def palettes() -> tuple[str, ...]:
        return (OWN, *CHANNEL_PALETTES.get(stage.view.look.channel, ()), *stage.palettes)

    def refresh_palettes() -> list[str]:
        session.looks.refresh_palettes()
        return list(stage.palettes)

    def opacity(opacity: float, remember: bool = True) -> float:
        bounded = min(1.0, max(MIN_OPACITY, opacity))
        change(opacity=bounded, remember=remember)
        return bounded

    def dim(dim: float, remember: bool = True) -> float:
        bounded = min(1.0, max(0.0, dim))
        change(dim=bounded, remember=remember)
        return bounded

    def pyramid(pyramid: str) -> None:
        change(pyramid=pyramid)

    def half_life(seconds: float) -> float:
        bounded = min(MAX_HALF_LIFE_S, max(MIN_HALF_LIFE_S, seconds))
        if bounded != state.settings.half_life_s:
            state.remember()
            session.kept.change(half_life_s=bounded)
        return bounded

    def hide(kind: str, hidden: bool | None = None) -> bool:
        one, now = Kind[kind.upper()], stage.view.look.hidden_kinds
        wanted = one not in now if hidden is None else hidden
        change(hidden_kinds=now | {one} if wanted else now - {one})
        return wanted

    def solo(kind: str, remember: bool = True) -> None:
        """Show one kind alone; all of them if it is alone already."""
        rest = frozenset(Kind) - {Kind.ZERO, Kind[kind.upper()]}
        change(hidden_kinds=frozenset() if stage.view.look.hidden_kinds == rest else rest, remember=remember)

    def preset(name: str) -> None:
        change(transfer=state.presets.get(name))

    def points(points: str, remember: bool = True) -> None:
        change(transfer=transfer_from_text(points), remember=remember)

    def save(name: str) -> str:
        return state.presets.save(name, stage.view.look.transfer)

    def own_presets() -> list[str]:
        return list(state.presets.own)

    def describe() -> dict[str, Any]:
        look = stage.view.look
        info, legend = stage.view.channel_info(look.channel), stage.view.legend()
        return {
            "mode": look.mode,
            "channel": look.channel,
            "channels": list(stage.view.channels()),
            "unit": info.unit,
            "palette": look.palette or OWN,
            "palettes": list(stage.palettes),
            "transfer": {
                "name": state.presets.name_of(look.transfer),
                "points": [list(point) for point in look.transfer.points],
            },
            "opacity": look.opacity,
            "dim": look.dim,
            "pyramid": look.pyramid,
            "hidden_kinds": [kind.name.lower() for kind in Kind if kind in look.hidden_kinds],
            "half_life_s": state.settings.half_life_s,
            "legend": [entry.label for entry in legend.entries] or [text for _, text in legend.ticks],
        }

    def something_hidden() -> str | None:
        return None if stage.view.look.hidden_kinds else "Nothing is hidden"

    def has_own() -> str | None:
        return None if state.presets.own else "You have saved none"

    def only_translucent() -> str | None:
        return None if stage.view.look.mode == "translucent" else "Only translucent pictures have it"

    action = partial(Action, category=LOOK)
    return [
        action(
            id="view.mode",
            title="Draw…",
            run=mode,
            params=(Param("mode", "choice", required=True, choices=lambda: MODES),),
            icon=icons.ICON_FA_EYE,
            help="What a line of sight shows of the memory that it meets",
            keywords="mode opaque transparent maximum slices render",
        ),
        action(
            id="view.next_mode",
            title="Next way of drawing",
            run=next_mode,
            shortcuts=("T",),
            icon=icons.ICON_FA_CIRCLE_HALF_STROKE,
            help="First hit, translucent, maximum, slices, and round again",
            keywords="mode opaque transparent",
        ),
        *(
            action(
                id=f"view.draw_{name}",
                title=f"Draw {MODE_TITLES[name].lower()}",
                run=lambda name=name: mode(name),
                icon=MODE_ICONS[name],
                help=MODE_HELP[name],
                keywords=f"mode {_MODE_WORDS[name]}",
            )
            for name in MODES
        ),
        action(
            id="view.channel",
            title="Look at…",
            run=channel,
            params=(Param("channel", "choice", required=True, choices=channels),),
            icon=icons.ICON_FA_SWATCHBOOK,
            help="What of a byte or its page becomes colour",
            keywords="channel content value entropy heat class colour color by",
        ),
        action(
            id="view.next_channel",
            title="Look at the next channel",
            run=next_channel,
            shortcuts=("C",),
            icon=icons.ICON_FA_SWATCHBOOK,
            help="Content, byte value, entropy, write heat, and what else there is",
            keywords="colour color by",
        ),
        action(
            id="view.palette",
            title="Palette…",
            run=palette,
            params=(Param("palette", "choice", required=True, choices=palettes),),
            icon=icons.ICON_FA_PALETTE,
            help="The colours of the channel that is looked at; “own” is what suits it best",
            keywords="colour color map gradient",
        ),
        action(
            id="view.refresh_palettes",
            title="Read your palettes anew",
            run=refresh_palettes,
            icon=icons.ICON_FA_ARROWS_ROTATE,
            help="Files in the folder “palettes” of the configuration",
            keywords="colour color file user",
        ),
        action(
            id="view.opacity",
            title="Opacity…",
            run=opacity,
            params=(Param("opacity", "number", required=True, help="0.001 to 1"), Param("remember", "flag")),
            why_not=only_translucent,
            icon=icons.ICON_FA_DROPLET,
            help="How much one voxel hides of what is behind it",
            keywords="transparency density",
        ),
        action(
            id="view.dim",
            title="The rest dims by…",
            run=dim,
            params=(Param("dim", "number", required=True, help="0 to 1"), Param("remember", "flag")),
            icon=icons.ICON_FA_MOON,
            help="How far other pages give way while some are lit up",
            keywords="highlight chosen fade",
        ),
        action(
            id="view.pyramid",
            title="Far bytes show their…",
            run=pyramid,
            params=(Param("pyramid", "choice", required=True, choices=lambda: PYRAMIDS),),
            icon=icons.ICON_FA_MAGNIFYING_GLASS_CHART,
            help="What stands for many bytes where a pixel holds more than one",
            keywords="level of detail mean max highest representative pyramid lod",
        ),
        action(
            id="view.hide_kind",
            title="Hide or show the kind…",
            run=hide,
            params=(Param("kind", "choice", required=True, choices=lambda: KIND_NAMES), Param("hidden", "flag")),
            icon=icons.ICON_FA_EYE_SLASH,
            help="Pages that are guessed to hold this kind of content",
            keywords=" ".join(KIND_TITLES.values()).lower() + " filter",
        ),
        action(
            id="view.solo_kind",
            title="Show only the kind…",
            run=solo,
            params=(Param("kind", "choice", required=True, choices=lambda: KIND_NAMES), Param("remember", "flag")),
            icon=icons.ICON_FA_EYE,
            help="Once more shows all kinds again",
            keywords=" ".join(KIND_TITLES.values()).lower() + " alone filter",
        ),
        action(
            id="view.show_all_kinds",
            title="Show all kinds",
            run=lambda: change(hidden_kinds=frozenset()),
            why_not=something_hidden,
            icon=icons.ICON_FA_EYE,
            keywords="unhide reset filter",
        ),
        action(
            id="view.half_life",
            title="Half-life of the write heat…",
            run=half_life,
            params=(Param("seconds", "number", required=True, help="0.1 to 600"),),
            icon=icons.ICON_FA_HOURGLASS_HALF,
            help="In how many seconds a page that is left alone cools to half",
            keywords="decay cool time",
        ),
        action(
            id="view.transfer",
            title="Transfer function…",
            run=preset,
            params=(Param("name", "choice", required=True, choices=state.presets.names),),
            icon=icons.ICON_FA_CHART_LINE,
            help="How opaque each value is",
            keywords="preset opacity curve",
        ),
        action(
            id="transfer.points",
            title="Set the points of the transfer function",
            run=points,
            params=(Param("points", required=True, help="0:0 0.5:0.2 1:1"), Param("remember", "flag")),
            in_palette=False,
        ),
        action(
            id="transfer.save",
            title="Save the transfer function as…",
            run=save,
            params=(Param("name", required=True),),
            icon=icons.ICON_FA_FLOPPY_DISK,
            help="Kept in the configuration, for every machine and channel",
            keywords="preset keep",
        ),
        action(
            id="transfer.delete",
            title="Delete the transfer function…",
            run=state.presets.delete,
            params=(Param("name", "choice", required=True, choices=own_presets),),
            why_not=has_own,
            icon=icons.ICON_FA_TRASH_CAN,
            help="One that you saved",
            keywords="preset remove",
        ),
        action(
            id="view.toggle_legend",
            title="Show or hide the legend",
            run=toggle(session, "show_legend"),
            shortcuts=("K",),
            icon=icons.ICON_FA_LIST_UL,
            help="What the colours mean",
            keywords="key scale",
        ),
        action(id="view.look", title="Say how bytes are shown", run=describe, in_palette=False),
    ]


def toggle(session: Session, setting: str) -> Callable[[], bool]:
    """Turn a setting on or off; returns what it is now."""

    def run() -> bool:
        shown = not getattr(session.state.settings, setting)
        session.kept.change(**{setting: shown})
        return shown

    return run


def transfer_from_text(text: str) -> Transfer:
    """`0:0 0.5:0.2 1:1`, scalars and opacities from 0 to 1. Raises BadArguments."""
    parts = text.replace(",", " ").split()
    if len(parts) > MAX_POINTS:
        raise BadArguments(f"points: at most {MAX_POINTS}, not {len(parts):,}")
    try:
        points = [(float(scalar), float(opacity)) for scalar, opacity in (part.split(":") for part in parts)]
    except ValueError:
        raise BadArguments(f"points: {text[:60]!r} is not pairs such as 0:0 0.5:0.2 1:1") from None
    try:
        return Transfer(tuple(points))
    except BadTransfer as error:
        raise BadArguments(f"points: {error}") from None


def text_from_transfer(transfer: Transfer) -> str:
    """The other way round, exact."""
    return " ".join(f"{scalar!r}:{opacity!r}" for scalar, opacity in transfer.points)
