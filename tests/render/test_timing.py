"""GPU timestamps: what the clock says of real passes, and that it neither waits nor trips when it cannot tell."""

import math
import time

import numpy as np
import pytest
import wgpu
from hypothesis import given
from hypothesis import strategies as st

from render.bricks import BrickStore
from render.timing import MAX_SPANS, PassClock, pass_clock, sum_up
from render.view import VolumeView

BUSY = """
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var x = id.x;
    for (var i = 0u; i < ROUNDS; i++) { x = x * 1664525u + 1013904223u; }
    data[id.x % 64u] = x;
}
"""


class Busy:
    """A compute pass that takes a while: `rounds` multiplications in each of 65,536 threads."""

    def __init__(self, device: wgpu.GPUDevice, rounds: int) -> None:
        self.device = device
        self.data = device.create_buffer(size=256, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC)
        module = device.create_shader_module(code=BUSY.replace("ROUNDS", f"{rounds}u"))
        self.pipeline = device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})
        self.group = device.create_bind_group(
            layout=self.pipeline.get_bind_group_layout(0),
            entries=[{"binding": 0, "resource": {"buffer": self.data, "offset": 0, "size": 256}}],
        )

    def run(self, clock: PassClock, name: str | None) -> float:
        """Submit it and wait; returns how long that took by our own clock."""
        started = time.perf_counter()
        encoder = self.device.create_command_encoder()
        compute = encoder.begin_compute_pass(timestamp_writes=clock.writes(name) if name else None)
        compute.set_pipeline(self.pipeline)
        compute.set_bind_group(0, self.group)
        compute.dispatch_workgroups(1024)
        compute.end()
        self.device.queue.submit([encoder.finish()])
        self.device.queue.read_buffer(self.data)
        return time.perf_counter() - started


def settle(clock: PassClock, device: wgpu.GPUDevice) -> None:
    """Let what is under way come back: close batches of one pass each until it has, and of these the first one too."""
    deadline = time.monotonic() + 120
    clock.latest = {}
    while "flush" not in clock.latest:
        assert time.monotonic() < deadline, "nothing came back"
        encoder = device.create_command_encoder()
        encoder.begin_compute_pass(timestamp_writes=clock.writes("flush")).end()
        device.queue.submit([encoder.finish()])
        clock.close_batch()
        time.sleep(0.01)


def test_a_pass_is_timed_by_the_gpu(device: wgpu.GPUDevice) -> None:
    clock = PassClock(device)
    assert clock.available, "lavapipe has timestamps"
    assert clock.vram_bytes > 0
    short, long = Busy(device, 500), Busy(device, 10_000)
    short.run(clock, None)
    long.run(clock, None)
    least = {"short": math.inf, "long": math.inf}
    for _ in range(5):  # whoever else has the processor makes a pass longer, never shorter
        clock = PassClock(device)
        took = {"short": short.run(clock, "work/short"), "long": long.run(clock, "work/long")}
        clock.close_batch()
        assert clock.take() == [], "nobody waited for it"
        settle(clock, device)
        first, *others = clock.take()
        assert not any("work" in batch for batch in others)
        assert set(first) == {"work/short", "work/long", "work"}
        assert first["work"] == pytest.approx(first["work/short"] + first["work/long"])
        for name, wall_s in took.items():
            assert 0 < first[f"work/{name}"] <= wall_s
            least[name] = min(least[name], first[f"work/{name}"])
    assert least["long"] > 3 * least["short"]


def test_what_others_submit_is_timed_between_two_stamps_also_with_timed_passes_inside(device: wgpu.GPUDevice) -> None:
    clock = PassClock(device)
    busy = Busy(device, 5_000)
    busy.run(clock, None)
    started = time.perf_counter()
    with clock.around("outer"):
        busy.run(clock, "inner")
    device.queue.read_buffer(busy.data)  # the second stamp is written by then
    took = time.perf_counter() - started
    clock.close_batch()
    settle(clock, device)
    first = clock.take()[0]
    assert 0 < first["inner"] <= first["outer"] <= took


def test_more_passes_than_there_are_queries_go_untimed(device: wgpu.GPUDevice) -> None:
    clock = PassClock(device)
    handed_out = [clock.writes("a") for _ in range(MAX_SPANS)]
    assert all(handed_out)
    assert len({w["beginning_of_pass_write_index"] for w in handed_out if w} | set()) == MAX_SPANS
    assert clock.writes("b") is None
    with clock.around("c"):
        pass
    clock.abandon_batch()
    assert clock.writes("d") is not None
    clock.abandon_batch()
    clock.close_batch()
    settle(clock, device)
    assert all(set(batch) <= {"flush"} for batch in clock.take()), "an abandoned batch is never resolved"


def test_a_full_ring_leaves_batches_untimed_and_waits_for_nothing(device: wgpu.GPUDevice) -> None:
    clock = PassClock(device)
    slow = Busy(device, 100)
    for _ in range(50):
        encoder = device.create_command_encoder()
        compute = encoder.begin_compute_pass(timestamp_writes=clock.writes("quick"))
        compute.end()
        device.queue.submit([encoder.finish()])
        clock.close_batch()
    slow.run(clock, None)
    settle(clock, device)
    settle(clock, device)
    batches = clock.take()
    assert 1 <= sum("quick" in batch for batch in batches) <= 50
    assert clock.latest == {"flush": pytest.approx(clock.latest["flush"])}


def test_a_device_without_timestamps_says_so(device: wgpu.GPUDevice) -> None:
    other = device.adapter.request_device_sync()
    clock = pass_clock(other)
    assert pass_clock(other) is clock
    assert not clock.available
    assert clock.writes("a") is None
    with clock.around("b"):
        pass
    clock.close_batch()
    clock.abandon_batch()
    assert clock.latest == {}
    assert clock.vram_bytes == 0


def test_a_view_tells_what_its_passes_took(device: wgpu.GPUDevice) -> None:
    store = BrickStore(device, 1 << 20)
    view = VolumeView(device, (320, 200))
    view.add_volume("guest", store, "guest")
    clock = pass_clock(device)
    clock.take()
    seen: set[str] = set()
    deadline = time.monotonic() + 120
    wanted = {"upload", "summarise", "march/guest", "march", "halo", "compose"}
    in_proportion = False  # software adapters tell an odd time now and then
    while not (wanted <= seen and in_proportion):
        assert time.monotonic() < deadline, seen
        store.upload(np.arange(256, dtype=np.uint32), np.full((256, 4096), 7, np.uint8))
        view.camera.orbit(5, 0)
        started = time.perf_counter()
        view.draw(time.monotonic())
        view.screenshot()
        wall_s = time.perf_counter() - started
        seen |= set(view.timings())
        timings = view.timings().values()
        in_proportion = bool(timings) and all(0 <= seconds < max(1.0, 20 * wall_s) for seconds in timings)
    view.destroy()
    store.destroy()


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b/x", "b/y"]), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=9)
)
def test_spans_add_up_by_name_and_group(spans: list[tuple[str, int, int]]) -> None:
    ticks = np.array([t for _, begin, took in spans for t in (begin, begin + took)], np.uint64)
    found = sum_up([name for name, _, _ in spans], ticks, 1e-9)
    for name in ("a", "b/x", "b/y"):
        expected = [took * 1e-9 for n, _, took in spans if n == name]
        assert found.get(name, 0.0) == pytest.approx(sum(expected))
    assert found.get("b", 0.0) == pytest.approx(found.get("b/x", 0.0) + found.get("b/y", 0.0))


def test_stamps_that_no_pass_wrote_are_left_out() -> None:
    ticks = np.array([100, 50, 0, 20 * 10**9, 10, 30], np.uint64)
    assert sum_up(["backwards", "for ever", "sound"], ticks, 1e-9) == {"sound": pytest.approx(20e-9)}
