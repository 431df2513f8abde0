"""The process that proves: it answers, is ended when stuck, and is replaced when it is lost; no bytes can hurt it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.errors import BadCode, WorkerLost
from bridge.pixelcpu.prover import Prover
from bridge.pixelcpu.unicorn_runs import UnicornFailed


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    with Prover() as one:
        yield one


def test_it_proves_tests_and_compares(prover: Prover) -> None:
    code = bytes.fromhex("4801d8")
    attempt = prover.prove(code)
    assert attempt.proof.status == "proved"
    assert attempt.translation is not None
    assert prover.prove_equal(code, attempt.translation).status == "proved"
    assert prover.run(code, attempt.translation, 100).n_mismatches == 0
    assert prover.check_equal(assemble("mov.64 r1, r2"), assemble("or.64 r1, r2, r2")).status == "proved"
    with pytest.raises(BadCode):
        prover.prove(b"")


def test_a_lost_process_is_told_and_replaced(prover: Prover) -> None:
    prover.prove(b"\x90")
    process = prover._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert prover.prove(b"\x90").proof.status == "proved"
    assert prover._process is not process


def test_a_process_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with Prover() as prover:
        prover.prove(b"\x90")
        process = prover._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        monkeypatch.setattr("bridge.pixelcpu.prover._MORE_S", 0.2)
        with pytest.raises(WorkerLost, match="gave no answer"):
            prover.prove(b"\x90", 0.1)
        assert process.poll() is not None


def test_a_process_that_dies_on_a_question_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Prover() as prover:
        prover.prove(b"\x90")
        process = prover._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        threading.Timer(0.3, process.kill).start()
        with pytest.raises(WorkerLost, match="ended with -9"):
            prover.prove(b"\x90")


def test_random_bytes_hurt_nothing(prover: Prover) -> None:
    rng = np.random.default_rng(7)
    seen: dict[str, int] = {}
    for _ in range(400):
        code = rng.integers(0, 256, int(rng.integers(1, 16)), np.uint8).tobytes()
        try:
            attempt = prover.prove(code, 1.0)
            status: str = attempt.proof.status
            if status == "proved" and attempt.translation is not None:
                status = "run" if not prover.run(code, attempt.translation, 50).n_mismatches else "mismatch"
        except BadCode:
            status = "bad"
        except UnicornFailed:
            status = "fault"
        seen[status] = seen.get(status, 0) + 1
    assert sum(seen.values()) == 400
    assert seen["bad"] > 0
    assert seen["unsupported"] > 0
    assert "mismatch" not in seen
    assert "refuted" not in seen
