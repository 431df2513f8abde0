"""The feed: carries a machine's changed pages to the GPU, a budgeted piece each frame."""

from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from app.page_ages import PageAges
from bridge.memory.dirty import DirtyTracker, ScanStats
from bridge.memory.ram import GuestRam
from render.bricks import BrickStore
from render.curves import CURVES
from render.video_memory import default_budget_bytes

if TYPE_CHECKING:
    import wgpu

_SMALLEST_BATCH = 128
_LARGEST_BATCH = 4096  # 16 MiB: above this a batch gains nothing and costs latency
_FIRST_BATCH = 512
_BACKLOG_PAGES = 2048
_BACKLOG_BUDGET_S = 0.05  # a volume that is still coming up is worth slower frames than one that is only changing


@dataclass(frozen=True, slots=True)
class FeedStats:
    """What the feed did so far, and what its scanner does now."""

    uploaded_pages: int
    upload_bytes_per_s: float
    scan: ScanStats


class RamFeed:
    """Owns the scanner and the GPU copy of one machine's RAM. Not thread-safe: it belongs to the render thread.

    The GPU shows exactly what the scanner's shadow holds: pages are uploaded from the shadow, and the scanner
    reports every later difference, so a page can be late but never lost or wrong.
    """

    def __init__(
        self, ram: GuestRam, device: "wgpu.GPUDevice", *, curve: str = "hilbert", budget_bytes: int | None = None
    ) -> None:
        """Start scanning.

        curve: how addresses are laid in space, by its name in `render.curves`.
        budget_bytes: what the volume may take on the GPU; by default half of what the adapter has. Where that is too
        little, pages far from view are shown coarsely.

        Raises what BrickStore raises.
        """
        self.ram = ram
        self.tracker = DirtyTracker(ram)
        budget_bytes = default_budget_bytes(device) if budget_bytes is None else budget_bytes
        self.store = BrickStore(device, ram.size_bytes, curve=CURVES[curve], budget_bytes=budget_bytes)
        self.ages = PageAges(ram.n_pages)
        self._batch_pages = _FIRST_BATCH
        self._uploaded_pages = 0
        self._bytes_per_s = 0.0
        self.tracker.start()

    def pump(self, budget_s: float) -> int:
        """Upload pending pages for about `budget_s` seconds and return how many.

        The batch size follows the measured cost, so that a single batch stays within the budget on a slow GPU.
        A long backlog, as after the start, gets a bigger budget: the whole picture soon beats smooth frames of a part.
        """
        begin = perf_counter()
        # Asked before anything is taken: what a sweep finds that ends meanwhile is not taken yet.
        swept = self.caught_up or self.tracker.stats.sweeps >= 1
        uploaded, drained = 0, False
        while True:
            dirty = self.tracker.take(self._batch_pages)
            count = len(dirty.pages)
            if count == 0:
                drained = True
                break
            # Asked only now: counting what is pending costs as much as finding that there is nothing.
            if not uploaded and self.tracker.stats.pending_pages > _BACKLOG_PAGES:
                budget_s = max(budget_s, _BACKLOG_BUDGET_S)
            started = perf_counter()
            self.ages.write(dirty.pages)
            self.store.upload(dirty.pages, dirty.data)
            took = perf_counter() - started
            uploaded += count
            self._bytes_per_s = count * 4096 / max(took, 1e-6)
            if took > budget_s / 2:
                self._batch_pages = max(_SMALLEST_BATCH, self._batch_pages // 2)
            elif count == self._batch_pages and took < budget_s / 8:
                self._batch_pages = min(_LARGEST_BATCH, self._batch_pages * 2)
            if perf_counter() - begin + took > budget_s:
                break
        if perf_counter() - begin < budget_s:
            uploaded += self._bring_near_pages()
        if swept and not self.caught_up and (drained or self.tracker.stats.pending_pages <= _SMALLEST_BATCH):
            self.ages.begin()
        self._uploaded_pages += uploaded
        return uploaded

    def _bring_near_pages(self) -> int:
        """Upload what came near the eye and is not on the GPU, a batch at most: sharper now beats all at once."""
        wanted = self.store.pages_wanted(self._batch_pages)
        if not len(wanted):
            return 0
        near = self.tracker.peek(wanted)
        self.store.upload(near.pages, near.data, flash=False)
        return len(near.pages)

    @property
    def caught_up(self) -> bool:
        """Whether the GPU has been given all of RAM as it was at some time, but for a little that waits."""
        return self.ages.since_s is not None

    @property
    def stats(self) -> FeedStats:
        """Return counts since the start and the scanner's present figures."""
        return FeedStats(self._uploaded_pages, self._bytes_per_s, self.tracker.stats)

    def close(self) -> None:
        """Stop the scanner and free the GPU copy. The RAM mapping stays its machine's."""
        self.tracker.stop()
        self.store.destroy()

    def __enter__(self) -> "RamFeed":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()
