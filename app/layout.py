"""Layout: where the panels lie at first: the volume in the middle, framed by machines, inspector and console."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from imgui_bundle import imgui

PROCESSES, MEMORY_MAP, FILES, STACK = "Processes", "Memory map", "Files", "Stack"
VOLUME, MACHINES, INSPECTOR, CONSOLE, LOG, PERFORMANCE, SLICES, TRANSFER = (
    "Volume",
    "Machines",
    "Inspector",
    "Console",
    "Log",
    "Performance",
    "Slices",
    "Transfer",
)
KERNEL = "Kernel"
STATISTICS = "Statistics"
VOLATILITY = "Volatility"
SQL = "SQL"
EXECUTION = "Execution"
FLOW = "Flow"
LEARNING = "Learning"
PIXEL_CPU = "Pixel CPU"
RESULTS = "Results"
SIDES: dict[str, Literal["left", "below left", "right", "bottom"]] = {
    MACHINES: "left",
    INSPECTOR: "right",
    CONSOLE: "bottom",
    LOG: "bottom",
    KERNEL: "bottom",
    EXECUTION: "bottom",
    FLOW: "bottom",
    LEARNING: "bottom",
    PIXEL_CPU: "bottom",
    TRANSFER: "bottom",
    STATISTICS: "bottom",
    VOLATILITY: "bottom",
    SQL: "bottom",
    RESULTS: "bottom",
    PERFORMANCE: "below left",
    PROCESSES: "below left",
    MEMORY_MAP: "bottom",
    FILES: "bottom",
    STACK: "bottom",
}
"""Where panels lie at first; the first one of a side is the one whose place those take that a kept layout lacks."""
LEFT_PX, RIGHT_PX, BOTTOM_PX = 272.0, 392.0, 248.0
LEFT_MAX, RIGHT_MAX, BOTTOM_MAX = 0.21, 0.29, 0.34  # of the window: the volume keeps the greater part
BOTTOM_LEAST = 0.26  # of a high window: tables and graphs have rows to show
MACHINES_PX, MACHINES_LEAST, MACHINES_MOST = 264.0, 0.3, 0.6  # of the left side: a whole card, above the processes
_BELOW = {PROCESSES: MACHINES}
_WINDOW = re.compile(r"^\[Window\]\[([^\]\n]+)\]\n((?:(?!\[).*\n?)*)", re.MULTILINE)
_DOCKED = re.compile(r"^DockId=0x([0-9A-Fa-f]{1,8})", re.MULTILINE)
SLICES_SHARE = 0.45  # of the middle, beside the volume, while the panel is shown


def dockspace_id() -> int:
    """Return the id of the window's dock space. For within the window that holds it."""
    return imgui.get_id("glassbox dock space")


def has_layout(dockspace: int) -> bool:
    """Return whether a layout was loaded or built."""
    return imgui.internal.dock_builder_get_node(dockspace) is not None


def build_default_layout(
    dockspace: int, size: tuple[float, float], scale: float, views: Sequence[str] = (VOLUME,)
) -> None:
    """Dock all panels in their first places; `size` is that of the dock space in logical pixels.

    `views`: the panels of the volume views, which share the middle.
    """
    builder = imgui.internal
    width, height = size
    builder.dock_builder_remove_node(dockspace)
    builder.dock_builder_add_node(dockspace, builder.DockNodeFlagsPrivate_.dock_space.value)
    builder.dock_builder_set_node_size(dockspace, imgui.ImVec2(width, height))
    left_share = min(LEFT_PX * scale / width, LEFT_MAX)
    split = builder.dock_builder_split_node(dockspace, imgui.Dir.left, left_share)
    left, rest = split.id_at_dir, split.id_at_opposite_dir
    right_share = min(RIGHT_PX * scale / width, RIGHT_MAX) / (1 - left_share)
    split = builder.dock_builder_split_node(rest, imgui.Dir.right, right_share)
    right, middle = split.id_at_dir, split.id_at_opposite_dir
    low = min(max(BOTTOM_PX * scale / height, BOTTOM_LEAST), BOTTOM_MAX)
    split = builder.dock_builder_split_node(middle, imgui.Dir.down, low)
    bottom, centre = split.id_at_dir, split.id_at_opposite_dir
    split = builder.dock_builder_split_node(left, imgui.Dir.up, machines_share(height, scale))
    left, below = split.id_at_dir, split.id_at_opposite_dir
    sides = {"left": left, "below left": below, "right": right, "bottom": bottom}
    for name, side in SIDES.items():
        builder.dock_builder_dock_window(name, sides[side])
    split = builder.dock_builder_split_node(centre, imgui.Dir.right, SLICES_SHARE)
    builder.dock_builder_dock_window(SLICES, split.id_at_dir)
    centre = split.id_at_opposite_dir
    for index, name in enumerate(views):
        if index + 1 < len(views):
            split = builder.dock_builder_split_node(centre, imgui.Dir.left, 1 / (len(views) - index))
            builder.dock_builder_dock_window(name, split.id_at_dir)
            centre = split.id_at_opposite_dir
        else:
            builder.dock_builder_dock_window(name, centre)
    builder.dock_builder_finish(dockspace)


def home_of(name: str) -> int:
    """Return the dock node in which a panel belongs that no layout has a place for yet; 0: none, it floats."""
    side = SIDES.get(name)
    for other, its in SIDES.items():
        if its == side and other != name:
            window = imgui.internal.find_window_by_name(other)
            if window is not None and window.dock_id:
                return int(window.dock_id)
    return 0


def lies_in_dock_space() -> bool:
    """Return whether the current window is docked in the window's dock space. A floating one has a node of its own."""
    node: imgui.internal.DockNode | None = imgui.internal.get_current_window().dock_node
    return node is not None and bool(imgui.internal.dock_node_get_root_node(node).is_dock_space())


def bring_to_front() -> bool:
    """Choose the tab of the current window without giving it the keyboard; False where it has no tab yet."""
    window = imgui.internal.get_current_window()
    node: imgui.internal.DockNode | None = window.dock_node
    if node is None:
        imgui.internal.bring_window_to_display_front(window)
        return bool(window.was_active)  # one that has just appeared is docked in the next frame
    bar: imgui.internal.TabBar | None = node.tab_bar
    if bar is None:
        return bool(window.was_active)  # alone in its place
    if not any(tab.id_ == window.tab_id for tab in bar.tabs):
        return False
    bar.next_selected_tab_id = window.tab_id
    return True


def dock_ids(ini: str) -> dict[str, int]:
    """Return where in a saved layout (ImGui's ini text) each window is docked; 0 for one that floats."""
    found: dict[str, int] = {}
    for name, body in _WINDOW.findall(ini):
        docked = _DOCKED.search(body)
        found[name] = int(docked.group(1), 16) if docked else 0
    return found


def machines_share(height: float, scale: float) -> float:
    """Return which part of the left side, `height` logical pixels, the machines take above the processes."""
    return min(max(MACHINES_PX * scale / height, MACHINES_LEAST), MACHINES_MOST)


def split_for_newcomers(places: Mapping[str, int], height: float, scale: float) -> None:
    """Give panels that stand below another one at first such a place in a kept layout that does not know them.

    `places`: as `dock_ids` tells them; `height`: of the dock space, in logical pixels.
    """
    builder = imgui.internal
    for name, above in _BELOW.items():
        node = places.get(above)
        if name in places or not node or builder.dock_builder_get_node(node) is None:
            continue
        split = builder.dock_builder_split_node(node, imgui.Dir.down, 1 - machines_share(height, scale))
        builder.dock_builder_dock_window(name, split.id_at_dir)
        for other in (other for other, its in places.items() if its == node):
            builder.dock_builder_dock_window(other, split.id_at_opposite_dir)
        builder.dock_builder_finish(builder.dock_node_get_root_node(builder.dock_builder_get_node(split.id_at_dir)).id_)


def dock_beside(name: str, other: str, *, below: bool) -> None:
    """Dock the panel `name` in one half of what `other` takes up now."""
    builder = imgui.internal
    window = builder.find_window_by_name(other)
    if window is None or not window.dock_id:
        return  # it floats: so does the new one
    split = builder.dock_builder_split_node(window.dock_id, imgui.Dir.down if below else imgui.Dir.right, 0.5)
    builder.dock_builder_dock_window(name, split.id_at_dir)
    builder.dock_builder_dock_window(other, split.id_at_opposite_dir)
    builder.dock_builder_finish(builder.dock_node_get_root_node(builder.dock_builder_get_node(split.id_at_dir)).id_)


def show_tabs_of(name: str, shown: bool) -> None:
    """Give a docked panel that is alone in its place a tab, by which it can be told and moved, or none."""
    window: imgui.internal.Window | None = imgui.internal.find_window_by_name(name)
    node: imgui.internal.DockNode | None = None if window is None else window.dock_node
    if node is None:
        return
    private = imgui.internal.DockNodeFlagsPrivate_
    bare = private.no_tab_bar.value | private.no_docking_over_me.value | private.no_close_button.value
    flags = node.local_flags & ~bare if shown else node.local_flags | bare
    if flags != node.local_flags:
        node.set_local_flags(flags)
