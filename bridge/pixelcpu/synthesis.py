"""Cheaper microcode for the same code: a superoptimiser by counterexamples (CEGIS) over the table of instructions.

From a translation that is proved, programs are tried that leave an instruction out, write no flags where it did, or do
in one what two or three did. What became of instructions of the same outline before is tried first. A guess is run on
examples: states, with what x86 code makes of them. What survives is proved, many guesses at once; the counterexample of
what is refuted becomes an example, so that no mistake is made twice. What is given back is proved, or what was given.

Solar-Lezama, "Program synthesis by sketching", 2008, has the loop; Massalin, "Superoptimizer", 1987, the search;
Bansal and Aiken, "Automatic generation of peephole superoptimizers", 2006, what is found once and used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

from bridge.pixelcpu.isa import Kind
from bridge.pixelcpu.microcode import Instruction, Program
from bridge.pixelcpu.prove import Proof, prove_equal
from bridge.pixelcpu.synthesis_examples import Examples
from bridge.pixelcpu.synthesis_search import alike
from bridge.pixelcpu.templates import (
    MOST_INSTRUCTIONS,
    NoTemplates,
    Outline,
    Template,
    Templates,
    outline_of,
    template_of,
)
from bridge.pixelcpu.translation import Translation

TIME_LIMIT_S = 2.0
_PROOF_S = 1.0
_LENGTHS = (2, 3, 1)
"""Of windows for which one instruction is tried."""
_SHARE = 0.6
"""Of the time that is left, for guesses; the rest is for the proof, and for what comes after it was none."""


@dataclass(frozen=True, slots=True)
class Improved:
    """What became of a translation."""

    translation: Translation
    proof: Proof | None
    """Of the translation, where it is another than was given."""
    n_tried: int
    """Guesses that were run on the examples."""
    n_refuted: int
    """How often what survived them was refuted by the solver."""
    n_reused: int
    """Of what was changed, how much by templates."""
    templates: tuple[tuple[Outline, Template], ...]
    """What was found that was not known."""
    ms: float


def improve(
    code: bytes, translation: Translation, time_limit_s: float = TIME_LIMIT_S, templates: Templates | None = None
) -> Improved:
    """The cheapest translation that is found in time; `translation` is proved. Raises BadCode, Unsupported."""
    began = perf_counter()
    search = _Search(code, translation, began + time_limit_s, templates or NoTemplates())
    if not search.by_template():
        search.run()
    ms = 1000 * (perf_counter() - began)
    return Improved(
        search.best, search.proof, search.n_tried, search.n_refuted, search.n_reused, tuple(search.learned()), ms
    )


@dataclass(frozen=True, slots=True)
class _Guess:
    """A program that may do the same, and how it came about."""

    program: Program
    window: tuple[Instruction, ...] = ()
    """What was looked for …"""
    new: tuple[Instruction, ...] = ()
    """… and is there instead."""
    known: bool = False
    """By a template."""


class _Search:
    """The best that is proved, and guesses at what is better."""

    def __init__(self, code: bytes, translation: Translation, deadline: float, templates: Templates) -> None:
        self._code, self._given, self._deadline, self._templates = code, translation, deadline, templates
        self._examples = Examples(code, translation)
        self._whole = outline_of(translation.program.instructions)
        self._fruitless: set[tuple[Instruction, ...]] = set()
        self._found: list[_Guess] = []
        self._ended = False
        self.best = translation
        self.proof: Proof | None = None
        self.n_tried = self.n_refuted = self.n_reused = 0

    def by_template(self) -> bool:
        """What became of the whole of another program of this outline may be all that is needed."""
        template = self._templates.find(self._whole) if len(self._whole.parts) <= MOST_INSTRUCTIONS else None
        if template is None or perf_counter() >= self._deadline:
            return False
        for instructions in template.of(self._whole):
            if instructions == self._given.program.instructions:
                return True  # nothing better was found for the others
            program = Program.of(instructions)
            if program.cost < self.best.program.cost and self._agrees(program) and self._prove(program):
                self.n_reused += 1
                return True
        return False

    def run(self) -> None:
        """Guess until nothing cheaper is found, or the time is over."""
        one_by_one = False
        while perf_counter() < self._deadline:
            now = perf_counter()
            until = now + (self._deadline - now) * (1.0 if one_by_one else _SHARE)
            guesses = self._cheaper(until, one_by_one)
            if not guesses and perf_counter() < until:
                self._ended = True
                return
            if not guesses:  # cut short: it goes on in the time that is left
                continue
            if one_by_one or self._prove(guesses[-1].program):
                self._take(guesses)
                continue
            # The solver may have found no answer: then no example shows what is wrong.
            one_by_one = self._agrees(guesses[-1].program)

    def learned(self) -> Iterator[tuple[Outline, Template]]:
        """Templates for what was found here, and for the whole where the search was not cut short."""
        for guess in self._found:
            outline = outline_of(guess.window)
            template = template_of(outline, guess.new) if guess.window and not guess.known else None
            if template is not None:
                yield outline, template
        if self._ended and len(self._whole.parts) <= MOST_INSTRUCTIONS:
            template = template_of(self._whole, self.best.program.instructions)
            if template is not None:
                yield self._whole, template

    def _take(self, guesses: list[_Guess]) -> None:
        self._found += guesses
        self.n_reused += sum(guess.known for guess in guesses)

    def _cheaper(self, deadline: float, one_by_one: bool) -> list[_Guess]:
        """One guess after the other, each upon the one before, that all examples agree with."""
        taken: list[_Guess] = []

        def take(guesses: Iterator[_Guess]) -> bool:
            """The first that is any good; whether there is one."""
            program = taken[-1].program if taken else self.best.program
            for guess in guesses:
                if perf_counter() >= deadline:
                    return False
                if guess.program.cost >= program.cost or not self._agrees(guess.program):
                    continue
                if not one_by_one or self._prove(guess.program):
                    taken.append(guess)
                    return True
            return False

        def now() -> tuple[Instruction, ...]:
            return (taken[-1].program if taken else self.best.program).instructions

        more = True
        while more and perf_counter() < deadline:
            # From the end: what nobody needs any more comes before what needed it.
            for place in reversed(range(len(now()))):
                take(_simpler(now(), place))
            more = False
            for length in _LENGTHS:
                place = 0
                while place + length <= len(now()) and perf_counter() < deadline:
                    if take(self._in_one(now(), place, length, deadline)):
                        more = True
                    else:
                        place += 1
        return taken

    def _agrees(self, program: Program) -> bool:
        self.n_tried += 1
        return self._examples.agree(replace(self.best, program=program))

    def _prove(self, program: Program) -> bool:
        """Whether it does the same; then it is the best."""
        candidate = replace(self.best, program=program)
        proof = prove_equal(self._code, candidate, min(_PROOF_S, max(0.01, self._deadline - perf_counter())))
        if proof.status == "proved":
            self.best, self.proof = candidate, proof
            return True
        if proof.counterexample is not None:
            self.n_refuted += 1
            self._examples.add(proof.counterexample)
        return False

    def _in_one(
        self, instructions: tuple[Instruction, ...], place: int, length: int, deadline: float
    ) -> Iterator[_Guess]:
        """With another instruction instead of so many from a place on, or what a template has."""
        window = instructions[place : place + length]
        if window in self._fruitless or any(one.row.kind is not Kind.PLAIN for one in window):
            return
        outline = outline_of(window)
        template = self._templates.find(outline)
        if template is not None:
            for new in template.of(outline):
                yield _Guess(_with(instructions, place, length, *new), window, new, known=True)
        whole = replace(self.best, program=Program.of(instructions))
        steps, n_examples = self._examples.on_the_way(whole), len(self._examples)
        for one in alike(window, steps[place], steps[place + length], n_examples, deadline):
            yield _Guess(_with(instructions, place, length, one), window, (one,))
        if perf_counter() < deadline:  # else it was cut short
            self._fruitless.add(window)


def _simpler(instructions: tuple[Instruction, ...], place: int) -> Iterator[_Guess]:
    """What costs little to think of."""
    one = instructions[place]
    yield _Guess(_with(instructions, place, 1))
    if one.sets_flags and not one.row.must_write:
        yield _Guess(_with(instructions, place, 1, replace(one, sets_flags=False)))
    if one.row.operation == "mov" and one.immediate is None:
        yield _Guess(_forwarded(instructions, place))


def _forwarded(instructions: tuple[Instruction, ...], place: int) -> Program:
    """Without a copy: what reads it reads what was copied, until it is written again."""
    copy, rest = instructions[place], list(instructions[place + 1 :])
    for at, one in enumerate(rest):
        row = one.row
        a = copy.a if row.takes_a and one.immediate is None and one.a == copy.d else one.a
        b = copy.a if row.takes_b and one.b == copy.d else one.b
        value = not row.has_destination and row.kind is Kind.STORE
        rest[at] = replace(one, a=a, b=b, d=copy.a if value and one.d == copy.d else one.d)
        if row.has_destination and one.d == copy.d:
            break
    return Program.of((*instructions[:place], *rest))


def _with(instructions: tuple[Instruction, ...], place: int, length: int, *new: Instruction) -> Program:
    return Program.of((*instructions[:place], *new, *instructions[place + length :]))
