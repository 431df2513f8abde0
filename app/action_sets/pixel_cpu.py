"""Actions on the Pixel CPU's program: open one, step through it forwards and back, set registers, save its picture."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, ActionError, BadArguments, Param
from app.failures import UsageError
from app.layout import PIXEL_CPU
from app.learning_ui import learner_of
from app.pixel_cpu import MACHINE, PixelCpu
from app.pixel_programs import names_of, picture_of
from app.session import Session
from app.user_paths import path_argument
from bridge.memory.errors import GuestMemoryError
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.picture import Picture, save
from bridge.pixelcpu.stepper import MOST_LANES, Stepper, flag_names

CATEGORY = "Pixel CPU"


class NoProgram(ActionError):
    """Nothing is open; the message says what would be."""


def pixel_cpu_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state
    cpu: PixelCpu = state.pixel_cpu

    def needs_program() -> str | None:
        return None if cpu.stepper is not None else "No program is open: open a picture, or a loop that was learned"

    def stepper() -> Stepper:
        if cpu.stepper is None:
            raise NoProgram(needs_program() or "")
        return cpu.stepper

    def begin(picture: Picture) -> str:
        try:
            memory = cpu.open(picture)
        except OSError as error:
            raise NoProgram(f"Its memory could not be made: {error.strerror}") from error
        if state.machine(MACHINE) is None:
            session.machines.open_dump(memory, MACHINE, select=state.current is None)
        session.kept.change(show_pixel_cpu=True)
        state.focus_panel = PIXEL_CPU
        return picture.program.hash

    def open_program(path: str) -> str:
        if not path.strip():
            raise BadArguments("path: name a file")
        try:
            return begin(picture_of(path_argument(path).absolute()))
        except UsageError as error:
            raise BadArguments(f"path: {error}") from error

    def of_loop(loop: str) -> str:
        learner = learner_of(state)
        learnt = None if learner is None else learner.latest()
        entries = () if learnt is None or not loop else learnt.look.entries
        found = [one for one in entries if one.candidate.x86_hash.startswith(loop)]
        if len(found) != 1:
            raise BadArguments("loop: there is none whose hash begins so" if not found else "loop: several begin so")
        learned = found[0].learned
        if learned is None or learned.translation is None:
            raise BadArguments("loop: it has no microcode")
        names = names_of(learned.translation)
        goes_on = (
            learned.loop is not None and learned.loop.ordered and not learned.loop.closed
        )  # then lanes are no rounds
        program = learned.translation.program if goes_on else learned.rounds or learned.translation.program
        return begin(Picture(program, f"{found[0].candidate.symbol or learned.x86_hash[:12]}"[:200], tuple(names)))

    def step(count: int = 1) -> dict[str, Any]:
        if count < 1:
            raise BadArguments("count: 1 or more")
        for _ in range(count):
            if not stepper().step():
                break
        return told()

    def back() -> dict[str, Any]:
        stepper().back()
        return told()

    def run() -> dict[str, Any]:
        stepper().run()
        return told()

    def reset() -> dict[str, Any]:
        stepper().reset()
        return told()

    def set_register(register: str, value: str) -> dict[str, Any]:
        current = stepper()
        if register not in cpu.names:
            raise BadArguments(f"register: there is no {register[:20]!r}")
        try:
            number = int(value.strip().replace("_", ""), 0)
        except ValueError:
            raise BadArguments("value: a number, such as 4096 or 0x1000") from None
        if not -(1 << 63) <= number < 1 << 64:
            raise BadArguments("value: it does not fit into 64 bits")
        current.initial[cpu.names.index(register)] = number & ((1 << 64) - 1)
        current.reset()
        return told()

    def lanes(count: int) -> int:
        stepper()
        try:
            cpu.set_lanes(count)
        except PixelError as error:
            raise BadArguments(f"count: {error}") from error
        return count

    def lane(number: int) -> dict[str, Any]:
        if not 0 <= number < stepper().n_lanes:
            raise BadArguments(f"number: it lies between 0 and {stepper().n_lanes - 1:,}")
        cpu.lane = number
        return told()

    def save_picture(path: str) -> str:
        stepper()
        target = path_argument(path).absolute()
        if target.suffix.lower() != ".png":
            raise BadArguments("path: a picture's name ends in .png")
        assert cpu.picture is not None
        save(cpu.picture, target)
        return str(target)

    def told() -> dict[str, Any]:
        current = stepper()
        _follow(session, cpu, current)
        access = current.access
        return {
            "title": "" if cpu.picture is None else cpu.picture.title,
            "place": current.place,
            "instructions": len(current.program.instructions),
            "next": None if current.at_end else cpu.lines[current.place],
            "fault": current.fault or None,
            "lanes": current.n_lanes,
            "lane": cpu.lane,
            "registers": {name: current.register(number, cpu.lane) for number, name in enumerate(cpu.names)},
            "flags": flag_names(current.flags(cpu.lane)),
            "changed": [cpu.names[number] for number in sorted(current.changed)],
            "access": None
            if access is None or not len(access.addresses)
            else {
                "is_store": access.is_store,
                "size": access.size,
                "lanes": len(access.lanes),
                "first": int(access.addresses.min()),
                "last": int(access.addresses.max()),
            },
        }

    def of_program(**more: Any) -> Action:
        return Action(category=CATEGORY, why_not=needs_program, **more)

    return [
        Action(
            id="pixel.open",
            title="Open a Pixel CPU program…",
            category=CATEGORY,
            run=open_program,
            params=(Param("path", required=True, help="a PNG, assembly text, or what `pixel prove --json` printed"),),
            icon=icons.ICON_FA_MICROCHIP,
            help="Step through it, with its registers, and its memory as a volume",
            keywords="microcode step debug picture png",
        ),
        Action(
            id="pixel.of_loop",
            title="Step through a learned loop's microcode",
            category=CATEGORY,
            run=of_loop,
            params=(Param("loop", required=True, help="how the hash of its code begins"),),
            in_palette=False,
        ),
        of_program(
            id="pixel.step",
            title="Step the Pixel CPU",
            run=step,
            params=(Param("count", "integer"),),
            icon=icons.ICON_FA_FORWARD_STEP,
            help="One instruction, in all lanes",
        ),
        of_program(
            id="pixel.back",
            title="Step the Pixel CPU back",
            run=back,
            icon=icons.ICON_FA_BACKWARD_STEP,
            help="As if the last instruction had not been done; memory too",
        ),
        of_program(
            id="pixel.run",
            title="Run the Pixel CPU to the end",
            run=run,
            icon=icons.ICON_FA_FORWARD_FAST,
            help="Or to a load or store outside its memory",
        ),
        of_program(
            id="pixel.reset",
            title="Begin the Pixel CPU's program anew",
            run=reset,
            icon=icons.ICON_FA_ROTATE_LEFT,
            help="With registers and memory as they were at first",
        ),
        of_program(
            id="pixel.set",
            title="Set what a register of the Pixel CPU begins with…",
            run=set_register,
            params=(
                Param("register", "choice", required=True, choices=lambda: list(cpu.names)),
                Param("value", required=True),
            ),
            icon=icons.ICON_FA_PEN,
        ),
        of_program(
            id="pixel.lanes",
            title="Lanes of the Pixel CPU…",
            run=lanes,
            params=(Param("count", "integer", required=True, help=f"1 to {MOST_LANES:,}"),),
            icon=icons.ICON_FA_BARS_STAGGERED,
        ),
        of_program(
            id="pixel.lane",
            title="Show a lane of the Pixel CPU",
            run=lane,
            params=(Param("number", "integer", required=True),),
            in_palette=False,
        ),
        of_program(
            id="pixel.save",
            title="Save the Pixel CPU's program as a picture…",
            run=save_picture,
            params=(Param("path", required=True, help="a file that ends in .png"),),
            icon=icons.ICON_FA_IMAGE,
        ),
        of_program(id="pixel.state", title="Say where the Pixel CPU is", run=told, in_palette=False),
    ]


def _follow(session: Session, cpu: PixelCpu, stepper: Stepper) -> None:
    """Select what the shown lane touched last, where its memory is shown."""
    access = stepper.access
    if access is None or MACHINE not in session.state.stage.feeds:
        return
    mine = access.addresses[access.lanes == cpu.lane]
    if len(mine):
        try:
            place = session.navigation.place_of(int(mine[0]), MACHINE)
        except GuestMemoryError:
            return
        session.navigation.select(place)
