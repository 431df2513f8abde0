"""Inspector panel: where the selected byte lies and what it is, with the bytes and instructions around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.code_names import KERNEL_HALF
from app.layout import INSPECTOR
from app.panels import story, writers
from app.panels.flow_reach import reach_entries
from app.reach_ui import why_not_code
from app.theme import u32
from app.widgets.disassembly import DisassemblyEvent, DisassemblyView
from app.widgets.hexview import HexView
from app.widgets.x86_decode import Bits
from bridge.memory.errors import GuestMemoryError

if TYPE_CHECKING:
    from app.code_names import GuestCode
    from app.place import Place
    from app.state import AppState
    from app.telling import Told
    from app.ui import Ui
    from bridge.memory.ram import GuestRam

PAGE_BYTES = 4096
LOW_UNITS = 160
"""Of the room below the address field: with less, bytes and instructions need it more than the voxel does."""
BOTH_UNITS = 70
"""Of the room below those who wrote it: with less, instructions give way."""
_CURVE_WORDS = {"hilbert": "Hilbert", "morton": "Morton", "linear": "linear"}


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(INSPECTOR) as visible:
        if not visible:
            return
        _go_to(state, ui)
        place = state.selection
        ram = state.stage.ram(place.machine) if place is not None else None
        if place is None or ram is None:
            _empty(ui)
            return
        ui.gap(3)
        address = state.stage.paddr(place)
        told = _story(state, ui, place, ram, address)
        if address is None:
            ui.wrapped("This part of the RAM file is not mapped into the guest's address space.", ui.theme.text_dim)
            return
        answered = writers.draw(state, ui, place, address)
        ui.gap(2)
        # Who asks for writers in a low window has more use for the bytes than for what they were as instructions.
        short = answered and imgui.get_content_region_avail().y < ui.theme.px(BOTH_UNITS)
        _views(state, ui, place, ram, address, told, short=short)


def _go_to(state: AppState, ui: Ui) -> None:
    why_not = state.actions.get("view.go_to").why_not()
    with ui.disabled(why_not is not None), ui.style(frame_border_size=1.0):
        imgui.set_next_item_width(imgui.get_content_region_avail().x)
        with ui.mono():
            entered, state.address_text = imgui.input_text_with_hint(
                "##go to", "Go to address, such as 0x7c00", state.address_text, imgui.InputTextFlags_.enter_returns_true
            )
    ui.tooltip("A physical address, then Enter", note=why_not or "0x7c00, 7c00h, 31744 or 16M", shortcut="G")
    if state.focus_address:
        imgui.set_keyboard_focus_here(-1)
        state.focus_address = False
    if entered and state.address_text.strip():
        # What was refused stays to be corrected, with the keyboard in it.
        state.focus_address = ui.run("view.go_to", address=state.address_text.strip()) is None
    elif imgui.is_item_deactivated() and not entered:
        state.address_text = _selected_address(state)


def _selected_address(state: AppState) -> str:
    """What the field says when nothing is typed."""
    address = None if state.selection is None else state.stage.paddr(state.selection)
    return "" if address is None else f"{address:#x}"


def _empty(ui: Ui) -> None:
    theme = ui.theme
    imgui.dummy(imgui.ImVec2(0, max(0.0, imgui.get_content_region_avail().y * 0.3)))
    with ui.font(None, theme.title_size * 1.3):
        ui.centred(icons.ICON_FA_CROSSHAIRS, theme.text_faint)
    ui.gap(2)
    ui.centred("No byte selected", theme.text_dim)
    with ui.small():
        ui.centred("Click into the volume, or type an address above", theme.text_faint)


def _story(state: AppState, ui: Ui, place: Place, ram: GuestRam, address: int | None) -> Told | None:
    """Draw what the byte is: what the kernel says of it, if it says anything, and where it lies. Returns the former."""
    theme, told = ui.theme, state.kernel.story.told
    if told is not None and (told.machine, told.address) != (place.machine, address):
        told = None
    low = imgui.get_content_region_avail().y < theme.px(LOW_UNITS)
    with ui.mono(theme.title_size):
        shown = f"{address:#010x}" if address is not None else f"file + {place.offset:#x}"
        ui.text(shown, theme.accent if address is not None else theme.text)
    imgui.same_line()
    ui.action_icon("selection.copy_address", {})
    imgui.same_line(0, theme.px(1))
    ui.action_icon("selection.fly_to", {})
    with ui.small():
        ui.dim(f"{place.machine}  ·  physical address")
        story.freshness(state, ui, told)
    ui.gap(2)
    value = int(ram.bytes[place.offset])
    label = theme.px(20)
    with ui.style(item_spacing=(theme.px(2), theme.px(1))):
        if address is not None:
            told = story.draw(state, ui, place.machine, address)
        base = address if address is not None else place.offset
        page_word = "pfn" if address is not None else "page of the file"
        _fact(
            ui,
            "Page",
            f"{base // PAGE_BYTES:#x}",
            label,
            f"{page_word} {base // PAGE_BYTES:,}  ·  byte {base % PAGE_BYTES:#05x} of 4,096",
        )
        if not (low and told is not None and told.facts):  # a low window has better use for the line
            voxel, curve = state.stage.voxel(place), _CURVE_WORDS[state.stage.curve_of(place)]
            _fact(ui, "Voxel", ", ".join(map(str, voxel)), label, f"x, y, z, {curve}")
        _fact(ui, "Value", f"0x{value:02x}", label, f"{value}  ·  {_character(value)}  ·  {value:08b}", swatch=value)
    return told


def _character(value: int) -> str:
    return f"“{chr(value)}”" if 0x20 <= value < 0x7F else "no character"


def _fact(ui: Ui, label: str, value: str, left: float, note: str, *, swatch: int | None = None) -> None:
    theme = ui.theme
    ui.dim(label)
    imgui.same_line(left)
    with ui.mono():
        ui.text(value)
        if imgui.is_item_clicked():
            imgui.set_clipboard_text(value)
    ui.tooltip("Click to copy")
    imgui.same_line(0, theme.px(3))
    if swatch is not None:
        at = imgui.get_cursor_screen_pos()
        height = imgui.get_text_line_height()
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(at.x, at.y + theme.px(0.5)),
            imgui.ImVec2(at.x + theme.px(6) * max(swatch, 3) / 255, at.y + height - theme.px(0.5)),
            u32(theme.accent.alpha(0.55)),
            theme.px(0.5),
        )
        imgui.get_window_draw_list().add_rect(
            imgui.ImVec2(at.x, at.y + theme.px(0.5)),
            imgui.ImVec2(at.x + theme.px(6), at.y + height - theme.px(0.5)),
            u32(theme.border_strong),
            theme.px(0.5),
        )
        imgui.dummy(imgui.ImVec2(theme.px(6), height))
        imgui.same_line(0, theme.px(3))
    ui.elided(note, imgui.get_content_region_avail().x, theme.text_faint)


def _views(
    state: AppState, ui: Ui, place: Place, ram: GuestRam, address: int, told: Told | None, *, short: bool
) -> None:
    theme = ui.theme
    room = imgui.get_content_region_avail().y
    heading = imgui.get_frame_height() + theme.px(2)
    hex_height = max(theme.px(30), round(room - heading - theme.px(5) if short else (room - 2 * heading) * 0.56))
    _heading(ui, "Bytes", "Changed bytes light up and fade")
    view = state.hex_views.get(place.machine)
    if view is None:
        view = state.hex_views[place.machine] = HexView((GuestMemoryError,))
    end = state.stage.end_paddr(place.machine)
    event = view.draw(
        theme,
        ram.read_physical,
        base=0,
        size_bytes=end,
        selected=address,
        size=(imgui.get_content_region_avail().x, hex_height),
    )
    if event is not None and event.address != address:
        ui.run("view.select" if event.kind == "select" else "view.go_to", address=event.address)
    if short:
        return
    _heading(ui, "Instructions", "x86, decoded so that it agrees with the selected byte; jumps are drawn beside it")
    listing = state.disassemblies.get(place.machine)
    if listing is None:
        bits = cast(Bits, state.settings.bits)
        listing = state.disassemblies[place.machine] = DisassemblyView(bits, (GuestMemoryError,))
    code = None if told is None else told.code
    why_not = why_not_code(state.tracers.of(place.machine)) or ""
    went = listing.draw(
        theme,
        ram.read_physical,
        address,
        size_bytes=end,
        names=code,
        entries=lambda at: reach_entries(ui, f"{at:#x}", place.machine, why_not),
    )
    if listing.bits != state.settings.bits:
        ui.run("inspector.bits", bits=listing.bits)
    if went is not None and went.kind == "select" and went.address != address:
        ui.run("view.select", address=went.address)
    elif went is not None and went.kind == "go":
        _go(ui, place.machine, went, code, address)


def _go(ui: Ui, machine: str, went: DisassemblyEvent, code: GuestCode | None, address: int) -> None:
    """Go where an instruction leads. What is next to it in virtual memory may lie anywhere in physical memory."""
    if code is None or went.vaddr is None:
        if went.address != address:
            ui.run("view.go_to", address=went.address)
    elif (near := code.physical(went.vaddr)) is not None:
        ui.run("view.go_to", address=near)
    else:
        whose = {} if code.pid is None or went.vaddr >= KERNEL_HALF else {"pid": code.pid}
        ui.run("kernel.go_to", where=f"{went.vaddr:#x}", machine=machine, **whose)


def _heading(ui: Ui, title: str, tip: str) -> None:
    ui.gap(1)
    imgui.align_text_to_frame_padding()
    with ui.bold():
        ui.text(title, ui.theme.text_dim)
    ui.tooltip(tip)
