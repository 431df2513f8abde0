"""Session: the parts that act for the user, wired together, and what each frame asks of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app import people
from app.actions import ActionRegistry
from app.answers import Answers
from app.auditing import WINDOW, Auditor
from app.bookmarks import BookmarkList
from app.consulting import Consultant
from app.execution_ui import follow as follow_execution
from app.frame_times import FrameTimes
from app.greeting import Greeting
from app.highlight_list import HighlightList
from app.histograms import Histograms
from app.jobs import Jobs
from app.keeping import Keeping
from app.kept_highlights import KeptHighlights
from app.kernel_channels import CHANNEL_TRANSFERS
from app.kernels import Kernels
from app.log import LogRing, RingHandler
from app.looks import Looks
from app.machine_jobs import MachineJobs
from app.machine_watch import MachineWatch
from app.navigation import Navigation
from app.notices import Notices
from app.queries import Queries
from app.readings import Readings
from app.recorder import Recorder
from app.serving.window_server import WindowServer
from app.settings import load_settings
from app.slicings import Slicings
from app.stage import Stage
from app.state import AppState
from app.toasts import Toasts
from app.trace_channels import TraceChannels
from app.transfer_presets import TransferPresets
from app.upload_rate import UploadRate
from app.window_options import WindowOptions
from bridge.machine.directories import config_dir
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.machine.states import MachineState
from render.errors import DeviceLost

VITALS_EVERY_S = 1.0
FIGURES_EVERY_S = 0.5
UPLOAD_BUDGET_S = 0.006  # of a frame of 16 ms
CLOSE_LIMIT_S = 8.0

logger = logging.getLogger("window")


class Session:
    """The main thread's hands. `tick` once a frame; `close` at the end."""

    def __init__(self, options: WindowOptions, *, keep: bool = True) -> None:
        """`keep`: settings are saved for the next run."""
        self.options = options
        folder = config_dir()
        settings, problem = load_settings(folder)
        log = LogRing()
        self._log_handler = RingHandler(log)
        logging.getLogger().addHandler(self._log_handler)
        logging.getLogger("window").setLevel(logging.INFO)
        stage = Stage()
        jobs = Jobs()
        self._auditor = Auditor()
        kernels = Kernels()
        queries = Queries(jobs, stage, kernels)
        self.state = state = AppState(
            settings=settings,
            manager=MachineManager(),
            jobs=jobs,
            histograms=Histograms(jobs),
            toasts=Toasts(),
            log=log,
            actions=ActionRegistry(self._auditor.tell),
            frames=FrameTimes(),
            stage=stage,
            slicings=Slicings(folder, keep=keep),
            kernels=kernels,
            queries=queries,
            readings=Readings(jobs, queries),
            presets=TransferPresets(folder),
            run=self.run,
            is_software=stage.adapter.is_software,
            device_label=stage.device_label,
        )
        self.server = WindowServer()
        self.notices = Notices(state.toasts)
        self.kept = Keeping(state, self.notices, folder, keeps=keep)
        self.greeting = Greeting(state, self.kept, due=options.tour and not settings.greeted)
        self.looks = Looks(state, self.kept, self.notices)
        self.navigation = Navigation(state, self.kept, self.looks, self.greeting)
        self.highlights = HighlightList(state, self.navigation)
        self.kept_highlights = KeptHighlights(state, self.highlights, self.kept, self.notices)
        self.answers = Answers(state, self.navigation, self.highlights, self.kept)
        self.consultant = Consultant(state, queries, self.answers, self._auditor)
        self.bookmarks = BookmarkList(state, self.kept, self.looks, self.notices, self.highlights, self.answers)
        self.watch = MachineWatch(state, self.notices, self.greeting)
        self.machines = MachineJobs(state, options, self.notices, self.watch, self.greeting)
        self.trace_channels = TraceChannels()
        self.recorder = Recorder(state, self.notices, records=keep and settings.store)
        self._next_vitals_s = 0.0
        self._next_figures_s = 0.0
        self.looks.refresh_palettes()
        self.bookmarks.load()
        self.kept_highlights.load()
        self.kept.restore_views()
        self.kept.apply()
        if problem:
            self.notices.warn("Settings were reset", problem)
        if problem := kernels.book.load(folder, keep=keep):
            self.notices.warn("The colours of processes were set aside", problem)
        if problem := state.presets.load():
            self.notices.warn("Your transfer functions were set aside", problem)

    def start(self) -> None:
        """Do what the options ask for: launch, attach, open dumps or a session."""
        options, machines = self.options, self.machines
        for path in options.dumps:
            self._begun("open_dump", path)
            machines.open_dump(path, options.machine_name if len(options.dumps) == 1 else None)
        guest = options.guest or options.guest_name
        if options.attach is not None:
            self._begun("attach", options.attach)
            machines.attach(options.attach)
        elif guest is not None:
            self._begun("launch", guest)
            machines.launch(guest)
        if options.session is not None:
            self.run("session.open", {"path": str(options.session)})

    def _begun(self, verb: str, what: object) -> None:
        self._auditor.tell(WINDOW, f"machine.{verb}", {"asked": str(what)}, "begun")

    def run(self, action: str, args: Mapping[str, object] | Sequence[object] = ()) -> Any:
        """Run an action for the user: an error becomes a toast, once. Returns its result, or None after an error."""
        try:
            return self.state.actions.run(action, args)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 - shown to the user; the window goes on
            self.notices.report(error)
            return None

    def tick(self) -> bool:
        """Take in what happened since the last frame; returns whether the picture is out of date."""
        state, stage = self.state, self.state.stage
        state.now_s = time.monotonic()
        changed = state.jobs.pump() > 0
        changed |= self.watch.take_events()
        if state.now_s >= self._next_vitals_s:
            self._next_vitals_s = state.now_s + VITALS_EVERY_S
            self.watch.sample()
            self.kept.save_views()
            changed |= bool(state.vitals)
        if state.now_s >= self._next_figures_s:
            self._next_figures_s = state.now_s + FIGURES_EVERY_S
            self._take_figures()
        self.watch.discover()
        problems = stage.sync(state.manager.machines())
        for name, error in problems:
            self.notices.report(error, f"The memory of {name} cannot be shown")
        self.looks.follow_channels()
        self.watch.follow()
        state.slicings.follow(stage)
        changed |= self._follow_kernels()
        changed |= self._follow_traces()
        changed |= state.volatility.pump()
        self.recorder.follow()
        changed |= self.navigation.follow_chosen()
        self.kept_highlights.follow()
        self._save_colours()
        self.bookmarks.follow()
        self.consultant.pump()
        changed |= stage.feeds.pump(UPLOAD_BUDGET_S) > 0
        changed |= self.greeting.turn()
        self.kept.save_rested()
        return changed or bool(problems)

    def _follow_kernels(self) -> bool:
        """Watch the kernels of shown machines; returns whether anything of them that is shown changed."""
        state = self.state
        feeds, machines = state.stage.feeds, state.manager.machines()
        still = {machine.name for machine in machines if machine.info.dump}
        paused = {m.name for m in machines if m.info.state is MachineState.PAUSED} - still  # a dump is told so at once
        rams = {name: feed.ram for name, feed in feeds.items()}
        state.kernels.sync(rams, still, self.kept.types_file(), paused=paused)
        running = [m for m in machines if m.info.state is MachineState.RUNNING]
        freezers = {machine.name: machine.briefly_held for machine in running if isinstance(machine, Machine)}
        state.kernels.hold(freezers, state.now_s, always=state.settings.consistent_frame)
        news = state.kernels.pump({name: feed.store for name, feed in feeds.items()})
        told = any(pane.view.look.channel in CHANNEL_TRANSFERS for pane in state.stage.panes)
        shown = news and (told or state.settings.show_statistics)
        return shown or state.kernels.answered or (news and people.changed(state))

    def _follow_traces(self) -> bool:
        """Have a tracer for each machine that runs; returns whether anything of them that is shown changed."""
        state = self.state
        state.tracers.sync(state.manager.machines())
        for name in state.stage.feeds:
            state.tracers.tell(name, state.kernels.watcher(name), state.kernels.sighting(name))
        follow_execution(state)
        news = state.tracers.pump()
        looked_at = frozenset(pane.view.look.channel for pane in state.stage.panes)
        stores = {name: feed.store for name, feed in state.stage.feeds.items()}
        heated = self.trace_channels.follow(state.tracers, stores, looked_at)
        state.learners.sync(state.stage.feeds, state.tracers, state.kernels.inquire)
        learnt = state.learners.pump() and state.settings.show_learning
        return heated or learnt or (news and (state.settings.show_execution or state.settings.show_flow))

    def _save_colours(self, *, at_once: bool = False) -> None:
        """Keep the colours that processes were given; a disk that refuses is said, not fatal."""
        book = self.state.kernels.book
        try:
            if at_once:
                book.save()
            else:
                book.pump(self.state.now_s)
        except OSError as error:
            self.notices.report(error, "The colours of processes could not be saved")

    def _take_figures(self) -> None:
        """Note the figures that are shown: a few times a second, so that they can be read."""
        state = self.state
        state.frame_stats = state.frames.stats()
        state.pass_figures = state.pass_times.figures()
        state.memory_use = state.stage.feeds.memory_use()
        for name in [n for n in state.upload_rates if n not in state.stage.feeds]:
            del state.upload_rates[name]
        for name, feed in state.stage.feeds.items():
            state.upload_rates.setdefault(name, UploadRate()).sample(state.now_s, feed.stats.uploaded_pages)

    def close(self) -> None:
        """End everything: jobs, then machines that are ours, then the GPU. Detached machines run on."""
        state = self.state
        state.quitting = True
        started = time.monotonic()
        stuck = state.jobs.close(CLOSE_LIMIT_S)
        for job in stuck:
            logger.warning("“%s” did not end when it was cancelled", job.title)
        self.watch.close()
        state.learners.close()
        state.tracers.close()  # before the machines go, or are let go: they run as before
        state.manager.close()
        state.pixel_cpu.close()
        if state.slices.flat is not None:
            state.slices.flat.close()
        self.kept.save_views(at_once=True)
        self.kept_highlights.save()
        self._save_colours(at_once=True)
        self.recorder.close()
        state.kernels.close()
        state.volatility.worker.close()
        self.server.stop()
        state.stage.close()
        self.kept.close()
        self._auditor.close()
        logging.getLogger().removeHandler(self._log_handler)
        logger.info("closed in %.1f s", time.monotonic() - started)
