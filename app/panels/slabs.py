"""Slab caches: what the kernel allocates its objects from, how much memory that takes, and how full it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons

from app.chosen import Key
from app.kernel_ui import SLABS, Fetched
from app.output import format_bytes
from app.panels.kernel_list import KernelList, ask_desk, go_entry, light, light_entry
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent
from bridge.kernel.records import SlabCache

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

EVERY_S = 2.0
PAGE_BYTES = 4096


def cache_bytes(cache: SlabCache) -> int:
    """Return what a cache's slabs take: each a power of two of pages, the smallest that its objects fit into."""
    pages = -(-cache.objects_a_slab * cache.slot_bytes // PAGE_BYTES)
    return cache.slabs * PAGE_BYTES * (1 << max(pages - 1, 0).bit_length())


def used_share(cache: SlabCache) -> float:
    """Return how much of a cache's room for objects is in use, 0 to 1."""
    return cache.active / cache.objects if cache.objects else 0.0


COLUMNS = (
    Column[SlabCache]("Cache", lambda c: c.name),
    Column[SlabCache](
        "Memory", cache_bytes, lambda c: format_bytes(cache_bytes(c)), 20, right=True, descends=True, exact=True
    ),
    Column[SlabCache](
        "In use",
        used_share,
        lambda c: f"{used_share(c):.0%}",
        16,
        right=True,
        descends=True,
        share=used_share,
        tip="Of the objects that its slabs have room for",
    ),
    Column[SlabCache]("Objects", lambda c: c.active, width=18, right=True, descends=True, tip="In use"),
    Column[SlabCache](
        "Each",
        lambda c: c.object_bytes,
        lambda c: format_bytes(c.object_bytes),
        18,
        right=True,
        descends=True,
        exact=True,
        tone="dim",
        tip="Size of an object",
    ),
    Column[SlabCache]("Slabs", lambda c: c.slabs, width=14, right=True, descends=True, tone="dim"),
    Column[SlabCache]("Also called", lambda c: ", ".join(c.aliases), tone="dim", tip="Caches that were merged into it"),
)


def _make() -> RecordTable[SlabCache]:
    return RecordTable("slabs", RecordModel(COLUMNS, lambda cache: cache.address, sort=1))


def _fetch(state: AppState, machine: str) -> Fetched:
    return ask_desk(state, machine, "slabs", every_s=EVERY_S)


def _do(ui: Ui, machine: str, event: TableEvent[SlabCache]) -> None:
    if event.kind == "open":
        ui.run("kernel.go_to", where=f"{event.row.address:#x}", machine=machine)
    else:
        light(ui, machine, "slab", event.row.name)


def _menu(ui: Ui, machine: str, cache: SlabCache) -> Sequence[MenuEntry]:
    return (
        light_entry(ui, machine, "slab", cache.name),
        go_entry(ui, machine, "Go to its struct kmem_cache", cache.address),
    )


def _find(caches: Sequence[SlabCache], name: Key) -> int | None:
    return next((cache.address for cache in caches if name == cache.name or name in cache.aliases), None)


LIST = KernelList(
    SLABS,
    icons.ICON_FA_CUBES,
    ("cache", "caches"),
    _make,
    _fetch,
    _do,
    _menu,
    "This kernel has no slab caches",
    holds="slab",
    find=_find,
)
