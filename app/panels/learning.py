"""Learning panel: the hottest loops of the running guest, how far each was proved, and what their kernels do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import LEARNING
from app.learning import LearningState, Way
from app.learning_ui import LOG, LOOPS, PROOF, SIDES, chosen_of, hidden_columns, learner_of, why_not_learned
from app.panels.learning_sides import draw_side
from app.widgets.record_table import OWN_KEYS, MenuEntry
from bridge.machine.states import MachineState
from bridge.pixelcpu.learned import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.learning import Learnt, MachineLearner
    from app.state import AppState
    from app.ui import Ui
    from bridge.pixelcpu.learning import Entry

TITLES = {Way.OFF: "Off", Way.LEARN: "Learn", Way.TAKE_OVER: "Take over", Way.VERIFY: "Verify"}
TIPS = {
    Way.OFF: "QEMU does everything",
    Way.LEARN: "The loops that take the most time are lifted, proved and tested; the guest runs as it did",
    Way.TAKE_OVER: "Kernels that are proved and tested do the loops' rounds; all else is left to QEMU",
    Way.VERIFY: "Kernels run beside QEMU, and their results are compared with QEMU's, not used",
}
TWO_UNITS, THREE_UNITS = 210.0, 360.0
"""From what width on the table stands beside one side, and beside two."""
WAY_UNITS, SIDE_UNITS = 32.0, 24.0
"""Of the choosers, where there is no room for one button beside the other."""


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(LEARNING, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        if not visible:
            return
        learner, shown = learner_of(state), state.learning
        if learner is None or learner.why_not:
            ui.absence(icons.ICON_FA_GRADUATION_CAP, why_not_learned(state))
            return
        if shown.machine != learner.machine.name:
            shown.forget(learner.machine.name)
        learnt = learner.latest()
        panes = panes_of(imgui.get_content_region_avail().x / ui.theme.px(1), shown.side)
        has_rows = learnt is not None and bool(learnt.look.entries)
        _bar(state, ui, learner, learnt, panes if has_rows else SIDES)
        if learner.way is Way.OFF:
            _off(ui, learner)
        elif learner.state is LearningState.ELSEWHERE:
            ui.absence(icons.ICON_FA_USER_LOCK, f"{learner.problem} Learning begins here as soon as that ends.")
        elif learnt is None:
            ui.absence(icons.ICON_FA_GRADUATION_CAP, "Looking which loops take the most time")
        elif not has_rows and learner.machine.info.state is MachineState.PAUSED:
            ui.absence(icons.ICON_FA_PAUSE, "The machine is paused. Its loops are looked for when it runs.")
        elif not has_rows:
            ui.absence(icons.ICON_FA_GRADUATION_CAP, "No loop takes a two-hundredth of the time or more")
        else:
            _panes(state, ui, learner, learnt, panes)


def panes_of(units: float, side: str) -> tuple[str, ...]:
    """What stands side by side in a panel of so many steps of the grid: loops, code and proof in this order."""
    beside = side if side != LOOPS else SIDES[1]
    if units < TWO_UNITS:
        return (side,)
    if units < THREE_UNITS:
        return (LOOPS, beside)
    return (LOOPS, SIDES[1], beside if beside in (PROOF, LOG) else PROOF)


# The bar above


def _bar(state: AppState, ui: Ui, learner: MachineLearner, learnt: Learnt | None, panes: tuple[str, ...]) -> None:
    theme, shown = ui.theme, state.learning
    room = imgui.get_content_region_avail().x
    line = imgui.get_cursor_pos_y()
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        used = sum(imgui.calc_text_size(title).x + theme.px(5.5) for title in TITLES.values())
        sides = [side for side in SIDES if side not in panes or side == panes[-1]]
        fixed = LOOPS in panes and len(panes) > 1
        sides = [side for side in sides if not (fixed and side == LOOPS)]
        names = sum(imgui.calc_text_size(side).x + theme.px(4) for side in sides) if len(panes) < len(SIDES) else 0.0
        if narrow := used + names > room:
            used, names = theme.px(WAY_UNITS), theme.px(SIDE_UNITS) if names else 0.0
            _way_chooser(ui, learner, min(used, room))
        else:
            _ways(ui, learner, line)
        if learnt is not None:
            _figures(ui, learnt, room - used - names - theme.px(6))
        if names and narrow:
            _side_chooser(state, ui, sides, panes[-1], room, line)
        elif names:
            ui.right(names)
            for side in sides:
                imgui.set_cursor_pos_y(line)
                width = imgui.calc_text_size(side).x + theme.px(4)
                if ui.button(f"{side}##side", kind="plain" if side == panes[-1] else "quiet", width=width):
                    shown.side = side
                imgui.same_line(0, 0)
        imgui.new_line()
    ui.gap(0.5)


def _ways(ui: Ui, learner: MachineLearner, line: float) -> None:
    for way, title in TITLES.items():
        imgui.set_cursor_pos_y(line)
        chosen = learner.way is way
        width = imgui.calc_text_size(title).x + ui.theme.px(5)
        clicked = ui.button(f"{title}##{way}", kind="plain" if chosen else "quiet", width=width)
        ui.tooltip(TIPS[way])
        if clicked and not chosen:
            ui.run("learning.way", way=str(way))
        imgui.same_line(0, ui.theme.px(0.5))


def _way_chooser(ui: Ui, learner: MachineLearner, width: float) -> None:
    imgui.set_next_item_width(width)
    if imgui.begin_combo("##way", TITLES[learner.way]):
        for way, title in TITLES.items():
            chosen = learner.way is way
            if imgui.selectable(f"{title}##{way}", chosen)[0] and not chosen:
                ui.run("learning.way", way=str(way))
            ui.tooltip(TIPS[way])
        imgui.end_combo()
    else:
        ui.tooltip(TIPS[learner.way])
    imgui.same_line(0, 0)


def _side_chooser(state: AppState, ui: Ui, sides: Sequence[str], now: str, room: float, line: float) -> None:
    """Beside the ways where there is room, else below them."""
    width = ui.theme.px(SIDE_UNITS)
    if ui.theme.px(WAY_UNITS) + width <= room:
        ui.right(width)
        imgui.set_cursor_pos_y(line)
    else:
        imgui.new_line()
    imgui.set_next_item_width(min(width, room))
    if imgui.begin_combo("##side", now):
        for side in sides:
            if imgui.selectable(f"{side}##side", side == now)[0]:
                state.learning.side = side
        imgui.end_combo()
    imgui.same_line(0, 0)


def _figures(ui: Ui, learnt: Learnt, room: float) -> None:
    """What came of it until now, where there is room to say it."""
    theme, look = ui.theme, learnt.look
    live = sum(one.state is State.LIVE for one in look.entries)
    left = sum(one.state is State.QEMU_ONLY for one in look.entries)
    said = []
    if learnt.way is Way.TAKE_OVER:
        said.append((f"{look.taken:.0%} of instructions", theme.good if look.taken >= 0.005 else theme.text_dim))
        if learnt.speed_up >= 1.005:
            said.append((f"{learnt.speed_up:.2f} x the work", theme.text_dim))
    if learnt.way is Way.VERIFY:
        rounds = sum(one.rounds for one in look.entries)
        said.append((f"{rounds:,} rounds compared", theme.text_dim))
    if learnt.way is not Way.LEARN:
        said.append((f"{live} live", theme.text_dim))
    else:
        proved = sum(one.state is State.TESTED for one in look.entries)
        said.append((f"{proved} proved and tested", theme.text_dim))
    said.append((f"{left} left to QEMU", theme.text_faint))
    if not look.settled:
        said.append(("learning", theme.accent))
    tip = (
        f"In the last {look.seconds:.0f} s kernels did {look.taken:.1%} of {look.instructions:,} instructions, and "
        f"saved {max(0.0, look.saved_s):.2f} s of the processors' time. {look.made:,} loops were learned here, "
        f"{look.from_library:,} were known."
    )
    if look.gpu:
        tip += f" Rounds are done on the GPU, {look.gpu}, where it is the quickest."
    elif look.no_gpu:
        tip += f" Nothing is done on a GPU. {look.no_gpu}"
    if learnt.by == "gdbstub":
        said.append(("by gdbstub", theme.warn))
        tip += (
            " This machine's QEMU cannot have them in its plugin: they run beside it, where a loop is long enough. "
            "A newer one takes them itself: ./glassbox qemu fetch."
        )
    with ui.small():
        spark = theme.px(22)
        if learnt.way is Way.TAKE_OVER and room > spark + theme.px(40):
            imgui.same_line(0, theme.px(3))
            ui.sparkline(learnt.shares, (spark, imgui.get_frame_height()), 1.0)
            ui.tooltip(f"The share of instructions that kernels did, over {len(learnt.shares) / 2:.0f} s")
            room -= spark + theme.px(3)
        for text, colour in said:
            width = imgui.calc_text_size(text).x
            if width + theme.px(4) > room:
                break
            room -= width + theme.px(4)
            imgui.same_line(0, theme.px(3))
            imgui.align_text_to_frame_padding()
            ui.text(text, colour)
            ui.tooltip(tip)


# Nothing to show


def _off(ui: Ui, learner: MachineLearner) -> None:
    """What could be, and the one button that most will want."""
    failed = learner.state is LearningState.FAILED and bool(learner.problem)
    title = "It could not go on" if failed else "Which loops could be done faster?"
    note = (
        learner.problem
        if failed
        else "Loops that take the most time are translated to Pixel CPU microcode, proved equal by z3 in every "
        "register, flag and byte, and tested. Kernels can do them then, at the speed of this computer. Nothing is "
        "changed until you say so."
    )
    if ui.invitation(title, note, f"{icons.ICON_FA_GRADUATION_CAP}  Learn the hottest loops", failed=failed):
        ui.run("learning.way", way=str(Way.LEARN))
    ui.tooltip(TIPS[Way.LEARN])


# The loops, and what is beside them


def _panes(state: AppState, ui: Ui, learner: MachineLearner, learnt: Learnt, panes: tuple[str, ...]) -> None:
    gap = ui.theme.px(4)
    room = imgui.get_content_region_avail()
    corner = imgui.get_cursor_pos()
    shares = {1: (1.0,), 2: (0.5, 0.5), 3: (0.47, 0.28, 0.25)}[len(panes)]
    wide = room.x - gap * (len(panes) - 1)
    left = corner.x
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    chosen = chosen_of(state.learning, learnt)
    beside = [name for name in panes if name != LOOPS] or [""]
    for name, share in zip(panes, shares, strict=True):
        width = round(wide * share)
        imgui.set_cursor_pos(imgui.ImVec2(round(left), corner.y))
        with ui.style(window_padding=(0.0, 0.0)):
            shown = imgui.begin_child(f"##{name}", imgui.ImVec2(width, 0), 0, flags)
        if shown:
            if name == LOOPS:
                _table(state, ui, learnt, width)
            elif chosen is not None:
                draw_side(state, ui, learner, chosen, name, width, headed=name == beside[0])
        imgui.end_child()
        left += width + gap


def _table(state: AppState, ui: Ui, learnt: Learnt, width: float) -> None:
    theme, shown = ui.theme, state.learning
    hidden = hidden_columns(width / theme.unit, only_learns=learnt.way is Way.LEARN)
    event = shown.table.draw(theme, learnt.look.entries, menu=lambda one: _menu(ui, one), hidden=hidden)
    if shown.table.focused:
        state.own_keys |= OWN_KEYS
    if event is not None:
        ui.run("learning.choose", loop=event.row.candidate.x86_hash)
        if event.kind == "open" and shown.side == LOOPS:
            shown.side = SIDES[1]


def _menu(ui: Ui, one: Entry) -> Sequence[MenuEntry]:
    block = one.candidate.blocks[0] if one.candidate.blocks else 0
    has_microcode = one.learned is not None and one.learned.translation is not None
    return (
        MenuEntry(
            "Step through its microcode",
            icons.ICON_FA_MICROCHIP,
            lambda: ui.run("pixel.of_loop", loop=one.candidate.x86_hash),
            why_not="" if has_microcode else "It has none, or not yet",
        ),
        MenuEntry(
            "Show where it comes from and goes to",
            icons.ICON_FA_DIAGRAM_PROJECT,
            lambda: ui.run("trace.flow", block=block),
        ),
        MenuEntry(
            "Copy its code as hex", icons.ICON_FA_COPY, partial(imgui.set_clipboard_text, one.candidate.code.hex())
        ),
        MenuEntry("Copy its hash", icons.ICON_FA_COPY, partial(imgui.set_clipboard_text, one.candidate.x86_hash)),
    )
