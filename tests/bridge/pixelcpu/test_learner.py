"""The learner: each loop is learned once, and what cannot be learned is left to QEMU once, with the reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.pixelcpu import loop_library
from bridge.pixelcpu.errors import WorkerLost
from bridge.pixelcpu.learned import State
from bridge.pixelcpu.learner import N_RUNS, N_STATES, Cancelled, Learner
from bridge.pixelcpu.library import Library, hash_of
from bridge.pixelcpu.loop_library import LoopLibrary
from bridge.pixelcpu.prover import Prover
from bridge.pixelcpu.sealed import SealedFolder

SUM = bytes.fromhex("4803074883c7084839f775f4")  # add rax,[rdi]; add rdi,8; cmp rdi,rsi; jne
CRC = bytes.fromhex("0fb61f48ffc70fb6d031dac1e80833049648ffc975ea")
WALK = bytes.fromhex("0fb6040748ffc975f7")
CPUID = bytes.fromhex("0fa2ffc975fa")


class NoProver(Prover):
    """Says that it was asked."""

    def _ask(self, time_limit_s: float, name: str, *arguments: object) -> Any:
        raise AssertionError(f"{name} was asked for")


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    with Prover() as one:
        yield one


def learner(folder: Path, prover: Prover) -> Learner:
    return Learner(folder, prover)


def test_a_loop_is_learned_once(tmp_path: Path, prover: Prover) -> None:
    states: list[State] = []
    first = learner(tmp_path, prover)
    found = first.learn(SUM, states.append)
    assert states == [State.TRACED, State.LIFTED, State.SYNTHESISED, State.PROVED, State.TESTED]
    assert found.state is State.TESTED
    assert found.native is not None
    assert found.native.code == SUM
    assert found.loop is not None
    assert found.loop.kind == "reduction"
    assert found.n_states >= N_STATES
    assert found.native_test is not None
    assert found.native_test.n_runs >= N_RUNS
    assert found.native_test.n_mismatches == 0
    assert found.figures is not None
    assert found.figures.round_ns > 0
    assert found.query_hash
    assert first.learn(SUM) is found
    again = learner(tmp_path, NoProver())
    assert again.learn(SUM) == found
    assert (first.made, first.from_library, again.made, again.from_library) == (1, 0, 0, 1)
    assert (tmp_path / "loops" / f"{hash_of(SUM)}.json").stat().st_mode & 0o777 == 0o600
    assert [kernel.code for kernel, sealed in Library(tmp_path).kernels() if sealed] == [SUM]


def test_a_loop_with_other_registers_is_synthesised_by_a_template(tmp_path: Path, prover: Prover) -> None:
    """Of the same code in rcx, r8 and r9; and what was found is kept between runs."""
    first = learner(tmp_path, prover).learn(SUM).synthesis
    assert first is not None
    assert first.n_tried > 1
    again = learner(tmp_path, prover).learn(bytes.fromhex("4903084983c0084d39c875f4"))
    assert again.state is State.TESTED
    assert again.synthesis is not None
    assert (again.synthesis.n_tried, again.synthesis.n_reused) == (1, 1)
    assert again.synthesis.direct_cost == first.direct_cost
    assert again.translation is not None
    assert again.translation.program.cost < first.direct_cost
    known = learner(tmp_path, prover)
    (tmp_path / "loops" / f"{hash_of(SUM)}.json").unlink()
    assert known.learn(SUM).synthesis is None, "of its round the microcode was kept"


@pytest.mark.parametrize(
    ("code", "reached", "reason"),
    [
        (WALK, State.SYNTHESISED, "An address depends on rax"),
        (CPUID, State.TRACED, "asks the processor"),
        (b"\x06", State.TRACED, "no x86-64 instruction"),
    ],
)
def test_what_is_left_to_qemu_is_not_tried_again(
    code: bytes, reached: State, reason: str, tmp_path: Path, prover: Prover
) -> None:
    found = learner(tmp_path, prover).learn(code)
    assert (found.state, found.reached, found.native) == (State.QEMU_ONLY, reached, None)
    assert reason in found.reason
    assert learner(tmp_path, NoProver()).learn(code) == found


def test_a_table_beyond_a_states_memory_is_tried_often_enough(tmp_path: Path, prover: Prover) -> None:
    """Of its index one in seven or so stays there."""
    found = learner(tmp_path, prover).learn(CRC)
    assert (found.state, found.reason) == (State.TESTED, "")
    assert found.n_states >= N_STATES


def test_a_kernel_that_was_wrong_is_refused_for_good(tmp_path: Path, prover: Prover) -> None:
    first = learner(tmp_path, prover)
    first.learn(SUM)
    refused = first.refuse(SUM, "It differed.")
    assert (refused.state, refused.native, refused.loop is None) == (State.QEMU_ONLY, None, False)
    assert learner(tmp_path, NoProver()).learn(SUM) == refused


def test_a_process_that_was_lost_is_a_reason(tmp_path: Path) -> None:
    class Lost(Prover):
        def _ask(self, time_limit_s: float, name: str, *arguments: object) -> Any:
            raise WorkerLost("The process that proves ended with -9 on it.")

    found = learner(tmp_path, Lost()).learn(SUM)
    assert found.reason == "The process that proves ended with -9 on it."
    assert learner(tmp_path, NoProver()).learn(SUM) == found


def test_what_was_called_off_is_not_remembered(tmp_path: Path) -> None:
    with Prover() as prover:
        one = learner(tmp_path, prover)
        asked, ended = threading.Event(), threading.Event()
        problems: list[Exception] = []

        def learn() -> None:
            try:
                one.learn(SUM, lambda state: asked.set())
            except Cancelled as error:
                problems.append(error)
            ended.set()

        threading.Thread(target=learn).start()
        assert asked.wait(60)
        one.cancel()
        assert ended.wait(120)
        assert len(problems) == 1
        with pytest.raises(Cancelled):
            one.learn(WALK)
        assert not list(tmp_path.glob("loops/*"))
        assert learner(tmp_path, prover).learn(SUM).state is State.TESTED  # its process can be started again


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, prover: Prover) -> tuple[bytes, bytes]:
    """The file of a loop, and the key that it is sealed with."""
    folder = tmp_path_factory.mktemp("library")
    learner(folder, prover).learn(SUM)
    return (folder / "loops" / f"{hash_of(SUM)}.json").read_bytes(), (folder / "key").read_bytes()


def put(folder: Path, kept: tuple[bytes, bytes]) -> tuple[LoopLibrary, Path]:
    """A library that has the loop."""
    file = folder / "loops" / f"{hash_of(SUM)}.json"
    file.parent.mkdir()
    file.write_bytes(kept[0])
    (folder / "key").write_bytes(kept[1])
    library = LoopLibrary(folder / "loops", folder / "key")
    assert library.find(SUM) is not None
    return library, file


def _native(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["native"]
    return found


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda content: _native(content).update(native="90" + _native(content)["native"][2:]),
    lambda content: content.update(seal="x"),
    lambda content: content.update(seal=7),
    lambda content: content.update(seal="\ud800"),
    lambda content: content.pop("seal"),
    lambda content: content.update(made_by="another version"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_native_code_from_elsewhere_is_never_taken(
    change: Callable[[dict[str, Any]], Any], tmp_path: Path, kept: tuple[bytes, bytes]
) -> None:
    library, file = put(tmp_path, kept)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    assert library.find(SUM) is None
    assert not file.exists()


def test_a_loop_of_another_program_or_processor_is_learned_anew(
    tmp_path: Path, kept: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, file = put(tmp_path, kept)
    monkeypatch.setattr(loop_library, "made_by", lambda: "another processor")
    assert library.find(SUM) is None
    assert not file.exists()


SEALED: list[Callable[[dict[str, Any]], Any]] = [
    lambda content: content.update(version=1),
    lambda content: content.update(code="90"),
    lambda content: content.update(reached="live already"),
    lambda content: content.update(native=None),
    lambda content: content.update(loop=[]),
    lambda content: content.update(pixel_ops=["00000000"]),
    lambda content: _native(content).update(run=1 << 40),
    lambda content: _native(content).update(plan=-1),
    lambda content: _native(content).update(reads=[99]),
    lambda content: _native(content).update(access_streams=[7]),
    lambda content: _native(content).update(streams=7),
    lambda content: content["proof"].update(ms="x"),
    lambda content: content.pop("test"),
    lambda content: content["test"].update(states=9999),
    lambda content: content["test"].update(native=None),
    lambda content: content["test"].pop("native"),
    lambda content: content["test"]["native"].update(n_runs=9999),
    lambda content: content["test"]["native"].update(n_runs="many"),
    lambda content: content["test"]["native"].update(n_mismatches=1),
    lambda content: content["test"]["native"].update(n_rounds=-1),
    lambda content: content.pop("figures"),
    lambda content: content["figures"].update(round_ns=-1.0),
    lambda content: content["figures"].update(far_round_ns=float("nan")),
    lambda content: content["figures"].update(call_ns=float("inf")),
    lambda content: content["figures"].pop("call_ns"),
]


@pytest.mark.parametrize("change", SEALED)
def test_what_was_sealed_but_cannot_be_is_forgotten(
    change: Callable[[dict[str, Any]], Any], tmp_path: Path, kept: tuple[bytes, bytes]
) -> None:
    library, file = put(tmp_path, kept)
    content = json.loads(file.read_text())
    del content["seal"]
    change(content)
    SealedFolder(tmp_path / "loops", tmp_path / "key").write(file.name, content)
    assert library.find(SUM) is None
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{" * 50_000, b"[" * 990 + b"]" * 990, b"\xff", b"0" * (1 << 19)])
def test_files_that_hold_anything_hurt_nothing(content: bytes, tmp_path: Path, kept: tuple[bytes, bytes]) -> None:
    library, file = put(tmp_path, kept)
    file.write_bytes(content)
    assert library.find(SUM) is None


def test_the_folder_is_bounded(
    tmp_path: Path, kept: tuple[bytes, bytes], prover: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = put(tmp_path, kept)
    monkeypatch.setattr(loop_library, "MOST_ENTRIES", 2)
    one = Learner(tmp_path, prover)
    one.learn(WALK)
    one.learn(CPUID)
    assert not file.exists()
    assert {path.stem for path in (tmp_path / "loops").glob("*.json")} == {hash_of(WALK), hash_of(CPUID)}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, prover: Prover) -> None:
    (tmp_path / "loops").write_text("no folder")
    one = learner(tmp_path, prover)
    assert one.learn(CPUID).state is State.QEMU_ONLY
    assert "could not be kept" in one.problem
