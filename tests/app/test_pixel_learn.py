"""`pixel learn` and `pixel run` on a real machine: its loops are found, proved and taken over; then it is as it was."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from app.benchmarks.loop_guest import LoopGuest
from app.cli import main
from app.exit_codes import ExitCode
from bridge.machine.directories import state_dir
from bridge.pixelcpu.hybrid import LEAST_API, Hybrid
from bridge.pixelcpu.learned import State
from bridge.pixelcpu.learner import Learner
from bridge.pixelcpu.learning import Learning, Nameless
from bridge.pixelcpu.prover import Prover
from bridge.semantic.audit import AuditLog
from bridge.trace.visit import traced
from tests.app.conftest import own_homes
from tests.app.endless_loops import MAP, SUM, WALK, endless_loops, mapped_right, turns
from tests.bridge.machine.newer_qemu import have_newer_qemu

_LONG_S = 300.0


@pytest.fixture(scope="module")
def loops(guest_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopGuest]:
    newer = have_newer_qemu(guest_cache)
    with own_homes(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSBOX_QEMU", str(newer))
        with endless_loops(tmp_path_factory.mktemp("loops")) as guest:
            yield guest


def until_turned(guest: LoopGuest, count: int = 3) -> None:
    """Wait for turns that began now."""
    last, deadline = turns(guest) + count, monotonic() + _LONG_S
    while turns(guest) < last:
        assert monotonic() < deadline
        sleep(0.01)


def as_it_was(guest: LoopGuest) -> bool:
    memory = guest.machine.trace
    assert memory is not None
    return not int(memory.plugin["parts"]) and not memory.kernels["id"].any()


def ran(arguments: list[str], capsys: pytest.CaptureFixture[str], *, rounds: bool = False) -> dict[str, Any]:
    """What the command tells, once it has seen all three loops, and with `rounds` the map's kernel did some.

    On a busy host a while may be too short for that.
    """
    for _ in range(60):
        assert main(["pixel", *arguments, "--json"]) == ExitCode.DONE
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        by_code = {one["code"]: one for one in document["loops"]}
        if by_code.keys() >= {MAP.hex(), WALK.hex(), SUM.hex()} and (not rounds or by_code[MAP.hex()]["rounds"]):
            return document
    raise AssertionError(document)


def test_loops_are_learned_and_the_guest_is_left_alone(loops: LoopGuest, capsys: pytest.CaptureFixture[str]) -> None:
    document = ran(["learn", loops.machine.name, "--for", "2s"], capsys)
    by_code = {one["code"]: one for one in document["loops"]}
    assert by_code[MAP.hex()]["state"] == by_code[SUM.hex()]["state"] == "tested"
    assert (by_code[MAP.hex()]["kind"], by_code[SUM.hex()]["kind"]) == ("map", "reduction")
    walked = by_code[WALK.hex()]
    assert (walked["state"], walked["reached"]) == ("QEMU only", "synthesised")
    assert "An address depends on rax" in walked["reason"]
    assert (walked["native_test"], walked["figures"], walked["estimate"]) == (None, None, None)
    for one in (by_code[MAP.hex()], by_code[SUM.hex()]):
        assert one["proof"]["query_hash"]
        assert one["tested_states"] >= 10_000
        assert one["native_test"]["n_runs"] >= 10_000
        assert one["native_test"]["n_mismatches"] == 0
        assert one["figures"]["round_ns"] > 0
        assert one["pixel_ops"]
        assert one["reason"] is None
    assert 0.5 < sum(one["share"] for one in document["loops"]) <= 1.0
    assert document["settled"]
    assert as_it_was(loops)
    assert AuditLog().path.read_text().count('"pixel"') >= 1  # a guest was looked into
    # On a busy host a while may have too few samples for an estimate.
    for _ in range(60):
        estimated = ran(["learn", loops.machine.name, "--for", "2s"], capsys)
        if all({one["code"]: one for one in estimated["loops"]}[code.hex()]["estimate"] for code in (MAP, SUM)):
            break
    else:
        raise AssertionError(estimated)
    # What is known is not learned again, what is refused neither.
    again = ran(["learn", loops.machine.name, "--for", "1s"], capsys)
    assert (again["made"], again["from_library"]) == (0, len(again["loops"]))
    assert main(["pixel", "learn", loops.machine.name, "--for", "1s", "--top", "1"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["STATE", "KIND", "TIME", "INSTRUCTIONS", "ESTIMATE"]
    assert "1 of 1 loop can be done by kernels" in lines[-1]


def test_loops_are_taken_over_and_given_back(loops: LoopGuest, capsys: pytest.CaptureFixture[str]) -> None:
    document = ran(["run", loops.machine.name, "--for", "2s"], capsys, rounds=True)
    by_code = {one["code"]: one for one in document["loops"]}
    assert by_code[MAP.hex()]["state"] == by_code[SUM.hex()]["state"] == "live"
    assert by_code[MAP.hex()]["rounds"] > 0
    assert by_code[MAP.hex()]["plugin"]["state"] == "live"
    assert by_code[WALK.hex()]["plugin"] is None
    assert by_code[WALK.hex()]["rounds"] == 0
    assert 0 < document["taken_over"] <= 1
    assert document["instructions"] > 7 * by_code[MAP.hex()]["rounds"]
    assert document["way"] == "plugin"
    assert as_it_was(loops)
    loops.machine.pause()  # not in the midst of a turn's stores of the same values: none differs at any time
    assert mapped_right(loops)
    loops.machine.resume()
    until_turned(loops)
    assert main(["pixel", "run", loops.machine.name, "--for", "100ms"]) == ExitCode.DONE
    assert "QEMU does everything again" in capsys.readouterr().out


def test_verified_kernels_change_nothing(loops: LoopGuest, capsys: pytest.CaptureFixture[str]) -> None:
    document = ran(["run", loops.machine.name, "--for", "3s", "--verify"], capsys, rounds=True)
    by_code = {one["code"]: one for one in document["loops"]}
    assert by_code[MAP.hex()]["plugin"]["verified_rounds"] > 0
    assert by_code[MAP.hex()]["state"] == "live"
    assert document["taken_over"] == 0
    assert document["verify"]
    assert as_it_was(loops)


def test_the_gpu_does_what_it_is_told_to(loops: LoopGuest, capsys: pytest.CaptureFixture[str]) -> None:
    """A software one here, which is used where it is asked for by name, and told why not where it is not."""
    name = loops.machine.name
    for _ in range(30):  # on a busy host a while may be too short
        document = ran(["run", name, "--for", "3s", "--back-end", "gpu"], capsys, rounds=True)
        by_code = {one["code"]: one for one in document["loops"]}
        if by_code[MAP.hex()]["gpu_rounds"] and by_code[SUM.hex()]["gpu_rounds"]:
            break
    else:
        raise AssertionError(document)
    assert document["back_end"] == "gpu"
    assert document["gpu"]
    for code in (MAP, SUM):
        one = by_code[code.hex()]
        assert one["gpu_test"]["n_rounds"] >= 10_000
        assert one["gpu_test"]["n_mismatches"] == 0
        assert one["gpu_test"]["device"] == document["gpu"]
        assert one["plugin"]["gpu"]["wrong"] == ""
        assert one["rounds"] >= one["gpu_rounds"]
        assert one["back_end"] in ("GPU", "host")
    loops.machine.pause()
    assert mapped_right(loops)
    loops.machine.resume()
    until_turned(loops)
    assert as_it_was(loops)
    auto = ran(["run", name, "--for", "1s"], capsys)
    assert auto["back_end"] == "auto"
    if "llvmpipe" in document["gpu"]:
        assert "no GPU but llvmpipe" in auto["no_gpu"]
        assert not any(one["gpu_rounds"] for one in auto["loops"])
    host = ran(["run", name, "--for", "1s", "--back-end", "host"], capsys)
    assert (host["gpu"], host["no_gpu"]) == (None, None)
    assert main(["pixel", "run", name, "--for", "1s", "--back-end", "gpu"]) == ExitCode.DONE
    assert "of them were done on the GPU" in capsys.readouterr().out


def learning(session: Any, prover: Prover, hybrid: Hybrid | None = None) -> Learning:
    folder = state_dir() / "pixel"
    learner = Learner(folder, prover)
    return Learning(session, learner, Nameless, hybrid=hybrid)


def test_it_can_be_stopped_at_any_moment(loops: LoopGuest) -> None:
    for wait_s in (0.0, 0.5, 1.5):
        with traced(loops.machine.name) as session, Prover() as prover:
            one = learning(session, prover, Hybrid(session))
            one.start()
            one.wait(wait_s)
            one.stop()
            assert not one.goes_on
            assert one.look().failure == ""
        assert as_it_was(loops)
        until_turned(loops)


def test_what_the_last_one_left_behind_is_cleared(loops: LoopGuest) -> None:
    with traced(loops.machine.name) as session, Prover() as prover:
        first = learning(session, prover, Hybrid(session))
        first.start()
        assert first.wait(_LONG_S)
        second = learning(session, prover, Hybrid(session))  # the first was killed, say
        second.start()
        assert second.wait(_LONG_S)
        live = [one for one in second.look().entries if one.state is State.LIVE]
        assert live
        assert len({one.told.id for one in live if one.told is not None}) == len(live)
        second.stop()
        first.stop()
    assert as_it_was(loops)


def test_an_interrupt_ends_it_well(loops: LoopGuest, capsys: pytest.CaptureFixture[str]) -> None:
    memory = loops.machine.trace
    assert memory is not None
    codes: list[int] = []

    def interrupt() -> None:
        deadline = monotonic() + _LONG_S
        while not memory.kernels["id"].any() and monotonic() < deadline:
            sleep(0.01)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    codes.append(main(["pixel", "run", loops.machine.name, "--for", "10min", "--json"]))
    thread.join()
    document = json.loads(capsys.readouterr().out)
    assert codes == [ExitCode.DONE if document["settled"] else ExitCode.FAILED]
    assert as_it_was(loops)
    until_turned(loops)


def test_a_machine_that_ends_meanwhile_is_told(guest_cache: Path, tmp_path: Path) -> None:
    newer = have_newer_qemu(guest_cache)
    with own_homes(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSBOX_QEMU", str(newer))
        with (
            endless_loops(tmp_path) as guest,
            traced(guest.machine.name) as session,
            Prover() as prover,
        ):
            one = learning(session, prover, Hybrid(session))
            one.start()
            assert one.wait(_LONG_S)
            guest.machine.stop()
            deadline = monotonic() + _LONG_S
            while one.goes_on:
                assert monotonic() < deadline
                sleep(0.05)
            assert one.look().failure
            one.stop()


def test_an_older_qemu_has_its_loops_done_through_its_gdbstub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLASSBOX_QEMU", raising=False)
    with own_homes(), endless_loops(tmp_path) as guest:
        assert guest.machine.trace is not None
        if int(guest.machine.trace.plugin["api"]) >= LEAST_API:
            pytest.skip("this host's QEMU is new enough")
        document = ran(["run", guest.machine.name, "--for", "3s"], capsys, rounds=True)
        by_code = {one["code"]: one for one in document["loops"]}
        assert document["way"] == "gdbstub"
        assert by_code[MAP.hex()]["state"] == by_code[SUM.hex()]["state"] == "live"
        assert by_code[MAP.hex()]["plugin"]["state"] == "live"
        assert 0 < document["taken_over"] <= 1
        assert as_it_was(guest)
        guest.machine.pause()
        assert mapped_right(guest)
        guest.machine.resume()
        until_turned(guest)
        assert main(["pixel", "run", guest.machine.name, "--for", "100ms"]) == ExitCode.DONE
        told = capsys.readouterr().out
        assert "QEMU does everything again" in told
        assert "through its gdbstub" in told
        verified = ran(["run", guest.machine.name, "--for", "3s", "--verify"], capsys, rounds=True)
        assert verified["verify"]
        assert not any("differed" in (one["reason"] or "") for one in verified["loops"])
        assert as_it_was(guest)
        until_turned(guest)


def test_a_machine_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    for todo in ("learn", "run"):
        assert main(["pixel", todo, "nobody"]) == ExitCode.NO_SUCH_MACHINE
        assert "nobody" in capsys.readouterr().err
