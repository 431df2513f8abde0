"""The process that has the GPU, without a machine: kernels are tried beside Unicorn, and what cannot be is told."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks.pixel_loops import LOOPS
from app.gpu_owner import GpuOwner
from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.gpu_back_end import NoGpu
from bridge.pixelcpu.gpu_kernel import GpuKernel, gathered, gpu_kernel
from bridge.pixelcpu.gpu_mailbox import PAGE, Asked, GpuMailbox
from bridge.pixelcpu.gpu_runs import cases
from bridge.pixelcpu.gpu_trial import GpuCases
from bridge.pixelcpu.learned import Learned, State
from bridge.pixelcpu.learner import Learner
from bridge.pixelcpu.native_loop import LEAST_GPU_ROUNDS, LEAST_GPU_RUNS, NativeLoop
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.prover import Prover
from bridge.trace.layout import layout
from bridge.trace.shared_memory import Sizes, TraceMemory

NAMES = {loop.name: loop for loop in LOOPS}


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[TraceMemory, Path]:
    folder = tmp_path_factory.mktemp("gpu")
    ram = folder / "ram"
    ram.write_bytes(bytes(64 * PAGE))
    return TraceMemory.create(folder / "trace", Sizes(pages=64, vcpus=1, blocks=16, ring_records=16)), ram


@pytest.fixture(scope="module")
def owner(memory: tuple[TraceMemory, Path]) -> Iterator[GpuOwner]:
    with GpuOwner(memory[0].path, memory[1], software=True) as made:
        yield made


def kernel_of(name: str) -> tuple[NativeLoop, GpuKernel]:
    found = prove_loop(NAMES[name].code)
    assert found.native is not None
    assert found.rounds is not None
    return found.native, gpu_kernel(found.native, found.rounds)


@pytest.mark.parametrize("name", ["sum", "map", "vectors"])
def test_a_kernel_does_what_unicorn_does(owner: GpuOwner, name: str) -> None:
    native, kernel = kernel_of(name)
    record = owner.try_out(kernel, cases(native))
    assert record.good, record
    assert record.n_runs >= LEAST_GPU_RUNS
    assert record.n_rounds >= LEAST_GPU_ROUNDS
    assert record.device == owner.device


def test_one_that_differs_is_found_out(owner: GpuOwner) -> None:
    """In a register, and in memory."""
    native, kernel = kernel_of("sum")
    wrong = dataclasses.replace(kernel.made, code=kernel.made.code.replace("sum0 = ", "sum0 = vec2<u32>(1u, 0u) + "))
    record = owner.try_out(dataclasses.replace(kernel, made=wrong), cases(native))
    assert record.n_mismatches > 0
    assert "word 0 of the state" in record.first
    assert not record.good
    native, kernel = kernel_of("map")
    wrong = dataclasses.replace(kernel.made, code=kernel.made.code.replace("store32(place, ", "store32(place, 4u ^ "))
    record = owner.try_out(dataclasses.replace(kernel, made=wrong), cases(native))
    assert "memory at" in record.first
    assert not record.good


def test_what_the_driver_refuses_is_told(owner: GpuOwner, memory: tuple[TraceMemory, Path]) -> None:
    native, kernel = kernel_of("fill")
    bad = dataclasses.replace(kernel, made=dataclasses.replace(kernel.made, code="fn main() { nonsense }"))
    record = owner.try_out(bad, cases(native)[:1])
    assert "refused" in record.first
    assert not record.good
    with pytest.raises(PixelError, match="refused"):
        owner.load(3, 7, bad)
    assert int(memory[0].gpu_worker["ready"][3]) == 0
    owner.load(3, 7, kernel)
    assert int(memory[0].gpu_worker["ready"][3]) == 7
    owner.drop(3)
    assert int(memory[0].gpu_worker["ready"][3]) == 0


def test_a_lost_process_is_replaced_until_that_is_no_use(memory: tuple[TraceMemory, Path]) -> None:
    with GpuOwner(memory[0].path, memory[1], software=True) as owner:
        _, kernel = kernel_of("fill")
        owner.load(2, 5, kernel)
        for _ in range(2):
            os.kill(owner.pid, signal.SIGKILL)
            with pytest.raises(NoGpu, match="ended with -9"):
                owner.load(4, 6, kernel)
            owner.check()
            assert int(memory[0].gpu_worker["ready"][2]) == 5
        os.kill(owner.pid, signal.SIGKILL)
        with pytest.raises(NoGpu, match="ended with -9"):
            owner.load(4, 6, kernel)
        with pytest.raises(NoGpu, match="3 times now"):
            owner.check()


def test_a_processor_is_no_gpu(memory: tuple[TraceMemory, Path], owner: GpuOwner) -> None:
    if "llvmpipe" not in owner.device:
        pytest.skip("there is a GPU here")
    with GpuOwner(memory[0].path, memory[1]) as other, pytest.raises(NoGpu, match="no GPU but llvmpipe"):
        _ = other.device


def test_a_record_is_kept_with_the_loop_and_is_of_one_gpu(owner: GpuOwner, tmp_path: Path) -> None:
    class Elsewhere:
        """The same GPU under another name."""

        device = "another GPU"
        tried = 0

        def try_out(self, kernel: GpuKernel, all_cases: tuple[GpuCases, ...]) -> object:
            self.tried += 1
            return dataclasses.replace(owner.try_out(kernel, all_cases), device=self.device)

    code = NAMES["sum"].code
    found = prove_loop(code)
    native = found.native
    assert native is not None

    def learner(prover: Prover) -> Learner:
        return Learner(tmp_path, prover)

    with Prover() as prover:
        first = learner(prover)
        assert first.learn(code).state is State.TESTED
        learned = first.try_on_gpu(code, owner)
        assert learned.gpu_test is not None
        assert learned.gpu_test.good
        second = learner(prover)
        kept = second.learn(code)
        assert kept.gpu_test == learned.gpu_test
        assert second.try_on_gpu(code, owner) is kept, "it is not run again"
        other = Elsewhere()
        assert second.try_on_gpu(code, other).gpu_test != learned.gpu_test  # type: ignore[arg-type]
        assert other.tried == 1
        second.refuse_gpu(code, "rax: it differs")
        refused = learner(prover).learn(code)
        assert refused.gpu_test is not None
        assert not refused.gpu_test.good
        assert refused.state is State.TESTED, "the host's code is as good as before"
        # An entry whose numbers cannot be is forgotten.
        (file,) = (tmp_path / "loops").glob("*.json")
        assert json.loads(file.read_text())["test"]["gpu"]["device"] == "another GPU"


def test_pages_are_gathered_as_the_guest_has_them() -> None:
    one = Asked(0x5FF8, 0x1010, np.array([9, 3, 7], np.uint32), is_store=False)
    same = Asked(0x6010, 0x10, np.array([3], np.uint32), is_store=True)
    apart = Asked(0x9004, 4, np.array([9], np.uint32), is_store=False)
    found = gathered([one, apart, same])
    assert [run.tolist() for run in found.runs] == [[9, 3, 7], [9]]
    assert found.places == ((0, 0xFF8), (1, 4), (0, 0x1010))
    assert gathered([]).runs == ()


def test_a_request_that_makes_no_sense_is_passed_over(memory: tuple[TraceMemory, Path]) -> None:
    held, box = memory[0].gpu_request, GpuMailbox(memory[0])

    def ask(number: int, **changed: int) -> bool:
        held["slot"], held["streams"], held["rounds"] = 1, 1, 3
        stream = held["stream"][0]
        for name, value in {"first": 0x1FFC, "bytes": 8, "page": 0, "pages": 2, **changed}.items():
            stream[name] = value
        held["page"][:2] = 5, 6
        held["number"] = number
        return box.wait(0.0) is not None

    assert ask(100)
    assert not ask(100), "it was taken already"
    assert not ask(101, pages=1)
    assert not ask(102, bytes=0)
    assert not ask(103, page=layout().constants["GPU_PAGES"] - 1)
    held["streams"] = 1
    assert ask(104)
    memory[0].gpu_request["page"][0] = 64


def test_rounds_that_have_an_order_are_not_the_gpus() -> None:
    found = prove_loop(bytes.fromhex("0fb6176bc01f01d048ffc748ffc975f0"))  # a hash
    assert found.native is not None
    assert found.native.ordered
    assert found.rounds is not None
    with pytest.raises(Unsupported, match="have an order"):
        gpu_kernel(found.native, found.rounds)


def test_a_loop_without_a_kernel_has_none_on_the_gpu() -> None:
    from bridge.pixelcpu.gpu_back_end import kernel_for_gpu

    with pytest.raises(Unsupported, match="no kernel"):
        kernel_for_gpu(Learned(b"\x90", State.TRACED))
