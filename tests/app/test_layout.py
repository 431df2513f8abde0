"""Layouts that were kept by an older version: panels that they do not know get the places that they would have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from imgui_bundle import imgui

from app.layout import LOG, MACHINES, PERFORMANCE, PROCESSES, dock_ids, machines_share
from app.offscreen import OffscreenWindow
from app.settings import load_layout, save_layout
from app.window_options import WindowOptions
from tests.app.conftest import Person

SIZE = (1280, 720)
INI = """[Window][Machines]
Pos=0,48
DockId=0x00000007,0

[Window][WindowOverViewport_11111111]
Size=3,4

[Window][Log]
Pos=269,473
Collapsed=0
DockId=0x0000001b

[Table][0xDFCBD6E7,6]
Column 0  Width=90

[Docking][Data]
DockSpace   ID=0x63E32BF7 Window=0x1
"""


def test_what_a_layout_says_of_windows() -> None:
    assert dock_ids(INI) == {"Machines": 7, "WindowOverViewport_11111111": 0, "Log": 0x1B}
    assert dock_ids("") == {}
    assert dock_ids("no layout at all\n[Window][half") == {}


@pytest.mark.parametrize(("height", "scale"), [(400, 1.0), (670, 1.0), (670, 2.0), (1400, 1.0), (1, 1.0)])
def test_machines_have_room_for_a_card_and_leave_some(height: float, scale: float) -> None:
    share = machines_share(height, scale)
    assert 0.3 <= share <= 0.6
    assert share * height >= 264 * scale or share == 0.6 or share * height > 264 * scale


def test_processes_stand_below_the_machines_in_a_kept_layout_that_lacks_them(homes: Path) -> None:
    config = homes / "config" / "glassbox"
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        Person(offscreen).frame(8)
        panel = imgui.internal.find_window_by_name(PROCESSES)
        first = (panel.pos.x, panel.pos.y)
    ini, problem = load_layout(config)
    assert problem is None
    assert ini is not None
    older = re.sub(rf"\[Window\]\[{PROCESSES}\]\n(?:(?!\[).*\n)*", "", ini)
    # As it was then: one place at the left, which machines and figures share.
    node = dock_ids(ini)[MACHINES]
    parent = re.search(rf"DockNode +ID=0x{node:08X} Parent=0x([0-9A-F]+)", older)
    assert parent is not None
    halves = re.findall(rf"DockNode +ID=0x([0-9A-F]+) Parent=0x{parent.group(1)}", older)
    assert f"{node:08X}" in halves
    lines = []
    for line in older.splitlines():
        if f"Parent=0x{parent.group(1)}" in line:
            continue
        if f"ID=0x{parent.group(1)} " in line:
            line = line.replace(" Split=Y", "")
        docked = line.startswith("DockId=0x") and line[9:17] in halves
        lines.append(f"DockId=0x{parent.group(1)}" if docked else line)
    save_layout(config, "\n".join(lines) + "\n")
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        person = Person(offscreen)
        person.frame(8)
        processes, machines = (imgui.internal.find_window_by_name(name) for name in (PROCESSES, MACHINES))
        assert (processes.pos.x, processes.pos.y) == pytest.approx(first, abs=12)
        assert machines.pos.y + machines.size.y <= processes.pos.y
        assert machines.dock_id != processes.dock_id
        person.run("window.show", PERFORMANCE)
        person.frame(4)
        assert imgui.internal.find_window_by_name(PERFORMANCE).dock_id == machines.dock_id
        assert {PROCESSES, MACHINES} <= person.state.docked


@pytest.mark.parametrize(("size", "least", "most"), [((1280, 720), 200, 260), ((2560, 1440), 340, 400)])
def test_panels_below_grow_with_a_high_window(person: Person, size: tuple[int, int], least: int, most: int) -> None:
    person.offscreen.canvas.set_logical_size(*size)
    person.frame(4)
    person.window.reset_layout()
    person.frame(8)
    panel = imgui.internal.find_window_by_name(LOG)
    assert least < panel.size.y < most
    assert panel.size.y < person.state.volume_rect[3] / 1.5, "the volume keeps the greater part"
