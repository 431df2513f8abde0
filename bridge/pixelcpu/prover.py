"""Proofs from a process of their own: a solver that is stuck, or code that crashes a library, costs a process alone.

Nothing here imports z3, pyvex or Unicorn.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from bridge.pixelcpu.child_frames import UNINTERRUPTED, read_frame_by, write_frame
from bridge.pixelcpu.errors import PixelError, WorkerLost

if TYPE_CHECKING:
    from bridge.pixelcpu.differential import Record
    from bridge.pixelcpu.gpu_trial import GpuCases
    from bridge.pixelcpu.microcode import Program
    from bridge.pixelcpu.native_loop import Figures, NativeLoop, NativeRecord
    from bridge.pixelcpu.prove import Attempt, Proof
    from bridge.pixelcpu.prove_loop import LoopAttempt
    from bridge.pixelcpu.synthesis import Improved
    from bridge.pixelcpu.templates import Templates
    from bridge.pixelcpu.translation import Translation

TIME_LIMIT_S = 10.0
"""The solver's, unless told otherwise."""
IMPROVE_S = 2.0
_MORE_S = 10.0
"""What lifting, comparing and a busy host may take beyond that, before the process is ended."""
_START_S = 60.0
_ROOT = Path(__file__).resolve().parents[2]


class Prover:
    """Asks a process of its own, started with the first question and anew after it was lost. Thread-safe: in turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def prove(self, code: bytes, time_limit_s: float = TIME_LIMIT_S) -> Attempt:
        """Translate x86 code and prove the translation. Raises BadCode, WorkerLost."""
        attempt: Attempt = self._ask(time_limit_s, "prove", code, time_limit_s)
        return attempt

    def prove_equal(self, code: bytes, translation: Translation, time_limit_s: float = TIME_LIMIT_S) -> Proof:
        """Prove that a translation does what `code` does. Raises BadCode, WorkerLost."""
        proof: Proof = self._ask(time_limit_s, "prove_equal", code, translation, time_limit_s)
        return proof

    def prove_loop(
        self, code: bytes, time_limit_s: float = TIME_LIMIT_S, attempt: Attempt | None = None
    ) -> LoopAttempt:
        """Translate and prove a loop's round, and show what it is over all rounds. Raises BadCode, WorkerLost.

        `attempt`: what `prove` said of the round, where it was asked already.
        """
        found: LoopAttempt = self._ask(2 * time_limit_s, "prove_loop", code, time_limit_s, attempt)
        return found

    def check_equal(self, first: Program, second: Program, time_limit_s: float = TIME_LIMIT_S) -> Proof:
        """Prove that two programs do the same. Raises WorkerLost."""
        proof: Proof = self._ask(time_limit_s, "check_equal", first, second, time_limit_s)
        return proof

    def run(self, code: bytes, translation: Translation, n_states: int = 10_000, seed: int = 1) -> Record:
        """Compare a translation with Unicorn on random states. Raises UnicornFailed, BadCode, WorkerLost."""
        record: Record = self._ask(TIME_LIMIT_S, "run", code, translation, n_states, seed)
        return record

    def run_native(self, native: NativeLoop, n_runs: int = 10_000, seed: int = 1) -> NativeRecord:
        """Compare a loop's native code with Unicorn on random states. Raises UnicornFailed, Unsupported, BadCode; and
        WorkerLost, also where the code crashes or does not end."""
        record: NativeRecord = self._ask(2 * TIME_LIMIT_S, "run_native", native, n_runs, seed)
        return record

    def gpu_cases(self, native: NativeLoop, seed: int = 1) -> tuple[GpuCases, ...]:
        """Runs of a loop for a GPU to do, with what Unicorn makes of them. Raises UnicornFailed, Unsupported, BadCode,
        WorkerLost."""
        found: tuple[GpuCases, ...] = self._ask(2 * TIME_LIMIT_S, "gpu_cases", native, seed)
        return found

    def measure(self, native: NativeLoop) -> Figures:
        """What a loop's native code takes; it was tried before. Raises Unsupported, BadCode, WorkerLost."""
        figures: Figures = self._ask(TIME_LIMIT_S, "measure", native)
        return figures

    def improve(
        self,
        code: bytes,
        translation: Translation,
        time_limit_s: float = IMPROVE_S,
        templates: Templates | None = None,
    ) -> Improved:
        """The cheapest translation that is found and proved in time. Raises BadCode, Unsupported, WorkerLost.

        `templates` are read by the other process.
        """
        improved: Improved = self._ask(time_limit_s, "improve", code, translation, time_limit_s, templates)
        return improved

    def interrupt(self) -> None:
        """End the process, from another thread: who waits for it has WorkerLost; the next question starts another."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def __enter__(self) -> Prover:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, time_limit_s: float, name: str, *arguments: object) -> Any:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._process = self._started()
                self._answer("ready", (), _START_S)
            found = self._answer(name, arguments, time_limit_s + _MORE_S)
        if isinstance(found, PixelError):
            raise found
        if isinstance(found, Exception):
            raise WorkerLost(f"The process that proves failed on it ({type(found).__name__}: {found}).")
        return found

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", f"{UNINTERRUPTED}; from bridge.pixelcpu.prover_child import main; main()"],
            cwd=_ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _answer(self, name: str, arguments: tuple[object, ...], limit_s: float) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = monotonic() + limit_s
        try:
            write_frame(process.stdin, (name, arguments))
            return read_frame_by(process.stdout, deadline)
        except TimeoutError:
            self._end()
            raise WorkerLost(f"The process that proves gave no answer in {limit_s:g} s and was ended.") from None
        except (OSError, EOFError):
            self._end()
            raise WorkerLost(f"The process that proves ended with {process.returncode} on it.") from None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT)}
