"""State: everything that the panels show and the actions change, in one place on the main thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from app.actions import ActionRegistry, BadArguments
from app.chosen import Chosen
from app.consulting import Consulting
from app.execution_ui import ExecutionUi
from app.flow_ui import FlowUi
from app.frame_times import FrameStats, FrameTimes
from app.highlights import Highlights
from app.highlights_ui import HighlightsUi
from app.histograms import Histograms
from app.history import History
from app.jobs import Job, Jobs
from app.kernel_ui import KernelUi
from app.kernels import Kernels
from app.layout import VOLUME
from app.learning import Learners
from app.learning_ui import LearningUi
from app.log import LogRing
from app.pass_times import PassFigures, PassTimes
from app.people import People
from app.pixel_cpu import PixelCpu
from app.place import Place
from app.queries import Queries
from app.readings import Readings
from app.results_ui import ResultsUi
from app.session_file import Bookmark
from app.settings import Settings
from app.slices_ui import SlicesUi
from app.slicing import Slicing
from app.slicings import Slicings
from app.sql_ui import SqlUi
from app.statistics_ui import StatisticsUi
from app.toasts import Toasts
from app.tracing import Tracers
from app.transfer_presets import TransferPresets
from app.transfer_ui import TransferUi
from app.upload_rate import UploadRate
from app.video_memory_use import MemoryUse
from app.volatility_ui import VolatilityUi
from app.watching import Watchings
from app.writers_ui import WritersUi
from bridge.machine.manager import AnyMachine, MachineManager

if TYPE_CHECKING:
    from app.command_palette import Entry
    from app.file_list import Listing
    from app.pane import Pane
    from app.stage import Stage
    from app.widgets.disassembly import DisassemblyView
    from app.widgets.hexview import HexView
    from app.widgets.terminal import TerminalWidget
    from bridge.machine.records import MachineRecord
    from bridge.machine.states import Usage
    from render.arrangement import Point
    from render.camera import CameraState
    from render.look import Look as VolumeLook

SAMPLES = 60  # one a second: the sparkline is the last minute

Overlay = Literal["keys", "about", "launch", "attach", "dump", "model"]


@dataclass(frozen=True, slots=True)
class Look:
    """What undo brings back: what is selected and chosen, where camera and volumes stand, and how they are shown."""

    selection: Place | None
    camera: CameraState
    shown: VolumeLook
    half_life_s: float
    view: str = VOLUME  # whose camera
    origins: tuple[tuple[str, Point], ...] = ()  # where the volumes stand
    slicings: tuple[tuple[str, Slicing], ...] = ()
    chosen: Chosen | None = None
    highlights: Highlights = ()


@dataclass(slots=True)
class Vital:
    """What a machine's row shows of its process."""

    usage: Usage | None = None
    cpu: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))


@dataclass(slots=True)
class LaunchForm:
    """What is typed in the launch dialog."""

    guest: str = "demo"
    name: str = ""
    ram: str = ""
    cold: bool = False
    network: bool = False
    detach: bool = False


@dataclass(slots=True)
class DumpForm:
    """What is typed and shown in the dialog that opens a dump."""

    path: str = ""
    listing: Listing | None = None


@dataclass(slots=True)
class ModelForm:
    """What is typed in the dialog for the language model."""

    url: str = ""
    model: str = ""
    problem: str = ""


@dataclass(slots=True)
class SearchBox:
    """The search box in the top bar, which is the command palette."""

    text: str = ""
    open: bool = False
    entries: Sequence[Entry] = ()  # what it offered last
    put: str | None = None  # what is to stand in the field in its place
    asked: str | None = None  # Enter was pressed on this text before it was understood
    asked_s: float = 0.0  # when
    recalled: int = 0  # how many questions back the text is from; 0: it was typed
    focus: bool = False  # take the keyboard in the next frame
    coming: int = 0  # for how many frames more the keyboard may be on its way
    leave: bool = False  # give it back, and forget the text
    chosen: int = 0
    generation: int = 0
    hovered: bool = False  # the pointer is over the results


@dataclass(slots=True)
class Gesture:
    """A press on the volume that may become a drag: what was looked at before it, and whether it moved."""

    before: Look | None = None
    moved: bool = False
    button: int = 0
    carried: str | None = None  # the machine whose volume is being moved
    grabbed: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the point of the world that the pointer took hold of
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)  # where the carried volume stood
    applied: tuple[float, float] = (0.0, 0.0)  # how far the pointer had moved when the camera was moved last


@dataclass(slots=True)
class Hints:
    """The first-start hints; None: not shown."""

    born_s: float | None = None


@dataclass(slots=True, kw_only=True)
class AppState:
    """The main thread's own. Threads hand their results over by jobs, requests and events."""

    settings: Settings
    manager: MachineManager
    jobs: Jobs
    toasts: Toasts
    log: LogRing
    actions: ActionRegistry
    frames: FrameTimes
    frame_stats: FrameStats = field(default_factory=FrameStats.none)  # a few times a second: figures must be readable
    stage: Stage
    slicings: Slicings
    kernels: Kernels
    queries: Queries
    readings: Readings
    people: People = field(default_factory=People)
    flow: FlowUi = field(default_factory=FlowUi)
    tracers: Tracers = field(default_factory=Tracers)
    learners: Learners = field(default_factory=Learners)
    learning: LearningUi = field(default_factory=LearningUi)
    pixel_cpu: PixelCpu = field(default_factory=PixelCpu)
    watchings: Watchings = field(init=False)
    writers: WritersUi = field(default_factory=WritersUi)
    execution: ExecutionUi = field(default_factory=ExecutionUi)
    presets: TransferPresets
    histograms: Histograms
    transfer: TransferUi = field(default_factory=TransferUi)
    run: Callable[[str, Mapping[str, object] | Sequence[object]], Any]  # an action, its errors already shown
    now_s: float = 0.0  # monotonic; one value a frame
    pass_times: PassTimes = field(default_factory=PassTimes)  # what the GPU says of the last frames
    pass_figures: PassFigures = field(default_factory=PassFigures)  # the same as a table, twice a second
    dragged_budget_mib: float = 0.0  # the memory budget while its slider is held; 0: it is not
    memory_use: MemoryUse = field(default_factory=lambda: MemoryUse({}, 0, 0))  # of the GPU
    upload_rates: dict[str, UploadRate] = field(default_factory=dict)
    device_label: str = ""
    is_software: bool = False
    current: str | None = None  # the machine that console, inspector and keys are about
    selection: Place | None = None
    bookmarks: tuple[Bookmark, ...] = ()  # changed by BookmarkList
    consulting: Consulting | None = None  # the last question to a language model
    model_form: ModelForm = field(default_factory=ModelForm)
    chosen: Chosen | None = None  # whose pages are lit up; changed by Navigation.choose
    highlights: Highlights = ()  # what else is lit up, and stays; changed by HighlightList
    hover: Place | None = None
    hover_pane: Pane | None = None  # the view in which the pointer is
    history: History[Look] = field(default_factory=History)
    vitals: dict[str, Vital] = field(default_factory=dict)
    launching: dict[int, str] = field(default_factory=dict)  # job number -> what its card says
    orphans: tuple[MachineRecord, ...] = ()
    search: SearchBox = field(default_factory=SearchBox)
    overlay: Overlay | None = None
    launch_form: LaunchForm = field(default_factory=LaunchForm)
    attach_path: str = ""
    dump_form: DumpForm = field(default_factory=DumpForm)
    log_needle: str = ""
    log_level: int = 0
    address_text: str = ""
    focus_address: bool = False
    gesture: Gesture = field(default_factory=Gesture)
    kernel: KernelUi = field(default_factory=KernelUi)
    slices: SlicesUi = field(default_factory=SlicesUi)
    sql: SqlUi = field(default_factory=SqlUi)
    highlights_ui: HighlightsUi = field(default_factory=HighlightsUi)
    volatility: VolatilityUi = field(default_factory=VolatilityUi)
    results: ResultsUi = field(default_factory=ResultsUi)
    statistics: StatisticsUi = field(default_factory=StatisticsUi)
    menu_place: Place | None = None  # what the volume's context menu is about
    hints: Hints = field(default_factory=Hints)
    terminals: dict[str, TerminalWidget] = field(default_factory=dict)
    hex_views: dict[str, HexView] = field(default_factory=dict)
    disassemblies: dict[str, DisassemblyView] = field(default_factory=dict)
    docked: set[str] = field(default_factory=set)  # panels that lie in the dock space, not floating
    to_dock: list[tuple[str, str, bool]] = field(default_factory=list)  # panels to dock beside another; True: below it
    focus_panel: str | None = None  # bring this panel to the front in the next frame, and give it the keyboard
    front_panel: str | None = None  # the same, but the keyboard stays where it is
    keyboard_taken: bool = False  # a text field or the terminal has the keys
    swallow: tuple[str, int] = ("", 0)  # a typed character that was an action, and for how many frames it may come
    volume_rect: tuple[float, float, float, float] = (
        0.0,
        0.0,
        0.0,
        0.0,
    )  # the active view's x, y, width, height, logical pixels
    half_life_drag_s: float | None = None  # what the slider shows while it is dragged
    own_keys: frozenset[str] = frozenset()  # chords that the focused panel takes itself; it says so in each frame
    quitting: bool = False

    def __post_init__(self) -> None:
        self.watchings = Watchings(self.tracers)

    def machine(self, name: str | None = None) -> AnyMachine | None:
        """Return the machine called `name`, or the current one; None where it is gone."""
        wanted = name or self.current
        return next((m for m in self.manager.machines() if m.name == wanted), None)

    def require_machine(self, name: str | None) -> AnyMachine:
        """Return a machine by name, or the current one. Raises NoSuchMachine, BadArguments."""
        found = self.machine(name)
        if found is None:
            wanted = name or self.current
            if wanted is None:
                raise BadArguments("no machine is selected; name one")
            return self.manager.get(wanted)  # raises with the names that there are
        return found

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Open one of the overlays, or none."""
        self.overlay = overlay

    def launch_jobs(self) -> list[Job]:
        """Return the launches under way, which show as cards."""
        return [j for j in self.jobs.running() if j.number in self.launching]

    def look(self) -> Look:
        """Return what undo would bring back to here."""
        stage = self.stage
        origins = tuple(sorted(stage.places.now().items()))
        shown, half_life_s = stage.view.look, self.settings.half_life_s
        view, slicings = stage.active.name, self.slicings.all()
        return Look(
            self.selection, stage.camera, shown, half_life_s, view, origins, slicings, self.chosen, self.highlights
        )

    def remember(self) -> None:
        """Record what is looked at now, before a change to it."""
        self.history.record(self.look())
