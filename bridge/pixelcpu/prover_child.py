"""The process that proves: z3, pyvex and Unicorn run here, where being stuck or crashing hurts nobody.

Run as `python -c "from bridge.pixelcpu.prover_child import main; main()"`: requests come in on standard input, what was
found goes out on standard output, as pickles between a program and its own child. It ends when its input does.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from bridge.pixelcpu.child_frames import read_frame, write_frame

_MEMORY_BYTES = 6 << 30
"""Address space: Unicorn reserves 1 GiB for what it translates, and the solver is held to less by its own limit."""


def _requests() -> dict[str, Callable[..., Any]]:
    from bridge.pixelcpu import differential, gpu_runs, native_figures, native_runs, prove, prove_loop, synthesis

    return {
        "prove": prove.prove,
        "prove_equal": prove.prove_equal,
        "prove_loop": prove_loop.prove_loop,
        "check_equal": prove.check_equal,
        "run": differential.run,
        "run_native": native_runs.run,
        "gpu_cases": gpu_runs.cases,
        "measure": native_figures.measure,
        "improve": synthesis.improve,
        "ready": lambda: True,
    }


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    requests = _requests()
    questions = sys.stdin.buffer
    while (question := read_frame(questions)) is not None:
        name, arguments = question
        try:
            found = requests[name](*arguments)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            found = error
        try:
            write_frame(answers, found)
        except OSError:
            return
