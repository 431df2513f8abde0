"""Makes native code of a proved loop: its kernel by LLVM, and a plan that says how many rounds may be done."""

from __future__ import annotations

from typing import Any

import z3

from bridge.pixelcpu.decode import ALIGNMENT, BASE, decode, is_string
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.isa import FLAGS, N_REGISTERS
from bridge.pixelcpu.lanes import live_in, parts
from bridge.pixelcpu.llvm import object_of
from bridge.pixelcpu.llvm_kernel import kernel_text
from bridge.pixelcpu.llvm_text import LlvmAlgebra, Text, Word
from bridge.pixelcpu.loop_kernel import LoopKernel
from bridge.pixelcpu.loop_memory import Stream
from bridge.pixelcpu.loop_terms import LOW, is_proved, symbols
from bridge.pixelcpu.loop_trips import MOST_ROUNDS
from bridge.pixelcpu.loops import Loop
from bridge.pixelcpu.meaning import ALGEBRA
from bridge.pixelcpu.native_loop import NativeLoop, NativeStream
from bridge.pixelcpu.object_image import image_of
from bridge.pixelcpu.round_shape import shape_of
from bridge.pixelcpu.term_llvm import TermWriter
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.x86_state import HALVES, REGISTERS

MOST_STREAMS, MOST_ACCESSES, MOST_CODE = 16, 32, 512
"""As the plugin has room for."""
_PAGE = 4096
Term = Any


def native_loop(loop: Loop, kernel: LoopKernel, translation: Translation) -> NativeLoop:
    """Raises Unsupported where the plugin could not run it."""
    instructions = decode(loop.code)
    if any(is_string(one) for one in instructions):
        raise Unsupported("It counts as the direction flag says, which cannot be read while the guest runs")
    shape = shape_of(loop.code)
    cut = parts(kernel.rounds)
    registers, flags = live_in((*cut.body, *cut.tail))
    if flags:
        names = ", ".join(f"{flag}F" for flag in sorted(flags))
        raise Unsupported(f"A round reads {names}, which cannot be read while the guest runs")
    streams = loop.streams
    if len(streams) > MOST_STREAMS or len(loop.code) > MOST_CODE or any(one.size > _PAGE for one in streams):
        raise Unsupported("It has more streams or more code than a kernel has room for")
    if loop.trips is None and (kernel.until is None or translation.target != BASE):
        raise Unsupported("Whether another round follows is not decided by a jump to its first instruction")
    access_streams = _access_streams(loop, kernel, translation)
    if len(access_streams) > MOST_ACCESSES:
        raise Unsupported("It has more loads and stores than a kernel has room for")
    planned, needed = _plan_text(loop, translation)
    numbers = {name: number for number, name in enumerate(REGISTERS)} | dict(translation.halves)
    writes = {i.d for i in (*cut.body, *cut.tail) if i.row.has_destination} & set(numbers.values())
    # A lane knows its own part of a sum, not what the sum was in its round: what is computed of that stays as it was,
    # and QEMU's next round computes it anew.
    writes -= {numbers[name] for name in loop.of_folds}
    text = kernel_text(
        kernel.rounds,
        carried=kernel.carried if loop.ordered and not kernel.last_alone else None,
        alone=True,
        until=kernel.until,
        last_alone=kernel.last_alone,
        leaps=kernel.leaps,
    )
    image = image_of(object_of(text + planned), ("plan", "kernel"))
    return NativeLoop(
        code=loop.code,
        n_instructions=len(instructions) if shape is None else shape.least_instructions,
        kind=loop.kind,
        native=image.content,
        plan=image.entries["plan"],
        run=image.entries["kernel"],
        streams=tuple(
            NativeStream(one.size, one.stride, one.is_store, group)
            for one, group in zip(streams, _groups(streams), strict=True)
        ),
        access_streams=access_streams,
        reads=frozenset((registers & set(numbers.values())) | {numbers[name] for name in needed}),
        writes=frozenset(writes),
        halves={HALVES.index(name): number for name, number in translation.halves.items()},
        ordered=loop.ordered,
        ends_itself=loop.trips is None,
    )


def _groups(streams: tuple[Stream, ...]) -> list[int]:
    """By number: alike where base and stride are, which is where `streams_of` has shown that they never meet."""
    known: dict[tuple[str, int], int] = {}
    return [known.setdefault((one.base.sexpr(), one.stride), len(known)) for one in streams]


def _access_streams(loop: Loop, kernel: LoopKernel, translation: Translation) -> tuple[int, ...]:
    """The stream that each of the microcode's loads and stores is part of; shown, not guessed."""
    words = [z3.BitVec(name, 64) for name in REGISTERS] + [z3.BitVecVal(0, 64)] * (N_REGISTERS - len(REGISTERS))
    for name, number in translation.halves.items():
        words[number] = z3.BitVec(name, 64)
    seen = _Addresses()
    execute(parts(kernel.rounds).body, ALGEBRA, State(words, {name: z3.Bool(name) for name in FLAGS}), seen)
    found = []
    for address, size, is_store in seen.accesses:
        for number, stream in enumerate(loop.streams):
            if stream.is_store != is_store and (is_store or not loop.ordered):
                continue
            away = z3.simplify(address - (stream.base + stream.first))
            if _is_within(away, stream.size - size, is_table=loop.ordered):
                found.append(number)
                break
        else:
            raise Unsupported("Which of its streams an access is part of could not be shown")
    return tuple(found)


def _is_within(away: Term, most: int, *, is_table: bool) -> bool:
    if most < 0 or not (is_table or z3.is_bv_value(away)):
        return False
    return is_proved(z3.ULE(away, most))


class _Addresses:
    """Hooks that note where lane 0 loads and stores."""

    def __init__(self) -> None:
        self.accesses: list[tuple[Term, int, bool]] = []

    def load(self, address: Term, width: int, _only_if: Term | None) -> Term:
        self.accesses.append((address, width // 8, False))
        return z3.BitVec(f"loaded {len(self.accesses)}", width)

    def store(self, address: Term, value: Term, _only_if: Term | None) -> None:
        self.accesses.append((address, value.size() // 8, True))

    def lane(self) -> Term:
        return z3.BitVecVal(0, 64)

    def reduce(self, operation: str, _value: Term) -> Term:
        raise AssertionError(f"{operation} in a body")


def _plan_text(loop: Loop, translation: Translation) -> tuple[str, set[str]]:
    """LLVM's text of `plan`, which says what `Loop.rounds` does but for streams that meet; and what it needs."""
    text = Text()
    algebra = LlvmAlgebra(text)
    needed = set(loop.inductions)
    if loop.trips is not None:
        needed |= symbols(loop.trips.begins) | symbols(loop.trips.distance)
    for stream in loop.streams:
        needed |= symbols(stream.base)
    narrow = {name for name, fold in loop.folds.items() if fold.narrow}
    needed |= narrow
    for address in loop.aligned:
        needed |= symbols(address)
    numbers = {name: number for number, name in enumerate(REGISTERS)} | dict(translation.halves)
    unknowns = {}
    for name in sorted(needed & numbers.keys()):
        place = text.let(f"getelementptr inbounds i64, ptr %state, i64 {numbers[name]}")
        unknowns[name] = Word(text.let(f"load i64, ptr {place}"), 64)
    terms = TermWriter(text, unknowns)

    def lesser(left: Word, right: Word) -> Word:
        return algebra.choose(algebra.less_unsigned(right, left), right, left)

    def divided(word: Word, by: int) -> Word:
        return word if by == 1 else Word(text.let(f"udiv {word.typed}, {by}"), 64)

    zero, most = algebra.const(64, 0), algebra.const(64, MOST_ROUNDS)
    if loop.trips is not None:
        most = lesser(divided(terms.word(z3.simplify(loop.trips.distance)), loop.trips.step), most)
        most = algebra.choose(terms.truth(z3.simplify(loop.trips.begins)), most, zero)
    for name, counting in loop.inductions.items():
        if counting.width == 32:
            low, top = unknowns[name], algebra.const(64, LOW)
            room = algebra.sub(top, low) if counting.step > 0 else low
            most = lesser(most, divided(room, abs(counting.step)))
            most = algebra.choose(algebra.less_unsigned(top, low), zero, most)
    for name in sorted(narrow):
        most = algebra.choose(algebra.less_unsigned(algebra.const(64, LOW), unknowns[name]), zero, most)
    for one in loop.aligned:
        odd = algebra.and_(terms.word(one), algebra.const(64, ALIGNMENT - 1))
        most = algebra.choose(algebra.is_zero(odd), most, zero)
    for number, stream in enumerate(loop.streams):
        address = algebra.add(terms.word(z3.simplify(stream.base)), algebra.const(64, stream.first))
        place = text.let(f"getelementptr inbounds i64, ptr %addresses, i64 {number}")
        text.put(f"store {address.typed}, ptr {place}")
    text.put(f"ret {most.typed}")
    body = "\n".join(text.lines)
    return f"\ndefine i64 @plan(ptr noalias %state, ptr noalias %addresses) {{\nentry:\n{body}\n}}\n", needed
