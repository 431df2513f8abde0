"""The Pixel CPU on the GPU: generated kernels do over all lanes what the interpreter does, and faults are told."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.interpreter import States, run_lanes, run_states
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.wgsl import Region, Shader, shader
from bridge.pixelcpu.wgsl_interpreter import Task, finish, interpreter_text, task
from render.errors import OutOfVideoMemory
from render.pixel_cpu import BadShader, Binding, ComputeKernel
from tests.bridge.pixelcpu.rows import PROBED, assert_same, expected, some_states

ORIGIN = 0xFFFF_8880_0000_1000


def _run(
    device: wgpu.GPUDevice,
    made: Shader,
    lanes: int,
    registers: NDArray[np.uint64],
    memory: NDArray[np.uint8],
    groups: int,
) -> tuple[NDArray[np.uint64], int, NDArray[np.uint8]]:
    """Registers, flags and memory after."""
    kernel = ComputeKernel(device, made.code, [made.stores, False, True])
    given = made.given(lanes, registers, 1, Region(ORIGIN, memory.size))
    bindings = [Binding(memory, made.stores), Binding(given), Binding(made.room(groups), writable=True)]
    found = kernel.run(bindings, groups)
    registers, flags = made.finish(lanes, found[-1].view(np.uint32))
    return registers, flags, found[0] if made.stores else memory


KERNELS = {
    "reductions": "lane.64 r1\nload.8 r2, [r0 + r1]\nsx8.64 r3, r2\nsumall.64 r10, r3\nxorall.64 r11, r3\n"
    "andall.8 r12, r2\norall.8 r13, r2\nminuall.64 r14, r3\nmaxuall.8 r15, r2\nminsall.8 r16, r2\n"
    "maxsall.64 r17, r3\nsumall.64 r18, 3\nlane.64 r19\nadd.64! r20, r18, r10",
    "words at any alignment": "lane.64 r1\nmul.64 r1, r1, 14\nadd.64 r1, r1, r0\nload.64 r2, [r1]\nadc.64! r2, r2, r7\n"
    "store.64 [r1], r2\nload.32 r3, [r1 + 8]\nrol.32! r3, r3, r2\nstore.32 [r1 + 8], r3\nload.16 r4, [r1 + 12]\n"
    "not.16 r4, r4\nstore.16 [r1 + 12], r4",
    "only some": "lane.64 r1\nadd.64 r1, r1, r0\nload.8 r2, [r1]\nand.64 r3, r2, 1\nstoreif.8 [r1], r6 if r3\n"
    "loadif.8 r6, [r1] if r3",
}


@pytest.mark.parametrize("text", KERNELS.values(), ids=KERNELS)
def test_a_kernel_does_what_the_interpreter_does(device: wgpu.GPUDevice, text: str) -> None:
    rng = np.random.default_rng(4)
    program = assemble(text)
    made = shader(program)
    content = rng.integers(0, 256, 4096).astype(np.uint8)
    for lanes, groups in ((1, 1), (200, 3), (130, 1)):
        registers = rng.integers(0, 1 << 64, N_REGISTERS, np.uint64)
        registers[0] = ORIGIN + 3
        theirs = content.copy()
        wanted = run_lanes(program, lanes, registers, 1, ArrayMemory(theirs, ORIGIN))
        after, flags, ours = _run(device, made, lanes, registers, content, groups)
        np.testing.assert_array_equal(after, wanted.registers)
        assert flags == wanted.flags
        np.testing.assert_array_equal(ours, theirs)


def test_a_lane_that_leaves_memory_is_told(device: wgpu.GPUDevice) -> None:
    made = shader(assemble("lane.64 r1\nload.16 r2, [r0 + r1]"))
    registers = np.zeros(N_REGISTERS, np.uint64)
    registers[0] = ORIGIN
    memory = np.arange(64, dtype=np.uint8)
    after, _, _ = _run(device, made, 63, registers, memory, 1)
    assert after[2] == 62 | 63 << 8
    with pytest.raises(PixelError, match="Lane 63 made a load or store outside"):
        _run(device, made, 64, registers, memory, 1)
    registers[0] += np.uint64(1 << 32)
    with pytest.raises(PixelError, match="Lane 0 made"):
        _run(device, made, 5, registers, memory, 1)


def test_the_interpreter_shader_carries_out_every_row_as_the_model_has_it(device: wgpu.GPUDevice) -> None:
    n = 64
    each = [some_states(n, number) for number in range(len(PROBED))]
    text = "load.64 r1, [r2 + 5]\nmul.64! r1, r1, 0x123456789abcdef\nstore.16 [r2 - 2], r1\nmov.64 r3, 0x89abcdef\n"
    text += "loadif.8 r4, [r5] if r6\nstoreif.32 [r2], r1 if r1\nlane.64 r6\nsbb.8! r7, r1, -3\nload.32 r8, [r2]"
    last = some_states(n, 99)
    first_lane = n * len(PROBED)
    last.registers[:, 2] = ORIGIN + 2 + 16 * np.arange(n, dtype=np.uint64)
    last.registers[:, 6] = 0
    each.append(last)
    states = States(np.concatenate([s.registers for s in each]), np.concatenate([s.flags for s in each]))
    memory = np.arange(16 * n, dtype=np.uint64).astype(np.uint8)
    programs = [*(example.program for example in PROBED), assemble(text)]
    job = task(programs, states, Region(ORIGIN, memory.size))
    kernel = ComputeKernel(device, interpreter_text(), [True, False, True, False])

    def run(job: Task) -> tuple[States, NDArray[np.uint8]]:
        bindings = [Binding(memory, True), Binding(job.given), Binding(job.states, True), Binding(job.pixels)]
        ours, done = kernel.run(bindings, job.workgroups)
        return finish(done.view(np.uint32)), ours

    done, ours = run(job)
    for number, example in enumerate(PROBED):
        mine = slice(n * number, n * (number + 1))
        found = States(done.registers[mine], done.flags[mine])
        assert_same(found, expected(example, each[number]), each[number], str(example))
    theirs = memory.copy()
    wanted = run_states(assemble(text), last, ArrayMemory(theirs, ORIGIN))
    wanted.registers[:, 6] += np.uint64(first_lane)
    np.testing.assert_array_equal(done.registers[first_lane:], wanted.registers)
    np.testing.assert_array_equal(done.flags[first_lane:], wanted.flags)
    np.testing.assert_array_equal(ours, theirs)

    last.registers[3, 2] = ORIGIN + memory.size - 4
    with pytest.raises(PixelError, match="Lane 3 made a load or store outside"):
        run(task([assemble(text)], last, Region(ORIGIN, memory.size)))
    with pytest.raises(Unsupported, match="a reduction"):
        task([assemble("sumall.8 r1, r2")], last, Region(0, 4))
    with pytest.raises(PixelError, match="64 states cannot be shared out among 3"):
        task([assemble(text)] * 3, last, Region(0, 4))


def test_what_a_shader_cannot_be_given_is_refused() -> None:
    made = shader(assemble("load.16 r2, [r0]\nload.16 r3, [r0]"))
    registers = np.zeros(N_REGISTERS, np.uint64)
    region = Region(0, 16)
    for lanes in (0, (1 << 31) + 1):
        with pytest.raises(PixelError, match="runs over 1 to"):
            made.given(lanes, registers, 0, region)
    with pytest.raises(ValueError, match="registers are"):
        made.given(1, registers[:5], 0, region)
    with pytest.raises(ValueError, match="1 regions for 2"):
        made.given(1, registers, 0, [region])
    with pytest.raises(Unsupported, match="lanes wait"):
        shader(assemble("sumall.8 r1, r2\nload.8 r1, [r2]"))


def test_what_the_gpu_cannot_run_is_refused(device: wgpu.GPUDevice) -> None:
    with pytest.raises(BadShader, match="refused"):
        ComputeKernel(device, "fn main() { nonsense }", [True])
    code = (
        "@group(0) @binding(0) var<storage, read_write> a: array<u32>;\n"
        "@compute @workgroup_size(1)\nfn main() { a[0] += 5u; }"
    )
    kernel = ComputeKernel(device, code, [True])
    word = np.array([37], np.uint32)
    assert kernel.run([Binding(word, writable=True)], 1)[0].view(np.uint32).tolist() == [42]
    for content, workgroups, problem in (
        (word, 0, "workgroups"),
        (word.view(np.uint8)[:3], 1, "3 bytes"),
        (word[:0], 1, "0 bytes"),
    ):
        with pytest.raises(ValueError, match=problem):
            kernel.run([Binding(content, writable=True)], workgroups)
    with pytest.raises(ValueError, match="not those"):
        kernel.run([Binding(word)], 1)
    limit = int(device.limits["max-storage-buffer-binding-size"])
    huge = np.lib.stride_tricks.as_strided(word, (limit // 4 + 1,), (0,))
    with pytest.raises(OutOfVideoMemory, match="kernel's memory"):
        kernel.run([Binding(huge, writable=True)], 1)
