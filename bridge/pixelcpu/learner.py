"""Learner: takes a loop's code through lifting, proof and test, once; what came of it is remembered, refusals too."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from bridge.pixelcpu.errors import PixelError, WorkerLost
from bridge.pixelcpu.gpu_back_end import Gpu, kernel_for_gpu
from bridge.pixelcpu.learned import Learned, State, Synthesis
from bridge.pixelcpu.library import Kernel, Library
from bridge.pixelcpu.loop_library import LoopLibrary
from bridge.pixelcpu.prover import IMPROVE_S, Prover
from bridge.pixelcpu.template_library import TemplateLibrary

TIME_LIMIT_S = 5.0
"""The solver's, for a round, and again for what the rounds do together. Loops take a fifth of that, or never end."""
N_STATES = 10_000
N_RUNS = 10_000
"""Of the native code."""
_N_RUN = 10_500
"""Some leave the memory that a state has and are put aside."""
_MOST_RUNS, _LEAST_A_RUN = 32, 300
"""A table reaches beyond the memory that a state has: of each run a part counts, but not of one that hardly does."""
_MOST_KNOWN = 4096


class Cancelled(PixelError):
    """Learning was called off."""


class Learner:
    """One question at a time; `cancel` is for other threads."""

    def __init__(self, folder: Path, prover: Prover, time_limit_s: float = TIME_LIMIT_S) -> None:
        """`folder`: what is learned is kept there; it is made when something is."""
        self._prover, key = prover, folder / "key"
        self._loops, self._rounds = LoopLibrary(folder / "loops", key), Library(folder)
        self._templates = TemplateLibrary(folder / "templates", key)
        self._time_limit_s = time_limit_s
        self._cancelled = threading.Event()
        self._known: dict[bytes, Learned] = {}
        self.problem = ""
        """Why what was learned last could not be kept, in a sentence; empty where it was."""
        self.from_library = 0
        """How many loops were found there …"""
        self.made = 0
        """… and how many were not."""

    def cancel(self) -> None:
        """Call off what goes on: it, and all that is asked for later, raises Cancelled."""
        self._cancelled.set()
        self._prover.interrupt()

    def known(self, code: bytes) -> Learned | None:
        """What was learned of a loop here already."""
        return self._known.get(code)

    def learn(self, code: bytes, note: Callable[[State], None] = lambda _: None) -> Learned:
        """Know all that can be known of a loop. `note` is called with each state that it comes to.

        Takes seconds at most unless the host is busy. Raises Cancelled.
        """
        self._check()
        self.problem = ""
        found, made = self._known.get(code), False
        if found is None:
            found = self._loops.find(code)
            if found is None:
                found, made = self._made(code, note), True
                self._keep(found)
                self.made += 1
            else:
                self.from_library += 1
            self._remember(found)
        if found.reason or not made:
            note(found.state)
        return found

    def refuse(self, code: bytes, reason: str) -> Learned:
        """Leave a loop to QEMU from now on, whatever was learned of it; `reason` is a sentence."""
        found = replace(self._known.get(code) or Learned(code, State.TRACED), reason=reason, native=None)
        self._remember(found)
        self._keep(found)
        return found

    def try_on_gpu(self, code: bytes, gpu: Gpu) -> Learned:
        """Have a loop's kernel run on the GPU beside Unicorn, once for each GPU, and remember it.

        Takes seconds. Raises NoGpu, Unsupported, WorkerLost, Cancelled.
        """
        self._check()
        found = self._known[code]
        device, kernel = gpu.device, kernel_for_gpu(found)
        if found.gpu_test is None or found.gpu_test.device != device:
            assert found.native is not None
            cases = self._prover.gpu_cases(found.native)
            self._check()
            found = replace(found, gpu_test=gpu.try_out(kernel, cases))
            self._remember(found)
            self._keep(found)
        return found

    def refuse_gpu(self, code: bytes, reason: str) -> Learned:
        """Never have this GPU do the loop again; `reason` is a sentence without its point."""
        found = self._known[code]
        if found.gpu_test is not None:
            record = replace(found.gpu_test, n_mismatches=found.gpu_test.n_mismatches + 1, first=reason)
            found = replace(found, gpu_test=record)
            self._remember(found)
            self._keep(found)
        return found

    def _remember(self, found: Learned) -> None:
        self._known.pop(found.code, None)
        while len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[found.code] = found

    def _keep(self, found: Learned) -> None:
        with self._kept():
            self._loops.keep(found)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.problem = f"What was learned could not be kept: {error.strerror}."

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("Learning was called off.")

    def _made(self, code: bytes, note: Callable[[State], None]) -> Learned:
        began = perf_counter()
        found = Learned(code, State.TRACED)
        note(State.TRACED)
        try:
            for step in (self._lifted, self._synthesised, self._proved, self._tested):
                found = step(found)
                self._check()
                if found.reason:
                    break
                note(found.reached)
        except WorkerLost as error:
            self._check()  # it was ended because of that
            found = replace(found, reason=str(error))
        except Cancelled:
            raise
        except PixelError as error:
            found = replace(found, reason=str(error))
        if found.reason:
            found = replace(found, native=None)
        return replace(found, ms=1000 * (perf_counter() - began))

    def _lifted(self, found: Learned) -> Learned:
        kernel = self._rounds.find(found.code, self._prover)
        if kernel is None:
            attempt = self._prover.prove(found.code, self._time_limit_s)
            proof, translation = attempt.proof, attempt.translation
            if translation is None or proof.status != "proved":
                return replace(found, reason=proof.reason or f"The proof of its round ended as {proof.status}.")
            kernel = Kernel(
                found.code, translation, proof.solver, proof.query_hash, attempt.ms_synthesis, proof.ms, n_states=0
            )
        return replace(
            found,
            reached=State.LIFTED,
            translation=kernel.translation,
            solver=kernel.solver,
            query_hash=kernel.query_hash,
            ms_proof=kernel.ms_proof,
            n_states=kernel.n_states,
        )

    def _synthesised(self, found: Learned) -> Learned:
        translation = found.translation
        assert translation is not None
        if not found.n_states:  # what was kept is as cheap as was found then
            improved = self._prover.improve(found.code, translation, IMPROVE_S, self._templates)
            record = Synthesis(
                len(translation.program.instructions),
                translation.program.cost,
                improved.n_tried,
                improved.n_refuted,
                improved.n_reused,
                improved.ms,
            )
            found = replace(found, translation=improved.translation, synthesis=record)
            if improved.proof is not None:
                proof = improved.proof
                found = replace(found, solver=proof.solver, query_hash=proof.query_hash, ms_proof=proof.ms)
            with self._kept():
                for outline, template in improved.templates:
                    self._templates.keep(outline, template)
        return replace(found, reached=State.SYNTHESISED)

    def _proved(self, found: Learned) -> Learned:
        from bridge.pixelcpu.prove import Attempt, Proof  # loads the solver, which what was kept needs not

        proof = Proof("proved", ms=found.ms_proof, query_hash=found.query_hash, solver=found.solver)
        known = Attempt(found.code, proof, found.translation, 0.0)
        attempt = self._prover.prove_loop(found.code, self._time_limit_s, known)
        found = replace(found, loop=attempt.loop, rounds=attempt.rounds, native=attempt.native)
        if attempt.native is None:
            return replace(found, reason=attempt.reason)
        return replace(found, reached=State.PROVED)

    def _tested(self, found: Learned) -> Learned:
        assert found.translation is not None
        n_states = found.n_states
        for seed in range(1, 1 + _MOST_RUNS):
            if n_states >= N_STATES:
                break
            self._check()
            record = self._prover.run(found.code, found.translation, _N_RUN, seed)
            if record.n_mismatches:
                return replace(
                    found,
                    reason=f"Run beside Unicorn, {record.n_mismatches:,} of {record.n_states:,} states differ: "
                    f"{record.first}.",
                )
            n_states += record.n_states
            if record.n_states < _LEAST_A_RUN:
                break
        if n_states < N_STATES:
            return replace(found, reason=f"Only {n_states:,} of the random states could be run beside Unicorn.")
        ms_synthesis = found.synthesis.ms if found.synthesis is not None else 0.0
        kernel = Kernel(
            found.code, found.translation, found.solver, found.query_hash, ms_synthesis, found.ms_proof, n_states
        )
        with self._kept():
            self._rounds.keep(kernel)
        return self._natively_tested(replace(found, n_states=n_states))

    def _natively_tested(self, found: Learned) -> Learned:
        native = found.native
        assert native is not None
        self._check()
        try:
            record = self._prover.run_native(native, N_RUNS)
            found = replace(found, native_test=record)
            if record.n_mismatches:
                return replace(
                    found,
                    reason=f"Its native code, run beside Unicorn, differs in {record.n_mismatches:,} runs: "
                    f"{record.first}.",
                )
            if record.n_runs < N_RUNS:
                return replace(found, reason=f"Only {record.n_runs:,} runs of its native code could be compared.")
            self._check()
            return replace(found, reached=State.TESTED, figures=self._prover.measure(native))
        except WorkerLost as error:
            self._check()
            return replace(found, reason=f"Its native code could not be run. {error}")
