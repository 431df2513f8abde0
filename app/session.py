"""Session: what the program does with machines, places and settings; panels and scripts reach it through actions."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app import people
from app.actions import ActionError, ActionRegistry, BadArguments
from app.chosen import Choosing, Chosen
from app.frame_times import FrameTimes
from app.histograms import Histograms
from app.jobs import Job, Jobs, JobState
from app.kernel_channels import CHANNEL_TRANSFERS
from app.kernels import Kernels
from app.log import LogRing, RingHandler
from app.place import Place
from app.settings import Settings, load_settings, save_settings
from app.slicings import Slicings
from app.stage import Stage, pane_names
from app.state import AppState, Look, Overlay, Vital
from app.toasts import ToastLevel, Toasts, Way
from app.transfer_presets import TransferPresets
from app.upload_rate import UploadRate
from app.user_palettes import UserPalettes
from app.views_file import Views, load_views, restore, save_views, views_of
from app.window_options import WindowOptions
from bridge.kernel.errors import KernelError
from bridge.machine.catalogue import find_guest
from bridge.machine.directories import config_dir
from bridge.machine.discovery import discover, remove_leftovers, stop_machine
from bridge.machine.errors import MachineError, NoSuchMachine
from bridge.machine.guest import Guest, GuestError
from bridge.machine.machine import Machine
from bridge.machine.manager import AnyMachine, MachineManager
from bridge.machine.records import MachineRecord
from bridge.machine.states import MachineEvent, MachineState
from bridge.memory.errors import GuestMemoryError
from render.content import Kind
from render.errors import DeviceLost, RenderError
from render.look import Look as VolumeLook
from render.palettes import is_palette
from render.transfer import EVERYTHING, Transfer
from render.view import VolumeView

VITALS_EVERY_S = 1.0
FIGURES_EVERY_S = 0.5
DISCOVER_EVERY_S = 10.0
SAVE_AFTER_S = 1.0  # settings are written when they have been quiet this long
UPLOAD_BUDGET_S = 0.006  # of a frame of 16 ms
CLOSE_LIMIT_S = 8.0
TOUR_S = 9.0
TOUR_DEGREES = 90.0

_FORESEEN = (MachineError, GuestError, GuestMemoryError, KernelError, RenderError, ActionError, OSError)
logger = logging.getLogger("window")


def describe(error: BaseException) -> str:
    """Return an error in words: its own for the foreseen, with its kind for a defect of ours."""
    text = str(error).strip()
    if isinstance(error, _FORESEEN) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Session:
    """The main thread's hands. `tick` once a frame; `close` at the end."""

    def __init__(self, options: WindowOptions, *, keep: bool = True) -> None:
        """`keep`: settings are saved for the next run."""
        self.options = options
        self.keep = keep
        self.config = config_dir()
        settings, problem = load_settings(self.config)
        log = LogRing()
        self._log_handler = RingHandler(log)
        logging.getLogger().addHandler(self._log_handler)
        logging.getLogger("window").setLevel(logging.INFO)
        self._events: queue.SimpleQueue[MachineEvent] = queue.SimpleQueue()
        stage = Stage()
        manager = MachineManager()
        self._unsubscribe = manager.subscribe(self._machine_event)
        jobs = Jobs()
        self.state = AppState(
            settings=settings,
            manager=manager,
            jobs=jobs,
            histograms=Histograms(jobs),
            toasts=Toasts(),
            log=log,
            actions=ActionRegistry(),
            frames=FrameTimes(),
            stage=stage,
            slicings=Slicings(self.config, keep=keep),
            kernels=Kernels(),
            presets=TransferPresets(self.config),
            run=self.run,
            is_software=stage.adapter.is_software,
            device_label=stage.device_label,
        )
        self._choosing = Choosing(stage, self.state.kernels)
        self._saved = settings
        self._channels: tuple[str, ...] = ()
        self._palettes = UserPalettes(self.config)
        self.refresh_palettes()
        if keep:
            restore(stage, load_views(self.config, pane_names()), look_from_settings)
        self._views = self._views_before = self._views_now()
        self._settings_changed_s: float | None = None
        self._next_vitals_s = 0.0
        self._next_discover_s = 0.0
        self._next_figures_s = 0.0
        self._tour_from: tuple[float, float] | None = None  # when it began, degrees turned so far
        self._greet = options.tour and not settings.greeted
        self._apply_settings()
        if problem:
            self.warn("Settings were reset", problem)
        if problem := self.state.presets.load():
            self.warn("Your transfer functions were set aside", problem)

    # Running

    def start(self) -> None:
        """Do what the options ask for: launch or attach; and look for machines that a killed window left."""
        options = self.options
        for path in options.dumps:
            self.open_dump(path, options.machine_name if len(options.dumps) == 1 else None)
        if options.attach is not None:
            self.attach(options.attach)
        elif options.guest is not None:
            self.launch(options.guest)
        elif options.guest_name is not None:
            self.launch(options.guest_name)

    def run(self, action: str, args: Mapping[str, object] | Sequence[object] = ()) -> Any:
        """Run an action for the user: an error becomes a toast, once. Returns its result, or None after an error."""
        try:
            return self.state.actions.run(action, args)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 - shown to the user; the window goes on
            self.report(error)
            return None

    def tick(self) -> bool:
        """Take in what happened since the last frame; returns whether the picture is out of date."""
        state = self.state
        state.now_s = time.monotonic()
        changed = state.jobs.pump() > 0
        changed |= self._take_events()
        if state.now_s >= self._next_vitals_s:
            self._next_vitals_s = state.now_s + VITALS_EVERY_S
            self._sample()
            self._save_views()
            changed |= bool(state.vitals)
        if state.now_s >= self._next_figures_s:
            self._next_figures_s = state.now_s + FIGURES_EVERY_S
            state.frame_stats = state.frames.stats()
            state.pass_figures = state.pass_times.figures()
            state.memory_use = state.stage.memory_use()
            self._sample_uploads()
        if state.now_s >= self._next_discover_s:
            self._next_discover_s = state.now_s + DISCOVER_EVERY_S
            self._discover()
        problems = state.stage.sync(state.manager.machines())
        for name, error in problems:
            self.report(error, f"The memory of {name} cannot be shown")
        if (channels := state.stage.view.channels()) != self._channels:
            self._channels = channels
            self._apply_settings()
        self._follow_machines()
        state.slicings.follow(state.stage)
        still = {machine.name for machine in state.manager.machines() if machine.info.dump}
        state.kernels.sync({name: feed.ram for name, feed in state.stage.feeds.items()}, still, self.types_file())
        running = [m for m in state.manager.machines() if m.info.state is MachineState.RUNNING]
        freezers = {machine.name: machine.briefly_held for machine in running if isinstance(machine, Machine)}
        state.kernels.hold(freezers, state.now_s, always=state.settings.consistent_frame)
        news = state.kernels.pump({name: feed.store for name, feed in state.stage.feeds.items()})
        told = any(pane.view.look.channel in CHANNEL_TRANSFERS for pane in state.stage.panes)
        changed |= news and (told or state.settings.show_statistics)
        changed |= state.kernels.answered or (news and people.changed(state))
        changed |= state.volatility.pump()
        changed |= self._follow_chosen()
        changed |= state.stage.pump(UPLOAD_BUDGET_S) > 0
        changed |= self._tour()
        if self._settings_changed_s is not None and state.now_s - self._settings_changed_s > SAVE_AFTER_S:
            self.save()
        if state.slicings.quiet_s() > SAVE_AFTER_S:
            self._save_slicings()
        return changed or bool(problems)

    def close(self) -> None:
        """End everything: jobs, then machines that are ours, then the GPU. Detached machines run on."""
        state = self.state
        state.quitting = True
        started = time.monotonic()
        stuck = state.jobs.close(CLOSE_LIMIT_S)
        for job in stuck:
            logger.warning("“%s” did not end when it was cancelled", job.title)
        self._unsubscribe()
        state.manager.close()
        if state.slices.flat is not None:
            state.slices.flat.close()
        self._save_views(at_once=True)
        state.kernels.close()
        state.volatility.worker.close()
        state.stage.close()
        self.save()
        self._save_slicings()
        logging.getLogger().removeHandler(self._log_handler)
        logger.info("closed in %.1f s", time.monotonic() - started)

    # Telling the user

    def report(self, error: BaseException, title: str = "", *ways: Way) -> None:
        """Show and log an error. The one place where errors end."""
        text = describe(error)
        if isinstance(error, _FORESEEN):
            logger.error("%s", f"{title}: {text}" if title else text)
        else:
            logger.error("%s", title or "A defect in Glassbox", exc_info=error)
        head, detail = (title, text) if title else _headline(text)
        self.state.toasts.add(ToastLevel.ERROR, head, detail, *ways, Way("Show log", "window.show", {"panel": "Log"}))

    def warn(self, title: str, detail: str = "", *ways: Way) -> None:
        """Show and log something that the user should know."""
        logger.warning("%s", f"{title}: {detail}" if detail else title)
        self.state.toasts.add(ToastLevel.WARN, title, detail, *ways)

    def tell(self, title: str, detail: str = "", *, good: bool = False) -> None:
        """Show and log good news."""
        logger.info("%s", f"{title}: {detail}" if detail else title)
        self.state.toasts.add(ToastLevel.GOOD if good else ToastLevel.INFO, title, detail)

    # Machines

    def machine(self, name: str | None) -> AnyMachine:
        """Return a machine by name, or the current one. Raises NoSuchMachine."""
        found = self.state.machine(name)
        if found is None:
            wanted = name or self.state.current
            if wanted is None:
                raise BadArguments("no machine is selected; name one")
            return self.state.manager.get(wanted)  # raises with the names that there are
        return found

    def launch(
        self,
        guest: str | Guest,
        *,
        name: str | None = None,
        ram_bytes: int | None = None,
        cold: bool | None = None,
        network: bool | None = None,
        detach: bool = False,
    ) -> Job:
        """Start a guest in a job, whose result is the machine's name."""
        options, manager = self.options, self.state.manager
        first = not self.state.manager.machines() and not self.state.launching
        title = guest if isinstance(guest, str) else guest.name

        def work(job: Job) -> str:
            job.report("Preparing the guest")
            found = find_guest(guest, progress=job.report, cancelled=job.cancelled) if isinstance(guest, str) else guest
            job.check()
            machine = manager.launch(
                found,
                name=name or (options.machine_name if first else None),
                ram_bytes=ram_bytes or (options.ram_bytes if first else None),
                cold=options.cold if cold is None else cold,
                network=options.network if network is None else network,
                detach=detach,
                progress=job.report,
                cancelled=job.cancelled,
            )
            return machine.name

        def end(job: Job) -> None:
            self.state.launching.pop(job.number, None)
            if job.state is JobState.DONE:
                self.select_machine(str(job.result))
            elif job.state is JobState.FAILED and job.error is not None:
                again = Way("Try again", "machine.launch", {"guest": title}) if isinstance(guest, str) else None
                self.report(job.error, f"{title} could not be launched", *([again] if again else []))

        job = self.state.jobs.start(f"Launching {title}", work, on_end=end)
        self.state.launching[job.number] = title
        return job

    def attach(self, socket: Path, name: str | None = None) -> Job:
        """Look into a QEMU that someone else started, in a job."""

        def work(_job: Job) -> str:
            return self.state.manager.attach(socket, name=name or self.options.machine_name).name

        return self._machine_job(f"Attaching to {socket.name}", work, f"{socket} could not be attached to")

    def adopt(self, machine: str) -> Job:
        """Take over a machine that a killed window left, or that was detached."""

        def work(_job: Job) -> str:
            return self.state.manager.adopt(machine).name

        return self._machine_job(f"Adopting {machine}", work, f"{machine} could not be adopted")

    def open_dump(self, path: Path, name: str | None = None) -> Job:
        """Look at a RAM dump as at a paused machine, in a job: one that has to be copied takes its time."""

        def work(job: Job) -> str:
            return self.state.manager.open_dump(path, name=name, progress=job.report).name

        def end(job: Job) -> None:
            self.state.launching.pop(job.number, None)
            if job.state is JobState.DONE:
                self.select_machine(job.result)
                self._begin_greeting()
            elif job.state is JobState.FAILED and job.error is not None:
                again = Way("Choose another…", "machine.open_dump_dialog", {})
                self.report(job.error, f"{path.name} could not be opened", again)

        title = f"Opening {path.name}"
        job = self.state.jobs.start(title, work, on_end=end, can_cancel=False)
        self.state.launching[job.number] = path.name
        return job

    def _machine_job(self, title: str, work: Callable[[Job], str], failure: str) -> Job:
        def end(job: Job) -> None:
            self._next_discover_s = 0.0
            if job.state is JobState.DONE:
                self.select_machine(job.result)
            elif job.state is JobState.FAILED and job.error is not None:
                self.report(job.error, failure)

        return self.state.jobs.start(title, work, on_end=end)

    def operate(self, verb: str, doing: str, name: str | None) -> Job:
        """Call pause, resume, reset or stop of a machine in a job: QEMU may take its time to answer."""
        machine = self.machine(name)

        def work(_job: Job) -> None:
            getattr(machine, verb)()

        def end(job: Job) -> None:
            if job.state is JobState.FAILED and job.error is not None:
                self.report(job.error, f"{machine.name} could not be {doing.lower()}")

        return self.state.jobs.start(f"{doing} {machine.name}", work, on_end=end, can_cancel=False)

    def stop(self, name: str | None) -> Job | None:
        """End a machine; one that has ended already is taken off the list, a dump is closed."""
        machine = self.machine(name)
        if machine.info.state.ended or machine.info.dump:
            self.state.manager.remove(machine.name)
            return None
        if machine.info.attached:
            return self.detach(machine.name)
        return self.operate("stop", "Stopping", machine.name)

    def detach(self, name: str | None) -> Job:
        """Let go of a machine and leave it running."""
        machine = self.machine(name)

        def work(_job: Job) -> None:
            self.state.manager.detach(machine.name)

        def end(job: Job) -> None:
            self._next_discover_s = 0.0
            if job.state is JobState.FAILED and job.error is not None:
                self.report(job.error, f"{machine.name} could not be let go")
            else:
                self.tell(f"{machine.name} was let go", "It runs on without this window.")

        return self.state.jobs.start(f"Letting go of {machine.name}", work, on_end=end, can_cancel=False)

    def stop_orphan(self, machine: str) -> Job:
        """End a machine that was found running without a window."""

        def work(_job: Job) -> None:
            stop_machine(machine)  # not by adopting it: one whose RAM file is gone could not be

        def end(job: Job) -> None:
            self._next_discover_s = 0.0
            if job.state is JobState.FAILED and job.error is not None:
                self.report(job.error, f"{machine} could not be stopped")

        return self.state.jobs.start(f"Stopping {machine}", work, on_end=end, can_cancel=False)

    def select_machine(self, machine: str) -> None:
        """Make a machine the one that console, keys and search are about."""
        self.state.current = self.machine(machine).name

    def _follow_machines(self) -> None:
        """Forget what belonged to machines that are gone, and always have a current one where there is any."""
        state = self.state
        for machine in state.manager.machines():
            # A crash stays on the list with its last words, until the user has seen it. An orderly end does not.
            if machine.info.state is MachineState.STOPPED and not state.quitting:
                with contextlib.suppress(NoSuchMachine):
                    state.manager.remove(machine.name)
        names = [m.name for m in state.manager.machines()]
        if state.current not in names:
            state.current = names[-1] if names else None
        state.kernel.shelf.keep(names)
        for kept in (state.vitals, state.terminals, state.hex_views, state.disassemblies):
            for name in [n for n in kept if n not in names]:
                del kept[name]
        if state.selection is not None and state.selection.machine not in state.stage.feeds:
            state.selection = None
        if state.menu_place is not None and state.menu_place.machine not in state.stage.feeds:
            state.menu_place = None
        if state.hover is not None and state.hover.machine not in state.stage.feeds:
            state.hover = None

    def _sample(self) -> None:
        for machine in self.state.manager.machines():
            if machine.info.state.ended or machine.info.dump:
                continue
            vital = self.state.vitals.setdefault(machine.name, Vital())
            vital.usage = machine.usage()
            vital.cpu.append(vital.usage.cpu_percent)

    def _sample_uploads(self) -> None:
        state = self.state
        for name in [n for n in state.upload_rates if n not in state.stage.feeds]:
            del state.upload_rates[name]
        for name, feed in state.stage.feeds.items():
            state.upload_rates.setdefault(name, UploadRate()).sample(state.now_s, feed.stats.uploaded_pages)

    def _discover(self) -> None:
        def work(_job: Job) -> tuple[MachineRecord, ...]:
            remove_leftovers()
            return discover()

        def end(job: Job) -> None:
            if job.state is JobState.DONE:
                ours = {m.name for m in self.state.manager.machines()}
                self.state.orphans = tuple(
                    r for r in job.result if r.qemu_alive and not r.owner_alive and r.name not in ours
                )
            elif job.state is JobState.FAILED and job.error is not None:
                logger.warning("looking for machines failed: %s", describe(job.error))

        self.state.jobs.start("Looking for machines", work, on_end=end, quiet=True)

    # Events, pushed by the machines' own threads

    def _machine_event(self, event: MachineEvent) -> None:
        self._events.put(event)

    def _take_events(self) -> bool:
        took = False
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return took
            took = True
            self._on_event(event)

    def _on_event(self, event: MachineEvent) -> None:
        detail = ", ".join(f"{k} {v}" for k, v in event.detail.items())
        logging.getLogger(event.machine).log(
            logging.ERROR if event.kind == "CRASH" else logging.INFO, "%s", f"{event.kind} {detail}".strip()
        )
        if event.kind == "CRASH":
            machine = self.state.machine(event.machine)
            if machine is None:
                return  # it never came to be one of ours: the job that tried tells why
            self.state.toasts.add(
                ToastLevel.ERROR,
                f"{event.machine} ended unexpectedly",
                machine.info.message,
                Way("Launch again", "machine.launch", {"guest": machine.info.guest}),
                Way("Show log", "window.show", {"panel": "Log"}),
            )
        elif event.kind == "READY":
            machine = self.state.machine(event.machine)
            usage = machine.usage() if machine is not None else None
            self.tell(f"{event.machine} is up", f"after {usage.uptime_s:.1f} s" if usage else "", good=True)
            self._begin_greeting()

    # Places

    def select(self, place: Place | None, *, remember: bool = True) -> None:
        """Select a byte, or nothing."""
        state = self.state
        if place == state.selection:
            return
        if remember:
            state.remember()
        state.selection = place
        if place is not None:
            state.current = place.machine
            address = state.stage.paddr(place)
            state.address_text = f"{address:#x}" if address is not None else ""
        state.stage.mark(place)

    def choose(self, chosen: Chosen | None, *, remember: bool = True, fly: bool = True) -> None:
        """Light up the pages of something in the guest and fly there, or light up nothing."""
        state = self.state
        if remember:
            state.remember()
        state.chosen = chosen
        self._choosing.start(fly=fly and chosen is not None)
        if chosen is not None:
            state.current = chosen.machine
            self.end_tour()
        self._follow_chosen()

    def fly_to_chosen(self) -> None:
        """Fly to the pages that are lit up, now or as soon as they are known."""
        self.state.remember()
        self._choosing.start(fly=True)
        self._follow_chosen()
        self.end_tour()

    def _follow_chosen(self) -> bool:
        """Bring what is lit up to date; returns whether that changed anything."""
        state, before = self.state, self.state.chosen
        state.chosen = self._choosing.update(before, time.monotonic())
        return state.chosen is not before

    def place_of(self, address: int, machine: str | None = None) -> Place:
        """Return the place of a guest-physical address. Raises GuestMemoryError where there is no RAM."""
        name = machine or (self.state.selection.machine if self.state.selection else None) or self.machine(None).name
        if name not in self.state.stage.feeds:
            self.machine(name)
            raise BadArguments(f"the memory of {name} is not shown")
        return self.state.stage.place(name, address)

    def go_to(self, address: int, machine: str | None = None) -> None:
        """Select the byte at a guest-physical address and fly there."""
        place = self.place_of(address, machine)
        self.state.remember()
        self.select(place, remember=False)
        self.state.stage.fly_to(place, time.monotonic())
        self.end_tour()

    def fly_to(self, place: Place) -> None:
        """Select a byte and fly there."""
        self.state.remember()
        self.select(place, remember=False)
        self.state.stage.fly_to(place, time.monotonic())
        self.end_tour()

    def time_travel(self, *, forward: bool) -> bool:
        """Undo or redo selection and camera; returns whether there was anything."""
        state = self.state
        look = (state.history.redo if forward else state.history.undo)(state.look())
        if look is None:
            return False
        self._show_look(look)
        return True

    def _show_look(self, look: Look) -> None:
        state = self.state
        gone = look.selection is not None and look.selection.machine not in state.stage.feeds
        self.select(None if gone else look.selection, remember=False)
        if look.origins:
            state.stage.put(dict(look.origins))
        with contextlib.suppress(KeyError):  # a view that was closed since then: the active one goes there
            self.activate(look.view)
        state.stage.view.camera.skip()
        state.stage.view.camera.state = look.camera
        state.slicings.restore(state.stage, look.slicings)
        self.change(half_life_s=look.half_life_s)
        self.show(look.shown, remember=False)
        if look.chosen != state.chosen:
            self.choose(look.chosen, remember=False, fly=False)
        self.end_tour()

    # Views

    def activate(self, view: str) -> None:
        """Let actions and keys be about this view, and settings tell of its look. Raises KeyError."""
        state = self.state
        if state.stage.active is state.stage.pane(view):
            return
        state.stage.activate(view)
        state.settings = settings_with_look(state.settings, state.stage.view.look)
        self._settings_changed_s = time.monotonic()

    def close_pane(self, view: str) -> None:
        """Close a view that is not the first. Raises KeyError, ValueError."""
        state = self.state
        if state.stage.active is state.stage.pane(view):
            self.activate(state.stage.panes[0].name)
        if state.hover_pane is state.stage.pane(view):
            state.hover = state.hover_pane = None
            state.stage.set_hover(None)
        state.stage.close_pane(view)

    # How bytes are shown

    def show(self, look: VolumeLook, *, remember: bool = True) -> None:
        """Show bytes so in the active view, and in the next run. Raises BadLook."""
        state = self.state
        if remember and look != state.stage.view.look:
            state.remember()
        state.stage.view.look = look
        self.change(**_settings_of(state.settings, look))

    def show_channel(self, channel: str) -> None:
        """Look at another channel, with the palette and the transfer function that it had last. Raises BadLook."""
        settings = self.state.settings
        look = self.state.stage.view.look
        palette, transfer = _kept(settings, channel)
        self.show(replace(look, channel=channel, palette=palette, transfer=transfer))

    def refresh_palettes(self) -> None:
        """Offer the palettes that the user's folder holds now; tell once of files that are none."""
        changed, problems = self._palettes.refresh()
        for problem in problems:
            self.warn("A palette of yours could not be read", problem)
        for pane in self.state.stage.panes:
            look = pane.view.look
            if look.palette in changed:  # other colours under the same name, or none any more
                pane.view.look = replace(look, palette="")
                if is_palette(look.palette):
                    pane.view.look = look

    # First start

    def _begin_greeting(self) -> None:
        if not self._greet:
            return
        self._greet = False
        self.change(greeted=True)
        self.state.hints.born_s = time.monotonic()
        self._tour_from = (time.monotonic(), 0.0)

    def _tour(self) -> bool:
        """Turn the camera a quarter, once, slowly; any deed of the user ends it."""
        if self._tour_from is None:
            return False
        began, turned = self._tour_from
        share = min(1.0, (self.state.now_s - began) / TOUR_S)
        goal = TOUR_DEGREES * share * share * (3 - 2 * share)
        self.state.stage.view.camera.orbit(goal - turned, 0.0)
        self._tour_from = (began, goal) if share < 1.0 else None
        return True

    def end_tour(self) -> None:
        """Stop the greeting's turn: the user has taken over."""
        self._tour_from = None

    def show_hints(self) -> None:
        """Show the hints of the first start again."""
        self.state.hints.born_s = time.monotonic()

    @property
    def touring(self) -> bool:
        return self._tour_from is not None

    # Settings

    def types_file(self) -> Path | None:
        """Return the file with types for kernels that carry none; None where the user named none."""
        return Path(self.state.settings.types_file) if self.state.settings.types_file else None

    def change(self, **changes: Any) -> None:
        """Change settings; they are saved soon."""
        self.state.settings = replace(self.state.settings, **changes)
        self._settings_changed_s = time.monotonic()
        self._apply_settings()

    def _apply_settings(self) -> None:
        settings: Settings = self.state.settings
        stage = self.state.stage
        stage.set_memory_budget(settings.memory_budget_mib << 20)
        stage.set_frame_budget(settings.frame_budget_ms / 1000)
        stage.set_curve(settings.curve)
        stage.view.look = look_from_settings(settings, stage.view)
        stage.half_life_s = settings.half_life_s

    def _views_now(self) -> Views:
        return views_of(self.state.stage, lambda look: settings_with_look(Settings(), look))

    def _save_views(self, *, at_once: bool = False) -> None:
        """Write which views there are and where volumes stand, when that has been at rest for a second."""
        now, before = self._views_now(), self._views_before
        self._views_before = now
        if not self.keep or now == self._views or (now != before and not at_once):
            return
        try:
            save_views(self.config, now)
            self._views = now
        except OSError as error:
            self._views = now  # said once
            self.report(error, "The views could not be saved")

    def save(self) -> None:
        """Write the settings if they changed; a disk that refuses is said, not fatal."""
        self._settings_changed_s = None
        if not self.keep or self.state.settings == self._saved:
            return
        try:
            save_settings(self.config, self.state.settings)
            self._saved = self.state.settings
        except OSError as error:
            self.report(error, "The settings could not be saved")

    def _save_slicings(self) -> None:
        try:
            self.state.slicings.save()
        except OSError as error:
            self.report(error, "The slice planes could not be saved")

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Open one of the overlays, or none."""
        self.state.overlay = overlay


def look_from_settings(settings: Settings, view: VolumeView) -> VolumeLook:
    """Return how `view` should show bytes. A channel that it has not, or not yet, gives way to the content."""
    channel = settings.channel if settings.channel in view.channels() else "content"
    palette, transfer = _kept(settings, channel)
    return VolumeLook(
        mode=settings.mode,
        channel=channel,
        palette=palette,
        transfer=transfer,
        opacity=settings.opacity,
        hidden_kinds=frozenset(Kind[name.upper()] for name in settings.hidden_kinds),
        pyramid=settings.pyramid,
        dim=settings.dim,
    )


def settings_with_look(settings: Settings, look: VolumeLook) -> Settings:
    """Return settings that tell of `look`: the other way round, for when another view becomes the active one."""
    return replace(settings, **_settings_of(settings, look))


def _settings_of(settings: Settings, look: VolumeLook) -> dict[str, Any]:
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


def _kept(settings: Settings, channel: str) -> tuple[str, Transfer]:
    """Return the palette and the transfer function that a channel had last."""
    palette = settings.palettes.get(channel, "")
    points = settings.transfers.get(channel)
    usual = CHANNEL_TRANSFERS.get(channel, EVERYTHING)
    return palette if is_palette(palette) else "", usual if points is None else Transfer(points)


def _headline(text: str) -> tuple[str, str]:
    """Split an error's words into a headline and the rest."""
    head, stop, rest = text.partition(". ")
    if len(head) <= 90:
        return head.rstrip("."), rest if stop else ""
    return "That did not work", text
