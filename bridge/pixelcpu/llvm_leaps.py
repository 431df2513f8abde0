"""Writes LLVM text that takes registers over many rounds at once, where a round is linear bit by bit (`bit_linear`).

What is left of the number of rounds below the least power of 2 that is worth a leap is done round by round. For each
higher bit that is set, the round is run as often as the power's polynomial has coefficients, and what each run begins
with is added where the coefficient is 1. The polynomials are constants beside the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from bridge.pixelcpu.bit_linear import LANE_BITS, BitLinear
from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.llvm_text import LlvmAlgebra, Text, Word
from bridge.pixelcpu.microcode import Program

_TABLE, _WORD_BITS = "@leaps", 64


@dataclass(frozen=True, slots=True)
class Leaps:
    """A round that touches no memory, and what is known of it."""

    round: Program
    linear: BitLinear
    registers: tuple[int, ...]
    """Where the round has the registers of `linear.names`."""

    @property
    def table(self) -> str:
        """LLVM's text of the polynomials: words of 64 coefficients, from the lowest."""
        count = self._words
        words = [leap >> (_WORD_BITS * n) & ((1 << _WORD_BITS) - 1) for leap in self.linear.leaps for n in range(count)]
        values = ", ".join(f"i64 {word}" for word in words)
        return f"{_TABLE} = private unnamed_addr constant [{len(words)} x i64] [{values}]\n"

    @property
    def _words(self) -> int:
        return -(-self.linear.degree // _WORD_BITS)

    def write(self, text: Text, initial: State[Word, str], n_rounds: str) -> State[Word, str]:
        """The state after so many rounds, in these registers; the rest is left as it was. Ends in a block of its own.

        `n_rounds`: fewer than 2^32, an i64.
        """
        linear, algebra = self.linear, LlvmAlgebra(text)
        first = linear.first_leap
        few = text.let(f"and i64 {n_rounds}, {(1 << first) - 1}")
        shifted = text.let(f"lshr i64 {n_rounds}, {first}")
        many = text.let(f"and i64 {shifted}, {(1 << (LANE_BITS - first)) - 1}")
        begins = text.block

        def after(words: Mapping[int, Word]) -> dict[int, Word]:
            state = initial.copy()
            for number, word in words.items():
                state.registers[number] = word
            execute(self.round.instructions, algebra, state, _Nothing())
            return {number: state.registers[number] for number in words}

        def named(hint: str) -> dict[int, Word]:
            return {number: Word(text.name(hint), 64) for number in self.registers}

        def merged(names: Mapping[int, Word], *ways: tuple[str, Mapping[int, Word]]) -> list[str]:
            return [
                f"  {name.text} = phi i64 " + ", ".join(f"[ {words[number].text}, %{block} ]" for block, words in ways)
                for number, name in names.items()
            ]

        start = {number: initial.registers[number] for number in self.registers}
        zeros = dict.fromkeys(self.registers, Word("0", 64))
        text.put("br label %leap.few")

        # Round by round.
        one = named("one")
        text.begin("leap.few")
        at = len(text.lines)
        count, following = text.name("count"), text.name("count")
        text.put(f"{following} = add i64 {count}, 1")
        more = text.let(f"icmp ult i64 {count}, {few}")
        text.put(f"br i1 {more}, label %leap.one, label %leap.next")
        text.begin("leap.one")
        then = after(one)
        text.put("br label %leap.few")
        text.lines[at:at] = [
            f"  {count} = phi i64 [ 0, %{begins} ], [ {following}, %leap.one ]",
            *merged(one, (begins, start), ("leap.one", then)),
        ]

        # The bits of what is left, from the lowest.
        held, done = named("held"), named("done")
        left, rest, row, next_row = (text.name(hint) for hint in ("left", "rest", "row", "row"))
        text.begin("leap.next")
        text.lines += [
            f"  {left} = phi i64 [ {many}, %leap.few ], [ {rest}, %leap.done ]",
            f"  {row} = phi i64 [ 0, %leap.few ], [ {next_row}, %leap.done ]",
            *merged(held, ("leap.few", one), ("leap.done", done)),
        ]
        some = text.let(f"icmp ne i64 {left}, 0")
        text.put(f"br i1 {some}, label %leap.look, label %leap.end")
        text.begin("leap.look")
        is_set = text.let(f"trunc i64 {left} to i1")
        text.put(f"br i1 {is_set}, label %leap.sum, label %leap.done")

        # A leap.
        here, sums = named("here"), named("sum")
        number, next_number = text.name("at"), text.name("at")
        text.begin("leap.sum")
        at = len(text.lines)
        word_number = text.let(f"lshr i64 {number}, {_WORD_BITS.bit_length() - 1}")
        word_place = text.let(f"add i64 {row}, {word_number}")
        place = text.let(f"getelementptr inbounds i64, ptr {_TABLE}, i64 {word_place}")
        word = text.let(f"load i64, ptr {place}")
        distance = text.let(f"and i64 {number}, {_WORD_BITS - 1}")
        coefficient = text.let(f"lshr i64 {word}, {distance}")
        only = text.let(f"and i64 {coefficient}, 1")
        mask = Word(text.let(f"sub i64 0, {only}"), 64)
        added = {n: algebra.xor(sums[n], algebra.and_(here[n], mask)) for n in self.registers}
        beyond = after(here)
        text.put(f"{next_number} = add i64 {number}, 1")
        ended = text.let(f"icmp eq i64 {next_number}, {linear.degree}")
        text.put(f"br i1 {ended}, label %leap.done, label %leap.sum")
        text.lines[at:at] = [
            f"  {number} = phi i64 [ 0, %leap.look ], [ {next_number}, %leap.sum ]",
            *merged(here, ("leap.look", held), ("leap.sum", beyond)),
            *merged(sums, ("leap.look", zeros), ("leap.sum", added)),
        ]
        text.begin("leap.done")
        text.lines += merged(done, ("leap.look", held), ("leap.sum", added))
        text.put(f"{rest} = lshr i64 {left}, 1")
        text.put(f"{next_row} = add i64 {row}, {self._words}")
        text.put("br label %leap.next")

        text.begin("leap.end")
        found = initial.copy()
        for register, held_word in held.items():
            found.registers[register] = held_word
        return found


class _Nothing:
    """The executor's hooks for a round over registers alone."""

    def load(self, _address: Word, _width: int, _only_if: str | None) -> NoReturn:
        raise AssertionError("a load in a round over registers")

    def store(self, _address: Word, _value: Word, _only_if: str | None) -> NoReturn:
        raise AssertionError("a store in a round over registers")

    def lane(self) -> NoReturn:
        raise AssertionError("a round that knows its number")

    def reduce(self, operation: str, _value: Word) -> NoReturn:
        raise AssertionError(f"{operation} in a round")
