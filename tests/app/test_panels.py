"""Panels: what their buttons and menus do, and that they draw every state that they can be in."""

import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imgui_bundle import imgui

from app.jobs import JobState
from app.panels import hints, volume
from app.panels.dialogs import ram_problem
from app.panels.help_overlays import program_version
from app.panels.machines import format_uptime
from app.toasts import ToastLevel
from app.ui import fit_text
from bridge.machine.states import MachineState
from tests.app.conftest import SIZE, Person


@given(st.floats(0, 1e8))
def test_uptime_reads_as_people_say_it(seconds: float) -> None:
    text = format_uptime(seconds)
    whole = int(seconds)
    if " d " in text:
        days, hours = text.removesuffix(" h").split(" d ")
        assert int(days) * 24 + int(hours) == whole // 3600
    else:
        total = 0
        for part in text.split(":"):
            total = total * 60 + int(part)
        assert total == whole


def test_uptime_examples() -> None:
    assert [format_uptime(s) for s in (-1, 0, 42, 725, 10_931, 363_600)] == [
        *("0:00", "0:00", "0:42", "12:05", "3:02:11", "4 d 05 h")
    ]


@given(
    st.tuples(st.floats(0, 2000), st.floats(0, 2000)),
    st.tuples(st.floats(1, 3000), st.floats(1, 3000)),
    st.sampled_from([1.0, 1.25, 1.5, 1.75, 2.0, 2.4]),
)
def test_the_picture_lies_on_whole_pixels(at: tuple[float, float], room: tuple[float, float], ratio: float) -> None:
    corner, width, height = volume.whole_pixels(imgui.ImVec2(*at), imgui.ImVec2(*room), ratio)
    for start, side, outer, space in ((corner.x, width, at[0], room[0]), (corner.y, height, at[1], room[1])):
        assert start * ratio == pytest.approx(round(start * ratio), abs=2e-3)
        assert side * ratio == pytest.approx(round(side * ratio), abs=2e-3)
        assert start * ratio >= outer * ratio - 2e-3
        assert side * ratio <= max(1, space * ratio + 2e-3)
        assert side * ratio > space * ratio - 2


@given(st.floats(-5, 30), st.integers(0, 2))
def test_hints_come_one_after_the_other_and_leave_together(age: float, index: int) -> None:
    now = hints.opacity(age, index)
    assert 0 <= now <= 1
    if age <= 0 or age >= hints.STAY_S:
        assert now == 0
    if index:
        assert now <= hints.opacity(age, index - 1)
    if 4 < age < hints.STAY_S - hints.FADE_S:
        assert now == 1


def test_amounts_of_memory_are_checked_while_they_are_typed() -> None:
    assert ram_problem("") is None
    assert ram_problem(" 96M ") is None
    assert "lots" in (ram_problem("lots") or "")
    assert program_version()


def test_text_is_cut_where_it_does_not_fit(person: Person) -> None:
    found: list[tuple[str, float]] = []

    def gui() -> None:
        for width in (10, 40, 80, 200, 1000):
            text = fit_text("A machine with a long name", width)
            found.append((text, imgui.calc_text_size(text).x - width))

    person.window.host.build(gui)
    assert found[-1][0] == "A machine with a long name"
    assert all(text.endswith("…") for text, _ in found[:3])
    assert all(over <= 0 for text, over in found if text != "…")


def test_the_menu_holds_the_actions(host: Person) -> None:
    host.click(20, 24)
    host.frame(3)
    assert host.popup_open()
    popups = [w for w in _windows(active=True) if w.startswith("##Popup")]
    popup = imgui.internal.find_window_by_name(popups[-1])
    host.move(popup.pos.x + 30, popup.pos.y + 71)  # the third category: Look
    host.until(lambda: "Look###Menu_00" in _windows(active=True), "its menu should open")
    menu = imgui.internal.find_window_by_name("Look###Menu_00")
    mode = host.state.settings.mode
    host.click(menu.pos.x + 60, menu.pos.y + 42)  # its second line: the next mode
    assert host.state.settings.mode != mode
    host.click(20, 24)
    host.frame(3)
    host.click(popup.pos.x + 30, popup.pos.y + popup.size.y - 18)  # the last line: Quit
    assert host.window.quit_requested
    host.window.quit_requested = False


def test_the_palette_menu_and_the_bars_buttons(host: Person) -> None:
    right = SIZE[0]
    start = host.state.settings
    host.click(right - 26, 24)  # the last button: keys
    assert host.overlay() == "keys"
    host.key("Escape")
    host.frame(3)
    host.click(right - 62, 24)  # before it: the theme
    assert host.state.settings.theme != start.theme
    before = host.state.stage.view.look.palette
    host.run("view.palette", next(p for p in host.state.stage.palettes if p != before))
    assert host.state.stage.view.look.palette != before


def test_a_narrow_window_has_an_icon_for_the_mode(host: Person) -> None:
    host.run("window.resize", 760, 500)
    host.frame(6)
    x, _, width, _ = host.state.volume_rect
    assert width > 200
    assert x + width <= 760


def test_every_state_of_a_machine_is_drawn(host: Person) -> None:
    machine = host.state.machine()
    assert machine is not None
    real = machine._info
    try:
        for state in MachineState:
            for message in (
                "",
                "QEMU was killed by signal 9. It said: something long enough to be wrapped in its card",
            ):
                attached = state is MachineState.PAUSED
                machine._info = dataclasses.replace(
                    real, state=real.state if state.ended else state, message=message, attached=attached, warm=True
                )
                if state is MachineState.CRASHED:
                    machine._info = dataclasses.replace(machine._info, accelerator="kvm")
                host.frame(2)
                assert host.toasts() == []
    finally:
        machine._info = real


def test_buttons_of_a_card_do_what_they_say(host: Person) -> None:
    machine = host.state.machine()
    assert machine is not None
    panel = imgui.internal.find_window_by_name("Machines")
    card = next(imgui.internal.find_window_by_name(w) for w in _windows() if "card tiny" in w)
    y = card.pos.y + card.size.y - 24
    host.click(card.pos.x + 26, y)  # pause
    host.until(lambda: machine.info.state is MachineState.PAUSED, "it should pause")
    host.frame(3)
    host.click(card.pos.x + 26, y)  # now it is resume
    host.until(lambda: machine.info.state is MachineState.RUNNING, "it should go on")
    host.click(card.pos.x + 26 + 2 * 32, y)  # console
    host.frame(3)
    assert host.console_typing()
    host.key("Escape", "Shift")
    host.click(card.pos.x + 26 + 3 * 32, y)  # fit
    assert host.state.stage.view.camera.flying or host.state.history.can_undo
    host.click(panel.pos.x + 40, panel.pos.y + 56)  # Launch…
    host.frame(2)
    assert host.overlay() == "launch"


def test_tooltips_explain_on_hover(host: Person) -> None:
    host.move(SIZE[0] - 26, 24)
    host.until(lambda: any(w.startswith("##Tooltip") for w in _windows(active=True)), "a tip should open")


def test_the_log_filters_copies_and_shows_weights(host: Person) -> None:
    host.run("window.show", "Log")
    host.window.session.notices.warn("Something odd", "detail")
    host.window.session.notices.tell("Something fine")
    for level in (0, 30, 40):
        host.state.log_level = level
        host.frame(2)
    host.state.log_level = 0
    host.state.log_needle = "nothing like this"
    host.frame(2)
    host.state.log_needle = "odd"
    host.frame(2)
    host.run("window.dismiss")
    log = imgui.internal.find_window_by_name("Log")
    host.click(log.pos.x + log.size.x - 58, log.pos.y + 54)  # copy
    assert host.offscreen.clipboard.get().endswith("window: Something odd: detail")
    host.click(log.pos.x + 40, log.pos.y + 84, button=2)
    host.frame(3)
    host.key("Escape")
    host.state.log_needle = ""


def test_jobs_show_in_the_status_bar_and_can_be_cancelled(host: Person) -> None:
    def endless(job: object) -> None:
        while not job.cancelled():  # type: ignore[attr-defined]
            time.sleep(0.002)

    jobs = [host.state.jobs.start(f"Counting to {i}", endless) for i in range(4)]
    jobs[0].report("half", 0.5)
    host.frame(4)
    for job in jobs:
        job.cancel()
    host.until(lambda: all(j.state is not JobState.RUNNING for j in jobs), "they should end")
    host.frame(3)


@pytest.mark.parametrize("level", list(ToastLevel))
def test_toasts_of_every_level_are_drawn(host: Person, level: ToastLevel) -> None:
    host.state.toasts.add(level, f"A toast of level {level.value}", "with a detail")
    host.state.toasts.add(level, f"A toast of level {level.value}", "with a detail")
    host.frame(20)
    assert any(w.startswith("##toast") for w in _windows(active=True))


def test_unmapped_parts_of_the_file_say_so(host: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("view.select", "0x20000")
    with monkeypatch.context() as patch:
        patch.setattr(type(host.state.stage), "paddr", lambda _self, _place: None)
        host.frame(2)
        point = host.middle
        host.click(*point, button=2)
        host.frame(2)
        assert host.run("selection.copy_address") == "0x20000"
    host.key("Escape")
    assert host.toasts() == []


def test_shift_drag_pans(host: Person) -> None:
    before = host.state.stage.camera
    x, y = host.middle
    host.offscreen.send({"event_type": "key_down", "key": "Shift"})
    host.drag((x, y), (x + 40, y + 8))
    host.offscreen.send({"event_type": "key_up", "key": "Shift"})
    assert host.state.stage.camera.azimuth_degrees == before.azimuth_degrees
    assert host.state.stage.camera.target != before.target


def test_a_quick_drag_loses_nothing(host: Person) -> None:
    """Press, moves and release that arrive at once, as after a slow frame, turn as far as a slow drag."""
    start = host.state.stage.camera.azimuth_degrees
    x, y = host.middle
    host.move(x, y)
    host.frame(2)
    for kind, dx in (("pointer_down", 0), ("pointer_move", 30), ("pointer_move", 100), ("pointer_up", 100)):
        host.window.on_event({"event_type": kind, "x": x + dx, "y": y, "button": 1})
    while host.window.host.has_pending_input():
        host.frame(1)
    host.frame(2)
    turned = host.state.stage.camera.azimuth_degrees - start
    assert turned == pytest.approx(-100 * volume.DEGREES_PER_PX, abs=1e-6)


def _windows(*, active: bool = False) -> list[str]:
    context = imgui.get_current_context()
    return [w.name for w in context.windows if w.active or not active]
