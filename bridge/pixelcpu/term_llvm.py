"""Words of z3's as LLVM's text: what a plan computes from registers, each term once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.llvm_text import LlvmAlgebra, Text, Word

Term = Any


class TermWriter:
    """Writes terms into a function's text."""

    def __init__(self, text: Text, unknowns: Mapping[str, Word]) -> None:
        """`unknowns`: words of 64 bits by the names that terms have for them."""
        self._text, self._algebra, self._unknowns = text, LlvmAlgebra(text), unknowns
        self._words: dict[int, Word] = {}
        self._truths: dict[int, str] = {}
        self._kept: list[Term] = []  # an id is a term's own only as long as it lives

    def word(self, term: Term) -> Word:
        """A bit vector. Raises Unsupported for operations that no plan has had yet."""
        found = self._words.get(term.get_id())
        if found is None:
            self._kept.append(term)
            found = self._words[term.get_id()] = self._word(term)
        return found

    def truth(self, term: Term) -> str:
        """A truth value, of i1. Raises Unsupported."""
        found = self._truths.get(term.get_id())
        if found is None:
            self._kept.append(term)
            found = self._truths[term.get_id()] = self._truth(term)
        return found

    def _word(self, term: Term) -> Word:
        algebra, size = self._algebra, term.size()
        if z3.is_bv_value(term):
            return algebra.const(size, term.as_long())
        kind, parts = term.decl().kind(), term.children()
        if kind == z3.Z3_OP_UNINTERPRETED and not parts:
            if str(term) not in self._unknowns:
                raise Unsupported(f"its plan needs {term}")
            return self._unknowns[str(term)]
        if kind == z3.Z3_OP_ITE:
            return algebra.choose(self.truth(parts[0]), self.word(parts[1]), self.word(parts[2]))
        words = [self.word(part) for part in parts]
        if kind == z3.Z3_OP_CONCAT:
            return self._concatenated(words, size)
        if kind == z3.Z3_OP_EXTRACT:
            low = term.params()[1]
            word = words[0] if not low else algebra.lshr(words[0], algebra.const(words[0].width, low))
            return algebra.truncate(word, size)
        if kind == z3.Z3_OP_ZERO_EXT:
            return algebra.zero_extend(words[0], size)
        if kind == z3.Z3_OP_SIGN_EXT:
            return algebra.sign_extend(words[0], size)
        if kind == z3.Z3_OP_BNOT:
            return algebra.not_(words[0])
        if kind == z3.Z3_OP_BNEG:
            return algebra.sub(algebra.const(size, 0), words[0])
        many: dict[int, Callable[[Word, Word], Word]] = {
            z3.Z3_OP_BADD: algebra.add,
            z3.Z3_OP_BSUB: algebra.sub,
            z3.Z3_OP_BMUL: algebra.mul,
            z3.Z3_OP_BAND: algebra.and_,
            z3.Z3_OP_BOR: algebra.or_,
            z3.Z3_OP_BXOR: algebra.xor,
        }
        if kind not in many:
            raise Unsupported(f"its plan needs {term.decl().name()}")
        made = words[0]
        for word in words[1:]:
            made = many[kind](made, word)
        return made

    def _concatenated(self, words: list[Word], size: int) -> Word:
        algebra = self._algebra
        made, below = algebra.const(size, 0), size
        for word in words:
            below -= word.width
            wide = algebra.zero_extend(word, size)
            made = algebra.or_(made, wide if not below else algebra.shl(wide, algebra.const(size, below)))
        return made

    def _truth(self, term: Term) -> str:
        algebra = self._algebra
        if z3.is_true(term) or z3.is_false(term):
            return algebra.truth(z3.is_true(term))
        kind, parts = term.decl().kind(), term.children()
        if kind == z3.Z3_OP_NOT:
            return algebra.negate(self.truth(parts[0]))
        if kind in (z3.Z3_OP_AND, z3.Z3_OP_OR):
            join = algebra.both if kind == z3.Z3_OP_AND else algebra.either
            made = self.truth(parts[0])
            for part in parts[1:]:
                made = join(made, self.truth(part))
            return made
        if kind == z3.Z3_OP_ITE:
            return algebra.choose_truth(*(self.truth(part) for part in parts))
        if kind == z3.Z3_OP_EQ and z3.is_bool(parts[0]):
            return algebra.negate(algebra.differ(self.truth(parts[0]), self.truth(parts[1])))
        if kind == z3.Z3_OP_DISTINCT and len(parts) == 2:
            return algebra.negate(self._truth(parts[0] == parts[1]))
        if kind == z3.Z3_OP_EQ:
            return algebra.equal(self.word(parts[0]), self.word(parts[1]))
        orders = {
            z3.Z3_OP_ULT: (algebra.less_unsigned, False, False),
            z3.Z3_OP_UGT: (algebra.less_unsigned, True, False),
            z3.Z3_OP_ULEQ: (algebra.less_unsigned, True, True),
            z3.Z3_OP_UGEQ: (algebra.less_unsigned, False, True),
            z3.Z3_OP_SLT: (algebra.less_signed, False, False),
            z3.Z3_OP_SGT: (algebra.less_signed, True, False),
            z3.Z3_OP_SLEQ: (algebra.less_signed, True, True),
            z3.Z3_OP_SGEQ: (algebra.less_signed, False, True),
        }
        if kind not in orders:
            raise Unsupported(f"its plan needs {term.decl().name()}")
        less, swapped, negated = orders[kind]
        left, right = (self.word(part) for part in (reversed(parts) if swapped else parts))
        made = less(left, right)
        return algebra.negate(made) if negated else made
