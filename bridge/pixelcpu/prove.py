"""The proof: that no state exists after which microcode and x86 code differ in a register, a flag or a byte of memory.

z3 is asked for such a state; UNSAT is the proof, and a model is a counterexample. Both meanings are terms over the same
unknown state: x86's from VEX (`vex`), the microcode's from the table of its instructions (`meaning`). What the SDM
leaves undefined is not compared, and nothing else is left out.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any, Literal

import z3

from bridge.pixelcpu.counterexample import Compared, Counterexample, read_model
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.executor import State
from bridge.pixelcpu.guarded_stores import guard_of
from bridge.pixelcpu.isa import FLAGS as LETTERS
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.meaning import ArrayMemory, after, unknown_memory, unknown_state
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.vex import Meaning, meaning
from bridge.pixelcpu.vex_flags import bit, is_set
from bridge.pixelcpu.vex_machine import Outcome
from bridge.pixelcpu.x86_state import FLAGS, HALVES, REGISTERS

Status = Literal["proved", "refuted", "unsupported", "timeout"]
TIME_LIMIT_S = 10.0
"""For one proof; the median takes a few hundredths of that."""
MEMORY_LIMIT_MIB = 2048
_SOON_S = 0.5
_N_TRIED = 32
_SOLVER = f"z3 {z3.get_version_string()}"


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of the attempt to prove."""

    status: Status
    reason: str = ""
    """Why there is no proof, in a sentence."""
    ms: float = 0.0
    """Milliseconds for both meanings and the solver."""
    ms_solver: float = 0.0
    query_hash: str = ""
    """SHA-256 of what the solver was asked, as z3 prints it."""
    solver: str = ""
    counterexample: Counterexample | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A block of x86 code, its microcode, and the proof; without microcode where there is none."""

    code: bytes
    proof: Proof
    translation: Translation | None
    ms_synthesis: float


def prove(code: bytes, time_limit_s: float = TIME_LIMIT_S) -> Attempt:
    """Translate and prove. Raises BadCode; what is unsupported is told in the proof."""
    began = perf_counter()
    try:
        translation = translate(code)
    except Unsupported as error:
        return Attempt(code, Proof("unsupported", str(error)), None, _ms_since(began))
    ms_synthesis = _ms_since(began)
    return Attempt(code, prove_equal(code, translation, time_limit_s), translation, ms_synthesis)


def prove_equal(code: bytes, translation: Translation, time_limit_s: float = TIME_LIMIT_S) -> Proof:
    """Prove that a translation does what `code` does. Raises BadCode; what is unsupported is told."""
    began = perf_counter()
    try:
        x86 = meaning(code)
    except Unsupported as error:
        return Proof("unsupported", str(error), _ms_since(began))
    return _decide(_compared(x86, translation), time_limit_s, began)


def check_equal(first: Program, second: Program, time_limit_s: float = TIME_LIMIT_S) -> Proof:
    """Prove that two programs do the same to all 32 registers, the flags and memory, in any one lane."""
    began = perf_counter()
    if first.has_reductions or second.has_reductions:
        return Proof("unsupported", "Programs whose lanes meet are not compared lane by lane.", _ms_since(began))
    before, array, lane = unknown_state(), unknown_memory().array, z3.BitVec("lane", 64)
    memories = ArrayMemory(array), ArrayMemory(array)
    one, other = (
        after(program, before, memory, lane) for program, memory in zip((first, second), memories, strict=True)
    )
    pairs = {f"r{n}": (one.registers[n], other.registers[n]) for n in range(N_REGISTERS)}
    pairs |= {f"{letter}F": (bit(one.flags[letter]), bit(other.flags[letter])) for letter in LETTERS}
    compared = Compared(
        {**{f"r{number}": term for number, term in enumerate(before.registers)}, "lane": lane},
        {f"{letter}F": bit(before.flags[letter]) for letter in LETTERS},
        array,
        pairs,
        (memories[0].array, memories[1].array),
        z3.BitVec("any_address", 64),
        {},
    )
    return _decide(compared, time_limit_s, began)


def _compared(x86: Meaning, translation: Translation) -> Compared:
    there = pixel_outcome(x86.before, translation)
    pairs = {name: (x86.after.words[name], there.words[name]) for name in there.words}
    pairs |= {flag: (x86.after.flags[flag], there.flags[flag]) for flag in FLAGS}
    pairs["next"] = (x86.after.next, there.next)
    before, memories = x86.before, (x86.after.memory, there.memory)
    place = z3.BitVec("any_address", 64)
    return Compared(before.words, before.flags, before.memory, pairs, memories, place, x86.undefined)


def pixel_outcome(before: Outcome, translation: Translation) -> Outcome:
    """What a translation makes of a state, under x86's names."""
    registers = [before.words[name] for name in REGISTERS]
    registers += _scratch()
    for name, number in translation.halves.items():
        registers[number] = before.words[name]
    memory = ArrayMemory(before.memory)
    state = State(registers, {flag[0]: is_set(term) for flag, term in before.flags.items()})
    done = after(translation.program, state, memory)
    words = {name: done.registers[number] for number, name in enumerate(REGISTERS)}
    for name in HALVES:
        held = translation.halves.get(name)
        words[name] = before.words[name] if held is None else done.registers[held]
    goes_on = z3.BitVecVal(translation.goes_on, 64)
    if translation.taken is not None:
        target = z3.BitVecVal(translation.target, 64)
        goes_on = z3.If(done.registers[translation.taken] != 0, target, goes_on)
    if translation.elsewhere is not None:
        elsewhere = done.registers[translation.elsewhere]
        for number, other in enumerate(translation.others, 1):
            goes_on = z3.If(elsewhere == number, z3.BitVecVal(other, 64), goes_on)
    return Outcome(words, {flag: bit(done.flags[flag[0]]) for flag in FLAGS}, memory.array, goes_on)


@cache
def _scratch() -> list[Any]:
    """What the Pixel CPU's other registers hold before: anything."""
    return [z3.BitVec(f"scratch{number}", 64) for number in range(len(REGISTERS), N_REGISTERS)]


def _decide(compared: Compared, time_limit_s: float, began: float) -> Proof:
    differences = [
        _and_not(_differ(one, other), compared.undefined.get(name, False))
        for name, (one, other) in compared.pairs.items()
        if not one.eq(other)
    ]
    one, other = compared.memories
    by_store = _differing_stores(one, other)
    asked = perf_counter()
    digest, answer, model = "", z3.sat, None
    if by_store is not None:
        # Loads of the same bytes by both are the same, whatever is there: a question without memory, and an easy one.
        digest, answer, model = _ask(_without_memory([*differences, *by_store]), time_limit_s)
    uses_memory = by_store is None or by_store or _loads(_simplified(differences))
    if answer == z3.sat and uses_memory:  # what differs may be loads that cannot, or stores that leave the same
        anywhere = [] if one.eq(other) else [z3.Select(one, compared.place) != z3.Select(other, compared.place)]
        left_s = max(0.001, time_limit_s - (perf_counter() - asked))
        exact = _simplified([*differences, *anywhere], expand_select_store=True)
        digest, answer, model = _ask(exact, left_s, "QF_AUFBV")
    ms_solver = _ms_since(asked)
    if answer == z3.unsat:
        return Proof("proved", "", _ms_since(began), ms_solver, digest, _SOLVER)
    if answer == z3.sat:
        example = read_model(model, compared)
        reason = f"After some state they differ: {example}."
        return Proof("refuted", reason, _ms_since(began), ms_solver, digest, _SOLVER, example)
    reason = f"The solver found neither a proof nor a counterexample in {time_limit_s:g} s."
    return Proof("timeout", reason, _ms_since(began), ms_solver, digest, _SOLVER)


def _differing_stores(one: Any, other: Any) -> list[Any] | None:
    """That a store of one chain has another address or byte than its counterpart; None where they have none."""
    found = []
    while not one.eq(other):
        if not (z3.is_store(one) and z3.is_store(other)):
            return None
        (mine, byte), (its, its_byte) = guard_of(one), guard_of(other)
        if not mine.eq(its):
            found.append(mine != its)
        pairs = (one.arg(1), other.arg(1)), (byte, its_byte)
        found += [z3.And(mine, a != b) for a, b in pairs if not a.eq(b)]
        one, other = one.arg(0), other.arg(0)
    return found


def _simplified(terms: list[Any], **options: bool) -> list[Any]:
    """Those that may be true, in z3's normal form."""
    found = [z3.simplify(one, bv_ite2id=True, **options) for one in terms]
    return [one for one in found if not z3.is_false(one)]


def _loads(terms: list[Any]) -> list[Any]:
    """The loads in some terms that are in no other load's address."""
    found, seen, stack = [], set(), list(terms)
    while stack:
        term = stack.pop()
        if term.get_id() in seen:
            continue
        seen.add(term.get_id())
        if z3.is_select(term):
            found.append(term)
        else:
            stack += term.children()
    return found


def _without_memory(differences: list[Any]) -> list[Any]:
    """The same with any byte for each load: where that cannot be true, neither can the original."""
    terms = _simplified(differences)
    unknown = [(load, z3.BitVec(f"loaded{number}", 8)) for number, load in enumerate(_loads(terms))]
    return _simplified([z3.substitute(one, unknown) for one in terms]) if unknown else terms


def _ask(terms: list[Any], time_limit_s: float, logic: str = "QF_BV") -> tuple[str, Any, Any]:
    """Whether any can be true: the query's hash, the answer, and a model where there is one.

    Products make some differences hard to find that nearly every state shows: where the solver is not done soon, some
    states are tried out, and then it has the rest of its time.
    """
    goal = z3.Or(terms)
    solver = z3.SolverFor(logic)
    solver.set("max_memory", MEMORY_LIMIT_MIB)
    solver.add(goal)
    digest = hashlib.sha256(solver.sexpr().encode()).hexdigest()
    answer = _checked(solver, min(_SOON_S, time_limit_s))
    if answer == z3.unknown and time_limit_s > _SOON_S:
        tried = _tried_out(goal)
        if tried is not None:
            return digest, z3.sat, tried
        answer = _checked(solver, time_limit_s - _SOON_S)
    return digest, answer, solver.model() if answer == z3.sat else None


def _checked(solver: Any, time_limit_s: float) -> Any:
    solver.set("timeout", max(1, int(1000 * time_limit_s)))
    try:
        return solver.check()
    except z3.Z3Exception:  # out of memory
        return z3.unknown


def _tried_out(goal: Any) -> Any:
    """A model that makes `goal` true, of some random ones; None where none does."""
    unknown = _unknown_in(goal)
    rng = random.Random(1)  # noqa: S311 - any values will do
    for _ in range(_N_TRIED):
        values = [_any_value(one, rng) for one in unknown]
        pairs = list(zip(unknown, values, strict=True))
        if z3.is_true(z3.simplify(z3.substitute(goal, pairs))):
            solver = z3.Solver()
            solver.add(*(one == value for one, value in pairs))
            if _checked(solver, _SOON_S) == z3.sat:
                return solver.model()
    return None


def _any_value(unknown: Any, rng: random.Random) -> Any:
    """Of its sort; memory is the same byte everywhere."""
    if z3.is_array(unknown):
        return z3.K(z3.BitVecSort(64), z3.BitVecVal(rng.getrandbits(8), 8))
    if z3.is_bool(unknown):
        return z3.BoolVal(bool(rng.getrandbits(1)))
    return z3.BitVecVal(rng.getrandbits(unknown.size()), unknown.size())


def _unknown_in(term: Any) -> list[Any]:
    """The constants without a value in a term: registers, flags, memory."""
    found, seen, stack = [], set(), [term]
    while stack:
        one = stack.pop()
        if one.get_id() not in seen:
            seen.add(one.get_id())
            stack += one.children()
            if z3.is_const(one) and one.decl().kind() == z3.Z3_OP_UNINTERPRETED:
                found.append(one)
    return found


def _differ(one: Any, other: Any) -> Any:
    return is_set(one) != is_set(other) if one.size() == 1 else one != other


def _and_not(differs: Any, undefined: Any) -> Any:
    if isinstance(undefined, bool):
        return z3.BoolVal(False) if undefined else differs
    return z3.And(differs, z3.Not(undefined))


def _ms_since(began: float) -> float:
    return 1000 * (perf_counter() - began)
