"""Templates: pieces of a cluster have one outline, what was found for one serves all, and a wrong hint does no harm."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.pixelcpu import synthesis
from bridge.pixelcpu.assembly import assemble, disassemble
from bridge.pixelcpu.isa import CONDITIONS, N_REGISTERS, ROWS, Shape
from bridge.pixelcpu.microcode import Instruction, Program, make, signed
from bridge.pixelcpu.prove import prove_equal
from bridge.pixelcpu.synthesis import improve
from bridge.pixelcpu.templates import Outline, Part, Template, outline_of, template_of
from bridge.pixelcpu.translate import translate

LIMIT_S = 60.0
registers = st.integers(0, N_REGISTERS - 1)


@st.composite
def instructions(draw: st.DrawFn, among: Sequence[int] = range(N_REGISTERS)) -> Instruction:
    row, register = draw(st.sampled_from(ROWS)), st.sampled_from(among)
    immediate = None
    if row.may_be_immediate and draw(st.booleans()):
        immediate = signed(draw(st.integers(-40, 40) | st.integers(-(1 << 63), (1 << 63) - 1)), row.immediate_width)
    flags = row.must_write or (bool(row.writes) and draw(st.booleans()))
    return Instruction(
        row,
        draw(register) if row.shape is not Shape.COMPARE else 0,
        draw(st.integers(0, len(CONDITIONS) - 1)) if row.takes_condition else draw(register) if row.takes_b else 0,
        draw(register) if row.takes_a and immediate is None else 0,
        immediate,
        flags,
    )


def renamed(one: Instruction, names: Sequence[int]) -> Instruction:
    row = one.row
    return Instruction(
        row,
        names[one.d] if row.shape is not Shape.COMPARE else 0,
        names[one.b] if row.takes_b else one.b,
        names[one.a] if row.takes_a and one.immediate is None else 0,
        one.immediate,
        one.sets_flags,
    )


@given(st.lists(instructions(), min_size=1, max_size=6), st.permutations(range(N_REGISTERS)))
def test_registers_by_any_other_name_have_one_outline(some: list[Instruction], names: list[int]) -> None:
    one, other = outline_of(some), outline_of([renamed(each, names) for each in some])
    assert one.name == other.name
    assert other.registers == tuple(names[number] for number in one.registers)
    assert other.immediates == one.immediates


@given(st.data())
def test_what_became_of_a_piece_becomes_of_it_again(data: st.DataObject) -> None:
    some = data.draw(st.lists(instructions(), min_size=1, max_size=5))
    outline = outline_of(some)
    if not outline.registers:
        return
    new = data.draw(st.lists(instructions(outline.registers), max_size=2))
    template = template_of(outline, new)
    assert template is not None
    assert tuple(new) in list(template.of(outline))


def text_of(lines: Sequence[Instruction]) -> str:
    return disassemble(Program.of(lines))


def test_immediates_are_what_they_are_made_of() -> None:
    one = assemble("shl.64 r4, r4, 3\nshl.64 r4, r4, 5").instructions
    outline = outline_of(one)
    template = template_of(outline, assemble("shl.64 r4, r4, 8").instructions)
    assert template is not None
    other = outline_of(assemble("shl.64 r9, r9, 2\nshl.64 r9, r9, 11").instructions)
    assert other.name == outline.name
    ways = [text_of(way) for way in template.of(other)]
    assert ways[0] == "shl.64 r9, r9, 13\n", "the sum comes first"
    assert "shl.64 r9, r9, 4\n" in ways, "8 is also two to the third"


@pytest.mark.parametrize(
    "other",
    [
        "shl.64 r4, r4, 3\nshl.64 r4, r5, 5",  # another register
        "shl.64 r4, r4, 3\nshl.64 r4, r4, 3",  # the same immediate twice
        "shl.64 r4, r4, 3\nshl.32 r4, r4, 5",  # another width
        "shl.64! r4, r4, 3\nshl.64 r4, r4, 5",  # flags
        "shl.64 r4, r4, r3\nshl.64 r4, r4, 5",  # a register for the immediate
    ],
)
def test_what_differs_in_more_is_another_cluster(other: str) -> None:
    one = outline_of(assemble("shl.64 r4, r4, 3\nshl.64 r4, r4, 5").instructions)
    assert outline_of(assemble(other).instructions).name != one.name


def test_conditions_are_part_of_an_outline() -> None:
    one, other = (outline_of([make("set.64", 1, CONDITIONS.index(condition))]) for condition in ("e", "ne"))
    assert one.name != other.name


def test_what_needs_another_register_is_no_template() -> None:
    assert template_of(outline_of([make("inc.64", 1, a=1)]), [make("mov.64", 1, a=2)]) is None


class Kept(dict[str, Template]):
    """Templates in memory."""

    def find(self, outline: Outline, /) -> Template | None:
        return self.get(outline.name)

    def learn(self, code: bytes) -> str:
        improved = improve(code, translate(code), LIMIT_S, self)
        self.update({outline.name: template for outline, template in improved.templates})
        return disassemble(improved.translation.program)


def test_a_loop_of_a_known_cluster_costs_no_search() -> None:
    known = Kept()
    # mov eax, ebx; shr eax, 7; xor eax, ebx; then the same with ecx, esi and another number
    assert known.learn(bytes.fromhex("89d8c1e80731d8")) == "shr.32 r0, r3, 7\nxor.32! r0, r0, r3\n"
    code = bytes.fromhex("89f1c1e90d31f1")
    again = improve(code, translate(code), LIMIT_S, known)
    assert disassemble(again.translation.program) == "shr.32 r1, r6, 13\nxor.32! r1, r1, r6\n"
    assert (again.n_tried, again.n_reused, again.n_refuted, again.templates) == (1, 1, 0, ())
    assert again.proof is not None
    assert again.proof.status == "proved"


def test_where_nothing_was_to_be_had_nothing_is_looked_for_again() -> None:
    known = Kept()
    known.learn(bytes.fromhex("4801d8"))
    code = bytes.fromhex("4801f1")
    again = improve(code, translate(code), LIMIT_S, known)
    assert (again.translation, again.proof, again.n_tried, again.n_reused) == (translate(code), None, 0, 0)


def test_a_search_that_was_cut_short_says_nothing_of_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps over the deadline of the guesses, and stands before the end of all."""
    times = iter([0.0] * 3 + [0.7] * 4)
    monkeypatch.setattr(synthesis, "perf_counter", lambda: next(times, 2.0))
    code = bytes.fromhex("48c1e00348c1e005")
    improved = improve(code, translate(code), 1.0)
    assert (improved.translation, improved.templates) == (translate(code), ())


def test_pieces_within_other_code_are_known_too() -> None:
    known = Kept()
    known.learn(bytes.fromhex("48c1e00348c1e005"))  # shl rax, 3; shl rax, 5
    code = bytes.fromhex("4831f248c1e10448c1e107")  # xor rdx, rsi; shl rcx, 4; shl rcx, 7
    improved = improve(code, translate(code), LIMIT_S, known)
    assert disassemble(improved.translation.program) == "xor.64 r2, r2, r6\nshl.64! r1, r1, 11\n"
    assert improved.n_reused == 1


@pytest.mark.parametrize(
    "wrong",
    [
        Template((), ()),  # nothing at all
        Template((Part(0x0B, True, 0, 0, 0),), ((),)),  # the sum of the wrong two
        Template((Part(0x0B, True, 7, 7, 7),), ((),)),  # registers that are not there
        Template((Part(0xFF, True, 0, 0, 0),), ((),)),  # a reduction, which writes no flags
        Template((Part(0x0B, True, 0, 0, 0),), ((("same", 5, 5),),)),  # immediates that are not there
        Template((Part(0x00, False, 0, 0, 0),), ((),)),  # no such instruction
    ],
)
def test_a_wrong_template_does_no_harm(wrong: Template) -> None:
    code = bytes.fromhex("4801d84831c8")
    known = Kept({outline_of(translate(code).program.instructions).name: wrong})
    improved = improve(code, translate(code), LIMIT_S, known)
    assert disassemble(improved.translation.program) == "add.64 r0, r0, r3\nxor.64! r0, r0, r1\n"
    assert improved.n_reused == 0
    assert prove_equal(code, improved.translation).status == "proved"


def test_a_template_that_only_the_solver_sees_through_does_no_harm() -> None:
    # cmp rax, rbx; sete al: 0 for all states but those of one value, where an imm64 is compared.
    code = bytes.fromhex("48b811223344556677084839c3b8000000000f94c00f1f00")
    right = translate(code)
    outline = outline_of(right.program.instructions)
    never = tuple(one for one in right.program.instructions if one.row.operation not in ("set", "eq"))
    template = template_of(outline, never)
    assert template is not None
    improved = improve(code, right, LIMIT_S, Kept({outline.name: template}))
    assert prove_equal(code, improved.translation).status == "proved"
    assert improved.n_refuted > 0
